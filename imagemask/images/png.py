"""What a PNG says before it is decoded: that it is whole, and what its pixels are.

Source: PNG, ISO/IEC 15948, 5.3 and 11.2.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from imagemask.errors import CaseError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB = 0, 2  # colour types
DAMAGED = "Fetch the file again; a damaged picture is never filled up"

_PLAIN = frozenset((b"IHDR", b"IDAT", b"IEND", b"gAMA", b"pHYs", b"sRGB", b"tIME"))
"""The chunks of a PNG that has one picture, upright, with nothing transparent. A text may hold an orientation."""
_ALTERING = frozenset((b"tRNS", b"eXIf", b"acTL", b"fcTL"))
"""Those by which one program shows other pixels than another: a transparent value, an orientation, further frames."""


class Png(NamedTuple):
    """A whole PNG: its size in pixels, bits a sample, colour type, and the names of its chunks."""

    width: int
    height: int
    depth: int
    colour: int
    chunks: frozenset[bytes]

    @property
    def opaque(self) -> bool:
        """Whether it is one upright picture of 8-bit grey or RGB, and no value of it stands for transparent."""
        return self.depth == 8 and self.colour in (GREY, RGB) and not self.chunks & _ALTERING

    @property
    def plain(self) -> bool:
        """Whether it is opaque, and has no orientation, profile or further frames, nor text that might hold one."""
        return self.opaque and self.chunks <= _PLAIN


def check(data: bytes) -> Png:
    """A PNG of which every chunk is whole, from the header to the end mark.

    Raises CaseError ``damaged_image``, which names no file.
    """
    place, header, chunks = len(SIGNATURE), b"", set()
    if not data.startswith(SIGNATURE):
        raise CaseError("damaged_image", "it does not begin as a PNG", remedy=DAMAGED)
    view = memoryview(data)
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        name, end = data[place + 4 : place + 8], place + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(view[place + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise CaseError("damaged_image", f"the checksum of its part {name!r} is wrong", remedy=DAMAGED)
        if name == b"IHDR":
            header = header or data[place + 8 : end]
        chunks.add(name)
        if name == b"IEND":
            return _told(header, chunks)
        place = end + 4
    raise CaseError("damaged_image", f"it is cut short after {len(data)} bytes", remedy=DAMAGED)


def _told(header: bytes, chunks: set[bytes]) -> Png:
    if len(header) != 13:
        raise CaseError("damaged_image", "its header is not a PNG's", remedy=DAMAGED)
    width, height, depth, colour = struct.unpack_from(">IIBB", header)
    return Png(width, height, depth, colour, frozenset(chunks))
