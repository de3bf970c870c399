"""Whether a JPEG is whole, which a decoder that fills up what is missing does not tell.

Source: JPEG, ITU-T T.81, B.1.1 and B.2.
"""

from __future__ import annotations

import re

SIGNATURE = b"\xff\xd8\xff"

_END, _SCAN = 0xD9, 0xDA
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker that ends the codes of a scan: 0 stands for a byte 255 among them, D0 to D7 restart them."""


def is_whole(data: bytes) -> bool:
    """Whether a JPEG's segments follow one another to the end mark, at least one scan among them."""
    place, scans = 2, 0
    while data[place : place + 1] == b"\xff" and place + 1 < len(data):
        code = data[place + 1]
        if code == _END:
            return scans > 0
        if code == 0xFF:  # a marker may have as many of these before it as it likes
            place += 1
            continue
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
        if code == _SCAN:
            if (marker := _AFTER_SCAN.search(data, place)) is None:
                return False
            place, scans = marker.start(), scans + 1
    return False
