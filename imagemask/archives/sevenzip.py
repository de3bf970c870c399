"""The reader of .7z, by py7zr (the extra ``imagemask[7z]``): its decoder and its list of members, none of its paths.

py7zr hands each member to a writer that we make, and so neither names nor opens a file. Members of a solid block are
decoded in order, with a window of at most 128 MB in memory; those before the first one that is wanted are decoded, too.
Methods whose decoder returns all at once what a block holds (Deflate, Zstandard, Brotli) are refused: a bomb would fill
the memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imagemask.archives.members import BY_HAND, DamagedError, Member, ReaderError
from imagemask.archives.readers import Sink, making_sense
from imagemask.errors import ImagemaskError, UsageError

_BOUNDED = frozenset({"LZMA", "LZMA2", "BZip2", "PPMd", "COPY", "delta", "BCJ", "ARM", "ARMT", "IA64", "PPC", "SPARC"})


def library() -> Any:
    """py7zr. Raises UsageError where it is not installed."""
    try:
        import py7zr
    except ImportError as error:
        raise UsageError(".7z archives need py7zr", remedy="pip install 'imagemask[7z]'") from error
    py7zr.io.Py7zIO.register(_Writer)
    py7zr.io.WriterFactory.register(_Factory)
    return py7zr


class SevenZip:
    """A 7z file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unmarked = False
        library()

    def members(self) -> Iterator[Member]:
        """See ``readers.Reader``. Raises ReaderError where it is encrypted, or packed in a way that is not read."""
        with self._open() as archive:
            if archive.password_protected:
                raise _encrypted()
            if other := sorted(set(archive.archiveinfo().method_names) - _BOUNDED):
                raise ReaderError(f"is packed by {', '.join(other)}, which is not read", remedy=BY_HAND)
            for index, info in enumerate(archive.list()):
                # Where a link leads is its content, which stands packed among the others': it is not looked at.
                yield Member(index, info.filename, _kind(info), info.uncompressed, info.crc32)

    def extract(self, wanted: Mapping[int, Member], sink: Sink) -> None:
        """See ``readers.Reader``."""
        if not wanted:
            return
        home = self.path.parent.absolute()  # py7zr joins names to it, and writes nothing there
        expected = {str(home / member.path): member for member in wanted.values()}
        with self._open() as archive:
            names = [member.name for member in wanted.values()]
            archive.extract(path=home, targets=names, factory=_Factory(expected, sink))

    @contextmanager
    def _open(self) -> Iterator[Any]:
        # A file that we opened: py7zr then works in this very thread, member by member.
        py7zr = library()
        with making_sense(), self.path.open("rb") as file:
            try:
                with py7zr.SevenZipFile(file) as archive:
                    yield archive
            except py7zr.PasswordRequired as error:
                raise _encrypted() from error
            except py7zr.exceptions.CrcError as error:
                raise DamagedError(f"the checksum of {error.args[-1]!r} is wrong") from error
            except (ImagemaskError, OSError):
                raise
            except Exception as error:  # its parser raises what comes: IndexError, TypeError, struct.error, ...
                raise DamagedError(f"{type(error).__name__}: {error}") from error


def _encrypted() -> ReaderError:
    return ReaderError("is encrypted", remedy=BY_HAND)


def _kind(info: Any) -> Any:
    kinds = {"folder": info.is_directory, "symlink": info.is_symlink, "file": info.is_file}
    return next((kind for kind, it_is in kinds.items() if it_is), "other")


class _Writer:
    """What py7zr writes a member to: the sink. A ``py7zr.io.Py7zIO`` by its methods."""

    def __init__(self, sink: Sink) -> None:
        self.sink, self.written = sink, 0

    def write(self, data: bytes | bytearray) -> int:
        """Hand it on."""
        self.sink.feed(bytes(data))
        self.written += len(data)
        return len(data)

    def read(self, _size: int | None = None) -> bytes:
        """Nothing: nobody reads it again."""
        return b""

    def seek(self, offset: int, _whence: int = 0) -> int:
        """Nowhere: py7zr rewinds each member at its end."""
        return offset

    def flush(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing: the sink knows how long a member is."""

    def size(self) -> int:
        """The bytes so far."""
        return self.written


class _Factory:
    """What gives py7zr a writer for each member, as they come one after another. A ``py7zr.io.WriterFactory``."""

    def __init__(self, expected: Mapping[str, Member], sink: Sink) -> None:
        self.expected, self.sink = expected, sink

    def create(self, filename: str) -> _Writer:
        """The writer of one member. Raises KeyError for a name that was not asked for."""
        self.sink.begin(self.expected[filename])
        return _Writer(self.sink)
