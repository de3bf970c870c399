"""What is measured of one pair, in a worker: a few dozen numbers, from which ``pictures`` judges with the rest in view.

No number here is a verdict. Whatever needs the mask is NaN where there is none, or where it has another size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Number = int | float
Bytes = NDArray[np.uint8]

SIDES = ("top", "bottom", "left", "right")
BLOCKS = tuple(f"block_{row}{column}" for row in range(4) for column in range(4))
"""Mean grey of a sixteenth of the picture each."""
COMPASS = {"n": (-1, 0), "ne": (-1, 1), "e": (0, 1), "se": (1, 1), "s": (1, 0), "sw": (1, -1), "w": (0, -1)} | {
    "nw": (-1, -1)
}
FARNESS = (64, 32, 16)
"""A shift is so great a part of the longer side: 8, 16 and 32 pixels of 512."""
SHIFTS = tuple(f"edge_{part}_{way}" for part in FARNESS for way in COMPASS)
TURNS = ("edge_fliph", "edge_flipv", "edge_rot180", "edge_transpose", "edge_rot90", "edge_rot270", "edge_antitranspose")
IN_PLACE, SIGN = "edge", "edge_sign"

OF_IMAGE = ("height", "width", "channels", "range", "black", "white", "middle", *SIDES, "turn", *BLOCKS)
OF_MASK = (
    *("mask_height", "mask_width", "values", "soft_values", "undeclared", "undeclared_value"),
    *("foreground", "rim", "parts", "specks", SIGN, IN_PLACE, *SHIFTS, *TURNS),
)
MEASURES = (*OF_IMAGE, *OF_MASK)
"""The keys of ``measure``, in order."""

_END = 1  # a grey level from the end of the range counts as the end: what JPEG leaves of it
_BETWEEN = slice(24, 252)  # neither end, nor the noise just above black
_FLAT, _FLAT_CORNER = 2, 10  # grey levels by which a blank line, and a blank corner, may vary: what JPEG adds
_LEAST_TURN, _GREATEST_TURN = math.radians(1), math.radians(44)
_SMALL = 256  # the longer side at which edges are compared
_POINTS, _FEWEST_POINTS = 256, 12
_SPECK, _LARGE = 30_000, 50  # a speck is below this part of the picture, and of the largest component


def measure(image: Bytes, mask: NDArray[np.integer[Any]] | None, values: Sequence[int] | None) -> dict[str, Number]:
    """The numbers called ``MEASURES`` of a pair.

    ``image`` is HxW or HxWx3, ``mask`` HxW as it is stored or None, ``values`` its declared foreground values or None.

    - ``range``: largest less smallest grey, of the channel where they lie furthest apart; 0: a constant image.
    - ``black``, ``white``: share of pixels at that end of the range (a level aside); ``middle``: median grey of the
      pixels well between, 0 where there are none.
    - ``top`` ... ``right``: lines at that edge that are all of one grey, and end abruptly; ``turn``: degrees by which
      the picture was turned, counter-clockwise, as its four blank corners agree on; 0 where they do not.
    - ``values``: distinct values of the mask; ``soft_values``: those that nobody declared and that nowhere fill 3x3
      pixels (noise, soft edges).
    - ``undeclared``: pixels of other values than 0 and ``values``, the commonest of which is ``undeclared_value``.
    - ``foreground``: share of the mask; ``rim``: its pixels at the picture's border; ``parts``: 8-connected components;
      ``specks``: those that are tiny, beside a large one.
    - ``edge_sign``: 1 where the image is brighter inside of the whole outline than outside, -1 where it is darker.
    - ``edge``: how much of the image's gradient crosses the outline of the mask, against the mean over all the places
      where it is tried: here, shifted (``SHIFTS``), mirrored and turned (``TURNS``). Above 1: it lies on edges.
    """
    numbers: dict[str, Number] = dict.fromkeys(MEASURES, math.nan)
    grey: Bytes = image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    numbers.update(_of_image(image, grey))
    if mask is not None:
        numbers.update(mask_height=mask.shape[0], mask_width=mask.shape[1])
        numbers.update(_of_mask(mask, values))
    if mask is not None and mask.shape == grey.shape:
        numbers.update(_of_edges(grey, foreground_of(mask, soft=int(numbers["soft_values"]))))
    return numbers


def foreground_of(mask: NDArray[np.integer[Any]], *, soft: int) -> Bytes:
    """0 or 1, HxW: what is not 0; of a mask with many ``soft`` values, a grey one, what is above half its maximum."""
    level = int(mask.max(initial=0)) // 2 if is_grey(soft) else 0
    return (mask > level).view(np.uint8)


def is_grey(soft_values: float) -> bool:
    """Whether a mask has so many values that fill no area that they must come of JPEG or interpolation."""
    return soft_values > 4


def _of_image(image: Bytes, grey: Bytes) -> dict[str, Number]:
    channels = 1 if image.ndim == 2 else image.shape[2]
    span = int(grey.max()) - int(grey.min())
    if span == 0:  # of one grey, and perhaps of several colours
        flat = image.reshape(-1, channels)
        span = int((flat.max(axis=0) - flat.min(axis=0)).max())
    blocks = cv2.resize(grey, (4, 4), interpolation=cv2.INTER_AREA).ravel().tolist()
    return {
        "height": grey.shape[0],
        "width": grey.shape[1],
        "channels": channels,
        "range": span,
        **_ends(grey),
        **_blank(grey),
        "turn": _turn(grey),
        **dict(zip(BLOCKS, blocks, strict=True)),
    }


def _ends(grey: Bytes) -> dict[str, Number]:
    counts = _histogram(grey)
    black, white = int(counts[: _END + 1].sum()), int(counts[-_END - 1 :].sum())
    between = np.cumsum(counts[_BETWEEN])
    middle = _BETWEEN.start + int(np.searchsorted(between, between[-1] / 2)) if between[-1] else 0
    return {"black": black / grey.size, "white": white / grey.size, "middle": middle}


def _histogram(pixels: NDArray[Any]) -> NDArray[np.int64]:
    """Pixels by value, of at most 16 bits."""
    if pixels.dtype == np.uint8:  # several times as fast
        return cv2.calcHist([pixels], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    return np.bincount(pixels.ravel())


def _blank(grey: Bytes) -> dict[str, Number]:
    """Blank lines at each edge: all of the grey of the first, a level or two aside, up to one that mostly is not.

    Where a body or a cell reaches into air or light, the first line that is not blank mostly still is.
    """
    numbers: dict[str, Number] = {}
    for side, lines in zip(SIDES, (grey, grey[::-1], grey.T, grey.T[::-1]), strict=True):
        level = int(lines[0, 0])
        count = _leading(lines.min(axis=1), lines.max(axis=1))
        after = lines[count].astype(np.int16) if count < len(lines) else np.full(1, level, np.int16)
        numbers[side] = count if 2 * np.count_nonzero(np.abs(after - level) > _FLAT) > len(after) else 0
    return numbers


def _leading(lowest: Bytes, highest: Bytes) -> int:
    """The first lines that taken together span no more than ``_FLAT`` grey levels."""
    spans = np.maximum.accumulate(highest).astype(np.int16) - np.minimum.accumulate(lowest)
    return int(np.searchsorted(spans, _FLAT, side="right"))  # it never falls


def _turn(grey: Bytes) -> float:
    """Degrees, counter-clockwise, of a rotation about the middle that left the four corners blank; 0 where none did.

    A rectangle of half sides w, h that is turned by t and cut to its old frame leaves a right-angled blank triangle in
    each corner. From a horizontal edge they cut ``w - h tan(t/2)`` at one end, ``w - (w - h sin t) / cos t`` at the
    other; from a vertical one the same with w and h exchanged. All eight must be so long, but for the tips, which are
    thinner than a pixel.
    """
    height, width = grey.shape
    slack = max(3.0, 0.03 * max(height, width))
    for way, picture in ((1, grey), (-1, grey[:, ::-1])):
        legs = _legs(picture)
        # Clockwise from the top left corner: the long leg begins an edge, and meets the short one that ends the last.
        angle = math.atan(sum(legs[1::2]) / max(1, sum(legs[0::2])))
        if not _LEAST_TURN < angle < _GREATEST_TURN:
            continue
        wanted = [*_legs_of(width / 2, height / 2, angle), *_legs_of(height / 2, width / 2, angle)] * 2
        if all(leg > 1 and abs(leg - want) <= slack for leg, want in zip(legs, wanted, strict=True)):
            return way * math.degrees(angle)
    return 0.0


def _legs_of(along: float, across: float, angle: float) -> tuple[float, float]:
    """The long and the short leg on an edge of half length ``along``, in whole blank pixels."""
    long, short = along - across * math.tan(angle / 2), along - (along - across * math.sin(angle)) / math.cos(angle)
    return long - 1 / math.tan(angle), short - math.tan(angle)


def _legs(grey: Bytes) -> list[int]:
    """Blank pixels at the beginning and at the end of each edge, clockwise from the top left corner."""
    legs = []
    for edge in (grey[0], grey[:, -1], grey[-1, ::-1], grey[::-1, 0]):
        for one in (edge, edge[::-1]):
            other = np.abs(one.astype(int) - int(one[0])) > _FLAT_CORNER
            legs.append(int(other.argmax()) if other.any() else len(one))
    return legs


def _of_mask(mask: NDArray[np.integer[Any]], values: Sequence[int] | None) -> dict[str, Number]:
    codes, labels, present, counts = _codes(mask)
    declared = np.isin(present, [0, *(values or ())])
    square = np.ones((3, 3), np.uint8)
    soft = 0
    if len(present) > 2:
        solid = codes[cv2.erode(codes, square) == cv2.dilate(codes, square)]
        thin = np.bincount(solid, minlength=int(labels[-1]) + 1)[labels] == 0
        # What is declared was drawn, however thin.
        soft = int(np.count_nonzero(thin if values is None else thin & ~declared))
    others = np.where(declared, 0, counts) if values is not None else np.zeros(1, int)
    inside = foreground_of(mask, soft=soft)
    return {
        "values": len(present),
        "soft_values": soft,
        "undeclared": int(others.sum()) if values is not None else math.nan,
        "undeclared_value": int(present[others.argmax()]) if others.any() else math.nan,
        "foreground": int(np.count_nonzero(inside)) / inside.size,
        "rim": int(np.count_nonzero(inside)) - int(np.count_nonzero(inside[1:-1, 1:-1])),
        **_components(inside),
    }


def _codes(mask: NDArray[np.integer[Any]]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The mask in a type that OpenCV filters; what is distinct there and in the mask, and how many pixels each has."""
    if mask.size and mask.min() >= 0 and mask.max() < 65536:
        codes = np.ascontiguousarray(mask, np.uint8 if mask.max() < 256 else np.uint16)
        counts = _histogram(codes)
        present = np.flatnonzero(counts)
        return codes, present, present, counts[present]
    present, inverse, counts = np.unique(mask, return_inverse=True, return_counts=True)
    return inverse.reshape(mask.shape).astype(np.uint16), np.arange(len(present)), present, counts


