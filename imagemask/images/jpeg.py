"""Whether a JPEG goes on to its end, which a decoder that fills up what is missing does not tell.

Not seen is what was cut off and closed again with an end mark, as by a program that mends: no decoder refuses that.

Source: JPEG, ITU-T T.81, B.1.1 and B.2.
"""

from __future__ import annotations

import re

SIGNATURE = b"\xff\xd8\xff"

_END, _SCAN = 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = frozenset((0xC0, 0xC1, 0xC3, 0xC9, 0xCB))
"""Frames that are complete after one scan, if it has all their components."""
_MANY = 256
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker that ends the codes of a scan: 0 stands for a byte 255 among them, D0 to D7 restart them."""


def is_whole(data: bytes) -> bool:
    """Whether a JPEG's segments follow one another to the end mark, with a scan, and none after one that has it all.

    What a download left that was begun anew in the middle has such a second part: OpenCV stops at the last row, and
    does not say what is wrong behind it.
    """
    place, scans, components = 2, 0, _MANY
    while data[place : place + 1] == b"\xff" and place + 1 < len(data):
        code, segment = data[place + 1], data[place + 2 : place + 10]
        if code == _END:
            return scans > 0
        if code == 0xFF:  # a marker may have as many of these before it as it likes
            place += 1
            continue
        if code in _FRAMES:
            components = segment[7] if code in _SEQUENTIAL and len(segment) > 7 else _MANY
        place += 2 + int.from_bytes(segment[:2])
        if code == _SCAN:
            if (marker := _AFTER_SCAN.search(data, place)) is None:
                return False
            place, scans = marker.start(), scans + 1
            if len(segment) > 2 and segment[2] >= components:
                return data[place + 1] == _END
    return False
