"""The models: what they compute, in every precision; the seeds' networks to the parameter; what is refused.

Runs on the backend that Keras picks; test_learn_backends.py runs it on the other.
"""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

keras = pytest.importorskip("keras")

from learning import gradient

from imagemask.errors import UsageError
from imagemask.learn import losses, metrics, models
from imagemask.learn.models import attention_unet, unet

SMALL = {"height": 16, "width": 24, "levels": 3, "filters": 4}
SEEDS = {"normalization": "none", "upsampling": "transposed", "rescale_input": False}
PICTURES = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3)).astype("uint8")
UNET = {
    "default": {},
    "seeds": SEEDS,
    "seeds-normalised": {**SEEDS, "normalization": "batch", "normalization_last": True, "activation": "mish"},
    "group-residual": {"normalization": "group", "groups": 8, "residual": True, "upsampling": "transposed"},
    "wide-residual": {"kernel_size": 7, "dilation": 3, "max_filters": 4, "residual": True, "normalization_last": True},
    "dropout": {"dropout": 0.1, "dropout_by_level": False, "dropout_seed": 137, "max_filters": 6},
    "deep": {"deep_supervision": 1},
    "overlapping": {"classes": 3, "final_activation": "sigmoid"},
}
VARIANTS = [("unet", one) for one in UNET.values()] + [
    ("attention-unet", {}),
    ("attention-unet", {"deep_supervision": 1, "classes": 3}),
]
EACH = pytest.mark.parametrize(("name", "given_"), VARIANTS, ids=[*UNET, "attention-default", "attention-deep-several"])
BOTH = pytest.mark.parametrize("name", ["attention-unet", "unet"])


@pytest.fixture(autouse=True)
def _alike():
    """Every test draws the same weights; and whatever one sets, the next starts in float32."""
    keras.utils.set_random_seed(0)
    yield
    keras.mixed_precision.set_dtype_policy("float32")


def small(name="unet", **given_):
    return models.build(name, models.options(name, {**SMALL, **given_}))


def parameters(name, given_):
    """Counted without a weight being made: the seeds' networks would fill 500 MB."""
    with keras.StatelessScope(initialize_variables=False):
        count = models.build(name, models.options(name, given_)).count_params()
    keras.utils.clear_session()  # forgets the weights that wait to be made
    return count


def predict(model, pictures=PICTURES):
    """A list of outputs, as numpy."""
    found = model.predict(pictures, verbose=0)
    return found if isinstance(found, list) else [found]


@pytest.mark.parametrize(
    ("given_", "count"),
    [
        ({"levels": 8, "kernel_size": 9, "classes": 2, "height": 512, "width": 512, "dropout": 0.05}, 124_996_866),
        ({"levels": 7, "kernel_size": 5, "height": 512, "width": 512, "dropout": 0.05, "dilation": 2}, 31_127_153),
        ({"levels": 7, "kernel_size": 3, "dropout": 0.05, "activation": "mish"}, 31_110_001),
    ],
    ids=["lung-and-ovarian", "pancreas", "cervical"],
)
def test_the_seeds_networks_have_their_parameters(given_, count):
    assert parameters("unet", {**SEEDS, "filters": 16, **given_}) == count


@pytest.mark.slow
def test_a_seeds_network_is_made_and_predicts():
    given_ = {**SEEDS, "levels": 7, "kernel_size": 5, "height": 64, "width": 64}
    model = models.build("unet", models.options("unet", given_))
    assert model.count_params() == 31_127_153
    assert predict(model, np.zeros((1, 64, 64, 3), "uint8"))[0].shape == (1, 64, 64, 1)


@BOTH
def test_the_default_is_small(name):
    assert round(parameters(name, {}) / 1e6, 1) == 1.8


@EACH
def test_outputs_are_probabilities_at_the_size_of_the_input(name, given_):
    model = small(name, **given_)
    found = predict(model, PICTURES / np.float32(255))  # pictures of 0 to 255 fill a network that rescales nothing
    classes = given_.get("classes", 1)
    assert len(found) == 1 + given_.get("deep_supervision", 0)
    assert model.output_names[0] == "probabilities"
    for one in found:
        assert one.shape == (2, 16, 24, classes)
        assert one.dtype == np.float32
        assert (one >= 0).all()
        assert (one <= 1).all()
        assert one.std() > 0
        if classes > 1:
            assert np.allclose(one.sum(-1), 1, atol=1e-5) == ("final_activation" not in given_)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@BOTH
def test_half_precision_ends_in_float32(name, policy):
    keras.mixed_precision.set_dtype_policy(policy)
    model = small(name, deep_supervision=1, residual=True)
    assert [one.dtype for one in predict(model)] == [np.float32, np.float32]
    assert {one.dtype for one in model.weights} == {"float32"}
    half = {layer.compute_dtype for layer in model.layers if "encoder" in layer.name}
    assert half == {policy.removeprefix("mixed_")}


