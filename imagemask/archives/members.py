"""What an archive says that it holds, looked at before anything is written: names, kinds, sizes.

No path of an archive is trusted. A member is refused, and its archive with it, whose name is absolute, leads upwards,
has a drive letter, a backslash or a NUL, or is too long; that is a device or a link out of the archive; that would be
written where another one is; and so is an archive whose sizes make a bomb. Links inside are never made: a hard link
becomes a copy of what it leads to, a symbolic one is passed over, and named.
"""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from imagemask import files
from imagemask.errors import InputError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip", ".7z")
HOSTILE = (
    "Do not trust this archive: fetch it from its publisher. If you know better, unpack it yourself, and give the "
    "folder with --raw"
)
AGAIN = "It was cut short, or changed on its way: fetch it again"
BY_HAND = "Unpack it yourself, and give the folder with --raw"
MOST_MEMBERS = 1_000_000
MOST_BYTES = 1 << 44
HIGHEST_RATIO = 1000
"""Bytes unpacked for each that is packed, from ``RATIO_FROM`` bytes on: deflate's best is 1032, on zeros."""
RATIO_FROM = 1 << 30
_LONGEST_PATH, _LONGEST_PART = 1024, 255  # bytes: what every file system takes
_DRIVE = re.compile("[A-Za-z]:")
_NESTED = (*SUFFIXES, ".rar")


class ReaderError(InputError):
    """What a reader says of its archive, without its name: whoever asked adds that, and what was good before."""


class DamagedError(ReaderError):
    """The bytes of an archive make no sense. ``last`` is the last member that is whole, "" where none is known."""

    def __init__(self, reason: str, *, last: str = "") -> None:
        super().__init__(reason, remedy=AGAIN)
        self.last = last


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of an archive: the ``index``-th, under the ``name`` that the archive spells.

    ``path`` is the name as it is written, relative, with forward slashes. ``target`` is where a link leads, "" where
    that is not known. ``crc32`` is None where the archive has none.
    """

    index: int
    name: str
    kind: Literal["file", "folder", "symlink", "hardlink", "other"]
    size: int = 0
    crc32: int | None = None
    target: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written, in the order of the archive, and what is passed over."""

    files: tuple[Member, ...]
    folders: tuple[str, ...]
    bytes: int
    junk: int
    links: tuple[str, ...]
    nested: tuple[str, ...]
    """Archives inside, which stay packed."""

    def notes(self, archive: Path) -> Iterator[str]:
        """What a person should know of it, a sentence each."""
        if self.junk:
            yield f"{archive.name}: {self.junk} files of operating systems were left out"
        for what, found in (
            ("symbolic links inside it were left out", self.links),
            ("archives inside it stay packed", self.nested),
        ):
            if found:
                more = ", ..." if len(found) > 3 else ""
                yield f"{archive.name}: {what}: {', '.join(map(printable, found[:3]))}{more} ({len(found)})"


def examine(members: Iterable[Member], packed: int) -> Plan:
    """What is to be written of ``members``, of an archive of ``packed`` bytes.

    Raises ReaderError for the first one that is refused, and where there is none.
    """
    ledger = _Ledger(packed)
    for member in members:
        ledger.enter(member)
    if not ledger.files:
        raise ReaderError("holds no file", remedy="Fetch it again")
    return Plan(
        tuple(ledger.files.values()),
        tuple(ledger.folders.values()),
        ledger.bytes,
        ledger.junk,
        tuple(ledger.links),
        tuple(ledger.nested),
    )


def printable(name: str) -> str:
    """A name of an archive for people: what cannot be printed is escaped."""
    return name if name.isprintable() else repr(name)


