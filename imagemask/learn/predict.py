"""``imagemask predict``: masks of pictures, volumes and series that no dataset holds, by the model of a run.

Each is taken through the steps of the build and the training (``views``), and its mask has its own size and place. What
cannot be read becomes a failure, and the rest is done. ``outputs`` says what is written where.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from imagemask import files, images
from imagemask.errors import CaseError, InputError, UsageError
from imagemask.learn import infer, inputs, outputs, views
from imagemask.learn.inputs import Failure, Input
from imagemask.learn.predict_volume import Places, open_scan, predict_volume
from imagemask.learn.run import BEST, Record, Run
from imagemask.learn.views import Bytes, Steps, Tiling

if TYPE_CHECKING:
    import keras

    from imagemask.learn.infer import Probabilities


Of = TypeVar("Of")


@dataclass(frozen=True)
class How:
    """How to predict. ``threshold`` None: that of the run. ``probabilities``: write them, too."""

    threshold: float | None = None
    flips: bool = False
    tiles: Tiling = "auto"
    batch_size: int = 8
    probabilities: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Prediction:
    """What was found in one input, which is called ``name`` in the folder of the output.

    ``foreground`` are its pixels or voxels by class, and ``millilitres`` their volume, where it is one; ``flags`` is
    what was noted while reading (docs/failures.md).
    """

    name: str
    file: Path
    mask: Path
    foreground: dict[str, int]
    millilitres: dict[str, float] | None = None
    slices: int = 1
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What became of all inputs, and how many files in their folders were passed over, by reason."""

    run: Path
    out: Path
    threshold: float
    predictions: list[Prediction] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    passed_over: dict[str, int] = field(default_factory=dict)


