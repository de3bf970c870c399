"""One training, from a dataset and its settings to a run folder with a model that was evaluated."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagemask import files, manifest
from imagemask.errors import InputError, UsageError
from imagemask.learn import (
    backend,
    begin,
    cache,
    checkpoint,
    crop,
    curves,
    dataset,
    evaluate,
    infer,
    run,
    settings,
    sheets,
)
from imagemask.learn.batches import Batches, Bytes, Order, Seeds
from imagemask.learn.cache import Cache
from imagemask.learn.dataset import Dataset
from imagemask.learn.progress import Progress
from imagemask.learn.run import Run
from imagemask.learn.settings import POOLED, Settings
from imagemask.preview import choose

if TYPE_CHECKING:
    import keras

    from imagemask.learn.augmentation import Augmenter
    from imagemask.learn.evaluate import Evaluation
    from imagemask.learn.loop import Teacher, Validation, Watch

TENSORBOARD = "tensorboard"
SHOWN = 6
"""Training images on the sheet of ``show_augmentation``."""


@dataclass(frozen=True)
class Machine:
    """What a training runs on: all devices of the machine or one; ``require_gpu`` refuses to do without a card."""

    devices: backend.Devices = "one"
    require_gpu: bool = False


@dataclass(frozen=True)
class Trained:
    """How a training ended: the run, the epochs done, why no more, and the share of the steps spent waiting."""

    run: Run
    progress: Progress
    reason: str
    waited: float | None
    """None where nothing was left to train."""
    scores: Mapping[str, Evaluation]
    """Of the validation set and of the test set."""


def train(folder: Path, chosen: Settings, *, out: Path | None, machine: Machine, watch: Watch) -> Trained:
    """Train over the dataset in ``folder``, into the empty or new folder ``out`` (None: the next of runs/NAME).

    Raises UsageError where the extra, a GPU, a split or a fitting size is missing, or ``out`` is not empty;
    InputError where the dataset cannot be read, the disk is full, or memory does not suffice. What is refused leaves
    no run.
    """
    _require(machine, chosen)
    data = dataset.read(folder, fold=chosen.data.fold)
    whole = begin.fitted(chosen, data)
    # What auto comes to here: a run that goes on elsewhere must not change its arithmetic.
    whole = whole.model_copy(update={"precision": backend.policy(whole.precision).removeprefix("mixed_")})
    place = out or begin.next_folder(data.name)
    made = begin.claim(place)
    with files.lock(place / begin.LOCK):
        begin.write(place, whole, data)
        watch.at(place)
        try:
            return _train(place, data, whole, machine=machine, watch=watch)
        except UsageError:
            if not (place / run.CHECKPOINT).is_file():
                begin.undo(place, made=made)
            raise


def resume(place: Path, folder: Path | None = None, *, machine: Machine, watch: Watch) -> Trained:
    """Go on with the run in ``place``, after the last epoch that it came to the end of.

    ``folder`` is where its dataset lies, if not where it lay. Raises as ``train``, and UsageError where dataset or
    settings are not those that the run began with.
    """
    begun = Run.open(place)
    whole = settings.load(place / run.SETTINGS)
    if begun.record.settings not in ("", files.sha256(place / run.SETTINGS)):
        raise UsageError(
            f"{place / run.SETTINGS}: is not what {place} began with", remedy="Restore it, or begin a new run"
        )
    _require(machine, whole)
    home = folder or begun.dataset
    if not (home / manifest.MANIFEST).is_file():
        remedy = f"Say where it is: imagemask train DATASET --resume --out {place}"
        raise InputError(f"{home}: the dataset of {place} is not there", remedy=remedy)
    data = dataset.read(home, fold=whole.data.fold)
    if begun.record.digest != data.digest:
        raise UsageError(f"{place}: was trained on other pixels than {home} holds", remedy="Begin a new run")
    if not (place / run.SPLIT).is_file():
        raise InputError(f"{place / run.SPLIT}: is missing", remedy="Restore it, or begin a new run")
    if begin.split_of(data) != (place / run.SPLIT).read_bytes():
        raise UsageError(f"{home}: was split anew since {place} began", remedy="Begin a new run")
    with files.lock(place / begin.LOCK):
        begun.with_record(folder=begin.relative(home, place))
        watch.at(place)
        return _train(place, data, whole, machine=machine, watch=watch)


def unfinished(here: Path) -> Path:
    """The newest run below ``here`` that has not come to its end. Raises UsageError where there is none."""
    found = sorted((here / run.RUNS).glob(f"*/*/{run.RECORD}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found:
        with contextlib.suppress(InputError):  # one that is damaged is none to go on with
            if not Run.open(path.parent).record.ended:
                return path.parent
    raise UsageError("there is no run to go on with", remedy="Name it with --out, or train without --resume")


def _require(machine: Machine, whole: Settings) -> None:
    """Raises UsageError for what is missing, before there is anything to undo."""
    backend.require()
    if machine.require_gpu:
        backend.require_gpu()
    for package in ("tensorflow", "tensorboard") if whole.output.tensorboard else ():
        if importlib.util.find_spec(package) is None:
            remedy = f"pip install {package}, or leave output.tensorboard away"
            raise UsageError(f"{package} is not installed, and output.tensorboard needs it", remedy=remedy)


def _train(place: Path, data: Dataset, whole: Settings, *, machine: Machine, watch: Watch) -> Trained:
    kept = _decoded(data, whole, fallback=place)
    for note in kept.notes:
        watch.note(note)
    if share := whole.data.crop_share:
        if said := str(crop.cut_off(data, share)):
            watch.note(said)
        data = crop.as_shown(data, kept)
    return _Training(Run.open(place), data, whole, kept, watch).go(machine.devices)


def _decoded(data: Dataset, whole: Settings, *, fallback: Path) -> Cache:
    """The cache of ``data`` in the form of the network's input."""
    options = whole.model.options
    return cache.open_cache(
        data,
        height=options.height,
        width=options.width,
        channels=options.channels,
        background=begin.background_of(data),
        crop=whole.data.crop_share,
        fallback=fallback,
    )


