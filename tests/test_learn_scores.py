"""Scores of a pair: by hand, against counting in plain Python, and against DeepMind's surface-distance package."""

import dataclasses
import math
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

ndimage = pytest.importorskip("scipy.ndimage")

from imagemask.learn import scores, surfaces
from imagemask.learn.scores import NAMES, Score, mean_score, score, score_classes

few = settings(max_examples=40, deadline=None)
masks = arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2))
spacings = st.tuples(*[st.sampled_from([0.5, 0.7, 1.0, 2.5])] * 3)
EMPTY = np.zeros((6, 8), np.uint8)
SQUARE = EMPTY.copy()
SQUARE[2:4, 2:5] = 1


@st.composite
def pairs(draw, axes=st.sampled_from([2, 3])):
    """Prediction and truth, class ids 0 to 2, small; some empty, some full."""
    shape = draw(st.lists(st.integers(1, 5), min_size=(count := draw(axes)), max_size=count))
    pictures = arrays.arrays(np.uint8, tuple(shape), elements=st.integers(0, 2), fill=st.just(0))
    return draw(pictures), draw(pictures)


def blobs(rng, shape):
    """A mask with smooth outlines; noise, now and then."""
    field = rng.standard_normal(shape)
    if rng.random() < 0.8:
        field = ndimage.gaussian_filter(field, rng.uniform(0.5, 2.5))
    return field > np.quantile(field, rng.uniform(0.3, 0.97))


def counted(prediction, truth):
    """Outcomes, a pixel at a time."""
    found = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for p, t in zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True):
        found[bool(p), bool(t)] += 1
    return found[True, True], found[True, False], found[False, True], found[False, False]


@few
@given(pairs(), st.sampled_from([None, 1, 2]))
def test_overlaps_are_those_counted_a_pixel_at_a_time(pair, label):
    found = score(*pair, label=label)
    tp, fp, fn, tn = counted(*(mask > 0 if label is None else mask == label for mask in pair))
    wanted = {
        "dice": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1,
        "iou": tp / (tp + fp + fn) if tp + fp + fn else 1,
        "sensitivity": tp / (tp + fn) if tp + fn else math.nan,
        "precision": tp / (tp + fp) if tp + fp else math.nan,
        "specificity": tn / (tn + fp) if tn + fp else math.nan,
        "area_error": (fp - fn) / (tp + fn) if tp + fn else math.nan,
    }
    assert {name: getattr(found, name) for name in wanted} == pytest.approx(wanted, nan_ok=True, abs=1e-12)
    assert (found.foreground, found.predicted) == (tp + fn, tp + fp)
    assert np.isfinite(found.hd95) == bool(tp + fn and tp + fp)


@pytest.mark.parametrize(
    ("prediction", "truth", "outcome", "wanted"),
    [
        (EMPTY, EMPTY, "empty", [1, 1, math.nan, math.nan, 1, math.nan, 1, math.nan]),
        (EMPTY, SQUARE, "missed", [0, 0, 0, math.nan, 1, math.nan, 0, -1]),
        (SQUARE, EMPTY, "false alarm", [0, 0, math.nan, 0, 42 / 48, math.nan, 0, math.nan]),
        (SQUARE, SQUARE, "both", [1, 1, 1, 1, 1, 0, 1, 0]),
        (SQUARE, EMPTY + 1, "both", [12 / 54, 6 / 48, 6 / 48, 1, math.nan, math.sqrt(13), None, -42 / 48]),
    ],
)
def test_the_rule_for_empty_masks(prediction, truth, outcome, wanted):
    found = score(prediction, truth)
    assert found.outcome == outcome
    for name, value in zip(NAMES, wanted, strict=True):
        if value is not None:
            assert getattr(found, name) == pytest.approx(value, nan_ok=True), name


