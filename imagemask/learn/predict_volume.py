"""A volume, slice by slice: read upright as a build reads it, predicted, and written on the grid that it came from.

Of the slices only labels are kept, a byte a voxel; probabilities (float32) too where they are asked for.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imagemask import files, images
from imagemask.errors import CaseError
from imagemask.learn import infer
from imagemask.learn.inputs import Input
from imagemask.learn.views import Bytes, Steps, View
from imagemask.types import Deferred
from imagemask.volumes import dicom, geometry, nifti, pairs

if TYPE_CHECKING:
    from imagemask.learn.infer import Probabilities

Slot = tuple[int, Bytes]
"""The number of a slice, and its picture."""
Through = Callable[[Iterable[tuple[Slot, View]]], "Iterator[tuple[Slot, Probabilities]]"]

SHOWN, COLUMNS, SIDE = 12, 4, 256
"""Slices of a contact sheet, how many in a row, and their size in pixels."""


@dataclass(frozen=True)
class Scan:
    """An image volume that was opened: its grid, how its slices lie upright, and the slices, in order, in source units.

    ``like`` is what its labels are written like; ``flags`` is what was noted, all of it once the last slice was read.
    """

    grid: geometry.Grid
    frame: geometry.Frame
    slices: Iterator[NDArray[Any] | Deferred]
    like: nifti.NiftiFile | geometry.Grid
    flags: Sequence[str]

    @property
    def millilitres(self) -> float:
        """The volume of a voxel."""
        return float(abs(np.linalg.det(self.grid.affine[:3, :3]))) / 1000

    @property
    def count(self) -> int:
        """How many slices there are."""
        return self.grid.shape[self.frame.axes[0]]


@dataclass
class Sheet:
    """The slices with the largest predicted area; where nothing was predicted, slices that are evenly spaced."""

    total: int
    _best: list[tuple[int, bool, int, images.Tile]] = field(default_factory=list)

    def add(self, index: int, picture: Bytes, labels: Bytes) -> None:
        """Look at a slice: HxWxC, and its class ids, HxW."""
        area = int(np.count_nonzero(labels))
        spaced = index * SHOWN // self.total != (index - 1) * SHOWN // self.total
        rank = (area, spaced, -index)
        if len(self._best) == SHOWN and rank < self._best[0][:3]:
            return
        plain = picture[..., 0] if picture.shape[2] == 1 else picture
        entry = (*rank, images.Tile(plain.copy(), labels.copy(), f"slice {index}: {area} px"))
        (heapq.heappush if len(self._best) < SHOWN else heapq.heappushpop)(self._best, entry)

    def png(self) -> bytes:
        """The contact sheet, in the order of the slices."""
        tiles = [tile for *_, tile in sorted(self._best, key=lambda entry: -entry[2])]
        sheet = images.contact_sheet(tiles, columns=min(COLUMNS, len(tiles)), side=SIDE)
        return images.encode_png(sheet, level=images.IMAGE_LEVEL)


@dataclass(frozen=True)
class Places:
    """Where the outputs of a volume go; None for probabilities that nobody asked for."""

    mask: Path
    overlay: Path
    probabilities: Path | None


def open_scan(given: Input, recipe_options: dict[str, Any]) -> Scan:
    """Open a NIfTI volume or a DICOM series, as a build with ``recipe_options`` does.

    They may say how one lies whose header does not, and what to put for voxels that are no number.

    Raises CaseError for what cannot be read, and for a scan that is not near-axial, as a build does.
    """
    if given.kind == "nifti":
        assume = recipe_options.get("assume_orientation")
        file = nifti.open_nifti(given.path, assume=assume if isinstance(assume, str) and assume != "none" else None)
        with pairs.blaming(given.path):
            frame = geometry.upright(file.grid)
        flags, fill = list(file.flags), recipe_options.get("nan_fill")
        planes = _filled(nifti.planes(file, frame, finite=fill is None), fill, flags)
        return Scan(file.grid, frame, planes, file, flags)
    stack = dicom.open_stack(given.files)
    with pairs.blaming(given.path):
        frame = geometry.upright(stack.grid)
    slices = [dicom.upright_image(image, frame) for image in stack.images]
    return Scan(stack.grid, frame, iter(slices), stack.grid, stack.flags)


def _filled(planes: Iterator[NDArray[Any]], fill: float | None, flags: list[str]) -> Iterator[NDArray[Any]]:
    """``planes`` with ``fill`` for what is NaN or infinite; where something is, ``flags`` get one more."""
    for stored in planes:
        plane = nifti.with_finite(stored, fill)
        flags += ["nan_filled"] if plane is not stored else []
        yield plane


def predict_volume(
    scan: Scan, steps: Steps, through: Through, *, threshold: float, places: Places, step: Callable[[], None]
) -> list[int]:
    """Predict ``scan`` and write what was found; the voxels of each class, by id from 1.

    Labels are class ids, on the scan's own grid. ``through`` is the model, as ``views.predicted`` asks it; ``step`` is
    called after each slice. Nothing is written before the last slice was read, and the labels come last. Raises
    CaseError for voxels that cannot be read, InputError where an output cannot be written.
    """
    labels = np.zeros(scan.grid.shape, np.uint8)
    upright, sheet = scan.frame.upright(labels), Sheet(scan.count)
    kept: list[NDArray[np.float32]] = []
    for (index, picture), found in through(_views(scan, steps)):
        upright[index] = infer.decide(found, threshold)
        sheet.add(index, picture, upright[index])
        if places.probabilities is not None:
            _keep(found, index, kept, scan)
        step()
    if places.probabilities is not None:
        _write(nifti.write_values, places.probabilities, np.stack(kept, -1) if len(kept) > 1 else kept[0], scan)
    files.write_atomic(places.overlay, sheet.png())
    _write(nifti.write_labels, places.mask, labels, scan)
    counts: list[int] = np.bincount(labels.ravel(), minlength=len(steps.record.labels) + 1)[1:].tolist()
    return counts


def _keep(found: Probabilities, index: int, kept: list[NDArray[np.float32]], scan: Scan) -> None:
    """Put the probabilities of a slice into a volume a channel; of one class, into one, the foreground's."""
    channels = np.moveaxis(found, -1, 0) if found.shape[-1] > 2 else infer.foreground(found)[None]
    if not kept:
        kept += [np.zeros(scan.grid.shape, np.float32) for _ in channels]
    for volume, channel in zip(kept, channels, strict=True):
        scan.frame.upright(volume)[index] = channel


def _views(scan: Scan, steps: Steps) -> Iterator[tuple[Slot, View]]:
    for index, plane in enumerate(scan.slices):
        picture = steps.picture(plane, index)
        yield (index, picture), steps.view(picture)


def _write(writer: Callable[..., None], path: Path, array: NDArray[Any], scan: Scan) -> None:
    try:
        writer(path, array, like=scan.like)
    except OSError as error:
        raise files.output_error(path, error) from error
    except CaseError as error:  # the input vanished, or changed, while it was predicted
        error.remedy = "Run again when nothing writes to it"
        raise
