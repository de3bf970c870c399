"""Outlines: what is read of a file, and that what is filled is what the outline encloses."""

import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from imagemask.errors import CaseError
from imagemask.pictures import contours

SHAPE = (30, 40)
CODES = {"bad_contour", "decimal_comma", "contour_too_large"}
coordinates = st.floats(-60, 90, allow_nan=False).map(lambda value: round(value, 3))
outlines = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=12).map(np.array)
inner = st.floats(0, 29, allow_nan=False).map(lambda value: round(value, 4))
quads = st.lists(st.tuples(inner, inner), min_size=3, max_size=9).map(np.array)


def blob(random, *, centre, radius, count=24):
    """A star around ``centre``: its outline never crosses itself."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    radii = radius * random.uniform(0.6, 1.2, count)
    return np.stack([centre[0] + radii * np.cos(angles), centre[1] + radii * np.sin(angles)], axis=1)


def area_of(points):
    x, y = points.T
    return abs(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))) / 2


def box(x0, y0, x1, y1):
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)


def read(data, name="001_cyt01.dat"):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return contours.read_contour(path)


def draw(points, shape=SHAPE):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.dat"
        path.write_text("".join(f"{x:.6f},{y:.6f}\n" for x, y in points))
        region, flags = contours.draw(path, shape)
        return region and region.onto(shape), flags


def fault(call, *arguments):
    with pytest.raises(CaseError) as caught:
        call(*arguments)
    assert caught.value.file is not None
    assert caught.value.remedy
    return caught.value


def outcome(call, *arguments):
    """What a call returns, or the error of the case; anything else that it raises goes through."""
    try:
        return call(*arguments)
    except CaseError as error:
        return error


# ---- what is read -------------------------------------------------------------------------------------------------


@given(
    points=st.lists(st.tuples(coordinates, coordinates), max_size=20),
    decimals=st.integers(3, 6),
    separator=st.sampled_from([",", ", ", ";", " ", "\t", " ; ", "  "]),
    end=st.sampled_from(["\n", "\r\n", "\r", "\n\n", " \n"]),
    begin=st.sampled_from(["", "\ufeff", "\n", "\ufeff\r\n"]),
    last=st.booleans(),
)
def test_vertices_are_read_however_they_are_written_down(points, decimals, separator, end, begin, last):
    lines = [f"{x:.{decimals}f}{separator}{y:.{decimals}f}" for x, y in points]
    found = read(begin + end.join(lines) + (end if last else ""))
    assert found.shape == (len(points), 2)
    assert found.dtype == np.float64
    assert np.array_equal(found, np.array(points, float).reshape(-1, 2))


@given(
    points=st.lists(st.tuples(st.floats(0, 99_999), st.floats(0, 99_999)), min_size=1, max_size=20),
    decimals=st.integers(0, 20),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
)
def test_what_is_read_at_once_is_what_is_read_line_by_line(points, decimals, end, last):
    lines = end.join(f"{x:.{decimals}f},{y:.{decimals}f}" for x, y in points) + (end if last else "")
    at_once, by_line = (outcome(read, text) for text in (lines, f"\n{lines}"))
    if isinstance(by_line, CaseError):
        assert by_line.code == at_once.code == "contour_too_large"
    else:
        assert np.array_equal(at_once, by_line)


@pytest.mark.parametrize("line", ["1,2", "+1.0,-2", "1.,.5", "1e2,2E-1", "  1 , 2  ", "0001.500;2"])
def test_these_are_vertices(line):
    assert read(line).shape == (1, 2)


@pytest.mark.parametrize(
    "line",
    [
        *("nan,1", "1,inf", "1e999,1", "-1e999,1", "1e6,1", "1", "1,2,3", "1,,2", "1,2,", ",1,2", "x,y", "1_0,2"),
        *("0x1,2", "1 2 x", "1,2 # first", "1d0,2", "--1,2", "1,2;3,4,5", "\u0663,4", "1\x002,3", "1" * 300 + ",2"),
    ],
)
def test_any_other_line_is_an_error_that_names_it(line):
    found = fault(read, f"1,2\r\n\r\n{line}\n3,4\n")
    assert found.code == "bad_contour"
    assert found.reason.startswith("001_cyt01.dat, line 3 ")
    assert len(found.reason) < 200


@pytest.mark.parametrize("line", ["1,5,2,5", "1,5;2,5", "12,25 7,75", "1,5\t2,5"])
def test_four_numbers_may_be_two_with_decimal_commas_and_are_not_guessed(line):
    found = fault(read, f"1,2\n{line}\n")
    assert found.code == "decimal_comma"
    assert "line 2" in found.reason
    assert "12.5,7.25" in found.remedy


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n", b"BM\x00\x01", b"1,2\n\xff\xfe", "1,2\n3,4".encode("utf-16"), bytes(range(256))]
)
def test_a_file_that_is_no_text_is_an_error(data):
    assert fault(read, data).code == "bad_contour"


def test_a_file_without_vertices_has_none():
    for data in ("", "\n\n", "\ufeff", " \r\n\t\r\n"):
        assert read(data).shape == (0, 2)


def test_limits_are_held_quickly():
    begin = time.process_time()
    for data in (
        b" " * (10 << 20) + b"1,2\n",
        b"1,2\n" * 100_001,
        b"0,0\n1000,1000\n" * 200,
    ):
        assert fault(read, data).code == "contour_too_large"
    for data in (b"1" * (9 << 20), b"1e" * (4 << 20), b"1," * (4 << 20)):
        assert fault(read, data).code == "bad_contour"
    assert read(b"\n" * (9 << 20)).shape == (0, 2)
    assert time.process_time() - begin < 30
    longest = np.array([(0, 0), (0, 49_000), (49_000, 49_000), (49_000, 0)] * 1, float)
    assert contours.rasterise(longest, (50, 60))[1:, 1:].all()


def test_a_file_that_is_not_there_or_may_not_be_read_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "001_nuc01.dat"
    assert fault(contours.read_contour, path).code == "missing_file"
    path.write_text("1,2\n")

    def refuse(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    found = fault(contours.read_contour, path)
    assert (found.code, found.reason) == ("unreadable_file", "001_nuc01.dat cannot be read: Permission denied")


texts = st.text(st.sampled_from("0123456789.,;+-eE \t\r\n\ufeffnai"), max_size=200).map(str.encode)


@settings(max_examples=400)
@given(st.one_of(st.binary(max_size=300), texts))
@example(b"1,2\n3,4\n5,1\n")
def test_any_bytes_are_vertices_or_an_error(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.dat"
        path.write_bytes(data)
        points = outcome(contours.read_contour, path)
        if isinstance(points, CaseError):
            assert points.code in CODES
            assert points.file == path
            return
        assert points.dtype == np.float64
        assert points.ndim == 2
        assert points.shape[1] == 2
        assert np.isfinite(points).all()
        drawn = outcome(contours.draw, path, (7, 9))
    if isinstance(drawn, CaseError):
        assert drawn.code == "swapped_axes"
        return
    region, flags = drawn
    assert (region is None) == ("contour_dropped" in flags)
    assert region is None or (region.mask.dtype == np.bool_ and region.mask.any())
    assert region is None or region.onto((7, 9)).sum() == region.mask.sum()


# ---- what is filled -----------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(outlines)
def test_a_mask_is_of_the_picture_s_size_whatever_the_outline(points):
    mask = contours.rasterise(points, SHAPE)
    assert mask.dtype == np.bool_
    assert mask.shape == SHAPE
    assert set(np.unique(mask.view(np.uint8)).tolist()) <= {0, 1}
    y, x = np.nonzero(mask)
    # Nothing is filled that the outline's box does not reach.
    assert not x.size or (x.min() >= points[:, 0].min() - 0.5 and x.max() <= points[:, 0].max() + 0.5)
    assert not y.size or (y.min() >= points[:, 1].min() - 0.5 and y.max() <= points[:, 1].max() + 0.5)


@given(quads, st.integers(-20, 60), st.integers(-20, 60))
def test_an_outline_that_is_moved_by_whole_pixels_gives_the_same_mask_moved(points, right, down):
    large = contours.rasterise(points + np.array([30, 30]), (100, 110))
    moved = contours.rasterise(points + np.array([30 + right, 30 + down]), (100, 110))
    assert np.array_equal(np.roll(large, (down, right), (0, 1))[:100, :110], moved) or _leaves(points, right, down)


def _leaves(points, right, down):
    """Whether a moved outline leaves the picture of 100 x 110."""
    x, y = (points + np.array([30 + right, 30 + down])).T
    return x.min() < -0.5 or y.min() < -0.5 or x.max() > 109.5 or y.max() > 99.5


@given(outlines, st.integers(0, 25), st.integers(0, 35))
def test_a_picture_cut_from_a_larger_one_has_the_same_mask_there(points, top, left):
    whole = contours.rasterise(points + np.array([left, top]), (90, 110))
    part = contours.rasterise(points, SHAPE)
    assert np.array_equal(whole[top : top + SHAPE[0], left : left + SHAPE[1]], part)


@given(quads)
def test_where_the_outline_begins_and_which_way_it_runs_is_all_the_same(points):
    mask = contours.rasterise(points, SHAPE)
    assert np.array_equal(contours.rasterise(np.roll(points, 3, axis=0), SHAPE), mask)
    assert np.array_equal(contours.rasterise(points[::-1], SHAPE), mask)
    assert np.array_equal(contours.rasterise(np.repeat(points, 3, axis=0), SHAPE), mask)
    closed = np.concatenate([points, points[:1]])
    assert np.array_equal(contours.rasterise(closed, SHAPE), mask)


def test_x_is_the_column_and_y_the_row():
    mask = contours.rasterise(box(29.5, 1.5, 37.5, 5.5), SHAPE)
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 5, 30, 37)
    assert mask[2:6, 30:38].all()


@pytest.mark.parametrize(
    ("points", "pixels"),
    [
        (box(1.5, 1.5, 4.5, 3.5), 6),  # along the edges of pixels
        (box(1, 1, 4, 3), 8),  # through their centres: half of each is covered, which is enough, but at the corners
        (box(1.01, 1.01, 3.99, 2.99), 2),
        (box(0.9, 0.9, 1.1, 1.1), 0),
        (box(-0.5, -0.5, 39.5, 29.5), 1200),
        (box(-500, -500, 500, 500), 1200),
        (box(-0.5, 5, 0.4, 9), 3),
        (box(39, 28.5, 60, 60), 1),
        (box(5, 29, 7, 60), 1),
        (box(39.6, 29.6, 60, 60), 0),
    ],
)
def test_pixels_that_are_covered_by_half_belong_to_it(points, pixels):
    assert np.count_nonzero(contours.rasterise(points, SHAPE)) == pixels


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.floats(4, 30))
def test_the_area_is_the_outline_s(seed, radius):
    random = np.random.default_rng(seed)
    points = blob(random, centre=random.uniform(40, 50, 2), radius=radius)
    filled = contours.fill(points, (90, 100))
    length = float(np.hypot(*(points - np.roll(points, 1, axis=0)).T).sum())
    assert filled.area == pytest.approx(area_of(points), abs=0.02 * length)
    assert abs(np.count_nonzero(filled.mask) - area_of(points)) < 0.35 * length
    assert not filled.crossed


def test_areas_have_no_bias_where_opencv_s_have():
    """Over many outlines in all places: the mean difference of the areas, for a pixel of their length."""
    random = np.random.default_rng(3)
    ours = theirs = length = 0.0
    for _ in range(300):
        points = blob(random, centre=random.uniform(40, 50, 2), radius=12)
        ours += np.count_nonzero(contours.rasterise(points, (90, 100))) - area_of(points)
        painted = cv2.fillPoly(np.zeros((90, 100), np.uint8), [np.rint(points).astype(np.int32)], 1)
        theirs += np.count_nonzero(painted) - area_of(points)
        length += float(np.hypot(*(points - np.roll(points, 1, axis=0)).T).sum())
    assert abs(ours / length) < 0.01
    assert theirs / length > 0.3


def test_the_centroid_is_the_outline_s():
    random = np.random.default_rng(4)
    shifts = []
    for _ in range(100):
        points = blob(random, centre=random.uniform(40, 50, 2), radius=15)
        fine = contours.rasterise((points + 0.5) * 8 - 0.5, (720, 800))
        centre = np.mean(np.nonzero(fine), axis=1) / 8 + 0.5 / 8 - 0.5
        shifts.append(np.mean(np.nonzero(contours.rasterise(points, (90, 100))), axis=1) - centre)
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.02
    assert np.abs(shifts).max() < 0.2


@given(st.integers(0, 2**32 - 1))
def test_a_pixel_well_inside_or_outside_is_what_opencv_says(seed):
    """Even-odd and non-zero agree on outlines that do not cross themselves; only the rim may differ."""
    random = np.random.default_rng(seed)
    points = blob(random, centre=(20, 15), radius=11)
    ours = contours.rasterise(points, SHAPE)
    for y in range(SHAPE[0]):
        for x in range(SHAPE[1]):
            distance = cv2.pointPolygonTest(points.astype(np.float32), (float(x), float(y)), True)
            if abs(distance) > 0.75:
                assert ours[y, x] == (distance > 0)


@given(outlines, outlines)
def test_a_region_lies_in_another_as_their_masks_say(one, other):
    first, second = contours.fill(one, SHAPE), contours.fill(other, SHAPE)
    assert first.lies_in(second) == (not (first.onto(SHAPE) & ~second.onto(SHAPE)).any())
    assert first.lies_in(first)
    assert first.mask.shape == first.onto(SHAPE)[first.box].shape


# ---- outlines that cross themselves -------------------------------------------------------------------------------


def test_a_pen_that_goes_round_twice_leaves_no_hole():
    outer, inside = box(5, 5, 20, 20), box(8, 8, 15, 15)
    twice = np.concatenate([outer, outer[:1], inside, inside[:1]])
    filled = contours.fill(twice, SHAPE)
    assert filled.crossed
    assert filled.onto(SHAPE)[6:20, 6:20].all()
    assert not cv2.fillPoly(np.zeros(SHAPE, np.uint8), [twice.astype(np.int32)], 1)[12, 12], "the even-odd rule"


def test_a_bow_tie_is_filled_on_both_sides_and_noted():
    mask, flags = draw([(5, 5), (25, 20), (25, 5), (5, 20)])
    assert flags == ("self_intersecting",)
    assert mask[12, 7]
    assert mask[12, 23]
    assert not mask[6, 15]


@given(st.integers(0, 2**32 - 1))
def test_a_star_does_not_cross_itself(seed):
    random = np.random.default_rng(seed)
    points = blob(random, centre=(20, 15), radius=11)
    assert draw(points)[1] == ()


# ---- what is dropped, clipped or refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ([], "empty_contour"),
        ([(1, 1)], "too_few_points"),
        ([(1, 1), (9, 9)], "too_few_points"),
        ([(1, 1), (5, 5), (9, 9)], "degenerate_contour"),
        ([(3, 3), (3, 3), (3, 3), (3, 3)], "degenerate_contour"),
        (box(5.1, 5.1, 5.3, 5.3), "degenerate_contour"),
        (box(50, 3, 60, 9), "outside_image"),
        (box(-30, -30, -10, -10), "outside_image"),
        (box(1200, 700, 1240, 730), "outside_image"),
        ([(-9, 50), (-9, 60), (-9, 70)], "degenerate_contour"),
    ],
)
def test_an_outline_of_nothing_is_dropped_and_noted(points, why):
    assert draw(points) == (None, ("contour_dropped", why))


@pytest.mark.parametrize(
    ("points", "flags"),
    [
        (box(30, 5, 39.5, 15), ()),
        (box(30, 5, 39.9, 15), ()),  # a twentieth
        (box(30, 5, 41, 15), ("contour_clipped",)),
        (box(-5, 5, 4, 15), ("contour_clipped",)),
        (box(2, 20, 12, 32), ("contour_clipped",)),
        (box(2, -40, 12, 10), ("contour_clipped",)),
        (box(-100, -100, 100, 100), ("contour_clipped",)),
    ],
)
def test_what_lies_beyond_the_picture_is_cut_off_and_noted_from_a_twentieth_on(points, flags):
    mask, noted = draw(points)
    assert noted == flags
    assert np.array_equal(mask, contours.rasterise(points, SHAPE))


def test_swapped_coordinates_are_refused_and_never_swapped_back():
    points = box(31, 4, 38, 12)  # at the right edge of a picture that is wider than high
    assert draw(points)[1] == ()
    found = fault(draw, points[:, ::-1])
    assert found.code == "swapped_axes"
    assert "30x40" in found.reason


@given(quads)
def test_an_outline_within_both_axes_is_never_taken_for_swapped(points):
    assume((points < 29.5).all())
    mask, flags = draw(points)
    assert mask is not None or flags[0] == "contour_dropped"
