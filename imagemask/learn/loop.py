"""The epochs of a training: Keras' fit, and what happens at the end of each.

Everything that decides, and everything that is saved, is in one callback and in one order, so that a run that is killed
at any moment and resumed writes what it would have written: the best model, previews and history first, the checkpoint
last. What comes after a checkpoint and before the next is done again, and to the same end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from imagemask.errors import InputError
from imagemask.files import output_error, to_disk, write_atomic
from imagemask.learn import backend, checkpoint, losses, metrics, models, run
from imagemask.learn.progress import Progress
from imagemask.learn.settings import Settings


class Watch(Protocol):
    """Who is told how a training goes on. ``step`` waits for the device, and is called where ``steps`` is true."""

    steps: bool

    def at(self, place: Path) -> None:
        """The run folder, once it is one."""

    def begins(self, epoch: int, steps: int) -> None:
        """An epoch of this many steps begins."""

    def step(self, loss: float | None) -> None:
        """A step is done."""

    def ended(self, row: Mapping[str, float], *, best: bool) -> None:
        """An epoch is done, with the numbers of its row in the history."""

    def note(self, text: str) -> None:
        """Something that a user should know."""


@dataclass(frozen=True)
class Teacher:
    """What is trained: ``model`` with all its outputs, compiled; ``plain`` its float32 twin that is saved and used."""

    model: keras.Model
    plain: keras.Model
    classes: int
    devices: int = 1

    def truth(self, labels: NDArray[np.uint8]) -> Any:
        """Class ids BxHxW as what the losses take: ``coded``, once for each output of the model."""
        return self.of_each_output(self.coded(labels))

    def coded(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Class ids BxHxW as uint8 BxHxWxK, which is 1 where the class is: of one class, the foreground alone."""
        return labels[..., None] if self.classes == 1 else np.eye(self.classes, dtype=np.uint8)[labels]

    def of_each_output(self, truth: Any) -> Any:
        """One truth for every output of the model."""
        return truth if len(self.model.outputs) == 1 else (truth,) * len(self.model.outputs)

    def save(self, path: Path) -> None:
        """Write the plain network with the weights of now, whole or not at all."""
        self.plain.set_weights(models.inference(self.model).get_weights())
        temporary = path.with_name(f".tmp.{path.name}")  # Keras insists on the suffix
        try:
            self.plain.save(temporary)
            to_disk(temporary)
            temporary.replace(path)
        except OSError as error:
            raise output_error(path, error) from error


def teacher(settings: Settings, *, devices: int) -> Teacher:
    """Fresh weights from ``settings.seed``, compiled. Within ``backend.computing``."""
    keras.utils.set_random_seed(settings.seed)
    options = settings.model.options
    model = models.build(settings.model.name, options)
    if devices == 1:
        backend.quicken(model)
    loss = losses.build(settings.loss.name, settings.loss.parameters)
    outputs = len(model.outputs)
    watched: list[Any] = [metrics.build(name) for name in settings.metrics]
    if outputs > 1:
        watched = [watched, *[[] for _ in range(outputs - 1)]]
    model.compile(
        optimizer=_optimiser(settings),
        loss=loss if outputs == 1 else [loss] * outputs,
        loss_weights=None if outputs == 1 else models.output_weights(model),
        jit_compile=backend.jit(devices),
        # Several devices need full batches, and so weights: Keras leaves these out of what it calls metrics.
        **{"metrics" if devices == 1 else "weighted_metrics": watched},
    )
    model.optimizer.build(model.trainable_variables)
    with backend.computing("float32", "one"):
        plain = models.inference(models.build(settings.model.name, options))
    return Teacher(model, plain, options.classes, devices)


def _optimiser(settings: Settings) -> keras.optimizers.Optimizer:
    chosen = settings.optimiser
    clip = {"norm": {"clipnorm": chosen.clip_at}, "value": {"clipvalue": chosen.clip_at}, "none": {}}[chosen.clipping]
    if chosen.name == "adam":
        return keras.optimizers.Adam(chosen.learning_rate, **clip)
    return keras.optimizers.AdamW(chosen.learning_rate, weight_decay=chosen.weight_decay, **clip)


