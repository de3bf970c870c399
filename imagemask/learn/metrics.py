"""The metrics there are while training, by name.

Those of the foreground score every image by itself, over thresholded masks, and are the mean over all images of an
epoch: they do not depend on batches. Under several classes, an image's score is the mean over the foreground classes
that count for it. Where a score has nothing to divide by:

- ``foreground_dice`` and ``foreground_iou``: a class that neither truth nor prediction holds does not count; an image
  without any class that counts, truth and prediction empty, scores 1;
- ``foreground_sensitivity``: a class that the truth does not hold does not count, nor does an image without any;
- ``foreground_specificity``: a class that fills the truth does not count, nor does an image without any other.

An epoch in which no image counts gives 0. The others are the seeds' pooled formulas, a mean over batches, on
probabilities and not on masks; see ``formulas``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import keras
from keras import ops

from imagemask.errors import UsageError
from imagemask.learn import Tensor, formulas, nearest

Counts = tuple[Tensor, Tensor, Tensor, Tensor]
"""True positives, false positives, false negatives, true negatives: pixels of each image and class, ``B x K``."""

_POOLED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    formula.__name__: formula
    for formula in (
        *(formulas.dice_coef, formulas.iou_coef, formulas.sensitivity, formulas.specificity),
        formulas.dice_coef_multiclass,
    )
}


def confusion(truth: Tensor, prediction: Tensor, threshold: float = 0.5) -> Counts:
    """The pixels of each image and foreground class by outcome, ``B x K`` in float32 (exact below 2**24 pixels).

    One class is foreground where its probability is at least ``threshold``; of several, the most probable is taken
    (the first of equals), and there is no threshold.
    """
    truth, prediction = formulas.aligned(truth, prediction)
    true, predicted = (formulas.foreground(_decided(one, at)) for one, at in ((truth, 0.5), (prediction, threshold)))
    both, true_sum, predicted_sum = formulas.overlaps(true, predicted)
    pixels = truth.shape[1] * truth.shape[2]
    return both, predicted_sum - both, true_sum - both, pixels - true_sum - predicted_sum + both


def _decided(masks: Tensor, threshold: float) -> Tensor:
    if masks.shape[-1] == 1:
        return ops.cast(masks >= threshold, "float32")
    return ops.one_hot(ops.argmax(masks, axis=-1), masks.shape[-1], dtype="float32")


class _PerImage(keras.metrics.Mean):
    """A mean over images. A subclass says a score's numerator and denominator, and what an image without one gets."""

    title: ClassVar[str]
    """The name in the registry, and in a history."""
    empty: ClassVar[float | None] = None
    """The score of an image in which no class counts; None leaves it out."""

    def __init__(self, threshold: float = 0.5, *, name: str | None = None, dtype: Any = "float32") -> None:
        super().__init__(name=name or self.title, dtype=dtype)
        self.threshold = threshold

    def fraction(self, counts: Counts) -> tuple[Tensor, Tensor]:
        """Numerator and denominator, ``B x K``; a class counts where the denominator is over 0."""
        raise NotImplementedError

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Add the images of a batch; ``sample_weight`` is one an image, ``B`` or ``B x 1``."""
        numerator, denominator = self.fraction(confusion(y_true, y_pred, self.threshold))
        counted = ops.sum(ops.cast(denominator > 0, "float32"), axis=-1)
        scores = ops.sum(formulas.ratio(numerator, denominator, empty=0.0), axis=-1)
        weights = ops.cast(counted > 0, "float32") if self.empty is None else ops.ones_like(counted)
        if sample_weight is not None:
            weights = weights * ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
        super().update_state(formulas.ratio(scores, counted, empty=self.empty or 0.0), weights)

    def get_config(self) -> dict[str, Any]:
        """What makes an equal metric."""
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable("imagemask")
class ForegroundDice(_PerImage):
    """2 TP / (2 TP + FP + FN) of an image, a mean over images; 1 where truth and prediction are empty."""

    title = "foreground_dice"
    empty = 1.0

    def fraction(self, counts: Counts) -> tuple[Tensor, Tensor]:
        """2 TP, and 2 TP + FP + FN."""
        both, extra, missed, _ = counts
        return 2 * both, 2 * both + extra + missed


@keras.saving.register_keras_serializable("imagemask")
class ForegroundIoU(_PerImage):
    """TP / (TP + FP + FN) of an image, a mean over images; 1 where truth and prediction are empty."""

    title = "foreground_iou"
    empty = 1.0

    def fraction(self, counts: Counts) -> tuple[Tensor, Tensor]:
        """TP, and TP + FP + FN."""
        both, extra, missed, _ = counts
        return both, both + extra + missed


@keras.saving.register_keras_serializable("imagemask")
class ForegroundSensitivity(_PerImage):
    """TP / (TP + FN) of an image, a mean over the images that hold foreground."""

    title = "foreground_sensitivity"

    def fraction(self, counts: Counts) -> tuple[Tensor, Tensor]:
        """TP, and TP + FN."""
        both, _, missed, _ = counts
        return both, both + missed


@keras.saving.register_keras_serializable("imagemask")
class ForegroundSpecificity(_PerImage):
    """TN / (TN + FP) of an image, a mean over the images that are not all foreground."""

    title = "foreground_specificity"

    def fraction(self, counts: Counts) -> tuple[Tensor, Tensor]:
        """TN, and TN + FP."""
        _, extra, _, neither = counts
        return neither, neither + extra


@keras.saving.register_keras_serializable("imagemask")
class Pooled(keras.metrics.Mean):
    """One of the seeds' formulas over each batch, a mean over batches."""

    def __init__(self, formula: str, *, name: str | None = None, dtype: Any = "float32") -> None:
        super().__init__(name=name or formula, dtype=dtype)
        self.formula = formula

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Add a batch. Raises ValueError for sample weights: a pooled ratio has no place for them."""
        if sample_weight is not None:
            raise ValueError(f"{self.formula} is pooled over a batch and takes no sample weights")
        super().update_state(_POOLED[self.formula](y_true, y_pred))

    def get_config(self) -> dict[str, Any]:
        """What makes an equal metric."""
        return {**super().get_config(), "formula": self.formula}


_PER_IMAGE: dict[str, type[_PerImage]] = {
    kind.title: kind for kind in (ForegroundDice, ForegroundIoU, ForegroundSensitivity, ForegroundSpecificity)
}

DEFAULT = tuple(_PER_IMAGE)
"""What is shown while training, unless a configuration says otherwise."""


def names() -> list[str]:
    """The names, sorted."""
    return sorted((*_PER_IMAGE, *_POOLED))


def build(name: str, *, threshold: float = 0.5) -> keras.metrics.Metric:
    """A metric by name; ``threshold`` is that of the foreground's. Raises UsageError for a name that there is not."""
    if name in _PER_IMAGE:
        return _PER_IMAGE[name](threshold)
    if name in _POOLED:
        return Pooled(name)
    raise UsageError(f"there is no metric called {name!r}", remedy=nearest(name, names()))
