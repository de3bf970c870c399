"""How alike two pictures are, in what tells one CT slice from another: fine structure, place by place.

Both are shrunk to one square, laid over each other (a crop is a stretch and a shift of what is left), and passed
through a band: detail that is lost in compression and scaling falls away below, and what all pictures of a kind share,
body and background, above. Then the two are correlated in small blocks, as far as these hold structure. A copy is like
the other in every block, two slices with the same outline along that outline only.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from imagemask.audit.fingerprints import SIDE, as_grey, shrunk

Floats = NDArray[np.float32]

LARGEST = 256
"""Pixels along a side at which pictures are compared; the shortest side of either, where that is less."""
CLEAR, CLEARLY = 0.975, 0.988
"""A likeness, even or weighed, from which on it is a copy.

The next slice of a CT reaches 0.958 and 0.975, a slice of another phantom patient 0.965 and 0.980. Slices of a real CT
that were encoded at quality 50, halved, brightened or made noisy have 0.986 and 0.995 at least, cut by 4 percent
0.977 and 0.990.
"""
SMALL, CLEAR_WHERE_SMALL, CLEARLY_WHERE_SMALL = 80, 0.993, 0.997
"""The same for pictures of fewer pixels along a side: at 64x64, slices of a phantom beside each other pass 0.99."""
_FINE, _COARSE = 0.7, 2.5  # pixels: the standard deviations of the two Gaussians between which the band lies
_BLOCK, _BLOCKS = 16, 6  # pixels along a block's side; as many blocks with structure are needed for a verdict
_CONTRAST, _FLAT = 50.0, 2.0  # grey levels: what the pictures' deviation is brought to; a block below has no structure
_SHEAR, _STRETCH, _SHIFT = 0.02, 0.15, 0.12  # what a crop by a few percent cannot pass
_EQUAL = 0.01  # grey levels: squares that differ by no more show the same pixels, shrunk in another order
_IDENTITY = np.eye(2, 3, dtype=np.float32)


class Likeness(NamedTuple):
    """How alike two pictures are, at most 1, the second moved onto the first where that makes them more alike.

    ``even`` is the mean over blocks, ``weighed`` the mean in which a block counts by its structure: compression and
    noise alter faint blocks first. ``lying`` is ``even`` of the two as they lie; ``shift``, how far a border was moved
    at most, as a share of the side.
    """

    even: float
    weighed: float
    lying: float
    shift: float
    side: int = LARGEST
    """Pixels along the square that was compared."""

    @property
    def clear(self) -> bool:
        """Whether one is a copy of the other, and no neighbouring slice."""
        small = self.side < SMALL
        even, weighed = (CLEAR_WHERE_SMALL, CLEARLY_WHERE_SMALL) if small else (CLEAR, CLEARLY)
        return self.even >= even or self.weighed >= weighed


def square(image: NDArray[np.uint8]) -> Floats:
    """``image``, uint8 HxW or HxWx3 (RGB), as it is compared: grey, squashed into a square of at most LARGEST."""
    side = int(np.clip(min(image.shape[:2]), SIDE, LARGEST))
    return shrunk(as_grey(image).astype(np.float32), (side, side))


def turned(picture: Floats, symmetry: int) -> Floats:
    """``picture`` transposed (bit 4 of ``symmetry``), then upside down (bit 2), then left to right (bit 1)."""
    picture = picture.T if symmetry & 4 else picture
    picture = picture[::-1] if symmetry & 2 else picture
    return np.ascontiguousarray(picture[:, ::-1] if symmetry & 1 else picture)


def compare(one: Floats, other: Floats) -> Likeness:
    """How alike two ``square`` pictures are, the other turned already; 0 where too little structure is seen.

    Where they are equal, 1, whatever is seen: a soft or small picture has little in the band, even of itself.
    """
    side = min(len(one), len(other))
    if len(one) == len(other) and float(np.abs(one - other).max()) <= _EQUAL:
        return Likeness(1.0, 1.0, 1.0, 0.0, side)
    first, second = (_level(shrunk(picture, (side, side))) for picture in (one, other))
    lying, weighed = _agreement(first, second, np.ones_like(first))
    as_they_lie = Likeness(lying, weighed, lying, 0.0, side)
    if as_they_lie.clear:
        return as_they_lie
    motion = _motion(first, second)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(np.ones_like(second), motion, (side, side), flags=how)
    there = cv2.warpAffine(second, motion, (side, side), flags=how, borderMode=cv2.BORDER_REPLICATE)
    even, weighed_there = _agreement(first, np.asarray(there, np.float32), (seen > 0.99).astype(np.float32))
    if even <= lying:
        return as_they_lie
    return Likeness(even, weighed_there, lying, _farthest(motion, side), side)


def _level(picture: Floats) -> Floats:
    """Of mean 0 and deviation _CONTRAST, so that a brighter copy is no other picture."""
    mean, deviation = float(picture.mean()), float(picture.std())
    return ((picture - mean) * (_CONTRAST / max(deviation, 1e-3))).astype(np.float32)


def _agreement(first: Floats, second: Floats, seen: Floats) -> tuple[float, float]:
    """The mean correlation of the blocks with structure, even and weighed, of what is in the band and ``seen``."""
    one, other = _band(first), _band(second)
    blocks = max(4, len(first) // _BLOCK)
    power, power_of_other, common, share = (
        shrunk(part * seen, (blocks, blocks)) for part in (one * one, other * other, one * other, np.ones_like(one))
    )
    judged = (share > 0.9) & (np.maximum(power, power_of_other) > _FLAT**2)
    if np.count_nonzero(judged) < _BLOCKS:
        return 0.0, 0.0
    weight = np.sqrt((power[judged] + 0.25) * (power_of_other[judged] + 0.25))
    alike = common[judged] / weight
    return float(alike.mean()), float((alike * weight).sum() / weight.sum())


def _band(picture: Floats) -> Floats:
    fine, coarse = (cv2.GaussianBlur(picture, (0, 0), width) for width in (_FINE, _COARSE))
    return np.asarray(fine - coarse, np.float32)


def _motion(first: Floats, second: Floats) -> Floats:
    """Where each pixel of ``first`` lies in ``second`` (2x3, affine): found on thumbnails, then to a part of a pixel.

    The enhanced correlation coefficient of Evangelidis and Psarakis, PAMI 2008. No motion where it leads nowhere, or
    beyond what a crop of a few percent does.
    """
    factor = len(first) / SIDE
    small, small_other = (shrunk(picture, (SIDE, SIDE)) for picture in (first, second))
    motion = _refined(small, small_other, _IDENTITY, 3)
    motion = np.array([[1, 1, factor], [1, 1, factor]], np.float32) * motion
    motion[:, 2] += (factor - 1) / 2 * (1 - motion[:, 0] - motion[:, 1])  # pixels are counted from their centres
    motion = _refined(first, second, motion, 5)
    shear = max(abs(motion[0, 1]), abs(motion[1, 0]))
    stretch = max(abs(motion[0, 0] - 1), abs(motion[1, 1] - 1))
    if shear > _SHEAR or stretch > _STRETCH or _farthest(motion, len(first)) > _SHIFT:
        return _IDENTITY
    return motion


def _refined(first: Floats, second: Floats, motion: Floats, blur: int) -> Floats:
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 25, 1e-4)
    try:
        whole = np.ones(first.shape, np.uint8)
        found = cv2.findTransformECC(first, second, motion.copy(), cv2.MOTION_AFFINE, stop, whole, blur)[1]
    except cv2.error:  # it does not converge: these are not alike
        return motion
    return np.asarray(found, np.float32)


def _farthest(motion: Floats, side: int) -> float:
    """How far a corner of the square is moved along an axis, as a share of the side."""
    corners = np.array([[x, y, 1] for x in (0, side - 1) for y in (0, side - 1)], np.float32)
    return float(np.abs(corners @ motion.T - corners[:, :2]).max() / side)
