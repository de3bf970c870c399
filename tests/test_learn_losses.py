"""Every loss against a plain numpy version, its gradients at the edges, half precision, the registry.

Runs on the backend that Keras picks; test_learn_backends.py runs it on the other.
"""

import json
import re
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

keras = pytest.importorskip("keras")

import learning
from learning import SIDE, evaluate, gradient, pairs

from imagemask.errors import UsageError
from imagemask.learn import formulas, losses
from imagemask.learn import settings as configuration

SEVERAL_ONLY = {"categorical_crossentropy"}
few = settings(max_examples=25)
masks = pairs()


def fitting(name):
    """Pairs of as many classes as a loss takes."""
    return pairs(classes=st.sampled_from([2, 4])) if name in SEVERAL_ONLY else masks


def value(name, truth, prediction, **keywords):
    return float(evaluate(losses.build(name, keywords), truth, prediction))


@pytest.mark.parametrize("name", losses.names())
def test_a_loss_is_its_formula(name):
    @few
    @given(fitting(name))
    def check(pair):
        wanted = np.mean(learning.LOSSES[name](*pair))
        np.testing.assert_allclose(value(name, *pair), wanted, rtol=2e-5, atol=2e-6)

    check()


@pytest.mark.parametrize("name", losses.names())
def test_gradients_are_finite_everywhere(name):
    @few
    @given(fitting(name))
    def check(pair):
        truth, prediction = pair
        loss = losses.build(name)
        assert np.isfinite(gradient(lambda p: loss(truth, p), prediction)).all()

    check()


@pytest.mark.parametrize("name", losses.names())
def test_gradients_are_finite_where_all_pixels_are_at_one_edge(name):
    classes = 3 if name in SEVERAL_ONLY else 1
    loss = losses.build(name, {"gamma": 0.5} if name == "focal" else {})
    for edge in learning.EDGES:
        prediction = np.full((1, SIDE, SIDE, classes), (1 - edge) / 2, "float32")
        prediction[..., 0] = edge
        for full in (0, 1):
            truth = np.zeros_like(prediction)
            truth[..., -1 if full else 0] = 1 if classes > 1 else full
            assert np.isfinite(gradient(lambda p, t=truth: loss(t, p), prediction)).all(), edge


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", losses.names())
def test_half_precision_loses_what_its_inputs_lost_and_no_more(name, dtype):
    @settings(max_examples=5)
    @given(fitting(name))
    def check(pair):
        truth, prediction = pair
        half = keras.ops.cast(keras.ops.convert_to_tensor(prediction), dtype)
        rounded = keras.ops.convert_to_numpy(keras.ops.cast(half, "float32"))
        loss = losses.build(name)
        found = evaluate(loss, keras.ops.cast(keras.ops.convert_to_tensor(truth), dtype), half)
        np.testing.assert_allclose(found, evaluate(loss, truth, rounded), rtol=1e-6)
        assert np.isfinite(gradient(lambda p: loss(truth, p), half)).all()

    check()


@pytest.mark.parametrize("name", sorted({*losses.names()} - {"iou_loss", "ssim_loss"}))
def test_a_step_down_the_gradient_lowers_the_loss(name):
    classes = 3 if name in SEVERAL_ONLY else 1
    truth, _ = np.eye(3)[np.arange(2 * SIDE * SIDE) % 3].reshape(2, SIDE, SIDE, 3)[..., :classes], None
    logits = np.random.default_rng(0).normal(size=truth.shape).astype("float32")
    activate = keras.ops.sigmoid if classes == 1 else keras.ops.softmax
    loss = losses.build(name)
    slope = gradient(lambda x: loss(truth.astype("float32"), activate(x)), logits)
    assert np.abs(slope).max() > 0

    def at(x):
        return float(evaluate(lambda t, p: loss(t, activate(p)), truth.astype("float32"), x.astype("float32")))

    assert at(logits - 5 * slope) < at(logits)


@pytest.mark.parametrize("name", losses.names())
def test_a_perfect_prediction_loses_nothing_and_a_wrong_one_something(name):
    classes = 3 if name in SEVERAL_ONLY else 1
    ids = np.arange(2 * SIDE * SIDE).reshape(2, SIDE, SIDE) % max(2, classes)
    truth = (np.eye(3)[ids] if classes == 3 else ids[..., None]).astype("float32")
    wrong = np.roll(truth, 1, axis=-1) if classes == 3 else 1 - truth
    assert value(name, truth, truth) == pytest.approx(0, abs=1e-6)
    assert value(name, truth, wrong) > 0.1


def test_an_image_without_foreground_costs_what_is_predicted_in_it():
    empty = np.zeros((1, SIDE, SIDE, 1), "float32")
    assert value("dice_cross_entropy", empty, empty) == pytest.approx(0, abs=1e-6)
    some = empty.copy()
    some[0, :3, 0] = 1
    assert value("dice_cross_entropy", empty, some, dice_weight=1) == pytest.approx(3 / 4)
    assert value("iou_loss", empty, empty) == 0
    assert value("iou_loss", empty, some) == 1


