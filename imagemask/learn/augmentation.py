"""Images and their masks, altered together, on the device, before a batch is handed to the training step.

An image, less its background, and the coverage of each foreground class of its mask are channels of one stack, which
is flipped and resampled as a whole: the two cannot part. What enters a picture is 0 in the stack, and so background. A
mask is what covers most of a pixel, as ``imagemask.resample.by_coverage`` has it: never a value that was not there.

Flips, contrast, brightness and noise are Keras' own layers. What warps is drawn here, composed, and resampled once,
because Keras' layers (3.15) resample each for itself: four in a row blur, cut away what the next would bring back, and
take over 10 times as long on JAX. RandomShear turns about a corner, and so shifts; RandomZoom refuses to shrink below a
half. RandomElasticTransform draws one and the same field for x and y, of one strength for a whole batch, which folds
the picture; it cannot be compiled by JAX.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from imagemask.learn import Tensor, backend
from imagemask.learn.settings import Augmentation

_CELLS = 4
"""A picture is bent by a cubic B-spline over this many cells a side."""
_KNOTS = _CELLS + 3


class Augmenter:
    """``augmenter(images, labels, seeds)``: the same for the same seeds, on one backend, whatever was called before.

    ``classes`` are the output channels of the model: 1 for one foreground class alone, else the background and every
    class. ``background``, 0..255, is what enters a picture where it is moved. The arithmetic is float32, whatever
    Keras' dtype policy is.
    """

    def __init__(self, asked: Augmentation, *, classes: int, background: int = 0) -> None:
        self._asked = asked
        self._foreground = np.arange(1, max(2, classes), dtype=np.uint8)
        self._background = float(background)
        self._flips, self._intensity = _flips(asked), _intensity(asked)
        self._warps = any(
            (asked.rotation, asked.translation, asked.zoom_out, asked.zoom_in, asked.shear, asked.elastic)
        )
        self.active = asked.enabled and bool(self._warps or self._flips or self._intensity)
        """Whether anything is altered at all."""
        self._states = [state for layer in (*self._flips, *self._intensity) for state in layer.variables]
        # Two graphs: in one, XLA on a CPU would sample a pixel again for each of its uses.
        self._warped, self._finished = backend.compiled(self._warp), backend.compiled(self._finish)

    def __call__(
        self, images: NDArray[np.uint8 | np.float32], labels: NDArray[np.uint8], seeds: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """``images`` BxHxWxC of 0..255 and their class ids ``labels`` BxHxW, altered: float32 and uint8, on the device.

        ``seeds`` are whole numbers from 0, such as (seed, epoch, step); every image of a batch is drawn for by itself.
        """
        pictures, masks = np.asarray(images), np.asarray(labels)
        if not self.active:
            return pictures.astype(np.float32), masks
        rng = np.random.default_rng(np.random.SeedSequence(tuple(seeds)))
        states = [_state(rng, one) for one in self._states]
        warp = _drawn(rng, self._asked, *masks.shape) if self._warps else None
        altered: tuple[Tensor, Tensor] = self._finished(self._warped(pictures, masks, warp), states)
        return altered

    def _warp(self, images: Tensor, labels: Tensor, warp: _Warp | None) -> Tensor:
        """The stack: the image's channels less the background, and one of 0 and 1 for each foreground class."""
        coverage = ops.cast(ops.equal(labels[..., None], self._foreground), "float32")
        stack = ops.concatenate([ops.cast(images, "float32") - self._background, coverage], axis=-1)
        return stack if warp is None else _sampled(stack, *_places(warp, *stack.shape[1:3]))

    def _finish(self, stack: Tensor, states: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Images and labels of a stack, after the layers."""
        with keras.StatelessScope(state_mapping=list(zip(self._states, states, strict=True))):
            for layer in self._flips:
                stack = layer(stack, training=True)
            channels = stack.shape[-1] - len(self._foreground)
            images = stack[..., :channels] + self._background
            if self._intensity:
                images = images / 255.0
                for layer in self._intensity:
                    images = layer(images, training=True)
                images = 255.0 * ops.clip(images, 0.0, 1.0)
        return images, _most(stack[..., channels:])


def _flips(asked: Augmentation) -> list[keras.layers.Layer]:
    """Two layers: one for both ways draws once, and turns a picture by 180 degrees or leaves it."""
    ways = {"horizontal": asked.flip_horizontal, "vertical": asked.flip_vertical}
    return [keras.layers.RandomFlip(way, seed=0, dtype="float32") for way, wanted in ways.items() if wanted]


def _intensity(asked: Augmentation) -> list[keras.layers.Layer]:
    """Layers for values 0..1. One factor for RandomContrast would only ever raise it, hence two."""
    chain: list[tuple[float, type[keras.layers.Layer], dict[str, object]]] = [
        (asked.contrast, keras.layers.RandomContrast, {"factor": (asked.contrast,) * 2, "value_range": (0, 1)}),
        (asked.brightness, keras.layers.RandomBrightness, {"factor": asked.brightness, "value_range": (0, 1)}),
        (asked.noise, keras.layers.GaussianNoise, {"stddev": asked.noise}),
    ]
    # A seed is given, though never used: for none Keras draws one from Python's generator, which others use.
    return [layer(**given, seed=0, dtype="float32") for value, layer, given in chain if value]


def _state(rng: np.random.Generator, variable: keras.Variable) -> NDArray[np.integer]:
    """A state for a layer's seed generator: 31 bits each, which every backend's type holds."""
    dtype = np.dtype(keras.backend.standardize_dtype(variable.dtype))
    words: NDArray[np.integer] = rng.integers(2**31, size=variable.shape).astype(dtype)
    return words


class _Warp(NamedTuple):
    """Where pixels come from, in pixels (y, x): ``affine`` (Bx2x3) times (y, x, 1), and ``knots`` (Bx2xKxK) or none.

    ``knots`` are the coefficients of the spline that is added.
    """

    affine: NDArray[np.float32]
    knots: NDArray[np.float32] | None


def _drawn(rng: np.random.Generator, asked: Augmentation, batch: int, height: int, width: int) -> _Warp:
    """A warp for each image: sheared, turned, scaled and shifted, about its centre ((w-1)/2, (h-1)/2); then bent."""
    middle, size = np.array([[height - 1], [width - 1]]) / 2, np.array([[height], [width]])
    angle = math.radians(asked.rotation) * rng.uniform(-1, 1, batch)
    scale = rng.uniform(1 - asked.zoom_out, 1 + asked.zoom_in, batch)
    shift = asked.translation * size * rng.uniform(-1, 1, (batch, 2, 1))
    down, aside = asked.shear * rng.uniform(-1, 1, (2, batch))
    one, none = np.ones(batch), np.zeros(batch)
    turned = _matrices(np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)) / scale[:, None, None]
    matrix = _matrices(one, none, aside, one) @ _matrices(one, down, none, one) @ turned
    affine = np.concatenate([matrix, middle - matrix @ (middle + shift)], axis=-1)
    knots = rng.uniform(-1, 1, (batch, 2, _KNOTS, _KNOTS)) * asked.elastic * size[..., None]
    return _Warp(affine.astype(np.float32), knots.astype(np.float32) if asked.elastic else None)


def _matrices(*entries: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bx2x2, of four times B entries, row by row."""
    return np.stack(entries, axis=-1).reshape(-1, 2, 2)


def _places(warp: _Warp, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Where each pixel of the outcome comes from: y and x, both BxHxW, in pixels."""
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    by = warp.affine[..., None, None]
    y, x = (by[:, axis, 0] * rows + by[:, axis, 1] * columns + by[:, axis, 2] for axis in (0, 1))
    if warp.knots is None:
        return y, x
    bend = ops.matmul(ops.matmul(_spline(height), warp.knots), _spline(width).T)
    return y + bend[:, 0], x + bend[:, 1]


def _spline(size: int) -> NDArray[np.float32]:
    """What each coefficient of a uniform cubic B-spline weighs at ``size`` pixel centres: none below 0, sums of 1.

    So a bend is never larger than its largest coefficient.
    """
    place = (np.arange(size) + 0.5) * _CELLS / size
    cell = np.floor(place).astype(int)
    t = place - cell
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    basis = np.zeros((size, _KNOTS), np.float32)
    for number, weight in enumerate(weights):
        basis[np.arange(size), cell + number] = weight / 6
    return basis


def _sampled(stack: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """``stack`` (BxHxWxC) at the places ``y`` and ``x`` (BxHxW, in pixels): linear between its pixels, 0 outside."""
    batch, height, width, channels = stack.shape
    top, left = ops.floor(y), ops.floor(x)
    down, right = y - top, x - left
    top, left = ops.cast(top, "int32"), ops.cast(left, "int32")
    pixels = ops.reshape(stack, (batch * height * width, channels))
    image = np.arange(batch, dtype=np.int32)[:, None, None] * (height * width)
    total = 0.0
    for row, by_row in ((top, 1.0 - down), (top + 1, down)):
        for column, by_column in ((left, 1.0 - right), (left + 1, right)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight = ops.where(inside, by_row * by_column, 0.0)
            at = image + ops.clip(row, 0, height - 1) * width + ops.clip(column, 0, width - 1)
            total = total + weight[..., None] * ops.take(pixels, at, axis=0)
    return total


def _most(coverage: Tensor) -> Tensor:
    """The class id that covers most of each pixel (BxHxWxK to uint8 BxHxW).

    The background covers what no class does. A tie goes to the foreground, and among classes to the first.
    """
    best = total = coverage[..., 0]
    winner = ops.ones_like(best, dtype="uint8")
    for number in range(1, coverage.shape[-1]):
        one = coverage[..., number]
        winner = ops.where(one > best, ops.cast(number + 1, "uint8"), winner)
        best, total = ops.maximum(best, one), total + one
    return ops.where(best >= 1.0 - total, winner, ops.cast(0, "uint8"))
