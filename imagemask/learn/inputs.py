"""What there is to predict below the paths that were given: pictures, NIfTI volumes and DICOM series, by content.

In a folder, what is none of these, hidden, or left behind by an operating system is passed over and counted. A file
that was named, or whose name promises an image, and that is none, is a failure.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from imagemask import images, names
from imagemask.errors import CaseError, UsageError
from imagemask.files import is_special, walk
from imagemask.volumes import dicom, nifti, pairs
from imagemask.volumes.dicom.header import read_header

Kind = Literal["picture", "nifti", "dicom"]
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".nii", ".dcm", ".dicom", ".ima"}
_NOT_THERE = {"missing_file", "unreadable_file", "empty_file"}
_NOT_CT = "modality_"


@dataclass(frozen=True, slots=True)
class Input:
    """One thing to predict: a picture, a volume, or a series of ``files``.

    ``path`` is its file, or the folder of its series; ``slices`` how many there are as far as is known; ``name`` what
    its outputs are called, with ``/`` for folders, and ``names`` what they might be called, the shortest first.
    """

    kind: Kind
    path: Path
    files: tuple[Path, ...]
    names: tuple[str, ...]
    slices: int = 1

    @property
    def name(self) -> str:
        """What its outputs are called."""
        return self.names[0]


@dataclass(frozen=True, slots=True)
class Failure:
    """An input, or a file of it, that could not be predicted: what is wrong with it, and what to do."""

    file: Path
    code: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason} [{self.code}]. {self.remedy}"

    @classmethod
    def of(cls, error: CaseError, path: Path) -> Failure:
        """The failure that ``error`` is for the input at ``path``."""
        return cls(error.file or path, error.code, error.reason, error.remedy)


@dataclass(frozen=True, slots=True)
class Found:
    """What lies at the paths: inputs with names that differ, failures, and how many files were passed over, and why."""

    inputs: list[Input] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


def find(paths: Sequence[Path], *, out: Path) -> Found:
    """What lies at ``paths``, files and folders; what lies in ``out`` is the output of an earlier run and passed over.

    Raises UsageError where two inputs cannot be told apart by any name.
    """
    found = Found()
    for path in paths:
        if path.is_dir():
            _in_folder(path, out.resolve(), found)
        else:
            _add_file(path, found)
    once = {tuple(path.resolve() for path in one.files): one for one in reversed(found.inputs)}
    found.inputs[:] = reversed(once.values())
    found.inputs[:] = _named(found.inputs)
    return found


def _add_file(path: Path, found: Found) -> None:
    try:
        kind = _kind(path)
    except CaseError as error:
        found.failures.append(Failure.of(error, path))
        return
    if kind is None:
        found.failures.append(_unknown(path))
    else:
        found.inputs.append(_input(kind, path, path.parent))


def _in_folder(root: Path, out: Path, found: Found) -> None:
    listing = walk(root)
    series: list[Path] = []
    known = {
        "left behind by an operating system": listing.junk,
        "links that are not followed": listing.links,
        "pipes, sockets and devices": listing.special,
    }
    found.passed_over.update({reason: len(group) for reason, group in known.items() if group})
    found.failures.extend(_unlisted(path) for path in listing.unreadable)
    for path in listing.files:
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            found.passed_over["hidden"] += 1
        elif path.resolve().is_relative_to(out):
            found.passed_over["in the folder of the output"] += 1
        else:
            _sort(path, root, found, series)
    if series:
        _add_series(root, set(series), found)


def _sort(path: Path, root: Path, found: Found, series: list[Path]) -> None:
    """Put a file of a folder where it belongs."""
    promises = Path(path.name.lower().removesuffix(".gz")).suffix in _SUFFIXES
    try:
        kind = _kind(path)
    except CaseError as error:
        if promises:
            found.failures.append(Failure.of(error, path))
        else:
            found.passed_over["empty or unreadable, and no image by their names"] += 1
        return
    if kind == "dicom":
        series.append(path)
    elif kind is not None:
        found.inputs.append(_input(kind, path, root))
    elif promises:
        found.failures.append(_unknown(path))
    else:
        found.passed_over["no image"] += 1


def _kind(path: Path) -> Kind | None:
    """What a file is, by its first bytes; a damaged one is what it would be. Raises CaseError where it is not there."""
    if is_special(path):
        reason = "is a pipe, a socket or a device, which is not opened"
        raise CaseError("special_file", reason, file=path, remedy="Give the file itself")
    if not names.is_text(path):
        shown = Path(str(path).encode("utf-8", "backslashreplace").decode())
        raise CaseError("undecodable_name", "its name is not text", file=shown, remedy="Rename the file")
    readers: tuple[tuple[Kind, Callable[[Path], object], set[str]], ...] = (
        ("picture", images.stored_as, {"unknown_format"}),
        ("nifti", nifti.open_nifti, {"not_nifti", "not_gzip"}),
        ("dicom", read_header, {"not_dicom"}),
    )
    for kind, reader, other in readers:
        try:
            reader(path)
        except CaseError as error:
            if error.code in _NOT_THERE:
                raise
            if error.code in other:
                continue
        return kind
    return None


def _input(kind: Kind, path: Path, root: Path) -> Input:
    place = path.relative_to(root)
    stem = path.name
    if kind == "nifti" and stem.lower().endswith(".gz"):
        stem = stem[:-3]
    if Path(stem).suffix.lower() in _SUFFIXES:
        stem = Path(stem).stem
    depth = pairs.depth_of((path,)) if kind == "nifti" else 1
    return Input(kind, path, (path,), _names(place.with_name(stem), place, path), max(1, depth))


def _names(short: Path, place: Path, path: Path, end: str = "") -> tuple[str, ...]:
    """From the name that is wanted to one that nothing else has: with its suffix, its folder, its whole path."""
    whole = path.resolve()
    longer = (place, Path(whole.parent.name, place), whole.relative_to(whole.anchor))
    return tuple(f"{name}" for name in (short, *(f"{one.as_posix()}{end}" for one in longer)))


def _add_series(root: Path, files: set[Path], found: Found) -> None:
    """The series that are made of ``files``, each by its own."""
    all_below = dicom.find_series(root)
    for one in all_below.series:
        members = tuple(path for path in one.files if path in files)
        if members:
            place = one.folder.relative_to(root)
            home = Path(root.resolve().name) if place == Path() else place
            called = _names(home, home, one.folder, f"-{one.uid or members[0].stem}")
            found.inputs.append(Input("dicom", one.folder, members, called, len(members)))
    for path, words in all_below.problems:
        if path in files:
            code, _, reason = words.partition(": ")
            found.failures.append(Failure(path, code, reason, "Copy or download the file again"))
    for reason, count in all_below.skipped.items():
        if reason.startswith(_NOT_CT):
            found.passed_over[f"DICOM that is {reason.removeprefix(_NOT_CT).upper()}, and not CT"] += count
        elif reason == "dicomdir":
            found.passed_over["DICOMDIR"] += count


def _named(inputs: Sequence[Input]) -> list[Input]:
    """Inputs of which no two have one name, also where capitals or composed accents make no difference."""
    for _ in range(max((len(one.names) for one in inputs), default=1)):
        counts = Counter(_folded(one.name) for one in inputs)
        inputs = [
            replace(one, names=one.names[1:]) if counts[_folded(one.name)] > 1 and len(one.names) > 1 else one
            for one in inputs
        ]
    if twice := sorted(_twice(one.name for one in inputs)):
        raise UsageError(f"two inputs would both be written as {twice[0]}", remedy="Predict them into two folders")
    return list(inputs)


def _twice(names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if _folded(name) in seen:
            yield name
        seen.add(_folded(name))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _unknown(path: Path) -> Failure:
    reason = "is no PNG, JPEG, BMP or TIFF, no NIfTI volume and no DICOM file"
    return Failure(path, "unknown_format", reason, "Convert it, or leave it out")


def _unlisted(path: Path) -> Failure:
    return Failure(path, "unreadable_file", "the folder cannot be listed", "Check its permissions")
