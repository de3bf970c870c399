"""The export of a network: the same masks elsewhere, what travels along, what is refused.

What TensorFlow writes is tested where Keras runs on it; on JAX, that it is refused.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

keras = pytest.importorskip("keras")

from imagemask import images, pixels
from imagemask.cli import main as command_line
from imagemask.cli.export import export_model
from imagemask.errors import InputError, UsageError
from imagemask.learn import export, infer, models
from imagemask.learn.run import BEST, LAST, Record, Run

TENSORFLOW = keras.config.backend() == "tensorflow"
on_tensorflow = pytest.mark.skipif(not TENSORFLOW, reason="TensorFlow writes it")
on_jax = pytest.mark.skipif(TENSORFLOW, reason="of the other backends")
CLOSE = 1e-4
SIZE = {"levels": 2, "filters": 4, "height": 32, "width": 32, "channels": 1}
NETWORKS = {
    "default": ("unet", {}),
    "several": ("unet", {"classes": 3, "normalization": "group", "residual": True}),
    "seeds": ("unet", {"normalization": "none", "upsampling": "transposed", "activation": "mish", "dropout": 0.1}),
    "attention-deep": ("attention-unet", {"levels": 3, "deep_supervision": 1}),
    "bfloat16": ("unet", {"classes": 2}),
}
EACH = pytest.mark.parametrize("name", NETWORKS)
LABELS = ("tumor", "cyst")
NOISE = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 1)).astype("uint8")


@pytest.fixture(autouse=True)
def _float32():
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Random ones, and those of a phantom: uint8, N x 32 x 32 x 1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("workspace"))
        for words in ("phantom lung-tumor --patients 2 --size 32 --slices 12", "build lung-tumor"):
            done = CliRunner().invoke(command_line, words.split(), catch_exceptions=False)
            assert done.exit_code == 0, done.output
        phantom = [images.read_png(path) for path in sorted(Path("datasets/lung-tumor/images").glob("*.png"))]
    assert len(phantom) >= 4
    assert np.std(phantom) > 0
    return np.concatenate([np.stack(phantom)[..., None], NOISE])


def make_run(folder, network, **changes):
    """A run whose best network is this one: what export needs of a training."""
    classes = network.outputs[0].shape[-1]
    given_ = {
        "dataset": "lung-tumor",
        "folder": "../../../datasets/lung-tumor",
        "digest": "d" * 64,
        "fold": None,
        "labels": LABELS[: max(1, classes - 1)],
        "mask_values": (255,) if classes == 1 else tuple(range(1, classes)),
        **dict(zip(("height", "width", "channels"), network.input_shape[1:], strict=True)),
        "classes": classes,
        "recipe": {"generator": "lung-tumor", "window": ["lung"], "size": 32},
        "background": 7,
        "crop_share": 0.125,
        "source": {"licence": "CC0"},
        "threshold": 0.25,
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    network.save(folder / BEST)
    run = Run(folder, Record(**given_))
    run.save()
    return run


def sure(name, *, policy="float32"):
    """A network whose probabilities lie all over 0 to 1, as a trained one's do: logits of mean 0 and deviation 2."""
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(policy)
    kind, options = NETWORKS[name]
    network = models.build(kind, models.options(kind, {**SIZE, **options}))
    keras.config.set_dtype_policy("float32")
    head = network.get_layer("logits")
    logits = keras.Model(network.input, head.output).predict_on_batch(NOISE)
    kernel, bias = head.get_weights()
    scale = 2 / logits.std((0, 1, 2))
    head.set_weights([scale * kernel, -scale * (logits.mean((0, 1, 2)) - bias)])
    return network


def tiny(classes=1):
    """The least network, for what any would do."""
    image = keras.Input((32, 32, 1))
    return keras.Model(image, keras.layers.Conv2D(classes, 1, activation="sigmoid")(image))