def _components(inside: Bytes) -> dict[str, Number]:
    left, top, width, height = cv2.boundingRect(inside)  # most masks are small
    if not width:
        return {"parts": 0, "specks": 0}
    box = inside[top : top + height, left : left + width]
    count, _, stats, _ = cv2.connectedComponentsWithStats(box, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    tiny = max(2.0, inside.size / _SPECK)
    largest = areas.max(initial=0)
    return {"parts": count - 1, "specks": int(np.count_nonzero((areas <= tiny) & (areas * _LARGE <= largest)))}


class _Outline(NamedTuple):
    """Points on the outline of a mask, and the direction across it, of length 1."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    across_y: NDArray[Any]
    across_x: NDArray[Any]


def _of_edges(grey: Bytes, inside: Bytes) -> dict[str, Number]:
    scale = min(1.0, _SMALL / max(grey.shape))
    size = max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale))
    picture = cv2.GaussianBlur(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), (0, 0), 1.0)
    share = cv2.resize(inside * np.uint8(255), size, interpolation=cv2.INTER_AREA)
    outline = _outline((share >= 128).view(np.uint8))
    if outline is None:
        return {}
    down, right = (np.asarray(cv2.Sobel(picture, cv2.CV_16S, dx, dy), np.int16) for dy, dx in ((1, 0), (0, 1)))
    scores = [_crossing(down, right, place) for place in _places(outline, picture.shape)]
    mean = float(np.nanmean(scores))
    if not mean:
        return {}
    relative = {name: one / mean for name, one in zip((IN_PLACE, *SHIFTS, *TURNS), scores, strict=True)}
    rows, columns, v, u = outline
    inwards = float((down[rows, columns] * v + right[rows, columns] * u).mean())
    return {SIGN: inwards / scores[0] if scores[0] else 0.0, **relative}


def _outline(inside: Bytes) -> _Outline | None:
    """None where it is too short to say anything."""
    inner = cv2.erode(inside, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    points = np.argwhere(inside - inner)
    rows, columns = points[:: max(1, len(points) // _POINTS)].T
    smooth = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 1.5)
    down, right = (np.asarray(cv2.Sobel(smooth, cv2.CV_32F, dx, dy))[rows, columns] for dy, dx in ((1, 0), (0, 1)))
    length = np.hypot(down, right)
    sure = length > 1e-6  # a line one pixel wide has no sides
    if np.count_nonzero(sure) < _FEWEST_POINTS:
        return None
    return _Outline(rows[sure], columns[sure], down[sure] / length[sure], right[sure] / length[sure])


def _places(outline: _Outline, shape: Sequence[int]) -> Iterator[_Outline | None]:
    """The outline in its place, at each of ``SHIFTS`` and of ``TURNS``; None for a turn that the shape forbids."""
    height, width = shape
    y, x, v, u = outline
    yield outline
    for part in FARNESS:
        for down, right in COMPASS.values():
            far = max(height, width) / part / math.hypot(down, right)
            yield _Outline(y + round(down * far), x + round(right * far), v, u)
    yield from (_Outline(y, width - 1 - x, v, -u), _Outline(height - 1 - y, x, -v, u))
    yield _Outline(height - 1 - y, width - 1 - x, -v, -u)
    turned = (
        _Outline(x, y, u, v),
        _Outline(height - 1 - x, y, -u, v),
        _Outline(x, width - 1 - y, u, -v),
        _Outline(height - 1 - x, width - 1 - y, -u, -v),
    )
    yield from turned if height == width else [None] * len(turned)


def _crossing(down: NDArray[np.int16], right: NDArray[np.int16], place: _Outline | None) -> float:
    """Mean absolute gradient across the outline; NaN where less than three quarters of it lie in the picture."""
    if place is None:
        return math.nan
    rows, columns, v, u = place
    height, width = down.shape
    seen = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    if 4 * np.count_nonzero(seen) < 3 * len(rows):
        return math.nan
    rows, columns = rows[seen], columns[seen]
    return float(np.abs(down[rows, columns] * v[seen] + right[rows, columns] * u[seen]).mean())
