"""Writes a synthetic NIH Pancreas-CT: three folder layouts side by side, unpadded names, licences among the slices.

There are more labels than series, as in the real zip: those of the two withdrawn cases are still there. With
``faults``, cases that must be quarantined follow, one of each kind.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from imagemask import files, phantoms
from imagemask.volumes import dicom, nifti

WITHDRAWN = (25, 70)
UID_ROOT = "1.2.826.0.1.3680043.2.1125"
LABELS = "TCIA_pancreas_labels-02-05-2017"
FAULTS = (
    "missing_slice",
    "mixed_sizes",
    "label_depth",
    "truncated_pixels",
    "missing_label",
    "missing_image",
    "patient_disagrees",
    "ambiguous_series",
)
"""What can be wrong with a case: the code under which it is quarantined. Each is written once with ``faults``."""
STANDARD = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
AS_PUBLISHED = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
"""Rows run to the front, so pictures lie upside down, and slices from head to feet."""
_FIELD_MM, _SLICE_MM = 360.0, 1.0
_MORE_SLICES = (0, 2, -1, 4, -3, 1, 3, -2)
_FAULTY_SLICES = 12
_LICENCE = "Pancreas-CT is licensed CC BY 3.0. This is a synthetic copy.\n"
_COLUMNS = "Series UID,Collection,Subject ID,Study UID,Study Description,Modality,Number of Images,File Location"


@dataclass(frozen=True, slots=True)
class _Quirk:
    """What is unusual in one case: where its slices lie, how they are stored, who they say they are, its label."""

    layout: Literal["descriptive", "uids", "flat"] = "descriptive"
    orientation: tuple[float, float, float, float, float, float] = AS_PUBLISHED
    unsigned: bool = False
    patient: str | None = None
    """PatientID; None for the right one."""
    codes: str = "LAI"
    suffix: str = ".nii.gz"
    origin: bool = True


_QUIRKS = (
    _Quirk(),
    _Quirk("uids", unsigned=True, codes="RAS"),
    _Quirk("flat", orientation=STANDARD, suffix=".nii"),
    _Quirk(patient="", origin=False),
)
_LAYOUTS: tuple[Literal["descriptive", "uids", "flat"], ...] = ("uids", "flat", "descriptive")


@dataclass(frozen=True, slots=True)
class _Scan:
    """One patient: the body, and how it is written."""

    raw: Path
    number: int
    body: phantoms.Body
    quirk: _Quirk

    @property
    def id(self) -> str:
        """As in PatientID."""
        return f"PANCREAS_{self.number:04d}"

    @property
    def uid(self) -> str:
        """The SeriesInstanceUID."""
        return f"{UID_ROOT}.9.{self.number}.{1 + _LAYOUTS.index(self.quirk.layout)}"

    @property
    def spacing(self) -> float:
        """Pixel size in mm: the field of view does not depend on the phantom's size."""
        return _FIELD_MM / self.body.shape[1]

    @property
    def folder(self) -> Path:
        """Where the slices lie, in one of three layouts that are out there."""
        if self.quirk.layout == "uids":
            return self.raw / "DOI" / self.id / f"{self.uid}.0" / self.uid
        if self.quirk.layout == "flat":
            return self.raw / self.uid
        study = f"11-24-2015-{self.id.replace('_', '')}-Pancreas-{18000 + self.number}"
        return self.raw / "manifest-1599750808610" / "Pancreas-CT" / self.id / study / f"Pancreas-{99000 + self.number}"

    @property
    def label(self) -> Path:
        """The label's file."""
        return self.raw / LABELS / f"label{self.number:04d}{self.quirk.suffix}"


def write(raw: Path, *, patients: int, size: int, slices: int, seed: int, faults: bool) -> None:
    """Write the source below ``raw``: ``patients`` series of about ``slices`` slices of ``size`` x ``size`` pixels.

    Raises UsageError for a folder that is not empty, or numbers out of range.
    """
    phantoms.begin(raw, patients=patients, size=size, slices=slices)
    files.make_folder(raw / LABELS)
    numbers = _numbers(patients + len(FAULTS))
    scans = []
    for position, number in enumerate(numbers[:patients]):
        planes = max(phantoms.FEWEST_SLICES, slices + _MORE_SLICES[position % len(_MORE_SLICES)])
        quirk = _QUIRKS[position] if position < len(_QUIRKS) else _Quirk(_LAYOUTS[position % len(_LAYOUTS)])
        scans.append(_scan(raw, number, quirk, shape=(planes, size, size), seed=seed))
        _write_series(scans[-1])
        _write_label(scans[-1])
    withdrawn = WITHDRAWN if patients > 1 else ()
    for number in withdrawn:
        _write_label(_scan(raw, number, _Quirk(), shape=(phantoms.FEWEST_SLICES, size, size), seed=seed))
    broken = dict(zip(numbers[patients:], FAULTS, strict=True)) if faults else {}
    for number, code in broken.items():
        quirk = _Quirk(patient="PANCREAS_0002") if code == "patient_disagrees" else _Quirk()
        scan = _scan(raw, number, quirk, shape=(min(slices, _FAULTY_SLICES), size, size), seed=seed)
        _write_faulty(scan, code)
    _write_metadata(raw, scans)
    marks = {f"PANCREAS_{number:04d}": code for number, code in broken.items()}
    sets = (patients, patients + len(withdrawn))
    phantoms.finish(raw, "pancreas", ids=[scan.id for scan in scans], sets=sets, faults=marks)


