"""MSD Task06_Lung: CT volumes in NIfTI with the tumour outlined.

The layout is ``imagesTr/lung_001.nii.gz`` beside ``labelsTr/lung_001.nii.gz``, with a ``dataset.json`` that lists them
in no order. Image and label are paired by the number in the name and never by position; ``imagesTs`` has no labels and
is not read; what an operating system left behind (``._lung_001.nii.gz``) is passed over. ``.nii`` will do as well.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from imagemask import decathlon, files, names, sources, types, volumes
from imagemask.errors import CaseError
from imagemask.types import Case, Slice, Source

SOURCE = "lung-tumor"
ACCEPTED = "a folder with imagesTr/ and labelsTr/, at most two levels down (Task06_Lung/imagesTr/lung_001.nii.gz)"
COMPLETE = "Complete the copy (imagemask check lung-tumor lists what is missing), or leave this case out"

_VOLUME = re.compile(r"(?:lung[_-]?0*(\d{1,6})(?:_0000)?|(.+?))\.nii(?:\.gz)?", re.IGNORECASE | re.DOTALL)


class Options(types.Options):
    """Options of ``imagemask build lung-tumor``."""

    assume_orientation: volumes.Axes = Field("none", description="axes where a header lacks them; none: quarantine")
    label_value: int = Field(1, ge=1, le=65535, description="the voxel value that means tumour in this copy's labels")
    nan_fill: float | None = Field(
        None, ge=-32768, le=32767, description="HU for voxels that are NaN or infinite; without it: quarantine"
    )


def describe(source: Source, raw: Path, options: Options) -> Source:
    """``source`` with the value that means tumour in this copy."""
    return sources.relabelled(source, options.label_value, place=str(raw))


def discover(raw: Path, options: Options) -> list[Case]:
    """One case for every id in imagesTr, labelsTr and the training list of dataset.json, sorted by id.

    Raises InputError where ``raw`` is not this source, or dataset.json leads out of it or has a case in both its lists.
    """
    root = files.source_root(raw, ("imagesTr", "labelsTr"), accepted=ACCEPTED)
    images, labels = _volumes(root / "imagesTr"), _volumes(root / "labelsTr")
    listed, note = decathlon.training_list(root / "dataset.json", _id)
    cases = [
        Case(
            id=key,
            patient=key,
            images=images.get(key, ()),
            masks=labels.get(key, ()),
            bytes=volumes.pairs.volume_bytes(images.get(key, ()), assume=options.assume_orientation),
            flags=(note,) if note else {0: ("not_listed",), 1: ()}.get(listed[key], ("listed_twice",)),
        )
        for key in sorted({*images, *labels, *listed})
    ]
    if not cases:
        raise files.unknown_layout(root, accepted=ACCEPTED)
    return cases


def read(case: Case, options: Options) -> Iterator[Slice]:
    """The axial slices of one volume in stored order, upright, in HU.

    Raises CaseError where image or label is missing or damaged, or where they do not lie on one grid.
    """
    _require_both(case)
    image = volumes.pairs.open_twins(case.images, assume=options.assume_orientation)
    label = volumes.pairs.open_twins(case.masks, assume=options.assume_orientation)
    with volumes.pairs.blaming(image.path):
        frame = volumes.geometry.upright(image.grid)
    with volumes.pairs.blaming(label.path):
        assumed = "orientation_assumed" in (*image.flags, *label.flags)  # and then the origin is unknown
        relation = volumes.geometry.relate(image.grid, label.grid, origin_matters=not assumed)
    masks = frame.upright(relation.onto_image(volumes.nifti.read_labels(label, (options.label_value,))))
    spacing = volumes.geometry.in_plane_spacing(image.grid, frame)
    flags = (*image.flags, *label.flags, *relation.flags, *volumes.content.emptiness(masks))
    for index, stored in enumerate(volumes.nifti.planes(image, frame, finite=options.nan_fill is None)):
        plane = volumes.nifti.with_finite(stored, options.nan_fill)
        noted = (*flags, *volumes.content.doubts(stored), *(("nan_filled",) if plane is not stored else ()))
        yield Slice(index, plane, masks[index], spacing, tuple(dict.fromkeys(noted)))


def phantom(raw: Path, *, patients: int, size: int, slices: int, seed: int, faults: bool) -> None:
    """Write a synthetic Task06_Lung below ``raw``, as ``imagemask phantom lung-tumor`` does."""
    from imagemask.generators.phantoms import lung_tumor

    lung_tumor.write(raw, patients=patients, size=size, slices=slices, seed=seed, faults=faults)


def _require_both(case: Case) -> None:
    if case.images and case.masks:
        return
    if not case.images and not case.masks:
        reason, file = f"dataset.json lists {case.id}, which is not there", Path("imagesTr", f"{case.id}.nii.gz")
        raise CaseError("listed_missing", reason, file=file, remedy=COMPLETE)
    lacks, folder, other = ("label", "labelsTr", case.images) if case.images else ("image", "imagesTr", case.masks)
    missing = other[0].parents[1] / folder / other[0].name
    but = ", but a link that leads out of the source, and is not followed" if missing.is_symlink() else ""
    raise CaseError(f"missing_{lacks}", f"{case.id} has no {lacks}{but}", file=missing, remedy=COMPLETE)


def _volumes(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The files of each id below ``folder``: one, or ``.nii`` and ``.nii.gz`` twins."""
    found: dict[str, tuple[Path, ...]] = {}
    for path in files.walk(folder).files:
        if key := _id(path.name):
            found[key] = (*found.get(key, ()), path)
    return found


def _id(name: str) -> str:
    """``lung_001`` for ``lung_001.nii.gz``; for another NIfTI file its bare name; "" for anything else."""
    match = _VOLUME.fullmatch(name)
    if match is None:
        return ""
    number, other = match.groups()
    return f"lung_{int(number):03d}" if number else names.identifier((unicodedata.normalize("NFC", other),))
