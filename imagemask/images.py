"""Picture files: the only decoder and encoder of 2D files, and the contact sheet.

What a file is, its first bytes say, not its name. Read are PNG, JPEG, BMP and TIFF; of several frames the first. Colour
profiles and gamma are ignored. A file that is cut short is refused, never filled up with grey.

Pillow reads; OpenCV decodes plain PNGs of 8 bits, as Pillow would and faster, and what Pillow would silently reduce,
16-bit colour.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imagemask import png
from imagemask.errors import CaseError
from imagemask.png import DAMAGED

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
    with _opened(path) as (picture, kind):
        stored, turn = _samples(picture, kind, path, indices=False)
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
    with _opened(path) as (picture, kind):
        stored, _ = _samples(picture, kind, path, indices=True)
        pixels = _opaque(stored, path)
    if pixels.ndim == 3:
        one: NDArray[Any] = np.maximum(np.maximum(pixels[..., 0], pixels[..., 1]), pixels[..., 2])
        if kind != "JPEG" and bool((pixels != one[..., np.newaxis]).any()):
            raise CaseError("colour_mask", f"{path.name}: the mask has colours", file=path, remedy="Save class numbers")
        pixels = one
    return _whole(pixels, path) if pixels.dtype.kind == "f" else pixels


def is_jpeg(path: Path) -> bool:
    """Whether the first bytes are a JPEG's: a mask so compressed has values that nobody drew. CaseError as above."""
    return _kind(path) == "JPEG"


def stored_as(path: Path) -> tuple[str, str]:
    """What the first bytes say it is (PNG, JPEG, BMP, TIFF), and its pixels in Pillow's word. CaseError as above."""
    with _opened(path) as (picture, kind):
        return kind, str(picture.mode)


def frame_count(path: Path) -> int:
    """How many pictures a file holds, of which the first is read: an animation, a JPEG of several views. CaseError."""
    with _opened(path) as (picture, _):
        return int(getattr(picture, "n_frames", 1))


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the stored pixels, before any EXIF orientation, from the header. CaseError as above."""
    with _opened(path) as (picture, kind):
        if kind == "TIFF":  # Pillow has turned the size already, or will, by its version
            return int(picture.tag_v2[0x0101]), int(picture.tag_v2[0x0100])
        return picture.height, picture.width


def exif_orientation(path: Path) -> int:
    """The EXIF (or TIFF) orientation, 1 to 8; 1, upright, where there is none. CaseError as above."""
    with _opened(path) as (picture, _):
        return _orientation(picture)


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
        reason = f"a PNG of {found.depth} bits, colour type {found.colour}, is not one of ours, or is transparent"
        raise CaseError("unsupported_image", reason, remedy=DAMAGED)
    pixels = _by_opencv(data)
    if pixels is None or pixels.ndim != (3 if found.colour == png.RGB else 2):
        raise CaseError("damaged_image", "the PNG cannot be decoded", remedy=DAMAGED)
    return pixels.astype(np.uint8, copy=False)


def read_png(path: Path) -> NDArray[np.uint8]:
    """``decode_png`` of a file. Raises CaseError with its name, ``missing_file`` and ``unreadable_file`` included."""
    try:
        return decode_png(_bytes(path))
    except CaseError as error:
        if error.file is not None:
            raise
        raise CaseError(error.code, f"{path.name}: {error.reason}", file=path, remedy=error.remedy) from error


def _bytes(path: Path, count: int = -1) -> bytes:
    """The first ``count`` bytes of a file, or all. Raises CaseError where it is missing, unreadable or empty."""
    try:
        with path.open("rb") as file:
            data = file.read(count)
    except FileNotFoundError as error:
        raise CaseError("missing_file", f"{path.name} is missing", file=path, remedy="Restore it") from error
    except OSError as error:
        reason = f"{path.name} cannot be read: {error.strerror or error}"
        raise CaseError("unreadable_file", reason, file=path, remedy="Check its permissions") from error
    if not data:
        raise CaseError("empty_file", f"{path.name} is empty", file=path, remedy="Fetch the file again")
    return data


def _kind(path: Path) -> str:
    begin = _bytes(path, 16)
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
def _opened(path: Path) -> Iterator[tuple[Any, str]]:
    """A picture of which the header has been read, and its kind. Turns whatever a decoder raises into a CaseError."""
    kind = _kind(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on damaged EXIF and the like; the size is checked here
            # An open file, not a path: given a path, Pillow 13 maps a turned TIFF into memory with wrong row lengths.
            with path.open("rb") as file, Image.open(file, formats=(kind,)) as picture:
                _require_size(picture.width, picture.height)
                yield picture, kind
    except CaseError as error:
        if error.file is not None:
            raise
        raise CaseError(error.code, f"{path.name}: {error.reason}", file=path, remedy=error.remedy) from error
    except Image.DecompressionBombError as error:
        raise CaseError("image_bomb", f"{path.name}: {error}", file=path, remedy="Is this a picture?") from error
    except MemoryError:
        raise
    except Exception as error:  # a decoder fed with damaged bytes raises almost anything
        raise CaseError("damaged_image", f"{path.name}: {error}", file=path, remedy=DAMAGED) from error


def _require_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        reason = f"the header says {height}x{width}, more than {MAX_PIXELS} pixels"
        raise CaseError("image_bomb", reason, remedy="Tile or shrink it first, if it is a picture at all")


def _samples(picture: Any, kind: str, path: Path, *, indices: bool) -> tuple[NDArray[Any], int]:
    """Stored pixels, not turned, and the EXIF orientation. HxW, or HxWxC with C 2 (grey, alpha), 3 or 4.

    ``indices`` leaves palettes alone.
    """
    depth = 8
    if kind == "PNG":
        plain, depth = _plain_png(path)
        if plain is not None:
            return plain, 1
    elif kind == "TIFF" and len(picture.getbands()) > 1:
        depth = max(picture.tag_v2.get(_BITS, (8,)))
    turn = _orientation(picture)
    if kind == "BMP" and (rows := _rows(picture, path)) is not None:
        return rows, turn
    pixels = _deep(path) if depth > 8 else _of_mode(picture, indices=indices)
    if indices and picture.mode == "L" and depth < 8:
        pixels = pixels // (255 // (2**depth - 1))  # Pillow stretches 1, 2 and 4 bits to 0..255
    # Both libraries turn a TIFF by themselves; the stored pixels are wanted here.
    return _turned(pixels, _INVERSE.get(turn, turn)) if kind == "TIFF" else pixels, turn


def _plain_png(path: Path) -> tuple[NDArray[Any] | None, int]:
    """The pixels of a plain PNG, else None; and the bits of a sample.

    Pillow takes 1.5 times as long, and fills up with black where the compressed pixels end too early.
    """
    found = png.check(data := _bytes(path))
    if not found.plain or max(found.width, found.height) > _LONGEST:
        return None, found.depth
    if (pixels := _by_opencv(data)) is None:
        raise CaseError("damaged_image", "its pixels cannot be decoded", remedy=DAMAGED)
    return pixels, found.depth


def _rows(picture: Any, path: Path) -> NDArray[Any] | None:
    """The pixels of a whole BMP of 24 bits, from where Pillow, three times as slow, says that they lie; else None."""
    offset, (order, *layout) = picture.tile[0][2:]
    rows = np.frombuffer(_bytes(path), np.uint8)[offset:]
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


def _deep(path: Path) -> NDArray[Any]:
    pixels = _by_opencv(_bytes(path))
    if pixels is None:
        raise CaseError("damaged_image", "it cannot be decoded", remedy=DAMAGED)
    return pixels


def _by_opencv(data: bytes) -> NDArray[Any] | None:
    """Pixels as stored, in RGB(A) order; None where OpenCV refuses."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        return pixels if pixels is None or pixels.ndim == 2 else _swapped(pixels)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:  # not the file's fault
            raise MemoryError(str(error)) from error
        raise


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


