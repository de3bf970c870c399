"""Whether a probability is what it says: of the pixels called foreground with 0.8, are eight in ten?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imagemask.learn.curves import Reliability

BINS = 15
ERRORS = ("ece", "ece_relevant")
"""The expected calibration error over all pixels, and over the relevant ones."""
RELEVANT = 0.05
"""A pixel of at least this probability is relevant; so is every pixel of the true foreground."""

_ROUNDING = 1e-4
"""How far a probability may lie outside 0 to 1 by rounding."""


class Calibration:
    """The expected calibration error of the foreground's probability, over all pixels of many images, one at a time.

    Pixels are sorted into ``bins`` of equal width by their probability p (the lower edge belongs to a bin, 1 to the
    last). The error is the mean of | share that is foreground - mean p | over bins, weighted by their pixels. This is
    the calibration of one event, foreground, and not of the confidence in whatever was decided.
    Source: Naeini et al., AAAI 2015; Guo et al., ICML 2017.

    Over all pixels the error is small for any network, because most pixels are certain background; that over the
    relevant ones tells more. Which those are depends on the network, so it ranks only networks that find about as much.
    """

    def __init__(self, bins: int = BINS) -> None:
        self._sums = np.zeros((2, 3, bins))
        """All pixels and relevant ones; pixels, their probabilities added up, and those of them in the foreground."""

    def add(self, probability: NDArray[np.float32], truth: NDArray[np.bool_]) -> None:
        """Count an image: the foreground's probability, and where foreground is, both HxW.

        Raises ValueError for unlike shapes and for what is no probability.
        """
        if probability.shape != truth.shape:
            raise ValueError(f"probabilities {probability.shape} and truth {truth.shape} must have one shape")
        p, true = probability.ravel().astype(np.float64), truth.ravel().astype(bool)
        if p.size and not (p.min() >= -_ROUNDING and p.max() <= 1 + _ROUNDING):
            raise ValueError(f"probabilities must lie within 0 and 1, not {p.min():g} to {p.max():g}")
        np.clip(p, 0, 1, out=p)
        self._count(0, p, true)
        relevant = (p >= RELEVANT) | true
        self._count(1, p[relevant], true[relevant])

    def include(self, other: Calibration) -> None:
        """Count all that ``other`` has counted."""
        self._sums += other._sums

    @property
    def errors(self) -> dict[str, float]:
        """The error by its name in ``ERRORS``; nan where there is no pixel."""
        return {name: self.reliability(relevant=name != ERRORS[0]).error for name in ERRORS}

    def reliability(self, *, relevant: bool = False) -> Reliability:
        """The table of bins, nan where a bin has no pixel, with its error; nan where there is no pixel at all."""
        count, probability, true = self._sums[int(relevant)]
        pixels = np.where(count > 0, count, np.nan)
        error = np.abs(true - probability).sum() / count.sum() if count.any() else float("nan")
        return Reliability(count.astype(np.int64), probability / pixels, true / pixels, float(error))

    def _count(self, which: int, p: NDArray[np.float64], true: NDArray[np.bool_]) -> None:
        bins = self._sums.shape[-1]
        place = np.minimum((p * bins).astype(np.intp), bins - 1)
        for row, weights in enumerate((None, p, true)):
            self._sums[which, row] += np.bincount(place, weights, minlength=bins)
