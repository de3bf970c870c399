"""Pure functions from a pair to a pair: window, labels, crop, resize, fit; and back, ``restore``.

Image and mask always change together. The order in a build is: window and labels, crop, resize or fit, variant.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from imagemask import augment, resample
from imagemask.errors import CaseError, InputError, UsageError
from imagemask.types import Slice

PRESETS: dict[str, tuple[float, float]] = {
    "lung": (-1350.0, 150.0),
    "mediastinum": (-125.0, 225.0),
    "soft-tissue": (-160.0, 240.0),
    "pancreas": (-100.0, 240.0),
    "bone": (-500.0, 1300.0),
}
"""Windows for CT by name: the lowest HU, which becomes 0, and the highest, which becomes 255."""

Pad = tuple[int, int, int, int]
"""Written pixels added at the top, left, bottom and right."""
Box = tuple[int, int, int, int]
"""y0, x0, y1, x1 in source pixels, the last two outside."""

_LARGEST_BOUND = 1e9
_ROWS = 64
"""Windowed at once: what fits into a processor's cache takes half the time."""
_TABLE = 1 << 16
"""Values of a 16-bit integer. An image of fewer values is computed, not looked up."""
_STAGE = "pixels"


@functools.lru_cache(maxsize=8)
def parse_window(text: str) -> tuple[float, float]:
    """A preset's name, or ``LO:HI`` in source units, as (lo, hi). Raises UsageError for anything else."""
    if text in PRESETS:
        return PRESETS[text]
    low, colon, high = text.partition(":")
    if not colon:
        near = difflib.get_close_matches(text, PRESETS, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(PRESETS)}; or give LO:HI"
        raise UsageError(f"there is no window called {text!r}", remedy=hint)
    try:
        bounds = float(low), float(high)
    except ValueError as error:
        raise UsageError(f"window {text!r} is not LO:HI", remedy="Give two numbers, for instance -160:240") from error
    if not (math.isfinite(sum(bounds)) and max(map(abs, bounds)) <= _LARGEST_BOUND):
        raise UsageError(f"window {text!r} is not between -1e9 and 1e9", remedy="Give two numbers, such as -160:240")
    if not np.float32(bounds[0]) < np.float32(bounds[1]):
        raise UsageError(f"window {text!r} is empty", remedy="LO must be below HI")
    return bounds


def parse_windows(texts: Sequence[str]) -> list[tuple[float, float]]:
    """The windows of a recipe or a source: none, one, or three. Raises UsageError as ``parse_window``."""
    windows = [parse_window(text) for text in texts]
    if len(windows) not in (0, 1, 3):
        raise UsageError(f"{len(windows)} windows were given", remedy="Give one, or three: one a colour channel")
    return windows


def window(pair: Slice, windows: Sequence[tuple[float, float]]) -> Slice:
    """``pair`` with its image in 8 bits.

    One window: lo and below become 0, hi and above 255, between them a straight line in float32, rounded to the nearest
    integer, halves to even; whole numbers of any type give the same bytes. Three windows of a grey image: its red,
    green and blue. None: the image is 8-bit already, or 16-bit and divided by 257 (flag ``depth_reduced``).

    Raises CaseError where the image needs a window and has none, has colours and three windows, or holds NaN;
    UsageError for any other number of windows.
    """
    image = np.asarray(pair.image)
    if len(windows) not in (0, 1, 3):
        raise UsageError(f"{len(windows)} windows were given", remedy="Give one, or three for red, green and blue")
    if image.ndim == 3 and (image.shape[2] != 3 or len(windows) == 3):
        raise CaseError(
            "image_channels",
            f"slice {pair.index}: an image of {image.shape[2]} channels does not go with {len(windows)} windows",
            remedy="Three windows make colours of a grey image",
            stage=_STAGE,
        )
    if not windows:
        return _already_bytes(pair, image)
    _require_numbers(pair, image)
    channels = [_through(image, low, high) for low, high in windows]
    return dataclasses.replace(pair, image=channels[0] if len(channels) == 1 else np.dstack(channels))


def labels(pair: Slice, values: Mapping[int, str]) -> Slice:
    """``pair`` with its source labels as class ids, uint8: 0 the background, 1..K by ascending source value.

    ``values`` are the declared foreground values and their names. A mask of class ids may be handed through as it is.
    Raises CaseError where the mask holds another value.
    """
    mask = pair.mask
    declared = sorted(values)
    most = len(declared)
    if most and declared == list(range(1, most + 1)) and mask.dtype == np.uint8:
        ids = _contiguous(mask)  # class ids already?
        if ids.max(initial=0) <= most:
            return dataclasses.replace(pair, mask=ids)
    classes: NDArray[np.uint8] = (mask == declared[0]).view(np.uint8)
    for number, value in enumerate(declared[1:], start=2):
        classes += (mask == value).view(np.uint8) * np.uint8(number)
    if np.count_nonzero(classes) != np.count_nonzero(mask):
        raise CaseError(
            "label_values",
            f"slice {pair.index}: the mask holds values other than 0 and {_listed(declared)}: {_histogram(mask)}",
            remedy="Declare every value that means something, or correct the mask",
            stage=_STAGE,
        )
    return dataclasses.replace(pair, mask=classes)


