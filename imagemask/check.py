"""A raw folder against its source manifest, before any work: what is missing, extra, twice, unreadable, junk.

Every case is opened as a build would, to see its first slice and whether another follows: by then its headers, its
whole label and how the two lie on each other have been looked at, and of a picture all of it. What lies deeper only the
build sees: most voxels and the checksum of a CT image, most pixels of a DICOM series.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, ValidationError

from imagemask import archives, files, registry
from imagemask.archives.state import ArchiveState, state_of
from imagemask.cases import inputs, problems, relative
from imagemask.errors import FINISHED_WITH_QUARANTINE, CaseError, ImagemaskError, InputError, exhausted
from imagemask.types import PHANTOM, Archive, Case, DescribesItself, Expected, Generator, Options, Source, from_options

_GZIP = b"\x1f\x8b"
_PERMISSIONS = "Check that you may read it, and list the folders that it lies in"
_HEADER = 8  # bytes: enough to know a header by


@dataclass(frozen=True, slots=True)
class Problem:
    """A case that a build would quarantine, and why; ``file`` is relative to the raw folder."""

    case: str
    file: str
    code: str
    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Cases that are one: ``id`` the same id, ``letters`` ids that differ by case only, ``bytes`` the same images."""

    kind: Literal["id", "letters", "bytes"]
    cases: tuple[str, ...]
    files: int = 0
    """Of ``bytes``: how many images they share."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What lies in a raw folder, and what should. Paths are relative to ``raw``.

    ``found`` and ``expected`` count buildable cases, image sets and mask sets; None is unknown.
    """

    source: str
    raw: str
    phantom: bool = False
    stopped: str = ""
    """Why a build would stop before its first case; empty where it would not."""
    remedy: str = ""
    found: dict[str, int] = field(default_factory=dict)
    expected: dict[str, int | None] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    excluded: dict[str, str] = field(default_factory=dict)
    quarantined: list[Problem] = field(default_factory=list)
    duplicates: list[Duplicate] = field(default_factory=list)
    archives: list[ArchiveState] = field(default_factory=list)
    junk: int = 0
    links: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    """Pipes, sockets and devices, which are not opened."""
    packed: list[str] = field(default_factory=list)
    """Archives that a build would unpack before it begins: nothing is known of their cases."""
    notes: list[str] = field(default_factory=list)
    noted: dict[str, list[str]] = field(default_factory=dict)
    """The flags that a build would give, as far as first slices tell, and the sound cases that have them."""
    first_slice_only: int = 0
    """Sound cases that have further slices, which nobody has looked at yet."""

    @property
    def exit_code(self) -> int:
        """4 where a build would stop, 3 where it would quarantine cases, else 0."""
        if self.stopped:
            return InputError.exit_code
        return FINISHED_WITH_QUARANTINE if self.quarantined else 0

    @property
    def complete(self) -> bool:
        """Whether all that is expected is there, and nothing that was looked at would keep it from being built."""
        short = any(number is not None and self.found.get(name, 0) < number for name, number in self.expected.items())
        return not (self.stopped or self.missing or self.quarantined or self.packed or short)


def check(
    name: str,
    raw: Path,
    options: Options | Mapping[str, Any] | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    looking: Callable[[Path], None] | None = None,
) -> CheckReport:
    """Look at ``raw`` as the generator ``name`` would, with ``options`` of its own: each case up to its first slice.

    ``raw`` is a folder or an archive. One that lies unpacked is checked as what it holds; one that does not is listed,
    and held against what its publisher says. Writes nothing. ``progress`` is called with the number of cases that were
    opened, and of all that will be, ``looking`` with the folder, before it is looked through for them.

    Raises UsageError for a name that nobody registered, and for options that are wrong or exclude one another, or that
    are missing where they alone tell what these files mean.
    """
    generator = registry.load(name)
    options = options if isinstance(options, Options) else from_options(generator.Options, options or {})
    source = registry.source(name)
    if not (raw.is_dir() or archives.is_archive(raw)):
        return _no_folder(name, raw)
    around = partial(_surroundings, source, raw)
    notes: tuple[str, ...] = ()
    try:
        place = archives.locate(raw, source.archives, archives.usable(generator, options))
        if place.packed:
            return _still_packed(name, raw, place, around(packed=[path for path, _ in place.packed]))
        raw, notes = place.folder, place.notes
        if looking:
            looking(raw)
        if isinstance(generator, DescribesItself):
            source = generator.describe(source, raw, options)
        told = _marker(raw)
        cases = list(generator.discover(raw, options))
        if told and _is_of_others(told, cases, partial(generator.discover, raw, generator.Options())):
            told = _Marker()
    except InputError as error:
        return CheckReport(name, str(raw), stopped=error.reason, remedy=error.remedy, **around())
    except OSError as error:
        reason = f"{error.filename or raw}: cannot be read: {error.strerror or error}"
        return CheckReport(name, str(raw), stopped=reason, remedy=_PERMISSIONS, **around())
    wanted = [case for case in cases if case.id not in source.excluded]
    looks: list[_Look] = []
    for case in wanted:
        looks.append(_look_into(case, raw, generator, options))
        if progress:
            progress(len(looks), len(wanted))
    quarantined = [look.problem for look in looks if look.problem]
    duplicates = [*_same_names(cases), *_same_bytes(wanted)]
    stopped, remedy = _stops(raw, cases, quarantined, left=len(wanted) - len(quarantined))
    return CheckReport(
        source=name,
        raw=str(raw),
        phantom=told is not None,
        stopped=stopped,
        remedy=remedy,
        excluded={case.id: source.excluded[case.id] for case in cases if case.id in source.excluded},
        quarantined=quarantined,
        duplicates=duplicates,
        notes=list(notes),
        noted=_by_flag(wanted, looks),
        first_slice_only=sum(look.another_follows for look in looks),
        **_compared(source, told, cases, buildable=len(wanted) - len(quarantined)),
        **around(folder=raw),
    )


