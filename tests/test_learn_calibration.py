"""Calibration, thresholds and pooled formulas: one image at a time, against all of them at once."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imagemask.learn import infer
from imagemask.learn.calibration import BINS, RELEVANT, Calibration
from imagemask.learn.pooled import PooledScores
from imagemask.learn.thresholds import GRID, SAME, Thresholds

few = settings(max_examples=40, deadline=None)
EDGES = np.float32([0, 1, 0.5, 0.05, 0.95, 0.3, 1 / 15, 2 / 3])


@st.composite
def sets(draw, classes=st.sampled_from([1, 3]), least=1):
    """A few images: probabilities HxWxK and class ids HxW; some without foreground, some at the edges."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(classes)
    images = []
    for _ in range(draw(st.integers(least, 4))):
        shape = tuple(rng.integers(1, 9, 2))
        kind = draw(st.sampled_from(["mixed", "empty", "full"]))
        ids = {"mixed": rng.integers(0, max(2, count), shape), "empty": 0, "full": 1}[kind]
        truth = np.broadcast_to(ids, shape).astype(np.uint8)
        if count == 1:
            p = np.where(rng.random(shape) < 0.3, rng.choice(EDGES, shape), rng.random(shape))[..., None]
        else:
            p = rng.random((*shape, count)) ** 3
            p /= p.sum(axis=-1, keepdims=True)
        images.append((p.astype(np.float32), truth))
    return images


# --- calibration ---


def calibrated(images, bins=BINS):
    found = Calibration(bins)
    for p, truth in images:
        found.add(infer.foreground(p), truth > 0)
    return found


def by_definition(p, true, bins):
    """Bins, one after another, over all pixels."""
    error, table = 0.0, []
    for place in range(bins):
        inside = np.floor(p * bins) == place if place < bins - 1 else np.floor(p * bins) >= place
        count = inside.sum()
        mean, share = (p[inside].mean(), true[inside].mean()) if count else (np.nan, np.nan)
        table.append((count, mean, share))
        error += count / len(p) * abs(mean - share) if count else 0
    return error, table


@few
@given(sets(), st.sampled_from([1, 10, 15]))
def test_the_calibration_error_is_its_definition_over_all_images(images, bins):
    p = np.concatenate([infer.foreground(p).ravel() for p, _ in images]).astype(float)
    true = np.concatenate([truth.ravel() > 0 for _, truth in images])
    found = calibrated(images, bins)
    relevant = (p >= RELEVANT) | true
    for result, chosen in ((found.reliability(), p > -1), (found.reliability(relevant=True), relevant)):
        if chosen.any():
            error, table = by_definition(p[chosen], true[chosen], bins)
            assert result.error == pytest.approx(error, abs=1e-9)
            columns = [result.count, result.confidence, result.frequency]
            for column, wanted in zip(columns, zip(*table, strict=True), strict=True):
                np.testing.assert_allclose(column, wanted, atol=1e-9)
        else:
            assert np.isnan(result.error)


def test_probabilities_that_hold_have_no_error_and_others_theirs():
    rng = np.random.default_rng(0)
    p = rng.random((400, 400), np.float32)
    true = rng.random(p.shape) < p
    assert calibrated([(p[..., None], true)]).reliability().error < 0.01
    wrong = calibrated([(np.full((10, 10, 1), 0.9, np.float32), np.eye(10) > 0)])
    assert wrong.reliability().error == pytest.approx(0.8, abs=1e-6)


@few
@given(sets())
def test_images_may_be_counted_one_by_one_and_then_together(images):
    together = Calibration()
    for image in images:
        together.include(calibrated([image]))
    once = calibrated(images)
    np.testing.assert_array_equal(list(together.errors.values()), list(once.errors.values()))
    assert once.errors.keys() == {"ece", "ece_relevant"}


def test_background_hides_an_error_but_not_among_the_relevant():
    p, true = np.zeros((100, 100), np.float32), np.zeros((100, 100), bool)
    p[:10, :10], true[:5, :10] = 1, True
    found = calibrated([(p[..., None], true)])
    assert found.reliability().error == pytest.approx(0.005)
    assert found.reliability(relevant=True).error == pytest.approx(0.5)
    assert found.reliability(relevant=True).count.sum() == 100


