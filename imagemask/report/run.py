"""A run on a page: what was trained, how it went, and what its scores on the test set are worth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from imagemask.names import counted
from imagemask.report import run_scores, shown
from imagemask.report.run_folder import CASES, SHEET, SPLIT, Line, RunFolder, number
from imagemask.report.scales import show
from imagemask.report.score_plots import curves
from imagemask.report.sections import Section

if TYPE_CHECKING:
    import pandas as pd

_AGAIN = "imagemask evaluate"


def sections(run: Path) -> list[Section]:
    """The sections of a run folder. Raises InputError where it is none, or a file of it is damaged."""
    opened = RunFolder.open(run)
    found = [Section("run", "What was trained", trained(opened)), Section("run-curves", "Training", training(opened))]
    if opened.evaluation is None:
        words = Markup("<p>This run has no scores on the test set. Run <code>{} {}</code>, then the report again.</p>")
        return [*found, Section("run-scores", "Scores", words.format(_AGAIN, run))]
    return [
        *found,
        Section("run-scores", "Scores", run_scores.scores(opened)),
        Section("run-patients", "Scores by patient", run_scores.patients(opened)),
        Section(
            "run-calibration",
            "Calibration",
            run_scores.calibration(opened, _missing(opened, "the reliability diagram")),
        ),
        Section("run-cases", "Predictions", cases(opened)),
    ]


def dataset_of(run: Path) -> Path | None:
    """The dataset that a run was trained on, where it still lies there with the same pixels; else None."""
    return RunFolder.open(run).dataset[0]


def rows_of(run: Path) -> pd.DataFrame:
    """The manifest of the dataset of a run, in the sets of the run. Raises InputError where it is not there."""
    return RunFolder.open(run).rows()


def about_audit(run: Path) -> str:
    """What the audit of its dataset is of, where that is another split than the run's; else ""."""
    fold = RunFolder.open(run).record.get("fold")
    if fold is None:
        return ""
    return f"The audit is of the dataset's own split, not of that of this run, whose test set is fold {fold}."


def trained(run: RunFolder) -> Markup:
    """What was trained, in words, and the facts."""
    record, settings = run.record, run.settings
    model, schedule = settings.get("model", {}), settings.get("schedule", {})
    size = f"{record.get('height')} x {record.get('width')} pixels in {counted(record.get('channels', 1), 'channel')}"
    marks = ", ".join(map(str, record.get("labels", ()))) or "the target"
    levels = f" of {model['levels']} levels, the first of {model['filters']} filters," if "filters" in model else ""
    first = f"A network ({model.get('name', 'unknown')}){levels} that reads pictures of {size} and marks {marks}."
    epochs = len(run.history())
    most = f" of at most {schedule['epochs']}" if "epochs" in schedule else ""
    ended = str(record.get("ended") or "the training has not ended")
    second = f"Trained over {record.get('dataset')} for {epochs}{most} epochs: {ended}."
    best, threshold = record.get("epoch"), number(record.get("threshold"))
    third = f"Used is the network after epoch {best}, whose loss on the validation set was the lowest. " if best else ""
    if math.isfinite(threshold):
        third += f"A pixel counts as foreground from a probability of {threshold:g}, chosen on the validation set."
    fourth = run.dataset[1]
    if run.was_resplit:
        fourth = "Its dataset is split in another way than it was: the splits shown below are not those of this run."
    words = Markup("").join(Markup("<p>{}</p>").format(one) for one in (first, second, third, fourth) if one)
    facts = Markup("").join(Markup("<dt>{}</dt><dd>{}</dd>").format(*one) for one in _facts(run))
    return words + Markup('<dl class="facts">{}</dl>').format(facts)


