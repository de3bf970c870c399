"""What is kept of an unpacking while it runs, so that it can go on: which archive, which members are whole.

Killed anywhere, what the journal names is there; and only what has the size and the CRC-32 that were written is taken
for whole, as a loss of power may leave a file without its end.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from imagemask import files
from imagemask.archives.members import DamagedError, Member, Plan
from imagemask.archives.readers import PIECE

Progress = Callable[[str, int, int], None]
"""Called with what is done, and how many bytes of how many."""

_STAMP, _JOURNAL, _PART = "stamp.json", "journal.jsonl", "part"


def silent(*_: object) -> None:
    """A Progress that says nothing."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which archive was unpacked, and into how many files of how many bytes."""

    bytes: int
    mtime_ns: int
    checksum: str
    files: int = 0
    unpacked: int = 0

    def is_of(self, status: os.stat_result) -> bool:
        """Whether the archive has not changed since, by size and time."""
        return (self.bytes, self.mtime_ns) == (status.st_size, status.st_mtime_ns)


def read_stamp(folder: Path) -> Stamp | None:
    """The stamp of an unpacked archive; None where there is none that makes sense."""
    try:
        return Stamp(**json.loads((folder / files.NOTES / _STAMP).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def flush(folder: Path, plan: Plan) -> None:
    """Make sure that all of ``plan``, folders without files included, has reached the disk."""
    with writing(folder):
        for name in plan.folders:
            (folder / name).mkdir(parents=True, exist_ok=True)
        for member in plan.files:
            with (folder / member.path).open("rb") as file:
                os.fsync(file.fileno())


def write_stamp(folder: Path, stamp: Stamp) -> None:
    """Write the stamp, through to the disk. Raises InputError where that is refused."""
    path = folder / files.NOTES / _STAMP
    temporary = files.temporary_name(path)
    with writing(path):
        with temporary.open("w", encoding="utf-8") as file:
            file.write(f"{json.dumps(asdict(stamp))}\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


class Journal:
    """What is known of a folder that an archive is being unpacked in: which archive, and the members that are whole."""

    def __init__(self, work: Path) -> None:
        self.work, self.path = work, work / files.NOTES / _JOURNAL
        self.stamp: Stamp | None = None
        self.entries: dict[str, tuple[int, int]] = {}
        try:
            head, *lines = self.path.read_bytes().splitlines()
            self.stamp = Stamp(**json.loads(head))
            for line in lines:
                path, size, crc = json.loads(line)
                self.entries[path] = (size, crc)
        except (OSError, ValueError, TypeError):  # not there yet, or cut in the middle of its last line
            return

    def begin(self, stamp: Stamp) -> None:
        """Start anew, with nothing written."""
        with writing(self.path):
            for path in self.work.iterdir():
                if path.name != files.NOTES:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            (self.work / files.NOTES / _STAMP).unlink(missing_ok=True)
        self.stamp, self.entries = stamp, {}
        self.keep(())

    def keep(self, paths: Iterable[str]) -> None:
        """Forget all entries but these."""
        self.entries = {path: self.entries[path] for path in paths}
        lines = [asdict(self.stamp) if self.stamp else {}, *([path, *entry] for path, entry in self.entries.items())]
        files.write_atomic(self.path, "".join(f"{json.dumps(line)}\n" for line in lines).encode())

    def add(self, member: Member, crc: int) -> None:
        """``member`` is whole."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps([member.path, member.size, crc])}\n")

    def is_whole(self, member: Member) -> bool:
        """Whether ``member`` was written, and is what was written."""
        entry = self.entries.get(member.path)
        path = self.work / member.path
        if entry is None or entry[0] != member.size or member.crc32 not in (None, entry[1]) or not path.is_file():
            return False
        with path.open("rb") as file:
            return path.stat().st_size == member.size and _crc_of(file) == entry[1]


def _crc_of(file: IO[bytes]) -> int:
    crc = 0
    while data := file.read(PIECE):
        crc = zlib.crc32(data, crc)
    return crc


class Writer:
    """The sink that members are written by. ``last`` is the last one that is whole."""

    def __init__(self, work: Path, journal: Journal, label: str, progress: Progress) -> None:
        self.work, self.journal, self.label, self.progress = work, journal, label, progress
        self.part = work / files.NOTES / _PART
        self.member: Member | None = None
        self.file: IO[bytes] | None = None
        self.last = ""
        self.count = self.crc = self.done = self.total = 0

    def begin(self, member: Member) -> None:
        """See ``readers.Sink``. Raises DamagedError where the member before it is not complete."""
        self.finish()
        with writing(self.part):
            self.file = self.part.open("wb")
        self.member, self.count, self.crc = member, 0, 0
        if member.size == 0:
            self._end(member)

    def feed(self, data: bytes) -> None:
        """See ``readers.Sink``. Raises DamagedError for more bytes than the archive told."""
        member = self.member
        if member is None or self.file is None or self.count + len(data) > member.size:
            raise DamagedError("a member is longer than the archive says", last=self.last)
        with writing(self.work / member.path):
            self.file.write(data)
        self.count, self.crc = self.count + len(data), zlib.crc32(data, self.crc)
        self.done += len(data)
        self.progress(self.label, self.done, self.total)
        if self.count == member.size:
            self._end(member)

    def finish(self) -> None:
        """Raises DamagedError where the last member is not complete."""
        if self.member is not None:
            raise DamagedError(f"{self.member.name!r} is shorter than the archive says", last=self.last)

    def close(self) -> None:
        """Let go of the temporary file, whatever has happened."""
        if self.file is not None:
            self.file.close()

    def _end(self, member: Member) -> None:
        if member.crc32 not in (None, self.crc):
            raise DamagedError(f"the checksum of {member.name!r} is wrong", last=self.last)
        path = self.work / member.path
        with writing(path):
            self.close()
            path.parent.mkdir(parents=True, exist_ok=True)
            self.part.replace(path)
            self.journal.add(member, self.crc)
        self.member, self.last = None, member.name


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises InputError for what the system refuses: what is done is kept."""
    try:
        yield
    except OSError as error:
        elsewhere = "Copy the archive to a folder that you can write to, or unpack it yourself and give that with --raw"
        raise files.output_error(path, error, elsewhere=elsewhere) from error