@pytest.mark.slow
@EACH
def test_every_weight_learns(name, given_):
    """One step by Keras' own training moves each of them: nothing hangs beside the network."""
    model = small(name, **given_)
    before = [keras.ops.convert_to_numpy(one.value) for one in model.trainable_weights]
    count = len(model.outputs)
    model.compile("adam", loss=[losses.build() for _ in range(count)], loss_weights=models.output_weights(model))
    truth = (PICTURES[..., :1] > 128).astype("uint8")
    model.fit(PICTURES, [truth] * count, batch_size=2, epochs=1, verbose=0)
    after = [keras.ops.convert_to_numpy(one.value) for one in model.trainable_weights]
    still = [
        one.path for one, old, new in zip(model.trainable_weights, before, after, strict=True) if (old == new).all()
    ]
    assert not still


@pytest.mark.slow
@BOTH
def test_training_learns_a_bright_square(name):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    pictures, truth = rng.integers(0, 60, (8, 16, 24, 3)).astype("uint8"), np.zeros((8, 16, 24, 1), "uint8")
    for i in range(8):
        truth[i, i : i + 7, 2 * i : 2 * i + 8] = 1
    pictures += 150 * truth
    model = small(name, filters=8)
    dice = metrics.build("foreground_dice")
    model.compile(keras.optimizers.Adam(0.01), loss=losses.build(), metrics=[dice])
    history = model.fit(pictures, truth, batch_size=4, epochs=20, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert history["foreground_dice"][-1] > 0.9
    again = model.evaluate(pictures, truth, batch_size=4, verbose=0, return_dict=True)
    assert again["foreground_dice"] > 0.9


def test_an_output_pixel_sees_a_field_around_itself():
    """Two levels of 3x3 kernels see 8 pixels and the interpolation's on every side: nothing is shifted."""
    keras.utils.set_random_seed(0)
    model = small(levels=2, height=64, width=64, normalization="none", activation="mish")
    slope = gradient(lambda x: model(x)[:, 20, 30, 0], np.full((1, 64, 64, 3), 100, "float32"))
    rows, columns = np.nonzero(np.abs(slope[0]).sum(-1))
    assert 20 - 12 <= rows.min() <= 20 - 8
    assert 20 + 8 <= rows.max() <= 20 + 12
    assert 30 - 12 <= columns.min() <= 30 - 8
    assert 30 + 8 <= columns.max() <= 30 + 12


def test_the_input_is_rescaled_where_it_is_asked_for():
    keras.utils.set_random_seed(0)
    raw = small(rescale_input=False)
    scaled = small()
    scaled.set_weights(raw.get_weights())
    np.testing.assert_allclose(predict(scaled)[0], predict(raw, PICTURES / np.float32(255))[0], atol=1e-5)


def test_narrowing_before_a_bilinear_doubling_is_narrowing_after_it():
    narrow, double = keras.layers.Conv2D(2, 1), keras.layers.UpSampling2D(2, interpolation="bilinear")
    features = np.random.default_rng(0).normal(size=(1, 5, 6, 4)).astype("float32")
    first, after = double(narrow(features)), narrow(double(features))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(first), keras.ops.convert_to_numpy(after), atol=1e-5)


def test_an_attention_gate_only_dims_the_skip():
    model = small("attention-unet")
    gate = keras.Model(model.input, [model.get_layer(one).output for one in ("encoder_0_2_relu", "gate_0")])
    skip, dimmed = predict(gate)
    assert (np.abs(dimmed) <= np.abs(skip)).all()
    assert (dimmed != skip).any()
    weight = keras.Model(model.input, model.get_layer("gate_0_weight").output)
    np.testing.assert_allclose(predict(weight)[0] * skip, dimmed, atol=1e-6)


@BOTH
def test_deep_supervision_is_left_behind_after_training(name):
    model = small(name, deep_supervision=1)
    plain = models.inference(model)
    assert len(plain.outputs) == 1
    np.testing.assert_array_equal(predict(plain)[0], predict(model)[0])
    assert models.output_weights(model) == [2 / 3, 1 / 3]
    assert models.inference(plain) is plain
    assert models.output_weights(plain) == [1]


@pytest.mark.slow
@EACH
def test_a_model_survives_being_saved(name, given_, tmp_path):
    model = small(name, **given_)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for old, new in zip(predict(model), predict(again), strict=True):
        np.testing.assert_array_equal(old, new)


def test_names_of_layers_do_not_depend_on_what_was_built_before():
    assert [layer.name for layer in small().layers] == [layer.name for layer in small().layers]


# --- options ---


