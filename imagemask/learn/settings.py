"""The configuration of a training: one validated model, from TOML and back. Imports no Keras.

A value comes from the command line, else from the file, else from the defaults below. docs/training.md lists the keys.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticKnownError

from imagemask.errors import InputError
from imagemask.learn import models, toml
from imagemask.learn.complaints import Origin, complain

OPTIONS = {
    "epochs": "schedule.epochs",
    "batch_size": "schedule.batch_size",
    "fold": "data.fold",
    "model": "model.name",
    "precision": "precision",
    "seed": "seed",
}
"""Options of ``imagemask train`` that stand for a key."""

POOLED = ("dice_coef", "dice_coef_multiclass", "iou_coef", "sensitivity", "specificity")
"""The seeds' metrics: ratios over a whole batch."""

SSIM_WINDOW = 11
"""The side of the window of ``formulas.ssim``, in pixels; no picture may be smaller."""

_PARAMETERS = {
    "dice_cross_entropy": ("dice_weight", "smooth"),
    "focal": ("gamma", "alpha"),
    "tversky": ("alpha", "beta", "smooth"),
}


class _Section(BaseModel):
    """Values of the very type that is asked for (a whole number does for a float); an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Data(_Section):
    """What is trained on."""

    dataset: str | None = Field(
        default=None, min_length=1, description="The dataset's folder. Left out: the one in the current folder."
    )
    fold: int | None = Field(
        default=None, ge=0, description="The fold that is the test set, of a dataset that was split into folds."
    )
    crop_share: float = Field(
        default=0.0,
        ge=0,
        le=0.45,
        description="Share cut off each picture at every side: the network sees the centre, and finds nothing outside.",
    )
    foreground_share: float = Field(
        default=0.5, ge=0, le=1, description="Least share of images with foreground in an epoch; the rest is drawn."
    )


class Model(_Section):
    """Which network, with its options beside its name; those that are left out have the model's own defaults.

    ``height``, ``width``, ``channels`` and ``classes``, left out, are the dataset's.
    """

    model_config = ConfigDict(extra="allow")

    name: str = Field(default="unet", description="The architecture.")

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in models.names():
            expected = " or ".join(repr(one) for one in models.names())
            raise PydanticKnownError("literal_error", {"expected": expected})
        return name

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        self._read()
        return self

    @property
    def given(self) -> dict[str, Any]:
        """The options that the configuration gives."""
        return dict(self.model_extra or {})

    @property
    def options(self) -> models.Options:
        """All options, with the model's defaults for those that were left out: for ``models.build``."""
        return self._read()

    def _read(self) -> models.Options:
        """Raises ValidationError; within a validator, pydantic puts its places below this section's."""
        return models.load(self.name).Options.model_validate(self.given, strict=True)


class Loss(_Section):
    """What is made small. A parameter that is left out has the loss's own default."""

    name: Literal[
        "dice_cross_entropy",
        "cross_entropy",
        "binary_crossentropy",
        "categorical_crossentropy",
        "focal",
        "tversky",
        "dice_loss",
        "dice_loss_multiclass",
        "iou_loss",
        "bce_dice_loss",
        "bce_iou_loss",
        "ssim_loss",
        "basnet_hybrid_loss",
    ] = Field(
        default="dice_cross_entropy",
        description="Those that end in `_loss` are ratios over a whole batch, `ssim_loss` excepted.",
    )
    dice_weight: float | None = Field(
        default=None, ge=0, le=1, description="`dice_cross_entropy`: the share of Dice; the rest is cross-entropy."
    )
    smooth: float | None = Field(
        default=None, ge=1e-6, le=1e6, description="`dice_cross_entropy`, `tversky`: added above and below, in pixels."
    )
    gamma: float | None = Field(default=None, ge=0, le=100, description="`focal`: how little easy pixels count.")
    alpha: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="`focal`: weight of the foreground, up to 1. `tversky`: weight of false positives.",
    )
    beta: float | None = Field(default=None, ge=0, le=100, description="`tversky`: weight of false negatives.")

    @model_validator(mode="after")
    def _parameters_fit(self) -> Self:
        known = _PARAMETERS.get(self.name, ())
        for name in self.parameters:
            if name not in known:
                raise ValueError(f"{name} is no parameter of {self.name}, which has {', '.join(known) or 'none'}")
        if self.name == "focal" and self.alpha is not None and self.alpha > 1:
            raise ValueError(f"alpha is {self.alpha:g}, and must be at most 1 for focal")
        return self

    @property
    def parameters(self) -> dict[str, float]:
        """The parameters that the configuration gives."""
        return self.model_dump(exclude={"name"}, exclude_none=True)


