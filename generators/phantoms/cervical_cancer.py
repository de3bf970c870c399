"""Writes a synthetic SipakMed: Pap smears of 1 to 4 cells in five classes, with their CROPPED pictures and outlines.

Quirks of the real one that must build: numbers that begin anew in each class, one class nested in a folder of its own
name, ``._`` twins, cells that overlap, a nucleus partly outside its cell, the nucleus of a crop in the coordinates of
the parent picture, a cell without a nucleus; and outlines with 3 to 6 decimals, with CRLF, with blanks and a byte order
mark. The first cell of most pictures lies at the right edge, where x and y cannot be confused unnoticed.

What tells a cell is its texture: cytoplasm is striped and nuclei are granular, among smears and debris of the very same
colours that are not. Only exact arithmetic is used, so that a seed gives the same bytes on any machine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imagemask import files, phantoms

SOURCE = "cervical-cancer"
CATEGORIES = ("Dyskeratotic", "Koilocytotic", "Metaplastic", "Parabasal", "Superficial-Intermediate")
MOST_CELLS = 4
_COUNTS = (2, 1, 3, 4, 2, 1, 3)  # cells, by the number of the picture
_GLASS, _NUCLEUS = (198, 206, 224), (84, 74, 122)
_CYTOPLASM = ((176, 150, 120), (126, 160, 178), (112, 158, 166), (120, 148, 190), (186, 152, 172))
_FIRST_FAULT = 901

Points = list[tuple[float, float]]
"""Vertices of an outline: x, y."""
Picture = NDArray[np.uint8]


def write(raw: Path, *, patients: int, size: int, slices: int, seed: int, faults: bool) -> None:
    """Write ``patients`` pictures below ``raw``, one class after the other, ``size`` pixels wide and 3/4 of that high.

    There are no patients and no slices: a picture has as many cells as its number says, ``slices`` or MOST_CELLS at
    most. Raises UsageError for a folder that is not empty, or numbers out of range.
    """
    Tree(raw, size=size, cells=min(slices, MOST_CELLS), seed=seed, rows=slices).write(patients, faults=faults)


@dataclass(frozen=True, slots=True)
class Cell:
    """The outline of a cell, and that of its nucleus."""

    outline: Points
    nucleus: Points


@dataclass(frozen=True, slots=True)
class Style:
    """How an outline is written down."""

    decimals: int = 3
    separator: str = ","
    end: str = "\n"
    bom: bool = False

    def bytes_of(self, points: Points) -> bytes:
        """The file of an outline."""
        lines = [self.separator.join(f"{value:.{self.decimals}f}" for value in point) for point in points]
        return (b"\xef\xbb\xbf" if self.bom else b"") + (self.end.join(lines) + self.end).encode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A phantom. The classes in ``nested`` lie in a folder within the folder of their name, as in a copy on Kaggle."""

    raw: Path = field(kw_only=False)
    size: int
    seed: int
    cells: int = MOST_CELLS
    rows: int = phantoms.FEWEST_SLICES
    nested: Collection[str] = (CATEGORIES[1],)

    def write(self, patients: int, *, faults: bool = False) -> None:
        """Write it. Raises UsageError for a folder that is not empty, or numbers out of range."""
        phantoms.begin(self.raw, patients=patients, size=self.size, slices=self.rows)
        ids = [self._picture(number) for number in range(patients)]
        broken = self._broken() if faults else {}
        self._junk()
        phantoms.finish(self.raw, SOURCE, ids=ids, sets=(patients, patients), faults=broken, patients=patients)

    def folder(self, category: str) -> Path:
        """Where a class lies."""
        outer = self.raw / f"im_{category}"
        return outer / outer.name if category in self.nested else outer

    def drawn(self, number: int) -> list[Cell]:
        """The cells of a picture, counted from 0."""
        count = 2 if number >= _FIRST_FAULT else min(_COUNTS[number % len(_COUNTS)], self.cells)
        found = _cells(count, self.size, _Random((self.seed, number)), at_edge=number % 3 < 2)
        if number == 3 and count > 1:
            found[1] = _with_nucleus_outside(found[1])
        return found

    def _picture(self, number: int) -> str:
        """Write a picture, its outlines and its crops; its case id."""
        category, stem = CATEGORIES[number % 5], f"{number // 5 + 1:03d}"
        folder, cells = self.folder(category), self.drawn(number)
        pixels, style = self._painted(number, cells), _STYLES.get(number, Style(3 + number % 4))
        _save(folder / f"{stem}.bmp", bmp(pixels))
        for place, cell in enumerate(cells, start=1):
            lacks = number == 4 and place == len(cells)
            _save(folder / f"{stem}_cyt{place:02d}.dat", style.bytes_of(cell.outline))
            if not lacks:
                _save(folder / f"{stem}_nuc{place:02d}.dat", style.bytes_of(cell.nucleus))
            self._crop(folder / "CROPPED" / f"{stem}_{place:02d}", pixels, cell, style)
            if lacks:
                (folder / "CROPPED" / f"{stem}_{place:02d}_nuc.dat").unlink()
            elif (number, place) == (3, 1):  # as in 25 of the real crops
                _save(folder / "CROPPED" / f"{stem}_{place:02d}_nuc.dat", style.bytes_of(cell.nucleus))
        return f"{category}_{stem}"

    def _painted(self, number: int, cells: Sequence[Cell]) -> Picture:
        return _paint((self.size * 3 // 4, self.size), cells, _CYTOPLASM[number % 5], (self.seed, number))

    def _crop(self, stem: Path, pixels: Picture, cell: Cell, style: Style) -> None:
        """Write a cell in a picture of its own: the box around it and a margin, the outlines moved along."""
        margin = 2 + self.size // 64
        (left, right), (top, bottom) = (
            (max(0, int(min(values)) - margin), int(max(values)) + margin + 1)
            for values in zip(*cell.outline, strict=True)
        )
        _save(stem.with_name(f"{stem.name}.bmp"), bmp(pixels[top:bottom, left:right]))
        for kind, points in (("cyt", cell.outline), ("nuc", cell.nucleus)):
            moved = [(x - left, y - top) for x, y in points]
            _save(stem.with_name(f"{stem.name}_{kind}.dat"), style.bytes_of(moved))

    def _junk(self) -> None:
        """What operating systems leave behind."""
        files.write_atomic(self.raw / ".DS_Store", b"\0\0\0\1Bud1")
        for path in files.walk(self.folder(CATEGORIES[0])).files:
            files.write_atomic(path.with_name(f"._{path.name}"), phantoms.apple_double())

    def _broken(self) -> dict[str, str]:
        """One picture a fault; {case id: code}."""
        broken = {}
        for number, (code, spoil) in enumerate(_FAULTS.items(), start=_FIRST_FAULT):
            category, cells = CATEGORIES[number % 5], self.drawn(number)
            path = self.folder(category) / f"{number}.bmp"
            _save(path, bmp(self._painted(number, cells)))
            for place, cell in enumerate(cells, start=1):
                for kind, points in (("cyt", cell.outline), ("nuc", cell.nucleus)):
                    _save(path.with_name(f"{number}_{kind}{place:02d}.dat"), Style().bytes_of(points))
            spoil(path)
            broken[f"{category}_{number}"] = code
        return broken


_STYLES: Mapping[int, Style] = {
    1: Style(4, end="\r\n"),
    2: Style(6, separator=" ", bom=True),
}


def bmp(pixels: Picture) -> bytes:
    """HxWx3 (RGB) as a BMP of 24 bits, as the real ones are stored: from the bottom row up, rows padded to 4 bytes."""
    height, width = pixels.shape[:2]
    rows = np.zeros((height, (3 * width + 3) // 4 * 4), np.uint8)
    rows[:, : 3 * width] = pixels[::-1, :, ::-1].reshape(height, 3 * width)
    head = [40, width, height, 1 | 24 << 16, 0, rows.size, 2835, 2835, 0, 0]
    info = b"".join(value.to_bytes(4, "little") for value in head)
    start = 14 + len(info)
    return (
        b"BM" + b"".join(value.to_bytes(4, "little") for value in (start + rows.size, 0, start)) + info + rows.tobytes()
    )


class _Random:
    """Numbers for one picture, from its seed."""

    def __init__(self, seed: tuple[int, ...]) -> None:
        self._generator = np.random.default_rng(seed)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(self._generator.random())


def _cells(count: int, size: int, random: _Random, *, at_edge: bool) -> list[Cell]:
    """Cells wider than high: the first at the right edge or near it, the last of four over the third."""
    height, found = size * 3 / 4, list[Cell]()
    x = y = 0.0
    for place in range(count):
        radius = size * random.between(0.09, 0.12)
        across, down = random.between(0, 1), random.between(0, 1)
        if place == 0:
            x = size - 1.5 - 1.35 * radius - (0 if at_edge else 0.2 * size * across)
            y = (0.2 + 0.6 * down) * height
        elif place < 3:
            x, y = (0.17 + 0.28 * across) * size, (0.23 + 0.4 * (place - 1) + 0.14 * down) * height
        else:
            x, y = x + 1.3 * radius, y - 0.06 * height
        found.append(_cell((x, y), radius, random))
    return found


def _cell(centre: tuple[float, float], radius: float, random: _Random) -> Cell:
    outline = _ring(centre, (1.2 * radius, 0.95 * radius), random, wobble=0.12)
    inner = radius * random.between(0.36, 0.46)
    shift = radius * random.between(-0.15, 0.15)
    return Cell(outline, _ring((centre[0] + shift, centre[1] - shift / 2), (inner, inner), random, wobble=0.06))


def _with_nucleus_outside(cell: Cell) -> Cell:
    """The nucleus moved to the right edge of its cell, as in 22 of the real crops."""
    by = max(x for x, _ in cell.outline) - max(x for x, _ in cell.nucleus) + 2.0
    return Cell(cell.outline, [(x + by, y) for x, y in cell.nucleus])


def _ring(centre: tuple[float, float], radii: tuple[float, float], random: _Random, *, wobble: float) -> Points:
    """A closed outline around ``centre``, its radii varying by up to ``wobble``."""
    turns = [random.between(-wobble, wobble) for _ in _DIRECTIONS]
    ring = []
    for place, (x, y) in enumerate(_DIRECTIONS):
        factor = 1 + (turns[place - 1] + 2 * turns[place] + turns[(place + 1) % len(turns)]) / 4
        ring.append((centre[0] + radii[0] * factor * x, centre[1] + radii[1] * factor * y))
    return ring


def _circle(parts: int) -> Points:
    """Points on the unit circle, ``parts`` a quarter: by its rational form, for sines differ between machines."""
    points = [((1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)) for t in (step / parts for step in range(parts))]
    for quarter in range(3):
        points += [(-y, x) for x, y in points[quarter * parts :]]
    return points


_DIRECTIONS = _circle(8)


def _paint(shape: tuple[int, int], cells: Sequence[Cell], tint: tuple[int, int, int], seed: tuple[int, ...]) -> Picture:
    """The picture of cells: HxWx3, RGB."""
    height, width = shape
    random = _Random((*seed, 1))
    y, x = np.mgrid[:height, :width]
    period = max(4, width // 24)
    canvas = np.empty((*shape, 3), np.int16)
    canvas[...] = _GLASS
    canvas -= (((2 * x - y) // (3 * period)) % 3 * 7).astype(np.int16)[..., None]  # folds in the glass
    for _ in range(4):
        canvas[_inside(_blot(shape, random, radius=width * random.between(0.06, 0.13)), shape)] = tint
    for _ in range(12):
        canvas[_inside(_blot(shape, random, radius=width * random.between(0.012, 0.035)), shape)] = _NUCLEUS
    stripes = ((x + 2 * y) // max(2, period // 2) % 2 * 44 - 22).astype(np.int16)[..., None]
    grain = ((x // max(1, period // 3) + y // max(1, period // 3)) % 2 * 60 - 30).astype(np.int16)[..., None]
    layers = [(cell.outline, tint, stripes) for cell in cells] + [(cell.nucleus, _NUCLEUS, grain) for cell in cells]
    for points, colour, texture in layers:  # nuclei last: they are seen through cells that lie over them
        inside = _inside(points, shape)
        canvas[inside] = (np.array(colour, np.int16) + texture)[inside]
    canvas += phantoms.noise((height, width, 3), seed) // 2
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _blot(shape: tuple[int, int], random: _Random, *, radius: float) -> Points:
    centre = random.between(0, shape[1]), random.between(0, shape[0])
    return _ring(centre, (radius * random.between(0.7, 1.4), radius), random, wobble=0.3)


def _inside(points: Points, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels whose centres an outline surrounds. (Not by ``contours``: what is tested does not make the test.)"""
    height, width = shape
    y, x = np.arange(height), np.arange(width)
    found = np.zeros(shape, np.bool_)
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        rows = np.flatnonzero((y0 <= y) != (y1 <= y))
        if rows.size:
            cuts = x0 + (rows - y0) * ((x1 - x0) / (y1 - y0))
            found[rows] ^= x < cuts[:, None]
    return found


def _save(path: Path, data: bytes) -> None:
    files.make_folder(path.parent)
    files.write_atomic(path, data)


def _outlines(picture: Path, kind: str = "") -> list[Path]:
    return sorted(picture.parent.glob(f"{picture.stem}_{kind}*.dat"))


def _edited(change: Callable[[str], str], kind: str = "cyt01") -> Callable[[Path], None]:
    """Changes the text of outlines."""

    def spoil(picture: Path) -> None:
        for path in _outlines(picture, kind):
            path.write_text(change(path.read_text("ascii")), "ascii", newline="")

    return spoil


def _swapped(text: str) -> str:
    return "".join(",".join(reversed(line.split(","))) + "\n" for line in text.splitlines())


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink()


_FAULTS: Mapping[str, Callable[[Path], object]] = {
    "empty_file": lambda picture: picture.write_bytes(b""),
    "damaged_image": lambda picture: picture.write_bytes(picture.read_bytes()[:-200]),
    "missing_image": lambda picture: picture.unlink(),
    "missing_mask": lambda picture: _unlink(_outlines(picture)),
    "duplicate_stem": lambda picture: picture.with_suffix(".png").write_bytes(picture.read_bytes()),
    "no_contour": _edited(lambda text: "".join(text.splitlines(keepends=True)[:2]), kind=""),
    "bad_contour": _edited(lambda text: text + "nan,12.5\n"),
    "decimal_comma": _edited(lambda text: text.replace(".", ",")),
    "swapped_axes": _edited(_swapped),
    "contour_too_large": _edited(lambda _: "0,0\n90000,0\n0,90000\n"),
}
