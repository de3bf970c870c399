"""How good a run is, on patients that it has not seen: tables, curves and pictures in RUN/test (or valid, train).

::

    evaluation.csv     a line a measure: value, 95% interval over patients; what an all-background prediction gets
    per_patient.csv    the means over each patient's images
    per_image.csv      every image, every class
    per_volume.csv     with a raw folder: whole volumes, empty slices included
    curves.png         precision-recall, reliability, Dice of every image by patient
    calibration.csv    the bins of the reliability diagram
    cases.png          worst, median and best cases, truth and prediction outlined
    cases.csv, cases/  which those are, and the predicted mask of each
    evaluation.json    the sentence that says what was scored, the measures, what failed; written last

docs/evaluation.md defines every measure and column. Equal input gives equal bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagemask import manifest
from imagemask.files import make_folder, write_atomic
from imagemask.learn import curves, fit, held_out, infer, measures, sheets, whole
from imagemask.learn.calibration import Calibration
from imagemask.learn.held_out import HeldOut, Predicted
from imagemask.learn.measures import Measure
from imagemask.learn.patients import per_patient
from imagemask.learn.pooled import PooledScores
from imagemask.learn.run import Run
from imagemask.learn.thresholds import Thresholds
from imagemask.learn.whole import Unscored, Volume, Volumes

if TYPE_CHECKING:
    import pandas as pd

Notify = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""

EVALUATION, PATIENTS, IMAGES, VOLUMES = "evaluation.csv", "per_patient.csv", "per_image.csv", "per_volume.csv"
CURVES, CASES, DOCUMENT = "curves.png", "cases.png", "evaluation.json"
CALIBRATION, CASES_TABLE, CASES_FOLDER = "calibration.csv", "cases.csv", "cases"
_OF_VOLUMES = (
    *("case", "patient", "slices", "empty_slices", "dice", "volume_error", "foreground", "predicted"),
    *("false_positive_slices", "false_positive_pixels", "false_positive_mm2"),
)
_SHOWN = 4
"""Cases of each kind in the contact sheet."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found, as it lies in ``folder``. ``statement`` says what was scored, and opens every report."""

    folder: Path
    run: Run
    split: str
    statement: str
    notes: tuple[str, ...]
    measures: tuple[Measure, ...]
    failures: tuple[Unscored, ...]

    def value(self, metric: str) -> float:
        """The value of a measure, over all classes. Raises KeyError for one that there is not."""
        return next(one.value for one in self.measures if one.metric == metric)

    def document(self) -> dict[str, Any]:
        """The whole as JSON: nan is null, and nothing of it depends on where the run lies."""
        record = self.run.record
        return {
            "schema": "imagemask.evaluation/1",
            "dataset": record.dataset,
            "digest": record.digest,
            "fold": record.fold,
            "split": self.split,
            "epoch": record.epoch,
            "threshold": self.run.threshold,
            "crop_share": record.crop_share,
            "statement": self.statement,
            "notes": list(self.notes),
            "measures": [{name: _finite(value) for name, value in asdict(one).items()} for one in self.measures],
            "failures": [asdict(one) for one in self.failures],
        }


def evaluate(
    run: Run,
    *,
    split: str = "test",
    dataset: Path | None = None,
    raw: Path | None = None,
    model: Any = None,
    notify: Notify | None = None,
) -> Evaluation:
    """Score ``run`` on its ``split``, and write what was found into a folder of that name in the run's.

    ``dataset`` is where the dataset lies, if not where it lay. With ``raw``, the raw folder that it was built from,
    whole volumes are scored too. ``model`` stands in for the run's own: anything with ``predict_on_batch``. Where the
    run has no threshold yet, it is chosen on the validation set first.

    Raises UsageError and InputError as ``held_out.of_run`` and ``whole.score`` do, InputError for a pair that cannot be
    read and where nothing can be written.
    """
    held = held_out.of_run(run, split, dataset)
    if raw is not None:
        whole.require_folder(raw)  # not after minutes
    model = run.model() if model is None else model
    if run.record.threshold is None:
        # One that is being trained gets another model yet, and then another threshold.
        run = choose_threshold(run, dataset=dataset, model=model, notify=notify, save=bool(run.record.ended))
        held = replace(held, run=run)
    tally = _Tally(held)
    for done, one in enumerate(held_out.predictions(held, model), start=1):
        tally.add(one)
        _tell(notify, f"score {split}", done, len(held.rows))
    volumes = Volumes()
    if raw is not None:
        volumes = whole.score(held, raw, model, partial(_tell, notify, "whole volumes"))
    found = tuple(tally.measures(volumes.volumes))
    evaluation = Evaluation(
        run.folder / split, run, split, _statement(held), tuple(_notes(held, tally)), found, tuple(volumes.failures)
    )
    _write(evaluation, tally, None if raw is None else volumes.volumes, model)
    return evaluation


