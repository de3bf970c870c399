"""Readers of .tar, .tar.gz and .zip: what is inside, and the bytes of it. What a file is called does not matter here.

A reader opens its archive for each question and writes nothing: bytes go into a sink. The bytes that come out of a
decompressor are bounded by what was asked for, never by what a header says.
"""

from __future__ import annotations

import gzip
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol, cast

from imagemask.archives.members import BY_HAND, HOSTILE, DamagedError, Member, ReaderError
from imagemask.errors import ImagemaskError

PIECE = 1 << 20
_MOST_AT_ONCE = 16 << 20  # bytes that tarfile may ask for: it holds whatever a header claims in memory
_SENSELESS = (tarfile.TarError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, OverflowError)
_UNSUPPORTED = (NotImplementedError, RuntimeError)
_LOCAL = struct.Struct("<4s5H3I2H")
_LOCAL_MARK = b"PK\x03\x04"
_LONGEST_LINK = 4096


class Sink(Protocol):
    """What takes the bytes of members, one member after another."""

    def begin(self, member: Member) -> None:
        """The bytes that follow are of ``member``; those before it must be complete."""

    def feed(self, data: bytes) -> None:
        """More bytes of it."""


class Reader(Protocol):
    """One archive. ``unmarked``: it has no mark of its end, which shows once ``members`` has come to it."""

    unmarked: bool

    def members(self) -> Iterator[Member]:
        """What it says that it holds. Raises DamagedError."""

    def extract(self, wanted: Mapping[int, Member], sink: Sink) -> None:
        """The bytes of the members of these indices, in order. Raises DamagedError."""


@contextmanager
def making_sense() -> Iterator[None]:
    """Raises DamagedError for bytes that make no sense to a library, ReaderError for what it does not read."""
    try:
        yield
    except ImagemaskError:
        raise
    except _UNSUPPORTED as error:
        raise ReaderError(f"is packed in a way that is not read: {error}", remedy=BY_HAND) from error
    except OSError as error:
        if error.errno is None:  # a library's own, such as gzip.BadGzipFile
            raise DamagedError(str(error)) from error
        raise ReaderError(f"cannot be read: {error.strerror}", remedy="Check its permissions, and the disk") from error
    except _SENSELESS as error:
        raise DamagedError(str(error) or type(error).__name__) from error


class Tar:
    """A tar, plain or compressed by gzip."""

    def __init__(self, path: Path, *, compressed: bool) -> None:
        self.path, self.compressed = path, compressed
        self.unmarked = False

    def members(self) -> Iterator[Member]:
        """See Reader. Of a compressed one, all of it is decompressed, and gzip's own checksum compared."""
        with making_sense(), self._open() as (stream, tar):
            for index, info in enumerate(_headers(tar)):
                yield Member(index, info.name, _kind_of_tar(info), info.size, target=info.linkname)
            self._end(stream, tar)

    def extract(self, wanted: Mapping[int, Member], sink: Sink) -> None:
        """See Reader."""
        last = max(wanted, default=-1)
        with making_sense(), self._open() as (_, tar):
            for index, info in enumerate(_headers(tar)):
                if index in wanted:
                    sink.begin(wanted[index])
                    _pour(tar.extractfile(info), sink)
                if index >= last:
                    return
            raise EOFError("members are gone")

    @contextmanager
    def _open(self) -> Iterator[tuple[_Stream, tarfile.TarFile]]:
        with ExitStack() as held:
            file: Any = held.enter_context(self.path.open("rb"))
            if self.compressed:
                file = held.enter_context(gzip.GzipFile(fileobj=file))
            stream = _Stream(file)
            yield stream, held.enter_context(tarfile.TarFile(fileobj=cast(Any, stream), encoding="utf-8"))

    def _end(self, stream: _Stream, tar: tarfile.TarFile) -> None:
        """Whatever is no header counts as the end for tarfile: look whether it is one."""
        stream.seek(tar.offset)
        mark = stream.read(tarfile.BLOCKSIZE)
        if mark and mark != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"there is no header where one should be, at byte {tar.offset}")
        self.unmarked = not mark
        while self.compressed and stream.read(PIECE):
            continue