@given(st.integers(2, 8), st.integers(1, 600), st.integers(1, 600))
def test_a_size_that_does_not_fit_names_those_that_do(levels, height, width):
    options = unet.Options(levels=levels, height=height, width=width)
    step = 2 ** (levels - 1)
    if height % step == width % step == 0:
        unet.check_size(options)
        return
    with pytest.raises(UsageError) as caught:
        unet.check_size(options)
    message = str(caught.value)
    assert f"{height}x{width}" in message
    offered = [int(word) for word in message.split("Sizes that fit: ")[1].replace(",", " ").split() if word.isdigit()]
    if " levels" in message.split("Sizes that fit: ")[1]:
        fewer = offered.pop()
        unet.check_size(unet.Options(levels=fewer, height=height, width=width))
        with pytest.raises(UsageError):
            unet.check_size(unet.Options(levels=fewer + 1, height=height, width=width))
    assert offered
    assert all(size > 0 and size % step == 0 for size in offered)


def test_a_size_that_does_not_fit_in_words():
    with pytest.raises(UsageError) as caught:
        small(height=500, width=30)
    assert str(caught.value) == (
        "3 levels need a height and a width that 4 divides, not 500x30 (height x width). "
        "Sizes that fit: width 28 or 32, or use 2 levels"
    )


@BOTH
def test_a_model_refuses_a_size_before_it_is_built(name):
    with pytest.raises(UsageError, match="that 4 divides, not 16x26"):
        small(name, width=26)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"fliters": 3}, "the model unet has no option 'fliters'. Did you mean filters?"),
        ({"zzz": 3}, "the model unet has no option 'zzz'. There are: activation, "),
        ({"filters": 0}, "the option filters = 0 of the model unet: Input should be greater than or equal to 1"),
        ({"filters": "x"}, "the option filters = 'x' of the model unet: Input should be a valid integer"),
        ({"activation": "gelu"}, "the option activation = 'gelu' of the model unet: Input should be 'relu' or 'mish'"),
        ({"kernel_size": 4}, "the model unet: kernel_size is 4, and must be odd"),
        ({"levels": 8, "dropout": 0.2}, "the model unet: dropout 0.2 times the level comes to 1.4 at the deepest"),
        ({"levels": 3, "deep_supervision": 2}, "the model unet: deep_supervision is 2; 3 levels have 1 to offer"),
    ],
)
def test_wrong_options_are_named(given_, message):
    with pytest.raises(UsageError) as caught:
        models.options("unet", given_)
    assert str(caught.value).startswith(message)


def test_names():
    assert models.names() == ["attention-unet", "unet"]
    with pytest.raises(UsageError, match="no model called 'unett'. Did you mean unet?"):
        models.load("unett")
    with pytest.raises(UsageError, match="There are: attention-unet, unet"):
        models.build("resnext")


def test_the_options_of_another_model_are_refused():
    with pytest.raises(TypeError, match=r"attention-unet takes imagemask.learn.models.attention_unet.Options"):
        models.build("attention-unet", unet.Options())


@BOTH
def test_every_option_has_a_default_and_a_description(name):
    for key, field in models.load(name).Options.model_fields.items():
        assert not field.is_required(), key
        assert field.description, key


def test_options_know_what_a_level_has():
    options = attention_unet.Options(levels=8, filters=16, max_filters=300, kernel_size=9, dilation=3, dropout=0.06)
    assert [options.filters_at(i) for i in range(8)] == [16, 32, 64, 128, 256, 300, 300, 300]
    assert [options.kernel_at(i) for i in range(8)] == [9, 7, 5, 3, 3, 3, 3, 3]
    assert [options.dilation_at(i) for i in range(8)] == [3, 2, 1, 1, 1, 1, 1, 1]
    assert [options.dropout_at(i) for i in range(3)] == [0, 0.06, 0.12]


@settings(max_examples=10)
@given(st.integers(1, 4), st.sampled_from(["auto", "sigmoid", "softmax"]))
def test_the_output_follows_the_classes(classes, chosen):
    wanted = chosen if chosen != "auto" else "softmax" if classes > 1 else "sigmoid"
    assert unet.Options(classes=classes, final_activation=chosen).output == wanted


def test_a_configuration_is_checked_without_keras():
    code = (
        "import sys; from imagemask.learn import models; "
        "[models.options(name, {'levels': 4}) for name in models.names()]; "
        "assert not {'keras', 'numpy', 'jax', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("classes", [1, 2, 4])
@pytest.mark.parametrize("activation", ["auto", "sigmoid"])
@pytest.mark.parametrize("prior", [0.02, 0.3])
def test_a_fresh_network_predicts_the_prior_of_foreground(classes, activation, prior):
    """With features of 0, what the last biases say: background and each class, whatever makes probabilities."""
    model = small(classes=classes, final_activation=activation, prior=prior)
    model.set_weights([value if "bias" in one.path else value * 0 for one, value in _weights(model)])
    found = model.predict_on_batch(PICTURES)
    foreground = found[..., 0] if classes == 1 else 1 - found[..., 0]
    np.testing.assert_allclose(foreground, prior, rtol=1e-4)
    if classes > 1:
        np.testing.assert_allclose(found[..., 1:], prior / (classes - 1), rtol=1e-4)


def _weights(model):
    return zip(model.weights, model.get_weights(), strict=True)