def gap(probabilities):
    """The threshold at which no rounding decides: the middle of the widest gap between its central values."""
    inside = np.sort(np.concatenate([infer.foreground(one).ravel() for one in probabilities]))
    central = inside[len(inside) // 4 : -len(inside) // 4]
    wide = np.diff(central).argmax()
    return float((central[wide] + central[wide + 1]) / 2)


def decided(probabilities, threshold):
    return [infer.decide(one, threshold) for one in probabilities]


@pytest.fixture(scope="module")
def exported(tmp_path_factory, pictures):
    """Once for each network and format: the run, what the export says, and the probabilities of the Keras model."""
    made = {}

    def of(name, to):
        if (name, to) not in made:
            folder = tmp_path_factory.mktemp(f"{name}-{to}")
            run = make_run(folder, sure(name, policy="mixed_bfloat16" if name == "bfloat16" else "float32"))
            network, _ = export.in_float32(run.model())
            truth = np.concatenate([network.predict_on_batch(pictures[i : i + 5]) for i in range(0, len(pictures), 5)])
            run = run.with_record(threshold=gap(truth))
            made[name, to] = run, export.export(run, to), truth
        return made[name, to]

    return of


def in_onnxruntime(path, pictures):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    return session.run(["probabilities"], {"image": pictures.astype("float32")})[0]


def in_tensorflow(path, pictures):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))  # it holds the weights, and must outlive the call
    return loaded.serve(tf.constant(pictures, tf.float32)).numpy()


ELSEWHERE = {"onnx": in_onnxruntime, "savedmodel": in_tensorflow}
BOTH = pytest.mark.parametrize("to", ELSEWHERE)


@on_tensorflow
@EACH
@BOTH
def test_the_masks_elsewhere_are_those_of_the_model(exported, pictures, name, to):
    run, done, truth = exported(name, to)
    found = ELSEWHERE[to](done.path, pictures)
    assert found.dtype == np.float32
    assert found.shape == truth.shape
    assert np.abs(found - truth).max() < CLOSE
    masks = decided(truth, run.threshold)
    assert 0.1 < np.mean([mask > 0 for mask in masks]) < 0.9
    assert np.array_equal(decided(found, run.threshold), masks)


@on_tensorflow
@BOTH
def test_any_number_of_pictures_at_once_gives_the_same(exported, pictures, to):
    _, done, truth = exported("default", to)
    for count in (1, 2, 7):
        assert np.abs(ELSEWHERE[to](done.path, pictures[:count]) - truth[:count]).max() < CLOSE


@on_tensorflow
def test_the_onnx_file_fixes_the_size_and_leaves_the_batch_free(exported):
    import onnx

    run, done, _ = exported("several", "onnx")
    document = onnx.load(str(done.path))
    ends = [document.graph.input[0], document.graph.output[0]]
    assert [end.name for end in ends] == ["image", "probabilities"]
    assert len(document.graph.input) == len(document.graph.output) == 1
    shapes = [[one.dim_param or one.dim_value for one in end.type.tensor_type.shape.dim] for end in ends]
    assert shapes == [["batch", 32, 32, 1], ["batch", 32, 32, 3]]
    assert [one.version for one in document.opset_import if one.domain == ""] == [15]  # what old runtimes know, too
    assert run.folder / "model.onnx" == done.path


STRANGER = """
import json, sys
sys.modules.update(dict.fromkeys(("imagemask", "keras", "tensorflow", "jax")))
import numpy as np
import onnxruntime

path, pictures, answer = sys.argv[1:]
session = onnxruntime.InferenceSession(path)
told = session.get_modelmeta().custom_metadata_map
values = np.load(pictures).astype("float32")
assert values.shape[1:] == tuple(json.loads(told[one]) for one in ("height", "width", "channels"))
found = session.run([session.get_outputs()[0].name], {session.get_inputs()[0].name: values})[0]
if json.loads(told["classes"]) == 1:
    masks = found[..., 0] >= json.loads(told["threshold"])
else:
    masks = np.where(1 - found[..., 0] >= json.loads(told["threshold"]), found[..., 1:].argmax(-1) + 1, 0)
assert masks.max() <= len(json.loads(told["labels"]))
np.save(answer, masks.astype("uint8"))
"""


