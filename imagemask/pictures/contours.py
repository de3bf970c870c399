"""Outlines drawn by hand into masks: reads text files of vertices strictly, and fills what they enclose.

Vertices are x (column) and y (row) from the top left, in pixels; a pixel's centre lies at whole numbers, so that the
picture reaches from -0.5 to width - 0.5. The last vertex is joined to the first.

A pixel belongs to the mask if the outline covers half of it or more. Coverage is exact along a row and taken on six
lines within it, in whole numbers: areas have no bias, and an outline that is moved by whole pixels gives the same mask,
moved. Filled is what the outline winds around (the non-zero rule): where the pen crossed its own line there is no
hole. OpenCV's ``fillPoly`` paints every pixel that the line touches: a disc of ten pixels becomes a fifth too large.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imagemask.errors import CaseError

Points = NDArray[np.float64]
"""Vertices, n x 2: x and y."""
Indices = NDArray[np.int64]

FARTHEST = 1e5
"""No vertex lies farther from the origin, in pixels: it would be in no picture."""
_LARGEST_FILE, _LONGEST_LINE = 10 << 20, 200  # bytes; characters
_MOST_VERTICES, _LONGEST_OUTLINE = 100_000, 200_000.0  # pixels along the outline
_NUMBER = r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
_VERTEX = re.compile(rf"\s*{_NUMBER}(?:\s*[,;]\s*|\s+){_NUMBER}\s*")
_FOUR = re.compile(rf"\s*{_NUMBER}" + rf"[,;\s]\s*{_NUMBER}" * 3 + r"\s*")
_PLAIN = re.compile(r"(?:[0-9]{1,5}(?:\.[0-9]{0,20})?+,[0-9]{1,5}(?:\.[0-9]{0,20})?+(?:\r?\n|\Z))*+")
_END_OF_LINE = re.compile(r"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"

_GRID, _UNITS = 1000, 2000  # of a pixel: steps to which vertices are rounded, and in which it is reckoned
# Lines at a tenth, three tenths and so on; at either side of the middle one, so that half a pixel is three of six.
_LINES = np.array([200, 600, 999, 1001, 1400, 1800])
_CLIPPED, _SWAPPED = 0.05, 0.5  # shares of an outline's area beyond the picture


@dataclass(frozen=True, slots=True)
class Region:
    """What an outline encloses within a picture: ``mask``, bool, is the part of the picture from ``top``, ``left`` on.

    ``area`` (square pixels) is that of the outline within the picture, before it is cut into pixels (of a part of one,
    its pixels); ``crossed`` whether it winds twice around a place, or in both directions: the line crosses itself.
    """

    mask: NDArray[np.bool_]
    top: int
    left: int
    area: float
    crossed: bool

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the picture."""
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def onto(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """The mask of the whole picture: bool HxW, of ``shape``."""
        whole = np.zeros(shape, np.bool_)
        whole[self.box] = self.mask
        return whole

    def within(self, other: Region) -> Region | None:
        """The pixels that are also the ``other``'s; None where there are none."""
        rows, columns = (
            slice(max(one.start, two.start), min(one.stop, two.stop))
            for one, two in zip(self.box, other.box, strict=True)
        )
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return None
        mine, theirs = (
            one.mask[rows.start - one.top : rows.stop - one.top, columns.start - one.left : columns.stop - one.left]
            for one in (self, other)
        )
        common = mine & theirs
        area = float(np.count_nonzero(common))
        return Region(common, rows.start, columns.start, area, self.crossed) if area else None

    def lies_in(self, other: Region) -> bool:
        """Whether every pixel is one of the ``other``'s."""
        common = self.within(other)
        return (np.count_nonzero(common.mask) if common else 0) == np.count_nonzero(self.mask)


def read_contour(path: Path) -> Points:
    """The vertices in a text file, one a line: two numbers between which stand a comma, a semicolon or blanks.

    A byte order mark, any kind of line end and blank lines are fine; a file without vertices gives none. Raises
    CaseError ``missing_file``, ``unreadable_file``, ``bad_contour`` (a line that is no vertex), ``decimal_comma`` (four
    numbers, or two with a comma for a point?), ``contour_too_large``.
    """
    text = _text(path)
    # As nearly all are: line by line takes six times as long.
    plain = text.count(",") <= _MOST_VERTICES and _PLAIN.fullmatch(text)
    if plain:
        numbers = list(map(float, text.replace(",", " ").split()))
    else:
        numbers = list(chain.from_iterable(islice(_vertices(text, path), _MOST_VERTICES + 1)))
    found = np.array(numbers, np.float64).reshape(-1, 2)
    if len(found) > _MOST_VERTICES:
        raise _too_large(path, f"more than {_MOST_VERTICES} vertices")
    if float(np.abs(found - np.roll(found, 1, axis=0)).sum()) > _LONGEST_OUTLINE:
        raise _too_large(path, f"an outline of more than {_LONGEST_OUTLINE:.0f} pixels")
    return found


def rasterise(points: Points, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """What an outline encloses: bool HxW, of ``shape``; clipped to the picture. Vertices lie within FARTHEST."""
    return fill(points, shape).onto(shape)


def fill(points: Points, shape: tuple[int, int]) -> Region:
    """``rasterise``, in the smallest box, with what else was seen on the way."""
    line, x, winding = _spans(points, shape)
    if not line.size:
        return Region(np.zeros((0, 0), np.bool_), 0, 0, 0.0, crossed=False)
    row, column = line // len(_LINES), x // _UNITS
    top, left = int(row.min()), int(column.min())
    rows, columns = int(row.max()) + 1 - top, int(column.max()) + 1 - left
    # Everything left of a place on a line, as differences along the row, so that sums along it are coverage: 0 at the
    # end of each row, and the same from one place where it changes to the next.
    begin, end = (row - top) * (columns + 1) + column - left
    enters, leaves = x - column * _UNITS
    place = np.concatenate([begin, begin + 1, end, end + 1])
    steps = np.concatenate([_UNITS - enters, enters, leaves - _UNITS, -leaves])
    place, steps = _together(place, steps, _UNITS.bit_length() + 1)
    covered = np.cumsum(steps) >= _UNITS * len(_LINES) / 2
    ends = np.append(place[1:], rows * (columns + 1))
    mask = np.repeat(np.append(False, covered), np.append(place[0], ends - place))
    mask = mask.reshape(rows, columns + 1)[:, : min(columns, shape[1] - left)]
    crossed = bool(np.abs(winding).max() > 1 or winding.min() < 0 < winding.max())
    return Region(mask, top, left, int((x[1] - x[0]).sum()) / (_UNITS * len(_LINES)), crossed)


def draw(path: Path, shape: tuple[int, int]) -> tuple[Region | None, tuple[str, ...]]:
    """What the outline in a file encloses in a picture of ``shape``, and flags; None where it is unusable.

    Then the flags are ``contour_dropped`` and why: ``empty_contour``, ``too_few_points``, ``outside_image``,
    ``degenerate_contour`` (it covers half of no pixel). Others are ``contour_clipped`` (more than a twentieth of it
    lies beyond the picture) and ``self_intersecting``.

    Raises CaseError as ``read_contour`` does, and ``swapped_axes`` where most of it lies outside as x, y and all of it
    inside as y, x: nothing is ever swapped to fit.
    """
    points = read_contour(path)
    if len(points) < 3:
        return None, ("contour_dropped", "too_few_points" if len(points) else "empty_contour")
    filled = fill(points, shape)
    lost = _lost(points, shape, filled.area)
    if lost > _SWAPPED and _lies_inside(points[:, ::-1], shape):
        raise CaseError(
            "swapped_axes",
            f"{path.name} lies outside the picture of {shape[0]}x{shape[1]} (height x width) as x, y; inside as y, x",
            file=path,
            remedy="Write x, the column, first; look at the other outlines of this copy, too",
        )
    if not filled.mask.any():
        return None, ("contour_dropped", "outside_image" if lost else "degenerate_contour")
    seen = {"contour_clipped": lost > _CLIPPED, "self_intersecting": filled.crossed}
    return filled, tuple(flag for flag in seen if seen[flag])


def _text(path: Path) -> str:
    """The characters of a file, which are ASCII but for a byte order mark."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except FileNotFoundError as error:
        raise CaseError("missing_file", f"{path.name} is missing", file=path, remedy="Restore it") from error
    except OSError as error:
        reason = f"{path.name} cannot be read: {error.strerror or error}"
        raise CaseError("unreadable_file", reason, file=path, remedy="Check its permissions") from error
    if len(data) > _LARGEST_FILE:
        raise _too_large(path, f"more than {_LARGEST_FILE >> 20} MiB")
    try:
        return data.removeprefix(_BOM).decode("ascii")
    except UnicodeDecodeError as error:
        raise _bad(path, data.count(b"\n", 0, error.start) + 1, "is no text") from error


def _vertices(text: str, path: Path) -> Iterator[tuple[float, float]]:
    for number, line in enumerate(_END_OF_LINE.split(text), start=1):
        if line and not line.isspace():
            yield _vertex(line, path, number)


def _vertex(line: str, path: Path, number: int) -> tuple[float, float]:
    match = _VERTEX.fullmatch(line) if len(line) <= _LONGEST_LINE else None
    if match is None:
        shown = repr(line[:40]) + ("..." if len(line) > 40 else "")
        if len(line) <= _LONGEST_LINE and _FOUR.fullmatch(line):
            raise CaseError(
                "decimal_comma",
                f"{path.name}, line {number} is {shown}: four numbers, or two with a comma for the point",
                file=path,
                remedy="Write a vertex as 12.5,7.25",
            )
        raise _bad(path, number, f"is {shown}, not a vertex such as 12.5,7.25")
    x, y = float(match[1]), float(match[2])
    if max(abs(x), abs(y)) > FARTHEST:
        raise _bad(path, number, f"is {line.strip()[:40]!r}, which lies in no picture")
    return x, y


def _bad(path: Path, line: int, what: str) -> CaseError:
    return CaseError("bad_contour", f"{path.name}, line {line} {what}", file=path, remedy="Fetch the file again")


def _too_large(path: Path, what: str) -> CaseError:
    remedy = "Is this an outline? Fetch the file again"
    return CaseError("contour_too_large", f"{path.name} holds {what}", file=path, remedy=remedy)


def _spans(points: Points, shape: tuple[int, int]) -> tuple[Indices, Indices, Indices]:
    """Where lines run inside an outline: the line of each span, its two ends (2 x m), and how often it is wound around.

    Lines are counted from the top of the picture; ends are in units from its left edge, and within it.
    """
    right = int(shape[1]) * _UNITS
    line, x, turn = _crossings(points, _lines(int(shape[0])))
    np.clip(x, 0, right, out=x)
    width = right.bit_length()
    place, turn = _together((line << width) + x, turn, 2)
    line, x = place >> width, place & (1 << width) - 1
    winding = np.cumsum(turn)  # 0 at the end of each line, for the outline is closed
    inside = np.flatnonzero((winding[:-1] != 0) & (x[:-1] < x[1:]))
    return line[inside], np.stack([x[inside], x[inside + 1]]), winding[inside]


@lru_cache(maxsize=4)
def _lines(height: int) -> Indices:
    """The y of every line in a picture of so many rows."""
    lines: Indices = (np.arange(height)[:, None] * _UNITS + _LINES).ravel()
    lines.flags.writeable = False  # whoever asks again gets the same array
    return lines


def _together(place: Indices, value: Indices, bits: int) -> tuple[Indices, Indices]:
    """Places in order, each with its value, of so many bits with its sign: sorted as one number, which is faster."""
    both = np.sort((place << bits) + value + (1 << bits - 1))
    return both >> bits, (both & (1 << bits) - 1) - (1 << bits - 1)


def _crossings(points: Points, lines: Indices) -> tuple[Indices, Indices, Indices]:
    """Where an outline crosses lines, given by their y: which one, at what x (half up), 1 downwards or -1 upwards."""
    start = np.rint(points * _GRID).astype(np.int64) * (_UNITS // _GRID) + _UNITS // 2
    run = np.roll(start, -1, axis=0) - start
    ends = np.sort(np.stack([start[:, 1], start[:, 1] + run[:, 1]]), axis=0)
    first, last = np.searchsorted(lines, ends)  # an edge crosses a line at its upper end, but none at its lower end
    count = last - first
    x, y, dx, dy, line = (np.repeat(one, count) for one in (*start.T, *run.T, first - np.cumsum(count) + count))
    line += np.arange(len(line))
    ahead = 2 * (lines[line] - y) * dx
    return line, x + (ahead + dy) // (2 * dy), np.sign(dy)


def _lost(points: Points, shape: tuple[int, int], area: float) -> float:
    """The share of an outline's area that lies beyond the picture; 0 for an outline that encloses nothing."""
    if _lies_inside(points, shape):
        return 0.0
    x, y = (points - points[0]).T
    whole = abs(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))) / 2  # the surveyor's formula
    return min(max(1 - area / whole, 0.0), 1.0) if whole > 0 else 0.0


def _lies_inside(points: Points, shape: tuple[int, int]) -> bool:
    height, width = shape
    return bool(((points >= -0.5) & (points <= (width - 0.5, height - 0.5))).all())