def test_a_mask_moved_by_two_rows_is_two_rows_off():
    truth = np.zeros((40, 40), np.uint8)
    truth[10:30, 10:30] = 1
    moved = np.roll(truth, 2, axis=0)
    found = score(moved, truth)
    assert (found.hd95, found.unit, found.nsd) == (2, "px", 1)
    found = score(moved, truth, spacing=(1.5, 0.5))
    assert (found.hd95, found.unit) == (3, "mm")
    assert score(moved, truth, spacing=(1.5, 0.5), tolerance=3).nsd == 1
    assert score(moved, truth, spacing=(1.5, 0.5), tolerance=2.99).nsd < 1
    # Four sides of 19 elements and four half diagonals; 18 elements of each upright side lie on the other's, with the
    # two diagonals that end it inside the other square.
    corner = math.hypot(1.5, 0.5) / 2
    on_the_other, whole = 2 * 18 * 1.5 + 2 * corner, 2 * 19 * (1.5 + 0.5) + 4 * corner
    assert score(moved, truth, spacing=(1.5, 0.5), tolerance=0.4).nsd == pytest.approx(on_the_other / whole)


@few
@given(pairs(), spacings, st.data())
def test_turning_mirroring_and_moving_both_changes_nothing(pair, spacing, data):
    axes = pair[0].ndim
    order = data.draw(st.permutations(range(axes)))
    ways = tuple(slice(None, None, data.draw(st.sampled_from([1, -1]))) for _ in range(axes))
    turned = [mask.transpose(order)[ways] for mask in pair]
    plain = dataclasses.asdict(score(*pair, label=1, spacing=spacing[:axes]))
    found = dataclasses.asdict(score(*turned, label=1, spacing=[spacing[axis] for axis in order]))
    assert found == pytest.approx(plain, nan_ok=True)
    margin = [data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3))) for _ in range(axes)]
    moved = dataclasses.asdict(score(*(np.pad(one, margin) for one in pair), label=1, spacing=spacing[:axes]))
    del plain["specificity"], moved["specificity"]
    assert moved == pytest.approx(plain, nan_ok=True)


@few
@given(pairs(), spacings)
def test_prediction_and_truth_may_be_swapped(pair, spacing):
    one, other = score(*pair, spacing=spacing[: pair[0].ndim]), score(*pair[::-1], spacing=spacing[: pair[0].ndim])
    for name in ("dice", "iou", "hd95", "nsd"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), nan_ok=True), name
    assert (one.sensitivity, one.precision) == pytest.approx((other.precision, other.sensitivity), nan_ok=True)
    assert one.dice == pytest.approx(2 * one.iou / (1 + one.iou))


@few
@given(pairs(), spacings, st.sampled_from([0.5, 1.0, 2.0, 3.0]))
def test_distances_scale_with_the_spacing(pair, spacing, factor):
    scale = spacing[: pair[0].ndim]
    assume(pair[0].any() and pair[1].any())
    one = score(*pair, spacing=scale, tolerance=1.0)
    scaled = score(*pair, spacing=[factor * mm for mm in scale], tolerance=factor)
    assert (scaled.hd95, scaled.nsd) == pytest.approx((factor * one.hd95, one.nsd))


# --- surfaces ---


def brute(prediction, truth, spacing):
    """Distances and sizes of 2D outlines, each of them drawn: segments between the midpoints of a square's sides."""
    sy, sx = spacing
    found = []
    for mask in (prediction, truth):
        padded = np.pad(mask, 1)
        elements = {}
        for y, x in np.ndindex(padded.shape[0] - 1, padded.shape[1] - 1):
            corners = padded[y : y + 2, x : x + 2]
            if corners.any() and not corners.all():
                elements[y, x] = length(corners, sy, sx)
        found.append(elements)
    pairs = (found, found[::-1])
    return [
        sorted((min(math.hypot(sy * (y - v), sx * (x - w)) for v, w in there), size) for (y, x), size in here.items())
        for here, there in pairs
    ]


def length(corners, sy, sx):
    """By the midpoints of the sides at which inside meets outside; four of them are two segments."""
    (a, b), (c, d) = corners
    crossed = [
        point
        for point, changes in {
            (0, sx / 2): a != b,
            (sy, sx / 2): c != d,
            (sy / 2, 0): a != c,
            (sy / 2, sx): b != d,
        }.items()
        if changes
    ]
    if len(crossed) == 4:
        return math.hypot(sy, sx)
    return math.dist(*crossed)


def brute_hausdorff(directions):
    ends = []
    for elements in directions:
        total, reached = sum(size for _, size in elements), 0.0
        for distance, size in elements:
            reached += size
            if reached >= 0.95 * total * (1 - 1e-9):
                ends.append(distance)
                break
    return max(ends)