def _still_packed(name: str, raw: Path, place: archives.Place, around: dict[str, Any]) -> CheckReport:
    """What is known of a source whose archives a build would unpack first."""
    names = {path.name.casefold() for path, _ in place.packed}
    packed: list[ArchiveState] = [one for one in around["archives"] if one.name.casefold() in names]
    wrong = next((one for one in packed if one.reason), ArchiveState("", "absent"))
    whole = [(one.name, one.members, files.human(one.unpacked_bytes or 0)) for one in packed if one.members]
    notes = [f"{name} holds {members} files of {size} in all" for name, members, size in whole]
    return CheckReport(
        name,
        str(raw),
        stopped=f"{wrong.path}: {wrong.reason}" if wrong.reason else "",
        remedy=wrong.remedy,
        packed=[path.name for path, _ in place.packed],
        notes=[*place.notes, *notes],
        **around,
    )


def _no_folder(name: str, raw: Path) -> CheckReport:
    what = "is not a folder" if raw.exists() else "there is no such folder"
    remedy = f"Name the raw folder with --raw; `imagemask info {name}` says how to get it"
    return CheckReport(name, str(raw), stopped=f"{raw}: {what}", remedy=remedy)


class _Marker(Expected):
    """What a phantom says of itself: what a complete copy holds, and which cases are broken on purpose."""

    model_config = ConfigDict(extra="ignore")
    faults: Mapping[str, str] = {}