def crop(pair: Slice, margin: int) -> Slice:
    """``pair`` without ``margin`` pixels at each side: the box (margin, margin, height - margin, width - margin).

    Raises CaseError where nothing is left.
    """
    height, width = pair.mask.shape
    if margin < 0 or 2 * margin >= min(height, width):
        raise CaseError(
            "crop_too_large",
            f"slice {pair.index}: cutting {margin} pixels from each side of {height}x{width} leaves nothing",
            remedy="Give a margin below half of the shorter side",
            stage=_STAGE,
        )
    inside = slice(margin, height - margin), slice(margin, width - margin)
    return dataclasses.replace(pair, image=np.asarray(pair.image)[inside], mask=pair.mask[inside])


def resize(pair: Slice, height: int, width: int) -> Slice:
    """``pair`` at ``height`` x ``width``, its spacing with it. The image is uint8, or already of that size."""
    if pair.mask.shape == (height, width):
        return pair
    spacing = pair.spacing
    if spacing is not None:
        spacing = (spacing[0] * pair.mask.shape[0] / height, spacing[1] * pair.mask.shape[1] / width)
    image = resample.resize(np.asarray(pair.image), height, width)
    mask = resample.resize_labels(pair.mask, height, width)
    return dataclasses.replace(pair, image=image, mask=mask, spacing=spacing)


