"""Whether a label lies on what it should: a check that headers cannot fool, on a few slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imagemask.errors import CaseError
from imagemask.types import Deferred

SOUND = 0.8
"""Below this share of its voxels in the right range, a label is flagged."""
ENOUGH = 0.5
"""Above this share it is never refused: fat within an organ takes it down to 0.6 and less where the label is right."""
MUCH_BETTER = 0.3
"""A label must win by this share where it is moved, or the image is just unusual.

So not every wrong one is found: most of an abdomen is soft tissue, and half of a label may lie on it by chance.
"""
_SAMPLES = 5
_AXES = ("slices", "rows", "columns")

_Move = tuple[bool, bool, bool, bool]
"""Whether rows and columns are swapped; and whether slices, rows and columns are reversed after that."""
Images = Sequence[Deferred]


def sample(
    images: Images, masks: NDArray[Any], hounsfield: tuple[int, int], *, file: Path
) -> tuple[dict[int, NDArray[Any]], tuple[str, ...]]:
    """Decode a few outlined slices and look at what is outlined; they are returned, to be used and not decoded again.

    ``masks`` is (slices, rows, columns), ``hounsfield`` the range of what the label outlines. The flags are
    ``empty_label``, and ``label_off_range`` where less than SOUND of it lies in that range. Raises CaseError
    ``orientation_suspect`` where less than ENOUGH does, and far more would if the label (``file``) were mirrored,
    transposed or turned.
    """
    filled = np.flatnonzero([np.count_nonzero(mask) for mask in masks])  # quicker than any(), by axis
    if not filled.size:
        return {}, ("empty_label",)
    chosen = filled[np.unique(np.linspace(0, filled.size - 1, _SAMPLES).astype(int))]
    decoded = {int(index): np.asarray(images[index]) for index in chosen}
    share = _share(decoded, masks, hounsfield)
    if share >= ENOUGH:
        return decoded, () if share >= SOUND else ("label_off_range",)
    best, move = _elsewhere(images, masks, chosen, hounsfield)
    if best >= share + MUCH_BETTER:
        low, high = hounsfield
        raise CaseError(
            "orientation_suspect",
            f"{share:.0%} of the sampled label lies on {low} to {high} HU, {best:.0%} would with its {_in_words(move)}",
            file=file,
            remedy="Look at the label over its image, and correct its header, or how its voxels are stored",
        )
    return decoded, ("label_off_range",)


def emptiness(masks: NDArray[Any]) -> tuple[str, ...]:
    """``empty_label`` where nothing in ``masks``, (slices, rows, columns), is foreground."""
    return () if any(map(np.count_nonzero, masks)) else ("empty_label",)  # until the first one


def doubts(plane: NDArray[Any]) -> tuple[str, ...]:
    """``suspicious_intensity`` for a slice that never falls below 0 HU, as air does, or is flat; NaN is no value."""
    # A sample clears nearly every slice; of both directions, it is as quick whichever way the slice lies in memory.
    return ("suspicious_intensity",) if _odd(plane[::16, ::16]) and _odd(plane) else ()


def _odd(seen: NDArray[Any]) -> bool:
    known = seen[np.isfinite(seen)] if seen.dtype.kind == "f" else seen
    return not known.size or bool(known.min() >= 0 or known.min() == known.max())


def _moves(plane: tuple[int, ...]) -> list[_Move]:
    """Every other way to lay a label on slices of this shape, the simplest first: what is square can be transposed."""
    both = (False, True)
    moves = product(both if plane[0] == plane[1] else (False,), both, both, both)
    return sorted(((swap, z, y, x) for swap, z, y, x in moves if swap or z or y or x), key=sum)


def _in_words(move: _Move) -> str:
    swap, *flips = move
    backwards = " and ".join(name for name, flip in zip(_AXES, flips, strict=True) if flip)
    words = ("rows and columns swapped" if swap else "", f"{backwards} reversed" if backwards else "")
    return ", then ".join(filter(None, words))


def _elsewhere(
    images: Images, masks: NDArray[Any], chosen: NDArray[Any], hounsfield: tuple[int, int]
) -> tuple[float, _Move]:
    """The largest share that the label would have if it were moved, and by which move."""
    orders = [
        {int(index): np.asarray(images[index]) for index in places} for places in (chosen, len(images) - 1 - chosen)
    ]
    tried = ((_share(orders[move[1]], _moved(masks, move), hounsfield), move) for move in _moves(masks.shape[1:]))
    return max(tried, key=itemgetter(0))


def _moved(masks: NDArray[Any], move: _Move) -> NDArray[Any]:
    swap, *flips = move
    turned = masks.swapaxes(1, 2) if swap else masks
    return np.flip(turned, tuple(axis for axis, flip in enumerate(flips) if flip))


def _share(planes: Mapping[int, NDArray[Any]], masks: NDArray[Any], hounsfield: tuple[int, int]) -> float:
    """The share of outlined voxels in ``planes`` (by slice) that lie in the range."""
    inside = np.concatenate([plane[masks[index] > 0] for index, plane in planes.items()])
    low, high = hounsfield
    return float(((inside >= low) & (inside <= high)).mean())
