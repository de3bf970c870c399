"""Picture files: the only decoder and encoder of 2D files; and the contact sheet.

What a file is, its first bytes say, not its name. Read are PNG, JPEG, BMP and TIFF; of several frames the first. Colour
profiles and gamma are ignored. A file that is cut short is refused, never filled up with grey.

Pillow reads; OpenCV decodes plain PNGs of 8 bits, as Pillow would and faster, and what Pillow would silently reduce,
16-bit colour.
"""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imagemask.errors import CaseError, exhausted
from imagemask.images import png
from imagemask.images.png import DAMAGED
from imagemask.images.sheet import Tile, contact_sheet, outlined

__all__ = [
    "IMAGE_LEVEL",
    "MASK_LEVEL",
    "MAX_PIXELS",
    "Tile",
    "contact_sheet",
    "decode_png",
    "encode_png",
    "exif_orientation",
    "frame_count",
    "image_size",
    "is_jpeg",
    "outlined",
    "read_image",
    "read_mask",
    "read_png",
    "stored_as",
]

IMAGE_LEVEL, MASK_LEVEL = 1, 6
MAX_PIXELS = 89_478_485
"""A picture of more pixels is refused before it is decoded (256 MiB of grey and alpha: Pillow's own limit)."""

_JPEG = b"\xff\xd8\xff"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAGIC = {png.SIGNATURE: "PNG", _JPEG: "JPEG", b"BM": "BMP"} | dict.fromkeys(_TIFF, "TIFF")
_ORIENTATION, _BITS = 0x0112, 0x0102  # tags of TIFF and EXIF
_INVERSE = {6: 8, 8: 6}
_LONGEST = 1_000_000  # the longest side of a PNG that OpenCV takes


def read_image(path: Path, *, like: tuple[int, int] | None = None) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The picture at ``path``: HxW, or HxWx3 in RGB order; uint16 where the file has 16 bits, else uint8.

    Palettes and CMYK become RGB; an alpha channel that hides nothing is dropped. The EXIF orientation is applied,
    except where ``like``, the (height, width) of its mask, is the size of the stored pixels: the mask decides, and
    ``exif_orientation`` tells the caller what was ignored.

    Raises CaseError: ``missing_file``, ``unreadable_file``, ``empty_file``, ``unknown_format``, ``damaged_image``,
    ``image_bomb``, ``unsupported_image`` (32-bit or floating-point pixels), ``transparent_image``.
    """
    with _opened(path) as file:
        stored, turn = _samples(file, indices=False)
        pixels = _opaque(stored, path)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise CaseError(
            "unsupported_image", f"{path.name}: pixels are {pixels.dtype}", file=path, remedy="Save it in 8 or 16 bits"
        )
    return pixels if pixels.shape[:2] == like else _turned(pixels, turn)


def read_mask(path: Path) -> NDArray[np.integer[Any]]:
    """The mask at ``path``, HxW, as stored: palette indices, 0/1 for one bit a pixel, labels of any integer type.

    Three equal channels become one, an alpha channel that hides nothing is dropped, the EXIF orientation is ignored.
    Of a JPEG in colours the brightest channel counts, for its noise leaves no two channels equal (see ``is_jpeg``).

    Raises CaseError as ``read_image`` does, and ``colour_mask``, ``transparent_image``, ``label_type`` (fractions).
    """
    with _opened(path) as file:
        stored, _ = _samples(file, indices=True)
        pixels = _opaque(stored, path)
    if pixels.ndim == 3:
        one: NDArray[Any] = np.maximum(np.maximum(pixels[..., 0], pixels[..., 1]), pixels[..., 2])
        if file.kind != "JPEG" and bool((pixels != one[..., np.newaxis]).any()):
            raise CaseError("colour_mask", f"{path.name}: the mask has colours", file=path, remedy="Save class numbers")
        pixels = one
    return _whole(pixels, path) if pixels.dtype.kind == "f" else pixels


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
        return int(getattr(file.picture, "n_frames", 1))


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the stored pixels, before any EXIF orientation, from the header. CaseError as above."""
    with _opened(path) as file:
        if file.kind == "TIFF":  # Pillow has turned the size already, or will, by its version
            return int(file.picture.tag_v2[0x0101]), int(file.picture.tag_v2[0x0100])
        return file.picture.height, file.picture.width


def exif_orientation(path: Path) -> int:
    """The EXIF (or TIFF) orientation, 1 to 8; 1, upright, where there is none. CaseError as above."""
    with _opened(path) as file:
        return _orientation(file.picture)


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
    _, data = cv2.imencode(".png", array if array.ndim == 2 else _swapped(array), settings)
    return data.tobytes()


