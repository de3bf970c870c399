"""The models there are. A model is a module in this folder, with two names:

- ``Options``, derived from ``imagemask.learn.models.Options``: every field has a default and a description;
- ``build(options) -> keras.Model``, which raises UsageError for options that cannot be built.

The next model is one file here, and no existing file is edited. Its input is ``height x width x channels``, values 0 to
255; its first output ``height x width x classes``, probabilities in float32 whatever the precision of training. Keras
is imported by ``build`` and not before, so that a configuration is checked without it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imagemask.errors import UsageError
from imagemask.learn import nearest

if TYPE_CHECKING:
    import keras


class Options(BaseModel):
    """What every model is told: its input and its classes. An unknown key is an error, and so is a value out of range.

    ``classes`` is the number of output channels. 1 is foreground against background, by a sigmoid; more than one are
    the background and its foreground classes, in the order of their ids, by a softmax, unless ``final_activation``
    says otherwise (a sigmoid over several channels is for classes that overlap).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(default=256, ge=1, description="Height of the input, in pixels.")
    width: int = Field(default=256, ge=1, description="Width of the input, in pixels.")
    channels: int = Field(default=3, ge=1, description="Channels of the input.")
    classes: int = Field(default=1, ge=1, description="Channels of the output; over 1, the background is the first.")
    final_activation: Literal["auto", "sigmoid", "softmax"] = Field(
        default="auto", description="What makes probabilities: a sigmoid for one class, else a softmax."
    )

    @property
    def output(self) -> str:
        """``sigmoid`` or ``softmax``: what ``final_activation`` comes to."""
        if self.final_activation != "auto":
            return self.final_activation
        return "sigmoid" if self.classes == 1 else "softmax"

    @property
    def step(self) -> int:
        """What height and width must be multiples of."""
        return 1


class Architecture(Protocol):
    """What a module in this folder offers."""

    Options: type[Options]

    def build(self, options: Any) -> keras.Model:
        """A model with fresh weights, not compiled. Raises UsageError for options that cannot be built."""


def names() -> list[str]:
    """The models' names, sorted. Imports none of them."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Architecture:
    """The module of a model. Raises UsageError for a name that there is not. Imports no Keras."""
    if name not in names():
        raise UsageError(f"there is no model called {name!r}", remedy=nearest(name, names()))
    return cast(Architecture, importlib.import_module(f"{__name__}.{name.replace('-', '_')}"))


def options(name: str, given: Mapping[str, Any]) -> Options:
    """The options of a model, from a configuration's table. Imports no Keras.

    Raises UsageError that names the first wrong key, with the nearest valid one, or the first wrong value.
    """
    kind = load(name).Options
    for key in given:
        if key not in kind.model_fields:
            raise UsageError(f"the model {name} has no option {key!r}", remedy=nearest(key, kind.model_fields))
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = f"the option {where} = {first['input']!r} of the model {name}" if where else f"the model {name}"
        raise UsageError(f"{what}: {first['msg'].removeprefix('Value error, ')}") from error


def build(name: str, options: Options | None = None) -> keras.Model:
    """A model with fresh weights, not compiled; its defaults where ``options`` is None.

    Its output ``probabilities`` comes first; a deeply supervised one has further outputs of the same shape.

    Raises UsageError for a name that there is not and for options that cannot be built (a size that cannot be halved
    often enough), TypeError for the options of another model.
    """
    architecture = load(name)
    options = architecture.Options() if options is None else options
    if not isinstance(options, architecture.Options):
        raise TypeError(f"the model {name} takes {architecture.Options.__module__}.Options, not {type(options)}")
    return architecture.build(options)


def inference(model: keras.Model) -> keras.Model:
    """The model without the outputs of deep supervision, sharing its weights; the model itself where it has none."""
    if len(model.outputs) == 1:
        return model
    import keras

    return keras.Model(model.input, model.outputs[0], name=model.name)


def output_weights(model: keras.Model) -> list[float]:
    """The weight of the loss at each output: halved from each to the next coarser one, with a sum of 1.

    Source: Isensee et al., nnU-Net, Nature Methods 2021, 18:203.
    """
    total = sum(0.5**i for i in range(len(model.outputs)))
    return [0.5**i / total for i in range(len(model.outputs))]
