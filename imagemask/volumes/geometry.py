"""Where the voxels of a volume lie in the patient, and what follows: the upright view, and a label on its image's grid.

World coordinates are RAS millimetres, as in NIfTI: x grows towards the patient's right, y towards anterior, z towards
superior. Nothing is resampled here: an array is turned by permuting and flipping axes, which makes views, and what
would need more than that is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imagemask.errors import CaseError, UsageError

MAX_OBLIQUE_DEGREES = 15.0
"""A scan tilted by more than this is not shown as if it were upright."""
EQUAL_MATRIX = 1e-5
EQUAL_ORIGIN = 1e-3
"""Below these (relative to the voxel size, and in voxels) two affines differ by float32 rounding only."""
ROUNDED_MATRIX = 1e-3
ROUNDED_ORIGIN = 0.1
"""Below these they describe one grid, written with fewer digits; raw-formats.md, L9."""

UNKNOWN_AXES = "Where you know how the patient lies, say so: the orientation option of imagemask build NAME --help"

_SINGULAR = 1e-3
_WORLD = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
_REMEDY = "Label and image must lie on one grid: nothing is resampled. Look for the label that was drawn on this image"


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A voxel grid in space: ``shape`` (i, j, k), and the 4x4 ``affine`` from voxel index to RAS millimetres."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Voxel size along i, j, k in millimetres."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0), dtype=np.float64)

    @property
    def directions(self) -> NDArray[np.float64]:
        """The 3x3 unit vectors (as columns) along which i, j and k increase."""
        return np.asarray(self.affine[:3, :3] / self.spacing, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Frame:
    """How a stored volume is turned upright: patient's left on the viewer's right, anterior up.

    ``axes`` are the grid axes of (slice, row, column); ``flips`` say whether (rows, columns) run against their axis.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool]

    def upright(self, volume: NDArray[Any]) -> NDArray[Any]:
        """A view of ``volume`` (i, j, k) with shape (slices, rows, columns)."""
        return self._flipped(volume.transpose(self.axes))

    def upright_plane(self, plane: NDArray[Any]) -> NDArray[Any]:
        """A view of one plane, whose two axes are the grid's two other than the slice axis, in the grid's order."""
        _, row, column = self.axes
        return self._flipped(plane if row < column else plane.T)

    def _flipped(self, array: NDArray[Any]) -> NDArray[Any]:
        rows, columns = (slice(None, None, -1 if flip else None) for flip in self.flips)
        return array[..., rows, columns]


@dataclass(frozen=True, slots=True)
class Relation:
    """How a label's array is put on its image's grid.

    ``axes`` are the label's axes in the image's order, ``flips`` the image's axes along which it runs backwards,
    ``flags`` what is worth recording: ``label_reoriented``, ``grid_rounded``, ``origin_differs``.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    flags: tuple[str, ...] = ()

    def onto_image(self, label_array: NDArray[Any]) -> NDArray[Any]:
        """A view of ``label_array`` whose index is the image's."""
        backwards = tuple(slice(None, None, -1 if flip else None) for flip in self.flips)
        return label_array.transpose(self.axes)[backwards]


def flaw(affine: NDArray[np.float64]) -> str:
    """Why ``affine`` cannot place a volume in space, in words; empty where it can."""
    if not np.isfinite(affine).all():
        return "the affine holds NaN or infinity"
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        units = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(units).all() or abs(np.linalg.det(units)) < _SINGULAR:
        return "the affine is singular"
    return ""


def upright(grid: Grid) -> Frame:
    """The frame in which slices run along the body's axis in stored order, rows to posterior, columns to patient left.

    Raises CaseError ``bad_affine`` for an affine that places nothing, ``oblique`` where a grid axis leaves its closest
    body axis by more than MAX_OBLIQUE_DEGREES.
    """
    _require_usable(grid)
    directions = grid.directions
    axes = _best_permutation(np.abs(directions))
    along = np.array([directions[world, axis] for world, axis in enumerate(axes)])
    tilt = float(np.degrees(np.arccos(np.clip(np.abs(along), 0, 1))).max())
    if tilt > MAX_OBLIQUE_DEGREES + 1e-6:
        raise CaseError(
            "oblique",
            f"the scan is tilted by {tilt:.1f} degrees against the body's axes (at most {MAX_OBLIQUE_DEGREES:g})",
            remedy="Resample the image and its label to an axial grid first",
        )
    left_right, front_back, up_down = axes
    return Frame(axes=(up_down, front_back, left_right), flips=(bool(along[1] > 0), bool(along[0] > 0)))


def in_plane_spacing(grid: Grid, frame: Frame) -> tuple[float, float]:
    """The pixel size (y, x) of the upright slices in millimetres."""
    spacing = grid.spacing
    return float(spacing[frame.axes[1]]), float(spacing[frame.axes[2]])


def relate(image: Grid, label: Grid, *, origin_matters: bool = True) -> Relation:
    """How ``label`` lies on the grid of ``image``; the affines decide the axes, never the shapes.

    Without ``origin_matters`` a different origin is only flagged (for sources whose label origins are not reliable).
    Raises CaseError ``bad_affine``, ``shape_mismatch`` or ``grid_mismatch``, with the numbers.
    """
    _require_usable(image)
    _require_usable(label)
    cosines = image.directions.T @ label.directions
    axes = _best_permutation(np.abs(cosines))
    flips = tuple(bool(cosines[axis, other] < 0) for axis, other in enumerate(axes))
    relation = Relation(axes, (flips[0], flips[1], flips[2]))
    turned = _turned(label, relation)
    if turned.shape != image.shape:
        raise _shape_mismatch(image, label, turned)
    flags = ["label_reoriented"] if axes != (0, 1, 2) or any(flips) else []
    return Relation(axes, relation.flips, (*flags, *_compare(image, turned, origin_matters=origin_matters)))


