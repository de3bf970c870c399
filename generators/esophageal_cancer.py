"""EEC-2022: frames of a gastroscope, 480x480, with early esophageal cancer outlined, and frames without any.

The release has ``train``, ``val`` and ``test``, each with a folder of frames and one of masks, which hold 0 and 1 and
look black. A frame's name begins with its patient: ``2ESTD1jhx201492004OR.png`` is frame 004 of ``2ESTD1jhx201492``
(two published names are all that is known of the rule). Frames without cancer are ``0.png`` to ``1299.png`` and have no
mask; they show the same patients, and nothing tells whom. In the small test release (``EEC/test``, ``EEC/test mask``)
numbers are frames of cancer: one with a mask is, unless its folder is called non-EEC, and so are those beside it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from imagemask import files, layouts, names, types
from imagemask.errors import CaseError
from imagemask.pictures import leaks, patients, roles
from imagemask.types import Case, Slice, Source

SOURCE = "esophageal-cancer"
EEC, NON_EEC = "EEC", "non-EEC"
ACCEPTED = "train, val and test with image/ and mask/, non-EEC/0.png to 1299.png; or EEC/test and 'EEC/test mask'"
SIDE, LAST = 480, 1299

_FRAME = re.compile(r"(.+?)[0-9]{3}[a-z]{0,4}", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+")
_HEALTHY = re.compile(r"(?<![a-z])(?:non[-_ ]?(?:eec|cancer)|normal|negative|healthy)", re.IGNORECASE)
_SHARES = ("train",) * 14 + ("valid",) * 3 + ("test",) * 3


class Options(types.Options):
    """Options of ``imagemask build esophageal-cancer``."""

    patients: str | None = Field(None, description="CSV, below --raw, of file,patient where names do not tell")
    non_eec: Literal["spread", "train", "valid", "test", "drop"] = Field(
        "spread", description="set of the frames without cancer; spread: 70, 15 and 15%, unless folders say it"
    )
    suffix: str | None = Field(None, description="what a mask's stem has beyond its frame's [default: _mask, -gt, ...]")


def describe(source: Source, raw: Path, options: Options) -> Source:
    """``source`` with notes on what this copy does not tell of its patients, and without what the options drop."""
    cases, notes = _find(raw, options)
    dropped = [case.id for case in cases if case.category == NON_EEC and options.non_eec == "drop"]
    excluded = dict.fromkeys(dropped, "without cancer: --non-eec drop")
    return source.model_copy(update={"notes": (*source.notes, *notes), "excluded": excluded})


def discover(raw: Path, options: Options) -> list[Case]:
    """A case a frame, sorted by id, with the split that its folders name.

    Raises InputError where ``raw`` holds no frame that could be built, and for a wrong table of patients.
    """
    return _find(raw, options)[0]


def read(case: Case, _options: Options) -> Iterator[Slice]:
    """One slice; the mask of a frame without cancer is made here. Raises CaseError."""
    from imagemask import masks

    remedy = f"Restore it. Frames without cancer are 0.png to {LAST}.png, in a folder called non-EEC"
    if case.fault:
        raise CaseError(*case.fault, file=case.images[0], remedy=remedy)
    if case.images and case.category == EEC and not case.masks:
        reason = f"there is no mask for {case.images[0].name}"
        raise CaseError("missing_mask", reason, file=case.images[0], remedy=remedy)
    if not case.images:
        layouts.one_of_each(case)
    image, mask, flags = masks.of_copies(case.images, case.masks)
    if case.category == NON_EEC and mask.any():
        reason = f"{case.images[0].name} is among the frames without cancer, and its mask is not empty"
        raise CaseError("label_values", reason, file=case.masks[0], remedy="Move both, or take the right mask")
    odd = {"empty_positive": case.category == EEC and not mask.any(), "unusual_size": mask.shape != (SIDE, SIDE)}
    yield Slice(0, image, mask, flags=(*flags, *(flag for flag in odd if odd[flag])))


def phantom(raw: Path, *, patients: int, size: int, slices: int, seed: int, faults: bool) -> None:
    """Write a synthetic EEC-2022 below ``raw``, as ``imagemask phantom esophageal-cancer`` does."""
    from imagemask.generators.phantoms import esophageal_cancer

    esophageal_cancer.write(raw, patients=patients, size=size, slices=slices, seed=seed, faults=faults)


def patient_of(stem: str) -> str:
    """The patient that a frame's name begins with, before the frame's three digits; "" where the name is no frame's."""
    found = None if _NUMBER.fullmatch(stem) or not stem.isprintable() else _FRAME.fullmatch(stem)
    return found[1].strip(" -_") if found else ""


