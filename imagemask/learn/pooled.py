"""The pooled formulas that people report, each beside the value of a prediction that finds nothing at all.

They are those of the seeds (``formulas`` has them for a batch), here over all pixels of all images, on probabilities
and not on masks: sums over one channel under one foreground class, over the background's and every class's under
several. The last two tell most: they come near 1 wherever the background is large.

====================  ==========================================================================================
dice_coef             (2 sum(t p) + 1) / (sum t + sum p + 1)
iou_coef              sum(t p) / sum(t + p - t p); 1 where that would be 0 / 0
sensitivity           sum(round(t p)) / (sum t + 1e-7)
specificity           ``sensitivity`` of 1 - t and 1 - p
binary_accuracy       the share of values where p > 0.5 is t
dice_coef_multiclass  ``dice_coef`` of each image over the background's channel and every class's, then the mean;
                      one class is given a background of 1 - p
====================  ==========================================================================================
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from imagemask.learn.infer import Probabilities

_EPSILON = 1e-7
_SMOOTH = 1.0


class PooledScore(NamedTuple):
    """A formula by name, its value, and what predicting background everywhere gets on the same images."""

    name: str
    value: float
    all_background: float


class PooledScores:
    """The formulas over many images, one at a time."""

    def __init__(self) -> None:
        self._predicted, self._nothing = _Sums(), _Sums()

    def add(self, probabilities: Probabilities, truth: NDArray[np.uint8]) -> None:
        """Count an image: HxWxK, and class ids HxW."""
        classes = probabilities.shape[-1]
        held = (truth > 0)[..., None] if classes == 1 else truth[..., None] == np.arange(classes)
        true = held.astype(np.float32)
        nothing = np.zeros_like(probabilities)
        if classes > 1:
            nothing[..., 0] = 1
        self._predicted.add(true, probabilities)
        self._nothing.add(true, nothing)

    def result(self) -> list[PooledScore]:
        """Every formula, in the order of the table. Raises ValueError where no image was added."""
        if not self._predicted.images:
            raise ValueError("no image was added")
        nothing = self._nothing.values()
        return [PooledScore(name, value, nothing[name]) for name, value in self._predicted.values().items()]


class _Sums:
    """What the formulas are made of, over the values of every channel."""

    def __init__(self) -> None:
        self.images = self.values_seen = self.right = self.found = self.cleared = 0
        self.both = self.true = self.predicted = self.multiclass = 0.0

    def add(self, true: NDArray[np.float32], p: NDArray[np.float32]) -> None:
        """Count an image, HxWxK each; the truth is 0 or 1. Products in float32, as formulas have them; sums exact."""
        product = true * p
        both, trues, predicted = (float(one.sum(dtype=np.float64)) for one in (product, true, p))
        self.images += 1
        self.values_seen += true.size
        self.right += int(np.count_nonzero((p > 0.5) == (true > 0)))
        self.found += int(np.count_nonzero(product > 0.5))
        self.cleared += int(np.count_nonzero((1 - true) * (1 - p) > 0.5))
        self.both, self.true, self.predicted = self.both + both, self.true + trues, self.predicted + predicted
        if p.shape[-1] == 1:
            both += float(((1 - true) * (1 - p)).sum(dtype=np.float64))
            trues = predicted = true.size
        self.multiclass += (2 * both + _SMOOTH) / (trues + predicted + _SMOOTH)

    def values(self) -> dict[str, float]:
        """Every formula by name."""
        union = self.true + self.predicted - self.both
        return {
            "dice_coef": (2 * self.both + _SMOOTH) / (self.true + self.predicted + _SMOOTH),
            "iou_coef": self.both / union if union >= _EPSILON else 1.0,
            "sensitivity": self.found / (self.true + _EPSILON),
            "specificity": self.cleared / (self.values_seen - self.true + _EPSILON),
            "binary_accuracy": self.right / self.values_seen,
            "dice_coef_multiclass": self.multiclass / self.images,
        }