class _Ledger:
    """The members that were admitted so far, and what they come to."""

    def __init__(self, packed: int) -> None:
        self.packed = packed
        self.files: dict[str, Member] = {}
        self.folders: dict[str, str] = {}
        self.files_folded: dict[str, str] = {}
        self.bytes = self.entries = self.junk = 0
        self.links: list[str] = []
        self.nested: list[str] = []

    def enter(self, member: Member) -> None:
        """Admit ``member``, or pass it over. Raises ReaderError where it is refused."""
        self.entries += 1
        if self.entries > MOST_MEMBERS:
            raise self._refusal(f"it holds more than {MOST_MEMBERS} members")
        path = self._path_of(member)
        if any(files.is_junk(part) for part in path.split("/")):
            self.junk += member.kind != "folder"
        elif member.kind == "folder":
            self._enter_folder(path)
        elif member.kind == "symlink":
            self._pass_over(member, path)
        elif member.kind == "other":
            raise self._refusal("is a device, a pipe or the like", member)
        else:
            self._enter_file(member, path)

    def _path_of(self, member: Member) -> str:
        """The name as a relative path. Raises ReaderError where it may not be written."""
        name = member.name
        if why := _wrong_with(name):
            raise self._refusal(why, member)
        path = "/".join(part for part in name.split("/") if part not in ("", "."))
        if path.split("/")[0].casefold() == files.NOTES:
            raise self._refusal(f"lies in {files.NOTES}, where the notes of an unpacking are kept", member)
        return path

    def _enter_folder(self, path: str) -> None:
        here = path
        while here and (folded := _folded(here)) not in self.folders:
            if folded in self.files_folded:
                raise self._refusal(f"{self.files_folded[folded]!r} and {here!r} are a file and a folder of one name")
            self.folders[folded] = here
            here = posixpath.dirname(here)

    def _enter_file(self, member: Member, path: str) -> None:
        folded = _folded(path)
        if not path or folded in self.files_folded or folded in self.folders:
            other = self.files_folded.get(folded) or self.folders.get(folded, "")
            raise self._refusal(f"{other!r} and {path!r} would be written under one name")
        self._enter_folder(posixpath.dirname(path))
        found = replace(member, path=path)
        if member.kind == "hardlink":
            found = self._copy(found)
        self.bytes += found.size
        self._refuse_bomb()
        self.files[path] = found
        self.files_folded[folded] = path
        if path.casefold().endswith(_NESTED):
            self.nested.append(path)

    def _copy(self, member: Member) -> Member:
        """A hard link as the copy that it becomes, of a file that came before it."""
        target = "/".join(part for part in member.target.split("/") if part not in ("", "."))
        if _wrong_with(member.target) or target not in self.files:
            raise self._refusal(f"is a link to {member.target!r}, which is no file before it", member)
        original = self.files[target]
        return replace(member, size=original.size, crc32=original.crc32, target=target)

    def _pass_over(self, member: Member, path: str) -> None:
        leads = posixpath.normpath(posixpath.join(posixpath.dirname(path), member.target))
        if _wrong_with(leads) or _is_odd(member.target):
            raise self._refusal(f"is a link that leads out of it, to {member.target!r}", member)
        self.links.append(path)

    def _refuse_bomb(self) -> None:
        if self.bytes > MOST_BYTES:
            raise self._refusal(f"it would unpack to more than {files.human(MOST_BYTES)}")
        if self.bytes > RATIO_FROM and self.bytes > HIGHEST_RATIO * self.packed:
            raise self._refusal(
                f"{files.human(self.packed)} would unpack to {files.human(self.bytes)} or more, "
                f"{HIGHEST_RATIO} times as much"
            )

    def _refusal(self, why: str, member: Member | None = None) -> ReaderError:
        what = f"its member {member.name!r} {why}" if member else why
        return ReaderError(f"is refused: {what}", remedy=HOSTILE)


def _wrong_with(name: str) -> str:
    """Why a name may not be written, or ""."""
    try:
        length = len(os.fsencode(name))
        longest = max(len(os.fsencode(part)) for part in name.split("/"))
    except UnicodeEncodeError:
        return "is no name that a file system takes"
    if length > _LONGEST_PATH or longest > _LONGEST_PART:
        return "has too long a name"
    if name.startswith("/") or ".." in name.split("/"):
        return "leads out of the archive"
    return "has a name with a drive letter, a backslash or a NUL" if _is_odd(name) else ""


def _is_odd(name: str) -> bool:
    return _DRIVE.match(name) is not None or "\\" in name or "\0" in name


def _folded(path: str) -> str:
    """A path as file systems see it that tell neither capitals nor how accents are composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