def fit(pair: Slice, size: int, *, stretch: bool, background: int) -> tuple[Slice, Pad]:
    """``pair`` at ``size`` x ``size``, and what was added at the top, left, bottom and right.

    The longer side becomes ``size``, the other keeps the aspect ratio (rounded to a pixel, half up); the picture lies
    in the middle (the odd pixel below and at the right) on ``background``, where the mask is 0. With ``stretch`` both
    sides become ``size`` and nothing is added.
    """
    if stretch:
        return resize(pair, size, size), (0, 0, 0, 0)
    longer = max(pair.mask.shape)
    height, width = (max(1, (2 * side * size + longer) // (2 * longer)) for side in pair.mask.shape)
    top, left = (size - height) // 2, (size - width) // 2
    pad = (top, left, size - height - top, size - width - left)
    inner = resize(pair, height, width)
    if not any(pad):
        return inner, pad
    image = _framed(np.asarray(inner.image), pad, background)
    return dataclasses.replace(inner, image=image, mask=_framed(inner.mask, pad, 0)), pad


def to_mask(classes: NDArray[np.integer[Any]], values: Mapping[int, int]) -> NDArray[np.uint8]:
    """Class ids 0..K, and no others, as the values of a written mask; ``values``: source to written value
    (``manifest.mask_values``).
    """
    written = [values[source] for source in sorted(values)]
    if len(written) == 1:  # of 0 and 1; many times as fast as a table, and nearly always the case
        scaled: NDArray[np.uint8] = np.multiply(classes, np.uint8(written[0]), dtype=np.uint8, casting="unsafe")
        return scaled
    return np.take(np.array([0, *written], np.uint8), classes)


def restore(
    mask: NDArray[np.integer[Any]], *, source: tuple[int, int], box: Box, pad: Pad, variant: str
) -> NDArray[np.integer[Any]]:
    """A written mask (or class ids) back on its source's grid: ``source`` is the (height, width) of the result.

    Undoes the rotation and the flip that ``variant`` names, cuts ``pad`` off, brings the rest to the size of ``box`` by
    coverage, and puts it there on 0; what a crop cut away is not known and stays 0. ``mask`` keeps its dtype.

    Exact inside the box where the pair was written at its native size (no resize), plain, flipped, or turned by
    multiples of 90 degrees; and where every axis grew by a whole factor. Any other resize or angle loses what
    resampling loses.
    Raises InputError where box or pad do not fit.
    """
    upright = augment.undo(mask, augment.parse(variant))
    top, left, bottom, right = pad
    inner = upright[top : upright.shape[0] - bottom, left : upright.shape[1] - right]
    y0, x0, y1, x1 = box
    if not (0 <= y0 < y1 <= source[0] and 0 <= x0 < x1 <= source[1] and min(pad) >= 0 and inner.size):
        raise InputError(
            f"box {box} and pad {pad} do not fit a source of {source[0]}x{source[1]} and a mask of {mask.shape}",
            remedy="The manifest is damaged: imagemask verify names the rows",
        )
    whole = np.zeros(source, mask.dtype)
    whole[y0:y1, x0:x1] = resample.resize_labels(inner, y1 - y0, x1 - x0)
    return whole


def _already_bytes(pair: Slice, image: NDArray[Any]) -> Slice:
    if image.dtype == np.uint8:
        return dataclasses.replace(pair, image=image)
    if image.dtype == np.uint16:
        rounded = (image.astype(np.uint32) + 128) // 257
        return dataclasses.replace(pair, image=rounded.astype(np.uint8), flags=(*pair.flags, "depth_reduced"))
    raise CaseError(
        "window_needed",
        f"slice {pair.index}: the image is {image.dtype} and no window says which values matter",
        remedy=f"Give --window with LO:HI or one of {', '.join(PRESETS)}",
        stage=_STAGE,
    )


def _require_numbers(pair: Slice, image: NDArray[Any]) -> None:
    if image.dtype.kind not in "iuf":
        reason = f"slice {pair.index}: the image is {image.dtype}, not numbers"
        raise CaseError("image_type", reason, remedy="Save it as whole numbers or floats", stage=_STAGE)
    if image.dtype.kind == "f" and bool(np.isnan(image.min())):
        count = int(np.isnan(image).sum())
        reason = f"slice {pair.index}: {count} pixels are not a number"
        raise CaseError("nan_voxels", reason, remedy="Repair the file", stage=_STAGE)


class _Lie(NamedTuple):
    """How a 2D array lies in memory: rows and columns ``swapped`` or not, and the ``flip`` of OpenCV that undoes it."""

    swapped: bool
    flip: int | None

    def undone(self, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """``array``, which lies straight, as the one that did not. NumPy's copies take 5 to 15 times as long."""
        flipped = array if self.flip is None else cv2.flip(array, self.flip)
        return np.asarray(cv2.transpose(flipped) if self.swapped else flipped, np.uint8)


def _straight(array: NDArray[Any]) -> tuple[NDArray[Any], _Lie | None]:
    """A view of ``array`` in the order of its memory, and how it lies; None where that is straight, not 2D or empty."""
    if array.ndim != 2 or not array.size:
        return array, None
    swapped = abs(array.strides[0]) < abs(array.strides[1])
    view = array.T if swapped else array
    up, left = (stride < 0 for stride in view.strides)
    lie = _Lie(swapped, {(True, False): 0, (False, True): 1, (True, True): -1}.get((up, left)))
    return view[:: -1 if up else 1, :: -1 if left else 1], lie if lie != _Lie(False, None) else None


def _contiguous(array: NDArray[Any]) -> NDArray[Any]:
    """``array`` itself, or a copy of it, C-contiguous."""
    straight, lie = _straight(array)
    whole = np.ascontiguousarray(straight)
    return lie.undone(whole) if lie else whole


def _through(image: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    straight, lie = _straight(image)
    if lie:
        return lie.undone(_through(straight, low, high))
    kind = image.dtype.str
    if kind[1:] not in ("i2", "u2") or image.size < _TABLE or not _looks_up():
        return _computed(image, low, high)
    bits = np.ascontiguousarray(image).view(np.uint16).reshape(len(image), -1)
    return np.asarray(cv2.LUT(bits, _table(kind, low, high)), np.uint8).reshape(image.shape)


def _computed(image: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Each step is one correctly rounded float32 operation, so that every CPU gives the same bytes."""
    bottom, top = np.float32(low), np.float32(high)
    done = np.empty(image.shape, np.uint8)
    for start in range(0, len(image), _ROWS):
        values = image[start : start + _ROWS].astype(np.float32)
        np.clip(values, bottom, top, out=values)
        values -= bottom
        values *= np.float32(255)
        values /= top - bottom
        done[start : start + _ROWS] = np.rint(values, out=values)
    return done


@functools.lru_cache(maxsize=8)
def _table(kind: str, low: float, high: float) -> NDArray[np.uint8]:
    """What each value of a 16-bit integer type (``kind``, as ``dtype.str``) becomes, in the order of its bits."""
    table = _computed(np.arange(_TABLE, dtype=np.uint16).view(kind).reshape(_ROWS, -1), low, high).ravel()
    table.flags.writeable = False  # whoever asks again gets the same array
    return table


@functools.cache
def _looks_up() -> bool:
    """Whether this OpenCV looks 16-bit numbers up in a table (5.0 does), a third of the time of computing them."""
    last = np.zeros(_TABLE, np.uint8)
    last[-1] = 1
    try:
        return bool(np.array_equal(cv2.LUT(np.array([[_TABLE - 1, 0]], np.uint16), last), [[1, 0]]))
    except cv2.error:
        return False


def _framed(array: NDArray[Any], pad: Pad, value: int) -> NDArray[Any]:
    top, left, bottom, right = pad
    height, width = array.shape[:2]
    framed = np.full((top + height + bottom, left + width + right, *array.shape[2:]), value, array.dtype)
    framed[top : top + height, left : left + width] = array  # np.pad takes ten times as long
    return framed


def _histogram(mask: NDArray[np.integer[Any]]) -> str:
    found, counts = np.unique(mask, return_counts=True)
    shown = [f"{value}: {count}" for value, count in zip(found[:8].tolist(), counts.tolist(), strict=False)]
    return ", ".join(shown) + (f", and {len(found) - 8} more" if len(found) > 8 else "")


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))