_GAP, _LINE, _PAPER, _INK = 12, 22, 250, 40
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.42
_AROUND = np.ones((3, 3), np.uint8)
_COLOURS = (
    (240, 228, 66),
    (86, 180, 233),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (0, 114, 178),
)
"""The colours of Okabe and Ito (2008), which colour-blind eyes tell apart; those that show best on grey first."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of a contact sheet: uint8 HxW or HxWx3 (RGB), its mask (uint8 HxW, 0 the background), a caption."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    caption: str


def contact_sheet(tiles: Sequence[Tile], *, columns: int, side: int) -> NDArray[np.uint8]:
    """``tiles`` in rows of ``columns``, each brought into ``side`` x ``side`` with its aspect ratio kept; RGB.

    Every class of a mask is outlined in a colour of its own, the same in all tiles; a caption that is too long loses
    its middle.
    """
    rows = -(-len(tiles) // columns)
    across, down = side + _GAP, side + _LINE + _GAP
    sheet = np.full((rows * down + _GAP, columns * across + _GAP, 3), _PAPER, np.uint8)
    for position, tile in enumerate(tiles):
        top, left = _GAP + position // columns * down, _GAP + position % columns * across
        picture = outlined(tile, side)
        height, width = picture.shape[:2]
        y, x = top + (side - height) // 2, left + (side - width) // 2
        sheet[y : y + height, x : x + width] = picture
        text, place = _shortened(tile.caption, side), (left, top + side + 16)
        cv2.putText(sheet, text, place, _FONT, _FONT_SCALE, (_INK,) * 3, 1, cv2.LINE_AA)
    return sheet


def outlined(tile: Tile, side: int) -> NDArray[np.uint8]:
    """``tile`` without its caption, RGB, its longer side ``side`` pixels long."""
    scale = side / max(tile.mask.shape)
    size = max(1, round(tile.mask.shape[1] * scale)), max(1, round(tile.mask.shape[0] * scale))
    kernel = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = cv2.resize(tile.image, size, interpolation=kernel)
    picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB) if picture.ndim == 2 else picture
    for value in np.unique(tile.mask[tile.mask > 0]).tolist():
        covered = cv2.resize((tile.mask == value).astype(np.float32), size, interpolation=kernel)
        # What is too small to be the larger part of any pixel is shown all the same.
        inside = (covered >= min(0.5, covered.max())).view(np.uint8)
        core = cv2.erode(inside, _AROUND, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        picture[inside > core] = _COLOURS[0 if value == 255 else (value - 1) % len(_COLOURS)]
    return picture.astype(np.uint8, copy=False)


def _shortened(text: str, width: int) -> str:
    """``text``, without as much of its middle as it takes to be at most ``width`` pixels wide."""
    shown, kept = text, len(text)
    while kept and cv2.getTextSize(shown, _FONT, _FONT_SCALE, 1)[0][0] > width:
        kept -= 1
        shown = f"{text[: -(-kept // 2)]}...{text[len(text) - kept // 2 :]}"
    return shown
