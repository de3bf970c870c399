"""Writes a synthetic MSD Task06_Lung: the real ids in the real order of dataset.json, and the real one's quirks.

With ``faults``, cases that must be quarantined follow, one of each kind.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagemask import files, phantoms
from imagemask.volumes import nifti

FOLDER = "Task06_Lung"
ORDER = (
    *(53, 22, 41, 69, 14, 6, 65, 18, 96, 84, 86, 43, 20, 51, 79, 4, 75, 16, 71, 28, 55, 36, 47, 59, 61, 10, 73, 26, 38),
    *(45, 34, 49, 57, 80, 92, 15, 64, 31, 23, 5, 78, 66, 9, 74, 42, 33, 95, 37, 54, 29, 58, 25, 46, 70, 1, 62, 83, 81),
    *(93, 44, 27, 48, 3),
)
"""The training cases as the published dataset.json lists them."""
TESTS = (2, 7)
SPACING, ORIGIN = (0.785, 0.785, 1.245), (-180.0, -210.0, 40.0)
FAULTS = (
    "truncated_gzip",
    "empty_file",
    "shape_mismatch",
    "grid_mismatch",
    "nan_voxels",
    "missing_image",
    "missing_label",
    "listed_missing",
)
"""What can be wrong with a case: the code under which it is quarantined. Each is written once with ``faults``."""
_MORE_SLICES = (0, 3, -2, 5, -4, 1, 4, -1, 2, -3)
_FAULTY_SLICES = 12


@dataclass(frozen=True, slots=True)
class _Quirk:
    """What is unusual in one healthy case: its axes, name, stored numbers, label type, or how little is outlined."""

    codes: str = "LAS"
    suffix: str = ".nii.gz"
    scaled: bool = False
    float_label: bool = False
    planes: int | None = None


_QUIRKS = (
    _Quirk(),
    _Quirk(codes="RAS"),
    _Quirk(float_label=True),
    _Quirk(planes=2),
    _Quirk(suffix=".nii", scaled=True),
    _Quirk(codes="PSR"),
)


def write(raw: Path, *, patients: int, size: int, slices: int, seed: int, faults: bool) -> None:
    """Write the source below ``raw``: ``patients`` cases of about ``slices`` slices of ``size`` x ``size`` pixels.

    Raises UsageError for a folder that is not empty, or numbers out of range.
    """
    phantoms.begin(raw, patients=patients, size=size, slices=slices)
    root = raw / FOLDER
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        files.make_folder(root / folder)
    numbers = _numbers(patients + len(FAULTS))
    healthy, broken = numbers[:patients], dict(zip(numbers[patients:], FAULTS, strict=True)) if faults else {}
    for position, number in enumerate(healthy):
        quirk = _QUIRKS[position] if position < len(_QUIRKS) else _Quirk()
        planes = max(phantoms.FEWEST_SLICES, slices + _MORE_SLICES[position % len(_MORE_SLICES)])
        _write_case(root, number, quirk, shape=(planes, size, size), seed=seed)
    for number, code in broken.items():
        _write_faulty(root, number, code, shape=(min(slices, _FAULTY_SLICES), size, size), seed=seed)
    for number in TESTS:
        _write_test(root, number, shape=(phantoms.FEWEST_SLICES, size, size), seed=seed)
    _write_list(root, [*healthy, *broken])
    for path in files.walk(root).files:
        path.with_name(f"._{path.name}").write_bytes(phantoms.apple_double())
    ids = [_id(number) for number in healthy]
    marks = {_id(number): code for number, code in broken.items()}
    phantoms.finish(raw, "lung-tumor", ids=ids, sets=(patients, patients), faults=marks)


def _numbers(count: int) -> list[int]:
    """Case numbers: the real ones in the real order, then those past the last."""
    return [*ORDER, *range(max(ORDER) + 1, max(ORDER) + 1 + count)][:count]


def _id(number: int) -> str:
    return f"lung_{number:03d}"


def _write_case(root: Path, number: int, quirk: _Quirk, *, shape: tuple[int, int, int], seed: int) -> None:
    body = phantoms.chest(shape, seed=(seed, number), planes=quirk.planes)
    image, label = phantoms.volume(body, quirk.codes)
    affine = phantoms.affine_of(shape, quirk.codes, SPACING, ORIGIN)
    name = _id(number) + quirk.suffix
    stored: dict[str, Any] = {"slope": 0.5, "inter": -1024.0} if quirk.scaled else {}
    if quirk.scaled:
        image = (image + 1024) * 2
    nifti.write_nifti(root / "imagesTr" / name, image, affine, gzip=name.endswith(".gz"), **stored)
    outline = label.astype(np.float32) if quirk.float_label else label
    nifti.write_nifti(root / "labelsTr" / name, outline, affine, gzip=name.endswith(".gz"))


def _write_test(root: Path, number: int, *, shape: tuple[int, int, int], seed: int) -> None:
    """A case of imagesTs: it has no label, and no generator reads it."""
    image, _ = phantoms.volume(phantoms.chest(shape, seed=(seed, number)), "LAS")
    affine = phantoms.affine_of(shape, "LAS", SPACING, ORIGIN)
    nifti.write_nifti(root / "imagesTs" / f"{_id(number)}.nii.gz", image, affine)


def _write_list(root: Path, numbers: list[int]) -> None:
    """dataset.json with the published one's fields, spelling and order."""
    names = [f"{_id(number)}.nii.gz" for number in numbers]
    content = {
        "name": "Lung",
        "description": "Lung and cancer segmentation",
        "reference": "The Cancer Imaging Archive",
        "licence": "CC-BY-SA 4.0",
        "release": "1.0 04/05/2018",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "cancer"},
        "numTraining": len(names),
        "numTest": len(TESTS),
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": [f"./imagesTs/{_id(number)}.nii.gz" for number in TESTS],
    }
    files.write_atomic(root / "dataset.json", json.dumps(content, indent=4).encode("utf-8"))


def _write_faulty(root: Path, number: int, code: str, *, shape: tuple[int, int, int], seed: int) -> None:
    """A case that must be quarantined under ``code``."""
    image, label = phantoms.volume(phantoms.chest(shape, seed=(seed, number)), "LAS")
    affine = phantoms.affine_of(shape, "LAS", SPACING, ORIGIN)
    label_affine = affine
    if code == "shape_mismatch":
        label = label[:, :, 1:]
    elif code == "grid_mismatch":
        label_affine = affine @ np.diag([1.0, 1.0, 1.5, 1.0])
    elif code == "nan_voxels":
        image = np.where(image > 1000, np.nan, image).astype(np.float32)
    image_path, label_path = (root / folder / f"{_id(number)}.nii.gz" for folder in ("imagesTr", "labelsTr"))
    nifti.write_nifti(image_path, image, affine)
    nifti.write_nifti(label_path, label, label_affine)
    if code == "truncated_gzip":
        image_path.write_bytes(image_path.read_bytes()[: image_path.stat().st_size * 6 // 10])
    elif code == "empty_file":
        image_path.write_bytes(b"")
    if code in ("missing_image", "listed_missing"):
        image_path.unlink()
    if code in ("missing_label", "listed_missing"):
        label_path.unlink()