class Validation(keras.utils.PyDataset):
    """The validation images, in order, as Keras' fit takes them.

    ``weighted``: every batch is full, and what fills the last one has weight 0. Otherwise the last batch is smaller,
    which the pooled formulas need and several devices cannot take.
    """

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.uint8], rows: Sequence[int], **given: Any) -> None:
        super().__init__()
        self.images, self.labels, self.rows = images, labels, np.asarray(rows, np.int64)
        self.truth: Callable[[NDArray[np.uint8]], Any] = given["truth"]
        self.batch_size: int = given["batch_size"]
        self.weighted: bool = given["weighted"]

    @property
    def num_batches(self) -> int:
        """How many batches there are."""
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        """Images float32 BxHxWxC and their truth; with ``weighted`` also a weight an image."""
        here = self.rows[number * self.batch_size : (number + 1) * self.batch_size]
        full = np.resize(here, self.batch_size) if self.weighted else here
        images = np.asarray(self.images[full], np.float32)
        batch = images, self.truth(np.asarray(self.labels[full]))
        if not self.weighted:
            return batch
        # Keras divides a loss by the images of a batch, also those of weight 0: this makes it the mean over all images.
        share = self.num_batches * self.batch_size / len(self.rows)
        weights = np.where(np.arange(self.batch_size) < len(here), share, 0).astype(np.float32)
        return *batch, weights


class Ends(keras.callbacks.Callback):
    """What is done at the end of an epoch: decide, save what is better, show, write, and last of all the checkpoint."""

    def __init__(
        self,
        teacher: Teacher,
        settings: Settings,
        progress: Progress,
        *,
        folder: Path,
        watch: Watch,
        preview: Callable[[int, keras.Model], None],
    ) -> None:
        super().__init__()
        self.teacher, self.settings, self.progress = teacher, settings, progress
        self.folder, self.watch, self.preview = folder, watch, preview
        self.began = 0.0
        self.stepped = 0.0
        """Seconds spent in steps: without validation, previews and what is written."""

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Start the clock."""
        del logs
        self.began = time.perf_counter()
        self.watch.begins(epoch + 1, self.params["steps"])

    def on_test_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """The steps of this epoch are done."""
        del logs
        self.stepped += time.perf_counter() - self.began

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Decide what follows from the numbers of this epoch, and write it all down."""
        del epoch
        better = self.progress.add(_of_the_whole(logs or {}, self.model.output_names), self.settings.schedule)
        self.model.optimizer.learning_rate = self.progress.learning_rate
        if better:
            self.teacher.save(self.folder / run.BEST)
        self.preview(self.progress.epoch, self.model)
        write_history(self.folder, self.progress)
        checkpoint.save(self.folder / run.CHECKPOINT, self.model, self.progress.state())
        seconds = time.perf_counter() - self.began
        self.watch.ended({**self.progress.history[-1], "seconds": seconds}, best=better)
        if self.progress.reason_to_stop(self.settings.schedule):
            self.model.stop_training = True


def _of_the_whole(logs: Mapping[str, float], outputs: Sequence[str]) -> dict[str, float]:
    """Keras' numbers of an epoch, by the names of our history: ``loss`` is what was made small, over all outputs.

    Under deep supervision Keras gives each output's own loss as well, and puts its name before the metrics'.
    """
    alone = {f"{part}{name}_loss" for name in outputs for part in ("", "val_") if len(outputs) > 1}
    return {
        name.replace(f"{outputs[0]}_", ""): float(value)
        for name, value in logs.items()
        if name not in alone and name != "learning_rate"
    }


class Steps(keras.callbacks.Callback):
    """Tells of every step. Apart from ``Ends``, for Keras fetches the numbers of each step for whoever asks."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Move the bar."""
        del batch
        loss = (logs or {}).get("loss")
        self.watch.step(None if loss is None else float(loss))


def write_history(folder: Path, progress: Progress) -> None:
    """``history.csv``: a line an epoch. Times are not in it: two runs from one seed write the same bytes."""
    rows = progress.history  # a run of another version may have begun with other numbers
    columns = [name for name in rows[0] if all(name in row for row in rows)] if rows else ["epoch"]
    lines = [",".join(columns), *(",".join(repr(row[name]) for name in columns) for row in progress.history)]
    write_atomic(folder / run.HISTORY, ("\n".join(lines) + "\n").encode())


def fit(
    teacher: Teacher,
    batches: Iterator[Any],
    like: Any,
    *,
    validation: Validation,
    callbacks: Sequence[keras.callbacks.Callback],
    schedule: tuple[int, int, int],
) -> None:
    """Train from ``schedule``'s first epoch to its last, of so many steps each. ``like`` is a batch, for its shapes.

    Raises InputError that names the batch size to try where memory does not suffice.
    """
    begun, epochs, steps = schedule
    try:
        teacher.model.fit(
            backend.feed(batches, like),
            initial_epoch=begun,
            epochs=epochs,
            steps_per_epoch=steps,
            validation_data=validation,
            callbacks=list(callbacks),
            shuffle=False,
            verbose=0,
        )
    except Exception as error:
        if not backend.ran_out_of_memory(error):
            raise
        size, devices = validation.batch_size, teacher.devices
        less = size // 2 // devices * devices  # what they can share evenly
        smaller = f"--batch-size {less}" if less else "a smaller network, or smaller pictures"
        raise InputError(f"a step of {size} images does not fit into memory", remedy=f"Try {smaller}") from error
