"""A writer for phantoms: one slice a file, the same bytes everywhere, with the quirks of files that are out there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, CTImageStorage, RLELossless
from pydicom.valuerep import format_number_as_ds

from imagemask.volumes.dicom.header import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE

UID_ROOT = "1.2.826.0.1.3680043.2.1125"
"""GDCM's, under which Pancreas-CT was written; raw-formats.md 2.3."""


@dataclass(frozen=True, slots=True)
class DicomSlice:
    """What the header of a slice says. The defaults are those of Pancreas-CT: row 0 is posterior, values are HU.

    ``position`` is the centre of the first pixel (LPS mm), ``spacing`` (between rows, between columns) in mm. The UIDs
    are made of ``series`` and ``instance``. ``elements`` sets others by keyword, last of all; None removes one.
    """

    position: tuple[float, float, float]
    instance: int
    patient: str = "PANCREAS_0001"
    series: str = UID_ROOT + ".1.1"
    orientation: tuple[float, float, float, float, float, float] = (1, 0, 0, 0, -1, 0)
    spacing: tuple[float, float] = (1.0, 1.0)
    thickness: float = 1.0
    slope: float = 1.0
    intercept: float = 0.0
    syntax: str = EXPLICIT_LITTLE
    preamble: bool = True
    elements: Mapping[str, Any] = field(default_factory=dict)


def write_dicom(path: Path, pixels: NDArray[Any], header: DicomSlice) -> None:
    """Write ``pixels`` (rows, columns) as stored values: signed or unsigned, of 8 or 16 bits, as their type is.

    ``syntax`` may be any uncompressed one (deflated included), or RLE.
    """
    dataset = _dataset(pixels, header)
    little = header.syntax != EXPLICIT_BIG
    values = pixels.astype(pixels.dtype.newbyteorder("<" if little else ">"), copy=False).tobytes()
    dataset.PixelData = values + bytes(len(values) % 2)
    dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    if header.syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    for keyword, value in header.elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    if header.preamble:
        dcmwrite(path, dataset, enforce_file_format=True)
    else:
        dataset.file_meta = FileMetaDataset()
        dcmwrite(path, dataset, implicit_vr=header.syntax == IMPLICIT_LITTLE, little_endian=little)


def _dataset(pixels: NDArray[Any], header: DicomSlice) -> Dataset:
    """All elements but the pixels, in the order in which a reader needs them explained."""
    dataset = Dataset()
    dataset.file_meta = _meta(header)
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.Modality = "CT"
    dataset.PatientName = header.patient
    dataset.PatientID = header.patient
    dataset.SliceThickness = _decimal(header.thickness)
    dataset.StudyInstanceUID = f"{header.series}.0"
    dataset.SeriesInstanceUID = header.series
    dataset.InstanceNumber = header.instance
    dataset.ImagePositionPatient = [_decimal(value) for value in header.position]
    dataset.ImageOrientationPatient = [_decimal(value) for value in header.orientation]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelSpacing = [_decimal(value) for value in header.spacing]
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.RescaleIntercept = _decimal(header.intercept)
    dataset.RescaleSlope = _decimal(header.slope)
    return dataset


def _meta(header: DicomSlice) -> FileMetaDataset:
    """The meta information, with an implementation that does not change with pydicom's version."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"{header.series}.{header.instance}")
    meta.TransferSyntaxUID = UID(EXPLICIT_LITTLE if header.syntax == RLELossless else header.syntax)
    meta.ImplementationClassUID = UID(UID_ROOT)
    meta.ImplementationVersionName = "IMAGEMASK"
    return meta


def _decimal(value: float) -> str:
    return format_number_as_ds(float(value))