def choose_threshold(
    run: Run,
    *,
    dataset: Path | None = None,
    model: Any = None,
    notify: Notify | None = None,
    save: bool = True,
) -> Run:
    """The run with the threshold that has the highest mean Dice over the validation images, saved in its record.

    Raises as ``evaluate``.
    """
    held = held_out.of_run(run, "valid", dataset)
    tried = Thresholds()
    for done, one in enumerate(held_out.predictions(held, run.model() if model is None else model), start=1):
        tried.add(one.probabilities, one.truth)
        _tell(notify, "choose the threshold", done, len(held.rows))
    return run.with_record(save=save, threshold=tried.best())


def _tell(notify: Notify | None, what: str, done: int, total: int) -> None:
    if notify is not None:
        notify(what, done, total)


class _Tally:
    """What is counted in one pass over the predictions; memory grows by a row an image."""

    def __init__(self, held: HeldOut) -> None:
        self.held = held
        self.labels = held.data.labels
        self.rows: list[dict[str, Any]] = []
        self.calibration, self.pooled, self.thresholds = Calibration(), PooledScores(), Thresholds()
        self.foreground = self.outside = 0

    def add(self, one: Predicted) -> None:
        """Count a pair."""
        found = infer.decide(one.probabilities, self.held.run.threshold)
        spacing = one.spacing if self.held.spacing_known else None
        calibration = Calibration()
        calibration.add(infer.foreground(one.probabilities), one.truth > 0)
        self.calibration.include(calibration)
        self.rows += measures.image_rows(one, found, self.labels, spacing=spacing, errors=calibration.errors)
        self.pooled.add(one.probabilities, one.truth)
        self.thresholds.add(one.probabilities, one.truth)
        y0, x0, y1, x1 = fit.centre((one.truth.shape[0], one.truth.shape[1]), self.held.run.record.crop_share)
        there = int(np.count_nonzero(one.truth))
        self.foreground += there
        self.outside += there - int(np.count_nonzero(one.truth[y0:y1, x0:x1]))

    @property
    def images(self) -> pd.DataFrame:
        """The rows of per_image.csv."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    @property
    def main(self) -> pd.DataFrame:
        """Of those, one an image: over all classes."""
        images = self.images
        main: pd.DataFrame = images[images["class"] == images["class"].iloc[0]]
        return main

    def measures(self, volumes: Sequence[Volume]) -> Iterator[Measure]:
        """All measures, the honest ones first, and those that people report last."""
        yield from measures.of_images(self.images, self.calibration)
        yield from measures.of_volumes(volumes, str(self.main["class"].iloc[0]))
        yield from measures.of_pooled(self.pooled.result(), len(self.main))


def _statement(held: HeldOut) -> str:
    """What was scored, and what could not be: "scored on 22 slices that contain the target; ..."."""
    of_volumes = held.of_volumes
    things = "slice" if of_volumes else "image"
    with_target = int((held.rows["foreground"] > 0).sum())
    without = len(held.rows) - with_target
    also = f" and {without} that {'does' if without == 1 else 'do'} not" if without else ""
    contain = "contains" if with_target == 1 else "contain"
    return f"scored on {_count(with_target, things)} that {contain} the target{also}; {_left_out(held, things)}"


def _left_out(held: HeldOut, things: str) -> str:
    """What is not in the dataset because it is empty. A picture that is not has no row that would say whose it is."""
    if things == "image":
        total = int(held.data.document.get("counts", {}).get("slices_empty", 0))
        whose = "of all patients" if held.has_patients else "of the whole source"
    else:
        counts = [manifest.slice_counts(held.data.folder, case) for case in held.cases]
        whose = f"of the same {'patients' if held.has_patients else 'cases'}"
        if None in counts:
            return f"how many empty slices {whose} were left out is not known: fragments/ is not there"
        total = sum(found[1] for found in counts if found)
    if not total:
        return f"no empty {things} {whose} was left out of the data set"
    return (
        f"{total} empty {things}{'' if total == 1 else 's'} {whose} {'is' if total == 1 else 'are'} not in the data set"
    )


def _notes(held: HeldOut, tally: _Tally) -> Iterator[str]:
    """What a reader of the scores should know beside them."""
    if held.split == "train":
        yield "these are the images that it was trained on: the scores say nothing of new patients"
    if held.split == "valid":
        yield "the epoch and the threshold were chosen on this set: its scores are a little too good"
    blank, count = int(held.rows[["spacing_y", "spacing_x"]].isna().any(axis=1).sum()), len(held.rows)
    if 0 < blank < count:
        yield f"the spacing of {blank} of {count} images is not known: distances are in pixels"
    if crop := held.run.record.crop_share:
        share = tally.outside / max(1, tally.foreground)
        yield (
            f"the network sees the centre of each image, without {crop:.1%} of it at each side: "
            f"{share:.1%} of the foreground lies outside it, and is missed"
        )


def _write(done: Evaluation, tally: _Tally, volumes: Sequence[Volume] | None, model: Any) -> None:
    folder = done.folder
    make_folder(folder)
    (folder / DOCUMENT).unlink(missing_ok=True)  # it says that all of them are of one evaluation
    images, main = tally.images, tally.main
    write_atomic(folder / IMAGES, _csv(images.columns, images.itertuples(index=False)))
    patients = [per_patient(part).assign(**{"class": label}) for label, part in images.groupby("class", sort=False)]
    write_atomic(folder / PATIENTS, _patients_csv(patients))
    names = ["class" if field.name == "label" else field.name for field in fields(Measure)]
    write_atomic(folder / EVALUATION, _csv(names, (asdict(one).values() for one in done.measures)))
    if volumes is None:
        (folder / VOLUMES).unlink(missing_ok=True)
    else:
        write_atomic(folder / VOLUMES, _volumes_csv(volumes))
    title = f"{done.run.record.dataset}, {done.split}: {done.statement}"
    dice = [(str(name), part["dice"].tolist()) for name, part in main.groupby("patient")]
    curve, reliability = tally.thresholds.curve(done.run.threshold), tally.calibration.reliability()
    curves.evaluation_curves(folder / CURVES, curve, reliability, dice, title=title)
    write_atomic(folder / CALIBRATION, _calibration_csv(tally.calibration))
    cases = _cases(tally, main, model)
    sheets.cases_sheet(folder / CASES, cases, labels=tally.labels, title=title)
    sheets.write_masks(folder / CASES_FOLDER, cases, done.run.record.mask_values)
    write_atomic(folder / CASES_TABLE, _cases_csv(cases, main))
    write_atomic(folder / DOCUMENT, (json.dumps(done.document(), indent=2, ensure_ascii=False) + "\n").encode())


def _cases(tally: _Tally, main: pd.DataFrame, model: Any) -> list[tuple[str, list[sheets.Shown]]]:
    """The worst, median and best images with a target, by Dice, predicted once more to be shown."""
    ranked = main[main["foreground"] > 0].sort_values(["dice", "key"], kind="stable")
    count = min(_SHOWN, -(-len(ranked) // 3))
    middle = (len(ranked) - count) // 2
    parts = {"worst": ranked[:count], "median": ranked[middle : middle + count], "best": ranked[::-1][:count]}
    rows, held = tally.held.rows.set_index("key", drop=False), tally.held
    groups = []
    for name, part in parts.items():
        predicted = held_out.predictions(held, model, rows.loc[part["key"]])
        shown = [
            sheets.Shown(
                one.image,
                one.truth,
                infer.decide(one.probabilities, held.run.threshold),
                f"{one.row.key}  Dice {dice:.3f}",
                key=one.row.key,
            )
            for one, dice in zip(predicted, part["dice"], strict=True)
        ]
        groups.append((name, shown))
    return groups


def _cases_csv(groups: Sequence[tuple[str, Sequence[sheets.Shown]]], main: pd.DataFrame) -> bytes:
    """A line a shown case, in the order of the sheet; ``rank`` counts from 1 within its ``place``."""
    names = ("patient", "dice", "foreground", "predicted", "outcome")
    of_key = main.set_index("key")[list(names)]
    return _csv(
        ("key", "place", "rank", *names),
        (
            (shown.key, place, rank, *of_key.loc[shown.key])
            for place, cases in groups
            for rank, shown in enumerate(cases, start=1)
        ),
    )


def _calibration_csv(calibration: Calibration) -> bytes:
    """A line a bin, of all pixels and then of the relevant ones; blank where a bin has no pixel."""
    lines = []
    for name, relevant in (("all", False), ("relevant", True)):
        found = calibration.reliability(relevant=relevant)
        edges = np.linspace(0, 1, len(found.count) + 1).tolist()
        of_bin = zip(edges[:-1], edges[1:], found.count.tolist(), found.confidence, found.frequency, strict=True)
        lines += [(name, low, high, count, float(p), float(share)) for low, high, count, p, share in of_bin]
    return _csv(("pixels", "low", "high", "count", "confidence", "frequency"), lines)


def _patients_csv(tables: Sequence[pd.DataFrame]) -> bytes:
    """One table of those of each class, by patient, then by class as they come."""
    import pandas as pd

    table = pd.concat(tables).sort_values("patient", kind="stable")
    names = ["patient", "class", *(name for name in map(str, table.columns) if name not in ("patient", "class"))]
    return _csv(names, table[names].itertuples(index=False))


def _volumes_csv(volumes: Iterable[Volume]) -> bytes:
    return _csv(
        _OF_VOLUMES,
        (
            (
                *(one.case, one.unit, one.slices, one.empty_slices, one.dice, one.error),
                *(int(one.truth.sum()), int(one.predicted.sum())),
                *(one.false_slices, one.false_pixels, one.false_mm2),
            )
            for one in volumes
        ),
    )


def _csv(names: Iterable[object], rows: Iterable[Iterable[Any]]) -> bytes:
    """A table as the bytes of its file; what has no value is blank."""
    return manifest.csv_bytes(
        [str(name) for name in names], [["" if _finite(cell) is None else cell for cell in row] for row in rows]
    )


def _finite(value: Any) -> Any:
    """``value``, or None for a nan."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
