"""How far two outlines lie apart: the 95% Hausdorff distance and the normalised surface Dice, in 2D and 3D.

An outline is cut into elements: one in every square (cube) between four (eight) neighbouring pixel centres, as long (as
large) as marching squares (cubes) draw it there. A distance is that from an element to the nearest one of the other
outline, and counts by the element's size. So neither the grid's direction nor unequal spacing shifts the result, as
counting boundary pixels does: a slanted outline has fewer pixels a millimetre than a level one, and a volume of thick
slices has most of its boundary pixels within slices.

The definition is that of DeepMind's surface-distance package (Nikolov et al., J Med Internet Res 2021, 23(7):e26151),
whose results these are; where a share of exactly 95%, or a distance of exactly the tolerance, hangs on rounding, it is
taken as reached here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

_SLACK = 1e-9
"""Rounding that a comparison forgives, as a share."""
_CROWDED = 0.25
"""With this share of a box full of elements (noise), a distance transform of the box is faster than a search tree."""

_SHAPES: dict[int, dict[int, tuple[tuple[float, ...], ...]]] = {
    2: {0b0001: ((1 / 2, 1 / 2),), 0b0011: ((1, 0),), 0b1001: ((1, 1),)},
    3: {
        0b00000001: ((1 / 8, 1 / 8, 1 / 8),),
        0b00000011: ((1 / 2, 1 / 2, 0),),
        0b00000110: ((1 / 4, 1 / 4, 1 / 4),),
        0b00000111: ((3 / 8, 3 / 8, 3 / 8), (1 / 2, 0, 0)),
        0b00001111: ((1, 0, 0),),
        0b00010110: ((3 / 8, 3 / 8, 3 / 8),),
        0b00010111: ((3 / 4, 3 / 4, 3 / 4),),
        0b00011000: ((1 / 4, 1 / 4, 1 / 4),),
        0b00011001: ((0, 1 / 2, 1 / 2), (1 / 8, 1 / 8, 1 / 8)),
        0b00011011: ((1 / 2, 1 / 2, 1 / 2), (0, 1 / 4, 1 / 4), (1 / 4, 0, 1 / 4)),
        0b00011110: ((1 / 2, 1 / 2, 1 / 2), (1 / 2, 0, 0)),
        0b00111100: ((1, 1, 0),),
        0b01101001: ((1 / 2, 1 / 2, 1 / 2),),
    },
}
"""By number of axes, every way (but for turning, mirroring and swapping inside and outside) in which corners can lie
inside: the corners as bits, the first (0, 0, 0), the last axis fastest; then the faces' normals, as long as the face is
large at a spacing of 1, absolute, those of one direction added up."""


@dataclass(frozen=True, slots=True)
class Outlines:
    """Two outlines: each element's distance to the other outline, and its size (mm or pixels, squared in 3D)."""

    from_prediction: NDArray[np.float64]
    predicted: NDArray[np.float64]
    from_truth: NDArray[np.float64]
    true: NDArray[np.float64]


def outlines(prediction: Mask, truth: Mask, spacing: Sequence[float]) -> Outlines:
    """The outlines of two masks of one shape, HxW or DxHxW; ``spacing`` is that of every axis.

    Raises ValueError for an empty mask, which has no outline.
    """
    box = _box(prediction | truth)
    codes = [_codes(mask[box]) for mask in (prediction, truth)]
    sizes = _sizes(spacing)
    on_prediction, on_truth = ((code > 0) & (code < len(sizes) - 1) for code in codes)
    if not on_prediction.any() or not on_truth.any():
        raise ValueError("an empty mask has no outline")
    return Outlines(
        from_prediction=_distances(on_prediction, on_truth, spacing),
        predicted=sizes[codes[0][on_prediction]],
        from_truth=_distances(on_truth, on_prediction, spacing),
        true=sizes[codes[1][on_truth]],
    )


def hausdorff(found: Outlines, share: float = 0.95) -> float:
    """The distance within which ``share`` of an outline's size lies of the other; the larger of both directions."""
    return max(
        _within(found.from_prediction, found.predicted, share),
        _within(found.from_truth, found.true, share),
    )


def surface_dice(found: Outlines, tolerance: float) -> float:
    """The share of both outlines' size that lies within ``tolerance`` (included) of the other outline."""
    reach = tolerance * (1 + _SLACK)
    near = found.predicted[found.from_prediction <= reach].sum() + found.true[found.from_truth <= reach].sum()
    return float(near / (found.predicted.sum() + found.true.sum()))


def _within(distances: NDArray[np.float64], sizes: NDArray[np.float64], share: float) -> float:
    order = np.argsort(distances, kind="stable")
    reached = np.cumsum(sizes[order])
    place = int(np.searchsorted(reached, share * reached[-1] * (1 - _SLACK)))
    return float(distances[order[min(place, len(order) - 1)]])


def _box(mask: Mask) -> tuple[slice, ...]:
    """The smallest part of ``mask`` that holds all of it."""
    axes = range(mask.ndim)
    held = [np.flatnonzero(mask.any(axis=tuple(other for other in axes if other != axis))) for axis in axes]
    return tuple(slice(int(one[0]), int(one[-1]) + 1) if len(one) else slice(0) for one in held)


def _codes(mask: Mask) -> NDArray[np.uint8]:
    """Which corners of every element lie inside, as bits; one element more than pixels along every axis."""
    padded = np.pad(mask, 1).astype(np.uint8)
    codes = np.zeros([side - 1 for side in padded.shape], np.uint8)
    for bit, corner in enumerate(product((0, 1), repeat=mask.ndim)):
        part = tuple(slice(one, one + side) for one, side in zip(corner, codes.shape, strict=True))
        codes |= padded[part] << bit
    return codes


def _distances(here: Mask, there: Mask, spacing: Sequence[float]) -> NDArray[np.float64]:
    """From each element of one outline to the nearest one of the other; both are where the elements lie."""
    from scipy.ndimage import distance_transform_edt
    from scipy.spatial import KDTree

    found: NDArray[np.float64]
    if np.count_nonzero(here) + np.count_nonzero(there) > here.size * _CROWDED:
        found = distance_transform_edt(~there, sampling=spacing)[here]
    else:
        places = [np.argwhere(mask) * np.asarray(spacing) for mask in (here, there)]
        found = KDTree(places[1]).query(places[0])[0]
    return found


def _sizes(spacing: Sequence[float]) -> NDArray[np.float64]:
    """The size of an element by the code of its corners."""
    across = np.prod(spacing) / np.asarray(spacing)
    sizes: NDArray[np.float64] = np.linalg.norm(_normals(len(spacing)) * across, axis=-1).sum(axis=-1)
    return sizes


@cache
def _normals(axes: int) -> NDArray[np.float64]:
    """Codes x 3 faces x axes: ``_SHAPES``, turned and mirrored every way, and with inside and outside swapped."""
    corners = 2**axes
    found = np.zeros((2**corners, 3, axes))
    weights = (1 << np.arange(corners)).reshape((2,) * axes)
    for code, faces in _SHAPES[axes].items():
        normals = np.array(faces, float)
        for turn, mirror in product(permutations(range(axes)), product((1, -1), repeat=axes)):
            inside = (weights & code > 0).transpose(turn)[tuple(slice(None, None, way) for way in mirror)]
            turned = int(weights[inside].sum())
            found[[turned, len(found) - 1 - turned], : len(normals)] = normals[:, turn]
    return found
