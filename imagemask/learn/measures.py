"""From the scores of images and volumes to the measures of a set: means over patients, and how far they may be off.

An image of several classes has a score for each, and one for ``all``, their mean (``scores.mean_score``). A measure is
the mean over patients of the mean over a patient's images: a patient with many slices counts as one with few.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imagemask.learn import scores
from imagemask.learn.intervals import Interval, bootstrap

if TYPE_CHECKING:
    import pandas as pd

    from imagemask.learn.calibration import Calibration
    from imagemask.learn.held_out import Predicted
    from imagemask.learn.pooled import PooledScore
    from imagemask.learn.scores import Labels
    from imagemask.learn.whole import Volume

ALL = "(all)"
"""The mean over several classes, in a column of classes: not what anybody would call a class."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A line of evaluation.csv.

    ``low`` and ``high`` are the ends of the 95% interval, ``interval`` is the same in words, or why there is none.
    ``n`` of what ``of`` says (patients, images, slices, pixels) are in it; ``undefined`` images had no such score.
    ``all_background`` is what predicting no foreground anywhere gets: of the pooled formulas alone.
    """

    metric: str
    label: str
    value: float
    low: float | None = None
    high: float | None = None
    interval: str = ""
    unit: str = ""
    n: int = 0
    of: str = ""
    undefined: int = 0
    all_background: float | None = None


def image_rows(
    one: Predicted,
    found: Labels,
    labels: Sequence[str],
    *,
    spacing: tuple[float, float] | None,
    errors: Mapping[str, float],
) -> list[dict[str, Any]]:
    """The rows of per_image.csv of a pair: all classes together first, where there are several, then each.

    ``found`` are the predicted class ids, HxW; ``errors`` the calibration errors of all foreground, in the first row.
    """
    row = one.row
    of_classes = scores.score_classes(found, one.truth, len(labels), spacing=spacing)
    named = list(zip(labels, of_classes, strict=True))
    if len(named) > 1:
        named.insert(0, (ALL, scores.mean_score(of_classes)))
    whose = {"key": row.key, "patient": row.unit, "case": row.case, "slice": int(row.slice)}
    rows = [{**whose, "class": label, **asdict(score), **dict.fromkeys(errors, math.nan)} for label, score in named]
    rows[0].update(errors)
    return rows


def of_images(images: pd.DataFrame, calibration: Calibration) -> Iterator[Measure]:
    """The measures of the honest scores, of each class of ``images`` (the rows of per_image.csv)."""
    for position, label in enumerate(dict.fromkeys(images["class"])):
        rows = images[images["class"] == label]
        yield from (_mean(rows, name, str(label)) for name in scores.NAMES)
        if not position:
            yield from _further(rows, str(label))
    pixels = (int(calibration.reliability(relevant=relevant).count.sum()) for relevant in (False, True))
    for (metric, error), count in zip(calibration.errors.items(), pixels, strict=True):
        yield Measure(metric, "", error, n=count, of="pixels")


def of_pooled(found: Sequence[PooledScore], images: int) -> Iterator[Measure]:
    """The formulas over all pixels, each beside what an all-background prediction gets."""
    for name, value, nothing in found:
        yield Measure(f"pooled_{name}", "", value, n=images, of="images", all_background=nothing)


def of_volumes(volumes: Sequence[Volume], label: str) -> Iterator[Measure]:
    """The measures of whole volumes, empty slices included; nothing where there is no volume."""
    if not volumes:
        return
    units = [one.unit for one in volumes]
    yield _over("volume_dice", label, bootstrap([one.dice for one in volumes], units))
    yield _over("volume_error", label, bootstrap([one.error for one in volumes], units))
    empty, false = (sum(getattr(one, name) for one in volumes) for name in ("empty_slices", "false_slices"))
    shares = [one.false_slices / one.empty_slices if one.empty_slices else np.nan for one in volumes]
    areas = np.array([one.false_mm2 for one in volumes])
    unit = "px" if np.isnan(areas).any() else "mm2"
    if unit == "px":
        areas = np.array([float(one.false_pixels) for one in volumes])
    yield Measure("false_positive_slices", label, float(false), n=empty, of="empty slices")
    yield _over("false_positive_share", label, bootstrap(shares, units))
    yield _over("false_positive_area", label, bootstrap(areas, units), unit)


def _further(rows: pd.DataFrame, label: str) -> Iterator[Measure]:
    """What the means do not tell: the patient in the middle, the mean over images, and images that failed outright."""
    patients = rows.groupby("patient")["dice"].mean().dropna()
    yield Measure("dice_median", label, float(patients.median()), n=len(patients), of="patients")
    by_image = bootstrap(rows["dice"].to_numpy(), list(rows["patient"]), by="image")
    yield Measure(
        "dice_of_images",
        label,
        by_image.value,
        by_image.low,
        by_image.high,
        by_image.text,
        n=by_image.images,
        of="images",
        undefined=by_image.undefined,
    )
    some = rows["foreground"] > 0
    if not some.all():  # an empty image is easily scored 1: what the others get must not drown in it
        target = rows[some]
        yield _over("dice_with_target", label, bootstrap(target["dice"].to_numpy(), list(target["patient"])))
    yield Measure("missed", label, float((rows["outcome"] == "missed").sum()), n=int(some.sum()), of="images")
    if not some.all():
        wrong = float((rows["outcome"] == "false alarm").sum())
        yield Measure("false_alarms", label, wrong, n=int((~some).sum()), of="images")


def _mean(rows: pd.DataFrame, name: str, label: str) -> Measure:
    unit = str(rows["unit"].iloc[0])
    units = {"hd95": unit, "nsd": f"within {scores.TOLERANCE:g} {unit}"}
    return _over(name, label, bootstrap(rows[name].to_numpy(), list(rows["patient"])), units.get(name, ""))


def _over(metric: str, label: str, found: Interval, unit: str = "") -> Measure:
    return Measure(
        metric,
        label,
        found.value,
        found.low,
        found.high,
        found.text,
        unit,
        n=found.patients,
        of="patients",
        undefined=found.undefined,
    )
