"""Training as a command: what a run folder holds, what is refused, and a run that is killed and goes on."""

import csv
import dataclasses
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import crash
import numpy as np
import pytest
import trainable
from click.testing import CliRunner

keras = pytest.importorskip("keras")

from imagemask import manifest
from imagemask.cli import main
from imagemask.errors import InputError, UsageError
from imagemask.learn import begin, cache, checkpoint, crop, dataset, run, settings, train

SIDE = 32
TINY = """
[model]
levels = 2
filters = 4
dropout = 0.1
[schedule]
epochs = 3
batch_size = 4
[output]
previews = 2
"""


def workspace(folder: Path, *, cases=14, **how) -> Path:
    """A workspace with a dataset of random pictures, three of four for training, and a configuration."""
    pairs = {f"p{number:02d}": trainable.picture(number, (SIDE, SIDE), **how) for number in range(cases)}
    splits = ("train", "train", "train", "valid", "train", "test", "train")
    trainable.write(folder / "datasets" / "fake", pairs, classes=how.get("classes", 1), splits=splits)
    (folder / "tiny.toml").write_text(TINY)
    return folder


def call(here: Path, *words: object, code: int = 0) -> str:
    """The output of a command in ``here``, which must end with ``code``."""
    before = Path.cwd()
    os.chdir(here)
    try:
        done = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    finally:
        os.chdir(before)
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workspace in which a run came to its end, and what the command printed."""
    here = workspace(tmp_path_factory.mktemp("trained"))
    return here, call(here, "train", "--config", "tiny.toml", "--seed", 3)


@pytest.mark.slow
def test_a_run_holds_all_that_came_of_it(trained):
    here, output = trained
    folder = here / "runs" / "fake" / "001"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names >= {run.RECORD, run.SETTINGS, run.ENVIRONMENT, run.BEST, run.LAST, run.CHECKPOINT, run.HISTORY}
    assert names >= {run.CURVES, *(f"previews/epoch_{number:03d}.png" for number in (1, 2, 3))}
    assert not [name for name in names if ".tmp" in name]
    record = run.Run.open(folder).record
    data = dataset.read(here / "datasets" / "fake")
    assert record.digest == data.digest
    assert (record.height, record.width, record.channels, record.classes) == (SIDE, SIDE, 1, 1)
    assert (record.labels, record.mask_values) == (("thing 255",), (255,))
    assert record.ended == "all 3 epochs are done"
    assert run.Run.open(folder).dataset == (here / "datasets" / "fake").resolve()
    (environment,) = json.loads((folder / run.ENVIRONMENT).read_text())
    assert environment["backend"] == keras.config.backend()
    assert "epochs   3, the best of them" in output
    assert "waiting" in output


@pytest.mark.slow
def test_the_resolved_configuration_gives_the_same_settings(trained):
    folder = trained[0] / "runs" / "fake" / "001"
    whole = settings.load(folder / run.SETTINGS)
    assert (whole.seed, whole.model.given["filters"], whole.model.given["height"]) == (3, 4, SIDE)
    assert settings.load(folder / run.SETTINGS) == settings.parse(settings.dump(whole), place="again")


@pytest.mark.slow
def test_the_history_names_the_best_epoch(trained):
    folder = trained[0] / "runs" / "fake" / "001"
    rows = [line.split(",") for line in (folder / run.HISTORY).read_text().splitlines()]
    losses = [float(row[rows[0].index("val_loss")]) for row in rows[1:]]
    assert len(losses) == 3
    assert run.Run.open(folder).record.epoch == int(np.argmin(losses)) + 1
    assert checkpoint.state_of(folder / run.CHECKPOINT)["best"] == min(losses)


@pytest.mark.slow
def test_a_run_is_never_written_over(trained):
    here, _ = trained
    before = (here / "runs/fake/001" / run.RECORD).read_bytes()
    output = call(here, "train", "--out", "runs/fake/001", code=2)
    assert "runs/fake/001: is not empty. --resume --out runs/fake/001 goes on with it" in output
    assert (here / "runs/fake/001" / run.RECORD).read_bytes() == before
    assert "there is no run to go on with" in call(here, "train", "--resume", code=2)


@pytest.mark.slow
def test_a_run_that_has_ended_is_only_evaluated_again(trained):
    here, _ = trained
    before = (here / "runs/fake/001" / run.CHECKPOINT).read_bytes()
    call(here, "train", "--resume", "--out", "runs/fake/001")
    assert (here / "runs/fake/001" / run.CHECKPOINT).read_bytes() == before


@pytest.mark.slow
def test_resume_has_the_settings_of_the_run(trained):
    output = call(trained[0], "train", "--resume", "--out", "runs/fake/001", "--epochs", 9, "--seed", 1, code=2)
    assert "the settings of the run, and --epochs, --seed was given" in output


@pytest.mark.slow
def test_logs_for_tensorboard_hold_the_history(tmp_path):
    pytest.importorskip("tensorflow")
    read = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    here = workspace(tmp_path)
    (here / "tiny.toml").write_text(TINY + "tensorboard = true\n")
    call(here, "train", "--config", "tiny.toml", "--epochs", 2)
    folder = here / "runs/fake/001"
    with (folder / run.HISTORY).open() as lines:
        history = list(csv.DictReader(lines))
    for part, prefix in (("train", ""), ("validation", "val_")):
        logs = read.EventAccumulator(str(folder / train.TENSORBOARD / part), size_guidance={"tensors": 0})
        logs.Reload()
        for name in ("loss", "foreground_dice"):
            found = [float(tensor_of(event)) for event in logs.Tensors(f"epoch_{name}")]
            np.testing.assert_allclose(found, [float(row[prefix + name]) for row in history], rtol=1e-6)


def tensor_of(event):
    import tensorflow as tf

    return tf.make_ndarray(event.tensor_proto)


@pytest.mark.slow
def test_settings_that_were_edited_are_not_resumed_on(trained):
    here, _ = trained
    path = here / "runs/fake/001" / run.SETTINGS
    before = path.read_text()
    try:
        path.write_text(before.replace("epochs = 3", "epochs = 4"))
        assert "is not what runs/fake/001 began with" in call(
            here, "train", "--resume", "--out", "runs/fake/001", code=2
        )
    finally:
        path.write_text(before)


@pytest.mark.slow
def test_other_pixels_are_not_resumed_on(trained, tmp_path):
    here = workspace(tmp_path)
    (here / "runs").mkdir()
    source = trained[0] / "runs/fake/001"
    for path in source.rglob("*"):
        if path.is_file():
            target = here / "runs/fake/001" / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    folder = here / "datasets/fake"
    rows = manifest.read(folder)
    manifest.write(folder, rows.assign(digest=["0" * 64, *rows["digest"][1:]]))
    assert "was trained on other pixels" in call(here, "train", "--resume", "--out", "runs/fake/001", code=2)
    manifest.write(folder, rows)
    (folder / "split.csv").write_text("patient,split,fold\n")
    assert "was split anew since" in call(here, "train", "--resume", "--out", "runs/fake/001", code=2)


@pytest.mark.slow
def test_a_dataset_that_was_moved_is_named_anew(trained, tmp_path):
    here = tmp_path / "moved"
    shutil.copytree(trained[0], here)
    (here / "datasets").rename(here / "elsewhere")
    output = call(here, "train", "--resume", "--out", "runs/fake/001", code=4)
    assert "Say where it is: imagemask train DATASET --resume --out runs/fake/001" in output
    call(here, "train", "elsewhere/fake", "--resume", "--out", "runs/fake/001")
    assert run.Run.open(here / "runs/fake/001").dataset == (here / "elsewhere/fake").resolve()
    (here / "runs/fake/001" / run.SPLIT).unlink()
    assert "split.csv: is missing" in call(here, "train", "--resume", "--out", "runs/fake/001", code=4)


@pytest.mark.slow
def test_a_damaged_network_is_named(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained[0] / "runs/fake/001", folder)
    data = bytearray((folder / run.BEST).read_bytes())
    for damage in (data[: len(data) // 2], bytes(data[:-2000]) + b"?" * 2000, b""):
        (folder / run.BEST).write_bytes(damage)
        with pytest.raises(InputError, match=r"best\.keras: cannot be loaded"):
            run.Run.open(folder).model()


@pytest.mark.parametrize("package", ["tensorflow", "tensorboard"])
def test_logs_that_cannot_be_written_are_refused_before_an_epoch(tmp_path, monkeypatch, package):
    here = workspace(tmp_path)
    (here / "tiny.toml").write_text(TINY + "tensorboard = true\n")
    real = importlib.util.find_spec
    there = {"tensorflow", "tensorboard"} - {package}
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == package else (True if name in there else real(name, *more)),
    )
    output = call(here, "train", "--config", "tiny.toml", code=2)
    assert f"{package} is not installed, and output.tensorboard needs it" in output
    assert not (here / "runs").exists()


def test_a_backend_that_is_not_supported_is_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "imagemask", "train"],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "the Keras backend torch is not supported. Set KERAS_BACKEND to tensorflow or jax" in done.stderr


def test_what_is_missing_is_said_before_anything_is_made(tmp_path):
    here = workspace(tmp_path)
    assert "there is no dataset here" in call(tmp_path / "datasets", "train", code=2)
    assert "sees no GPU" in call(here, "train", "--require-gpu", code=2)
    assert "was not split into folds" in call(here, "train", "--fold", 1, code=2)
    assert "--batch-size" in call(here, "train", "--batch-size", 0, code=2)
    folder = here / "datasets/fake"
    manifest.write(folder, manifest.read(folder).assign(split=""))
    assert "was not split. imagemask split" in call(here, "train", code=2)
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("size", "given", "fitted"),
    [
        ((32, 32), {}, (32, 32)),
        ((30, 45), {}, (32, 48)),
        ((600, 300), {}, (512, 256)),
        ((32, 32), {"height": 64, "width": 48}, (64, 48)),
        (None, {}, (256, 256)),
        ((600, 300), {"crop_share": 0.3}, (240, 128)),
        (None, {"crop_share": 0.3}, (256, 256)),
    ],
)
def test_the_size_of_the_network_follows_from_the_pictures(tmp_path, size, given, fitted):
    sizes = [size or (20 + number, 24) for number in range(4)]
    pairs = {f"p{number}": trainable.picture(number, one) for number, one in enumerate(sizes)}
    data = dataset.read(trainable.write(tmp_path, pairs))
    keys = {name: f"{'data' if name == 'crop_share' else 'model'}.{name}" for name in given}
    chosen = settings.load(None, {keys[name]: value for name, value in given.items()})
    options = begin.fitted(chosen, data).model.options
    assert (options.height, options.width, options.channels, options.classes) == (*fitted, 1, 1)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"loss.name": "categorical_crossentropy"}, "which of one class is 0 whatever is predicted"),
        ({"model.final_activation": "softmax"}, "which of one class is 1 everywhere"),
        ({"loss.name": "ssim_loss", "model.height": 8}, "needs pictures of at least 11x11, and the network's are 8x32"),
        ({"loss.name": "basnet_hybrid_loss", "model.width": 8, "model.levels": 3}, "the network's are 32x8"),
    ],
)
def test_that_from_which_nothing_can_be_learnt_is_refused(tmp_path, given, reason):
    data = dataset.read(workspace(tmp_path, cases=7) / "datasets/fake")
    with pytest.raises(UsageError, match=reason) as refused:
        begin.fitted(settings.load(None, {"model.levels": 2} | given), data)
    assert refused.value.remedy.startswith("Leave ")
    begin.fitted(settings.load(None, {"loss.name": "ssim_loss", "model.height": 16, "model.levels": 2}), data)


def test_what_is_refused_leaves_no_run(tmp_path):
    here = workspace(tmp_path)
    (here / "odd.toml").write_text(TINY.replace("[model]", "[model]\nheight = 31"))
    (here / "hers").mkdir()
    for words in ((), ("--out", "mine"), ("--out", "hers")):
        for _ in range(2):  # the second is not told that a run is there
            output = call(here, "train", "--config", "odd.toml", *words, code=2)
            assert "2 levels need a height and a width that 2 divides" in output
    assert not list(here.rglob(run.RECORD))
    assert not (here / "mine").exists()
    assert list((here / "hers").iterdir()) == [], "her own folder stays, and empty"
    assert "there is no run to go on with" in call(here, "train", "--resume", code=2)
    assert "there is no run here" in call(here, "evaluate", code=2)


def test_all_that_is_made_of_a_batch_is_made_in_its_thread(tmp_path, monkeypatch):
    """Else the steps would wait for the rest of it, and nobody would count."""
    from imagemask.learn import loop

    coded, threads = loop.Teacher.coded, []

    def seen(self, labels):
        threads.append(threading.current_thread().name)
        return coded(self, labels)

    monkeypatch.setattr(loop.Teacher, "coded", seen)
    call(workspace(tmp_path), "train", "--config", "tiny.toml", "--epochs", 1)
    assert threads.count("batches") >= 3, "the steps of an epoch"


def test_classes_follow_from_the_labels(tmp_path):
    pairs = {f"p{number}": trainable.picture(number, classes=2) for number in range(4)}
    data = dataset.read(trainable.write(tmp_path, pairs, classes=2))
    assert begin.fitted(settings.load(), data).model.options.classes == 3
    with pytest.raises(UsageError, match=r"model.classes is 1, and fake has 2 \(thing 1, thing 2\)"):
        begin.fitted(settings.load(None, {"model.classes": 1}), data)


@pytest.mark.parametrize(
    ("source", "pictures"), [("images/1.JPG", True), ("imagesTr/lung_001.nii.gz", False), ("0001/1-001", False)]
)
def test_the_record_says_whether_picture_files_were_windowed(tmp_path, source, pictures):
    pairs = {f"p{number}": trainable.picture(number) for number in range(4)}
    data = dataset.read(trainable.write(tmp_path, pairs))
    data = dataclasses.replace(data, rows=data.rows.assign(source=source))
    (tmp_path / "run").mkdir()
    begin.write(tmp_path / "run", begin.fitted(settings.load(), data), data)
    assert run.Run.open(tmp_path / "run").record.from_pictures == pictures


def of_a_crop(folder):
    """A dataset of 14 pairs of 32x32: foreground in the corner of every other one, in the middle of every fourth."""
    here = workspace(folder)
    pairs = {}
    for number in range(14):
        image, mask = trainable.picture(number, (SIDE, SIDE), empty=True)
        if number % 2 == 0:
            mask[:4, :4] = 255
        if number % 4 == 0:
            mask[12:20, 10:20] = 255
        pairs[f"p{number:02d}"] = image, mask
    splits = ("train", "train", "train", "valid", "train", "test", "train")
    trainable.write(here / "datasets" / "fake", pairs, splits=splits)
    return here, dataset.read(here / "datasets" / "fake")


def test_what_a_crop_cuts_off_is_counted_where_it_is_learnt_from_or_chosen_by(tmp_path):
    _, data = of_a_crop(tmp_path)
    rows = data.rows[data.rows["split"].isin(["train", "valid"])]
    numbers = [int(case[1:]) for case in rows["case"]]
    pairs, whole = (sum(number % every == 0 for number in numbers) for every in (2, 4))
    found = crop.cut_off(data, 0.25)
    assert (found.pairs, found.cut, found.lost) == (pairs, pairs, pairs - whole)
    assert found.share == pytest.approx(16 * pairs / (16 * pairs + 80 * whole))
    assert f"off {pairs} of {pairs} pairs of train and valid that have some ({pairs - whole} lose all" in str(found)
    assert str(crop.cut_off(data, 0.0)) == ""
    assert "less than 0.1% of it" in str(dataclasses.replace(found, share=0.0001))
    (data.folder / "masks" / f"{rows['key'].iloc[1]}.png").unlink()
    with pytest.raises(InputError, match=f"{rows['key'].iloc[1]}.*imagemask verify"):
        crop.cut_off(data, 0.25)


def test_what_is_left_in_the_centre_is_what_counts_as_foreground(tmp_path):
    """Else pairs that show nothing would be drawn as those that show something."""
    _, data = of_a_crop(tmp_path)
    kept = cache.open_cache(data, height=16, width=16, channels=1, crop=0.25)
    shown = crop.as_shown(data, kept)
    assert shown.digest == data.digest
    assert shown.rows["foreground"].tolist() == [80 * (int(case[1:]) % 4 == 0) for case in data.rows["case"]]
    kept = cache.open_cache(data, height=8, width=8, channels=1, crop=0.45)
    corners = dataclasses.replace(data, rows=data.rows[data.rows["foreground"] == 16])
    with pytest.raises(UsageError, match="cuts all foreground off the training set of fake. Cut less off"):
        crop.as_shown(corners, kept)


@pytest.mark.slow
def test_a_run_is_trained_on_the_centre_and_says_so(tmp_path):
    here, data = of_a_crop(tmp_path)
    (here / "tiny.toml").write_text(TINY + "[data]\ncrop_share = 0.25\n")
    output = call(here, "train", "--config", "tiny.toml", "--epochs", 1)
    assert str(crop.cut_off(data, 0.25)) in output
    folder = here / "runs/fake/001"
    record = run.Run.open(folder).record
    assert (record.crop_share, record.height, record.width) == (0.25, SIDE // 2, SIDE // 2)
    order = train.Order.of(
        crop.as_shown(data, train._decoded(data, settings.load(folder / run.SETTINGS), fallback=folder)).part("train"),
        {key: number for number, key in enumerate(data.rows["key"])},
        settings.load(folder / run.SETTINGS),
    )
    assert 0 < sum(order.foreground) < len(order.foreground)
    written = json.loads((folder / "test/evaluation.json").read_text())
    assert written["crop_share"] == 0.25
    assert any("without 25.0% of it at each side" in note for note in written["notes"])
    assert "tiles" in call(here, "predict", folder, "datasets/fake/images", "--out", "out", "--tiles", "always", code=2)
    assert not (here / "out").exists()


def test_augmentation_is_shown_and_nothing_trained(tmp_path):
    here = workspace(tmp_path)
    output = call(here, "train", "--config", "tiny.toml", "--show-augmentation", "look.png")
    assert output.strip().endswith("look.png")
    assert (here / "look.png").read_bytes().startswith(b"\x89PNG")
    assert not (here / "runs").exists()


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path):
    """Killed at renames of its first, second and last epoch: before and after a checkpoint, and within a save."""
    hooks = crash.hook(tmp_path / "hooks")
    command = "train --config tiny.toml --out run"
    whole = workspace(tmp_path / "whole")
    done, renames = crash.run(hooks, whole, command)
    assert done.returncode == 0, done.stderr
    expected = left_by(whole / "run")
    for at in sorted({7, renames // 2, renames * 2 // 3}):
        here = workspace(tmp_path / str(at))
        killed, _ = crash.run(hooks, here, command, at=at)
        assert killed.returncode == -9, f"not killed at {at}: {killed.stderr}"
        if (here / "run" / run.BEST).is_file():  # whoever looks at it meanwhile leaves nothing behind
            call(here, "evaluate", "run", "--split", "valid")
        resumed, _ = crash.run(hooks, here, "train --resume --out run")
        assert resumed.returncode == 0, resumed.stderr
        assert left_by(here / "run") == expected, f"killed at rename {at} of {renames}"


def left_by(folder: Path) -> dict[str, object]:
    """What a run wrote: weights bit for bit, its history, its previews and its record."""
    models = {
        name: keras.saving.load_model(folder / name, compile=False).get_weights() for name in (run.BEST, run.LAST)
    }
    files = (run.HISTORY, run.RECORD, run.SETTINGS, *(f"previews/epoch_{number:03d}.png" for number in (1, 2, 3)))
    return {
        **{name: [array.tobytes() for array in weights] for name, weights in models.items()},
        **{name: (folder / name).read_bytes() for name in files},
    }


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_loses_only_the_epoch_under_way(tmp_path):
    """A real process, a real signal: before the second epoch's line is in the history, and before its checkpoint is."""
    hooks = crash.hook(tmp_path / "hooks")
    command = "train --config tiny.toml --out run"
    whole = workspace(tmp_path / "whole")
    call(whole, *command.split())
    expected = (whole / "run" / run.HISTORY).read_text()
    for name, told in ((run.HISTORY, 1), (run.CHECKPOINT, 2)):
        here = workspace(tmp_path / name)
        stopped, _ = crash.run(hooks, here, command, at=2, name=name, how="ctrl-c")
        assert (stopped.returncode, stopped.stdout) == (130, ""), stopped.stderr
        assert "Traceback" not in stopped.stderr
        said, _, advice = stopped.stderr.partition(" To go on: imagemask ")
        assert said.endswith("All epochs that came to their end are kept, and the one under way is not.")
        assert len(history_of(here / "run")) == told
        assert expected.startswith((here / "run" / run.HISTORY).read_text())
        went_on = call(here, *advice.split())
        assert [number for number in (1, 2, 3) if f"epoch {number:3}  loss" in went_on] == [2, 3]
        assert (here / "run" / run.HISTORY).read_text() == expected