@on_tensorflow
@pytest.mark.parametrize("name", ["default", "several"])
def test_a_stranger_makes_the_masks_from_the_onnx_file_alone(exported, pictures, name, tmp_path):
    run, done, truth = exported(name, "onnx")
    np.save(tmp_path / "pictures.npy", pictures)
    words = [str(done.path), str(tmp_path / "pictures.npy"), str(tmp_path / "masks.npy")]
    subprocess.run([sys.executable, "-c", STRANGER, *words], check=True)
    assert np.array_equal(np.load(tmp_path / "masks.npy"), decided(truth, run.threshold))


@on_tensorflow
def test_the_card_travels_along(exported):
    import onnx

    run, done, _ = exported("several", "onnx")
    props = {one.key: one.value for one in onnx.load(str(done.path)).metadata_props}
    assert {key: value if isinstance(done.card[key], str) else json.loads(value) for key, value in props.items()} == (
        done.card
    )
    saved = exported("several", "savedmodel")
    assert json.loads((saved[1].path / "assets.extra" / "imagemask.json").read_text()) == saved[1].card == done.card
    assert done.card == export.card(run)


def test_the_card_says_what_goes_in_and_what_comes_out(tmp_path):
    run = make_run(tmp_path, tiny(3))
    card = export.card(run)
    assert card["labels"] == ["tumor", "cyst"]
    assert card["threshold"] == 0.25
    assert [card[name] for name in ("height", "width", "channels", "classes")] == [32, 32, 1, 3]
    assert card["window"] == [list(pixels.PRESETS["lung"])]
    assert (card["background"], card["crop_share"]) == (7, 0.125)
    assert card["source"] == {"licence": "CC0"}
    assert card["recipe"] == run.record.recipe
    assert json.loads(json.dumps(card)) == card


@given(windows=st.lists(st.sampled_from(["lung", "bone", "-160:240"]), min_size=3, max_size=3) | st.just([]))
def test_the_card_has_a_window_in_source_units_for_each_channel(windows):
    record = Record(
        dataset="a", folder="..", digest="", fold=None, labels=("t",), mask_values=(255,), height=32, width=32,
        channels=3, classes=1, recipe={"window": windows},
    )  # fmt: skip
    assert export.card(Run(Path(), record))["window"] == [list(pixels.parse_window(one)) for one in windows]


@pytest.mark.parametrize("name", ["attention-deep", "seeds"])
def test_in_float32_every_layer_computes_in_it_with_the_same_weights(name):
    network = sure(name, policy="mixed_bfloat16")
    rebuilt, notes = export.in_float32(network)
    assert {layer.compute_dtype for layer in rebuilt.layers} == {"float32"}
    assert len(rebuilt.outputs) == 1
    assert "bfloat16" in notes[0]
    plain = sure(name)
    plain.set_weights(network.get_weights())
    rebuilt_from, expected = (models.inference(one).predict_on_batch(NOISE) for one in (network, plain))
    assert np.abs(rebuilt.predict_on_batch(NOISE) - expected).max() < CLOSE
    assert np.abs(rebuilt_from - expected).max() > 10 * CLOSE  # there is a difference to be made


def test_a_network_in_float32_is_left_as_it_is():
    network = tiny()
    assert export.in_float32(network) == (network, ())


@on_tensorflow
def test_notes_say_what_a_user_would_not_expect(exported):
    _, done, _ = exported("bfloat16", "onnx")
    assert any("bfloat16" in note for note in done.notes)
    _, plain, _ = exported("default", "onnx")
    assert plain.notes == ()


def test_without_a_threshold_the_card_has_a_half_and_a_note_says_so(tmp_path):
    run = make_run(tmp_path, tiny(), threshold=None)
    assert export.card(run)["threshold"] == 0.5
    assert any("0.5" in note for note in export.export(run, "keras").notes)


def test_the_keras_file_is_the_run_s_own(tmp_path):
    run = make_run(tmp_path / "run", tiny())
    done = export.export(run, "keras", tmp_path / "new" / "there.keras")
    assert done.path.read_bytes() == (run.folder / BEST).read_bytes()
    assert export.export(run, "keras").path == run.folder / "model.keras"


@on_jax
@BOTH
def test_another_backend_is_refused_with_the_remedy(tmp_path, to):
    run = make_run(tmp_path, tiny())
    with pytest.raises(UsageError, match="Keras runs on jax.*KERAS_BACKEND=tensorflow"):
        export.export(run, to)
    assert not (tmp_path / export.NAMES[to]).exists()


