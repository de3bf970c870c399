"""What losses and metrics are made of: truth and prediction in one form, counts, and the seeds' pooled formulas.

Truth is ``B x H x W x 1`` (0 and 1 under one class, else class ids) or one-hot, ``B x H x W x K`` as the prediction is;
the last axis may be missing where it would be 1. Predictions are probabilities. Every sum is taken in float32: those
of half precision stop growing at a few thousand pixels.

The pooled formulas take one ratio over all pixels of a batch, so that they depend on which images share one, and a
large mask outweighs a small one. They are kept, to the constant, because people report them.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from imagemask.learn import Tensor
from imagemask.learn.settings import SSIM_WINDOW

_EPSILON = 1e-7
_SMOOTH = 1.0


def aligned(truth: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float32 with the shape of ``prediction``, ``B x H x W x K``; class ids become one-hot.

    Raises ValueError for a truth with another number of channels.
    """
    prediction = ops.cast(prediction, "float32")
    classes = prediction.shape[-1]
    if len(truth.shape) == len(prediction.shape) - 1:
        truth = ops.expand_dims(truth, -1)
    if truth.shape[-1] == classes:
        return ops.cast(truth, "float32"), prediction
    if truth.shape[-1] != 1:
        raise ValueError(f"the truth has {truth.shape[-1]} channels; 1 or {classes} fit the prediction")
    return ops.one_hot(ops.cast(ops.squeeze(truth, -1), "int32"), classes, dtype="float32"), prediction


def foreground(masks: Tensor) -> Tensor:
    """The channels that are not background: the only one, or all but the first."""
    return masks if masks.shape[-1] == 1 else masks[..., 1:]


def ratio(numerator: Tensor, denominator: Tensor, empty: float) -> Tensor:
    """A quotient that is ``empty``, with a gradient of 0, where the denominator is under 1e-7 (its square may be 0)."""
    is_empty = denominator < _EPSILON
    return ops.where(is_empty, empty, numerator / ops.where(is_empty, 1.0, denominator))


def overlaps(truth: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of t p, of t and of p over each image, ``B x K`` each."""
    return tuple(ops.sum(one, axis=(1, 2)) for one in (truth * prediction, truth, prediction))


def dice_coef(truth: Tensor, prediction: Tensor) -> Tensor:
    """(2 sum(t p) + 1) / (sum t + sum p + 1), pooled: a scalar. All channels, the background's too."""
    truth, prediction = aligned(truth, prediction)
    return (2 * ops.sum(truth * prediction) + _SMOOTH) / (ops.sum(truth) + ops.sum(prediction) + _SMOOTH)


def iou_coef(truth: Tensor, prediction: Tensor) -> Tensor:
    """sum(t p) / sum(t + p - t p), pooled: a scalar. Where the seeds divide 0 by 0 (nothing anywhere), it is 1."""
    truth, prediction = aligned(truth, prediction)
    both = ops.sum(truth * prediction)
    return ratio(both, ops.sum(truth) + ops.sum(prediction) - both, empty=1.0)


def sensitivity(truth: Tensor, prediction: Tensor) -> Tensor:
    """The pooled sum round(t p) / (sum round(t) + 1e-7), each clipped to 0..1: a scalar, 0 without any foreground."""
    return _rounded_share(*aligned(truth, prediction))


def specificity(truth: Tensor, prediction: Tensor) -> Tensor:
    """``sensitivity`` of 1 - t and 1 - p."""
    truth, prediction = aligned(truth, prediction)
    return _rounded_share(1 - truth, 1 - prediction)


def dice_coef_multiclass(truth: Tensor, prediction: Tensor) -> Tensor:
    """``dice_coef`` of each image over all its channels, the background's too, then the mean: a scalar.

    With a softmax it is the mean probability of the true class, which is high wherever the background is large.
    """
    truth, prediction = aligned(truth, prediction)
    both, true, predicted = (ops.sum(one, axis=-1) for one in overlaps(truth, prediction))
    return ops.mean((2 * both + _SMOOTH) / (true + predicted + _SMOOTH))


def ssim(truth: Tensor, prediction: Tensor) -> Tensor:
    """The structural similarity of each image, ``B``; values 0 to 1, a mean over places and channels.

    A Gaussian window of 11 pixels and sigma 1.5, whole windows only, K1 0.01 and K2 0.03, as in ``tf.image.ssim``.
    Raises ValueError for a picture smaller than the window. Source: Wang et al., IEEE TIP 2004, 13(4):600.
    """
    truth, prediction = aligned(truth, prediction)
    height, width = prediction.shape[1:3]
    if min(height, width) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs pictures of at least {SSIM_WINDOW}x{SSIM_WINDOW} pixels, not {height}x{width}")
    smoothed = _blurred(ops.concatenate([truth, prediction, truth * prediction, truth**2 + prediction**2], axis=-1))
    mean_t, mean_p, product, squares = ops.split(smoothed, 4, axis=-1)
    c1, c2 = 0.01**2, 0.03**2
    means, mean_squares = 2 * mean_t * mean_p, mean_t**2 + mean_p**2
    luminance = (means + c1) / (mean_squares + c1)
    contrast = (2 * product - means + c2) / (squares - mean_squares + c2)
    return ops.mean(luminance * contrast, axis=(1, 2, 3))


def _rounded_share(truth: Tensor, prediction: Tensor) -> Tensor:
    found = ops.sum(ops.round(ops.clip(truth * prediction, 0, 1)))
    return found / (ops.sum(ops.round(ops.clip(truth, 0, 1))) + _EPSILON)


def _blurred(pictures: Tensor) -> Tensor:
    """Each channel under the Gaussian window, first down, then across; only where the whole window fits."""
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * 1.5**2))
    kernel = np.repeat((weights / weights.sum()).astype("float32")[:, None, None, None], pictures.shape[-1], axis=2)
    for one in (kernel, kernel.transpose(1, 0, 2, 3)):
        pictures = ops.depthwise_conv(
            pictures, ops.convert_to_tensor(one), padding="valid", data_format="channels_last"
        )
    return pictures