def test_no_pixel_has_no_calibration():
    assert np.isnan(Calibration().reliability().error)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, np.nan, np.inf])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(ValueError, match="within 0 and 1"):
        Calibration().add(np.full((2, 2), wrong, np.float32), np.ones((2, 2), bool))


def test_rounding_beyond_one_is_forgiven_and_unlike_shapes_are_not():
    found = Calibration()
    found.add(np.float32([[1.00001, -1e-6]]), np.array([[True, False]]))
    assert found.reliability().error == 0
    with pytest.raises(ValueError, match="one shape"):
        found.add(np.zeros((2, 2), np.float32), np.zeros((2, 3), bool))


# --- thresholds ---


def dice_at(images, threshold):
    """The mean over images of the mean over the classes that count, of ``infer.decide``'s masks; 1 where none does."""
    found = []
    for p, truth in images:
        labels = infer.decide(p, threshold)
        each = []
        for label in range(1, max(2, p.shape[-1])):
            one, other = labels == label, truth == label
            if one.any() or other.any():
                each.append(2 * (one & other).sum() / (one.sum() + other.sum()))
        found.append(np.mean(each) if each else 1.0)
    return np.mean(found) if found else np.nan


def gathered(images, grid=GRID):
    found = Thresholds(grid)
    for image in images:
        found.add(*image)
    return found


@few
@given(sets(), st.sampled_from([GRID, (0.5,), (0.3, 0.5, 0.95)]))
def test_every_threshold_gives_the_dice_of_its_masks(images, grid):
    found = gathered(images, grid)
    wanted = [dice_at(images, threshold) for threshold in grid]
    np.testing.assert_allclose(found.dice(), wanted, atol=1e-12)
    assert found.images == len(images)
    best = found.best()
    assert best in grid
    if found.images:
        assert dice_at(images, best) >= np.max(wanted) - SAME - 1e-12


@few
@given(sets())
@example([(np.float32([[[0.2]]]), np.uint8([[0]]))])
def test_the_curve_is_precision_and_recall_of_the_masks(images):
    curve = gathered(images).curve(0.5)
    for at, threshold in enumerate(GRID):
        labels = np.concatenate([infer.decide(p, threshold).ravel() > 0 for p, _ in images])
        true = np.concatenate([truth.ravel() > 0 for _, truth in images])
        both = (labels & true).sum()
        precision, recall = (both / one.sum() if one.any() else np.nan for one in (labels, true))
        assert (curve.precision[at], curve.recall[at]) == pytest.approx((precision, recall), nan_ok=True)
    assert curve.chosen == 0.5
    assert tuple(curve.thresholds) == GRID


def test_equals_go_to_the_nearest_to_a_half_then_to_the_lower():
    certain = np.float32([[[1.0], [0.0]]])
    assert gathered([(certain, np.uint8([[1, 0]]))]).best() == 0.5
    assert gathered([(certain, np.uint8([[1, 0]]))], (0.1, 0.45, 0.55, 0.9)).best() == 0.45
    assert gathered([(certain, np.uint8([[0, 0]]))]).best() == 0.5
    assert Thresholds().best() == 0.5


@pytest.mark.parametrize(("pixels", "best"), [(600, 0.5), (300, 0.1)])
def test_what_is_no_difference_in_dice_is_not_worth_an_extreme_threshold(pixels, best):
    """Without one pixel of 601 the Dice is 0.9992; without two of 301 it is 0.9967."""
    p = np.full((1, pixels + 1, 1), 0.95, np.float32)
    p[0, : 1 if pixels == 600 else 2] = 0.12
    truth = np.ones((1, pixels + 1), np.uint8)
    dice = gathered([(p, truth)]).dice()
    assert dice[GRID.index(0.1)] == 1
    assert (1 - dice[GRID.index(0.5)] <= SAME) == (best == 0.5)
    assert gathered([(p, truth)]).best() == best


def test_the_threshold_lies_where_foreground_and_background_part():
    p = np.float32([0.9, 0.34, 0.31, 0.28, 0.2]).reshape(1, 5, 1)
    found = gathered([(p, np.uint8([[1, 1, 1, 0, 0]]))])
    assert found.best() == 0.3
    assert found.dice()[GRID.index(0.3)] == 1
    assert type(found.best()) is float  # a numpy scalar would be compared in another precision


