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

_END, _SCAN = 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = frozenset((0xC0, 0xC1, 0xC3, 0xC9, 0xCB))
"""Frames that are complete after one scan, if it has all their components."""
_PLAIN = frozenset((0xC0, 0xC4, _SCAN, 0xDB, 0xDD, 0xE0, 0xFE))
"""The segments of a baseline JPEG of one upright picture: frame, tables, scan, restarts, JFIF's header, a comment."""
_MANY = 256
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker that ends the codes of a scan: 0 stands for a byte 255 among them, D0 to D7 restart them."""


class Jpeg(NamedTuple):
    """A whole JPEG: the codes of its segments, in order, and the head of its last frame: bits, size, components."""

    segments: tuple[int, ...]
    frame: bytes

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, of a plain one."""
        height, width = struct.unpack_from(">HH", self.frame, 1)
        return width, height

    @property
    def grey(self) -> bool:
        """Whether a plain one has no colours."""
        return self.frame[5] == 1

    @property
    def plain(self) -> bool:
        """Whether it is one upright picture of 8 bits, in grey or in three colours, and has nothing else to say."""
        one = _PLAIN.issuperset(self.segments) and self.segments.count(0xC0) == 1 and len(self.frame) == 6
        return one and self.frame[0] == 8 and self.frame[5] in (1, 3) and all(self.size)


def check(data: bytes) -> Jpeg | None:
    """A JPEG whose segments follow one another to the end mark, with a scan, and none after one that has it all.

    None for any other. What a download left that was begun anew in the middle has such a second part: OpenCV stops at
    the last row, and does not say what is wrong behind it.
    """
    place, components, frame = 2, _MANY, b""
    segments: list[int] = []
    while data[place : place + 1] == b"\xff" and place + 1 < len(data):
        code, segment = data[place + 1], data[place + 2 : place + 10]
        if code == _END:
            return Jpeg(tuple(segments), frame) if _SCAN in segments else None
        if code == 0xFF:  # a marker may have as many of these before it as it likes
            place += 1
            continue
        segments.append(code)
        if code in _FRAMES:
            frame = segment[2:]
            components = frame[5] if code in _SEQUENTIAL and len(frame) > 5 else _MANY
        place += 2 + int.from_bytes(segment[:2])
        if code == _SCAN:
            if (marker := _AFTER_SCAN.search(data, place)) is None:
                return None
            place = marker.start()
            if len(segment) > 2 and segment[2] >= components:
                return Jpeg(tuple(segments), frame) if data[place + 1] == _END else None
    return None