def brute_surface_dice(directions, tolerance):
    elements = [one for direction in directions for one in direction]
    return sum(size for distance, size in elements if distance <= tolerance + 1e-9) / sum(s for _, s in elements)


@few
@given(pairs(axes=st.just(2)), spacings, st.sampled_from([0.5, 1.0, 1.4, 2.0]))
def test_outlines_in_2d_are_those_drawn_a_segment_at_a_time(pair, spacing, tolerance):
    prediction, truth = (mask > 0 for mask in pair)
    assume(prediction.any() and truth.any())
    directions = brute(prediction, truth, spacing[:2])
    found = score(*pair, spacing=spacing[:2], tolerance=tolerance)
    assert found.hd95 == pytest.approx(brute_hausdorff(directions), abs=1e-9)
    assert found.nsd == pytest.approx(brute_surface_dice(directions, tolerance), abs=1e-9)


def test_the_outline_of_a_box_is_as_large_as_the_box_between_pixel_centres():
    """A level face counts whole; edges and corners are cut off as marching squares and cubes do."""
    side = 40
    for axes, spacing in ((2, (0.5, 2.0)), (3, (0.5, 2.0, 1.0))):
        mask = np.pad(np.ones((side,) * axes, bool), 2)
        found = surfaces.outlines(mask, mask, spacing)
        faces = [np.prod(spacing) / one * side ** (axes - 1) for one in spacing]
        assert 0.93 * 2 * sum(faces) < found.true.sum() <= 2 * sum(faces)
        assert not found.from_truth.any()


@pytest.mark.parametrize("axes", [2, 3])
def test_crowded_and_sparse_outlines_are_measured_alike(axes, monkeypatch):
    rng = np.random.default_rng(3)
    for _ in range(20):
        spacing = rng.uniform(0.4, 3, axes).tolist()
        pair = [blobs(rng, rng.integers(8, 14, axes)) for _ in range(1)] * 2
        pair = [pair[0], np.roll(pair[0], 1, axis=0) ^ (rng.random(pair[0].shape) > 0.95)]
        monkeypatch.setattr(surfaces, "_CROWDED", 0)
        crowded = surfaces.outlines(*pair, spacing)
        monkeypatch.setattr(surfaces, "_CROWDED", 99)
        sparse = surfaces.outlines(*pair, spacing)
        np.testing.assert_allclose(crowded.from_truth, sparse.from_truth, atol=1e-9)
        np.testing.assert_allclose(crowded.from_prediction, sparse.from_prediction, atol=1e-9)


def test_an_empty_mask_has_no_outline():
    some = np.eye(4, dtype=bool)
    for pair in ((some, ~some & some), (~some & some, some), (~some & some,) * 2):
        with pytest.raises(ValueError, match="no outline"):
            surfaces.outlines(*pair, (1, 1))


