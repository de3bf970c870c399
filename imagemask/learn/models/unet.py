"""A UNet: an encoder that halves the picture, a decoder that doubles it, and a skip connection at every size.

Source: Ronneberger, Fischer and Brox, U-Net, MICCAI 2015, arXiv:1505.04597, with "same" padding. With
``normalization="none"``, ``upsampling="transposed"`` and ``rescale_input=False`` it is the network of the seeds'
configuration files, layer for layer: num_layers is ``levels``, base_filters ``filters``, base_kernels ``kernel_size``,
num_classes ``classes``; with normalization in use, theirs comes after the activation (``normalization_last``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from imagemask.errors import UsageError
from imagemask.learn import models

if TYPE_CHECKING:
    import keras


class Options(models.Options):
    """The knobs. Level 0 is the input's size; each level below halves it and doubles the filters, to ``max_filters``.

    A block is convolution, normalization, activation, dropout, convolution, normalization, activation. The kernel
    shrinks by 2 a level, to 3; the dilation by 1, to 1; the dropout rate grows with the level, from 0.

    The default is small (1.8 million parameters at three channels in and one class out) and normalised: on about 80
    real CT slices and two cores, 15 CPU minutes bring it to a Dice of 0.58 a patient (0.51 to 0.65) on 31 patients that
    it has not seen; 24 filters learn too slowly there, and 8 are no better (docs/benchmarks.md).
    """

    levels: int = Field(default=5, ge=2, le=12, description="Sizes, the deepest (the bridge) included.")
    filters: int = Field(default=16, ge=1, description="Filters of level 0; each level below has twice as many.")
    max_filters: int | None = Field(default=None, ge=1, description="The most filters that a level has.")
    kernel_size: int = Field(default=3, ge=3, description="Kernel of level 0, odd; each level below has 2 less, to 3.")
    dilation: int = Field(default=1, ge=1, description="Dilation of level 0; each level below has 1 less, to 1.")
    activation: Literal["relu", "mish"] = Field(default="relu", description="Activation of every block.")
    normalization: Literal["batch", "group", "none"] = Field(default="batch", description="What normalises a block.")
    normalization_last: bool = Field(default=False, description="Normalise after the activation, not before.")
    batch_momentum: float = Field(
        default=0.9, ge=0, lt=1, description="Momentum of batch normalization's moving averages."
    )
    groups: int = Field(
        default=8, ge=1, description="Groups of group normalization; fewer where they do not divide the filters."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout rate, times the level.")
    dropout_by_level: bool = Field(default=True, description="Times the level; else the same rate at every level.")
    dropout_seed: int | None = Field(default=None, description="One seed for every dropout layer.")
    residual: bool = Field(default=False, description="Add a block's input to its output.")
    upsampling: Literal["bilinear", "transposed"] = Field(
        default="bilinear", description="1x1 convolution and bilinear doubling, or transposed convolution."
    )
    deep_supervision: int = Field(
        default=0, ge=0, description="Further outputs, from this many decoder levels below level 0."
    )
    prior: float = Field(
        default=0.02, ge=0, lt=1, description="Share of foreground that a fresh network predicts; 0: by biases of 0."
    )
    rescale_input: bool = Field(default=True, description="Divide the input by 255.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {self.kernel_size}, and must be odd")
        if self.dropout_at(self.levels - 1) >= 1:
            highest = self.dropout_at(self.levels - 1)
            raise ValueError(
                f"dropout {self.dropout} times the level comes to {highest:g} at the deepest; stay below 1"
            )
        if self.deep_supervision > self.levels - 2:
            have = self.levels - 2
            raise ValueError(f"deep_supervision is {self.deep_supervision}; {self.levels} levels have {have} to offer")
        return self

    @property
    def step(self) -> int:
        """Every level below the first halves the sides."""
        return int(2 ** (self.levels - 1))

    def filters_at(self, level: int) -> int:
        """Filters of a level: doubled from one to the next, up to ``max_filters``."""
        filters: int = self.filters * 2**level
        return filters if self.max_filters is None else min(filters, self.max_filters)

    def kernel_at(self, level: int) -> int:
        """Kernel of a level: ``kernel_size`` less 2 a level, at least 3."""
        return max(3, self.kernel_size - 2 * level)

    def dilation_at(self, level: int) -> int:
        """Dilation of a level: ``dilation`` less 1 a level, at least 1."""
        return max(1, self.dilation - level)

    def dropout_at(self, level: int) -> float:
        """Dropout rate of a level."""
        return self.dropout * level if self.dropout_by_level else self.dropout


def build(options: Options) -> keras.Model:
    """The network. Raises UsageError for a height or width that cannot be halved ``levels - 1`` times."""
    check_size(options)
    from imagemask.learn import blocks

    return blocks.network(options, name="unet")


def check_size(options: Options) -> None:
    """Raises UsageError that says which sizes fit, and how many levels fit this one."""
    step = options.step
    sides = {"height": options.height, "width": options.width}
    wrong = {side: size for side, size in sides.items() if size % step}
    if not wrong:
        return
    fitting = " and ".join(f"{side} {_neighbours(size, step)}" for side, size in wrong.items())
    most = min(_halvings(size) for size in sides.values()) + 1
    instead = f", or use {most} levels" if most >= 2 else ""
    raise UsageError(
        f"{options.levels} levels need a height and a width that {step} divides, "
        f"not {options.height}x{options.width} (height x width)",
        remedy=f"Sizes that fit: {fitting}{instead}",
    )


def _neighbours(size: int, step: int) -> str:
    below = size // step * step
    return f"{below} or {below + step}" if below else str(step)


def _halvings(size: int) -> int:
    return (size & -size).bit_length() - 1
