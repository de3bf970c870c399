"""The numbers that are taken of a pair: what they are, and under which changes of the pair they stay as they are."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from imagemask.audit import measures
from imagemask.audit.measures import BLOCKS, IN_PLACE, MEASURES, SHIFTS, SIDES, SIGN, TURNS, measure

SIDE = 96
sizes = st.tuples(st.integers(1, 24), st.integers(1, 24))
seeds = st.integers(0, 10_000)


few = settings(max_examples=20)


def texture(seed, shape=(SIDE, SIDE)):
    """Smooth noise between 40 and 120."""
    noise = np.random.default_rng(seed).normal(0, 1, shape)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return (80 + 15 * smooth / max(smooth.std(), 1e-9)).clip(40, 120).astype(np.uint8)


def pair(seed, shape=(SIDE, SIDE)):
    """A bright, asymmetric spot on a texture, off the middle, and its mask of 0 and 255."""
    random = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    y, x = 0.28 * shape[0] + random.uniform(0, 3), 0.36 * shape[1] + random.uniform(0, 3)
    inside = ((rows - y) / (0.10 * shape[0])) ** 2 + ((columns - x) / (0.16 * shape[1])) ** 2 < 1
    image = texture(seed, shape)
    image[inside] = 200
    return cv2.GaussianBlur(image, (0, 0), 0.8), inside.astype(np.uint8) * 255


def close(one, other, keys):
    for key in keys:
        assert one[key] == pytest.approx(other[key], rel=1e-6, abs=1e-9, nan_ok=True), key


@given(data=st.data(), shape=sizes, colours=st.booleans(), masked=st.booleans())
def test_any_pair_has_all_the_numbers_and_shares_are_shares(data, shape, colours, masked):
    image = data.draw(arrays.arrays(np.uint8, (*shape, 3) if colours else shape))
    kind = data.draw(st.sampled_from([np.uint8, np.uint16, np.int32, np.int64, np.bool_]))
    mask = data.draw(arrays.arrays(kind, shape)) if masked else None
    numbers = measure(image, mask, data.draw(st.sampled_from([None, (1,), (1, 7), (255,)])))
    assert tuple(numbers) == MEASURES
    assert all(isinstance(number, int | float) for number in numbers.values())
    assert (numbers["height"], numbers["width"], numbers["channels"]) == (*shape, 3 if colours else 1)
    assert 0 <= numbers["black"] <= 1 >= numbers["white"] >= 0
    assert all(0 <= numbers[side] <= max(shape) for side in SIDES)
    assert all(0 <= numbers[block] <= 255 for block in BLOCKS)
    if mask is None:
        assert all(math.isnan(numbers[key]) for key in measures.OF_MASK)
    else:
        assert 0 <= numbers["foreground"] <= 1
        assert numbers["specks"] <= max(0, numbers["parts"] - 1)
        assert numbers["rim"] <= mask.size


@given(shape=sizes, colour=st.tuples(*[st.integers(0, 255)] * 3))
def test_a_constant_image_has_a_range_of_nothing_whatever_its_colour(shape, colour):
    assert measure(np.full((*shape, 3), colour, np.uint8), None, None)["range"] == 0
    assert measure(np.full(shape, colour[0], np.uint8), None, None)["range"] == 0


@given(shape=st.tuples(st.integers(2, 24), st.integers(2, 24)), seed=seeds)
def test_an_image_with_two_values_is_not_constant(shape, seed):
    image = np.full((*shape, 3), 90, np.uint8)
    y, x, channel = (int(np.random.default_rng(seed).integers(side)) for side in (*shape, 3))
    image[y, x, channel] = 130
    assert measure(image, None, None)["range"] > 0


def test_two_colours_of_one_grey_are_not_constant():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2], image[2:] = (0, 0, 50), (0, 10, 0)  # both of grey 6
    assert measure(image, None, None)["range"] > 0


@few
@given(seed=seeds)
def test_grey_as_three_channels_has_the_numbers_of_one(seed):
    image, mask = pair(seed)
    close(measure(np.dstack([image] * 3), mask, None), measure(image, mask, None), set(MEASURES) - {"channels"})


@few
@given(seed=seeds)
def test_inverting_an_image_changes_ends_blocks_and_the_sign_of_the_outline_only(seed):
    image, mask = pair(seed)
    image[:5], image[-3:] = 0, 255
    one, other = measure(image, mask, None), measure(255 - image, mask, None)
    assert (one["black"], one["white"]) == (other["white"], other["black"]) != (0, 0)
    assert [255 - one[block] for block in BLOCKS] == pytest.approx([other[block] for block in BLOCKS], abs=1)
    assert one[SIGN] == pytest.approx(-other[SIGN], abs=0.02)
    close(one, other, {"range", *SIDES, *(set(measures.OF_MASK) - {SIGN, IN_PLACE, *SHIFTS, *TURNS})})
    assert one[IN_PLACE] == pytest.approx(other[IN_PLACE], rel=0.05)


@few
@given(seed=seeds, value=st.sampled_from([1, 3, 128, 300, 70_000]))
def test_the_value_of_the_foreground_does_not_matter(seed, value):
    image, mask = pair(seed)
    same = measure(image, (mask > 0) * np.int32(value), None)
    close(same, measure(image, mask, None), MEASURES)


@few
@given(seed=seeds, shape=st.sampled_from([(96, 96), (80, 120)]))
def test_mirroring_both_mirrors_what_has_sides(seed, shape):
    image, mask = pair(seed, shape)
    image[:, :6] = 0
    one = measure(image, mask, None)
    other = measure(np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(mask[:, ::-1]), None)
    assert (one["left"], one["right"]) == (other["right"], other["left"]) == (6, 0)
    close(one, other, ("black", "white", "middle", "foreground", "rim", "parts", "specks", "top", "bottom"))
    for key, mirrored in (("edge_64_e", "edge_64_w"), ("edge_16_ne", "edge_16_nw"), ("edge_32_n", "edge_32_n")):
        assert one[key] == pytest.approx(other[mirrored], rel=0.2)


@few
@given(seed=seeds)
def test_an_outline_fits_best_where_it_was_drawn(seed):
    numbers = measure(*pair(seed), None)
    assert numbers[IN_PLACE] > 1.5
    assert numbers[IN_PLACE] > max(numbers[place] for place in SHIFTS)
    assert numbers[IN_PLACE] > 1.3 * max(numbers[place] for place in TURNS)
    assert numbers[SIGN] > 0.9


@few
@given(seed=seeds, part=st.sampled_from([32, 16]), way=st.sampled_from(list(measures.COMPASS)))
def test_a_moved_mask_fits_worse_and_best_where_it_came_from(seed, part, way):
    image, mask = pair(seed)
    down, right = measures.COMPASS[way]
    far = SIDE / part / math.hypot(down, right)
    before = measure(image, mask, None)
    after = measure(image, np.roll(mask, (-round(down * far), -round(right * far)), (0, 1)), None)
    assert after[IN_PLACE] < before[IN_PLACE]
    assert max((*SHIFTS, *TURNS), key=lambda place: np.nan_to_num(after[place])) == f"edge_{part}_{way}"


BACK = {
    "edge_fliph": np.fliplr,
    "edge_flipv": np.flipud,
    "edge_rot180": lambda mask: np.rot90(mask, 2),
    "edge_transpose": np.transpose,
    "edge_rot90": lambda mask: np.rot90(mask, -1),
    "edge_rot270": np.rot90,
    "edge_antitranspose": lambda mask: np.rot90(mask, 2).T,
}


@pytest.mark.parametrize("place", TURNS)
def test_a_turned_mask_fits_best_where_turning_it_back_brings_it(place):
    image, mask = pair(3)
    numbers = measure(image, np.ascontiguousarray(BACK[place](mask)), None)
    others = [numbers[other] for other in (IN_PLACE, *SHIFTS, *TURNS) if other != place]
    assert numbers[place] > 1.3 * max(others)


def test_a_mask_of_another_size_has_a_shape_of_its_own_and_no_edges():
    image, mask = pair(1)
    numbers = measure(image, mask[::2], None)
    assert (numbers["mask_height"], numbers["mask_width"]) == (SIDE // 2, SIDE)
    assert numbers["parts"] == 1
    assert math.isnan(numbers[IN_PLACE])


def test_turns_that_swap_the_sides_are_not_tried_where_the_sides_differ():
    numbers = measure(*pair(1, (80, 120)), None)
    assert [math.isnan(numbers[place]) for place in TURNS] == [False] * 3 + [True] * 4


@few
@given(
    seed=seeds,
    degrees=st.floats(4, 30),
    way=st.sampled_from([1, -1]),
    fill=st.sampled_from([0, 255]),
    shape=st.sampled_from([(128, 128), (120, 168), (200, 160)]),
)
def test_a_turn_shows_in_its_blank_corners(seed, degrees, way, fill, shape):
    height, width = shape
    by = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), way * degrees, 1)
    turned = cv2.warpAffine(texture(seed, shape), by, (width, height), borderValue=fill)
    assert measure(turned, None, None)["turn"] == pytest.approx(way * degrees, abs=1.5)


@given(seed=seeds, cut=st.integers(3, 30))
def test_corners_cut_off_as_an_endoscope_s_are_no_turn(seed, cut):
    rows, columns = np.indices((SIDE, SIDE))
    image = texture(seed)
    for one in (rows, SIDE - 1 - rows):
        for other in (columns, SIDE - 1 - columns):
            image[one + other < cut] = 0
    assert measure(image, None, None)["turn"] == 0
    image[np.hypot(rows - 47.5, columns - 47.5) > 48] = 0  # a circle of view
    assert measure(image, None, None)["turn"] == 0


@given(seed=seeds, bands=st.tuples(*[st.integers(0, 9)] * 4), grey=st.sampled_from([0, 255]))
def test_blank_bands_are_counted_line_by_line(seed, bands, grey):
    image = texture(seed)
    top, bottom, left, right = bands
    framed = np.full_like(image, grey)
    inner = slice(top, SIDE - bottom), slice(left, SIDE - right)
    framed[inner] = image[inner]
    numbers = measure(framed, None, None)
    assert tuple(numbers[side] for side in SIDES) == bands


def test_air_around_a_body_is_no_blank_band():
    rows, columns = np.indices((SIDE, SIDE))
    body = np.hypot(rows - 48, columns - 48) < 30
    assert [measure(body * np.uint8(100), None, None)[side] for side in SIDES] == [0] * 4


@given(data=st.data(), shape=sizes, declared=st.sets(st.integers(1, 5), max_size=3))
def test_undeclared_values_are_counted(data, shape, declared):
    mask = data.draw(arrays.arrays(np.uint8, shape, elements=st.integers(0, 6)))
    numbers = measure(np.zeros(shape, np.uint8), mask, sorted(declared))
    wrong = mask[~np.isin(mask, [0, *declared])]
    assert numbers["undeclared"] == wrong.size
    assert numbers["values"] == len(set(mask.ravel().tolist()))
    if wrong.size:
        values, counts = np.unique(wrong, return_counts=True)
        assert numbers["undeclared_value"] == values[counts.argmax()]
    else:
        assert math.isnan(numbers["undeclared_value"])


@given(data=st.data(), shape=sizes)
def test_rim_and_parts_are_those_of_a_plain_count(data, shape):
    mask = data.draw(arrays.arrays(np.bool_, shape)).astype(np.uint8)
    numbers = measure(np.zeros(shape, np.uint8), mask, None)
    inner = mask.copy()
    inner[1:-1, 1:-1] = 0
    assert numbers["rim"] == inner.sum()
    assert numbers["parts"] == cv2.connectedComponents(mask, connectivity=8)[0] - 1
    assert numbers["foreground"] == mask.mean()


@few
@given(quality=st.integers(20, 95), seed=seeds)
def test_a_mask_that_was_a_jpeg_is_grey_and_keeps_its_foreground(quality, seed):
    image, mask = pair(seed)
    stored = cv2.imdecode(cv2.imencode(".jpg", mask, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)
    numbers = measure(image, stored, None)
    assert measures.is_grey(numbers["soft_values"])
    assert numbers["foreground"] == pytest.approx((mask > 0).mean(), rel=0.1)


@few
@given(classes=st.integers(2, 40), seed=seeds)
def test_a_mask_of_many_classes_is_not_grey(classes, seed):
    """Voronoi cells: any number of values, but each fills an area."""
    random = np.random.default_rng(seed)
    centres = np.stack(np.meshgrid(np.arange(7), np.arange(6)), -1).reshape(-1, 2)[:classes] * 14 + 6
    centres = centres + random.integers(-2, 3, centres.shape)
    rows, columns = np.indices((SIDE, SIDE))
    far = [(rows - y) ** 2 + (columns - x) ** 2 for y, x in centres]
    assert measure(np.zeros((SIDE, SIDE), np.uint8), np.argmin(far, axis=0), None)["soft_values"] == 0


@given(st.integers(0, 5))
def test_specks_are_tiny_components_beside_a_large_one(count):
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[8 : 8 + 4 * count : 4, 90] = 1
    assert measure(mask, mask, None)["specks"] == 0  # of nothing but small ones none is a speck
    mask[40:60, 40:60] = 1
    mask[80:90, 80:90] = 1
    numbers = measure(mask, mask, None)
    assert (numbers["specks"], numbers["parts"]) == (count, count + 2)


def test_thin_classes_that_are_declared_make_no_grey_mask():
    """Seven lines of a pixel each: nobody blurred them, and all of them are foreground."""
    image = np.tile(np.arange(32, dtype=np.uint8), (32, 1))
    mask = np.zeros((32, 32), np.uint8)
    for value in range(1, 8):
        mask[4 * value, 4:28] = value
    told, untold = (measure(image, mask, values) for values in (tuple(range(1, 8)), None))
    assert told["soft_values"] == 0
    assert told["foreground"] == pytest.approx(np.count_nonzero(mask) / mask.size)
    assert measures.is_grey(untold["soft_values"])