def _numbers(count: int) -> list[int]:
    """Patients: 63, the last of a copy that many people have, is always among the first."""
    numbers = (number for number in (1, 2, 63, *range(3, count + 100)) if number not in WITHDRAWN)
    return list(dict.fromkeys(numbers))[:count]


def _scan(raw: Path, number: int, quirk: _Quirk, *, shape: tuple[int, int, int], seed: int) -> _Scan:
    return _Scan(raw, number, phantoms.abdomen(shape, seed=(seed, number)), quirk)


def _write_series(scan: _Scan) -> None:
    """One file a slice; in the order of InstanceNumber, slices run from head to feet."""
    files.make_folder(scan.folder)
    (scan.folder / "LICENSE").write_text(_LICENCE, encoding="utf-8")
    count = scan.body.shape[0]
    for instance in range(1, count + 1):
        image, _ = scan.body.plane(count - instance)
        _write_slice(scan, scan.folder / _name(scan, instance), image, instance)


def _write_slice(scan: _Scan, path: Path, image: NDArray[np.int16], instance: int) -> None:
    """Write one upright plane as the scan's slices are stored."""
    rows, columns = image.shape
    upside_down = scan.quirk.orientation == AS_PUBLISHED
    left, back = -(columns - 1) / 2 * scan.spacing, (rows - 1) / 2 * scan.spacing
    header = dicom.DicomSlice(
        position=(left, back if upside_down else -back, (1 - instance) * _SLICE_MM),
        instance=instance,
        patient=scan.id if scan.quirk.patient is None else scan.quirk.patient,
        series=scan.uid,
        orientation=scan.quirk.orientation,
        spacing=(scan.spacing, scan.spacing),
        thickness=_SLICE_MM,
        intercept=-1024.0 if scan.quirk.unsigned else 0.0,
    )
    stored = image[::-1] if upside_down else image
    dicom.write_dicom(path, (stored + 1024).astype(np.uint16) if scan.quirk.unsigned else stored, header)


def _name(scan: _Scan, instance: int) -> str:
    """The file name in the scan's layout; in the flat one names are in no order."""
    if scan.quirk.layout == "uids":
        return f"{instance - 1:06d}.dcm"
    return f"1-{instance}.dcm" if scan.quirk.layout == "descriptive" else f"{instance * 7919 % 10007:05d}.dcm"


def _write_label(scan: _Scan, *, dropped: int = 0) -> None:
    """Write the label, without the lowest ``dropped`` slices; its origin is the series', or zero."""
    count, rows, columns = scan.body.shape
    label = np.stack([scan.body.outline(index) for index in range(dropped, count)])
    origin = (-(columns - 1) / 2 * scan.spacing, -(rows - 1) / 2 * scan.spacing, -(count - 1 - dropped) * _SLICE_MM)
    spacing = (scan.spacing, scan.spacing, _SLICE_MM)
    affine = phantoms.affine_of(label.shape, scan.quirk.codes, spacing, origin)
    if not scan.quirk.origin:
        affine[:3, 3] = 0
    stored = phantoms.stored(label, scan.quirk.codes)
    nifti.write_nifti(scan.label, stored, affine, gzip=scan.label.name.endswith(".gz"))


def _write_metadata(raw: Path, scans: list[_Scan]) -> None:
    """The table that comes with a download."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS.split(","))
    for scan in scans:
        place = scan.folder.relative_to(raw).as_posix()
        study = [f"{scan.uid}.0", "Pancreas", "CT", scan.body.shape[0], place]
        table.writerow([scan.uid, "Pancreas-CT", scan.id, *study])
    files.write_atomic(raw / "metadata.csv", text.getvalue().encode("utf-8"))


def _write_faulty(scan: _Scan, code: str) -> None:
    """A case that must be quarantined under ``code``."""
    if code != "missing_image":
        _write_series(scan)
    if code != "missing_label":
        _write_label(scan, dropped=2 if code == "label_depth" else 0)
    third = scan.folder / _name(scan, 3)
    if code == "missing_slice":
        third.unlink()
    elif code == "mixed_sizes":
        _write_slice(scan, third, scan.body.plane(3)[0][2:, 2:], 3)
    elif code == "truncated_pixels":
        third.write_bytes(third.read_bytes()[:-100])
    elif code == "ambiguous_series":
        _write_series(replace(scan, quirk=_Quirk("uids")))
