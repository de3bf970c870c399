"""For the tests of imagemask.learn: plain numpy versions of its formulas, masks to try them on, gradients of a backend.

The numpy versions take one image at a time, in float64, as the formulas are printed; the package is not asked.
"""

import keras
import numpy as np
from hypothesis import strategies as st

SIDE = 12
EDGES = (0.0, 1.0, 1e-45, 1e-30, 1e-8, 1 - 2**-24, 0.5)
"""Probabilities at which something may overflow, vanish, divide by 0 or tie."""


@st.composite
def pairs(draw, classes=st.sampled_from([1, 2, 4]), images=2, edges=st.sampled_from([0.0, 0.3, 1.0])):
    """Truth as one-hot (or one channel of 0 and 1), and probabilities, some of them at the edges: float32, BxHxWxK."""
    count, share = draw(classes), draw(edges)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (images, SIDE, SIDE)
    ids = rng.integers(0, max(2, count), shape)
    for image in range(images):
        kind = draw(st.sampled_from(["mixed", "empty", "full"]))
        ids[image] = {"mixed": ids[image], "empty": 0, "full": max(1, count - 1)}[kind]
    scores = rng.random((*shape, count))
    chosen = rng.random(shape) < share
    if count == 1:
        edge = rng.choice(draw(st.lists(st.sampled_from(EDGES), min_size=1)), shape)
        probabilities = np.where(chosen, edge, scores[..., 0])[..., None]
        return ids[..., None].astype("float32"), probabilities.astype("float32")
    certain = np.eye(count)[rng.integers(0, count, shape)]
    probabilities = np.where(chosen[..., None], certain, scores / scores.sum(-1, keepdims=True))
    return np.eye(count)[ids].astype("float32"), probabilities.astype("float32")


def evaluate(function, truth, prediction):
    """The value of a function of two tensors, as numpy."""
    return keras.ops.convert_to_numpy(
        function(keras.ops.convert_to_tensor(truth), keras.ops.convert_to_tensor(prediction))
    )


def gradient(function, prediction):
    """The gradient of the sum of ``function(prediction)``, as float64 numpy, on whichever backend is in use."""
    value = keras.ops.convert_to_tensor(prediction)
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(value)
            total = keras.ops.sum(keras.ops.cast(function(value), "float32"))
        found = tape.gradient(total, value)
    else:
        import jax

        found = jax.grad(lambda one: keras.ops.sum(keras.ops.cast(function(one), "float32")))(value)
    return keras.ops.convert_to_numpy(keras.ops.cast(found, "float32")).astype("float64")


def floats(truth, prediction):
    return truth.astype("float64"), prediction.astype("float64")


# --- the seeds' pooled formulas: scalars ---


def dice_coef(truth, prediction):
    t, p = floats(truth, prediction)
    return (2 * (t * p).sum() + 1) / (t.sum() + p.sum() + 1)


def iou_coef(truth, prediction):
    t, p = floats(truth, prediction)
    union = (t + p - t * p).sum()
    return (t * p).sum() / union if union > 1e-7 else 1.0


def sensitivity(truth, prediction):
    both = truth * prediction  # in float32: what is rounded may lie at a half
    return np.round(np.clip(both, 0, 1)).sum() / (np.round(np.clip(truth, 0, 1)).sum() + 1e-7)


def specificity(truth, prediction):
    t, p = (1 - one for one in (truth, prediction))  # in float32, as 1 - p is rounded there
    return sensitivity(t, p)


def dice_coef_multiclass(truth, prediction):
    return np.mean([dice_coef(t, p) for t, p in zip(truth, prediction, strict=True)])


# --- losses: one value an image, or a scalar ---


def binary_crossentropy(truth, prediction):
    t, p = floats(truth, np.clip(prediction, np.float32(1e-7), np.float32(1 - 1e-7)))
    return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean((1, 2, 3))


def categorical_crossentropy(truth, prediction):
    t, p = floats(
        truth, np.clip(prediction / prediction.sum(-1, keepdims=True), np.float32(1e-7), np.float32(1 - 1e-7))
    )
    return -(t * np.log(p)).sum(-1).mean((1, 2))


def cross_entropy(truth, prediction):
    return (binary_crossentropy if truth.shape[-1] == 1 else categorical_crossentropy)(truth, prediction)


def foreground(masks):
    return masks if masks.shape[-1] == 1 else masks[..., 1:]


