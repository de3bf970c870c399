"""Pictures of any size into a network of one size, and its probabilities back onto the picture.

A network may be shown the centre of a picture only: a ``crop``, the share that is cut off at each side, as large
above as below. What it is not shown has no foreground.

The kernels are those of a build (``imagemask.resample``): image and mask move together, and pixel centres are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imagemask import resample
from imagemask.errors import UsageError

Bytes = NDArray[np.uint8]
Box = tuple[int, int, int, int]

_PADDED = 5, 4
"""Up to 5/4 a picture is not enlarged but padded, and keeps every pixel: a size that a network's levels do not divide
comes to this."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a picture lies in a network's input.

    ``source`` is its own (height, width); ``centre`` what the network sees of it, and ``box`` where that is in the
    input: y0, x0, y1, x1, the last two outside.
    """

    source: tuple[int, int]
    centre: Box
    box: Box


def centre(source: tuple[int, int], crop: float) -> Box:
    """What is left of a picture of ``source`` (height, width) without ``crop``, a share under 0.5, at each side.

    The margins are rounded to a pixel, half up; one pixel is left at least.
    """
    top, left = (min(int(side * crop + 0.5), (side - 1) // 2) for side in source)
    return top, left, source[0] - top, source[1] - left


def place(source: tuple[int, int], height: int, width: int, *, crop: float = 0.0) -> Placement:
    """Where the ``centre`` of a picture of ``source`` lies in an input of ``height`` x ``width``: in the middle.

    Its aspect ratio is kept (rounded to a pixel, half up). It fills the input in one direction at least, except where
    it fits in as it is and lacks a fifth at most: then its pixels stay as they are. The odd pixel of padding is below
    and at the right.
    """
    y0, x0, y1, x1 = inside = centre(source, crop)
    rows, columns = y1 - y0, x1 - x0
    by_height = rows * width >= columns * height
    have, want = (rows, height) if by_height else (columns, width)
    most, of = _PADDED
    if have <= want and want * of <= have * most:
        inner = rows, columns
    elif by_height:
        inner = height, min(width, max(1, (2 * columns * height + rows) // (2 * rows)))
    else:
        inner = min(height, max(1, (2 * rows * width + columns) // (2 * columns))), width
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    return Placement(source, inside, (top, left, top + inner[0], left + inner[1]))


def fit(image: Bytes, height: int, width: int, *, background: int, crop: float = 0.0) -> tuple[Bytes, Placement]:
    """``image`` (uint8, HxW or HxWxC) as ``place`` has it, on ``background``; the same pixels where sizes agree."""
    placement = place((image.shape[0], image.shape[1]), height, width, crop=crop)
    y0, x0, y1, x1 = placement.box
    # OpenCV drops the axis of a single channel.
    inner = resample.resize(_centre(image, placement), y1 - y0, x1 - x0).reshape(y1 - y0, x1 - x0, *image.shape[2:])
    return _framed(inner, placement, (height, width), background), placement


def fit_labels(mask: Bytes, height: int, width: int, *, crop: float = 0.0) -> Bytes:
    """A mask (class ids, uint8 HxW) as ``fit`` has its image, by coverage; 0 around it."""
    placement = place((mask.shape[0], mask.shape[1]), height, width, crop=crop)
    y0, x0, y1, x1 = placement.box
    inner = resample.resize_labels(_centre(mask, placement), y1 - y0, x1 - x0).astype(np.uint8, copy=False)
    return _framed(inner, placement, (height, width), 0)


def restore(probabilities: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    """Probabilities of a network (HxWxK) at the picture's own size: what was added is cut off, the rest interpolated.

    Linear between pixel centres, and constant beyond the outermost; the same values where sizes agree. What the network
    was not shown is background for sure.
    """
    y0, x0, y1, x1 = placement.box
    top, left, bottom, right = placement.centre
    inner = probabilities[y0:y1, x0:x1]
    for axis, length in enumerate((bottom - top, right - left)):
        inner = _interpolated(inner, axis, length)
    if inner.shape[:2] == placement.source:
        return inner
    whole = np.zeros((*placement.source, inner.shape[2]), np.float32)
    if inner.shape[2] > 1:
        whole[..., 0] = 1
    whole[top:bottom, left:right] = inner
    return whole


def in_channels(image: Bytes, channels: int) -> Bytes:
    """A grey (HxW) or colour (HxWx3) picture as HxWxC; grey is repeated. Raises UsageError for colours as grey."""
    if image.ndim == 2:
        return np.repeat(image[..., np.newaxis], channels, axis=2)
    if image.shape[2] != channels:
        raise UsageError(
            f"the picture has {image.shape[2]} channels, and the network takes {channels}",
            remedy="Give it pictures in grey, or train with model.channels = 3",
        )
    return image


def _centre(picture: Bytes, placement: Placement) -> Bytes:
    y0, x0, y1, x1 = placement.centre
    return picture[y0:y1, x0:x1]


def _framed(inner: Bytes, placement: Placement, shape: tuple[int, int], value: int) -> Bytes:
    if inner.shape[:2] == shape:
        return inner
    y0, x0, y1, x1 = placement.box
    framed = np.full((*shape, *inner.shape[2:]), value, np.uint8)
    framed[y0:y1, x0:x1] = inner
    return framed


def _interpolated(array: NDArray[np.float32], axis: int, length: int) -> NDArray[np.float32]:
    """``array`` with ``length`` values along ``axis`` (0 or 1)."""
    have = array.shape[axis]
    if have == length:
        return array
    places = np.clip((np.arange(length) + 0.5) * have / length - 0.5, 0, have - 1)
    below = places.astype(np.int64)
    shares = (places - below).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    low = array.take(below, axis)
    high: NDArray[np.float32] = array.take(np.minimum(below + 1, have - 1), axis)
    # Of two equal values exactly that value, which low * (1 - share) + high * share is not.
    high -= low
    high *= shares
    high += low
    return high