@pytest.mark.parametrize(("axes", "sides"), [(2, (8, 40)), (3, (5, 14))])
def test_scores_are_those_of_surface_distance(axes, sides):
    """100 pairs each in 2D and 3D, of unequal spacing: HD95, surface Dice at several tolerances, Dice."""
    package = pytest.importorskip("surface_distance")
    rng = np.random.default_rng(axes)
    for _ in range(100):
        spacing = rng.uniform(0.4, 3, axes).tolist()
        shape = rng.integers(*sides, axes)
        prediction, truth = blobs(rng, shape), blobs(rng, shape)
        if rng.random() < 0.5:
            prediction = np.roll(truth, 1, axis=0) ^ (prediction & (rng.random(shape) > 0.9))
        tolerance = rng.uniform(0.5, 4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it imports from scipy's old names
            distances = package.compute_surface_distances(truth, prediction, spacing)
        found = score(prediction.astype(np.uint8), truth.astype(np.uint8), spacing=spacing, tolerance=tolerance)
        wanted = (
            package.compute_robust_hausdorff(distances, 95),
            package.compute_surface_dice_at_tolerance(distances, tolerance),
            package.compute_dice_coefficient(truth, prediction),
        )
        assert (found.hd95, found.nsd, found.dice) == pytest.approx(wanted, abs=1e-9, rel=1e-9)


@pytest.mark.parametrize("axes", [2, 3])
def test_element_sizes_are_those_of_surface_distance(axes):
    """Every code of corners, at unequal spacing. The package's codes run from the last corner to the first."""
    tables = pytest.importorskip("surface_distance.lookup_tables")
    make = {2: "contour_length", 3: "surface_area"}[axes]
    spacing = (0.7, 2.5, 1.1)[:axes]
    wanted = getattr(tables, f"create_table_neighbour_code_to_{make}")(spacing)
    corners = 2**axes
    turned = [int(f"{code:0{corners}b}"[::-1], 2) for code in range(2**corners)]
    np.testing.assert_allclose(surfaces._sizes(spacing)[turned], wanted, rtol=1e-12)


# --- several classes ---


@few
@given(masks, st.integers(0, 2**32 - 1))
def test_the_score_of_an_image_is_the_mean_over_the_classes_that_count(truth, seed):
    prediction = np.random.default_rng(seed).integers(0, 3, truth.shape).astype(np.uint8)
    each = score_classes(prediction, truth, 2, spacing=(0.5, 2.0))
    assert [one.foreground for one in each] == [int((truth == label).sum()) for label in (1, 2)]
    found = mean_score(each)
    there = [one for one in each if one.foreground + one.predicted]
    for name in NAMES:
        if name in scores.OVERLAPS:
            wanted = np.mean([getattr(one, name) for one in there]) if there else 1
        else:
            held = [value for one in each if not math.isnan(value := getattr(one, name))]
            wanted = np.mean(held) if held else math.nan
        assert getattr(found, name) == pytest.approx(wanted, nan_ok=True), name
    assert (found.foreground, found.predicted) == ((truth > 0).sum(), (prediction > 0).sum())


def test_one_class_is_the_foreground():
    rng = np.random.default_rng(0)
    pair = [blobs(rng, (20, 20)).astype(np.uint8) for _ in range(2)]
    assert mean_score(score_classes(*pair, 1)) == score(*pair) == score(*pair, label=1)


def test_scores_agree_with_the_metrics_of_training():
    """Per image, of several classes, empty masks among them."""
    pytest.importorskip("keras")
    import learning

    rng = np.random.default_rng(5)
    for _ in range(60):
        truth, prediction = (
            rng.integers(0, 3, (2, 2, 3)).astype(np.uint8) * (rng.random((2, 1, 1)) > 0.3) for _ in "ab"
        )
        one_hot = [np.eye(3, dtype="float32")[one] for one in (truth, prediction)]
        for name in ("dice", "iou", "sensitivity", "specificity"):
            wanted = learning.METRICS[f"foreground_{name}"](*one_hot)
            found = [getattr(mean_score(score_classes(p, t, 2)), name) for p, t in zip(prediction, truth, strict=True)]
            np.testing.assert_allclose(found, wanted, err_msg=name)


def test_columns_are_stable():
    assert scores.columns() == [*NAMES, "foreground", "predicted", "unit", "outcome"]
    assert scores.columns() == list(dataclasses.asdict(score(SQUARE, SQUARE)))
    assert NAMES == ("dice", "iou", "sensitivity", "precision", "specificity", "hd95", "nsd", "area_error")


@pytest.mark.parametrize(
    ("prediction", "truth", "spacing"),
    [
        (EMPTY, EMPTY[1:], None),
        (EMPTY[0], EMPTY[0], None),
        (EMPTY[None, None], EMPTY[None, None], None),
        (EMPTY, EMPTY, (1,)),
        (EMPTY, EMPTY, (1, 0)),
        (EMPTY, EMPTY, (1, math.nan)),
        (EMPTY, EMPTY, (math.inf, 1)),
    ],
)
def test_what_does_not_fit_together_is_refused(prediction, truth, spacing):
    with pytest.raises(ValueError, match="needed"):
        score(prediction, truth, spacing=spacing)


def test_scores_of_unlike_units_have_no_mean():
    pair = score(SQUARE, SQUARE), score(SQUARE, SQUARE, spacing=(1, 1))
    with pytest.raises(ValueError, match="one unit"):
        mean_score(pair)
    with pytest.raises(ValueError, match="none"):
        mean_score([])


def test_a_score_is_read_only():
    with pytest.raises(dataclasses.FrozenInstanceError):
        score(SQUARE, SQUARE).dice = 1
    assert isinstance(score(SQUARE, SQUARE), Score)
