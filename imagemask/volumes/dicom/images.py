"""One DICOM slice: checked from its header, decoded to HU when the pixels are asked for.

Uncompressed pixels are read straight from the file, because GDCM fills what a shortened PixelData element lacks with
whatever is in memory, and says nothing. Compressed ones go through SimpleITK, which applies the rescale by itself; what
it cannot decode, or refuses, goes to pydicom and its plug-ins, which do not. Either way it is applied exactly once.
"""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imagemask.errors import CaseError
from imagemask.volumes.damage import COPY_AGAIN
from imagemask.volumes.dicom.header import DEFLATED, NATIVE, UNDEFINED, Header, Tag, explained, quiet
from imagemask.volumes.geometry import Frame

if TYPE_CHECKING:
    from imagemask.types import Deferred

_RLE, _JPEG = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4."
SIMPLEITK_DECODES = frozenset({_RLE, *(_JPEG + end for end in ("50", "51", "57", "70", "80", "81", "90", "91"))})
"""RLE, JPEG, JPEG-LS and JPEG 2000."""
_ENHANCED = frozenset({"1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"})
_ITEM, _END_OF_ITEMS = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_END_OF_STREAM = b"\xff\xd9"
_TOO_LONG = "The decoded RLE segment contains non-conformant padding"
"""What pydicom only remarks on: lengths that were damaged add up to too much as often as to too little."""
_RESULTS = (np.int16, np.int32, np.int64)
_PACKAGE = re.compile(r"[\w-]+(?=>=)")
"""In pydicom's words of what a plug-in lacks: ``pylibjpeg - requires pylibjpeg>=2.0 and pylibjpeg-openjpeg>=2.0``."""
_UNCOMPRESSED = "convert the files to an uncompressed syntax (gdcmconv --raw, dcmdjpeg), or fetch them so"
_ADDRESS = re.compile(r"\(0x[0-9a-f]+\)")
"""ITK's messages hold memory addresses; what is written down must be the same in every run."""


