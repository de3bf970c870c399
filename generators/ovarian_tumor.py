"""MMOTU: ultrasound of ovarian tumours, 1469 pictures in 2D (OTU_2d), 170 with a contrast agent (OTU_3d, OTU_CEUS).

A picture ``7.JPG`` has up to three annotations, which the ends of their stems tell apart: ``7_binary.PNG`` (0 and 1),
``7.PNG`` (a colour a class), ``7_binary_binary.PNG`` (0 and 255); the first that is there counts. They lie in
``annotations/`` beside lists of the sets, or below ``train/`` and ``test/``. Healthy ovaries are outlined, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from imagemask import files, names, sources, types
from imagemask.errors import CaseError, UsageError
from imagemask.pictures import leaks, lists, outlines
from imagemask.types import Case, Slice, Source

SOURCE = "ovarian-tumor"
ACCEPTED = "OTU_2d (--subset 3d: OTU_3d or OTU_CEUS) with images/1.JPG and annotations/1.PNG, or with train/ and test/"
COMPLETE = "Complete the copy (imagemask check ovarian-tumor lists what is missing), or leave this case out"
CLASSES = {  # raw-formats.md 4.3; the published lists count from 0, labels from 1
    "Chocolate cyst": (64, 0, 0),
    "Serous cystadenoma": (0, 64, 0),
    "Teratoma": (0, 0, 64),
    "Theca cell tumour": (64, 0, 64),
    "Simple cyst": (64, 64, 0),
    "Normal ovary": (64, 64, 64),
    "Mucinous cystadenoma": (0, 128, 0),
    "High-grade serous cystadenoma": (0, 0, 128),
}
NAMES = dict(enumerate(CLASSES, start=1))
COLOURS = {colour: label for label, colour in enumerate(CLASSES.values(), start=1)}
NORMAL, SOME = 6, 9  # the label of a normal ovary; foreground of which no class is known
PUBLISHED = {"2d": (1469, 267), "3d": (170, 0)}  # pictures, and how many are known to be normal ovaries
_ROOTS = {"2d": re.compile("otu[-_ ]?2d", re.IGNORECASE), "3d": re.compile("otu[-_ ]?(?:3d|ceus)", re.IGNORECASE)}
_IMAGES = re.compile(r"(?:\w+_)?images?", re.IGNORECASE)
_MASKS = re.compile(r"(?:black|bin).*|(?P<main>annotations?|masks?|labels?)|(?P<like>\w+_labels?)", re.IGNORECASE)
_KIND, _KINDS = re.compile(r"(?<=.)(_binary){1,2}\Z", re.IGNORECASE | re.DOTALL), ("_binary", "", "_binary_binary")


class Options(types.Options):
    """Options of ``imagemask build ovarian-tumor``."""

    subset: Literal["2d", "3d"] = Field("2d", description="plain ultrasound, or with a contrast agent (CEUS)")
    mask: Literal["binary", "classes"] = Field("binary", description="one foreground, or eight classes, by colour")
    normal: Literal["keep", "drop", "background"] = Field(
        "keep", description="normal ovaries, outlined like tumours: foreground, left out, or background"
    )
    mask_threshold: int | None = Field(
        None, ge=1, le=65535, description="the least foreground value of a mask that has more than two values"
    )


def describe(source: Source, raw: Path, options: Options) -> Source:
    """``source`` as it holds for ``raw`` and the options: its labels, what is left out, expected, and not read."""
    if options.mask == "classes" and options.mask_threshold is not None:
        raise UsageError("--mask-threshold makes no classes", remedy="Leave it out, or give --mask binary")
    tree, told = _find(raw, options)
    published, normal = PUBLISHED[options.subset]
    changed: dict[str, Any] = {"notes": (*source.notes, *tree.notes(), *told.notes((*tree.images, *tree.masks)))}
    if options.mask == "classes":
        changed["labels"] = {key: name for key, name in NAMES.items() if options.normal == "keep" or key != NORMAL}
    if options.normal == "drop":
        if not told.classified:
            raise UsageError("--normal drop needs class lists, val_cls.txt and such", remedy="Add them, or keep all")
        dropped = [case.id for case in discover(raw, options) if case.category == NAMES[NORMAL]]
        changed["excluded"] = dict.fromkeys(dropped, "a normal ovary: left out by --normal drop")
        published -= normal or len(dropped)
    changed["expected"] = dict.fromkeys(("cases", "images", "masks"), published)
    return sources.amended(source, changed, place=str(raw))


def discover(raw: Path, options: Options) -> list[Case]:
    """One case for every image, annotation and listed picture, sorted by id: ``OTU2D_0007``, whatever the layout.

    Raises InputError where ``raw`` is not this source, holds it twice, or has a list that cannot be read.
    """
    tree, told = _find(raw, options)
    cases = []
    for name, place in tree.named(told.listed).items():
        images, masks = tuple(tree.images.get(place, ())), tuple(tree.masks.get(place, ()))
        size, about = sum(path.stat().st_size for path in (*images, *masks)), told.about(*place)
        key, category = f"OTU{options.subset.upper()}_{name}", NAMES.get(about.number + 1, "")
        case = Case(key, "", images, masks, size, key, about.split, category, about.flags, extra={"name": about.name})
        cases.append(case)
    return leaks.noted(sorted(cases, key=lambda case: case.id))


def read(case: Case, options: Options) -> Iterator[Slice]:
    """One slice. Raises CaseError where image or mask is missing, there in several versions, damaged or unclear."""
    from imagemask.pictures import palettes

    outlines.require_both(case, remedy=COMPLETE)
    kinds = _KINDS if options.mask == "binary" else sorted(_KINDS)  # "", the one in colours, first
    found = outlines.by_kind({path: _of(path)[1] for path in case.masks}, kinds)
    if options.mask == "classes" and "" not in found:
        reason = f"{case.masks[0].name} tells no classes, and no annotation in colours is there"
        raise CaseError("missing_mask", reason, file=case.masks[0], remedy="Complete the copy, or give --mask binary")
    read_as = partial(palettes.labels, value=SOME, threshold=options.mask_threshold, strict=options.mask == "classes")
    told = outlines.read_masks(found, lambda kind, path: read_as(path, None if kind else COLOURS))
    mask = next(iter(told.masks.values()))
    image, noted = outlines.read_image(case.images, told.path, mask)
    colours, classes = told.masks.get(""), told.values("") - {0, SOME}
    if options.normal == "background" and mask.any() and not case.category and not classes:
        reason = f"nothing tells whether {told.path.name} shows a normal ovary"
        raise CaseError("class_needed", reason, file=told.path, remedy="Add the class lists, or give --normal keep")
    flags = {
        "class_conflict": bool(case.category and classes) and case.category not in {NAMES[one] for one in classes},
        "second_binary": next(iter(found)) == "_binary_binary",
        "empty_label": not mask.max(),
    }
    if options.normal != "keep" and (classes == {NORMAL} or (not classes and case.category == NAMES[NORMAL])):
        mask = mask * 0
    elif options.normal != "keep" and colours is not None and colours.shape == mask.shape:
        mask = mask * (colours != NORMAL)
    mask = mask if options.mask == "classes" else (mask > 0).view("u1")
    yield Slice(0, image, mask, flags=(*noted, *told.flags, *(flag for flag, holds in flags.items() if holds)))


def phantom(raw: Path, *, patients: int, size: int, slices: int, seed: int, faults: bool) -> None:
    """Write a synthetic MMOTU below ``raw``, as ``imagemask phantom ovarian-tumor`` does: a picture a patient."""
    from imagemask.generators.phantoms import ovarian_tumor

    ovarian_tumor.write(raw, patients=patients, size=size, slices=slices, seed=seed, faults=faults)


def _find(raw: Path, options: Options) -> tuple[outlines.Tree, lists.Lists]:
    roots = outlines.roots(raw, _ROOTS[options.subset], accepted=ACCEPTED)
    tree = outlines.find(roots, images=_IMAGES, masks=_MASKS, key=lambda path: _of(path)[0])
    return tree, lists.gather((path for root in roots for path in files.walk(root).files), key=_key, classes=len(NAMES))


def _of(path: Path) -> tuple[str, str]:
    """The key of an image or annotation, and the kind of an annotation: ``7_binary_binary.PNG`` is no ``_binary``."""
    if _IMAGES.fullmatch(path.parent.name):
        return _key(path.stem), ""
    stem = _KIND.sub("", path.stem)
    black = path.parent.name.casefold().startswith(("black", "bin"))  # and white
    return _key(stem), path.stem[len(stem) :].casefold() or "_binary" * black


def _key(stem: str) -> str:
    """``0007`` for ``7``; any other stem without capitals, as an id can hold it."""
    number = re.fullmatch("0*([0-9]{1,9})", stem)
    return number[1].zfill(4) if number else names.identifier((stem.casefold(),))