def is_tar(head: bytes) -> bool:
    """Whether these are the first 512 bytes of a tar: a header, of old tars too, or the mark of the end."""
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return head[257:262] == b"ustar" or head == bytes(tarfile.BLOCKSIZE)
    return True


class _Stream:
    """What tarfile reads from: never much at once, whatever a header asks for."""

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self.file = file.seek, file.tell, file

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes. Raises ReadError for more than any header is long."""
        if not 0 <= size <= _MOST_AT_ONCE:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self.file.read(size)

    def close(self) -> None:
        """What tarfile would not call: it did not open the file."""


def _headers(tar: Any) -> Iterator[tarfile.TarInfo]:
    while (info := tar.next()) is not None:
        tar.members.clear()  # else it keeps them all
        yield info


def _kind_of_tar(info: tarfile.TarInfo) -> Any:
    kinds = {"file": info.isreg(), "folder": info.isdir(), "symlink": info.issym(), "hardlink": info.islnk()}
    return next((kind for kind, it_is in kinds.items() if it_is), "other")


class Zip:
    """A zip file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unmarked = False

    def members(self) -> Iterator[Member]:
        """See Reader. Raises ReaderError where it is encrypted, or its members overlap."""
        with making_sense(), self._open() as archive:
            infos = archive.infolist()
            if sum(info.compress_size for info in infos) > self.path.stat().st_size:
                raise ReaderError("is refused: its members overlap, as in a bomb", remedy=HOSTILE)
            for index, info in enumerate(infos):
                if info.flag_bits & 1:
                    raise ReaderError(f"is encrypted, its member {info.filename!r} at least", remedy=BY_HAND)
                kind, target = _kind_of_zip(info), ""
                if kind == "symlink":
                    target = archive.read(info).decode(errors="replace") if info.file_size <= _LONGEST_LINK else "/"
                yield Member(index, info.orig_filename, kind, info.file_size, info.CRC, target)

    def extract(self, wanted: Mapping[int, Member], sink: Sink) -> None:
        """See Reader."""
        with making_sense(), self._open() as archive:
            infos = archive.infolist()
            for index, member in sorted(wanted.items()):
                if index >= len(infos):
                    raise EOFError("members are gone")
                with archive.open(infos[index]) as file:
                    sink.begin(member)
                    _pour(file, sink)

    @contextmanager
    def _open(self) -> Iterator[zipfile.ZipFile]:
        try:
            archive = zipfile.ZipFile(self.path)
        except zipfile.BadZipFile as error:  # most often the list of members, which stands at the end, is not there
            raise DamagedError(str(error), last=_last_in_zip(self.path)) from error
        with archive:
            yield archive


def _kind_of_zip(info: zipfile.ZipInfo) -> Any:
    if info.is_dir():
        return "folder"
    kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == 3 else 0
    return {0: "file", stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "symlink"}.get(kind, "other")


def _last_in_zip(path: Path) -> str:
    """The last member whose bytes are all there, by the headers before each; "" where these do not tell."""
    last, at, size = "", 0, path.stat().st_size
    with path.open("rb") as file:
        while True:
            file.seek(at)
            head = file.read(_LOCAL.size)
            if len(head) < _LOCAL.size or not head.startswith(_LOCAL_MARK):
                return last
            _, _, flags, *_, packed, _, name, extra = _LOCAL.unpack(head)
            at += _LOCAL.size + name + extra + packed
            if at > size or flags & 8 or packed == 0xFFFFFFFF:  # its length stands behind it, or elsewhere
                return last
            last = file.read(name).decode(errors="replace")


def _pour(file: IO[bytes] | None, sink: Sink) -> None:
    if file is None:
        raise EOFError("a member that is no file any more")
    while data := file.read(PIECE):
        sink.feed(data)
