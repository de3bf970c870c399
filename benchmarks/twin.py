"""The same in PyTorch, as one would write it there: our UNet, its loss, its metrics, its optimiser, its augmentation.

Layers bear the names that they have in Keras, so that weights can be copied from there. Pictures are NHWC outside, as
they lie in the cache; inside they are NCHW in the memory format channels_last, which is the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from imagemask.learn.models.unet import Options
    from imagemask.learn.settings import Augmentation, Optimiser

_EPSILON = 1e-7
_KERAS_NORM = 1e-3
_KNOTS = 7  # of a bend, along an axis


class Unet(nn.Module):
    """``imagemask.learn.blocks.network``, layer for layer. Pictures BxCxHxW of 0..255 to logits BxKxHxW in float32.

    Raises NotImplementedError for deep supervision.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        if options.deep_supervision:
            raise NotImplementedError("deep supervision has no twin")
        self.options = options
        self.parts = nn.ModuleDict()
        width = options.channels
        for level in range(options.levels):
            self._add_block(f"encoder_{level}", width, level)
            width = options.filters_at(level)
        for level in reversed(range(options.levels - 1)):
            filters = options.filters_at(level)
            if options.upsampling == "transposed":
                self.parts[f"doubled_{level}"] = nn.ConvTranspose2d(width, filters, 2, stride=2)
            else:
                self.parts[f"narrowed_{level}"] = nn.Conv2d(width, filters, 1)
            self._add_block(f"decoder_{level}", 2 * filters, level)
            width = filters
        self.parts["logits"] = nn.Conv2d(width, options.classes, 1)

    def _add_block(self, name: str, width: int, level: int) -> None:
        options, filters = self.options, self.options.filters_at(level)
        kernel, dilation = options.kernel_at(level), options.dilation_at(level)
        biased = options.normalization == "none" or options.normalization_last
        for number, inputs in ((1, width), (2, filters)):
            padding = dilation * (kernel - 1) // 2
            self.parts[f"{name}_conv_{number}"] = nn.Conv2d(
                inputs, filters, kernel, padding=padding, dilation=dilation, bias=biased
            )
            if options.normalization == "batch":
                self.parts[f"{name}_{number}_norm"] = nn.BatchNorm2d(
                    filters, eps=_KERAS_NORM, momentum=1 - options.batch_momentum
                )
            elif options.normalization == "group":
                groups = math.gcd(options.groups, filters)
                self.parts[f"{name}_{number}_norm"] = nn.GroupNorm(groups, filters, eps=_KERAS_NORM)
        if options.residual and width != filters:
            self.parts[f"{name}_shortcut"] = nn.Conv2d(width, filters, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        options, parts = self.options, self.parts
        features = pictures * (1 / 255) if options.rescale_input else pictures
        encoded: list[Tensor] = []
        for level in range(options.levels):
            features = self._block(features, f"encoder_{level}", level)
            encoded.append(features)
            if level < options.levels - 1:
                features = functional.max_pool2d(features, 2)
        for level in reversed(range(options.levels - 1)):
            if options.upsampling == "transposed":
                features = parts[f"doubled_{level}"](features)
            else:
                features = parts[f"narrowed_{level}"](features)
                features = functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
            features = self._block(torch.cat([features, encoded[level]], 1), f"decoder_{level}", level)
        with torch.autocast(features.device.type, enabled=False):
            return parts["logits"](features.float())

    def _block(self, features: Tensor, name: str, level: int) -> Tensor:
        options, parts = self.options, self.parts
        inner = self._finished(parts[f"{name}_conv_1"](features), None, f"{name}_1")
        rate = options.dropout_at(level)
        if rate:
            inner = functional.dropout(inner, rate, self.training)
        inner = parts[f"{name}_conv_2"](inner)
        if not options.residual:
            return self._finished(inner, None, f"{name}_2")
        shortcut = f"{name}_shortcut"
        return self._finished(inner, parts[shortcut](features) if shortcut in parts else features, f"{name}_2")

    def _finished(self, inner: Tensor, shortcut: Tensor | None, name: str) -> Tensor:
        norm = self.parts[f"{name}_norm"] if self.options.normalization != "none" else nn.Identity()
        activation = functional.mish if self.options.activation == "mish" else functional.relu
        if not self.options.normalization_last:
            inner = norm(inner)
        inner = activation(inner if shortcut is None else inner + shortcut)
        return norm(inner) if self.options.normalization_last else inner

    def probabilities(self, logits: Tensor) -> Tensor:
        """BxKxHxW."""
        return torch.sigmoid(logits) if self.options.output == "sigmoid" else torch.softmax(logits, 1)


_NAMES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def copied(network: Unet, variables: Mapping[str, np.ndarray]) -> None:
    """Put Keras' ``variables``, by their paths, into the network. Raises KeyError unless they are the same names."""
    state = network.state_dict()
    left = {name for name in state if not name.endswith("num_batches_tracked")}
    for path, array in variables.items():
        layer, _, what = path.partition("/")
        name = f"parts.{layer}.{_NAMES.get(what, what)}"
        # HxWxIxO to OxIxHxW; a transposed convolution's, HxWxOxI to IxOxHxW.
        value = torch.from_numpy(array.transpose(3, 2, 0, 1).copy() if array.ndim == 4 else array)
        left.remove(name)
        if state[name].shape != value.shape:
            raise ValueError(f"{path} has the shape {array.shape}, and {name} {tuple(state[name].shape)}")
        state[name].copy_(value)
    if left:
        raise KeyError(f"Keras has no {', '.join(sorted(left))}")


def objective(truth: Tensor, prediction: Tensor) -> Tensor:
    """``losses.dice_cross_entropy`` with its defaults; BxKxHxW, 0 and 1 against probabilities."""
    one = prediction.shape[1] == 1
    t, p = (truth, prediction) if one else (truth[:, 1:], prediction[:, 1:])
    both, true, predicted = ((x).sum((2, 3)) for x in (t * p, t, p))
    dice = (1 - (2 * both + 1) / (true + predicted + 1)).mean(1)
    safe = prediction.clamp(_EPSILON, 1 - _EPSILON)
    if one:
        entropy = -(truth * safe.log() + (1 - truth) * (1 - safe).log()).mean((1, 2, 3))
    else:
        entropy = -(truth * safe.log()).sum(1).mean((1, 2))
    return (dice + entropy).mean() / 2


@torch.no_grad()
def scores(truth: Tensor, prediction: Tensor) -> Tensor:
    """Foreground Dice, IoU, sensitivity and specificity of every image, summed; and how many count for each: 2x4."""
    if prediction.shape[1] == 1:
        t, p = truth, (prediction >= 0.5).to(truth.dtype)
    else:
        t = truth[:, 1:]
        p = functional.one_hot(prediction.argmax(1), prediction.shape[1]).permute(0, 3, 1, 2)[:, 1:].to(truth.dtype)
    both, true, predicted = ((x).sum((2, 3)) for x in (t * p, t, p))
    neither = t.shape[2] * t.shape[3] - true - predicted + both
    above = torch.stack([2 * both, both, both, neither])
    below = torch.stack([true + predicted, true + predicted - both, true, neither + predicted - both])
    counted = (below > 0).sum(-1)
    image = torch.where(below > 0, above / below.clamp(min=1), 0).sum(-1) / counted.clamp(min=1)
    empty = torch.tensor([1.0, 1.0, 0.0, 0.0], device=image.device)[:, None]
    image = torch.where(counted > 0, image, empty)
    return torch.stack([image.sum(1), ((counted > 0) | (empty > 0)).sum(1)])


def optimiser(network: nn.Module, asked: Optimiser) -> torch.optim.Optimizer:
    """AdamW as Keras has it, in PyTorch's fastest form."""
    return torch.optim.AdamW(
        network.parameters(), asked.learning_rate, weight_decay=asked.weight_decay, eps=_EPSILON, fused=True
    )


def clip(network: nn.Module, norm: float) -> None:
    """Clip the gradient of each parameter to a norm, all in one go."""
    gradients = [one.grad for one in network.parameters() if one.grad is not None]
    norms = torch._foreach_norm(gradients)
    torch._foreach_mul_(gradients, list((norm / torch.stack(norms).clamp(min=norm)).unbind()))


@cache
def _spline(size: int) -> Tensor:
    """What each of _KNOTS coefficients of a uniform cubic B-spline weighs at ``size`` pixel centres."""
    place = (torch.arange(size) + 0.5) * (_KNOTS - 3) / size
    apart = (place[:, None] - torch.arange(-1, _KNOTS - 1)).abs()
    near, far = 2 / 3 - apart**2 + apart**3 / 2, (2 - apart).clamp(min=0) ** 3 / 6
    return torch.where(apart < 1, near, far)


class Augmentation:
    """``imagemask.learn.augmentation``, of a batch as one: a warp by grid_sample, then contrast, brightness, noise."""

    def __init__(self, asked: Augmentation, classes: int) -> None:
        self.asked, self.classes = asked, max(2, classes)

    @torch.no_grad()
    def __call__(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Images uint8 BxHxWxC and class ids BxHxW to float32 BxCxHxW and class ids BxHxW, on the same device."""
        pictures = images.permute(0, 3, 1, 2).float()
        ids = torch.arange(1, self.classes, device=masks.device)
        coverage = (masks[:, None] == ids[:, None, None]).float()
        stack = torch.cat([pictures, coverage], 1).contiguous(memory_format=torch.channels_last)
        grid = functional.affine_grid(self._drawn(len(images), images.device), list(stack.shape), align_corners=False)
        if self.asked.elastic:
            grid = grid + self._bend(*stack.shape[::2], stack.shape[3], device=images.device)
        stack = functional.grid_sample(stack, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        pictures, coverage = stack[:, : pictures.shape[1]], stack[:, pictures.shape[1] :]
        most, which = coverage.max(1)
        return self._recoloured(pictures), torch.where(most >= 1 - coverage.sum(1), which + 1, 0)

    def _drawn(self, batch: int, device: torch.device) -> Tensor:
        """Maps from the outcome to the picture: Bx2x3."""
        asked = self.asked

        def draw(low: float, high: float) -> Tensor:
            return torch.empty(batch, device=device).uniform_(low, high)

        angle = draw(-math.radians(asked.rotation), math.radians(asked.rotation))
        scale = draw(1 - asked.zoom_out, 1 + asked.zoom_in)
        shift_x, shift_y = (2 * draw(-asked.translation, asked.translation) for _ in range(2))
        shear_x, shear_y = (draw(-asked.shear, asked.shear) for _ in range(2))
        along, across = angle.cos() / scale, angle.sin() / scale
        y_of_y, y_of_x = along - shear_y * across, across + shear_y * along
        rows = [along + shear_x * y_of_x, shear_x * y_of_y - across, y_of_x, y_of_y]
        for flip, at in ((asked.flip_horizontal, 0), (asked.flip_vertical, 2)):
            sign = torch.where(draw(0, 1) < 0.5, -1.0, 1.0) if flip else torch.ones(batch, device=device)
            rows[at], rows[at + 1] = sign * rows[at], sign * rows[at + 1]
        x_x, x_y, y_x, y_y = rows
        return torch.stack([torch.stack([x_x, x_y, shift_x], 1), torch.stack([y_x, y_y, shift_y], 1)], 1)

    def _bend(self, batch: int, height: int, width: int, *, device: torch.device) -> Tensor:
        """A spline of random coefficients, BxHxWx2 in the unit of a grid, whose side is 2."""
        knots = torch.empty(batch, 2, _KNOTS, _KNOTS, device=device).uniform_(-2, 2) * self.asked.elastic
        down, across = (_spline(size).to(device) for size in (height, width))
        return (down @ knots @ across.T).permute(0, 2, 3, 1)

    def _recoloured(self, pictures: Tensor) -> Tensor:
        asked, shape = self.asked, (len(pictures), 1, 1, 1)
        mean = pictures.mean((2, 3), keepdim=True)
        contrast = torch.empty(shape, device=pictures.device).uniform_(1 - asked.contrast, 1 + asked.contrast)
        brighter = torch.empty(shape, device=pictures.device).uniform_(-asked.brightness, asked.brightness)
        pictures = (pictures - mean) * contrast + mean + 255 * brighter
        return (pictures + 255 * asked.noise * torch.randn_like(pictures)).clamp(0, 255)
