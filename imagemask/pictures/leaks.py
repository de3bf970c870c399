"""What would leak from one set into another where the source ships a split: a picture, or a patient, in several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from imagemask import files
from imagemask.types import Case


def without_copies(cases: Iterable[Case]) -> tuple[list[Case], list[str]]:
    """The cases sorted by id, each picture once a split; and the ids of those whose picture lies in several splits.

    Cases of one id become one with the files of all, which its reader compares; and so do those of one split that share
    an image byte for byte: the one that has a mask, and then a patient, takes the files of the others. What lies in
    several splits is flagged ``leak_risk``, and stays where it is.
    """
    found: dict[str, list[Case]] = {}
    for case in cases:
        found.setdefault(case.id, []).append(case)
    kept = {name: _joined(same) for name, same in found.items()}
    now: dict[str, str] = {}
    leaking: set[str] = set()
    for group in files.equal((path, case.id) for case in kept.values() for path in case.images):
        by_split: dict[str, list[Case]] = {}
        for name in sorted({_present(owner, now) for _, owner in group}):
            by_split.setdefault(kept[name].split, []).append(kept.pop(name))
        for same in by_split.values():
            one = _joined(same)
            kept[one.id] = one
            now |= {case.id: one.id for case in same if case.id != one.id}
            leaking |= {case.id for case in same if len(by_split) > 1}
    ids = {_present(name, now) for name in leaking}
    return [_flagged(case, "leak_risk") if name in ids else case for name, case in sorted(kept.items())], sorted(ids)


def noted(cases: Sequence[Case]) -> list[Case]:
    """``cases``, with the flag ``leak_risk`` on those whose image lies in another set, too, byte for byte."""
    owned = ((path, f"{case.split} {case.id}") for case in cases for path in case.images)
    leaking: set[str] = set()
    for group in files.equal(owned):
        owners = {tuple(owner.split(" ", 1)) for _, owner in group}
        if len({split for split, _ in owners}) > 1:
            leaking |= {name for _, name in owners}
    return [replace(case, flags=(*case.flags, "leak_risk")) if case.id in leaking else case for case in cases]


def parted(cases: Sequence[Case]) -> tuple[list[Case], list[str]]:
    """The cases, flagged ``patient_in_splits`` where their patient stands in several splits; and who does, in words."""
    found: dict[str, set[str]] = {}
    for case in cases:
        if case.patient and case.split:
            found.setdefault(case.patient, set()).add(case.split)
    several = {patient: " and ".join(sorted(splits)) for patient, splits in sorted(found.items()) if len(splits) > 1}
    noted = [_flagged(case, "patient_in_splits") if case.patient in several else case for case in cases]
    return noted, [f"{patient} ({splits})" for patient, splits in several.items()]


def _flagged(case: Case, flag: str) -> Case:
    return case if flag in case.flags else replace(case, flags=(*case.flags, flag))


def _present(name: str, now: dict[str, str]) -> str:
    while name in now:
        name = now[name]
    return name


def _joined(cases: Sequence[Case]) -> Case:
    first, *others = sorted(cases, key=lambda case: (not case.masks, not case.patient, case.id))
    return replace(
        first,
        images=(*first.images, *(path for case in others for path in case.images)),
        masks=(*first.masks, *(path for case in others for path in case.masks)),
        bytes=sum(case.bytes for case in cases),
    )
