"""Every metric against a plain numpy version, over batches, with empty masks, in half precision.

Runs on the backend that Keras picks; test_learn_backends.py runs it on the other.
"""

import json
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

keras = pytest.importorskip("keras")

import learning
from learning import SIDE, evaluate, pairs

from imagemask.errors import UsageError
from imagemask.learn import formulas, metrics
from imagemask.learn import settings as configuration

few = settings(max_examples=25)
PER_IMAGE = sorted(learning.METRICS)
SQUARE = (1, SIDE, SIDE, 1)


def value(metric, truth, prediction, **keywords):
    metric.reset_state()
    metric.update_state(truth, prediction, **keywords)
    return float(metric.result())


def mean(scores):
    """Over the images that count; 0 where none does."""
    return np.nanmean(scores) if np.isfinite(scores).any() else 0.0


@pytest.mark.parametrize("name", PER_IMAGE)
def test_a_metric_is_its_definition_over_any_batches(name):
    metric = metrics.build(name)

    @few
    @given(st.lists(pairs(classes=st.just(1)), min_size=1, max_size=3))
    def one_class(batches):
        check(batches)

    @few
    @given(st.lists(pairs(classes=st.just(4)), min_size=1, max_size=3))
    def several(batches):
        check(batches)

    def check(batches):
        metric.reset_state()
        for truth, prediction in batches:
            metric.update_state(truth, prediction)
        scores = np.concatenate([learning.METRICS[name](*batch) for batch in batches])
        np.testing.assert_allclose(float(metric.result()), mean(scores), rtol=1e-5, atol=1e-6)

    one_class()
    several()


@pytest.mark.parametrize("name", sorted(learning.POOLED))
def test_a_pooled_formula_is_the_seeds(name):
    metric = metrics.build(name)

    @few
    @given(pairs())
    def check(pair):
        wanted = learning.POOLED[name](*pair)
        np.testing.assert_allclose(value(metric, *pair), wanted, rtol=2e-5, atol=2e-6)
        np.testing.assert_allclose(evaluate(getattr(formulas, name), *pair), wanted, rtol=2e-5, atol=2e-6)

    check()


@few
@given(pairs(classes=st.just(1)), st.integers(0, 2**32 - 1))
def test_a_pooled_formula_takes_a_feathered_truth(pair, seed):
    truth, prediction = pair
    soft = truth * np.random.default_rng(seed).random(truth.shape, "float32")
    for name, formula in learning.POOLED.items():
        found = evaluate(getattr(formulas, name), soft, prediction)
        np.testing.assert_allclose(found, formula(soft, prediction), rtol=2e-5, atol=2e-6)


