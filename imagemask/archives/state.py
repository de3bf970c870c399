"""How an archive of a source lies in its raw folder: there, whole, the published one, unpacked; for ``check``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from imagemask.archives.extract import MISMATCH, blamed, checksum_of, plan_of, reader_of, unpacked_folder
from imagemask.archives.journal import read_stamp
from imagemask.archives.members import DamagedError, ReaderError
from imagemask.cases import relative
from imagemask.errors import ImagemaskError
from imagemask.types import Archive


@dataclass(frozen=True, slots=True)
class ArchiveState:
    """An archive of the source. ``unverified``: nobody published a checksum; ``damaged``: it cannot be unpacked whole;
    ``refused``: it may not be, or is of a kind that is not read; ``unpacked``: it lies unpacked beside itself.

    ``members`` and ``unpacked_bytes`` are what it holds, where it was looked into: where a build would unpack it.
    """

    name: str
    state: Literal[
        "absent",
        "unverified",
        "good",
        "unpacked",
        "other_size",
        "other_checksum",
        "damaged",
        "refused",
        "unreadable",
    ]
    path: str = ""
    bytes: int | None = None
    expected_bytes: int | None = None
    checksum: str = ""
    expected_checksum: str = ""
    members: int | None = None
    unpacked_bytes: int | None = None
    reason: str = ""
    """Why a build would stop at it."""
    remedy: str = ""


def state_of(known: Archive, path: Path | None, raw: Path, *, packed: bool) -> ArchiveState:
    """The state of one archive. It is hashed only where its size is right, and looked into only where ``packed``."""
    absent = ArchiveState(known.name, "absent", expected_bytes=known.bytes, expected_checksum=known.checksum or "")
    if path is None:
        return absent
    try:
        status = path.stat()
        found = replace(absent, state="unverified", path=relative(path, raw), bytes=status.st_size)
        if known.bytes not in (None, status.st_size):
            return _differs(found, "other_size", f"has {status.st_size} bytes, and {known.bytes} are published")
        stamp = read_stamp(unpacked_folder(path))
        whole = stamp is not None and stamp.is_of(status)
        checksum = stamp.checksum if stamp and whole else _checksum(path, known)
    except (OSError, ImagemaskError):
        reason = "cannot be read"
        return replace(absent, state="unreadable", path=relative(path, raw), reason=reason, remedy="Check permissions")
    found = replace(found, checksum=checksum, state="unpacked" if whole else "good" if checksum else "unverified")
    if known.checksum not in (None, checksum):
        return _differs(found, "other_checksum", f"is not the published one: its checksum is {checksum}")
    return _looked_into(found, path) if packed else found


def _differs(found: ArchiveState, state: Literal["other_size", "other_checksum"], reason: str) -> ArchiveState:
    return replace(found, state=state, reason=reason, remedy=MISMATCH)


def _checksum(path: Path, known: Archive) -> str:
    return checksum_of(path, known.checksum.partition(":")[0]) if known.checksum else ""


def _looked_into(found: ArchiveState, path: Path) -> ArchiveState:
    try:
        plan = plan_of(reader_of(path), path, verified=found.state == "good")
    except ReaderError as error:
        told = blamed(path, error)
        state: Literal["damaged", "refused"] = "damaged" if isinstance(error, DamagedError) else "refused"
        return replace(found, state=state, reason=told.reason.removeprefix(f"{path}: "), remedy=told.remedy)
    except ImagemaskError as error:  # no archive by its first bytes, or py7zr is missing
        return replace(found, state="refused", reason=error.reason.removeprefix(f"{path}: "), remedy=error.remedy)
    return replace(found, members=len(plan.files), unpacked_bytes=plan.bytes)
