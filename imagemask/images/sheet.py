"""The contact sheet: pictures with the outlines of their masks, side by side, under captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_GAP, _LINE, _PAPER, _INK = 12, 22, 250, 40
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.42
_AROUND = np.ones((3, 3), np.uint8)
_COLOURS = (
    (240, 228, 66),
    (86, 180, 233),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (0, 114, 178),
)
"""The colours of Okabe and Ito (2008), which colour-blind eyes tell apart; those that show best on grey first."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of a contact sheet: uint8 HxW or HxWx3 (RGB), its mask (uint8 HxW, 0 the background), a caption."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    caption: str


def contact_sheet(tiles: Sequence[Tile], *, columns: int, side: int) -> NDArray[np.uint8]:
    """``tiles`` in rows of ``columns``, each brought into ``side`` x ``side`` with its aspect ratio kept; RGB.

    Every class of a mask is outlined in a colour of its own, the same in all tiles; a caption that is too long loses
    its middle.
    """
    rows = -(-len(tiles) // columns)
    across, down = side + _GAP, side + _LINE + _GAP
    sheet = np.full((rows * down + _GAP, columns * across + _GAP, 3), _PAPER, np.uint8)
    for position, tile in enumerate(tiles):
        top, left = _GAP + position // columns * down, _GAP + position % columns * across
        picture = outlined(tile, side)
        height, width = picture.shape[:2]
        y, x = top + (side - height) // 2, left + (side - width) // 2
        sheet[y : y + height, x : x + width] = picture
        text, place = _shortened(tile.caption, side), (left, top + side + 16)
        cv2.putText(sheet, text, place, _FONT, _FONT_SCALE, (_INK,) * 3, 1, cv2.LINE_AA)
    return sheet


def outlined(tile: Tile, side: int) -> NDArray[np.uint8]:
    """``tile`` without its caption, RGB, its longer side ``side`` pixels long."""
    scale = side / max(tile.mask.shape)
    size = max(1, round(tile.mask.shape[1] * scale)), max(1, round(tile.mask.shape[0] * scale))
    kernel = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = cv2.resize(tile.image, size, interpolation=kernel)
    picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB) if picture.ndim == 2 else picture
    for value in np.unique(tile.mask[tile.mask > 0]).tolist():
        covered = cv2.resize((tile.mask == value).astype(np.float32), size, interpolation=kernel)
        # What is too small to be the larger part of any pixel is shown all the same.
        inside = (covered >= min(0.5, covered.max())).view(np.uint8)
        core = cv2.erode(inside, _AROUND, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        picture[inside > core] = _COLOURS[0 if value == 255 else (value - 1) % len(_COLOURS)]
    return picture.astype(np.uint8, copy=False)


def _shortened(text: str, width: int) -> str:
    """``text``, without as much of its middle as it takes to be at most ``width`` pixels wide."""
    shown, kept = text, len(text)
    while kept and cv2.getTextSize(shown, _FONT, _FONT_SCALE, 1)[0][0] > width:
        kept -= 1
        shown = f"{text[: -(-kept // 2)]}...{text[len(text) - kept // 2 :]}"
    return shown