def _find(raw: Path, options: Options) -> tuple[list[Case], list[str]]:
    """The cases, and what is to be said of them as a whole."""
    files.require_folder(raw, accepted=ACCEPTED)
    table = patients.read_table(raw / options.patients) if options.patients else {}
    pairs = roles.pairs(raw, files.walk(raw).files, suffix=options.suffix)
    single, copied = leaks.without_copies(_cases(raw, pairs, table))
    found = patients.folded(single)
    if not any(case.images and (case.masks or case.category == NON_EEC) for case in found):
        raise files.unknown_layout(raw, accepted=ACCEPTED)
    homes = {case.patient: case.split for case in found if case.category == EEC}
    cases, parted = leaks.parted([_placed(case, homes, options) for case in found])
    rows = {patients.row_of(table, path.relative_to(raw)) for case in cases for path in case.images}
    told = {
        "patients stand in several of the given sets, which split and verify will refuse": parted,
        "frames lie in several of the given sets": copied,
        "frames of cancer name no patient (--patients)": [one.id for one in cases if "patient_unknown" in one.flags],
        f"lines of {options.patients} name no frame": sorted(set(table) - rows),
    }
    return cases, [f"{len(those)} {what}: {names.some(those)}" for what, those in told.items() if those]


def _placed(case: Case, homes: Mapping[str, str], options: Options) -> Case:
    """``case`` in its set: a frame without cancer where the option says, or its folder, or its patient, or chance."""
    if case.category == EEC or (options.non_eec == "spread" and case.split):
        return case
    drawn = _SHARES[int(hashlib.sha256(case.id.encode()).hexdigest(), 16) % len(_SHARES)]
    here = options.non_eec if options.non_eec in types.SPLITS else homes.get(case.patient) or drawn
    return replace(case, split=here)


def _cases(raw: Path, pairs: Sequence[layouts.Pair], table: Mapping[str, str]) -> Iterator[Case]:
    """A case a pair; several may have one id. Their ``split`` is what their folders say."""
    frames = [(path.parent, _NUMBER.fullmatch(pair.key[-1]), pair.masks) for pair in pairs for path in pair.images]
    named = {folder for folder, number, _ in frames if not number}
    outlined = {folder for folder, number, masks in frames if number and masks}
    for pair in pairs:
        stem, split, folder = pair.key[-1], names.split_of_words(pair.key[:-1]), (pair.images or pair.masks)[0].parent
        row = patients.row_of(table, (pair.images or pair.masks)[0].relative_to(raw))
        patient, number = table[row] if row else patient_of(stem), bool(_NUMBER.fullmatch(stem))
        where = "/".join(pair.key[:-1] or (pair.images or pair.masks)[0].relative_to(raw).parts[:-1])
        healthy, unsaid = _HEALTHY.search(where) is not None, bool(split) or "unlabel" in where
        beside = bool(named) and folder not in outlined and (folder in named or not unsaid)
        odd, fault = {"padded_number": number and stem != str(int(stem))}, None
        if number and (healthy or (beside and not pair.masks)):
            category, key = NON_EEC, (NON_EEC, *filter(None, [split]), stem)
            odd |= {"synthetic_mask": not pair.masks, "leak_risk": not patient}
            if int(stem) > LAST and not pair.masks:
                fault = ("missing_mask", f"{stem} has no mask, and frames without cancer end at {LAST}")
        else:
            category, key = EEC, (split, stem) if split else pair.key
            odd |= {"patient_unknown": not patient, "numbered_positive": number and folder in named}
        name, flags = names.identifier(key), tuple(flag for flag in odd if odd[flag])
        size = sum(path.stat().st_size for path in (*pair.images, *pair.masks))
        group = "" if patient else name
        yield Case(name, patient, pair.images, pair.masks, size, group, split, category, flags, fault)