def decode_png(data: bytes) -> NDArray[np.uint8]:
    """The pixels of a PNG of ours: uint8, HxW or HxWx3 in RGB order.

    Strict: each part's checksum, the end, 8 bits, grey or RGB, nothing transparent. Raises CaseError ``empty_file``,
    ``damaged_image``, ``image_bomb`` or ``unsupported_image``.
    """
    if not data:
        raise CaseError("empty_file", "the PNG is empty", remedy=DAMAGED)
    found = png.check(data)
    _require_size(found.width, found.height)
    if not found.opaque:
        what = f"a PNG of {found.depth} bits, colour type {found.colour}"
        reason = f"{what}, that is not one of ours: not 8-bit grey or RGB, or transparent, turned or animated"
        raise CaseError("unsupported_image", reason, remedy=DAMAGED)
    pixels = _by_opencv(data)
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


@dataclass(frozen=True, slots=True)
class _File:
    """A picture file that is open, of which Pillow has read the header."""

    picture: Any
    kind: str
    stream: BinaryIO

    def data(self) -> bytes:
        """All its bytes. Leaves the stream where Pillow has it."""
        place = self.stream.tell()
        self.stream.seek(0)
        data = self.stream.read()
        self.stream.seek(place)
        return data


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
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


def _kind(path: Path, stream: BinaryIO) -> str:
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


@contextmanager
def _opened(path: Path) -> Iterator[_File]:
    """A picture of which the header has been read. Turns whatever a decoder raises into a CaseError."""
    with _reading(path) as stream:
        kind = _kind(path, stream)
        stream.seek(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on damaged EXIF and the like; the size is checked here
                # An open file, not a path: given a path, Pillow 13 maps a turned TIFF into memory with wrong rows.
                with Image.open(stream, formats=(kind,)) as picture:
                    _require_size(picture.width, picture.height)
                    yield _File(picture, kind, stream)
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


def _require_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        reason = f"the header says {height}x{width}, more than {MAX_PIXELS} pixels"
        raise CaseError("image_bomb", reason, remedy="Tile or shrink it first, if it is a picture at all")


def _samples(file: _File, *, indices: bool) -> tuple[NDArray[Any], int]:
    """Stored pixels, not turned, and the EXIF orientation. HxW, or HxWxC with C 2 (grey, alpha), 3 or 4.

    ``indices`` leaves palettes alone.
    """
    picture, kind, depth = file.picture, file.kind, 8
    if kind == "PNG":
        plain, depth = _plain_png(file.data())
        if plain is not None:
            return plain, 1
    elif kind == "TIFF" and len(picture.getbands()) > 1:
        depth = max(picture.tag_v2.get(_BITS, (8,)))
    turn = _orientation(picture)
    if kind == "BMP" and (rows := _rows(picture, file.data())) is not None:
        return rows, turn
    pixels = _deep(file.data()) if depth > 8 else _of_mode(picture, indices=indices)
    if indices and picture.mode == "L" and depth < 8:
        pixels = pixels // (255 // (2**depth - 1))  # Pillow stretches 1, 2 and 4 bits to 0..255
    # Both libraries turn a TIFF by themselves; the stored pixels are wanted here.
    return _turned(pixels, _INVERSE.get(turn, turn)) if kind == "TIFF" else pixels, turn


def _plain_png(data: bytes) -> tuple[NDArray[Any] | None, int]:
    """The pixels of a plain PNG, else None; and the bits of a sample.

    Pillow takes 1.5 times as long, and fills up with black where the compressed pixels end too early.
    """
    found = png.check(data)
    if not found.plain or max(found.width, found.height) > _LONGEST:
        return None, found.depth
    if (pixels := _by_opencv(data)) is None:
        raise CaseError("damaged_image", "its pixels cannot be decoded", remedy=DAMAGED)
    return pixels, found.depth


def _rows(picture: Any, data: bytes) -> NDArray[Any] | None:
    """The pixels of a whole BMP of 24 bits, from where Pillow, three times as slow, says that they lie; else None."""
    offset, (order, *layout) = picture.tile[0][2:]
    rows = np.frombuffer(data, np.uint8)[offset:]
    if order != "BGR" or len(rows) < layout[0] * picture.height:
        return None
    rows = rows[: layout[0] * picture.height].reshape(picture.height, -1)[:, : 3 * picture.width]
    pixels = _swapped(rows.reshape(picture.height, picture.width, 3))
    return cv2.flip(pixels, 0, dst=pixels) if layout[1] < 0 else pixels


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
    pixels = _by_opencv(data)
    if pixels is None:
        raise CaseError("damaged_image", "it cannot be decoded", remedy=DAMAGED)
    return pixels


def _by_opencv(data: bytes) -> NDArray[Any] | None:
    """Pixels as stored, in RGB(A) order; None where OpenCV refuses."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return pixels if pixels is None or pixels.ndim == 2 else _swapped(pixels)


def _swapped(pixels: NDArray[Any]) -> NDArray[Any]:
    """RGB(A) as BGR(A), or the other way."""
    order = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    return cv2.cvtColor(np.ascontiguousarray(pixels), order)


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


def _orientation(picture: Any) -> int:
    found = picture.getexif().get(_ORIENTATION, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Stored pixels as they are to be looked at (EXIF 2.32, tag Orientation: where row 0 and column 0 lie)."""
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
