"""The parts of the UNet family, from Keras' own layers: blocks, halving, doubling, gates, heads, and how they join."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
from keras import layers

from imagemask.learn import Tensor
from imagemask.learn.models.unet import Options

Gate = Callable[[Tensor, Tensor, Options, int], Tensor]
"""What lets a skip connection through: of the encoder's features, the decoder's, the options and the level."""

_INITIALIZER = "he_normal"


def network(options: Options, *, name: str, gate: Gate | None = None) -> keras.Model:
    """A UNet: input ``height x width x channels``, output ``probabilities``, ``height x width x classes`` in float32.

    Deep supervision adds the outputs ``probabilities_1``, ``probabilities_2`` ... of the same shape, from coarser and
    coarser levels. The caller has seen to it that the size can be halved often enough.
    """
    image = keras.Input((options.height, options.width, options.channels), name="image")
    features = layers.Rescaling(1 / 255, name="rescaled")(image) if options.rescale_input else image
    encoded: list[Tensor] = []
    for level in range(options.levels):
        features = block(features, options, level, name=f"encoder_{level}")
        encoded.append(features)
        if level < options.levels - 1:
            features = layers.MaxPooling2D(2, name=f"halved_{level}")(features)
    heads: list[Tensor] = []
    for level in reversed(range(options.levels - 1)):
        features = doubled(features, options, level)
        skip = gate(encoded[level], features, options, level) if gate else encoded[level]
        features = layers.Concatenate(name=f"joined_{level}")([features, skip])
        features = block(features, options, level, name=f"decoder_{level}")
        if level <= options.deep_supervision:
            heads.insert(0, head(features, options, level))
    return keras.Model(image, heads if len(heads) > 1 else heads[0], name=name)


def block(features: Tensor, options: Options, level: int, *, name: str) -> Tensor:
    """Two convolutions, each normalised and activated, with dropout between them.

    A residual block adds its input before the last activation, through a 1x1 convolution where the filters differ
    (He et al., Deep Residual Learning, CVPR 2016).
    """
    inner = _convolved(features, options, level, name=f"{name}_conv_1")
    inner = _finished([inner], options, name=f"{name}_1")
    rate = options.dropout_at(level)
    if rate:
        inner = layers.Dropout(rate, seed=options.dropout_seed, name=f"{name}_dropout")(inner)
    inner = _convolved(inner, options, level, name=f"{name}_conv_2")
    if not options.residual:
        return _finished([inner], options, name=f"{name}_2")
    filters = options.filters_at(level)
    if features.shape[-1] != filters:
        features = _narrowed(features, filters, name=f"{name}_shortcut")
    return _finished([inner, features], options, name=f"{name}_2")


def doubled(features: Tensor, options: Options, level: int) -> Tensor:
    """Features of the level below at twice the height and width, with this level's filters.

    The 1x1 convolution comes before the bilinear interpolation: they commute, and it is a quarter of the work there.
    """
    filters, name = options.filters_at(level), f"doubled_{level}"
    if options.upsampling == "transposed":
        return layers.Conv2DTranspose(filters, 2, strides=2, padding="same", name=name)(features)
    features = _narrowed(features, filters, name=f"narrowed_{level}")
    return layers.UpSampling2D(2, interpolation="bilinear", name=name)(features)


def attention_gate(skip: Tensor, features: Tensor, options: Options, level: int) -> Tensor:
    """The skip's features times a weight in [0, 1] a pixel, learnt from them and from the decoder's (additive gate)."""
    name, filters = f"gate_{level}", max(1, options.filters_at(level) // 2)
    sides = [
        _normalized(_narrowed(one, filters, name=f"{name}_{side}"), options, name=f"{name}_{side}")
        for side, one in (("skip", skip), ("decoder", features))
    ]
    together = layers.Activation("relu", name=f"{name}_relu")(layers.Add(name=f"{name}_sum")(sides))
    weight = layers.Conv2D(1, 1, activation="sigmoid", name=f"{name}_weight")(together)
    return layers.Multiply(name=name)([skip, weight])


def head(features: Tensor, options: Options, level: int) -> Tensor:
    """Probabilities at the input's size, in float32 whatever the precision: in half of it they round to 0 and 1.

    Those of a level below 0 are interpolated before the activation.
    """
    suffix = f"_{level}" if level else ""
    convolution = layers.Conv2D(options.classes, 1, dtype="float32", name=f"logits{suffix}")
    logits = convolution(features)
    if options.prior:
        convolution.bias.assign(_prior(options))
    if level:
        logits = layers.UpSampling2D(2**level, interpolation="bilinear", dtype="float32", name=f"enlarged{suffix}")(
            logits
        )
    return layers.Activation(options.output, dtype="float32", name=f"probabilities{suffix}")(logits)


def _prior(options: Options) -> list[float]:
    """Biases of the logits by which a fresh network predicts ``options.prior`` of foreground.

    Source: Lin et al., Focal Loss, ICCV 2017, section 4.1.
    """
    odds, others = options.prior / (1 - options.prior), options.classes - 1
    if not others:
        return [math.log(odds)]
    if options.output == "softmax":
        return [math.log(others / odds), *[0.0] * others]
    share = options.prior / others  # a sigmoid's channels know nothing of each other, and the first is the background
    return [-math.log(odds), *[math.log(share / (1 - share))] * others]


def _convolved(features: Tensor, options: Options, level: int, *, name: str) -> Tensor:
    return layers.Conv2D(
        options.filters_at(level),
        options.kernel_at(level),
        dilation_rate=options.dilation_at(level),
        padding="same",
        kernel_initializer=_INITIALIZER,
        use_bias=options.normalization == "none" or options.normalization_last,
        name=name,
    )(features)


def _finished(features: list[Tensor], options: Options, *, name: str) -> Tensor:
    """A convolution's output and, in a residual block, what is added to it: normalised and activated."""
    inner, *shortcut = features
    if not options.normalization_last:
        inner = _normalized(inner, options, name=name)
    if shortcut:
        inner = layers.Add(name=f"{name}_sum")([inner, *shortcut])
    inner = layers.Activation(options.activation, name=f"{name}_{options.activation}")(inner)
    return _normalized(inner, options, name=name) if options.normalization_last else inner


def _narrowed(features: Tensor, filters: int, *, name: str) -> Tensor:
    """Another number of filters, by a 1x1 convolution."""
    return layers.Conv2D(filters, 1, kernel_initializer=_INITIALIZER, name=name)(features)


def _normalized(features: Tensor, options: Options, *, name: str) -> Tensor:
    if options.normalization == "batch":
        return layers.BatchNormalization(momentum=options.batch_momentum, name=f"{name}_norm")(features)
    if options.normalization == "group":
        groups = math.gcd(options.groups, features.shape[-1])
        return layers.GroupNormalization(groups, name=f"{name}_norm")(features)
    return features