def predict(
    run: Run,
    paths: Sequence[Path],
    out: Path,
    how: How | None = None,
    *,
    model: keras.Model | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Predict what lies at ``paths`` (files and folders) into the folder ``out``.

    ``model`` replaces the run's. ``progress(done, all)`` is told of pictures and slices as they end. Raises UsageError
    where an output would replace what it must not, and for tiles of a run that was trained on the centre of pictures;
    InputError where there is nothing that could be predicted, or an output cannot be written.
    """
    how = how or How()
    if how.tiles == "always" and run.record.crop_share:
        raise UsageError(
            f"{run.folder} was trained on the centre of each picture (data.crop_share), which no tile is",
            remedy="Leave --tiles away",
        )
    threshold = run.threshold if how.threshold is None else how.threshold
    found = inputs.find(paths, out=out)
    report = Report(run.folder, out, threshold, failures=found.failures)
    report.passed_over.update(sorted(found.passed_over.items()))
    if found.inputs:
        folder = outputs.claim(out, found.inputs, _settings(run, how, threshold), overwrite=how.overwrite)
        work = _Work(run.record, how, folder, report, progress or (lambda _done, _all: None))
        work.do(found.inputs, run.model() if model is None else model)
    return report


def _settings(run: Run, how: How, threshold: float) -> dict[str, Any]:
    """What decides the outputs: for predict.json."""
    path = run.folder / BEST
    return {
        "run": run.folder.resolve().name,
        "dataset": run.record.dataset,
        "model": files.sha256(path) if path.is_file() else "",
        "labels": list(run.record.labels),
        "mask_values": list(run.record.mask_values),
        "threshold": threshold,
        "flips": how.flips,
        "tiles": how.tiles,
    }


@dataclass(frozen=True, slots=True)
class _Shown:
    """A picture that was read: HxWxC as the network's steps begin with it."""

    given: Input
    picture: Bytes
    flags: tuple[str, ...]

    @property
    def plain(self) -> Bytes:
        """HxW where it is grey."""
        return self.picture[..., 0] if self.picture.shape[2] == 1 else self.picture


class _Work:
    """One prediction of many inputs."""

    def __init__(
        self, record: Record, how: How, folder: outputs.Folder, report: Report, progress: Callable[[int, int], None]
    ) -> None:
        self.record, self.how, self.folder, self.report = record, how, folder, report
        self.steps = Steps(record, how.tiles)
        self.progress, self.done, self.all = progress, 0, 0

    def do(self, given: Sequence[Input], model: keras.Model) -> None:
        """Predict all: pictures in batches, volumes one by one."""
        self.all = sum(one.slices for one in given)
        through = partial(views.predicted, model, batch_size=self.how.batch_size, flips=self.how.flips)
        pictures = [one for one in given if one.kind == "picture"]
        for shown, found in through(self._views(pictures)):
            self._write_picture(shown, found)
            self._step(1)
        for one in given:
            if one.kind != "picture":
                last = self.done + one.slices
                self._volume(one, through, partial(self._step_before, last))
                self._step(last - self.done)

    def _views(self, pictures: Sequence[Input]) -> Iterator[tuple[_Shown, views.View]]:
        for one in pictures:
            try:
                stored = images.read_image(one.path)
                picture = self.steps.of_file(stored)
                flags = tuple(
                    flag
                    for flag, holds in (
                        ("several_frames", images.frame_count(one.path) > 1),
                        ("windowed_already", self.steps.is_windowed(stored)),
                    )
                    if holds
                )
            except CaseError as error:
                self._fail(one, error)
                self._step(1)
            else:
                yield _Shown(one, picture, flags), self.steps.view(picture)

    def _write_picture(self, shown: _Shown, found: Probabilities) -> None:
        """The mask last: where it is, everything is."""
        name, labels = shown.given.name, infer.decide(found, self.report.threshold)
        if self.how.probabilities:
            suffix, data = _encoded(found)
            files.write_atomic(self.folder.place("probabilities", name, suffix), data)
        overlay = images.outlined(images.Tile(shown.plain, labels, ""), max(labels.shape))
        overlay_png = images.encode_png(overlay, level=images.IMAGE_LEVEL)
        files.write_atomic(self.folder.place("overlays", name, ".png"), overlay_png)
        values = np.array([0, *self.record.mask_values], np.uint8)
        mask = self.folder.place("masks", name, ".png")
        files.write_atomic(mask, images.encode_png(values[labels], level=images.MASK_LEVEL))
        counts = np.bincount(labels.ravel(), minlength=len(self.record.labels) + 1)[1:].tolist()
        self._add(Prediction(name, shown.given.path, mask, self._by_class(counts), flags=shown.flags))

    def _volume(self, one: Input, through: Any, step: Callable[[], None]) -> None:
        try:
            scan = open_scan(one, self._options)
            kept = self.folder.place("probabilities", one.name, ".nii.gz") if self.how.probabilities else None
            mask = self.folder.place("masks", one.name, ".nii.gz")
            places = Places(mask, self.folder.place("overlays", one.name, ".png"), kept)
            steps, threshold = self.steps.of_volumes(), self.report.threshold
            counts = predict_volume(scan, steps, through, threshold=threshold, places=places, step=step)
        except CaseError as error:
            self._fail(one, error)
            return
        amounts = self._by_class([round(count * scan.millilitres, 3) for count in counts])
        flags = tuple(dict.fromkeys(scan.flags))
        self._add(Prediction(one.name, one.path, mask, self._by_class(counts), amounts, scan.count, flags))

    @property
    def _options(self) -> dict[str, Any]:
        found = self.record.recipe.get("options")
        return dict(found) if isinstance(found, dict) else {}

    def _by_class(self, amounts: Sequence[Of]) -> dict[str, Of]:
        return dict(zip(self.record.labels, amounts, strict=True))

    def _add(self, prediction: Prediction) -> None:
        self.report.predictions.append(prediction)

    def _fail(self, one: Input, error: CaseError) -> None:
        self.folder.forget(one.name)
        self.report.failures.append(Failure.of(error, one.path))

    def _step(self, count: int) -> None:
        """So many pictures or slices are done; or, of a volume that was taken for larger, need not be."""
        self.done += count
        self.progress(self.done, self.all)

    def _step_before(self, last: int) -> None:
        """A slice is done, of a volume that was counted up to ``last``."""
        if self.done < last:
            self._step(1)


def require_some(report: Report) -> None:
    """Raises InputError where nothing was predicted."""
    if not report.predictions:
        seen = sum(report.passed_over.values())
        what = f"{len(report.failures)} inputs failed, {seen} files were passed over"
        raise InputError(
            f"nothing was predicted: {what}",
            remedy="Give pictures, NIfTI volumes, or folders of them or of DICOM files",
        )


def _encoded(found: Probabilities) -> tuple[str, bytes]:
    """Probabilities of one class as an 8-bit grey PNG, 255 being 1; of several as HxWxK, float16, for numpy."""
    if found.shape[-1] <= 2:
        grey = np.rint(infer.foreground(found) * np.float32(255)).astype(np.uint8)
        return ".png", images.encode_png(grey, level=images.IMAGE_LEVEL)
    buffer = io.BytesIO()
    np.save(buffer, found.astype(np.float16), allow_pickle=False)
    return ".npy", buffer.getvalue()
