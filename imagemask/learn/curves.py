"""Curves as PNGs, drawn by matplotlib without a display: how a training went, and what an evaluation found.

Equal input gives equal bytes, under one version of matplotlib.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imagemask.errors import InputError
from imagemask.files import write_atomic

if TYPE_CHECKING:
    import pandas as pd

_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#888888"
_LINES = (_BLUE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", _ORANGE)
_MOST_PATIENTS = 60
"""In the strip: of more, every so many-th by Dice, the lowest and the highest always."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A precision-recall curve: a point a threshold. The curve is nan where nothing was predicted."""

    thresholds: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    chosen: float
    """The threshold that was used."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """Of the pixels of each bin: how many, their mean predicted probability, and the share that is foreground."""

    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    frequency: NDArray[np.float64]
    error: float
    """The expected calibration error."""


def training_curves(history: Path, out: Path, *, best: int) -> None:
    """Draw ``history.csv``: loss, metrics and learning rate by epoch, with the epoch ``best`` marked (0: none).

    Raises InputError where ``history`` cannot be read or ``out`` cannot be written.
    """
    frame = _read_history(history)
    watched = [
        name
        for name in map(str, frame.columns)
        if name not in ("epoch", "loss", "learning_rate") and not name.startswith("val_")
    ]
    metrics = [name for name in watched if f"val_{name}" in frame]
    figure = _figure(12, 3.6)
    loss, scores, rate = figure.subplots(1, 3)
    _pair(loss, frame, "loss", _BLUE)
    for name, colour in zip(metrics, _LINES * len(metrics), strict=False):
        _pair(scores, frame, name, colour)
    if "learning_rate" in frame:
        rate.step(frame["epoch"], frame["learning_rate"], where="mid", color=_BLUE)
        rate.set_yscale("log")
    for axes, title in (
        (loss, "loss"),
        (scores, "metrics (solid: validation, dotted: training)"),
        (rate, "learning rate"),
    ):
        _finish(axes, title, "epoch")
        if best:
            axes.axvline(best, color=_ORANGE, linewidth=1.5, linestyle="dashed", label=f"best: epoch {best}")
    loss.legend(fontsize=8, frameon=False)
    if metrics:
        scores.set_ylim(-0.02, 1.02)
        scores.legend(fontsize=7, framealpha=0.8, edgecolor="none", loc="lower right")
    write_atomic(out, _png(figure))


def evaluation_curves(
    out: Path, curve: Curve, reliability: Reliability, dice: Sequence[tuple[str, Sequence[float]]], *, title: str
) -> None:
    """Draw precision over recall, reliability, and a strip of the Dice of every image by patient.

    ``dice`` holds each patient's name and scores. Raises InputError where ``out`` cannot be written.
    """
    patients = _some(sorted(dice, key=lambda one: (_mean(one[1]), one[0])))
    figure = _figure(12, max(4.2, 1.6 + 0.17 * len(patients)))
    figure.suptitle(title, fontsize=10, fontweight="bold", parse_math=False)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.25))
    _precision_recall(left, curve)
    _reliability(middle, reliability)
    _strip(right, patients)
    write_atomic(out, _png(figure))


def _read_history(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_csv(path)
        return frame.assign(epoch=frame["epoch"].astype(int))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read: {error}", remedy="imagemask train --resume writes it") from error


def _pair(axes: Any, frame: pd.DataFrame, name: str, colour: str) -> None:
    """A quantity over the validation set as a solid line, over the training set as a dotted one."""
    marker = "o" if len(frame) == 1 else None
    if name in frame:
        shown = "training" if name == "loss" else None
        axes.plot(frame["epoch"], frame[name], color=colour, linestyle="dotted", marker=marker, label=shown)
    if f"val_{name}" in frame:
        shown = "validation" if name == "loss" else name
        axes.plot(frame["epoch"], frame[f"val_{name}"], color=colour, marker=marker, label=shown)


def _precision_recall(axes: Any, curve: Curve) -> None:
    known = np.isfinite(curve.precision) & np.isfinite(curve.recall)
    axes.plot(curve.recall[known], curve.precision[known], color=_BLUE)
    at = int(np.argmin(np.abs(curve.thresholds - curve.chosen)))
    if known[at]:
        axes.plot(
            curve.recall[at], curve.precision[at], "o", color=_ORANGE, label=f"threshold {curve.chosen:.2f}, as used"
        )
        axes.legend(fontsize=8, frameon=False, loc="lower left")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="precision")
    _finish(axes, "foreground pixels by threshold", "recall (sensitivity)")


def _reliability(axes: Any, found: Reliability) -> None:
    known = found.count > 0
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="dashed", label="as probable as it says")
    # The more pixels, the larger: nearly all lie in the first bin, so that the scale is logarithmic.
    sizes = 12 + 14 * np.log10(np.maximum(found.count[known], 1))
    axes.plot(found.confidence[known], found.frequency[known], color=_BLUE, linewidth=1)
    axes.scatter(found.confidence[known], found.frequency[known], s=sizes, color=_BLUE, label="pixels of a bin")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="share that is foreground")
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    _finish(axes, f"reliability (calibration error {found.error:.4f})", "predicted probability")


def _strip(axes: Any, patients: Sequence[tuple[str, Sequence[float]]]) -> None:
    for row, (_, scores) in enumerate(patients):
        axes.scatter(scores, [row] * len(scores), s=12, color=_BLUE, alpha=0.45, linewidths=0)
        if scores:
            axes.plot([_mean(scores)] * 2, [row - 0.35, row + 0.35], color=_ORANGE, linewidth=2)
    axes.set_yticks(range(len(patients)), [_short(name) for name, _ in patients], fontsize=7, parse_math=False)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.7, max(len(patients), 1) - 0.3))
    _finish(axes, "Dice of every image, and each patient's mean", "Dice")


def _some(patients: Sequence[tuple[str, Sequence[float]]]) -> list[tuple[str, Sequence[float]]]:
    if len(patients) <= _MOST_PATIENTS:
        return list(patients)
    places = np.linspace(0, len(patients) - 1, _MOST_PATIENTS).round().astype(int)
    return [patients[place] for place in places.tolist()]


def _mean(scores: Sequence[float]) -> float:
    return float(np.mean(scores)) if len(scores) else 0.0


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:11]}…{name[-12:]}"


def _finish(axes: Any, title: str, below: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(below)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", labelsize=8)
    if below == "epoch":
        axes.xaxis.get_major_locator().set_params(integer=True)


def _figure(width: float, height: float) -> Any:
    """A figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
