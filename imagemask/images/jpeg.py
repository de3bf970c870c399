"""What a JPEG says before it is decoded: that it goes on to its end, and what its pixels are.

A decoder that fills up what is missing does not tell the first. Not seen is what was cut off and closed again with an
end mark, as by a program that mends: no decoder refuses that.

Source: JPEG, ITU-T T.81, B.1.1 and B.2.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

SIGNATURE = b"\xff\xd8\xff"

_BASELINE, _END, _SCAN = 0xC0, 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = frozenset((0xC0, 0xC1, 0xC3, 0xC9, 0xCB))
"""Frames that are complete after one scan, if it has all their components."""
_PLAIN = frozenset((_BASELINE, 0xC4, _SCAN, 0xDB, 0xDD, 0xE0, 0xFE))
"""The segments of a baseline JPEG of one upright picture: frame, tables, scan, restarts, JFIF's header, a comment."""
_MANY = 256
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker that ends the codes of a scan: 0 stands for a byte 255 among them, D0 to D7 restart them."""


class Jpeg(NamedTuple):
    """A whole JPEG: its size in pixels, bits a sample, components, and the codes of its segments in order.

    Of several frames, which no decoder takes, the last counts.
    """

    width: int
    height: int
    bits: int
    components: int
    segments: tuple[int, ...]

    @property
    def plain(self) -> bool:
        """Whether it is one upright picture of 8 bits, in grey or in three colours, and has nothing else to say."""
        one = _PLAIN.issuperset(self.segments) and self.segments.count(_BASELINE) == 1
        return one and self.bits == 8 and self.components in (1, 3) and self.width > 0 and self.height > 0


def check(data: bytes) -> Jpeg | None:
    """A JPEG whose segments follow one another to the end mark, with a scan, and none after one that has it all.

    None for any other. What a download left that was begun anew in the middle has such a second part: OpenCV stops at
    the last row, and does not say what is wrong behind it.
    """
    place, needed = 2, _MANY
    bits = height = width = components = 0
    segments: list[int] = []
    while data[place : place + 1] == b"\xff" and place + 1 < len(data):
        code, segment = data[place + 1], data[place + 2 : place + 10]
        if code == _END:
            return Jpeg(width, height, bits, components, tuple(segments)) if _SCAN in segments else None
        if code == 0xFF:  # a marker may have as many of these before it as it likes
            place += 1
            continue
        segments.append(code)
        if code in _FRAMES and len(segment) == 8:
            bits, height, width, components = struct.unpack(">BHHB", segment[2:])
            needed = components if code in _SEQUENTIAL else _MANY
        place += 2 + int.from_bytes(segment[:2])
        if code == _SCAN:
            if (marker := _AFTER_SCAN.search(data, place)) is None:
                return None
            place = marker.start()
            if len(segment) > 2 and segment[2] >= needed:
                return Jpeg(width, height, bits, components, tuple(segments)) if data[place + 1] == _END else None
    return None
