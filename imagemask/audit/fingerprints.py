"""What is kept of a picture to find its copies: the digest of its pixels, its size, and a thumbnail.

The thumbnail stands for the whole picture, squashed into a square: a flip or a 90-degree turn of a picture of any shape
is the same flip or turn of its thumbnail. ``imagemask.audit.candidates`` makes perceptual hashes of all eight from it.
"""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 32
"""Pixels along a side of a thumbnail."""

_ROUNDING = 1e-3  # grey levels: less is no difference between means

FINGERPRINT = np.dtype(
    [
        ("sha256", np.uint8, (32,)),
        ("height", np.int32),
        ("width", np.int32),
        ("range", np.uint8),
        ("thumbnail", np.uint8, (SIDE, SIDE)),
    ]
)
"""``range``: the brightest less the darkest grey, 0 of a constant picture; ``height`` 0 says that there is none."""


def fingerprint(image: NDArray[np.uint8]) -> NDArray[np.void]:
    """The fingerprint of ``image``, uint8 HxW or HxWx3 in RGB order: an array of no dimension, of type FINGERPRINT.

    The digest is the SHA-256 of shape, type and bytes of the pixels. The thumbnail is grey (ITU-R BT.601), each of its
    pixels the mean over its part of the picture, stretched to 0..255.
    """
    record = np.zeros((), FINGERPRINT)
    pixels = np.ascontiguousarray(image)
    digest = hashlib.sha256(f"{pixels.shape}{pixels.dtype.str}".encode())
    digest.update(pixels.data)
    grey = as_grey(pixels)
    record["sha256"] = np.frombuffer(digest.digest(), np.uint8)
    record["height"], record["width"] = grey.shape
    record["range"] = grey.max() - grey.min()
    record["thumbnail"] = _thumbnail(grey)
    return record


def as_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``image``, HxW or HxWx3 in RGB order, as grey, HxW."""
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def _thumbnail(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    small = shrunk(grey.astype(np.float32), (SIDE, SIDE))
    low, high = float(small.min()), float(small.max())
    if high - low < _ROUNDING:
        return np.zeros_like(small, np.uint8)
    stretched: NDArray[np.uint8] = np.rint((small - low) * (255 / (high - low))).astype(np.uint8)
    return stretched


def shrunk(grey: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """``grey`` in ``size``, (height, width): by area along an axis that shrinks, linearly along one that grows."""
    for axis in (0, 1):
        if grey.shape[axis] != size[axis]:
            across = (size[1], grey.shape[0]) if axis else (grey.shape[1], size[0])
            kernel = cv2.INTER_AREA if size[axis] < grey.shape[axis] else cv2.INTER_LINEAR
            grey = cv2.resize(grey, across, interpolation=kernel).astype(np.float32, copy=False)
    return grey
