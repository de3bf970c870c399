"""Contact sheets of what a network found, beside what is true: PNGs drawn by matplotlib, without a display.

Truth and prediction have a colour each, which colour-blind eyes tell apart (Okabe and Ito, 2008); of several classes
each has a line style of its own. Equal input gives equal bytes, under one version of matplotlib.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from imagemask import images
from imagemask.files import make_folder, write_atomic

TRUTH, PREDICTION = "#56b4e9", "#e69f00"
_WIDTHS = {TRUTH: 2.8, PREDICTION: 1.3}
"""Of outlines: where both are in one place, the one below still shows at its edges."""
_STYLES = ("solid", "dashed", "dotted", "dashdot")
_DPI, _GAP, _LINE, _HEAD = 100, 10, 20, 34
_INK, _FAINT = "#222222", "#777777"
_THIN = 0.6
"""Times the width, over a whole picture: or a small lesion would be all outline."""
_LEAST_ZOOM = 0.25
"""A zoomed part is at least this share of the picture's longer side."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One case: image uint8 HxW or HxWx3 (RGB), truth and prediction as class ids HxW, and what is written below.

    ``probability`` (HxW, 0..1, of any foreground) is what ``preview_sheet`` shades a prediction by; ``key`` is the
    pair's in the manifest, by which ``write_masks`` calls its file.
    """

    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    caption: str
    probability: NDArray[np.float32] | None = None
    key: str = ""


class _Box(NamedTuple):
    """A part of a picture, in its pixels; the last two outside."""

    top: int
    left: int
    bottom: int
    right: int


class _Place(NamedTuple):
    """Where a square panel lies on a sheet, in its pixels from the top left."""

    top: int
    left: int
    side: int


def cases_sheet(out: Path, groups: Sequence[tuple[str, Sequence[Shown]]], *, labels: Sequence[str], title: str) -> None:
    """Write rows of cases, a row for each named group: the whole picture, and beside it the part that matters, larger.

    ``labels`` are the classes' names, by class id from 1. Raises InputError where ``out`` cannot be written.
    """
    side, across = 190, max((len(cases) for _, cases in groups), default=1)
    step, down = 2 * side + 3 * _GAP, side + 3 * _LINE
    sheet = _Sheet(max(across * step + _GAP, 640), len(groups) * down + _HEAD + _GAP)
    sheet.head(title, labels)
    for row, (name, cases) in enumerate(groups):
        top = _HEAD + _GAP + row * down
        sheet.text(_GAP, top, name, weight="bold")
        for column, shown in enumerate(cases):
            left, part = _GAP + column * step, zoom(shown)
            whole, near = _Place(top + _LINE, left, side), _Place(top + _LINE, left + side + _GAP // 2, side)
            sheet.both(shown, _whole(shown), whole)
            sheet.frame(shown, part, whole)
            sheet.both(shown, part, near)
            sheet.text(left, top + _LINE + side + 4, shown.caption, room=2 * side)
    write_atomic(out, sheet.png())


def write_masks(folder: Path, groups: Sequence[tuple[str, Sequence[Shown]]], mask_values: Sequence[int]) -> None:
    """Write the prediction of each case as ``folder``/KEY.png, with the values of the dataset's own masks.

    ``mask_values`` are those of the classes, by class id from 1. Pictures of other cases that lie there are removed.
    Raises InputError where that cannot be written.
    """
    make_folder(folder)
    values = np.array([0, *mask_values], np.uint8)
    masks = {f"{shown.key}.png": values[shown.prediction] for _, cases in groups for shown in cases}
    for stale in folder.glob("*.png"):
        if stale.name not in masks:
            stale.unlink()
    for name, mask in masks.items():
        write_atomic(folder / name, images.encode_png(mask, level=images.MASK_LEVEL))


def preview_sheet(out: Path, shown: Sequence[Shown], *, labels: Sequence[str], title: str = "") -> None:
    """Write each case as three pictures side by side: the image, the truth over it, the prediction over it.

    Raises InputError where ``out`` cannot be written.
    """
    side, across = 180, 1 if len(shown) < 3 else 2
    step, down = 3 * (side + _GAP // 2) + 2 * _GAP, side + _LINE + _GAP
    rows = -(-len(shown) // across)
    sheet = _Sheet(max(across * step + _GAP, 640), rows * down + _HEAD + _GAP)
    sheet.head(title, labels)
    for position, one in enumerate(shown):
        top, left = _HEAD + _GAP + position // across * down, _GAP + position % across * step
        places = [_Place(top, left + column * (side + _GAP // 2), side) for column in range(3)]
        for place in places:
            sheet.picture(one, _whole(one), place)
        sheet.shade((one.truth > 0).astype(np.float32), places[1], TRUTH)
        sheet.outline(one.truth, _whole(one), places[1], TRUTH, _THIN)
        probability = (one.prediction > 0) if one.probability is None else one.probability
        sheet.shade(np.asarray(probability, np.float32), places[2], PREDICTION)
        sheet.outline(one.prediction, _whole(one), places[2], PREDICTION, _THIN)
        sheet.text(left, top + side + 4, one.caption, room=3 * side)
    write_atomic(out, sheet.png())


def zoom(shown: Shown) -> _Box:
    """The square part of a picture (cut where the picture ends) that holds truth and prediction, with room around."""
    height, width = shown.truth.shape
    marked = (shown.truth > 0) | (shown.prediction > 0)
    if not marked.any():
        return _whole(shown)
    rows, columns = (np.flatnonzero(marked.any(axis=axis)) for axis in (1, 0))
    wanted = 1.6 * max(rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)
    half = max(wanted, _LEAST_ZOOM * max(height, width)) / 2
    y, x = (float(found[0] + found[-1] + 1) / 2 for found in (rows, columns))
    top, left = max(0, round(y - half)), max(0, round(x - half))
    return _Box(top, left, min(height, round(y + half)), min(width, round(x + half)))


def _whole(shown: Shown) -> _Box:
    return _Box(0, 0, *shown.truth.shape)


class _Sheet:
    """A white page of so many pixels, on which panels are drawn by pixel coordinates from the top left."""

    def __init__(self, width: int, height: int) -> None:
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
        self.axes: Any = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        self.axes.set_axis_off()
        self.width = width

    def png(self) -> bytes:
        """The page as the bytes of a PNG."""
        file = io.BytesIO()
        self.figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
        return file.getvalue()

    def text(self, left: float, top: float, text: str, *, room: int = 0, **how: Any) -> None:
        """Write at a place; where it takes more than ``room`` pixels, without its middle."""
        most = max(8, int(room / 5.6)) if room else len(text)
        if len(text) > most:
            text = f"{text[: most // 2 - 1]}…{text[len(text) - most // 2 :]}"
        how = {"color": _INK, "fontsize": 7.5, **how}
        self.axes.text(left, top, text, va="top", ha="left", parse_math=False, **how)

    def head(self, title: str, labels: Sequence[str]) -> None:
        """The title, and the legend: a colour for truth and one for prediction, a line style for each class."""
        self.text(_GAP, 12, title, weight="bold", fontsize=8.5)
        left, y = self.width - _GAP, 18.0
        entries = [(name, _INK, style) for name, style in _styled(labels)] if len(labels) > 1 else []
        for name, colour, style in [*reversed(entries), ("prediction", PREDICTION, "solid"), ("truth", TRUTH, "solid")]:
            left -= int(6.2 * len(name)) + 4
            self.text(left, 12, name)
            # A dark line below the bright one, which white paper would swallow.
            self.axes.plot([left - 30, left - 6], [y, y], color=_INK, linewidth=4.5, solid_capstyle="butt")
            if colour != _INK:
                self.axes.plot([left - 29, left - 7], [y, y], color=colour, linewidth=3, solid_capstyle="butt")
            else:
                self.axes.lines[-1].set(linewidth=1.5, linestyle=style)
            left -= 46

    def both(self, shown: Shown, box: _Box, place: _Place) -> None:
        """A part of a picture, with the outlines of truth and, on top of it, prediction."""
        self.picture(shown, box, place)
        width = _THIN if box == _whole(shown) else 1.0
        self.outline(shown.truth, box, place, TRUTH, width)
        self.outline(shown.prediction, box, place, PREDICTION, width)

    def picture(self, shown: Shown, box: _Box, place: _Place) -> None:
        """A part of the image, in the middle of its panel."""
        part = shown.image[box.top : box.bottom, box.left : box.right]
        self.axes.imshow(part, extent=_extent(box, place), cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
        self.axes.set_aspect("auto")

    def shade(self, strength: NDArray[np.float32], place: _Place, colour: str) -> None:
        """A whole picture's colour, as strong as ``strength`` (HxW, 0..1) says."""
        red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
        shades = np.empty((*strength.shape, 4), np.float32)
        shades[..., 0], shades[..., 1], shades[..., 2] = red, green, blue
        shades[..., 3] = 0.45 * np.clip(strength, 0, 1)
        self.axes.imshow(shades, extent=_extent(_Box(0, 0, *strength.shape), place), interpolation="nearest")
        self.axes.set_aspect("auto")

    def outline(self, labels: NDArray[np.uint8], box: _Box, place: _Place, colour: str, width: float = 1.0) -> None:
        """The outline of every class in a part of a picture, ``width`` times as thick as usual."""
        left, right, bottom, top = _extent(box, place)
        # One pixel more on every side, so that a region which touches the border is closed there.
        around = np.pad(labels, 1)[box.top : box.bottom + 2, box.left : box.right + 2]
        scale = (right - left) / (box.right - box.left)
        x = left + (np.arange(around.shape[1]) - 0.5) * scale
        y = top + (np.arange(around.shape[0]) - 0.5) * scale
        for value in np.unique(around[around > 0]).tolist():
            inside = around == value
            if not inside.all():
                style = _STYLES[(value - 1) % len(_STYLES)]
                lines = self.axes.contour(
                    x, y, inside, [0.5], colors=[colour], linewidths=width * _WIDTHS[colour], linestyles=[style]
                )
                lines.set_clip_path(self._rectangle((left, right, bottom, top), fill=False))

    def frame(self, shown: Shown, part: _Box, place: _Place) -> None:
        """A thin line around ``part`` of a whole picture."""
        left, _, _, top = extent = _extent(_whole(shown), place)
        scale = (extent[1] - left) / shown.truth.shape[1]
        x0, y0 = left + part.left * scale, top + part.top * scale
        x1, y1 = left + part.right * scale, top + part.bottom * scale
        self.axes.add_patch(self._rectangle((x0, x1, y1, y0), fill=False, edgecolor="white", linewidth=0.6, alpha=0.7))

    def _rectangle(self, extent: tuple[float, float, float, float], **how: Any) -> Any:
        from matplotlib.patches import Rectangle

        left, right, bottom, top = extent
        return Rectangle((left, top), right - left, bottom - top, transform=self.axes.transData, **how)


def _extent(box: _Box, place: _Place) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a part of a picture, with its aspect ratio kept, in the middle of a panel."""
    height, width = box.bottom - box.top, box.right - box.left
    scale = place.side / max(height, width)
    left = place.left + (place.side - width * scale) / 2
    top = place.top + (place.side - height * scale) / 2
    return left, left + width * scale, top + height * scale, top


def _styled(labels: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, _STYLES[number % len(_STYLES)]) for number, name in enumerate(labels)]