def _marker(raw: Path) -> _Marker | None:
    """What the phantom in ``raw`` says of itself; None where there is real data. Raises InputError."""
    marker = raw / PHANTOM
    try:
        return _Marker.model_validate_json(marker.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise InputError(f"{marker}: is damaged", remedy="Write the phantom again: imagemask phantom") from error


def _is_of_others(told: _Marker, cases: Sequence[Case], plain: Callable[[], Iterable[Case]]) -> bool:
    """Whether a marker, which counts what is read without options, tells of other cases than these: of OTU_2d alone.

    Then none of its cases is among these, and some are among the ``plain`` ones: else all of them are missing.
    """
    ids = {*told.ids}
    return not {case.id for case in cases} & ids and bool({case.id for case in plain()} & ids)


def _compared(source: Source, told: _Marker | None, cases: Sequence[Case], *, buildable: int) -> dict[str, Any]:
    """Counts and ids, found against expected. Ids are compared only where the source (or the phantom) lists them."""
    expected = told or source.expected
    ids, listed = {case.id for case in cases}, set(expected.ids)
    known = {*listed, *source.excluded, *(told.faults if told else ())}
    return {
        "found": {
            "cases": buildable,
            "images": sum(bool(case.images) for case in cases),
            "masks": sum(bool(case.masks) for case in cases),
        },
        "expected": {
            "cases": expected.cases and expected.cases - len(listed & set(source.excluded)),
            "images": expected.images,
            "masks": expected.masks,
        },
        "missing": sorted(listed - ids),
        "extra": sorted(ids - known) if listed else [],
    }


def _stops(raw: Path, cases: list[Case], quarantined: list[Problem], *, left: int) -> tuple[str, str]:
    """Why a build would stop although the source was recognised, and what to do."""
    for reason in problems(cases):
        return f"{raw}: {reason}", "Rename the file that it comes from"
    if left:
        return "", ""
    none = f"{raw}: holds no case that can be built"
    for first in quarantined:
        return f"{none}; the first is {first.case}: {first.reason} [{first.code}]", first.remedy
    return none, "Complete the copy"


@dataclass(frozen=True, slots=True)
class _Look:
    """What a case shows: why it would be quarantined, or its flags, and whether another slice follows the first."""

    problem: Problem | None = None
    flags: frozenset[str] = frozenset()
    another_follows: bool = False


def _look_into(case: Case, raw: Path, generator: Generator, options: Options) -> _Look:
    """Read ``case`` as a build would, and look at its files.

    The reader speaks first, as it knows best; its silence is no proof, for it may open some files later.
    """
    paths = (*case.images, *case.masks)
    try:
        inputs(case, raw)
        look = _ask(generator, case, options)
        for path in paths:
            _look_at(path)
    except CaseError as error:
        if lacks := exhausted(error):
            raise InputError(f"{case.id}: {lacks}", remedy="Check again when the machine has less to do") from error
        file = "" if error.file is None else relative(error.file, raw)
        return _Look(Problem(case.id, file, error.code, error.reason.replace(f"{raw}/", ""), error.remedy))
    return look


def _by_flag(cases: Iterable[Case], looks: Iterable[_Look]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for case, look in zip(cases, looks, strict=True):
        for flag in look.flags:
            found[flag].append(case.id)
    return dict(sorted(found.items()))


def _ask(generator: Generator, case: Case, options: Options) -> _Look:
    """Read ``case`` until it is clear whether it has a second slice. Raises CaseError for what goes wrong by then."""
    try:
        slices = iter(generator.read(case, options))
        first = next(slices, None)
        flags = frozenset((*case.flags, *(first.flags if first else ())))
        return _Look(flags=flags, another_follows=next(slices, None) is not None)
    except ImagemaskError:
        raise
    except OSError as error:
        raise _unreadable(Path(error.filename or case.id), error) from error
    except Exception as error:
        raise CaseError(
            "unexpected_error", f"{type(error).__name__}: {error}", remedy="A build with --fail-fast shows where"
        ) from error


def _look_at(path: Path) -> None:
    """Raises CaseError for a file that is missing, empty, unreadable, or not the NIfTI that its name says."""
    try:
        with path.open("rb") as file:
            begin = file.read(_HEADER)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not begin:
        raise CaseError("empty_file", f"{path.name} is empty", file=path, remedy="Fetch it again")
    if path.name.casefold().endswith((".nii", ".nii.gz")) and not (begin[:2] == _GZIP or _is_nifti(begin)):
        reason = f"{path.name} is neither NIfTI nor gzip: it begins with {begin[:8].hex(' ')}"
        raise CaseError("not_nifti", reason, file=path, remedy="Fetch it again")


def _unreadable(path: Path, error: OSError) -> CaseError:
    missing = isinstance(error, FileNotFoundError)
    remedy = "Fetch it again" if missing else "Check its permissions, or fetch it again"
    reason = f"{path.name} cannot be read: {error.strerror or error}"
    return CaseError("missing_file" if missing else "unreadable_file", reason, file=path, remedy=remedy)


def _is_nifti(begin: bytes) -> bool:
    """Whether these are the first bytes of a NIfTI-1 or NIfTI-2 file: the size of its header, in either byte order."""
    return begin[:4] in {size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big")}


def _same_names(cases: Iterable[Case]) -> Iterator[Duplicate]:
    alike: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        alike[case.id.casefold()].append(case.id)
    for ids in alike.values():
        if len(ids) > 1:
            yield Duplicate("id" if len(set(ids)) < len(ids) else "letters", tuple(ids))


def _same_bytes(cases: Iterable[Case]) -> list[Duplicate]:
    """Cases that share an image, byte for byte: a scan that was uploaded twice leaks from train to test.

    Masks are not compared: many are equal, the empty ones above all.
    """
    groups = files.equal((path, case.id) for case in cases for path in case.images)
    shared = Counter(tuple(sorted({case for _, case in group})) for group in groups)
    return [Duplicate("bytes", ids, number) for ids, number in sorted(shared.items())]


def _surroundings(
    source: Source, raw: Path, *, folder: Path | None = None, packed: Sequence[Path] = ()
) -> dict[str, Any]:
    """What lies in ``folder`` (``raw``) beside cases; the archives of ``packed`` are looked into."""
    known, folder = list(source.archives), folder or raw
    home = raw if raw.is_dir() else raw.parent
    try:
        listing = files.walk(folder) if folder.is_dir() else files.Listing((), (), (), ())
    except OSError as error:  # a folder that may be listed but not entered
        return {"unreadable": [relative(Path(error.filename or raw), raw)]}
    lying = {path.name.casefold(): path for path in (reversed(listing.files) if home == raw else (raw,))}
    if home != raw and not any(one.name.casefold() in lying for one in known):
        known.append(Archive(name=raw.name))
    places = ((one, lying.get(one.name.casefold())) for one in known)
    return {
        "archives": [state_of(one, path, home, packed=path in packed) for one, path in places],
        "junk": len(listing.junk),
        "links": [relative(path, folder) for path in listing.links],
        "unreadable": [relative(path, folder) for path in listing.unreadable],
        "special": [relative(path, folder) for path in listing.special],
    }