def test_a_probability_equal_to_a_threshold_reaches_it_in_its_own_precision():
    for threshold in GRID:
        p = np.full((1, 1, 1), threshold, np.float32)
        assert gathered([(p, np.uint8([[1]]))], (threshold,)).dice() == infer.decide(p, threshold).sum() == 1


def test_images_without_foreground_choose_too_as_they_are_scored_too():
    target = (np.float32([[[0.6], [0.1]]]), np.uint8([[1, 0]]))
    empty = (np.float32([[[0.55], [0.1]]]), np.uint8([[0, 0]]))
    assert gathered([target]).best() == 0.5
    assert gathered([target, empty]).best() == 0.6
    assert gathered([target, empty]).images == 2
    assert np.isnan(gathered([]).dice()).all()


# --- pooled formulas ---


def pooled(images):
    found = PooledScores()
    for image in images:
        found.add(*image)
    return {one.name: one for one in found.result()}


def channels(images):
    """Truth and prediction of all images as one long row of values, and each image's own."""
    each = []
    for p, truth in images:
        t = (truth > 0)[..., None] if p.shape[-1] == 1 else np.eye(p.shape[-1])[truth]
        each.append((t.astype(np.float32), p))
    return each


def formulas(each):
    t, p = (np.concatenate([one[which].reshape(-1) for one in each]) for which in (0, 1))
    wide = [[np.concatenate([1 - one, one], axis=-1) if one.shape[-1] == 1 else one for one in image] for image in each]
    t64, p64 = t.astype(float), p.astype(float)
    union = (t64 + p64 - t64 * p64).sum()
    return {
        "dice_coef": (2 * (t64 * p64).sum() + 1) / (t64.sum() + p64.sum() + 1),
        "iou_coef": (t64 * p64).sum() / union if union > 1e-7 else 1,
        "sensitivity": np.round(t * p).sum() / (t.sum() + 1e-7),
        "specificity": np.round((1 - t) * (1 - p)).sum() / ((1 - t).sum() + 1e-7),
        "binary_accuracy": ((p > 0.5) == (t > 0.5)).mean(),
        "dice_coef_multiclass": np.mean([(2 * (a * b).sum() + 1) / (a.sum() + b.sum() + 1) for a, b in wide]),
    }


@few
@given(sets())
def test_pooled_formulas_are_those_of_all_images_at_once(images):
    found = pooled(images)
    each = channels(images)
    nothing = [(t, np.eye(p.shape[-1], dtype="float32")[np.zeros(p.shape[:2], int)]) for t, p in each]
    if each[0][0].shape[-1] == 1:
        nothing = [(t, np.zeros_like(p)) for t, p in each]
    wanted, background = formulas(each), formulas(nothing)
    assert list(found) == list(wanted)
    for name, one in found.items():
        assert (one.value, one.all_background) == pytest.approx((wanted[name], background[name]), rel=2e-5, abs=2e-6), (
            name
        )


def test_pooled_formulas_are_the_seeds_of_one_batch():
    pytest.importorskip("keras")
    import learning

    rng = np.random.default_rng(2)
    for classes in (1, 3):
        p = rng.dirichlet(np.ones(3), (4, 6, 7)).astype(np.float32)[..., :classes]
        truth = rng.integers(0, max(2, classes), (4, 6, 7)).astype(np.uint8)
        found = pooled(list(zip(p, truth, strict=True)))
        t = np.eye(3, dtype="float32")[truth] if classes > 1 else truth[..., None].astype("float32")
        for name, formula in learning.POOLED.items():
            if classes == 1 and name == "dice_coef_multiclass":
                continue  # there it has no background
            assert found[name].value == pytest.approx(float(formula(t, p)), rel=1e-5), name


def test_finding_nothing_scores_high_where_the_background_is_large():
    truth = np.zeros((256, 256), np.uint8)
    truth[100:110, 100:120] = 1
    found = pooled([(np.zeros((256, 256, 1), np.float32), truth)])
    assert found["binary_accuracy"].value > 0.995
    assert found["dice_coef_multiclass"].value > 0.995
    assert found["specificity"].value == pytest.approx(1)
    assert found["sensitivity"].value == 0
    assert found["dice_coef"].value < 0.01
    assert all(one.value == one.all_background for one in found.values())


def test_formulas_of_no_image_are_refused():
    with pytest.raises(ValueError, match="no image"):
        PooledScores().result()