def per_image(score):
    """The mean over foreground classes of ``score(t, p)``, for each image."""

    def scored(truth, prediction):
        t, p = floats(foreground(truth), foreground(prediction))
        return np.array(
            [np.mean([score(a[..., k], b[..., k]) for k in range(a.shape[-1])]) for a, b in zip(t, p, strict=True)]
        )

    return scored


dice_per_image = per_image(lambda t, p: 1 - (2 * (t * p).sum() + 1) / (t.sum() + p.sum() + 1))


def dice_cross_entropy(truth, prediction):
    return (dice_per_image(truth, prediction) + cross_entropy(truth, prediction)) / 2


def focal(truth, prediction):
    t, p = floats(truth, prediction)
    if t.shape[-1] == 1:
        t, p = (np.concatenate([1 - one, one], -1) for one in (t, p))
        p[..., 0] = (1 - prediction)[..., 0]
    weights = np.where(np.arange(t.shape[-1]) == 0, 0.75, 0.25)
    return -(weights * t * (1 - p) ** 2 * np.log(np.maximum(p, 1e-7))).sum(-1).mean((1, 2))


tversky = per_image(
    lambda t, p: 1 - ((t * p).sum() + 1) / ((t * p).sum() + 0.3 * ((1 - t) * p).sum() + 0.7 * (t * (1 - p)).sum() + 1)
)


def ssim(truth, prediction):
    t, p = floats(truth, prediction)
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    found = np.zeros(len(t))
    for image, channel, y, x in np.ndindex(len(t), t.shape[-1], t.shape[1] - 10, t.shape[2] - 10):
        a, b = (one[image, y : y + 11, x : x + 11, channel] for one in (t, p))
        mean_a, mean_b = (window * a).sum(), (window * b).sum()
        spread = (window * (a - mean_a) ** 2).sum() + (window * (b - mean_b) ** 2).sum()
        together = (window * (a - mean_a) * (b - mean_b)).sum()
        luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
        found[image] += luminance * (2 * together + 9e-4) / (spread + 9e-4)
    return found / (t.shape[-1] * (t.shape[1] - 10) * (t.shape[2] - 10))


LOSSES = {
    "dice_cross_entropy": dice_cross_entropy,
    "cross_entropy": cross_entropy,
    "binary_crossentropy": binary_crossentropy,
    "categorical_crossentropy": categorical_crossentropy,
    "focal": focal,
    "tversky": tversky,
    "dice_loss": lambda t, p: 1 - dice_coef(t, p),
    "dice_loss_multiclass": lambda t, p: 1 - dice_coef_multiclass(t, p),
    "iou_loss": lambda t, p: 1 - iou_coef(t, p),
    "bce_dice_loss": lambda t, p: (binary_crossentropy(t, p) + 1 - dice_coef(t, p)) / 2,
    "bce_iou_loss": lambda t, p: (binary_crossentropy(t, p) + 1 - iou_coef(t, p)) / 2,
    "ssim_loss": lambda t, p: 1 - ssim(t, p),
    "basnet_hybrid_loss": lambda t, p: (binary_crossentropy(t, p) + 2 - ssim(t, p) - iou_coef(t, p)) / 3,
}
POOLED = {one.__name__: one for one in (dice_coef, iou_coef, sensitivity, specificity, dice_coef_multiclass)}


# --- metrics of the foreground: one value an image, nan where it does not count ---


def decided(masks, threshold):
    """For each foreground class, a bool picture; classes first."""
    if masks.shape[-1] == 1:
        return [masks[..., 0] >= np.float32(threshold)]
    return [masks.argmax(-1) == k for k in range(1, masks.shape[-1])]


def scored(score, empty):
    def of_image(truth, prediction, threshold):
        found = [
            score((t & p).sum(), (~t & p).sum(), (t & ~p).sum(), (~t & ~p).sum())
            for t, p in zip(decided(truth, 0.5), decided(prediction, threshold), strict=True)
        ]
        found = [one for one in found if one is not None]
        return np.mean(found) if found else empty

    def of_images(truth, prediction, threshold=0.5):
        return np.array([of_image(t, p, threshold) for t, p in zip(truth, prediction, strict=True)])

    return of_images


METRICS = {
    "foreground_dice": scored(lambda tp, fp, fn, _: 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None, 1.0),
    "foreground_iou": scored(lambda tp, fp, fn, _: tp / (tp + fp + fn) if tp + fp + fn else None, 1.0),
    "foreground_sensitivity": scored(lambda tp, _, fn, __: tp / (tp + fn) if tp + fn else None, np.nan),
    "foreground_specificity": scored(lambda _, fp, __, tn: tn / (tn + fp) if tn + fp else None, np.nan),
}
