"""The CT series below a folder, however it is laid out.

Files are known by their content, series by SeriesInstanceUID, patients by PatientID. Anonymised copies may lack either
(the value is there, and blank): then the folder stands for it, and that is flagged.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from imagemask.errors import CaseError
from imagemask.files import walk
from imagemask.volumes.damage import COPY_AGAIN
from imagemask.volumes.dicom.header import Header, Tag, read_header

_DICOMDIR = "1.2.840.10008.1.3.10"
_CT_CLASSES = "1.2.840.10008.5.1.4.1.1.2"
_DICOM_SUFFIXES = {".dcm", ".dicom", ".ima"}
_OTHER_SUFFIXES = {".txt", ".csv", ".tcia", ".json", ".xml", ".html", ".md", ".pdf", ".gz", ".nii", ".zip", ".sha256"}
_OTHER_NAMES = {"license", "readme", "dicomdir"}


@dataclass(frozen=True, slots=True)
class Series:
    """The files of one series. ``folder`` is the deepest one that holds them all; ``patient`` is PatientID.

    ``flags``: ``patient_from_folder`` (PatientID is blank: ``patient`` is the folder's name), ``series_from_folder``
    (SeriesInstanceUID is blank, and so is ``uid``: the folder is the series), ``mixed_folder`` (its folder holds
    another series), ``no_preamble``.
    """

    uid: str
    patient: str
    folder: Path
    files: tuple[Path, ...]
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What lies below a folder: series sorted by patient, files passed over by reason, and what could not be placed."""

    series: list[Series] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    problems: list[tuple[Path, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Member:
    path: Path
    uid: str
    patient: str
    preamble: bool


def find_series(root: Path) -> Found:
    """Find the CT series below ``root`` from the headers alone.

    A damaged file that lies in the folder of exactly one series is counted to it, so that opening that series names the
    file; any other is among the problems.
    """
    listing = walk(root)
    skipped = Counter(junk=len(listing.junk), link=len(listing.links), special=len(listing.special))
    damaged: list[tuple[Path, str]] = []
    members: list[_Member] = []
    for path in listing.files:
        try:
            header = read_header(path)
            reason = _not_a_slice(header)
        except CaseError as error:
            if not _is_something_else(path, error.code):
                damaged.append((path, f"{error.code}: {error.reason}"))
                continue
            reason = "not_dicom"
        if reason:
            skipped[reason] += 1
        else:
            members.append(_member(header))
    series, problems = _with_damaged(_grouped(members), damaged)
    problems += [(path, "unreadable: the folder cannot be listed") for path in listing.unreadable]
    return Found(series, {reason: count for reason, count in sorted(skipped.items()) if count}, sorted(problems))


def _not_a_slice(header: Header) -> str:
    """Why a sound DICOM file is no slice of a CT series, "" where it is. Raises CaseError where its pixels are gone."""
    modality = header.text(Tag.Modality)
    if header.sop_class == _DICOMDIR:
        return "dicomdir"
    if modality != "CT" and (modality or not header.sop_class.startswith(_CT_CLASSES)):
        return f"modality_{modality.lower() or 'unknown'}"
    if header.pixels is None:
        raise CaseError("truncated_pixels", "there are no pixels", file=header.path, remedy=COPY_AGAIN)
    return ""


def _is_something_else(path: Path, code: str) -> bool:
    """Whether a file that could not be read as DICOM never was any, by its content or by its name."""
    suffix = path.suffix.lower()
    if suffix in _OTHER_SUFFIXES or path.name.lower() in _OTHER_NAMES:
        return True
    return code == "not_dicom" and suffix not in _DICOM_SUFFIXES


def _member(header: Header) -> _Member:
    return _Member(header.path, header.text(Tag.SeriesInstanceUID), header.text(Tag.PatientID), header.preamble)


def _grouped(members: Iterable[_Member]) -> list[Series]:
    """One series for each patient and SeriesInstanceUID; where that is blank, for each folder."""
    groups: dict[tuple[str, str], list[_Member]] = defaultdict(list)
    for member in members:
        groups[member.patient, member.uid or str(member.path.parent)].append(member)
    series = [_series(group) for group in groups.values()]
    owners = _owners(series)
    return [
        replace(each, flags=(*each.flags, "mixed_folder"))
        if any(len(owners[path.parent]) > 1 for path in each.files)
        else each
        for each in series
    ]


def _series(members: Sequence[_Member]) -> Series:
    first = members[0]
    folder = Path(os.path.commonpath([member.path.parent for member in members]))
    flags = {
        "patient_from_folder": not first.patient,
        "series_from_folder": not first.uid,
        "no_preamble": not all(member.preamble for member in members),
    }
    paths = tuple(sorted(member.path for member in members))
    noted = tuple(flag for flag, holds in flags.items() if holds)
    return Series(first.uid, first.patient or folder.name, folder, paths, noted)


def _owners(series: Sequence[Series]) -> dict[Path, set[int]]:
    """Which series (by index) have a file in each folder."""
    owners: dict[Path, set[int]] = defaultdict(set)
    for index, each in enumerate(series):
        for path in each.files:
            owners[path.parent].add(index)
    return owners


def _with_damaged(
    series: Sequence[Series], damaged: Sequence[tuple[Path, str]]
) -> tuple[list[Series], list[tuple[Path, str]]]:
    """The series, sorted, with the damaged files that can only be theirs; and the damaged files that are left."""
    owners = _owners(series)
    extra: dict[int, list[Path]] = defaultdict(list)
    problems = []
    for path, words in damaged:
        if len(owners.get(path.parent, ())) == 1:
            extra[next(iter(owners[path.parent]))].append(path)
        else:
            problems.append((path, words))
    whole = [replace(each, files=tuple(sorted([*each.files, *extra[index]]))) for index, each in enumerate(series)]
    return sorted(whole, key=lambda each: (each.patient, each.uid, each.folder)), problems
