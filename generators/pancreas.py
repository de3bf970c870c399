"""NIH Pancreas-CT: CT series in DICOM, with the pancreas outlined in one NIfTI label a patient.

Series are found by their headers in whatever folders they lie, and named by PatientID (``PANCREAS_0001``), or by the
folder of that name where it is blank; capitals do not matter. ``label0001.nii.gz`` (or ``.nii``) may lie anywhere below
the source. Slices are taken in order of position, and the label is laid on them by both affines; its origin is not
reliable, and only noted.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from imagemask import files, names, sources, types, volumes
from imagemask.errors import CaseError
from imagemask.types import Case, Slice, Source

SOURCE = "pancreas"
ACCEPTED = "CT series in DICOM, in any folders (PANCREAS_0001/.../1-001.dcm), and label0001.nii.gz ... beside them"
COMPLETE = "Complete the copy (imagemask check pancreas lists what is missing), or leave this case out"
SOFT_TISSUE = (-50, 250)
"""HU between which nearly all of a pancreas lies; raw-formats.md P31."""
_LABEL = re.compile(r"label[_-]?0*(\d{1,6})\.nii(?:\.gz)?", re.IGNORECASE)
_PATIENT = re.compile(r"pancreas[_-]?0*(\d{1,6})", re.IGNORECASE)
_FOLDER = re.compile(r"(?:(?:PANCREAS[_-]?|pancreas_)(?=\d{4})|(?!Pancreas-)(?i:pancreas)[_-]?(?=0\d{3}))(\d{4})")
"""In other letters only with a number as patients have it: not Pancreas_2020, nor a series' folder, Pancreas-99667."""


class Options(types.Options):
    """Options of ``imagemask build pancreas``."""

    label_orientation: volumes.Axes = Field("LAI", description="axes where a label's header has none; none: quarantine")
    label_value: int = Field(1, ge=1, le=65535, description="the voxel value that means pancreas in this copy's labels")


def describe(source: Source, raw: Path, options: Options) -> Source:
    """``source`` with the value that means pancreas in this copy."""
    return sources.relabelled(source, options.label_value, place=str(raw))


def discover(raw: Path, options: Options) -> list[Case]:
    """One case for every patient of a series and for every label, sorted by id; the withdrawn ones too.

    Reads the header of every file below ``raw``. Raises InputError where there is neither a series nor a label.
    """
    files.require_folder(raw, accepted=ACCEPTED)
    series, labels = _series(raw), _labels(raw)
    if not series and not labels:
        raise files.unknown_layout(raw, accepted=ACCEPTED)
    return [_case(raw, key, series[key], labels.get(key, ()), options) for key in sorted({*series, *labels})]


def read(case: Case, options: Options) -> Iterator[Slice]:
    """The axial slices of one series along their normal, upright, in HU; each is decoded when it is asked for.

    Raises CaseError where series or label is missing or damaged, or where they do not belong to one another.
    """
    _require_one_of_each(case)
    label = volumes.pairs.open_twins(case.masks, assume=options.label_orientation)
    stack = volumes.dicom.open_stack(case.images)
    with volumes.pairs.blaming(case.images[0]):
        frame = volumes.geometry.upright(stack.grid)
    images = [volumes.dicom.upright_image(image, frame) for image in stack.images]
    with volumes.pairs.blaming(label.path):
        relation, notes = volumes.pairs.relate_to_series(
            stack.grid, label, assumed=options.label_orientation, uneven="uneven_spacing" in stack.flags
        )
    masks = frame.upright(relation.onto_image(volumes.nifti.read_labels(label, (options.label_value,))))
    samples, doubts = volumes.content.sample(images, masks, SOFT_TISSUE, file=label.path)
    flags = tuple(dict.fromkeys((*stack.flags, *notes, *relation.flags, *doubts)))
    spacing = volumes.geometry.in_plane_spacing(stack.grid, frame)
    for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
        yield Slice(index, samples.get(index, image), mask, spacing, flags, stack.images[index].path)


def phantom(raw: Path, *, patients: int, size: int, slices: int, seed: int, faults: bool) -> None:
    """Write a synthetic Pancreas-CT below ``raw``, as ``imagemask phantom pancreas`` does."""
    from imagemask.generators.phantoms import pancreas

    pancreas.write(raw, patients=patients, size=size, slices=slices, seed=seed, faults=faults)


def _require_one_of_each(case: Case) -> None:
    if not case.images:
        raise CaseError("missing_image", f"{case.id} has a label, but no series", file=case.masks[0], remedy=COMPLETE)
    if case.fault:
        remedy = "Find out which files belong to this patient, and remove the others"
        raise CaseError(*case.fault, file=case.images[0], remedy=remedy)
    if not case.masks:
        raise CaseError("missing_label", f"{case.id} has a series, but no label", file=case.images[0], remedy=COMPLETE)


def _series(raw: Path) -> defaultdict[str, list[volumes.dicom.Series]]:
    """The series of each case; where a case has none, a file that should have been one, so that opening it says why."""
    found = volumes.dicom.find_series(raw)
    cases: defaultdict[str, list[volumes.dicom.Series]] = defaultdict(list)
    for one in found.series:
        cases[_folder_id(raw, one.folder) or _told(one) or names.identifier((one.patient,))].append(one)
    for path, _ in found.problems:
        if (key := _folder_id(raw, path)) and key not in cases:
            cases[key].append(volumes.dicom.Series("", key, path.parent, (path,)))
    return cases


def _labels(raw: Path) -> dict[str, tuple[Path, ...]]:
    found: defaultdict[str, tuple[Path, ...]] = defaultdict(tuple)
    for path in files.walk(raw).files:
        if match := _LABEL.fullmatch(path.name):
            found[_id(match[1])] += (path,)
    return found


def _id(number: str) -> str:
    return f"PANCREAS_{int(number):04d}"


def _folder_id(raw: Path, path: Path) -> str:
    """The patient that the outermost folder of that name is called after, or ""."""
    return next((_id(match[1]) for part in path.relative_to(raw).parts if (match := _FOLDER.fullmatch(part))), "")


def _told(series: volumes.dicom.Series) -> str:
    """The patient by PatientID; "" where that is blank or names none."""
    match = _PATIENT.fullmatch(series.patient.strip())
    return _id(match[1]) if match and "patient_from_folder" not in series.flags else ""


def _case(raw: Path, key: str, series: list[volumes.dicom.Series], masks: tuple[Path, ...], options: Options) -> Case:
    """The case of one patient; its fault is why its series cannot be told."""
    fault = None
    for one in series:
        if _told(one) not in ("", key):
            where = one.folder.relative_to(raw)
            fault = ("patient_disagrees", f"PatientID is {one.patient} in the folder {where}")
    flags = sorted({flag for one in series for flag in one.flags if "folder" in flag})
    if len(series) > 1:
        depth = volumes.pairs.depth_of(masks, assume=options.label_orientation)
        fitting = [one for one in series if len(one.files) == depth]
        if len(fitting) == 1:
            series, flags = fitting, [*flags, "other_series"]
        else:
            counts = " and ".join(str(len(one.files)) for one in series)
            reason = f"{key} has {len(series)} series of {counts} slices, its label {depth or 'none'}"
            fault = fault or ("ambiguous_series", reason)
    images = tuple(path for one in series for path in one.files)
    return Case(key, key, images, masks, bytes=volumes.pairs.disk_bytes(images), flags=tuple(flags), fault=fault)
