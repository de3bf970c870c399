"""Pictures of cells: each cell, and its nucleus, outlined in a file of its own (``001_cyt02.dat``, ``001_nuc02.dat``).

A map of classes is uint8 HxW: 0 the background, 1 the cell without its nucleus, 2 the nucleus. Where cells overlap, a
nucleus is seen through the other cell: the larger class counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imagemask import files, images
from imagemask.errors import CaseError
from imagemask.pictures import contours
from imagemask.pictures.contours import Region

CELL, NUCLEUS = "cyt", "nuc"
"""What an outline is of; that of a cell includes the nucleus."""
NEEDS = {
    "cell": frozenset({CELL}),
    "nucleus": frozenset({NUCLEUS}),
    "cytoplasm": frozenset({CELL, NUCLEUS}),
    "both": frozenset({CELL, NUCLEUS}),
}
"""The outlines without which a cell has no part in a mask."""
_OUTLINE = re.compile(r".*_(cyt|nuc)([0-9]*)\.dat", re.IGNORECASE)
_KINDS = {".bmp": "BMP", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}

_CLASS = {CELL: 1, NUCLEUS: 2}

Map = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Drawn:
    """Maps by the number of the cell, in order; and flags of all cells."""

    maps: Mapping[int, Map]
    flags: tuple[str, ...]


def joined(group: Mapping[str, str], pictures: Mapping[str, Iterable[Path]]) -> tuple[dict[str, str], set[str]]:
    """The group of each key, where keys whose pictures are the same bytes share one; and these keys."""
    group, twins = dict(group), set[str]()
    for same in files.equal((path, key) for key, paths in pictures.items() for path in paths):
        twins |= (keys := {key for _, key in same})
        parents = {group[key] for key in keys}
        group = {key: min(parents) if parent in parents else parent for key, parent in group.items()}
    return group, twins


def odd_sizes(pictures: Mapping[str, Sequence[Path]], published: tuple[int, int]) -> list[str]:
    """The keys whose picture has neither the ``published`` (height, width) nor that of most others. Reads headers."""
    sizes: dict[str, tuple[int, int]] = {}
    for key, paths in pictures.items():
        with suppress(CaseError):  # it is said when the picture is read
            sizes[key] = images.image_size(paths[0])
    usual = {published, *(size for size, _ in Counter(sizes.values()).most_common(1))}
    return [key for key, size in sizes.items() if size not in usual]


def by_cell(paths: Iterable[Path]) -> dict[tuple[int, str], Path]:
    """Files of outlines by the number of the cell, 0 where the name holds none, and by what they are of.

    Raises CaseError ``duplicate_stem`` where one is there twice, as ``001_cyt01.dat`` and ``001_CYT01.DAT`` are.
    """
    found: dict[tuple[int, str], Path] = {}
    for path in paths:
        if match := _OUTLINE.fullmatch(path.name):
            first = found.setdefault((int(match[2] or 0), match[1].casefold()), path)
            if first != path:
                reason = f"{first.name} and {path.name} are one outline"
                raise CaseError("duplicate_stem", reason, file=path, remedy="Find out which is right, keep one")
    return found


def read_picture(path: Path) -> tuple[NDArray[np.integer[Any]], tuple[str, ...]]:
    """A picture, HxWx3, as ``images.read_image`` reads it, and flags.

    ``name_misleads`` notes that its name says another format, ``converted_to_rgb`` that it was stored in grey or with a
    palette. Raises CaseError.
    """
    picture = images.read(path)
    pixels: NDArray[np.integer[Any]] = picture.upright()
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    misleads = picture.kind != _KINDS.get(path.suffix.casefold())
    odd = {"name_misleads": misleads, "converted_to_rgb": picture.mode != "RGB"}
    return pixels, tuple(flag for flag in odd if odd[flag])


def draw(
    outlines: Mapping[tuple[int, str], Path], shape: tuple[int, int], needs: Collection[str], *, apart: bool, cut: bool
) -> Drawn:
    """The cells of a picture of ``shape``; ``outlines`` are the files by cell and what they are of (CELL, NUCLEUS).

    A map for each cell that has the outlines it ``needs`` (a value of NEEDS), or, unless ``apart``, one of them all,
    numbered 0. Flags are those of ``contours.draw``, ``unpaired_contour`` (a cell has only one of the two that can be
    used) and ``nucleus_outside`` (a nucleus lies partly outside its cell; it counts to the cell all the same, or is
    ``cut``, to ``contour_dropped`` where none of it lies inside; one that has no cell stays whole). Raises CaseError
    where a file is damaged.
    """
    maps: dict[int, Map] = {}
    flags: set[str] = set()
    for cell in sorted({cell for cell, _ in outlines}):
        found: dict[str, Region] = {}
        for kind in (CELL, NUCLEUS):
            if (cell, kind) in outlines:
                cuts = cut and NUCLEUS in needs  # and then a cell's outline decides pixels
                region, noted = _drawn(outlines[cell, kind], shape, needed=kind in needs or cuts)
                flags.update(noted)
                found |= {kind: region} if region else {}
        if len(found) == 1:
            flags.add("unpaired_contour")
        elif found and not found[NUCLEUS].lies_in(found[CELL]):
            flags.add("nucleus_outside")
            if cut:
                flags.update(_cut(found))
        if found.keys() >= set(needs):
            if (number := cell if apart else 0) not in maps:
                maps[number] = np.zeros(shape, np.uint8)
            _paint(maps[number], found)
    return Drawn(maps, tuple(sorted(flags)))


def _drawn(path: Path, shape: tuple[int, int], *, needed: bool) -> tuple[Region | None, tuple[str, ...]]:
    """``contours.draw``; an outline that is not ``needed`` costs the picture nothing, however damaged it is."""
    try:
        return contours.draw(path, shape)
    except CaseError:
        if needed:
            raise
        return None, ("contour_dropped", "contour_unreadable")


def _cut(found: dict[str, Region]) -> tuple[str, ...]:
    """Cut the nucleus to its cell; a flag where nothing of it is left."""
    common = found.pop(NUCLEUS).within(found[CELL])
    found |= {NUCLEUS: common} if common else {}
    return () if common else ("contour_dropped",)


def _paint(classes: Map, found: Mapping[str, Region]) -> None:
    for kind, region in found.items():
        here = classes[region.box]
        np.maximum(here, region.mask.view(np.uint8) * np.uint8(_CLASS[kind]), out=here)


def of_task(classes: Map, task: str) -> Map:
    """The labels that a map has for a key of NEEDS: 1, and for ``both`` 1 (cytoplasm) and 2 (nucleus)."""
    if task == "both":
        return classes
    chosen = classes > 0 if task == "cell" else classes == (1 if task == "cytoplasm" else 2)
    return chosen.view(np.uint8)
