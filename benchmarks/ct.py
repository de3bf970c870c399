"""The cases that the volume benchmarks work on: synthetic CT at real size, with noise, so that gzip works hard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imagemask import phantoms
from imagemask.volumes import dicom, nifti

SIDE = 512
_FROM_BEHIND = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


@dataclass(frozen=True)
class Scene:
    """One source of one case: ``outlined`` of its ``slices`` have foreground; ``axes`` as the file stores them."""

    source: str
    outlined: int
    slices: int = 240
    axes: str = "LAS"

    @property
    def name(self) -> str:
        """As in the table."""
        order = "" if self.axes == "LAS" else f", stored {self.axes}"
        return f"{self.source}, {self.outlined} of {self.slices} slices{order}"

    @property
    def mib(self) -> float:
        """Image (16 bits a voxel) and label (8 bits) without compression."""
        return 3 * SIDE * SIDE * self.slices / (1 << 20)

    def write(self, raw: Path) -> None:
        """Write the source below ``raw``."""
        WRITERS[self.source](self, raw)


def lung(scene: Scene, raw: Path, number: int = 1) -> None:
    """A case of Task06_Lung: a volume and its label."""
    body = phantoms.chest((scene.slices, SIDE, SIDE), seed=(1, number), planes=scene.outlined)
    affine = phantoms.affine_of(body.shape, scene.axes, (0.785, 0.785, 1.245))
    for folder, array in zip(("imagesTr", "labelsTr"), phantoms.volume(body, scene.axes), strict=True):
        (raw / folder).mkdir(parents=True, exist_ok=True)
        nifti.write_nifti(raw / folder / f"lung_{number:03d}.nii.gz", array, affine)


def lungs(raw: Path, *, cases: int, scene: Scene, bodies: int = 3) -> None:
    """``cases`` cases that are ``bodies`` different ones over and over, under other names."""
    for number in range(1, cases + 1):
        if number <= bodies:
            lung(scene, raw, number)
            continue
        for folder in ("imagesTr", "labelsTr"):
            first = raw / folder / f"lung_{(number - 1) % bodies + 1:03d}.nii.gz"
            (raw / folder / f"lung_{number:03d}.nii.gz").hardlink_to(first)


def pancreas(scene: Scene, raw: Path) -> None:
    """A patient of Pancreas-CT: a file a slice, from head to feet, each lying on its face; a label as published."""
    body = phantoms.abdomen((scene.slices, SIDE, SIDE), seed=(1, 1), planes=scene.outlined)
    volume, label = phantoms.volume(body, "LAI")
    uid = f"{dicom.write.UID_ROOT}.9.1"
    series = raw / "Pancreas-CT" / "PANCREAS_0001" / "11-24-2015-PANCREAS0001-Pancreas-18957" / "Pancreas-99667"
    series.mkdir(parents=True)
    for index in range(scene.slices):
        header = dicom.DicomSlice((-180.0, 180.0, -float(index)), index + 1, series=uid, orientation=_FROM_BEHIND)
        dicom.write_dicom(series / f"1-{index + 1:03d}.dcm", volume[:, :, index].T, header)
    labels = raw / "TCIA_pancreas_labels-02-05-2017"
    labels.mkdir()
    affine = phantoms.affine_of(body.shape, "LAI", (1.0, 1.0, 1.0))
    nifti.write_nifti(labels / "label0001.nii.gz", label, affine)


WRITERS: dict[str, Callable[[Scene, Path], None]] = {"lung-tumor": lung, "pancreas": pancreas}