class Optimiser(_Section):
    """How weights are changed."""

    name: Literal["adam", "adamw"] = Field(default="adamw", description="Adam, or Adam with decoupled weight decay.")
    learning_rate: float = Field(default=0.001, gt=0, le=1, description="The first learning rate.")
    weight_decay: float = Field(default=0.004, ge=0, lt=1, description="`adamw`: weight decay.")
    clipping: Literal["norm", "value", "none"] = Field(
        default="norm", description="Clip gradients: each variable's norm, each element, or not at all."
    )
    clip_at: float = Field(default=1.0, gt=0, description="The largest norm or absolute value.")


class Schedule(_Section):
    """How long, and in what portions."""

    epochs: int = Field(default=100, ge=1, description="The most epochs.")
    batch_size: int = Field(default=8, ge=1, description="Images a step.")
    steps_per_epoch: int | None = Field(
        default=None, ge=1, description="Steps an epoch. Left out: as many as show every image once."
    )
    decay: Literal["cosine", "plateau", "none"] = Field(
        default="cosine",
        description="How the learning rate falls: from the first epoch to the last, or where the loss does not.",
    )
    early_stopping: int = Field(
        default=20, ge=0, description="Stop after this many epochs without a lower validation loss; 0: never."
    )
    reduce_patience: int | None = Field(
        default=None, ge=1, description="`plateau`: lower it after this many such epochs. Left out: 8."
    )
    reduce_factor: float | None = Field(
        default=None, gt=0, lt=1, description="`plateau`: what it is multiplied by. Left out: 0.5."
    )
    min_learning_rate: float = Field(default=1e-6, ge=0, description="The learning rate is not lowered below this.")

    @model_validator(mode="after")
    def _reduced_at_plateaus_only(self) -> Self:
        for name in ("reduce_patience", "reduce_factor"):
            if getattr(self, name) is not None and self.decay != "plateau":
                raise ValueError(f'{name} belongs to decay = "plateau", and decay is "{self.decay}"')
        return self


class Augmentation(_Section):
    """What is done to image and mask together, drawn anew for every image and epoch. 0 switches one off."""

    enabled: bool = Field(default=True, description="Augment at all.")
    flip_horizontal: bool = Field(default=True, description="Mirror left and right, every other time.")
    flip_vertical: bool = Field(default=False, description="Mirror top and bottom, every other time.")
    rotation: float = Field(default=25.0, ge=0, le=180, description="Up to this many degrees either way.")
    translation: float = Field(default=0.1, ge=0, lt=1, description="Up to this share of the side, any way.")
    zoom_out: float = Field(default=0.25, ge=0, lt=1, description="Smaller by up to this share.")
    zoom_in: float = Field(default=0.25, ge=0, lt=1, description="Larger by up to this share.")
    shear: float = Field(default=0.1, ge=0, le=1, description="Up to this many pixels aside a pixel.")
    elastic: float = Field(default=0.03, ge=0, le=0.2, description="Bend by up to this share of the side.")
    contrast: float = Field(default=0.25, ge=0, lt=1, description="Contrast times 1 less or more up to this.")
    brightness: float = Field(default=0.15, ge=0, lt=1, description="Brighter or darker by up to this share of 255.")
    noise: float = Field(default=0.03, ge=0, lt=1, description="Gaussian noise: standard deviation, share of 255.")


class Output(_Section):
    """What a run writes beside the model."""

    previews: int = Field(
        default=6, ge=0, le=64, description="Validation images in the contact sheet of every epoch; 0: none."
    )
    tensorboard: bool = Field(default=False, description="Write logs for TensorBoard.")


