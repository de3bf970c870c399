"""Small CT series on disk, for the tests of the DICOM readers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from imagemask.volumes.dicom import DicomSlice, write_dicom

PANCREAS = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
"""Row 0 is posterior: every series of Pancreas-CT (raw-formats.md 2.3)."""
STANDARD = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
ROWS, COLUMNS = 9, 11
STEP = 2.5
EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"


def hu(number: int) -> np.ndarray:
    """The HU of a slice: every pixel of a series is different, and so is every corner."""
    return (np.arange(ROWS * COLUMNS, dtype=np.int16) + 100 * number - 1000).reshape(ROWS, COLUMNS)


def slice_at(number: int, **changes) -> DicomSlice:
    """The header of slice ``number``, counted from the top of the body down, as Pancreas-CT numbers them."""
    header = DicomSlice(position=(-100.0, 120.0, -STEP * number), instance=number + 1, spacing=(0.75, 0.5))
    return replace(header, thickness=STEP, **changes)


def write_series(folder: Path, numbers=range(5), *, skip=(), **changes) -> list[Path]:
    """One file for each slice, named so that no order by name is the right one."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in numbers:
        if number not in skip:
            path = folder / f"1-{number + 1}.dcm" if number % 2 else folder / f"0{9 - number}.dcm"
            write_dicom(path, hu(number), slice_at(number, **changes))
            paths.append(path)
    return paths
