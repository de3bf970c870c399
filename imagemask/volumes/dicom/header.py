"""What one DICOM file says before its pixels, and where its pixels lie.

A series has hundreds of files and a source tens of thousands, so elements are taken as bytes from pydicom's element
generator, and only those that are used are decoded: a bad character set in a name that nobody asks for is no error.
Sections of the standard are cited as PS3.5 (encoding) and PS3.3 (attributes).
"""

from __future__ import annotations

import io
import math
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from pydicom.dataelem import RawDataElement
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag

from imagemask.errors import CaseError
from imagemask.volumes.damage import COPY_AGAIN, file_size, unreadable


class Tag(IntEnum):
    """The elements that are read."""

    TransferSyntaxUID = 0x00020010
    MediaStorageSOPClassUID = 0x00020002
    SOPClassUID = 0x00080016
    SOPInstanceUID = 0x00080018
    Modality = 0x00080060
    PatientID = 0x00100020
    SliceThickness = 0x00180050
    SpacingBetweenSlices = 0x00180088
    SeriesInstanceUID = 0x0020000E
    InstanceNumber = 0x00200013
    ImagePositionPatient = 0x00200032
    ImageOrientationPatient = 0x00200037
    SamplesPerPixel = 0x00280002
    PhotometricInterpretation = 0x00280004
    NumberOfFrames = 0x00280008
    Rows = 0x00280010
    Columns = 0x00280011
    PixelSpacing = 0x00280030
    BitsAllocated = 0x00280100
    BitsStored = 0x00280101
    HighBit = 0x00280102
    PixelRepresentation = 0x00280103
    RescaleIntercept = 0x00281052
    RescaleSlope = 0x00281053


IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
NATIVE = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED})

UNDEFINED = 0xFFFFFFFF
_PIXELS = 0x7FE00010
_ANY_PIXELS = frozenset({_PIXELS, 0x7FE00008, 0x7FE00009})  # a set, because pydicom's tags compare slowly
_WANTED: list[BaseTag | int] = [int(tag) for tag in Tag]
_LONG = 1 << 16
_BEGINNING = 1 << 13
_META_GROUP = b"\x02\x00"
_FIRST_GROUPS = {_META_GROUP, b"\x08\x00", b"\x00\x08"}


@dataclass(frozen=True, slots=True)
class Header:
    """The elements of one file, as bytes, and the place of its pixels.

    ``pixels`` is (offset, length) of the value of PixelData, None where there is none; ``size`` is that of the file,
    or of what it inflates to.
    """

    path: Path
    values: Mapping[int, bytes]
    syntax: str
    big_endian: bool
    preamble: bool
    size: int
    pixels: tuple[int, int] | None

    @property
    def sop_class(self) -> str:
        """The SOP class, which anonymised copies may have in the meta information only."""
        return self.text(Tag.SOPClassUID) or self.text(Tag.MediaStorageSOPClassUID)

    def text(self, tag: Tag) -> str:
        """A text value without its padding; empty where it is missing."""
        return self.values.get(tag, b"").rstrip(b"\0 ").decode("utf-8", errors="replace").strip()

    def numbers(self, tag: Tag, count: int) -> tuple[float, ...]:
        """A decimal string of ``count`` values; empty where it is missing or blank. Raises CaseError ``bad_dicom``."""
        text = self.text(tag)
        if not text:
            return ()
        try:
            values = tuple(float(part) for part in text.split("\\"))
        except ValueError:
            values = ()
        if len(values) != count or not all(math.isfinite(value) for value in values):
            raise self.wrong(tag, text)
        return values

    def number(self, tag: Tag) -> float | None:
        """One decimal or integer string, None where it is missing."""
        values = self.numbers(tag, 1)
        return values[0] if values else None

    def short(self, tag: Tag, default: int | None = None) -> int:
        """A binary 16-bit value. Raises CaseError ``bad_dicom`` where it is missing and there is no default."""
        value = self.values.get(tag, b"")
        if len(value) >= 2:
            return int.from_bytes(value[:2], "big" if self.big_endian else "little")
        if default is None:
            raise self.wrong(tag, "")
        return default

    def wrong(self, tag: Tag, value: str) -> CaseError:
        """The error of a value that cannot be used."""
        reason = f"{tag.name} is {value!r}" if value else f"{tag.name} is missing"
        return CaseError("bad_dicom", reason, file=self.path, remedy=COPY_AGAIN)


