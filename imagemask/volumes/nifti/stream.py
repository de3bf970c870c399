"""The bytes of a plain or gzipped file, in order, into buffers that the caller has made.

Gzip is known by its magic and never by the file's name. ISA-L decompresses at several times the pace of zlib. The
length and the checksum at the end of the stream are what shows that a file was cut short or damaged: readers ``drain``.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from imagemask.errors import CaseError
from imagemask.volumes.damage import COPY_AGAIN, unreadable

GZIP_MAGIC = b"\x1f\x8b"
_PIECE = 1 << 20
_DAMAGED: Any = (isal_zlib.error, zlib.error)  # isal's stub calls the first an instance


class Stream:
    """A file read once from start to end. ``gzipped`` says whether it is decompressed on the way.

    Methods raise CaseError: ``unreadable_file``, ``truncated_gzip``, ``bad_crc``, ``damaged_gzip`` or ``short_data``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _explained(path):
            with path.open("rb") as file:
                self.gzipped = file.read(2) == GZIP_MAGIC
            self._file: Any = igzip.open(path) if self.gzipped else path.open("rb", buffering=0)
        # GzipFile.readinto makes a copy; what it reads from decompresses straight into the caller's buffer.
        self._readinto = getattr(self._file, "_buffer", self._file).readinto

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes, fewer at the end of the file."""
        buffer = np.empty(count, dtype=np.uint8)
        return buffer[: self._fill(buffer)].tobytes()

    def fill(self, array: NDArray[Any]) -> None:
        """Fill a C-contiguous array with the next bytes. Raises CaseError ``short_data`` where the file ends before."""
        found = self._fill(array)
        if found < array.nbytes:
            raise CaseError(
                "short_data",
                f"the data end {array.nbytes - found} bytes early",
                file=self.path,
                remedy=COPY_AGAIN,
            )

    def skip(self, count: int) -> None:
        """Pass over ``count`` bytes; the end of the file is no error here."""
        buffer = np.empty(min(count, _PIECE), dtype=np.uint8)
        while count and (found := self._fill(buffer[:count])):
            count -= found

    def drain(self) -> None:
        """Read what is left, so that the checksum at the end of a gzip stream is compared."""
        if self.gzipped:
            buffer = np.empty(_PIECE, dtype=np.uint8)
            while self._fill(buffer):
                pass

    def _fill(self, array: NDArray[Any]) -> int:
        """Read into ``array`` until it is full or the file ends; the number of bytes read."""
        view = array.reshape(-1).view(np.uint8).data
        done = 0
        with _explained(self.path):
            while done < len(view) and (found := self._readinto(view[done:])):
                done += found
        return done


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what goes wrong while reading ``path`` into a CaseError with its code."""
    try:
        yield
    except EOFError as error:
        reason = "the gzip stream ends before its end"
        raise CaseError("truncated_gzip", reason, file=path, remedy=COPY_AGAIN) from error
    except gzip.BadGzipFile as error:
        code = "bad_crc" if "CRC" in str(error) or "length" in str(error) else "damaged_gzip"
        raise CaseError(code, f"the gzip stream is damaged: {error}", file=path, remedy=COPY_AGAIN) from error
    except _DAMAGED as error:
        reason = f"the gzip stream is damaged: {error}"
        raise CaseError("damaged_gzip", reason, file=path, remedy=COPY_AGAIN) from error
    except OSError as error:
        raise unreadable(path, error) from error
