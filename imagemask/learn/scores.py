"""How well a predicted mask fits the true one: the scores of a pair, in 2D or 3D.

With TP, FP, FN and TN the pixels by outcome, T those of the truth and P those of the prediction:

===============  ============================================================
dice             2 TP / (2 TP + FP + FN)
iou              TP / (TP + FP + FN)
sensitivity      TP / (TP + FN)
precision        TP / (TP + FP)
specificity      TN / (TN + FP)
hd95             95% Hausdorff distance, mm or px (``surfaces``)
nsd              normalised surface Dice within a tolerance (``surfaces``)
area_error       (P - T) / T: over 0 where too much is found; of a volume, its volume error
===============  ============================================================

**Empty masks.** What has nothing to divide by is nan, is left out of every mean, and is to be counted where it is:

===============  ===============  =======  =======  =======  ====================================
outcome          truth, predicted dice...  sens.    prec.    hd95, area_error
===============  ===============  =======  =======  =======  ====================================
``both``         some, some       defined  defined  defined  defined
``missed``       some, none       0        0        nan      nan, -1
``false alarm``  none, some       0        nan      0        nan, nan
``empty``        none, none       1        nan      nan      nan, nan
===============  ===============  =======  =======  =======  ====================================

``dice...`` are dice, iou and nsd. Specificity is nan where the truth fills the picture. Of several classes, an image's
score is the mean over those that count: for dice, iou and nsd those that truth or prediction holds (1 where there is
none), for the others those that have the score. ``metrics`` keeps the same rule while training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from imagemask.learn import surfaces

Labels = NDArray[np.uint8]
"""Class ids, HxW or DxHxW; 0 is background."""

Outcome = Literal["both", "missed", "false alarm", "empty"]

TOLERANCE = 2.0
"""Of the surface Dice: millimetres, or pixels where the spacing is not known."""

OVERLAPS = ("dice", "iou", "nsd")
"""The scores that an empty mask has, too."""

NAMES = ("dice", "iou", "sensitivity", "precision", "specificity", "hd95", "nsd", "area_error")
"""The scores, in the order of a table's columns."""


@dataclass(frozen=True, slots=True)
class Score:
    """The scores of a pair; its fields are the columns of a table of scores (``dataclasses.asdict``)."""

    dice: float
    iou: float
    sensitivity: float
    precision: float
    specificity: float
    hd95: float
    nsd: float
    area_error: float
    foreground: int
    """Pixels of the truth."""
    predicted: int
    """Pixels of the prediction."""
    unit: Literal["mm", "px"]
    """Of ``hd95``, and of the tolerance of ``nsd``."""
    outcome: Outcome
    """Which masks hold something; ``both`` does not say that they meet."""


def score(
    prediction: Labels,
    truth: Labels,
    *,
    label: int | None = None,
    spacing: Sequence[float] | None = None,
    tolerance: float = TOLERANCE,
) -> Score:
    """The scores of one class, by its id; of the foreground of any class where ``label`` is None.

    ``spacing`` is the millimetres a pixel of every axis, None where that is not known; ``tolerance`` is in the same
    unit. Raises ValueError for masks of unlike shape, or not of 2 or 3 axes, and for a spacing that does not fit them.
    """
    scale = _scale(prediction, truth, spacing)
    found, true = (mask > 0 if label is None else mask == label for mask in (prediction, truth))
    predicted, foreground = int(np.count_nonzero(found)), int(np.count_nonzero(true))
    both = int(np.count_nonzero(found & true))
    either, outside = predicted + foreground - both, true.size - foreground
    hd95, nsd = float("nan"), float(not either)
    if predicted and foreground:
        outlines = surfaces.outlines(found, true, scale)
        hd95, nsd = surfaces.hausdorff(outlines), surfaces.surface_dice(outlines, tolerance)
    return Score(
        dice=_ratio(2 * both, foreground + predicted, empty=1.0),
        iou=_ratio(both, either, empty=1.0),
        sensitivity=_ratio(both, foreground),
        precision=_ratio(both, predicted),
        specificity=_ratio(outside - (predicted - both), outside),
        hd95=hd95,
        nsd=nsd,
        area_error=_ratio(predicted - foreground, foreground),
        foreground=foreground,
        predicted=predicted,
        unit="px" if spacing is None else "mm",
        outcome=outcome(foreground, predicted),
    )


def score_classes(
    prediction: Labels,
    truth: Labels,
    classes: int,
    *,
    spacing: Sequence[float] | None = None,
    tolerance: float = TOLERANCE,
) -> list[Score]:
    """The scores of each foreground class, 1 to ``classes``. Raises ValueError as ``score``."""
    return [
        score(prediction, truth, label=label, spacing=spacing, tolerance=tolerance) for label in range(1, classes + 1)
    ]


def mean_score(scores: Sequence[Score]) -> Score:
    """One image's scores over its classes: the mean over those that count, pixels added up.

    Raises ValueError for no scores, and for unlike units.
    """
    units = {one.unit for one in scores}
    if len(units) != 1:
        raise ValueError(f"scores of one unit are needed, not of {sorted(units) or 'none'}")
    if len(scores) == 1:
        return scores[0]
    means = {name: _mean_of(scores, name) for name in NAMES}
    foreground, predicted = (sum(pixels) for pixels in zip(*((s.foreground, s.predicted) for s in scores), strict=True))
    return Score(
        **means,
        foreground=foreground,
        predicted=predicted,
        unit=scores[0].unit,
        outcome=outcome(foreground, predicted),
    )


def columns() -> list[str]:
    """The columns of a table of scores, in order."""
    return [field.name for field in fields(Score)]


def outcome(foreground: int, predicted: int) -> Outcome:
    """Which masks hold something, by their pixels."""
    if foreground:
        return "both" if predicted else "missed"
    return "false alarm" if predicted else "empty"


def _mean_of(scores: Sequence[Score], name: str) -> float:
    if name in OVERLAPS:
        counted = [getattr(one, name) for one in scores if one.outcome != "empty"]
        return float(np.mean(counted)) if counted else 1.0
    counted = [value for one in scores if not np.isnan(value := getattr(one, name))]
    return float(np.mean(counted)) if counted else float("nan")


def _ratio(above: int, below: int, *, empty: float = float("nan")) -> float:
    return above / below if below else empty


def _scale(prediction: Labels, truth: Labels, spacing: Sequence[float] | None) -> Sequence[float]:
    """The spacing, 1 pixel where there is none. Raises ValueError for what does not fit together."""
    if prediction.shape != truth.shape or truth.ndim not in (2, 3):
        raise ValueError(f"two masks of one shape, HxW or DxHxW, are needed, not {prediction.shape} and {truth.shape}")
    scale = [1.0] * truth.ndim if spacing is None else [float(one) for one in spacing]
    if len(scale) != truth.ndim or not all(0 < one < float("inf") for one in scale):
        raise ValueError(f"a spacing over 0 for each of {truth.ndim} axes is needed, not {spacing}")
    return scale
