"""The epochs of a training: what a resumed run writes, and what several devices make of the same batches."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from imagemask.errors import InputError
from imagemask.learn import backend, checkpoint, loop, run, settings
from imagemask.learn.complaints import Origin
from imagemask.learn.progress import Progress

SIDE, COUNT, BATCH = 32, 12, 4
NETWORK = {"levels": 2, "filters": 4, "height": SIDE, "width": SIDE, "channels": 1, "classes": 1, "dropout": 0.2}
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (COUNT, SIDE, SIDE, 1), np.uint8)
LABELS = (IMAGES[..., 0] > 128).astype(np.uint8)


class Quiet:
    """A watch that keeps what it is told."""

    steps = True

    def __init__(self):
        self.rows, self.losses = [], []

    def at(self, place):
        pass

    def begins(self, epoch, steps):
        pass

    def step(self, loss):
        self.losses.append(loss)

    def ended(self, row, *, best):
        self.rows.append((row, best))

    def note(self, text):
        pass


class Stop(keras.callbacks.Callback):
    """Ends a training after an epoch, as if it had been killed after the checkpoint."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training |= epoch + 1 >= self.epoch


def configured(**changes):
    tree = {
        "model": NETWORK,
        "schedule": {"epochs": 4, "batch_size": BATCH, "decay": "plateau", "reduce_patience": 1},
        **changes,
    }
    return settings.validated(tree, Origin(""))


def trained(folder: Path, chosen, *, until=99, seed=0):
    """A training into ``folder``, resumed from what is there, up to the end of an epoch."""
    watch = Quiet()
    with backend.computing(chosen.precision, "one") as devices:
        teacher = loop.teacher(chosen, devices=devices)
        path = folder / run.CHECKPOINT
        progress = Progress.of(checkpoint.load(path, teacher.model)) if path.exists() else Progress(0.001)
        loop.fit(
            teacher,
            lessons(teacher, progress.epoch, seed),
            next(lessons(teacher, 0, seed)),
            validation=loop.Validation(IMAGES, LABELS, range(6), truth=teacher.truth, batch_size=BATCH, weighted=False),
            callbacks=[
                loop.Steps(watch),
                loop.Ends(teacher, chosen, progress, folder=folder, watch=watch, preview=lambda *_: None),
                Stop(until),
            ],
            schedule=(progress.epoch, chosen.schedule.epochs, COUNT // BATCH),
        )
    return teacher, progress, watch


def lessons(teacher, epoch, seed):
    while True:
        order = np.random.default_rng([seed, epoch]).permutation(COUNT).reshape(-1, BATCH)
        for rows in order:
            yield IMAGES[rows].astype(np.float32), teacher.truth(LABELS[rows])
        epoch += 1


def test_a_resumed_run_ends_with_the_same_bytes(tmp_path):
    whole, half = tmp_path / "whole", tmp_path / "half"
    for folder in (whole, half):
        folder.mkdir()
    chosen = configured()
    straight, _, _ = trained(whole, chosen)
    trained(half, chosen, until=2)
    resumed, progress, watch = trained(half, chosen)
    assert progress.epoch == 4
    assert [row["epoch"] for row, _ in watch.rows] == [3, 4]
    for one, other in zip(straight.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (whole / run.HISTORY).read_bytes() == (half / run.HISTORY).read_bytes()
    assert checkpoint.state_of(whole / run.CHECKPOINT) == checkpoint.state_of(half / run.CHECKPOINT)


def test_what_a_run_goes_on_from_is_on_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    trained(tmp_path, configured(), until=1)
    assert {(tmp_path / name).stat().st_ino for name in (run.BEST, run.CHECKPOINT)} <= {*synced}


def test_another_order_gives_other_weights(tmp_path):
    ends = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        ends.append(trained(folder, configured(), until=1, seed=seed)[0].model.get_weights()[0])
    assert not np.array_equal(*ends)


@pytest.mark.parametrize("supervised", [0, 1])
def test_the_saved_network_predicts_as_the_trained_one(tmp_path, supervised):
    chosen = configured(model={**NETWORK, "levels": 3, "deep_supervision": supervised})
    teacher, _, watch = trained(tmp_path, chosen, until=1)
    assert watch.rows[0][1], "the first epoch is the best so far"
    once = {"loss", "foreground_dice", "foreground_iou", "foreground_sensitivity", "foreground_specificity"}
    row = dict(watch.rows[0][0])
    assert row.keys() == {"epoch", "learning_rate", "seconds", *once, *(f"val_{name}" for name in once)}
    validation = loop.Validation(IMAGES, LABELS, range(6), truth=teacher.truth, batch_size=BATCH, weighted=False)
    whole = teacher.model.evaluate(validation, verbose=0, return_dict=True)["loss"]
    assert row["val_loss"] == pytest.approx(whole, rel=1e-5), "of all outputs: it is what was made small"
    found = teacher.model.predict_on_batch(IMAGES[:BATCH])
    expected = found[0] if supervised else found
    saved = keras.saving.load_model(tmp_path / run.BEST, compile=False)
    np.testing.assert_allclose(saved.predict_on_batch(IMAGES[:BATCH]), expected, atol=1e-6)


def test_a_bfloat16_training_saves_a_float32_network(tmp_path):
    teacher, _, _ = trained(tmp_path, configured(precision="bfloat16"), until=1)
    assert "bfloat16" in {layer.compute_dtype for layer in teacher.model.layers}
    saved = keras.saving.load_model(tmp_path / run.BEST, compile=False)
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32", "Keras is as it was"


def test_a_weighted_validation_has_the_same_loss():
    chosen = configured()
    found = []
    for devices in (1, 2):
        teacher = loop.teacher(chosen, devices=devices)
        validation = loop.Validation(
            IMAGES, LABELS, range(6), truth=teacher.truth, batch_size=BATCH, weighted=devices > 1
        )
        assert len(validation[1][0]) == (2 if devices == 1 else BATCH)
        found.append(teacher.model.evaluate(validation, verbose=0, return_dict=True))
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert found[1][name] == pytest.approx(value, rel=1e-5), name


def test_several_classes_are_one_hot():
    teacher = loop.teacher(configured(model={**NETWORK, "classes": 3}), devices=1)
    truth = teacher.truth(np.array([[[0, 1], [2, 0]]], np.uint8))
    assert truth.dtype == np.uint8
    np.testing.assert_array_equal(truth.argmax(-1), [[[0, 1], [2, 0]]])
    np.testing.assert_array_equal(truth.sum(-1), 1)


@pytest.mark.parametrize(
    ("devices", "advice"), [(1, "--batch-size 2"), (2, "--batch-size 2"), (3, "a smaller network, or smaller pictures")]
)
def test_too_little_memory_names_the_batch_size_to_try(devices, advice):
    """One that the devices can share."""
    teacher = loop.teacher(configured(), devices=1)
    teacher = dataclasses.replace(teacher, devices=devices)

    def exhausted():
        yield next(lessons(teacher, 0, 0))
        raise MemoryError("RESOURCE_EXHAUSTED: out of memory")

    validation = loop.Validation(IMAGES, LABELS, range(6), truth=teacher.truth, batch_size=BATCH, weighted=False)
    with pytest.raises(InputError, match=f"Try {advice}"):
        loop.fit(
            teacher, exhausted(), next(lessons(teacher, 0, 0)), validation=validation, callbacks=[], schedule=(0, 1, 3)
        )


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"no", lambda data: b""])
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    teacher, progress, _ = trained(tmp_path, configured(), until=1)
    path = tmp_path / run.CHECKPOINT
    assert checkpoint.state_of(path) == json.loads(json.dumps(progress.state()))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"checkpoint\.npz: is damaged"):
        checkpoint.load(path, teacher.model)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    trained(tmp_path, configured(), until=1)
    other = loop.teacher(configured(model={**NETWORK, "filters": 8}), devices=1)
    with pytest.raises(InputError, match="is of another model"):
        checkpoint.load(tmp_path / run.CHECKPOINT, other.model)
    with pytest.raises(InputError, match="is missing"):
        checkpoint.load(tmp_path / "none.npz", other.model)


