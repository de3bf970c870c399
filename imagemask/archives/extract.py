"""One archive into the folder ``ARCHIVE.unpacked`` beside it: whole or not at all, resumed where it was stopped.

Members are written below ``.ARCHIVE.unpacking``, each to a temporary name and renamed; a journal there says which ones
are whole, with size and CRC-32, and of which archive. When all are, a stamp is written and the folder is renamed. What
was killed goes on; an archive that is damaged, refused or not the published one leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from imagemask import files
from imagemask.archives.journal import Journal, Progress, Stamp, Writer, flush, read_stamp, silent, write_stamp, writing
from imagemask.archives.members import DamagedError, Member, Plan, ReaderError, examine, printable
from imagemask.archives.readers import PIECE, Reader, Tar, Zip, is_tar
from imagemask.archives.sevenzip import SevenZip
from imagemask.errors import InputError
from imagemask.types import Archive

MISMATCH = "Fetch it again; if you know why it differs, build with --allow-checksum-mismatch"
_LOCK = ".lock"
_MAGIC = {b"7z\xbc\xaf\x27\x1c": "7z", b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"\x1f\x8b": "gz"}


@dataclass(frozen=True, slots=True)
class How:
    """How archives are unpacked. ``look_only``: not at all, a UsageError says what there would be to do.

    ``ready`` is told the folder when nothing is left to unpack.
    """

    allow_mismatch: bool = False
    look_only: bool = False
    progress: Progress = silent
    ready: Callable[[Path], None] = silent


def unpacked_folder(archive: Path) -> Path:
    """Where ``archive`` is unpacked to."""
    return archive.with_name(archive.name + files.UNPACKED)


def begun_folder(archive: Path) -> Path:
    """Where it is being unpacked."""
    return archive.with_name(f".{archive.name}{files.UNPACKING}")


def is_unpacked(archive: Path, *, refresh: bool = False) -> bool:
    """Whether ``archive`` lies unpacked beside itself, as it is now; it may be gone since.

    One of another time is hashed; ``refresh`` writes down that it was the same.

    Raises InputError where the folder is not ours, or is that of another version of the archive.
    """
    folder = unpacked_folder(archive)
    if not folder.is_dir():
        return False
    stamp = read_stamp(folder)
    if stamp is None:
        raise InputError(
            f"{folder}: is in the way: it was not made by unpacking",
            remedy="If it is the source, give it with --raw; else move it elsewhere",
        )
    if not archive.exists() or stamp.is_of(status := archive.stat()):
        return True
    if stamp.bytes != status.st_size or checksum_of(archive, stamp.checksum.partition(":")[0]) != stamp.checksum:
        remedy = "Remove the folder, and run again: it is unpacked anew"
        raise InputError(f"{folder}: was unpacked from another version of {archive.name}", remedy=remedy)
    if refresh:
        with suppress(InputError):
            write_stamp(folder, replace(stamp, mtime_ns=status.st_mtime_ns))
    return True


def unpack(archive: Path, known: Archive | None, how: How) -> tuple[str, ...]:
    """Unpack ``archive`` beside itself, if it is not yet, and say what a person should know of it.

    ``known`` is what its publisher says of it. Raises InputError where it is damaged, refused, or not the published
    one, and where the disk is full or read-only; UsageError where another run is unpacking it, or py7zr is missing.
    """
    if is_unpacked(archive):
        return ()
    reader = reader_of(archive)
    work = begun_folder(archive)
    with writing(work):
        (work / files.NOTES).mkdir(parents=True, exist_ok=True)
    with files.lock(work / files.NOTES / _LOCK):
        if is_unpacked(archive):  # another run has ended meanwhile
            shutil.rmtree(work, ignore_errors=True)
            return ()
        try:
            return _unpack(archive, known, reader, work, how)
        except ReaderError as error:
            shutil.rmtree(work, ignore_errors=True)
            raise blamed(archive, error) from error


def blamed(archive: Path, error: ReaderError) -> InputError:
    """What a reader says, as a person is told it."""
    if not isinstance(error, DamagedError):
        return InputError(f"{archive}: {error.reason}", remedy=error.remedy)
    last = (
        f"the last member that is whole is {printable(error.last)}"
        if error.last
        else "no member of it is known to be whole"
    )
    return InputError(f"{archive}: is damaged, {last}: {error.reason}", remedy=error.remedy)


def _unpack(archive: Path, known: Archive | None, reader: Reader, work: Path, how: How) -> tuple[str, ...]:
    journal = Journal(work)
    found = _identified(archive, known, journal, how)
    note = compare(known, found, allow=how.allow_mismatch)
    plan = plan_of(reader, archive, verified=known is not None and known.checksum is not None and not note)
    if read_stamp(work) is None:
        _write_members(archive, plan, reader, Writer(work, journal, f"unpack {archive.name}", how.progress))
        if not found.is_of(archive.stat()):
            raise ReaderError("changed while it was unpacked", remedy="Run again when nothing writes to it")
        flush(work, plan)
        write_stamp(work, replace(found, files=len(plan.files), unpacked=plan.bytes))
    with writing(unpacked_folder(archive)):
        journal.path.unlink(missing_ok=True)
        work.rename(unpacked_folder(archive))
    return (*((f"{archive.name}: {note}",) if note else ()), *plan.notes(archive))


def _identified(archive: Path, known: Archive | None, journal: Journal, how: How) -> Stamp:
    """Which archive it is. What was begun of another one is removed."""
    status = archive.stat()
    begun = journal.stamp or read_stamp(journal.work)
    algorithm = known.checksum.partition(":")[0] if known and known.checksum else "sha256"
    if begun and begun.is_of(status) and begun.checksum.startswith(f"{algorithm}:"):
        return begun
    if known and known.bytes not in (None, status.st_size):
        compare(known, Stamp(status.st_size, 0, ""), allow=how.allow_mismatch)  # before 9 GB are hashed for nothing
    checksum = checksum_of(archive, algorithm, how.progress)
    journal.begin(Stamp(status.st_size, status.st_mtime_ns, checksum))
    return Stamp(status.st_size, status.st_mtime_ns, checksum)


def compare(known: Archive | None, found: Stamp, *, allow: bool) -> str:
    """What differs from what the publisher says, or "". Raises ReaderError instead, unless that is to be allowed."""
    why = ""
    if known and known.bytes not in (None, found.bytes):
        why = f"has {found.bytes} bytes, and {known.bytes} are published"
    elif known and known.checksum not in (None, found.checksum):
        why = f"is not the published one: its checksum is {found.checksum}, that of the publisher {known.checksum}"
    if why and not allow:
        raise ReaderError(why, remedy=MISMATCH)
    return why


def checksum_of(path: Path, algorithm: str, progress: Progress = silent) -> str:
    """``md5:...`` or ``sha256:...`` of a file."""
    digest, done, size = hashlib.new(algorithm, usedforsecurity=False), 0, path.stat().st_size
    with _reading(path), path.open("rb") as file:
        while data := file.read(PIECE):
            digest.update(data)
            done += len(data)
            progress(f"compare {path.name}", done, size)
    return f"{algorithm}:{digest.hexdigest()}"


def reader_of(archive: Path) -> Reader:
    """The reader of what ``archive`` is by its first bytes. Raises InputError where that is none."""
    with _reading(archive), archive.open("rb") as file:
        head = file.read(512)
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")
    if kind == "7z":
        return SevenZip(archive)
    if kind == "zip":
        return Zip(archive)
    if kind == "gz" or is_tar(head):
        return Tar(archive, compressed=kind == "gz")
    what = (
        f"begins with {head[:8]!r}, as no archive does: often a web page that was saved instead" if head else "is empty"
    )
    raise InputError(f"{archive}: {what}", remedy="Fetch it again")


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = "Check its permissions, and the disk"
        raise InputError(f"{archive}: cannot be read: {error.strerror}", remedy=remedy) from error


def plan_of(reader: Reader, archive: Path, *, verified: bool) -> Plan:
    """What the archive holds, looked at. Raises DamagedError with the last good member, ReaderError where refused."""
    last: list[str] = []

    def told() -> Iterator[Member]:
        for member in reader.members():
            yield member
            last[:] = [*last[-1:], member.name]  # of the very last, only the header is known to be good

    try:
        plan = examine(told(), archive.stat().st_size)
    except DamagedError as error:
        raise DamagedError(error.reason, last=error.last or "".join(last[:-1])) from error
    if reader.unmarked and not verified:
        reason = "it has no mark of its end, and no published checksum says that it is whole"
        raise DamagedError(reason, last=plan.files[-1].name)
    return plan


def _write_members(archive: Path, plan: Plan, reader: Reader, writer: Writer) -> None:
    """Write what is not yet written. Raises DamagedError with the last good member; InputError where the disk fails."""
    whole = [member for member in plan.files if writer.journal.is_whole(member)]
    writer.journal.keep(member.path for member in whole)
    done = {member.path for member in whole}
    todo = [member for member in plan.files if member.path not in done]
    writer.total, writer.done = plan.bytes, plan.bytes - sum(member.size for member in todo)
    writer.last = whole[-1].name if whole else ""
    _refuse_lack_of_room(archive, writer.total - writer.done)
    try:
        reader.extract({member.index: member for member in todo if member.kind == "file"}, writer)
        writer.finish()
        for member in todo:
            if member.kind == "hardlink":
                writer.begin(member)
                with (writer.work / member.target).open("rb") as file:
                    while member.size and (data := file.read(PIECE)):
                        writer.feed(data)
        writer.finish()
    except DamagedError as error:
        raise DamagedError(error.reason, last=error.last or writer.last) from error
    finally:
        writer.close()


def _refuse_lack_of_room(archive: Path, needed: int) -> None:
    free = shutil.disk_usage(archive.parent).free
    if needed > free:
        raise InputError(
            f"{archive}: needs {files.human(needed)} to be unpacked, and {files.human(free)} are free on its disk",
            remedy="Make room and run the same command again, or copy the archive to a larger disk",
        )
