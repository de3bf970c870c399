"""The threshold at which probabilities become masks: the one with the highest Dice on the validation set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imagemask.learn import infer
from imagemask.learn.curves import Curve
from imagemask.learn.infer import Probabilities

GRID = tuple(step / 20 for step in range(1, 20))
"""0.05 to 0.95. A finer grid would follow the chance of a small validation set."""

SAME = 0.002
"""A difference in mean Dice that is none: where many thresholds do as well, an extreme one only finds more or less in
pictures that are unlike those that it was chosen on, such as slices without the target."""


class Thresholds:
    """What every threshold of a grid would give, over many images, one at a time; memory does not grow with them.

    Masks are those of ``infer.decide``, to the pixel. ``grid`` is in rising order.
    """

    def __init__(self, grid: Sequence[float] = GRID) -> None:
        self.grid = tuple(float(one) for one in grid)
        self.images = 0
        """Those that Dice is the mean over."""
        self._dice = np.zeros(len(self.grid))
        self._pixels = np.zeros((2, len(self.grid)), np.int64)
        """Foreground that was found, and what was found at all, of any class."""
        self._true = 0

    def add(self, probabilities: Probabilities, truth: NDArray[np.uint8]) -> None:
        """Count an image: HxWxK, and class ids HxW."""
        classes = max(1, probabilities.shape[-1] - 1)
        # A comparison of ``decide`` takes place in the probabilities' own precision.
        steps = np.asarray(self.grid, probabilities.dtype)
        inside = infer.foreground(probabilities)
        reached = inside >= steps[0]
        level = np.searchsorted(steps, inside[reached], side="right") - 1
        found = infer.decide(probabilities[reached], 0.0) if classes > 1 else np.ones(len(level), np.uint8)
        right = truth[reached] == found
        predicted, both = (self._at_least(level[some], found[some], classes) for some in (slice(None), right))
        true = np.bincount(truth.ravel(), minlength=classes + 1)[1:]
        inside_truth = truth[reached] > 0
        self._pixels[0] += self._at_least(level[inside_truth], np.ones(inside_truth.sum(), np.uint8), 1)[0]
        self._pixels[1] += predicted.sum(axis=0)
        self._true += int(true.sum())
        self.images += 1
        self._dice += _mean_dice(both, predicted + true[:, None])

    def dice(self) -> NDArray[np.float64]:
        """At each threshold, the mean Dice of the images, as ``scores``: 1 or 0 without foreground. nan of no image."""
        return self._dice / self.images if self.images else np.full(len(self.grid), np.nan)

    def best(self) -> float:
        """The threshold with the highest ``dice``; of all within ``SAME`` of it the nearest to 0.5, then the lower."""
        least = self._dice.max() - SAME * self.images
        equals = [one for one, dice in zip(self.grid, self._dice, strict=True) if dice >= least]
        return min(equals, key=lambda one: (round(abs(one - 0.5), 9), one))

    def curve(self, chosen: float) -> Curve:
        """Precision and recall over the pixels of all images, foreground of any class; nan where nothing was found."""
        both, predicted = self._pixels.astype(float)
        precision = both / np.where(predicted > 0, predicted, np.nan)
        recall = both / (self._true or np.nan)
        return Curve(np.array(self.grid), precision, recall, chosen)

    def _at_least(self, level: NDArray[np.intp], found: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
        """The pixels of each class (rows) at each threshold, of the place of the highest that each pixel reaches."""
        steps = len(self.grid)
        counts = np.bincount((found.astype(np.intp) - 1) * steps + level, minlength=classes * steps)
        at_least: NDArray[np.int64] = counts.reshape(classes, steps)[:, ::-1].cumsum(axis=1)[:, ::-1]
        return at_least


def _mean_dice(both: NDArray[np.int64], total: NDArray[np.int64]) -> NDArray[np.float64]:
    """At each threshold (columns), the mean over the classes (rows) that truth or prediction holds; 1 of none."""
    counted = total > 0
    dice = np.where(counted, 2 * both / np.maximum(total, 1), 0)
    classes = counted.sum(axis=0)
    mean: NDArray[np.float64] = np.where(classes > 0, dice.sum(axis=0) / np.maximum(classes, 1), 1.0)
    return mean