@few
@given(pairs(classes=st.just(1)), st.floats(0.05, 0.95))
def test_a_threshold_decides(pair, threshold):
    for name in PER_IMAGE:
        found = value(metrics.build(name, threshold=threshold), *pair)
        np.testing.assert_allclose(found, mean(learning.METRICS[name](*pair, threshold)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("truth", "prediction", "dice", "iou", "sensitivity", "specificity"),
    [
        (0, 0, 1, 1, 0, 1),  # both empty: no image counts for the sensitivity, and the mean of none is 0
        (0, 1, 0, 0, 0, 0),
        (1, 0, 0, 0, 0, 0),
        (1, 1, 1, 1, 1, 0),  # all foreground: no image counts for the specificity
    ],
)
def test_empty_and_full_masks(truth, prediction, dice, iou, sensitivity, specificity):
    found = [
        value(metrics.build(name), np.full(SQUARE, truth), np.full(SQUARE, float(prediction))) for name in PER_IMAGE
    ]
    assert found == [dice, iou, sensitivity, specificity]


def test_images_that_do_not_count_are_left_out_of_the_mean():
    truth = np.zeros((2, SIDE, SIDE, 1), "float32")
    truth[0, :4] = 1
    prediction = np.zeros_like(truth)
    prediction[0, :2] = 1
    assert value(metrics.build("foreground_sensitivity"), truth, prediction) == 0.5
    assert value(metrics.build("foreground_dice"), truth, prediction) == pytest.approx((2 / 3 + 1) / 2)


def test_an_absent_class_does_not_count():
    truth = np.zeros((1, SIDE, SIDE), "uint8")
    truth[0, :4] = 1
    prediction = np.eye(4, dtype="float32")[truth]
    prediction[0, 0] = [1, 0, 0, 0]
    assert value(metrics.build("foreground_dice"), truth, prediction) == pytest.approx(6 / 7)
    prediction[0, -1] = [0, 0, 1, 0]
    assert value(metrics.build("foreground_dice"), truth, prediction) == pytest.approx(3 / 7)


def test_background_everywhere_scores_high_where_it_is_pooled_and_0_on_the_foreground():
    truth = np.zeros((4, 64, 64), "uint8")
    truth[:, :4, :8] = 1
    nothing = np.zeros((4, 64, 64, 2), "float32")
    nothing[..., 0] = 1
    assert value(metrics.build("dice_coef_multiclass"), truth, nothing) > 0.99
    assert value(metrics.build("foreground_dice"), truth, nothing) == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", metrics.names())
def test_half_precision_changes_nothing_but_the_probabilities(name, dtype):
    metric = metrics.build(name)

    @settings(max_examples=5)
    @given(pairs())
    def check(pair):
        truth, prediction = pair
        half = keras.ops.cast(keras.ops.convert_to_tensor(prediction), dtype)
        rounded = keras.ops.convert_to_numpy(keras.ops.cast(half, "float32"))
        assert value(metric, truth, half) == value(metric, truth, rounded)

    check()


@few
@given(pairs(), st.lists(st.sampled_from([0.0, 1.0, 0.5]), min_size=2, max_size=2))
def test_sample_weights_weigh_images(pair, weights):
    for name in PER_IMAGE:
        scores = learning.METRICS[name](*pair)
        weighed = np.where(np.isnan(scores), 0, weights)
        wanted = np.nansum(scores * weighed) / weighed.sum() if weighed.any() else 0
        for shape in ((2,), (2, 1)):
            found = value(metrics.build(name), *pair, sample_weight=np.reshape(weights, shape))
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_pooled_formula_takes_no_sample_weights():
    with pytest.raises(ValueError, match="dice_coef is pooled over a batch"):
        value(metrics.build("dice_coef"), np.zeros(SQUARE), np.zeros(SQUARE), sample_weight=np.ones(1))


def test_an_epoch_begins_anew():
    metric = metrics.build("foreground_dice")
    assert value(metric, np.ones(SQUARE), np.zeros(SQUARE)) == 0
    metric.reset_state()
    metric.update_state(np.ones(SQUARE), np.ones(SQUARE))
    assert float(metric.result()) == 1
    assert [float(one.value) for one in metric.variables] == [1, 1]


@pytest.mark.parametrize("name", metrics.names())
def test_a_metric_survives_being_saved(name):
    metric = metrics.build(name, threshold=0.25)
    assert metric.name == name
    again = keras.metrics.deserialize(json.loads(json.dumps(keras.metrics.serialize(metric))))
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()


def test_names():
    assert metrics.names() == sorted({**learning.METRICS, **learning.POOLED})
    assert list(metrics.DEFAULT) == PER_IMAGE
    with pytest.raises(UsageError, match="no metric called 'dice_coeff'. Did you mean dice_coef?"):
        metrics.build("dice_coeff")


def test_a_configuration_names_just_the_metrics_that_there_are():
    literal, _ = get_args(configuration.Settings.model_fields["metrics"].annotation)
    assert sorted(get_args(literal)) == metrics.names()
    assert set(configuration.POOLED) == {name for name in metrics.names() if not name.startswith("foreground_")}
