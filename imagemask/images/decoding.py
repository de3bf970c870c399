"""The samples that a picture file stores, as an array: which decoder, and what it makes of palettes, depths and turns.

Pillow reads; OpenCV decodes plain PNGs of 8 bits and whole JPEGs, as Pillow would and faster, and what Pillow would
silently reduce, 16-bit colour.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from io import BufferedReader
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imagemask.errors import CaseError
from imagemask.images import jpeg, png
from imagemask.images.png import DAMAGED

MAX_PIXELS = 89_478_485
"""A picture of more pixels is refused before it is decoded (256 MiB of grey and alpha: Pillow's own limit)."""

_ORIENTATION, _BITS = 0x0112, 0x0102  # tags of TIFF and EXIF
_INVERSE = {6: 8, 8: 6}
_LONGEST = 1_000_000  # the longest side of a PNG that OpenCV takes
_BLOCK = 32  # rows of a BMP
_RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION if hasattr(cv2, "IMREAD_COLOR_RGB") else None  # from 4.11


@dataclass(frozen=True, slots=True)
class File:
    """A picture file that is open, of which Pillow has read the header."""

    picture: Any
    kind: str
    stream: BufferedReader
    depth: int = 8
    """The bits of a PNG's sample."""
    whole: bytes = b""
    """All bytes of a JPEG that goes on to its end."""


def all_of(stream: BufferedReader) -> bytes:
    """All bytes of an open file."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    return stream.read(size)  # without its size, twice the memory is taken


def require_size(width: int, height: int) -> None:
    """Raise CaseError ``image_bomb``, which names no file, where there are more than MAX_PIXELS."""
    if width * height > MAX_PIXELS:
        reason = f"the header says {height}x{width}, {width * height} pixels, more than {MAX_PIXELS}"
        raise CaseError("image_bomb", reason, remedy="Tile or shrink it first, if it is a picture at all")


def samples(file: File, *, indices: bool) -> tuple[NDArray[Any], int]:
    """Stored pixels, not turned, and the EXIF orientation. HxW, or HxWxC with C 2 (grey, alpha), 3 or 4.

    ``indices`` leaves palettes alone.
    """
    picture, kind, depth = file.picture, file.kind, file.depth
    if kind == "TIFF" and len(picture.getbands()) > 1:
        depth = max(picture.tag_v2.get(_BITS, (8,)))
    turn = _orientation(picture)
    if kind == "BMP" and (rows := _rows(file)) is not None:
        return rows, turn
    if file.whole and picture.mode in ("L", "RGB"):
        decoded = by_opencv(file.whole, colours=picture.mode == "RGB")
        if decoded is not None:
            return decoded, turn
    pixels = _deep(all_of(file.stream)) if depth > 8 else _of_mode(picture, indices=indices)
    if indices and picture.mode == "L" and depth < 8:
        pixels = pixels // (255 // (2**depth - 1))  # Pillow stretches 1, 2 and 4 bits to 0..255
    # Both libraries turn a TIFF by themselves; the stored pixels are wanted here.
    return turned(pixels, _INVERSE.get(turn, turn)) if kind == "TIFF" else pixels, turn


def plain_png(data: bytes) -> tuple[NDArray[Any] | None, int]:
    """The pixels of a plain PNG, else None; and the bits of a sample.

    Pillow takes 1.5 times as long, and fills up with black where the compressed pixels end too early.
    """
    found = png.check(data)
    require_size(found.width, found.height)
    if not found.plain or max(found.width, found.height) > _LONGEST:
        return None, found.depth
    if (pixels := by_opencv(data, colours=found.colour == png.RGB)) is None:
        raise CaseError("damaged_image", "its pixels cannot be decoded", remedy=DAMAGED)
    return pixels, found.depth


def plain_jpeg(data: bytes) -> tuple[NDArray[Any] | None, bytes]:
    """The pixels of a plain JPEG, else None; and what OpenCV may try as well: ``data``, if it is whole and not plain.

    OpenCV fills up what is missing. Both libraries have the same decoder; Pillow takes twice as long to pass its pixels
    on. Of codes that make no sense the decoder in OpenCV writes a line to the standard error stream, and goes on, as
    that in Pillow does in silence.
    """
    found = jpeg.check(data)
    if found is None or not found.plain:
        return None, data if found else b""
    require_size(found.width, found.height)
    return by_opencv(data, colours=found.components > 1), b""


def _rows(file: File) -> NDArray[Any] | None:
    """The pixels of a whole BMP of 24 bits, from where Pillow, three times as slow, says that they lie; else None."""
    picture, stream = file.picture, file.stream
    offset, (order, length, step) = picture.tile[0][2:]
    if order != "BGR":
        return None
    height, width = picture.height, picture.width
    pixels, block = np.empty((height, width, 3), np.uint8), np.empty((_BLOCK, length), np.uint8)
    stream.seek(offset)
    for row in range(0, height, _BLOCK):  # a block stays in the processor's cache until it lies where it belongs
        block = block[: height - row]
        if stream.readinto(block.data) < block.nbytes:
            return None
        rows, end = swapped(block[:, : 3 * width].reshape(len(block), width, 3)), row + len(block)
        if step < 0:
            pixels[height - end : height - row] = rows[::-1]
        else:
            pixels[row:end] = rows
    return pixels


def _of_mode(picture: Any, *, indices: bool) -> NDArray[Any]:
    mode = picture.mode
    if mode == "1":
        return np.asarray(picture).astype(np.uint8) * np.uint8(1 if indices else 255)
    if mode == "P" and not indices:
        return np.asarray(picture.convert("RGBA" if "transparency" in picture.info else "RGB"))
    if mode in ("L", "P", "LA", "RGB", "RGBA", "I", "F"):
        return np.asarray(picture)
    if mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16)
    if mode in ("CMYK", "YCbCr", "RGBX"):
        return np.asarray(picture.convert("RGB"))
    raise CaseError("unsupported_image", f"pixels of the kind {mode} are not read", remedy="Convert it to PNG")


def _deep(data: bytes) -> NDArray[Any]:
    pixels = by_opencv(data)
    if pixels is None:
        raise CaseError("damaged_image", "it cannot be decoded", remedy=DAMAGED)
    return pixels


def by_opencv(data: bytes, *, colours: bool = False) -> NDArray[Any] | None:
    """Pixels as stored, in RGB(A) order; None where OpenCV refuses. ``colours`` says that they are RGB of 8 bits."""
    flags = _RGB if colours and _RGB is not None else cv2.IMREAD_UNCHANGED
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    return pixels if pixels is None or pixels.ndim == 2 or flags == _RGB else swapped(pixels)


def swapped(pixels: NDArray[Any]) -> NDArray[Any]:
    """RGB(A) as BGR(A), or the other way."""
    order = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    return cv2.cvtColor(np.ascontiguousarray(pixels), order)


def _orientation(picture: Any) -> int:
    found = picture.getexif().get(_ORIENTATION, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Stored pixels as they are to be looked at (EXIF 2.32, tag Orientation: where row 0 and column 0 lie)."""
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
