"""Probabilities of a trained network, an image at a time, and the labels that they come to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras

Probabilities = NDArray[np.float32]
"""HxWxK: one channel, the foreground's; or the background's and every class's, with a sum of 1."""

_FLIPS = ((), (0,), (1,), (0, 1))
"""The axes of an image that are mirrored, one after another."""


def probabilities(
    model: keras.Model, images: Iterable[NDArray[np.uint8]], *, batch_size: int = 8, flips: bool = False
) -> Iterator[Probabilities]:
    """The probabilities of each image, in order. ``images`` are HxWxC, all of the model's input size.

    Every batch has ``batch_size`` images, the last one filled up with zeros: one shape, compiled once. With ``flips``
    the mean over the image and its three mirror images, each mirrored back.
    """
    rest = iter(images)
    while batch := list(islice(rest, batch_size)):
        stack = np.zeros((batch_size, *batch[0].shape), np.uint8)
        stack[: len(batch)] = batch
        ways = _FLIPS if flips else _FLIPS[:1]
        done = [_mirrored(_predicted(model, _mirrored(stack, axes)), axes) for axes in ways]
        mean: NDArray[np.float32] = np.stack(done).mean(axis=0, dtype=np.float32) if flips else done[0]
        yield from mean[: len(batch)]


def decide(probabilities: Probabilities, threshold: float) -> NDArray[np.uint8]:
    """Class ids, HxW: the foreground where it reaches ``threshold``; of several classes the most probable.

    Under several classes a pixel is foreground where its foreground classes together reach ``threshold``, and is then
    of the most probable of them (the first of equals).
    """
    if probabilities.shape[-1] == 1:
        return (probabilities[..., 0] >= threshold).astype(np.uint8)
    inside = 1 - probabilities[..., 0] >= threshold
    return np.where(inside, probabilities[..., 1:].argmax(axis=-1) + 1, 0).astype(np.uint8)


def foreground(probabilities: Probabilities) -> NDArray[np.float32]:
    """The probability that a pixel is foreground of any class, HxW."""
    return probabilities[..., 0] if probabilities.shape[-1] == 1 else 1 - probabilities[..., 0]


def _predicted(model: keras.Model, stack: NDArray[np.uint8]) -> NDArray[np.float32]:
    found: Any = model.predict_on_batch(stack)
    return np.asarray(found[0] if isinstance(found, list | tuple) else found, np.float32)


def _mirrored(stack: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
    """``stack`` (BxHxWxC) with the given axes of its images turned round."""
    return np.flip(stack, axis=tuple(axis + 1 for axis in axes)) if axes else stack