def read_header(path: Path) -> Header:
    """Read the elements of a DICOM file up to its pixels.

    Without the ``DICM`` mark a file is accepted where it has a SOPClassUID. Raises CaseError ``missing_file``,
    ``unreadable_file``, ``empty_file``, ``not_dicom``, ``bad_dicom`` or ``truncated_pixels``.
    """
    file_size(path)
    with explained(path), path.open("rb") as file:
        preamble = file.read(132)[128:] == b"DICM"
        if not preamble:
            file.seek(0)
            if file.read(2) not in _FIRST_GROUPS:
                raise CaseError("not_dicom", "the file is not DICOM", file=path, remedy=COPY_AGAIN)
        begin = 132 if preamble else 0
        header = _parsed_from_memory(path, file, begin) or _parsed(path, file, begin)
    if not preamble and Tag.SOPClassUID not in header.values:
        reason = "the file has neither the DICM mark nor a SOPClassUID"
        raise CaseError("not_dicom", reason, file=path, remedy=COPY_AGAIN)
    return header


def _parsed_from_memory(path: Path, file: BinaryIO, begin: int) -> Header | None:
    """The header from the first bytes of a file, in two thirds of the time; None where they do not reach its pixels."""
    file.seek(0)
    with suppress(Exception):  # whatever is wrong, the file itself will tell
        header = _parsed(path, io.BytesIO(file.read(_BEGINNING)), begin)
        if header.pixels is not None and header.syntax != DEFLATED:
            return replace(header, size=os.fstat(file.fileno()).st_size)
    return None


def _parsed(path: Path, file: BinaryIO, begin: int) -> Header:
    """The header of a file of which the elements begin at ``begin``: behind the mark, or where there is none at 0."""
    size = file.seek(0, os.SEEK_END)
    file.seek(begin)
    meta = _elements(file, _Encoding("<"), stop=_after_meta) if _peek(file, 2) == _META_GROUP else {}
    syntax = meta.get(Tag.TransferSyntaxUID, b"").rstrip(b"\0 ").decode("ascii", errors="replace")
    if syntax == DEFLATED:
        body = zlib.decompress(file.read(), -zlib.MAX_WBITS)
        file, size = io.BytesIO(body), len(body)
    encoding = _encoding(syntax, _peek(file, 6))
    values = _elements(file, encoding, stop=_at_pixels)
    pixels = _pixels(file, encoding)
    return Header(path, {**meta, **values}, syntax or encoding.syntax, encoding.order == ">", begin > 0, size, pixels)


class _Encoding(NamedTuple):
    order: Literal["<", ">"]
    explicit: bool = True

    @property
    def syntax(self) -> str:
        if self.order == ">":
            return EXPLICIT_BIG
        return EXPLICIT_LITTLE if self.explicit else IMPLICIT_LITTLE


def _encoding(syntax: str, head: bytes) -> _Encoding:
    """How a dataset that begins with ``head`` is encoded: two letters after the tag mean explicit VR (PS3.5 7.1)."""
    big = syntax == EXPLICIT_BIG or (not syntax and head[:1] == b"\0")
    return _Encoding(">" if big else "<", head[4:6].isalpha())


def _elements(file: BinaryIO, encoding: _Encoding, *, stop: Callable[[int, str | None, int], bool]) -> dict[int, bytes]:
    found = data_element_generator(
        file, not encoding.explicit, encoding.order == "<", stop, defer_size=_LONG, specific_tags=_WANTED
    )
    return {int(raw.tag): raw.value or b"" for raw in found if isinstance(raw, RawDataElement)}


def _after_meta(tag: int, _vr: str | None, _length: int) -> bool:
    return tag >> 16 != 2


def _at_pixels(tag: int, _vr: str | None, _length: int) -> bool:
    return tag in _ANY_PIXELS


def _pixels(file: BinaryIO, encoding: _Encoding) -> tuple[int, int] | None:
    """Offset and length of the value of PixelData, at which ``file`` stands."""
    form = struct.Struct(encoding.order + ("HH4xL" if encoding.explicit else "HHL"))
    head = file.read(form.size)
    if len(head) < form.size:
        return None
    group, element, length = form.unpack(head)
    return (file.tell(), length) if (group << 16 | element) == _PIXELS else None


def _peek(file: BinaryIO, count: int) -> bytes:
    here = file.tell()
    found = file.read(count)
    file.seek(here)
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's remarks on odd values to itself: what matters here is an error, and the rest does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what goes wrong while parsing ``path`` into a CaseError with its code."""
    try:
        with quiet():
            yield
    except (EOFError, zlib.error) as error:
        raise CaseError("truncated_pixels", f"the file ends early: {error}", file=path, remedy=COPY_AGAIN) from error
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, LookupError, ArithmeticError, NotImplementedError, TypeError, struct.error) as error:
        raise CaseError("bad_dicom", f"the header is damaged: {error}", file=path, remedy=COPY_AGAIN) from error
