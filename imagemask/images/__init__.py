"""Picture files: the only decoder and encoder of 2D files; and the contact sheet.

What a file is, its first bytes say, not its name. Read are PNG, JPEG, BMP and TIFF; of several frames the first. Colour
profiles and gamma are ignored. A file that is cut short is refused, never filled up with grey; nothing tells that of a
JPEG with codes that make no sense, or of one that was closed again with an end mark.
"""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imagemask.errors import CaseError, exhausted
from imagemask.images import decoding, jpeg, png
from imagemask.images.decoding import MAX_PIXELS, File
from imagemask.images.png import DAMAGED
from imagemask.images.sheet import Tile, contact_sheet, outlined

__all__ = [
    "IMAGE_LEVEL",
    "MASK_LEVEL",
    "MAX_PIXELS",
    "Picture",
    "Tile",
    "contact_sheet",
    "decode_png",
    "encode_png",
    "frame_count",
    "image_size",
    "is_jpeg",
    "outlined",
    "read",
    "read_as_mask",
    "read_image",
    "read_mask",
    "read_png",
    "stored_as",
]

IMAGE_LEVEL, MASK_LEVEL = 1, 6

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAGIC = {png.SIGNATURE: "PNG", jpeg.SIGNATURE: "JPEG", b"BM": "BMP"} | dict.fromkeys(_TIFF, "TIFF")


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What a file holds: ``pixels`` HxW, or HxWx3 in RGB order, as they are stored, not to be written to; ``kind`` and
    ``mode`` are those of ``stored_as``, and ``orientation`` that of EXIF (or TIFF), 1 to 8: 1 where there is none.
    ``frames`` is ``frame_count``, or None where that has to be searched for, in a TIFF.
    """

    pixels: NDArray[Any]
    kind: str
    mode: str
    orientation: int = 1
    frames: int | None = 1

    def upright(self, like: tuple[int, int] | None = None) -> NDArray[Any]:
        """The pixels as they are to be looked at; as stored where that is the size ``like`` (height, width)."""
        return self.pixels if self.pixels.shape[:2] == like else decoding.turned(self.pixels, self.orientation)


def read(path: Path) -> Picture:
    """The picture at ``path``, opened once; uint16 where the file has 16 bits, else uint8.

    Palettes and CMYK become RGB; an alpha channel that hides nothing is dropped.

    Raises CaseError: ``missing_file``, ``unreadable_file``, ``empty_file``, ``unknown_format``, ``damaged_image``,
    ``image_bomb``, ``unsupported_image`` (32-bit or floating-point pixels), ``transparent_image``.
    """
    found = _read(path, indices=False)
    if found.pixels.dtype not in (np.uint8, np.uint16):
        reason = f"{path.name}: pixels are {found.pixels.dtype}"
        raise CaseError("unsupported_image", reason, file=path, remedy="Save it in 8 or 16 bits")
    return found


def read_image(path: Path, *, like: tuple[int, int] | None = None) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The pixels that ``read`` gives, upright, except where ``like``, the (height, width) of its mask, is the size of
    the stored pixels: the mask decides. Raises CaseError as ``read`` does.
    """
    return read(path).upright(like)


def read_mask(path: Path) -> NDArray[np.integer[Any]]:
    """The pixels of ``read_as_mask``, HxW. Raises CaseError as that does."""
    return read_as_mask(path).pixels


def read_as_mask(path: Path) -> Picture:
    """The mask at ``path``, HxW, as stored: palette indices, 0/1 for one bit a pixel, labels of any integer type.

    Three equal channels become one, an alpha channel that hides nothing is dropped, the EXIF orientation is ignored.
    Of a JPEG in colours the brightest channel counts, for its noise leaves no two channels equal (see ``is_jpeg``).

    Raises CaseError as ``read`` does, and ``colour_mask``, ``transparent_image``, ``label_type`` (fractions).
    """
    found = _read(path, indices=True)
    pixels = found.pixels
    if pixels.ndim == 3:
        one: NDArray[Any] = np.maximum(np.maximum(pixels[..., 0], pixels[..., 1]), pixels[..., 2])
        if found.kind != "JPEG" and bool((pixels != one[..., np.newaxis]).any()):
            raise CaseError("colour_mask", f"{path.name}: the mask has colours", file=path, remedy="Save class numbers")
        pixels = one
    return replace(found, pixels=_whole(pixels, path) if pixels.dtype.kind == "f" else pixels)


