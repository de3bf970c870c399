"""Writes baseline JPEGs (ITU T.81) in whole numbers: no version of an encoder and no processor can change a byte.

All Huffman codes of a table have one length, so that a code is a place in a list; files are a little larger for it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_COSINES = (4096, 4017, 3784, 3406, 2896, 2276, 1567, 799)  # 4096 cos(k pi / 16)
_STEPS = np.array([[3 + (row + column) for column in range(8)] for row in range(8)], np.int64)
"""What coefficients are divided by: coarser for finer detail."""
_DC = tuple(range(12))
_AC = (0x00, *(run << 4 | size for run in range(16) for size in range(1, 11)), 0xF0)
"""Symbols: how many zeros come before a coefficient, and its bits; 0x00 ends a block, 0xF0 is sixteen zeros."""
_END, _ZEROS = 0x00, 0xF0
_AC_CODE = {symbol: f"{place:08b}" for place, symbol in enumerate(_AC)}


def encode(picture: NDArray[np.uint8]) -> bytes:
    """``picture``, uint8 HxW or HxWx3 (RGB), as a JPEG: colours are not thinned out."""
    planes = [picture.astype(np.int64)] if picture.ndim == 2 else _luminance_and_colour(picture.astype(np.int64))
    height, width = picture.shape[:2]
    blocks = np.stack([_quantised(plane) for plane in planes], axis=1)  # blocks, planes, 64
    bits = "".join(_scan(blocks))
    bits += "1" * (-len(bits) % 8)
    body = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    return _head(height, width, len(planes)) + body + b"\xff\xd9"


def _luminance_and_colour(rgb: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Y, Cb and Cr of JFIF, in 16-bit fractions."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    weights = ((19595, 38470, 7471, 0), (-11059, -21709, 32768, 128), (32768, -27439, -5329, 128))
    return [np.clip(((r * red + g * green + b * blue + 32768) >> 16) + offset, 0, 255) for r, g, b, offset in weights]


def _cosine(angle: int) -> int:
    """4096 cos(angle pi / 16)."""
    angle %= 32
    angle = min(angle, 32 - angle)
    return _COSINES[angle] if angle < 8 else (-_COSINES[16 - angle] if angle > 8 else 0)


_TRANSFORM = np.array([[_cosine((2 * x + 1) * u) if u else 2896 for x in range(8)] for u in range(8)], np.int64)


def _quantised(plane: NDArray[np.int64]) -> NDArray[np.int64]:
    """The coefficients of each block of 8 x 8, in the order of a scan; edges go on where a block is not filled."""
    padded = np.pad(plane, [(0, -size % 8) for size in plane.shape], mode="edge") - 128
    rows, columns = padded.shape[0] // 8, padded.shape[1] // 8
    blocks = padded.reshape(rows, 8, columns, 8).swapaxes(1, 2).reshape(-1, 8, 8)
    coefficients = _TRANSFORM @ blocks @ _TRANSFORM.T  # times 4096 squared, and 4
    steps = _STEPS << 26
    rounded: NDArray[np.int64] = (2 * coefficients + steps) // (2 * steps)
    return rounded.reshape(-1, 64)[:, _ZIGZAG]


def _zigzag() -> list[int]:
    places = [(row, column) for row in range(8) for column in range(8)]
    return [8 * r + c for r, c in sorted(places, key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]))]


_ZIGZAG = _zigzag()


def _scan(blocks: NDArray[np.int64]) -> Iterator[str]:
    """The bits of all blocks, plane after plane within a block."""
    before = [0] * blocks.shape[1]
    for block in blocks.tolist():
        for plane, coefficients in enumerate(block):
            step = coefficients[0] - before[plane]
            before[plane] = coefficients[0]
            yield f"{abs(step).bit_length():04b}{_value(step)}"
            yield from _details(coefficients)


def _details(coefficients: list[int]) -> Iterator[str]:
    last = 0
    for place in range(1, 64):
        if value := coefficients[place]:
            zeros = place - last - 1
            yield _AC_CODE[_ZEROS] * (zeros // 16) + _AC_CODE[zeros % 16 << 4 | abs(value).bit_length()] + _value(value)
            last = place
    if last < 63:
        yield _AC_CODE[_END]


def _value(number: int) -> str:
    """A number in as few bits as hold it; a negative one as its complement; nothing for 0."""
    size = abs(number).bit_length()
    return f"{number if number > 0 else number + (1 << size) - 1:0{size}b}" if size else ""


def _head(height: int, width: int, planes: int) -> bytes:
    """All segments before the bits: steps, size, codes, and which plane uses which."""
    segments = {
        b"\xdb": bytes(1) + bytes(_STEPS.reshape(-1)[_ZIGZAG].tolist()),
        b"\xc0": b"\x08" + height.to_bytes(2) + width.to_bytes(2) + _each(planes, (0x11, 0)),
        b"\xc4": b"\x00" + _lengths(4, len(_DC)) + bytes(_DC) + b"\x10" + _lengths(8, len(_AC)) + bytes(_AC),
        b"\xda": _each(planes, (0,)) + b"\x00\x3f\x00",
    }
    parts = (b"\xff" + name + (len(body) + 2).to_bytes(2) + body for name, body in segments.items())
    return b"\xff\xd8" + b"".join(parts)


def _each(planes: int, told: tuple[int, ...]) -> bytes:
    """The number of planes, then for each its own number and what is ``told`` of it."""
    return bytes([planes, *(value for plane in range(1, planes + 1) for value in (plane, *told))])


def _lengths(bits: int, count: int) -> bytes:
    """How many codes there are of 1 to 16 bits: ``count`` of ``bits``."""
    return bytes(count if length == bits else 0 for length in range(1, 17))
