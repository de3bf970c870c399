"""The kernels that move pixels. An image and its mask go through the same one, with the same pixel centres.

An image is uint8, HxW or HxWxC. A mask is integers, HxW: the coverage of each of its foreground values (0 or 255 a
pixel) goes through the image's kernel and the largest wins, a tie going to the foreground, and among foreground values
to the lowest. So a mask never holds a value that it did not hold before, and does not move against its image.

Only routines whose bytes depend neither on the CPU nor on OpenCV's switches are used: uint8 area, uint8
``LINEAR_EXACT``, and ``remap`` with fixed-point maps. ``tests/test_golden.py`` holds them to that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imagemask.errors import CaseError

Bytes = NDArray[np.uint8]
Labels = NDArray[np.integer[Any]]
Maps = tuple[NDArray[np.int16], NDArray[np.uint16]]

LARGEST_SIDE = 20_000
"""Rotation keeps coordinates in int16: (width + diagonal) / 2 must stay below 32768."""
_ONE = 20
"""Bits after the point of a cosine or sine."""
_CACHED_PIXELS = 1 << 20


def resize(image: Bytes, height: int, width: int) -> Bytes:
    """``image`` at ``height`` x ``width``: area where an axis shrinks, then linear where one grows.

    Raises TypeError where the image is not uint8: a CT is windowed before it is resized.
    """
    _require_bytes(image)
    low, high = min(height, image.shape[0]), min(width, image.shape[1])
    shrunk = _resized(image, (low, high), cv2.INTER_AREA)
    return _resized(shrunk, (height, width), cv2.INTER_LINEAR_EXACT)


def resize_labels(mask: Labels, height: int, width: int) -> Labels:
    """``mask`` at ``height`` x ``width``, by coverage."""
    if mask.shape == (height, width):
        return mask
    return by_coverage(mask, partial(resize, height=height, width=width))


def rotate(image: Bytes, degrees: float, *, background: int) -> Bytes:
    """``image`` turned counter-clockwise, as it is displayed, about its centre ((w-1)/2, (h-1)/2).

    A multiple of 90 moves pixels and changes none: one of 90 or 270 swaps height and width. Any other angle keeps
    height and width, cuts what leaves the picture, fills what enters it with ``background``, and interpolates
    linearly at 1/32 of a pixel. Raises CaseError above LARGEST_SIDE, TypeError where the image is not uint8.
    """
    _require_bytes(image)
    if degrees % 90 == 0:
        return quarter_turns(image, degrees)
    places, fractions = _maps(image.shape[0], image.shape[1], degrees % 360)
    turned = cv2.remap(
        np.ascontiguousarray(image),
        places,
        fractions,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(background,) * 4,
    )
    return turned.astype(np.uint8, copy=False)


def rotate_labels(mask: Labels, degrees: float) -> Labels:
    """``mask`` turned as ``rotate`` turns its image, by coverage; what enters it is 0."""
    if degrees % 90 == 0:
        return quarter_turns(mask, degrees)
    return by_coverage(mask, partial(rotate, degrees=degrees, background=0))


def quarter_turns(array: NDArray[Any], degrees: float) -> NDArray[Any]:
    """``array`` turned counter-clockwise by a multiple of 90 degrees, exactly."""
    return np.ascontiguousarray(np.rot90(array, round(degrees / 90) % 4))


def by_coverage(mask: Labels, kernel: Callable[[Bytes], Bytes]) -> Labels:
    """``mask`` through a kernel for uint8 images: the value that covers most of an output pixel.

    The background covers what no foreground value does, so that 128 of 255 is the least that a lone value needs.
    """
    first, *others = _foreground(mask) or [1]
    best = kernel(_where(mask, first))
    if not others:
        return np.where(best > 127, mask.dtype.type(first), mask.dtype.type(0))
    winner = np.where(best > 0, mask.dtype.type(first), mask.dtype.type(0))
    total = best.astype(np.int32)
    for value in others:
        coverage = kernel(_where(mask, value))
        winner[coverage > best] = value
        best = np.maximum(best, coverage)
        total += coverage
    winner[best < 255 - total] = 0
    return winner


def _where(mask: Labels, value: int) -> Bytes:
    if mask.dtype in (np.uint8, np.uint16):  # in one pass for two
        return np.asarray(cv2.inRange(np.ascontiguousarray(mask), float(value), float(value)), np.uint8)
    inside: Bytes = (mask == value).view(np.uint8)
    return np.multiply(inside, np.uint8(255), out=inside)


def _foreground(mask: Labels) -> list[int]:
    """The values in ``mask`` other than 0, ascending."""
    high = int(mask.max())
    if high <= 1 and (mask.dtype.kind == "u" or mask.min() == 0):
        return [1] if high else []
    if mask.dtype == np.uint8:
        return [int(value) for value in np.flatnonzero(np.bincount(mask.ravel())) if value]
    return [int(value) for value in np.unique(mask) if value]


def _resized(image: Bytes, shape: tuple[int, int], kernel: int) -> Bytes:
    if image.shape[:2] == shape:
        return image
    height, width = shape
    resized = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=kernel)
    return resized.astype(np.uint8, copy=False)


def _maps(height: int, width: int, degrees: float) -> Maps:
    if max(height, width) > LARGEST_SIDE:
        raise CaseError(
            "picture_too_large",
            f"{height}x{width} cannot be rotated by {degrees:g} degrees: a side is longer than {LARGEST_SIDE}",
            remedy="Build at a smaller --size, or rotate by multiples of 90 only",
            stage="pixels",
        )
    if height * width <= _CACHED_PIXELS:
        return _cached_maps(height, width, degrees)
    return _new_maps(height, width, degrees)


@lru_cache(maxsize=8)
def _cached_maps(height: int, width: int, degrees: float) -> Maps:
    return _new_maps(height, width, degrees)


def _new_maps(height: int, width: int, degrees: float) -> Maps:
    """Where each output pixel comes from: whole source pixels (x, y), and 1/32 of a pixel packed as OpenCV does.

    All in integers, so that no CPU can round differently: offsets from the centre are doubled (the centre may lie
    between two pixels), cosine and sine have 20 bits after the point, and the sum is rounded once, half up, to 1/32.
    """
    angle = math.radians(degrees)
    cosine, sine = round(math.cos(angle) * (1 << _ONE)), round(math.sin(angle) * (1 << _ONE))
    across = 2 * np.arange(width, dtype=np.int64) - (width - 1)
    down = (2 * np.arange(height, dtype=np.int64) - (height - 1))[:, np.newaxis]
    to_32nds = _ONE + 1 - 5
    half = 1 << (to_32nds - 1)
    x = (cosine * across - sine * down + ((width - 1) << _ONE) + half) >> to_32nds
    y = (sine * across + cosine * down + ((height - 1) << _ONE) + half) >> to_32nds
    places = np.stack([x >> 5, y >> 5], axis=-1).astype(np.int16)
    return places, ((y & 31) << 5 | (x & 31)).astype(np.uint16)


def _require_bytes(image: NDArray[Any]) -> None:
    if image.dtype != np.uint8:
        raise TypeError(f"an image is resampled as uint8, after windowing; this one is {image.dtype}")