@dataclass(frozen=True, slots=True)
class DicomImage:
    """A slice that is decoded by ``numpy.asarray``: HU as int16 or int32, or float32 where the rescale is not whole.

    Rows and columns are the file's own; ``upright_image`` turns them. Decoding raises CaseError ``truncated_pixels``,
    ``damaged_pixels``, ``undecodable_syntax`` or ``unreadable_file``.
    """

    path: Path
    rows: int
    columns: int
    bits: tuple[int, int]
    """Allocated and stored."""
    signed: bool
    big_endian: bool
    syntax: str
    offset: int
    slope: float
    intercept: float

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.rows, self.columns

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values, from the header alone: the smallest that holds every value that can be stored."""
        if not (self.slope.is_integer() and self.intercept.is_integer()):
            return np.dtype(np.float32)
        stored = self.bits[1]
        lowest, highest = (-(1 << stored - 1), (1 << stored - 1) - 1) if self.signed else (0, (1 << stored) - 1)
        ends = [value * self.slope + self.intercept for value in (lowest, highest)]
        fitting = (kind for kind in _RESULTS if np.iinfo(kind).min <= min(ends) and max(ends) <= np.iinfo(kind).max)
        return np.dtype(next(fitting, np.float32))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a DICOM slice cannot be decoded without making an array")
        if self.syntax in NATIVE - {DEFLATED}:
            values = _rescaled(self, _from_file(self))
        elif self.syntax in SIMPLEITK_DECODES:
            values = _with_simpleitk(self)
        else:
            values = _rescaled(self, _with_pydicom(self))
        return values if dtype is None else values.astype(dtype, copy=False)


@dataclass(frozen=True, slots=True)
class _Upright:
    image: DicomImage
    frame: Frame

    @property
    def shape(self) -> tuple[int, ...]:
        return self.image.shape if self.frame.axes[1] == 1 else self.image.shape[::-1]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.frame.upright_plane(self.image.__array__(dtype, copy).T)


def upright_image(image: DicomImage, frame: Frame) -> Deferred:
    """The slice, turned upright when it is decoded. Raises CaseError ``not_axial`` for other planes than axial ones."""
    if frame.axes[0] != 2:
        raise CaseError(
            "not_axial",
            "the series is sagittal or coronal: its pictures are not axial slices",
            file=image.path,
            remedy="Use the axial series of this scan",
        )
    return _Upright(image, frame)


def image_of(header: Header) -> DicomImage:
    """The slice of a header, after every check that needs no decoding.

    Raises CaseError ``multi_frame``, ``not_monochrome2``, ``pixel_format``, ``bad_rescale``, ``bad_dicom``,
    ``truncated_pixels`` or ``undecodable_syntax``.
    """
    if header.pixels is None:
        raise _truncated(header.path, "there are no pixels")
    _require_one_grey_frame(header)
    allocated = header.short(Tag.BitsAllocated)
    stored = header.short(Tag.BitsStored, allocated)
    if (
        allocated not in {8, 16, 32}
        or not 0 < stored <= allocated
        or header.short(Tag.HighBit, stored - 1) != stored - 1
    ):
        reason = f"{stored} of {allocated} bits, the highest being {header.short(Tag.HighBit, stored - 1)}"
        reason = f"pixels of {reason}, cannot be read"
        raise CaseError("pixel_format", reason, file=header.path, remedy="Convert it to 16 bits a pixel")
    slope, intercept = _rescale(header)
    image = DicomImage(
        path=header.path,
        rows=header.short(Tag.Rows),
        columns=header.short(Tag.Columns),
        bits=(allocated, stored),
        signed=header.short(Tag.PixelRepresentation, 0) == 1,
        big_endian=header.big_endian,
        syntax=header.syntax,
        offset=header.pixels[0],
        slope=slope,
        intercept=intercept,
    )
    if not image.rows * image.columns:
        raise CaseError(
            "bad_dicom", f"the picture is {image.rows}x{image.columns}", file=header.path, remedy=COPY_AGAIN
        )
    _require_decoder(image)
    _require_complete(header, header.pixels, image.rows * image.columns * allocated // 8)
    return image


def _require_one_grey_frame(header: Header) -> None:
    frames = header.number(Tag.NumberOfFrames) or 1
    if frames != 1 or header.sop_class in _ENHANCED:
        reason = f"a multi-frame file ({frames:g} frames) is not supported"
        raise CaseError("multi_frame", reason, file=header.path, remedy="Convert it to one file a slice")
    colours, meaning = header.short(Tag.SamplesPerPixel, 1), header.text(Tag.PhotometricInterpretation)
    if colours != 1 or meaning != "MONOCHROME2":
        reason = f"the picture is {meaning or 'of no declared kind'} with {colours} samples a pixel, not MONOCHROME2"
        raise CaseError("not_monochrome2", reason, file=header.path, remedy="Remove it if it is not part of the scan")


def _rescale(header: Header) -> tuple[float, float]:
    """Slope and intercept, 1 and 0 where they are missing."""
    slope, intercept = header.number(Tag.RescaleSlope), header.number(Tag.RescaleIntercept)
    if slope == 0:
        raise CaseError("bad_rescale", "RescaleSlope is 0", file=header.path, remedy=COPY_AGAIN)
    return 1.0 if slope is None else slope, 0.0 if intercept is None else intercept


def _require_complete(header: Header, pixels: tuple[int, int], expected: int) -> None:
    """Refuse a file whose pixels end early, whichever of the file and its PixelData element is too short."""
    offset, length = pixels
    if header.syntax not in NATIVE:
        _require_fragments(header, offset, length)
    elif length == UNDEFINED:
        raise CaseError("bad_dicom", "uncompressed pixels have no length", file=header.path, remedy=COPY_AGAIN)
    elif (found := min(length, header.size - offset)) < expected:
        raise _truncated(header.path, f"expected {expected} bytes of pixels, found {found}")


def _require_fragments(header: Header, offset: int, length: int) -> None:
    """Walk the items of compressed pixels (PS3.5 A.4): an offset table, fragments, and a delimiter."""
    end = header.size if length == UNDEFINED else min(header.size, offset + length)
    count = 0
    with explained(header.path), header.path.open("rb") as file:
        while offset < end or length == UNDEFINED:
            file.seek(offset)
            mark = file.read(8)
            if mark[:4] == _END_OF_ITEMS:
                break
            offset += 8 + int.from_bytes(mark[4:], "little")
            count += 1
            if mark[:4] != _ITEM or offset > end:
                raise _truncated(header.path, f"the compressed pixels end early, in item {count}")
    if count < 2:
        raise _truncated(header.path, "there are no compressed pixels")


def _require_decoder(image: DicomImage) -> None:
    if image.syntax in NATIVE or image.syntax in SIMPLEITK_DECODES:
        return
    decodes, packages = _pydicom_decodes(image.syntax)
    if not decodes:
        raise CaseError(
            "undecodable_syntax",
            f"no decoder is {'installed' if packages else 'known'} for transfer syntax {image.syntax}",
            file=image.path,
            remedy=f"Try: pip install {packages}; or {_UNCOMPRESSED}" if packages else f"Try: {_UNCOMPRESSED}",
        )


def _pydicom_decodes(syntax: str) -> tuple[bool, str]:
    """Whether pydicom decodes ``syntax``; and the packages with which it would, or none."""
    from pydicom.pixels.decoders.base import get_decoder

    try:
        with quiet():
            decoder = get_decoder(syntax)
            lacks = decoder.missing_dependencies
            return decoder.is_available, " ".join(_PACKAGE.findall(lacks[-1])) if lacks else ""
    except (NotImplementedError, ValueError):
        return False, ""


def _from_file(image: DicomImage) -> NDArray[Any]:
    """Uncompressed pixels as stored."""
    kind = f"{'>' if image.big_endian else '<'}{'i' if image.signed else 'u'}{image.bits[0] // 8}"
    with explained(image.path):
        stored = np.fromfile(image.path, dtype=kind, count=image.rows * image.columns, offset=image.offset)
    if stored.size < image.rows * image.columns:
        raise _truncated(image.path, f"expected {image.rows * image.columns} pixels, found {stored.size}")
    return stored.reshape(image.shape).astype(stored.dtype.newbyteorder("="), copy=False)


def _with_pydicom(image: DicomImage) -> NDArray[Any]:
    """Pixels as stored, by whichever of pydicom's plug-ins decodes them."""
    from pydicom import dcmread

    try:
        with quiet():
            warnings.filterwarnings("error", message=_TOO_LONG)
            stored = dcmread(image.path).pixel_array
    except MemoryError as error:  # of a damaged stream that claims a huge picture: no cause that would stop a build
        raise _damaged(image.path, error) from None
    except Exception as error:  # plug-ins raise anything
        raise _damaged(image.path, error) from error
    return stored.reshape(image.shape)


