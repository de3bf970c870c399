"""Whether a label lies on what it should: a check that headers cannot fool, on a few slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imagemask.errors import CaseError
from imagemask.types import Deferred

ENOUGH = 0.5
"""Above this share of its voxels in the right range, a label is not doubted."""
MUCH_BETTER = 0.3
"""A mirrored label must win by this share, or the image is just unusual."""
_SAMPLES = 5
_AXES = ("slices", "rows", "columns")

Images = Sequence[Deferred]


def sample(
    images: Images, masks: NDArray[Any], hounsfield: tuple[int, int], *, file: Path
) -> tuple[dict[int, NDArray[Any]], tuple[str, ...]]:
    """Decode a few outlined slices and look at what is outlined; they are returned, to be used and not decoded again.

    ``masks`` is (slices, rows, columns), ``hounsfield`` the range of what the label outlines. The flags are
    ``empty_label``, and ``label_off_range`` where less than half of it lies in that range. Raises CaseError
    ``orientation_suspect`` where it would if the label (``file``) were mirrored.
    """
    filled = np.flatnonzero(masks.any(axis=(1, 2)))
    if not filled.size:
        return {}, ("empty_label",)
    chosen = filled[np.unique(np.linspace(0, filled.size - 1, _SAMPLES).astype(int))]
    decoded = {int(index): np.asarray(images[index]) for index in chosen}
    share = _share(decoded, masks, hounsfield)
    if share >= ENOUGH:
        return decoded, ()
    best, axes = max((_mirrored(images, masks, chosen, hounsfield, flips), flips) for flips in _flips())
    if best >= share + MUCH_BETTER:
        low, high = hounsfield
        mirror = " and ".join(name for name, flip in zip(_AXES, axes, strict=True) if flip)
        raise CaseError(
            "orientation_suspect",
            f"{share:.0%} of the sampled label lies on {low} to {high} HU, {best:.0%} would with its {mirror} reversed",
            file=file,
            remedy="Look at the label over its image, and correct its header",
        )
    return decoded, ("label_off_range",)


def doubts(plane: NDArray[Any]) -> tuple[str, ...]:
    """``suspicious_intensity`` for a slice that never falls below 0 HU, as air does, or is flat."""
    # A sample clears nearly every slice; of both directions, it is as quick whichever way the slice lies in memory.
    return ("suspicious_intensity",) if _odd(plane[::8, ::8]) and _odd(plane) else ()


def _odd(seen: NDArray[Any]) -> bool:
    lowest = seen.min()
    return bool(lowest >= 0 or lowest == seen.max())


def _flips() -> list[tuple[bool, bool, bool]]:
    return [(z, y, x) for z, y, x in product((False, True), repeat=3) if z or y or x]


def _mirrored(
    images: Images,
    masks: NDArray[Any],
    chosen: NDArray[Any],
    hounsfield: tuple[int, int],
    flips: tuple[bool, bool, bool],
) -> float:
    """The share that a label mirrored along ``flips`` would have."""
    turned = np.flip(masks, tuple(axis for axis, flip in enumerate(flips) if flip))
    places = len(images) - 1 - chosen if flips[0] else chosen
    return _share({int(index): np.asarray(images[index]) for index in places}, turned, hounsfield)


def _share(planes: Mapping[int, NDArray[Any]], masks: NDArray[Any], hounsfield: tuple[int, int]) -> float:
    """The share of outlined voxels in ``planes`` (by slice) that lie in the range."""
    inside = np.concatenate([plane[masks[index] > 0] for index, plane in planes.items()])
    low, high = hounsfield
    return float(((inside >= low) & (inside <= high)).mean())