def training(run: RunFolder) -> Markup:
    """Loss, and the first metric, by epoch."""
    history = run.history()
    if not history:
        return Markup("<p>No epoch was trained yet.</p>")
    epochs = [_whole(line.get("epoch")) for line in history]
    best = _whole(run.record.get("epoch"))
    figures = []
    for name, title in (("loss", "Loss"), *((one, _metric(one)) for one in _metrics(history))):
        pairs = ((f"val_{name}", "validation"), (name, "training"))
        lines = {
            shown_as: [number(line[column]) for line in history] for column, shown_as in pairs if column in history[0]
        }
        figures.append(curves(epochs, lines, title=title, best=best).figure(title))
    return Markup('<div class="plots">{}</div>').format(Markup("").join(figures))


def cases(run: RunFolder) -> Markup:
    """The worst, median and best images, truth and prediction outlined; or what to run to have them."""
    dataset, why = run.dataset
    if not (run.folder / SPLIT / CASES).is_file():
        return _missing(run, "the pictures")
    if not run.table(CASES):
        return Markup("<p>No test image holds the target.</p>")
    if dataset is None:
        return Markup("<p>{} The run's folder holds a sheet of them: <code>{}/{}</code>.</p>").format(why, SPLIT, SHEET)
    words = "By Dice, of the test images that hold the target. Left the whole picture, right the part in the frame."
    return Markup("<p>{}</p>").format(words) + shown.cases(run, dataset)


def _missing(run: RunFolder, what: str) -> Markup:
    return Markup(
        '<p class="note">This run was evaluated before {} could be stored in a form that a report reads. Run '
        "<code>{} {}</code> again.</p>"
    ).format(what, _AGAIN, run.folder)


def _facts(run: RunFolder) -> Iterator[tuple[str, str]]:
    record, settings, environment = run.record, run.settings, run.environment
    optimiser, loss = settings.get("optimiser", {}), settings.get("loss", {})
    place = run.dataset[0]
    yield (
        "Dataset",
        f"{record.get('dataset')}, digest {str(record.get('digest', ''))[:12]}"
        + ("" if place else "; not found with these pixels"),
    )
    if record.get("fold") is not None:
        yield "Fold", str(record["fold"])
    if crop := record.get("crop_share"):
        yield "Crop", f"{number(crop):.1%} of each picture at every side is not shown to it"
    window = record.get("recipe", {}).get("window") or ()
    if window:
        yield "Window", ", ".join(map(str, window))
    if loss:
        yield "Loss", str(loss.get("name"))
    if optimiser:
        yield "Optimiser", f"{optimiser.get('name')}, learning rate {show(number(optimiser.get('learning_rate')))}"
    yield "Batch", counted(record.get("batch_size", 0), "picture")
    if settings:
        yield "Augmentation", _augmentation(settings.get("augmentation", {}))
        yield "Seed", str(settings.get("seed", ""))
    versions = environment.get("versions", {})
    if versions:
        backend = str(environment.get("backend", ""))
        named = [name for name in ("imagemask", "keras", backend) if name in versions]
        yield "Software", ", ".join(f"{name} {versions[name]}" for name in named)
        gpus = environment.get("gpus") or ()
        yield "Devices", ", ".join(map(str, gpus)) if gpus else "no graphics card"


def _augmentation(settings: Mapping[str, object]) -> str:
    if not settings.get("enabled"):
        return "none"
    used = (
        name.replace("_", " ") + ("" if value is True else f" {value}")
        for name, value in settings.items()
        if value and name != "enabled"
    )
    return ", ".join(used)


def _metrics(history: Sequence[Line]) -> list[str]:
    """Dice, where it was watched; else the first that was, on both sets."""
    watched = [name.removeprefix("val_") for name in history[0] if name.startswith("val_") and name != "val_loss"]
    return [name for name in watched if "dice" in name][:1] or watched[:1]


def _metric(name: str) -> str:
    return "Dice of the foreground" if name == "foreground_dice" else name


def _whole(cell: object) -> int:
    """A cell as a whole number; 0 where it holds none."""
    found = number(cell)
    return int(found) if math.isfinite(found) else 0
