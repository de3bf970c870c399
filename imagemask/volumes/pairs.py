"""Image and label of one case: the file among twins, and whose fault it is where they do not fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from imagemask.errors import CaseError
from imagemask.volumes import Axes, geometry, nifti
from imagemask.volumes.geometry import Grid


def open_twins(paths: Sequence[Path], *, assume: Axes = "none") -> nifti.NiftiFile:
    """Open the first of ``paths``; the others must hold the same voxels at the same place.

    Twins (``.nii`` beside ``.nii.gz``) are noted with the flag ``twin_dropped``. Raises CaseError
    ``twins_differ``, and whatever ``open_nifti`` does.
    """
    first = nifti.open_nifti(paths[0], assume=_axcodes(assume))
    for path in paths[1:]:
        if not nifti.same_content(first, nifti.open_nifti(path, assume=_axcodes(assume))):
            raise CaseError(
                "twins_differ",
                f"{paths[0].name} and {path.name} should be one volume, but they differ",
                file=path,
                remedy="Find out which is right, and remove the other",
            )
    return replace(first, flags=(*first.flags, "twin_dropped")) if len(paths) > 1 else first


def volume_bytes(paths: Sequence[Path], *, assume: Axes = "none") -> int:
    """The uncompressed size of a volume, as its header tells it; the file's size where that is damaged; 0 for none."""
    if not paths:
        return 0
    try:
        return nifti.open_nifti(paths[0], assume=_axcodes(assume)).nbytes
    except CaseError:  # reading it will say so
        return disk_bytes(paths[:1])


def disk_bytes(paths: Iterable[Path]) -> int:
    """The sum of the sizes of files; one that the system does not tell counts 0, for reading it will say so."""
    total = 0
    for path in paths:
        with suppress(OSError):
            total += path.stat().st_size
    return total


def depth_of(paths: Sequence[Path], *, assume: Axes = "none") -> int:
    """How many axial slices a label has, by its header; 0 for none, or a damaged one."""
    if not paths:
        return 0
    try:
        grid = nifti.open_nifti(paths[0], assume=_axcodes(assume)).grid
        return grid.shape[geometry.upright(grid).axes[0]]
    except CaseError:  # reading it will say so
        return 0


def relate_to_series(
    series: Grid, label: nifti.NiftiFile, *, assumed: Axes, uneven: bool
) -> tuple[geometry.Relation, tuple[str, ...]]:
    """How a label lies on a stack of slices (its third axis) whose origin it may not share, and what to note.

    A label whose header does not say how it lies has the ``assumed`` axes and the series' voxel size
    (``orientation_default``). Where slices are spaced unevenly only their number is compared. Raises CaseError
    ``label_depth``, and whatever ``relate`` does.
    """
    grid, notes = label.grid, label.flags
    if "orientation_assumed" in notes:
        grid = geometry.like_image(series, grid.shape, assumed)
        notes = tuple("orientation_default" if note == "orientation_assumed" else note for note in notes)
    along = int(np.abs(series.directions[:, 2] @ grid.directions).argmax())
    if grid.shape[along] != series.shape[2]:
        reason = f"the series has {series.shape[2]} slices, its label {grid.shape[along]} (an incomplete copy?)"
        raise CaseError("label_depth", reason, remedy="Download the series again, and the label if that does not help")
    if uneven:
        step = np.diag([1.0, 1.0, grid.spacing[along] / series.spacing[2], 1.0])
        series = Grid(series.shape, series.affine @ step)
    return geometry.relate(series, grid, origin_matters=False), notes


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Give a CaseError that names no file (those of ``geometry`` know none) the file that it is about."""
    try:
        yield
    except CaseError as error:
        error.file = error.file or path
        raise


def _axcodes(assume: Axes) -> str | None:
    return None if assume == "none" else assume