def is_jpeg(path: Path) -> bool:
    """Whether the first bytes are a JPEG's: a mask so compressed has values that nobody drew. CaseError as above."""
    with _reading(path) as stream:
        return _kind(path, stream) == "JPEG"


def stored_as(path: Path) -> tuple[str, str]:
    """What the first bytes say it is (PNG, JPEG, BMP, TIFF), and its pixels in Pillow's word. CaseError as above."""
    with _opened(path) as file:
        return file.kind, str(file.picture.mode)


def frame_count(path: Path) -> int:
    """How many pictures a file holds, of which the first is read: an animation, a JPEG of several views. CaseError."""
    with _opened(path) as file:
        return _frames(file.picture)


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the stored pixels, before any EXIF orientation, from the header. CaseError as above."""
    with _opened(path) as file:
        if file.kind == "TIFF":  # Pillow has turned the size already, or will, by its version
            return int(file.picture.tag_v2[0x0101]), int(file.picture.tag_v2[0x0100])
        return file.picture.height, file.picture.width


def encode_png(array: NDArray[np.uint8], *, level: int) -> bytes:
    """``array``, uint8 HxW or HxWx3 in RGB order, as a PNG; equal arrays give equal bytes.

    Run lengths and Huffman codes only: on CT the fastest, and smaller than what zlib's search finds at low levels. At
    IMAGE_LEVEL rows are stored as differences from the row above, which packs noise; from MASK_LEVEL up as they are,
    which packs masks.
    """
    settings = [cv2.IMWRITE_PNG_COMPRESSION, level, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # from OpenCV 4.11
        row = cv2.IMWRITE_PNG_FILTER_NONE if level >= MASK_LEVEL else cv2.IMWRITE_PNG_FILTER_UP
        settings += [cv2.IMWRITE_PNG_FILTER, row]
    if array.dtype != np.uint8:
        raise TypeError(f"a PNG of ours is uint8, not {array.dtype}")
    _, data = cv2.imencode(".png", array if array.ndim == 2 else decoding.swapped(array), settings)
    return data.tobytes()


def decode_png(data: bytes) -> NDArray[np.uint8]:
    """The pixels of a PNG of ours: uint8, HxW or HxWx3 in RGB order.

    Strict: each part's checksum, the end, 8 bits, grey or RGB, nothing transparent. Raises CaseError ``empty_file``,
    ``damaged_image``, ``image_bomb`` or ``unsupported_image``.
    """
    if not data:
        raise CaseError("empty_file", "the PNG is empty", remedy=DAMAGED)
    found = png.check(data)
    decoding.require_size(found.width, found.height)
    if not found.opaque:
        what = f"a PNG of {found.depth} bits, colour type {found.colour}"
        reason = f"{what}, that is not one of ours: not 8-bit grey or RGB, or transparent, turned or animated"
        raise CaseError("unsupported_image", reason, remedy=DAMAGED)
    pixels = decoding.by_opencv(data, colours=found.colour == png.RGB)
    if pixels is None or pixels.ndim != (3 if found.colour == png.RGB else 2):
        raise CaseError("damaged_image", "the PNG cannot be decoded", remedy=DAMAGED)
    return pixels.astype(np.uint8, copy=False)


def read_png(path: Path) -> NDArray[np.uint8]:
    """``decode_png`` of a file. Raises CaseError with its name, ``missing_file`` and ``unreadable_file`` included."""
    try:
        with _reading(path) as stream:
            return decode_png(stream.read())
    except CaseError as error:
        if error.file is not None:
            raise
        raise CaseError(error.code, f"{path.name}: {error.reason}", file=path, remedy=error.remedy) from error


def _frames(picture: Any) -> int:
    return int(getattr(picture, "n_frames", 1))


@contextmanager
def _reading(path: Path) -> Iterator[BufferedReader]:
    """The file at ``path``. Raises CaseError where it is missing, or cannot be read."""
    try:
        with path.open("rb") as stream:
            yield stream
    except FileNotFoundError as error:
        raise CaseError("missing_file", f"{path.name} is missing", file=path, remedy="Restore it") from error
    except OSError as error:
        reason = f"{path.name} cannot be read: {error.strerror or error}"
        raise CaseError(
            "unreadable_file", reason, file=path, remedy="Check its permissions, or fetch it again"
        ) from error


def _kind(path: Path, stream: BufferedReader) -> str:
    """What the first bytes say. Raises CaseError where there are none, or others."""
    if not (begin := stream.read(16)):
        raise CaseError("empty_file", f"{path.name} is empty", file=path, remedy="Fetch the file again")
    for magic, kind in _MAGIC.items():
        if begin.startswith(magic):
            return kind
    raise CaseError(
        "unknown_format",
        f"{path.name} begins with {begin[:8]!r}: it is not a PNG, JPEG, BMP or TIFF",
        file=path,
        remedy="Convert it to PNG",
    )


def _read(path: Path, *, indices: bool) -> Picture:
    """The picture at ``path``, without alpha. ``indices`` leaves palettes alone."""
    with _reading(path) as stream:
        kind, plain, depth, whole = _kind(path, stream), None, 8, b""
        with _explained(path):
            if kind == "PNG":
                plain, depth = decoding.plain_png(decoding.all_of(stream))
            elif kind == "JPEG":
                plain, whole = decoding.plain_jpeg(decoding.all_of(stream))
            if plain is not None:  # as mostly, and then Pillow need not look at it
                return Picture(plain, kind, "L" if plain.ndim == 2 else "RGB")
            with _header(stream, kind) as picture:
                mode, frames = str(picture.mode), None if kind == "TIFF" else _frames(picture)
                stored, turn = decoding.samples(File(picture, kind, stream, depth, whole), indices=indices)
                return Picture(_opaque(stored, path), kind, mode, turn, frames)


@contextmanager
def _opened(path: Path) -> Iterator[File]:
    """A picture of which the header has been read."""
    with _reading(path) as stream:
        kind = _kind(path, stream)
        with _explained(path), _header(stream, kind) as picture:
            yield File(picture, kind, stream)


@contextmanager
def _header(stream: BufferedReader, kind: str) -> Iterator[Any]:
    """Pillow's picture of which the header has been read."""
    stream.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on damaged EXIF and the like; the size is checked here
        # An open file, not a path: given a path, Pillow 13 maps a turned TIFF into memory with wrong rows.
        with Image.open(stream, formats=(kind,)) as picture:
            decoding.require_size(picture.width, picture.height)
            yield picture


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into a CaseError that names the file."""
    try:
        yield
    except CaseError as error:
        if error.file is not None:
            raise
        raise CaseError(error.code, f"{path.name}: {error.reason}", file=path, remedy=error.remedy) from error
    except Image.DecompressionBombError as error:
        raise CaseError("image_bomb", f"{path.name}: {error}", file=path, remedy="Is this a picture?") from error
    except Exception as error:  # a decoder fed with damaged bytes raises almost anything
        if exhausted(error) or (isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)):
            raise  # it is the disk that fails: EINVAL is a damaged offset, and a decoder's own errors have none
        raise CaseError("damaged_image", f"{path.name}: {error}", file=path, remedy=DAMAGED) from error


def _opaque(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """Without alpha. Raises CaseError where that would show what the file hides."""
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return pixels
    if bool((pixels[..., -1] != np.iinfo(pixels.dtype).max).any()):
        raise CaseError(
            "transparent_image", f"{path.name} is partly transparent", file=path, remedy="Flatten it onto a background"
        )
    return np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3])


def _whole(pixels: NDArray[np.floating[Any]], path: Path) -> NDArray[np.int32]:
    if not ((np.abs(pixels) < 2**31) & (np.rint(pixels) == pixels)).all():
        raise CaseError("label_type", f"{path.name}: the mask holds fractions", file=path, remedy="Save whole numbers")
    return pixels.astype(np.int32)