TWO_DEVICES = """
import sys
import keras
if keras.config.backend() == "tensorflow":
    import tensorflow as tf
    card = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(card, [tf.config.LogicalDeviceConfiguration()] * 2)
from imagemask.cli import main
main(sys.argv[1:])
"""


def on_two_devices(here, *words):
    flags = "--xla_force_host_platform_device_count=2"
    return subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, "train", "--config", "tiny.toml", "--devices", "all", *words],
        cwd=here,
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_two_devices_train_the_network_that_one_trains(tmp_path):
    """Nothing in it sees a batch as a whole, so that each device may take its half: only the order of sums differs."""
    here = workspace(tmp_path)
    plain = TINY.replace("dropout = 0.1", 'normalization = "none"') + "[augmentation]\nenabled = false\n"
    (here / "tiny.toml").write_text(plain)
    done = on_two_devices(here, "--out", "two", "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert [one["devices"] for one in json.loads((here / "two" / run.ENVIRONMENT).read_text())] == [2]
    call(here, "train", "--config", "tiny.toml", "--out", "one", "--epochs", 2)
    one, two = (history_of(here / name) for name in ("one", "two"))
    assert len(one) == len(two) == 2
    for mine, other in zip(one, two, strict=True):
        assert mine.keys() == other.keys()
        assert other["loss"] == pytest.approx(mine["loss"], rel=1e-3)
        assert other["val_loss"] == pytest.approx(mine["val_loss"], rel=1e-3)
    refused = on_two_devices(here, "--batch-size", "3", "--out", "odd")
    assert refused.returncode == 2
    assert "2 devices cannot share batches of 3 images evenly. Give --batch-size 4" in refused.stderr


def history_of(folder):
    header, *rows = (line.split(",") for line in (folder / run.HISTORY).read_text().splitlines())
    return [dict(zip(header, map(float, row), strict=True)) for row in rows]