@few
@given(masks, st.permutations(range(4)))
def test_a_loss_of_images_does_not_depend_on_their_order_or_batches(pair, order):
    truth, prediction = (np.concatenate([one, one[::-1] ** 2]) for one in pair)
    whole = value("dice_cross_entropy", truth, prediction)
    np.testing.assert_allclose(value("dice_cross_entropy", truth[order], prediction[order]), whole, rtol=1e-5)
    halves = [value("dice_cross_entropy", truth[i : i + 2], prediction[i : i + 2]) for i in (0, 2)]
    np.testing.assert_allclose(np.mean(halves), whole, rtol=1e-5)


@few
@given(pairs(classes=st.just(4)))
def test_class_ids_do_as_well_as_one_hot(pair):
    truth, prediction = pair
    ids = truth.argmax(-1).astype("uint8")
    for name in losses.names():
        wanted = value(name, truth, prediction)
        assert value(name, ids, prediction) == value(name, ids[..., None], prediction) == wanted


def test_a_truth_with_other_channels_is_refused():
    with pytest.raises(ValueError, match="3 channels; 1 or 2"):
        value("dice_loss", np.zeros((1, SIDE, SIDE, 3)), np.zeros((1, SIDE, SIDE, 2)))


def test_categorical_cross_entropy_of_one_class_is_refused():
    with pytest.raises(ValueError, match="several classes"):
        value("categorical_crossentropy", np.zeros((1, SIDE, SIDE, 1)), np.zeros((1, SIDE, SIDE, 1)))


def test_ssim_of_a_small_picture_is_refused():
    with pytest.raises(ValueError, match="not 10x12"):
        value("ssim_loss", np.zeros((1, 10, 12, 1)), np.zeros((1, 10, 12, 1)))


@few
@given(masks)
def test_ssim_is_that_of_tensorflow(pair):
    tf = pytest.importorskip("tensorflow")
    wanted = tf.image.ssim(*pair, max_val=1.0).numpy()
    np.testing.assert_allclose(evaluate(formulas.ssim, *pair), wanted, rtol=1e-4, atol=1e-5)


def test_sums_do_not_saturate_in_half_precision():
    """65536 pixels: float16 has no number beyond 65504, bfloat16 stops adding 1 at 256."""
    ones = np.ones((1, 256, 256, 1), "float32")
    for dtype in ("float16", "bfloat16"):
        half = keras.ops.cast(keras.ops.convert_to_tensor(ones), dtype)
        assert float(evaluate(formulas.dice_coef, half, half)) == 1
        assert value("dice_cross_entropy", half, half) == pytest.approx(0, abs=1e-6)


def test_sample_weights_leave_images_out():
    rng = np.random.default_rng(1)
    truth = (rng.random((3, SIDE, SIDE, 1)) > 0.5).astype("float32")
    prediction = rng.random(truth.shape).astype("float32")
    found = losses.SegmentationLoss(reduction="sum")(truth, prediction, sample_weight=np.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(float(found), 2 * value(losses.DEFAULT, truth[:2], prediction[:2]), rtol=1e-6)


@pytest.mark.parametrize("name", losses.names())
def test_a_loss_survives_being_saved(name):
    given_ = {"gamma": 1.5} if name == "focal" else {}
    loss = losses.build(name, given_)
    config = json.loads(json.dumps(keras.losses.serialize(loss)))
    again = keras.losses.deserialize(config)
    assert type(again) is losses.SegmentationLoss
    assert again.get_config() == loss.get_config()
    assert again.name == name
    assert again.parameters == given_


def test_every_parameter_does_something_and_has_limits():
    rng = np.random.default_rng(2)
    truth = (rng.random((2, SIDE, SIDE, 1)) > 0.7).astype("float32")
    prediction = rng.random(truth.shape).astype("float32")
    for name in losses.names():
        for key, default in losses.parameters(name).items():
            assert value(name, truth, prediction, **{key: default / 2}) != value(name, truth, prediction)
            for wrong in (-0.1, float("nan"), float("inf"), True, "1"):
                with pytest.raises(
                    UsageError, match=re.escape(f"{key} = {wrong!r} of the loss {name} is not a number")
                ):
                    losses.build(name, {key: wrong})


def test_a_focal_loss_without_gamma_is_weighted_cross_entropy():
    rng = np.random.default_rng(3)
    truth = (rng.random((2, SIDE, SIDE, 1)) > 0.7).astype("float32")
    prediction = rng.uniform(0.01, 0.99, truth.shape).astype("float32")
    found = value("focal", truth, prediction, gamma=0, alpha=0.5)
    assert found == pytest.approx(value("binary_crossentropy", truth, prediction) / 2, rel=1e-5)


def test_names_that_there_are_not():
    with pytest.raises(UsageError, match="no loss called 'dice_los'. Did you mean dice_loss?"):
        losses.build("dice_los")
    with pytest.raises(UsageError, match="the loss focal has no parameter 'gama'. Did you mean gamma?"):
        losses.build("focal", {"gama": 2})
    with pytest.raises(UsageError, match="the loss dice_loss has no parameter 'x'. There are: none"):
        losses.build("dice_loss", {"x": 2})


def test_the_default_is_registered_and_every_loss_has_a_numpy_version():
    assert losses.build().name == losses.DEFAULT == "dice_cross_entropy"
    assert losses.names() == sorted(learning.LOSSES)


def test_a_configuration_names_just_the_losses_and_parameters_that_there_are():
    named = get_args(configuration.Loss.model_fields["name"].annotation)
    assert sorted(named) == losses.names()
    for name in named:
        wanted = losses.parameters(name)
        assert configuration.Loss(name=name, **wanted).parameters == wanted