def axes_grid(shape: tuple[int, int, int], axcodes: str, spacing: tuple[float, float, float]) -> Grid:
    """A grid made of declared axes: ``axcodes`` say where i, j, k increase to (``LAS``), ``spacing`` (i, j, k) in mm.

    The origin is zero: it is unknown. Raises UsageError where ``axcodes`` are not three different axes.
    """
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for column, (axis, sign) in enumerate(_body_axes(axcodes)):
        affine[axis, column] = sign * spacing[column]
    return Grid(shape, affine)


def like_image(image: Grid, shape: tuple[int, int, int], axcodes: str) -> Grid:
    """The grid of a label that says nothing usable about itself, if its axes are ``axcodes`` and it covers ``image``.

    It has the image's own directions, voxel sizes and corner, so that ``relate`` finds but axes and flips between them.
    Raises UsageError where ``axcodes`` are not three different axes.
    """
    closest = _best_permutation(np.abs(image.directions))
    affine = image.affine.copy()
    for column, (world, sign) in enumerate(_body_axes(axcodes)):
        step = image.affine[:3, closest[world]]
        backwards = step[world] * sign < 0
        affine[:3, column] = -step if backwards else step
        if backwards:
            affine[:3, 3] += step * (image.shape[closest[world]] - 1)
    return Grid(shape, affine)


def _body_axes(axcodes: str) -> list[tuple[int, int]]:
    axes = [_WORLD.get(code, (-1, 0)) for code in axcodes.upper()]
    if sorted(axis for axis, _ in axes) != [0, 1, 2]:
        raise UsageError(
            f"{axcodes!r} does not name three axes", remedy="Give three letters of RL, AP and SI, as in LAS"
        )
    return axes


def _require_usable(grid: Grid) -> None:
    if reason := flaw(grid.affine):
        raise CaseError("bad_affine", reason, remedy=UNKNOWN_AXES)


def _best_permutation(weights: NDArray[np.float64]) -> tuple[int, int, int]:
    """The column for each row so that no column serves twice and the sum of the weights is largest."""
    a, b, c = max(permutations(range(3)), key=lambda columns: sum(weights[row, columns[row]] for row in range(3)))
    return a, b, c


def _turned(label: Grid, relation: Relation) -> Grid:
    """The label's grid after ``onto_image``: shape and affine follow the array."""
    shape = tuple(label.shape[axis] for axis in relation.axes)
    affine = label.affine.copy()
    for axis, other in enumerate(relation.axes):
        step = label.affine[:3, other]
        affine[:3, axis] = -step if relation.flips[axis] else step
        if relation.flips[axis]:
            affine[:3, 3] += step * (shape[axis] - 1)
    return Grid((shape[0], shape[1], shape[2]), affine)


def _compare(image: Grid, label: Grid, *, origin_matters: bool) -> list[str]:
    """The flags of two grids with equal shapes and axes. Raises CaseError where they are not one grid."""
    matrix = float((np.abs(label.affine - image.affine)[:3, :3] / image.spacing).max())
    shift = label.affine[:3, 3] - image.affine[:3, 3]
    origin = float(np.abs(np.linalg.solve(image.affine[:3, :3], shift)).max())
    moved = origin > ROUNDED_ORIGIN
    if matrix > ROUNDED_MATRIX or (moved and origin_matters):
        raise _grid_mismatch(image, label, shift)
    flags = ["grid_rounded"] if matrix > EQUAL_MATRIX or (EQUAL_ORIGIN < origin <= ROUNDED_ORIGIN) else []
    return [*flags, "origin_differs"] if moved else flags


def _shape_mismatch(image: Grid, label: Grid, turned: Grid) -> CaseError:
    as_stored = f" (stored as {_by(label.shape)})" if turned.shape != label.shape else ""
    reason = f"image is {_by(image.shape)}, label is {_by(turned.shape)} along the same axes{as_stored}"
    return CaseError("shape_mismatch", reason, remedy=_REMEDY)


def _grid_mismatch(image: Grid, label: Grid, shift: NDArray[np.float64]) -> CaseError:
    cosines = np.clip(np.sum(image.directions * label.directions, axis=0), -1, 1)
    found = []
    if np.abs(label.spacing / image.spacing - 1).max() > ROUNDED_MATRIX / 2:
        found.append(
            f"voxels are {_numbers(image.spacing)} mm in the image and {_numbers(label.spacing)} mm in the label"
        )
    if (degrees := float(np.degrees(np.arccos(cosines)).max())) > 0.01:
        found.append(f"axes differ by {degrees:.2f} degrees")
    if (distance := float(np.linalg.norm(shift))) > 0:
        found.append(f"first voxels lie {distance:.4g} mm apart")
    return CaseError("grid_mismatch", "image and label lie on different grids: " + "; ".join(found), remedy=_REMEDY)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape)


def _numbers(values: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
