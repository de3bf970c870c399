"""Do masks lie on their images? Judged over a whole data set, from how much of the image's edges each outline crosses.

One outline alone says little: real borders are faint, and other edges are near. Over many patients the place where
masks belong beats every other one, or is beaten by the one where they were drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from imagemask.audit.measures import COMPASS, SHIFTS, TURNS

PLACES = (*SHIFTS, *TURNS)
"""Where else a mask is tried; in the order of the columns of ``scores``, after the one for its own place."""
FEWEST_UNITS = 10
_UNITS = 24
_SURE, _BETTER = 4.5, 0.07  # standard errors; and the mean gain, here 1.15 times as much edge

_TURNED = {
    "edge_fliph": "mirrored left to right",
    "edge_flipv": "mirrored top to bottom",
    "edge_rot180": "turned by 180 degrees",
    "edge_transpose": "transposed (rows and columns changed places)",
    "edge_rot90": "turned by 90 degrees counter-clockwise",
    "edge_rot270": "turned by 90 degrees clockwise",
    "edge_antitranspose": "transposed along the other diagonal",
}
_WAYS = {"n": "up", "s": "down", "w": "left", "e": "right"}


class Better(NamedTuple):
    """Another place fits better: which, by what factor, and t, by how many standard errors of the difference."""

    place: str
    factor: float
    t: float
    units: int


def units_of(patients: Sequence[str], order: NDArray[np.intp]) -> NDArray[np.intp]:
    """A number for each of the pairs ``order`` (places in ``patients``): pairs of one number are not independent.

    Patients where there are enough of them. Else two dozen runs of neighbours by name, which mostly are of one patient.
    """
    known = sorted({patients[place] for place in order.tolist()} - {""})
    if len(known) >= FEWEST_UNITS:
        numbers = {name: number for number, name in enumerate(known)}
        return np.array([numbers.get(patients[place], -1) for place in order.tolist()], np.intp)
    return np.arange(len(order)) * min(_UNITS, len(order)) // max(1, len(order))


def better(scores: NDArray[np.float64], units: NDArray[np.intp]) -> Better | None:
    """The place where masks fit significantly better than in their own, if there is one.

    ``scores`` is pairs x (1 + places), NaN where a place could not be tried; ``units`` as ``units_of`` gives them, -1
    for a pair that is left out. What is compared is (there - here) / (there + here), which no single pair can dominate,
    the mean over the pairs of a unit; then its mean over units, with Student's t.
    """
    usable = np.isfinite(scores[:, 0]) & (units >= 0)
    here, there = scores[usable, :1], scores[usable, 1:]
    sums = there + here
    gains = _unit_means(np.divide(there - here, sums, out=np.zeros_like(there), where=sums != 0), units[usable])
    found = []
    for place, gain in zip(PLACES, gains.T, strict=True):
        known = gain[np.isfinite(gain)]
        if len(known) < FEWEST_UNITS:
            continue
        mean, error = float(known.mean()), float(known.std(ddof=1)) / math.sqrt(len(known))
        if mean >= _BETTER and mean >= _SURE * error:
            found.append(Better(place, (1 + mean) / max(1 - mean, 1e-3), mean / max(error, 1e-3), len(known)))
    return max(found, key=lambda one: one.factor, default=None)


def in_words(place: str, side: int) -> str:
    """Where the mask seems to belong, for a picture whose longer side is ``side``: ``mirrored left to right``."""
    if place in _TURNED:
        return _TURNED[place]
    _, part, way = place.split("_")
    down, right = COMPASS[way]
    pixels = round(side / int(part) / math.hypot(down, right))
    return f"moved {' and '.join(f'{pixels} pixels {_WAYS[letter]}' for letter in way)}"


def _unit_means(gains: NDArray[np.float64], units: NDArray[np.intp]) -> NDArray[np.float64]:
    """The mean gain of each unit at each place, over the pairs that were tried there; NaN where none was."""
    known, units = np.unique(units, return_inverse=True)
    sums, counts = np.zeros((len(known), gains.shape[1])), np.zeros((len(known), gains.shape[1]))
    tried = np.isfinite(gains)
    np.add.at(sums, units, np.where(tried, gains, 0))
    np.add.at(counts, units, tried)
    return np.divide(sums, counts, out=np.full_like(sums, math.nan), where=counts > 0)