@on_tensorflow
@pytest.mark.parametrize("missing", ["onnx", "tf2onnx"])
def test_a_missing_package_is_refused_with_the_pip_line(tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    run = make_run(tmp_path, tiny())
    with pytest.raises(UsageError, match=rf"^{missing} not installed.*pip install 'imagemask\[export\]'"):
        export.export(run, "onnx")


@pytest.mark.parametrize("to", export.NAMES)
def test_a_missing_network_is_named(tmp_path, to):
    run = make_run(tmp_path, tiny())
    (tmp_path / BEST).unlink()
    with pytest.raises(InputError if TENSORFLOW or to == "keras" else UsageError, match="best|TensorFlow"):
        export.export(run, to)
    assert {path.name for path in tmp_path.iterdir()} == {"run.json"}


@pytest.mark.parametrize("name", [BEST, LAST])
def test_the_run_s_own_networks_are_not_written_over(tmp_path, name):
    run = make_run(tmp_path, tiny())
    before = (tmp_path / BEST).read_bytes()
    with pytest.raises(UsageError, match="own network"):
        export.export(run, "keras", tmp_path / "x" / ".." / name)
    assert (tmp_path / BEST).read_bytes() == before


@pytest.mark.parametrize("to", ["onnx", "keras"])
def test_a_folder_is_no_place_for_a_file(tmp_path, to):
    run = make_run(tmp_path / "run", tiny())
    with pytest.raises(UsageError, match="is a folder"):
        export.export(run, to, tmp_path)


def test_what_is_no_savedmodel_is_not_replaced_by_one(tmp_path):
    run = make_run(tmp_path / "run", tiny())
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").touch()
    for place in (mine, mine / "thesis.tex"):
        with pytest.raises(UsageError, match="is no SavedModel"):
            export.export(run, "savedmodel", place)
    assert (mine / "thesis.tex").exists()


@on_tensorflow
@BOTH
def test_an_earlier_export_is_replaced_and_nothing_else_is_left(tmp_path, to):
    run = make_run(tmp_path, tiny())
    place = tmp_path / export.NAMES[to]
    if to == "savedmodel":
        place.mkdir()
        (place / "saved_model.pb").touch()
    else:
        place.touch()
    (tmp_path / f".{place.name}.tmp").mkdir()  # of an export that was killed
    done = export.export(run, to)
    assert done.path == place
    assert ELSEWHERE[to](place, np.zeros((1, 32, 32, 1), "uint8")).shape == (1, 32, 32, 1)
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", BEST, place.name}


def test_a_failed_export_leaves_the_earlier_one(tmp_path, monkeypatch):
    run = make_run(tmp_path, tiny())
    (tmp_path / "model.keras").write_bytes(b"earlier")

    def full(source, target):
        Path(target).write_bytes(b"a part")
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        export.export(run, "keras")
    assert (tmp_path / "model.keras").read_bytes() == b"earlier"
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", BEST, "model.keras"}


# --- the command ---


def invoke(*words):
    return CliRunner().invoke(export_model, [str(word) for word in words])


def test_the_command_prints_the_path_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs" / "lung-tumor" / "001", tiny(), threshold=None)
    done = invoke("--to", "keras")
    assert done.exit_code == 0, done.output
    assert done.stdout == "runs/lung-tumor/001/model.keras\n"
    assert "threshold" in done.stderr


@on_tensorflow
@BOTH
def test_the_command_prints_json_and_no_noise(tmp_path, to):
    run = make_run(tmp_path, tiny())
    done = invoke(tmp_path, "--to", to, "--out", tmp_path / "there", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["schema"] == "imagemask.export-model/1"
    assert document["format"] == to
    assert Path(document["path"]) == tmp_path / "there"
    assert document["model"] == export.card(run)


def test_the_command_offers_every_format():
    (to,) = [one for one in export_model.params if one.name == "to"]
    assert list(to.type.choices) == list(export.NAMES)


def test_the_command_refuses_what_is_no_run(tmp_path):
    assert isinstance(invoke(tmp_path, "--to", "onnx").exception, InputError)