def _with_simpleitk(image: DicomImage) -> NDArray[Any]:
    """Pixels in HU: GDCM's reader rescales, to float64 where the rescale is not whole."""
    import SimpleITK

    SimpleITK.ProcessObject.GlobalWarningDisplayOff()
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    try:
        reader.SetFileName(str(image.path))
        values: NDArray[Any] = SimpleITK.GetArrayFromImage(reader.Execute())
    except (RuntimeError, UnicodeError) as error:
        return _refused_by_simpleitk(image, error)
    return values.reshape(image.shape).astype(image.dtype, copy=False)


def _refused_by_simpleitk(image: DicomImage, error: Exception) -> NDArray[Any]:
    """Pixels in HU of what pydicom decodes all the same: GDCM refuses tiny pictures, and files of a private SOP class.

    Raises CaseError ``damaged_pixels`` with the words of ``error`` where pydicom does not.
    """
    if image.syntax == _RLE or _ends_as_told(image.path):
        with suppress(CaseError):
            return _rescaled(image, _with_pydicom(image))
    raise _damaged(image.path, error) from error


def _ends_as_told(path: Path) -> bool:
    """Whether a stream of the JPEG family is there to its last marker: pydicom's plug-ins may fill up what is not."""
    from pydicom import dcmread
    from pydicom.encaps import get_frame

    with quiet(), suppress(Exception):
        return get_frame(dcmread(path).PixelData, 0, number_of_frames=1).rstrip(b"\0").endswith(_END_OF_STREAM)
    return False


def _rescaled(image: DicomImage, stored: NDArray[Any]) -> NDArray[Any]:
    """Stored pixels in HU. Bits above the stored ones (old files keep overlays there) are dropped."""
    allocated, used = image.bits
    if used < allocated:
        unused = stored.dtype.type(allocated - used)
        stored = (stored << unused) >> unused
    values = stored.astype(image.dtype, copy=False)
    if (image.slope, image.intercept) != (1.0, 0.0):
        values = values * image.dtype.type(image.slope) + image.dtype.type(image.intercept)
    return values


def _truncated(path: Path, reason: str) -> CaseError:
    return CaseError("truncated_pixels", reason, file=path, remedy=COPY_AGAIN)


def _damaged(path: Path, error: Exception) -> CaseError:
    words = _ADDRESS.sub("", (str(error).strip().splitlines() or [type(error).__name__])[-1])
    return CaseError("damaged_pixels", f"the pixels cannot be decoded: {words}", file=path, remedy=COPY_AGAIN)