class _Training:
    """A run that is being trained."""

    def __init__(self, begun: Run, data: Dataset, whole: Settings, kept: Cache, watch: Watch) -> None:
        self.run, self.data, self.settings, self.cache, self.watch = begun, data, whole, kept, watch

    def go(self, devices: backend.Devices) -> Trained:
        """Train to the end."""
        with backend.computing(self.settings.precision, devices) as count:
            from imagemask.learn import loop

            self._require_shareable(count)
            self._record_environment(count)
            taught = loop.teacher(self.settings, devices=count)
            progress = self._restored(taught)
            waited = None
            if not progress.reason_to_stop(self.settings.schedule):
                # A threshold that somebody chose meanwhile belongs to weights that are about to be replaced.
                self.run = self.run.with_record(epoch=0, threshold=None)
                waited = self._fit(taught, progress, devices=count)
            taught.save(self.run.folder / run.LAST)
        reason = progress.reason_to_stop(self.settings.schedule)
        if not progress.best_epoch:
            self.run.with_record(ended=reason)
            raise InputError(
                f"{self.run.folder}: {reason}", remedy="Lower optimiser.learning_rate, and look at the images"
            )
        curves.training_curves(self.run.folder / run.HISTORY, self.run.folder / run.CURVES, best=progress.best_epoch)
        ended = self.run.with_record(epoch=progress.best_epoch)
        # One network for all that follows: it is compiled once.
        model = ended.model()
        ended = evaluate.choose_threshold(ended, model=model)
        scores = {name: evaluate.evaluate(ended, split=name, model=model) for name in ("valid", "test")}
        return Trained(ended.with_record(ended=reason), progress, reason, waited, scores)

    def _require_shareable(self, devices: int) -> None:
        """Raises UsageError for what several devices cannot share."""
        size = self.settings.schedule.batch_size
        if size % devices:
            raise UsageError(
                f"{devices} devices cannot share batches of {size} images evenly",
                remedy=f"Give --batch-size {max(1, round(size / devices)) * devices}",
            )
        names = (self.settings.loss.name, *self.settings.metrics)
        pooled = [name for name in names if name in POOLED or (name.endswith("_loss") and name != "ssim_loss")]
        if devices > 1 and pooled:
            raise UsageError(
                f"{', '.join(pooled)} is a ratio over a whole batch, of which each device sees a part",
                remedy="Train on one device, or choose one that scores every image by itself",
            )

    def _record_environment(self, devices: int) -> None:
        """Write down what computes; where a run goes on with something else, that too, and say so."""
        path, now = self.run.folder / run.ENVIRONMENT, backend.environment(devices)
        earlier = json.loads(path.read_text()) if path.is_file() else []
        if earlier and earlier[-1] == now:
            return
        if earlier:
            other = ", ".join(key for key in now if earlier[-1].get(key) != now[key])
            self.watch.note(f"the run goes on with other {other} than it began with: not to the same bits")
        files.write_atomic(path, (json.dumps([*earlier, now], indent=2) + "\n").encode())

    def _restored(self, taught: Teacher) -> Progress:
        """Where the run stands: its checkpoint's state, put into the model; else the beginning."""
        path = self.run.folder / run.CHECKPOINT
        if not path.is_file():
            return Progress(self.settings.optimiser.learning_rate)
        return Progress.of(checkpoint.load(path, taught.model))

    def _fit(self, taught: Teacher, progress: Progress, *, devices: int) -> float:
        """Train the epochs that are left; the share of the time for which the steps had to wait for data."""
        from imagemask.learn import loop

        ends = loop.Ends(
            taught, self.settings, progress, folder=self.run.folder, watch=self.watch, preview=self._preview
        )
        order = Order.of(self.data.part("train"), self.cache.position, self.settings)
        augmenter = augmenter_of(self.settings, self.run.record.background)

        def lesson(pictures: Bytes, labels: Bytes, seeds: Seeds) -> tuple[Any, Bytes]:
            # All that is made of a batch is made in its thread: nothing is left to wait for that nobody counts.
            pictures, labels = augmenter(pictures, labels, seeds)
            return pictures, taught.coded(np.asarray(labels))

        with Batches(self.cache, order, first_epoch=progress.epoch, transform=lesson) as batches:
            loop.fit(
                taught,
                ((pictures, taught.of_each_output(truth)) for pictures, truth in batches),
                self._like(taught),
                validation=self._validation(taught, devices),
                callbacks=[*([loop.Steps(self.watch)] if self.watch.steps else []), ends, *self._tensorboard()],
                schedule=(progress.epoch, self.settings.schedule.epochs, order.steps),
            )
            return min(1.0, batches.waited / max(ends.stepped, 1e-9))

    def _like(self, taught: Teacher) -> Any:
        """A batch of nothing, for its shapes."""
        options = self.settings.model.options
        shape = (self.settings.schedule.batch_size, options.height, options.width)
        return np.zeros((*shape, options.channels), np.float32), taught.truth(np.zeros(shape, np.uint8))

    def _validation(self, taught: Teacher, devices: int) -> Validation:
        from imagemask.learn import loop

        rows = [self.cache.position[key] for key in self.data.part("valid")["key"]]
        return loop.Validation(
            self.cache.images,
            self.cache.masks,
            rows,
            truth=taught.truth,
            batch_size=self.settings.schedule.batch_size,
            weighted=devices > 1,
        )

    def _tensorboard(self) -> list[keras.callbacks.Callback]:
        if not self.settings.output.tensorboard:
            return []
        import keras

        return [keras.callbacks.TensorBoard(str(self.run.folder / TENSORBOARD), write_graph=False)]

    @cached_property
    def _shown(self) -> list[str]:
        """The keys of the validation images that are shown after each epoch, the same every time."""
        return list(choose(self.data.part("valid"), self.settings.output.previews)["key"])

    def _preview(self, epoch: int, model: keras.Model) -> None:
        """Write the contact sheet of an epoch."""
        if not self._shown:
            return
        rows = [self.cache.position[key] for key in self._shown]
        size = self.settings.schedule.batch_size
        found = infer.probabilities(model, (self.cache.images[row] for row in rows), batch_size=size)
        shown = [
            sheets.Shown(
                np.asarray(self.cache.images[row]).squeeze(-1)
                if self.run.record.channels == 1
                else self.cache.images[row],
                np.asarray(self.cache.masks[row]),
                infer.decide(one, 0.5),
                key,
                infer.foreground(one),
            )
            for key, row, one in zip(self._shown, rows, found, strict=True)
        ]
        folder = self.run.folder / run.PREVIEWS
        files.make_folder(folder)
        out = folder / f"epoch_{epoch:03d}.png"
        sheets.preview_sheet(out, shown, labels=self.data.labels, title=f"epoch {epoch}")


def augmenter_of(whole: Settings, background: int) -> Augmenter:
    """What alters the images of a training, as ``whole`` says."""
    from imagemask.learn.augmentation import Augmenter

    return Augmenter(whole.augmentation, classes=whole.model.options.classes, background=background)


def show_augmentation(folder: Path, chosen: Settings, out: Path) -> Path:
    """Write a contact sheet of training images, and of them augmented, to ``out``, a PNG. Raises as ``train``."""
    from imagemask.learn import augmentation_sheet

    backend.require()
    data = dataset.read(folder, fold=chosen.data.fold)
    whole = begin.fitted(chosen, data)
    kept = _decoded(data, whole, fallback=out.parent)
    if whole.data.crop_share:
        data = crop.as_shown(data, kept)
    keys = list(choose(data.part("train"), SHOWN)["key"])
    rows = [kept.position[key] for key in keys]
    augmenter = augmenter_of(whole, begin.background_of(data))
    return augmentation_sheet.show(
        kept.images[rows], kept.masks[rows], keys, augmenter=augmenter, out=out, seed=whole.seed
    )
