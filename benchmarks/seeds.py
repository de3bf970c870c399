"""What the published generator scripts do to a CT volume, written anew from their description; no augmentation.

The algorithms are those of the lung and the pancreas generator that image/mask folders are made with today, with what
costs them time: all voxels become float64, every slice is turned, empty or not, and masks and images are two passes
that meet in the file system. Their printing is left out. These functions are peers to be timed and nothing else: what
is wrong with the pixels (no window, JPEG masks, no geometry) is wrong here too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def imports() -> None:
    """What the scripts import, and what their libraries would import late."""
    import cv2  # noqa: F401
    import nibabel  # noqa: F401
    from PIL import Image

    Image.init()


def lung(raw: Path, out: Path) -> None:
    """All masks of a case, then those of its images that have one."""
    import nibabel

    for kind in ("masks", "images"):
        (out / kind).mkdir(parents=True)
    volumes = (sorted((raw / folder).glob("lung*.nii.gz")) for folder in ("imagesTr", "labelsTr"))
    for number, (image, label) in enumerate(zip(*volumes, strict=True), start=10001):
        masks = nibabel.load(label).get_fdata()
        for index in range(masks.shape[2]):
            _lung_mask(masks[:, :, index], out / "masks" / f"{number}_{index}.jpg")
        del masks
        slices = nibabel.load(image).get_fdata()
        for index in range(slices.shape[2]):
            _lung_image(slices[:, :, index], out / "images" / f"{number}_{index}.jpg")


def _lung_mask(plane: Any, path: Path) -> None:
    import cv2

    turned = _turned(plane)
    if turned.any():
        cv2.imwrite(str(path), turned * 255)


def _lung_image(plane: Any, path: Path) -> None:
    import cv2

    turned = _turned(plane)
    if (path.parents[1] / "masks" / path.name).exists():
        cv2.imwrite(str(path), turned)


def _turned(plane: Any) -> Any:
    """A copy, turned by 90 degrees by interpolation."""
    import cv2
    import numpy as np

    copy = np.array(plane)
    height, width = copy.shape
    matrix = cv2.getRotationMatrix2D(center=(width / 2, height / 2), angle=90, scale=1)
    return cv2.warpAffine(src=copy, M=matrix, dsize=(width, height), borderValue=(0, 0, 0))


def pancreas(raw: Path, out: Path) -> None:
    """All masks of a patient, then those of the slices that have one, paired by their file's name."""
    for kind in ("masks", "images"):
        (out / kind).mkdir(parents=True)
    for folder in sorted((raw / "Pancreas-CT").iterdir()):
        (label,) = (raw / "TCIA_pancreas_labels-02-05-2017").glob(f"label{folder.name.split('_')[1]}.nii*")
        _pancreas_masks(label, folder.name, out / "masks")
        for path in folder.glob("*/*/*.dcm"):
            name = f"{folder.name}-{path.stem.replace('-', '')}.jpg"
            if (out / "masks" / name).exists():
                _pancreas_image(path, out / "images" / name)


def _pancreas_masks(label: Path, patient: str, folder: Path) -> None:
    import nibabel
    from PIL import Image, ImageOps

    masks = nibabel.load(label).get_fdata()
    for index in range(masks.shape[2]):
        plane = (masks[:, :, index] * 255.0).astype("uint8")
        if plane.any():
            turned = Image.fromarray(plane).convert("RGB").rotate(90)
            ImageOps.flip(turned).save(folder / f"{patient}-{1001 + index}.jpg")


def _pancreas_image(path: Path, target: Path) -> None:
    import pydicom
    from PIL import Image

    Image.fromarray(pydicom.dcmread(path).pixel_array).convert("RGB").save(target, "JPEG")