class Settings(_Section):
    """The whole configuration of a training."""

    seed: int = Field(default=0, ge=0, lt=2**32, description="Weights, order and augmentation follow from it.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="Of the network's arithmetic; `auto`: bfloat16 where the device is fast at it."
    )
    metrics: tuple[
        Literal[
            "foreground_dice",
            "foreground_iou",
            "foreground_sensitivity",
            "foreground_specificity",
            "dice_coef",
            "dice_coef_multiclass",
            "iou_coef",
            "sensitivity",
            "specificity",
        ],
        ...,
    ] = Field(
        default=("foreground_dice", "foreground_iou", "foreground_sensitivity", "foreground_specificity"),
        description="Computed while training. Those without `foreground_` are ratios over a whole batch.",
    )
    data: Data = Data()
    model: Model = Model()
    loss: Loss = Loss()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    augmentation: Augmentation = Augmentation()
    output: Output = Output()

    @field_validator("metrics")
    @classmethod
    def _once(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        if twice := sorted({name for name in metrics if metrics.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} stands more than once")
        return metrics


def load(path: Path | None = None, given: Mapping[str, Any] | None = None) -> Settings:
    """The configuration in the TOML file ``path`` (None: the defaults), with what the command line gives.

    ``given`` holds values by their option (``OPTIONS``) or dotted key; None is not given. Raises InputError for a file
    that cannot be read, and for a wrong key or value in it, with the line; UsageError for a wrong value in ``given``.
    """
    if path is None:
        return validated({}, Origin(""), given)
    return parse(text_of(path), place=str(path), given=given)


def text_of(path: Path) -> str:
    """The text of a configuration file, in UTF-8. Raises InputError for one that cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def parse(text: str, *, place: str, given: Mapping[str, Any] | None = None) -> Settings:
    """The configuration in ``text``, which errors call ``place``; otherwise as ``load``."""
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{place}: not TOML: {error}") from error
    return validated(tree, Origin(place, toml.lines(text)), given)


def validated(tree: Mapping[str, Any], origin: Origin, given: Mapping[str, Any] | None = None) -> Settings:
    """Settings of nested tables of plain values, with what the command line gives laid over them. Raises as ``load``.

    ``origin`` says where the values in ``tree`` stand.
    """
    whole: dict[str, Any] = _plain(tree)
    options: dict[toml.Key, str] = {}
    for option, value in (given or {}).items():
        if value is not None:
            path = tuple(OPTIONS.get(option, option).split("."))
            options[path] = f"--{option.rpartition('.')[2].replace('_', '-')}"
            put(whole, path, _plain(value))
    try:
        return Settings.model_validate(whole)
    except ValidationError as error:
        raise complain(error, whole, fields(whole), origin, options) from error


def filled(settings: Settings, **found: Any) -> Settings:
    """Settings with every option of the model written out, for a run's folder.

    ``found`` (height and width in pixels, channels, classes: what the dataset has) stands in for what was left out.
    Raises UsageError as ``load``.
    """
    missing = {f"model.{name}": value for name, value in found.items() if name not in settings.model.given}
    told = validated(_tree(settings), Origin(""), missing)
    return told.model_copy(
        update={"model": Model(name=told.model.name, **told.model.options.model_dump(exclude_none=True))}
    )


def dump(settings: Settings) -> str:
    """The configuration as TOML, defaults included; ``parse`` gives equal settings back."""
    return toml.dumps(_tree(settings))


def fields(tree: Mapping[str, Any] | None = None) -> dict[toml.Key, Any]:
    """Every key that a configuration may hold, as pydantic's fields; a model's are those of the one in ``tree``."""
    found: dict[toml.Key, Any] = {}
    for name, field in Settings.model_fields.items():
        section = field.annotation
        found[name,] = field
        if isinstance(section, type) and issubclass(section, BaseModel):
            found |= {(name, key): inner for key, inner in section.model_fields.items()}
        if section is Model:
            options = models.load(_model_of(tree or {})).Options.model_fields
            found |= {(name, key): inner for key, inner in options.items()}
    return found


def _model_of(tree: Mapping[str, Any]) -> str:
    model = tree.get("model")
    name = model.get("name") if isinstance(model, Mapping) else None
    return name if isinstance(name, str) and name in models.names() else Model().name


def _tree(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(exclude_none=True)


def _plain(value: Any) -> Any:
    """Lists as tuples, all the way down: a strict model tells them apart."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return tuple(_plain(one) for one in value) if isinstance(value, list | tuple) else value


def put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set the value at ``path`` in nested tables; a table on the way is made, in place of what is none."""
    *tables, key = path
    for table in tables:
        inner = tree.get(table)
        tree[table] = inner if isinstance(inner, dict) else {}
        tree = tree[table]
    tree[key] = value