@pytest.mark.skipif(backend.require() != "tensorflow" or bool(backend.gpus()), reason="TensorFlow's CPU kernels only")
def test_one_kernel_of_batch_normalization_learns_what_keras_own_layer_learns():
    """Outputs, gradients (through the weights) and moving averages, over some steps; and it is another kernel."""
    from imagemask.learn import models

    truth = LABELS[..., None].astype("float32")
    states, kernels = [], []
    for quick in (False, True):
        keras.utils.set_random_seed(3)
        model = models.build("unet", models.options("unet", {**NETWORK, "dropout": 0.0}))
        if quick:
            backend.quicken(model)
        kernels.append(sum("call" in vars(layer) for layer in model.layers))
        model.compile(optimizer=keras.optimizers.SGD(0.1), loss="binary_crossentropy", jit_compile=False)
        for at in range(0, COUNT, BATCH):
            model.train_on_batch(IMAGES[at : at + BATCH].astype("float32"), truth[at : at + BATCH])
        states.append([*model.get_weights(), model.predict_on_batch(IMAGES.astype("float32"))])
    assert kernels[0] == 0 < kernels[1]
    for composed, fused in zip(*states, strict=True):
        np.testing.assert_allclose(fused, composed, rtol=1e-3, atol=1e-5)


@pytest.mark.skipif(backend.require() != "tensorflow" or bool(backend.gpus()), reason="TensorFlow's CPU kernels only")
def test_what_it_keeps_is_the_variance_of_the_population():
    """Of eight values, where that of the sample would be larger by a seventh."""
    values = np.arange(8, dtype="float32").reshape(2, 2, 2, 1)
    model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.BatchNormalization(momentum=0.0)])
    backend.quicken(model)
    model(values, training=True)
    layer = model.layers[-1]
    assert float(layer.moving_variance[0]) == pytest.approx(values.var(), rel=1e-5)
    assert float(layer.moving_mean[0]) == pytest.approx(values.mean(), rel=1e-6)
