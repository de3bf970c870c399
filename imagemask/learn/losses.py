"""The losses there are, by name. ``dice_cross_entropy`` is the default.

Those that end in ``_loss`` are the seeds', to the constant: a ratio over all pixels of a batch (see ``formulas``), or
with one in it. ``ssim_loss`` and all others are a value an image, and the loss of a batch is their mean. Truth and
prediction as ``formulas`` says.

All are finite, and so are their gradients, for any truth and any probabilities, 0 and 1 included, in float16 and
bfloat16 too: sums are taken in float32, logarithms of probabilities at least 1e-7 from 0 and 1.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from imagemask.errors import UsageError
from imagemask.learn import Tensor, formulas, nearest

DEFAULT = "dice_cross_entropy"

Formula = Callable[..., Tensor]
"""Truth and prediction to a loss an image, ``B``, or one for the batch, a scalar. Keywords are its parameters."""


def dice_cross_entropy(truth: Tensor, prediction: Tensor, *, dice_weight: float = 0.5, smooth: float = 1.0) -> Tensor:
    """``dice_weight`` of an image's soft Dice loss, and the rest of its cross-entropy: ``B``.

    The Dice loss is 1 - (2 sum(t p) + s) / (sum t + sum p + s) over the pixels of an image, s being ``smooth``, a mean
    over the foreground classes. An image without foreground has a Dice loss of sum p / (sum p + s), 0 only where
    nothing is predicted. Source: Isensee et al., nnU-Net, Nature Methods 2021, 18:203.
    """
    dice = tversky(truth, prediction, alpha=0.5, beta=0.5, smooth=smooth / 2)
    return dice_weight * dice + (1 - dice_weight) * cross_entropy(truth, prediction)


def cross_entropy(truth: Tensor, prediction: Tensor) -> Tensor:
    """Binary for one class, categorical for several, a mean over an image's pixels: ``B``.

    For classes that overlap (a sigmoid over several channels) it is wrong, and ``binary_crossentropy`` right.
    """
    return (binary_crossentropy if prediction.shape[-1] == 1 else categorical_crossentropy)(truth, prediction)


def binary_crossentropy(truth: Tensor, prediction: Tensor) -> Tensor:
    """Keras' own, a mean over an image's pixels and channels: ``B``."""
    truth, prediction = formulas.aligned(truth, prediction)
    return ops.mean(keras.losses.binary_crossentropy(truth, prediction), axis=(1, 2))


def categorical_crossentropy(truth: Tensor, prediction: Tensor) -> Tensor:
    """Keras' own, a mean over an image's pixels: ``B``. Raises ValueError for one class, where it would always be 0."""
    truth, prediction = formulas.aligned(truth, prediction)
    if prediction.shape[-1] == 1:
        raise ValueError("categorical cross-entropy needs several classes; binary_crossentropy is for one")
    return ops.mean(keras.losses.categorical_crossentropy(truth, prediction), axis=(1, 2))


def focal(truth: Tensor, prediction: Tensor, *, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """Cross-entropy times (1 - probability of the truth) ** gamma, a mean over an image's pixels: ``B``.

    Pixels of foreground weigh ``alpha``, those of background 1 - ``alpha``. Source: Lin et al., Focal Loss, ICCV 2017.
    """
    truth, prediction = formulas.aligned(truth, prediction)
    if prediction.shape[-1] == 1:
        truth, prediction = (ops.concatenate([1 - one, one], axis=-1) for one in (truth, prediction))
    epsilon = keras.config.epsilon()
    doubt = ops.clip(1 - prediction, epsilon, 1.0) ** gamma
    terms = truth * doubt * -ops.log(ops.clip(prediction, epsilon, 1.0))
    background, others = terms[..., 0], ops.sum(terms[..., 1:], axis=-1)
    return ops.mean((1 - alpha) * background + alpha * others, axis=(1, 2))


def tversky(
    truth: Tensor,
    prediction: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 1.0,
) -> Tensor:
    """1 - (TP + s) / (TP + alpha FP + beta FN + s) of an image, a mean over its foreground classes: ``B``.

    TP = sum(t p), FP = sum((1 - t) p), FN = sum(t (1 - p)), and s is ``smooth``. Source: Salehi et al., Tversky loss,
    MLMI 2017, arXiv:1706.05721.
    """
    truth, prediction = formulas.aligned(truth, prediction)
    both, true, predicted = formulas.overlaps(formulas.foreground(truth), formulas.foreground(prediction))
    wrong = alpha * (predicted - both) + beta * (true - both)
    return ops.mean(1 - (both + smooth) / (both + wrong + smooth), axis=-1)


def dice_loss(truth: Tensor, prediction: Tensor) -> Tensor:
    """1 - ``dice_coef``: a scalar."""
    return 1 - formulas.dice_coef(truth, prediction)


def dice_loss_multiclass(truth: Tensor, prediction: Tensor) -> Tensor:
    """1 - ``dice_coef_multiclass``: a scalar."""
    return 1 - formulas.dice_coef_multiclass(truth, prediction)


def iou_loss(truth: Tensor, prediction: Tensor) -> Tensor:
    """1 - ``iou_coef``: a scalar."""
    return 1 - formulas.iou_coef(truth, prediction)


def bce_dice_loss(truth: Tensor, prediction: Tensor) -> Tensor:
    """Half of the binary cross-entropy and half of ``dice_loss``: ``B``."""
    return (binary_crossentropy(truth, prediction) + dice_loss(truth, prediction)) / 2


def bce_iou_loss(truth: Tensor, prediction: Tensor) -> Tensor:
    """Half of the binary cross-entropy and half of ``iou_loss``: ``B``."""
    return (binary_crossentropy(truth, prediction) + iou_loss(truth, prediction)) / 2


def ssim_loss(truth: Tensor, prediction: Tensor) -> Tensor:
    """1 - structural similarity: ``B``. Raises ValueError for pictures under 11 pixels a side."""
    return 1 - formulas.ssim(truth, prediction)


def basnet_hybrid_loss(truth: Tensor, prediction: Tensor) -> Tensor:
    """A third each of binary cross-entropy, ``ssim_loss`` and ``iou_loss``: ``B``.

    Raises ValueError for pictures under 11 pixels a side. Source: Qin et al., BASNet, CVPR 2019.
    """
    parts = (loss(truth, prediction) for loss in (binary_crossentropy, ssim_loss, iou_loss))
    return sum(parts) / 3


_FORMULAS: dict[str, Formula] = {
    formula.__name__: formula
    for formula in (
        *(dice_cross_entropy, cross_entropy, binary_crossentropy, categorical_crossentropy, focal, tversky),
        *(dice_loss, dice_loss_multiclass, iou_loss, bce_dice_loss, bce_iou_loss, ssim_loss, basnet_hybrid_loss),
    )
}

_SHARE, _SIZE = (0.0, 1.0), (0.0, 100.0)
_LIMITS: dict[str, tuple[float, float]] = {
    "dice_cross_entropy.dice_weight": _SHARE,
    "dice_cross_entropy.smooth": (1e-6, 1e6),
    "focal.gamma": _SIZE,
    "focal.alpha": _SHARE,
    "tversky.alpha": _SIZE,
    "tversky.beta": _SIZE,
    "tversky.smooth": (1e-6, 1e6),
}
"""The least and the most that a parameter may be. ``smooth`` keeps from dividing by 0."""


@keras.saving.register_keras_serializable("imagemask")
class SegmentationLoss(keras.losses.Loss):
    """A formula of this module as a Keras loss, which is saved with a model.

    Sample weights, one an image, weigh the images of a batch; of a pooled ratio they only scale the value.
    """

    def __init__(
        self,
        formula: str = DEFAULT,
        parameters: Mapping[str, float] | None = None,
        *,
        name: str | None = None,
        reduction: str = "sum_over_batch_size",
        dtype: Any = "float32",
    ) -> None:
        super().__init__(name=name or formula, reduction=reduction, dtype=dtype)
        self.formula = formula
        self.parameters = dict(parameters or {})

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The loss an image, ``B``, or a scalar."""
        return _FORMULAS[self.formula](y_true, y_pred, **self.parameters)

    def get_config(self) -> dict[str, Any]:
        """What makes an equal loss."""
        return {**super().get_config(), "formula": self.formula, "parameters": self.parameters}


def names() -> list[str]:
    """The names, sorted."""
    return sorted(_FORMULAS)


def parameters(name: str) -> dict[str, float]:
    """The parameters of a loss and their defaults. Raises UsageError for a name that there is not."""
    if name not in _FORMULAS:
        raise UsageError(f"there is no loss called {name!r}", remedy=nearest(name, names()))
    keywords = inspect.signature(_FORMULAS[name]).parameters.values()
    return {one.name: one.default for one in keywords if one.kind is one.KEYWORD_ONLY}


def build(name: str = DEFAULT, given: Mapping[str, float] | None = None) -> SegmentationLoss:
    """A loss by name, with parameters other than their defaults where they are given.

    Raises UsageError for a name or a parameter that there is not, with the nearest one, and for a value that is no
    number or out of range.
    """
    known = parameters(name)
    for key, value in (given or {}).items():
        if key not in known:
            raise UsageError(f"the loss {name} has no parameter {key!r}", remedy=nearest(key, sorted(known)))
        low, high = _LIMITS[f"{name}.{key}"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise UsageError(f"{key} = {value!r} of the loss {name} is not a number from {low:g} to {high:g}")
    return SegmentationLoss(name, given)
