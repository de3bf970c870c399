"""SipakMed: Pap smears (BMP) with the cells and nuclei of each picture outlined in text files.

``im_Metaplastic/001.bmp`` shows a cluster; ``001_cyt01.dat`` outlines its first cell, nucleus included, and
``001_nuc01.dat`` the nucleus. Numbers begin anew in each of five classes, so a case is named after both. ``CROPPED/``
holds each cell in a picture of its own, named by other rules: ``001_01.bmp``, ``001_01_cyt.dat``. Class folders may lie
at any depth, one in another too. No patient is published: a split keeps together what comes from one picture.

A cell takes part if it has what ``--mask`` needs: its outline, its nucleus, or (cytoplasm, both) the two. An outline
that encloses nothing is left out and noted; one that cannot be read quarantines its picture.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, ValidationInfo, field_validator

from imagemask import files, layouts, sources, types
from imagemask.errors import CaseError, InputError
from imagemask.types import Case, Slice, Source

SOURCE = "cervical-cancer"
CATEGORIES = ("Dyskeratotic", "Koilocytotic", "Metaplastic", "Parabasal", "Superficial-Intermediate")
ACCEPTED = "class folders at any depth: im_Metaplastic/001.bmp beside im_Metaplastic/001_cyt01.dat"
PUBLISHED, CELLS = (1536, 2048), 4049
"""Height and width of a picture of a cluster; how many pictures of cells there are."""
_CLASSES = {f"im_{name}".casefold(): name for name in CATEGORIES}
_MODES = {True: "pictures of cells in CROPPED, which --cropped builds", False: "pictures of clusters"}
_PICTURE = r"\.(?P<picture>bmp|png|jpe?g|tiff?)"
_CLUSTER = re.compile(rf"(?P<key>[0-9]{{3}})(?:_(?:cyt|nuc)[0-9]{{1,3}}\.dat|{_PICTURE})", re.IGNORECASE)
_CROP = re.compile(rf"(?P<key>[0-9]{{3}}_[0-9]{{2}})(?:_(?:cyt|nuc)\.dat|{_PICTURE})", re.IGNORECASE)


class Options(types.Options):
    """Options of ``imagemask build cervical-cancer``."""

    mask: Literal["cell", "cytoplasm", "nucleus", "both"] = Field(
        "cell", description="the foreground; cytoplasm is the cell without its nucleus, both are two classes"
    )
    cut_nuclei: bool = Field(False, description="cut each nucleus at its cell's outline instead of keeping it whole")
    per_cell: bool = Field(False, description="a pair for each cell: the whole picture, and that cell alone")
    cropped: bool = Field(False, description="the pictures of single cells in CROPPED/ instead of the clusters")

    @field_validator("cropped")
    @classmethod
    def _is_one_cell(cls, value: bool, info: ValidationInfo) -> bool:
        if value and "per_cell" in info.data and info.data["per_cell"]:
            raise ValueError("such a picture is of one cell: leave --per-cell out")
        return value


class _Found(NamedTuple):
    """Pictures and outlines by case id, the folders of each class, and how many files of what were passed over."""

    pictures: dict[str, list[Path]]
    outlines: dict[str, list[Path]]
    folders: dict[str, set[Path]]
    other: Counter[str]


def describe(source: Source, raw: Path, options: Options) -> Source:
    """``source`` with the labels that ``--mask`` makes, and notes of what this copy lacks and what is passed over."""
    found, notes = _scan(raw, cropped=options.cropped), list(source.notes)
    if missing := [f"im_{name}" for name in CATEGORIES if name not in found.folders]:
        notes.append(f"This copy is not complete: it lacks {', '.join(missing)}.")
    notes += [f"Passed over: {what} ({count})." for what, count in sorted(found.other.items()) if count]
    labels = {1: "cytoplasm", 2: "nucleus"} if options.mask == "both" else {1: options.mask}
    told = {"expected": dict.fromkeys(("cases", "images", "masks"), CELLS)} if options.cropped else {}
    return sources.amended(source, {"labels": labels, "notes": notes, **told}, place=str(raw))


def discover(raw: Path, options: Options) -> list[Case]:
    """A case a picture, sorted by id; those that lack picture or outlines included.

    Pictures with the same bytes share a group. Raises InputError where ``raw`` is not this source, or holds a class
    twice.
    """
    from imagemask.pictures import cells

    files.require_folder(raw, accepted=ACCEPTED)
    found = _scan(raw, cropped=options.cropped)
    keys = sorted({*found.pictures, *found.outlines})
    if not keys:
        raise files.unknown_layout(raw, accepted=ACCEPTED)
    parents = {key: key.rpartition("_")[0] if options.cropped else key for key in keys}
    group, twins = cells.joined(parents, found.pictures)
    odd = () if options.cropped else cells.odd_sizes(found.pictures, PUBLISHED)
    cases = []
    for key in keys:
        pictures, every = found.pictures.get(key, ()), found.outlines.get(key, ())
        outlines = [path for path in every if path.stat().st_size] or every
        lacks = len(outlines) < len(every)  # an empty one is none: only where all are, it is the picture's fault
        noted = {"duplicate_image": key in twins, "unusual_size": key in odd}
        flags = tuple(flag for flag in noted if noted[flag]) + ("contour_dropped", "empty_contour") * lacks
        size = sum(path.stat().st_size for path in (*pictures, *outlines))
        category = key.partition("_")[0]
        cases.append(Case(key, "", tuple(pictures), tuple(outlines), size, group[key], "", category, flags))
    return cases


def read(case: Case, options: Options) -> Iterator[Slice]:
    """One slice, or with ``--per-cell`` one a cell, numbered as its files are.

    Raises CaseError where picture or outlines are missing, there twice or damaged, or no cell takes part.
    """
    from imagemask.pictures import cells

    path, _ = layouts.one_of_each(replace(case, masks=case.masks[:1]))
    image, odd = cells.read_picture(path)
    shape, needs = (image.shape[0], image.shape[1]), cells.NEEDS[options.mask]
    drawn = cells.draw(cells.by_cell(case.masks), shape, needs, apart=options.per_cell, cut=options.cut_nuclei)
    if not drawn.maps:
        why = ", ".join(drawn.flags) or "there are others only"
        reason = f"no outline of {path.name} can be used for --mask {options.mask}: {why}"
        raise CaseError("no_contour", reason, file=case.masks[0], remedy="Fetch its outlines again, or leave it out")
    for at, classes in drawn.maps.items():
        yield Slice(at, image, cells.of_task(classes, options.mask), flags=(*odd, *drawn.flags))


def phantom(raw: Path, *, patients: int, size: int, slices: int, seed: int, faults: bool) -> None:
    """Write a synthetic SipakMed below ``raw``, as ``imagemask phantom cervical-cancer`` does."""
    from imagemask.generators.phantoms import cervical_cancer

    cervical_cancer.write(raw, patients=patients, size=size, slices=slices, seed=seed, faults=faults)


def _scan(raw: Path, *, cropped: bool) -> _Found:
    found = _Found(defaultdict(list), defaultdict(list), defaultdict(set), Counter())
    for path in files.walk(raw).files:
        *_, outer, inner = "", raw.resolve().name, *path.parent.relative_to(raw).parts
        in_crops = inner.casefold() == "cropped"
        category = _CLASSES.get((outer if in_crops else inner).casefold())
        name = (_CROP if in_crops else _CLUSTER).fullmatch(path.name)
        if category is None or name is None:
            found.other[f"files in {inner!r} that are not of this source"] += path.suffix.casefold() in (".bmp", ".dat")
        elif in_crops != cropped:
            found.other[_MODES[in_crops]] += bool(name["picture"])
        else:
            found.folders[category].add(path.parent)
            (found.pictures if name["picture"] else found.outlines)[f"{category}_{name['key']}"].append(path)
    for category, folders in found.folders.items():
        if len(folders) > 1:
            reason = f"{raw}: im_{category} lies in {' and in '.join(map(str, sorted(folders)))}"
            raise InputError(reason, remedy="Keep one of them, or name the folder of one copy with --raw")
    return found
