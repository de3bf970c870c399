"""The seeds' own configuration files (``train_eval_infer.config``) as settings, with a note for every key.

The network is the same, to the number of parameters, and so are loss, optimiser, schedule and precision. What
surrounds it is ours: data come from a dataset, and augmentation is drawn from ranges instead of lists. Defaults, where
a key is left out, are those of the seeds' code; where it has none, ours, with a note. Imports no Keras.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from imagemask.errors import InputError
from imagemask.learn import seed_keys, settings, toml
from imagemask.learn import seed_values as values
from imagemask.learn.complaints import Origin, closest, nearest_key
from imagemask.learn.seed_syntax import Entry, entries
from imagemask.learn.settings import Settings

SEED = 137
"""The constant of the seeds' code."""

_REMEDY = "docs/training.md says how these files are read"


@dataclass(frozen=True, slots=True)
class Note:
    """What became of a key: its line (None: it is not in the file), what kind of news it is, and the news."""

    line: int | None
    kind: Literal["converted", "assumed", "misspelt", "ignored", "dropped"]
    text: str

    def __str__(self) -> str:
        return f"{self.text} [{self.kind}]" if self.line is None else f"line {self.line}: {self.text} [{self.kind}]"


@dataclass(frozen=True, slots=True)
class Converted:
    """The settings in a configuration file, and notes in the order of its lines; those on what is not there last."""

    settings: Settings
    notes: list[Note] = field(default_factory=list)


def load(path: Path | None, given: Mapping[str, Any] | None = None) -> Converted:
    """The configuration at ``path``: TOML where its name ends in .toml, else the seeds' form; None is the defaults.

    ``given`` is what the command line gives. Raises as ``settings.load``.
    """
    if path is None or path.suffix.casefold() == ".toml":
        return Converted(settings.load(path, given))
    text = settings.text_of(path)
    try:
        return parse(text, place=str(path), given=given)
    except InputError as error:
        if not toml.is_toml(text):
            raise
        raise InputError(error.reason, remedy=f"{error.remedy}; if it is TOML, let its name end in .toml") from error


def parse(text: str, *, place: str, given: Mapping[str, Any] | None = None) -> Converted:
    """The settings in a seed's configuration; ``place`` is what errors call it.

    Raises InputError with the line for a value that is no literal or of the wrong type, for a key or section that the
    seeds do not have, with the nearest one, and for an architecture that imagemask does not have; and as
    ``settings.load``.
    """
    seed = _Seed(place)
    for entry in entries(text, place=place):
        seed.add(entry)
    if not any(section == "model" for section, _ in seed.entries):
        raise InputError(f"{place}: has no section [model]: it configures no training", remedy=_REMEDY)
    for convert in (_model, _optimiser, _loss, _schedule, _augmentation, _output):
        convert(seed)
    seed.note_the_rest()
    origin = Origin(place, seed.lines, seed.names)
    notes = sorted(seed.notes, key=lambda note: math.inf if note.line is None else note.line)
    return Converted(settings.validated(seed.tree, origin, given), notes)


class _Seed:
    """A configuration on its way: what it holds, what it has become, and what there is to say about that."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.entries: dict[tuple[str, str], Entry] = {}
        self.tree: dict[str, Any] = {}
        self.lines: dict[toml.Key, int] = {}
        self.names: dict[toml.Key, str] = {}
        self.notes: list[Note] = []
        self.noted: set[int] = set()
        """Lines of which there is more to say than how they are spelt."""
        self.used: set[tuple[str, str]] = set()
        """Keys that something was made of."""

    def add(self, entry: Entry) -> None:
        """Take a key that there is. Raises InputError for another, and for two values of one key."""
        where = (entry.section, entry.key)
        if where not in seed_keys.KEYS:
            raise InputError(f"{self.place}:{entry.line}: {self._unknown(entry)}", remedy=_REMEDY)
        if entry.repaired:
            self.note(entry, "misspelt", f"[{entry.section}] {entry.key}: {entry.repaired}")
        if where in seed_keys.MISSPELT:
            meant = seed_keys.MISSPELT[where]
            self.note(entry, "misspelt", f"[{entry.section}] {entry.key} is read as {meant}")
            where = (entry.section, meant)
        before = self.entries.setdefault(where, entry)
        if before is not entry and before.value == entry.value:
            self.note(entry, "ignored", f"[{entry.section}] {entry.key} stands in line {before.line}, too")
        elif before is not entry:
            raise InputError(
                f"{self.place}:{entry.line}: [{entry.section}] {entry.key} = {entry.value!r}, "
                f"but line {before.line} has {before.key} = {before.value!r}",
                remedy="Keep one of them",
            )

    def _unknown(self, entry: Entry) -> str:
        if entry.section not in seed_keys.SECTIONS:
            near = closest(entry.section, sorted(seed_keys.SECTIONS))
            others = f"There are {', '.join(sorted(seed_keys.SECTIONS))}"
            return f"[{entry.section}] is no section. " + (f"Did you mean [{near}]?" if near else others)
        known = sorted(seed_keys.KEYS - seed_keys.MISSPELT.keys())
        return f"[{entry.section}] {entry.key} is no key. {nearest_key((entry.section, entry.key), known)}"

    def note(self, entry: Entry | None, kind: Any, text: str) -> None:
        """Say something about a key, or (None) about one that is not there."""
        self.notes.append(Note(None if entry is None else entry.line, kind, text))
        if entry is not None and kind != "misspelt":
            self.noted.add(entry.line)

    def take(self, section: str, key: str, read: Callable[[Any], Any], default: Any = None) -> Any:
        """The value of a key as ``read`` gives it, or ``default`` where it is not there.

        Raises InputError with the line where ``read`` raises ValueError.
        """
        entry = self.entries.get((section, key))
        self.used.add((section, key))
        if entry is None:
            return default
        try:
            return read(entry.value)
        except ValueError as error:
            reason = f"{self.place}:{entry.line}: [{section}] {entry.key} = {entry.value!r}: {error}"
            raise InputError(reason, remedy=_REMEDY) from error

    def put(self, setting: str, value: Any, section: str, key: str) -> None:
        """Set a setting that follows from a key, or from the seeds' default where the key is not there."""
        path = tuple(setting.split("."))
        settings.put(self.tree, path, value)
        entry = self.entries.get((section, key))
        if entry is not None:
            self.lines[path], self.names[path] = entry.line, f"[{section}] {entry.key}"
            self.note(
                entry, "converted", f"[{section}] {entry.key} = {entry.value!r} -> {setting} = {toml.value(value)}"
            )

    def pass_on(self, section: str, key: str, setting: str, read: Callable[[Any], Any], default: Any = None) -> None:
        """Set a setting to a key's value; without key and default, leave it to ours and say so."""
        value = self.take(section, key, read, default)
        if value is not None:
            self.put(setting, value, section, key)
        else:
            self.note(None, "assumed", f"[{section}] {key} is not given, and {setting} is left to its own default")

    def note_the_rest(self) -> None:
        """Say of every key that nothing was made of why that is so."""
        for (section, key), entry in self.entries.items():
            if entry.line in self.noted:
                continue
            told = f"[{section}] {entry.key} = {entry.value!r}"
            if (section, key) in self.used:
                self.note(entry, "converted", f"{told}: taken into account")
            elif (section, key) in seed_keys.NEVER_READ_KEYS:
                self.note(entry, "ignored", f"{told}: no code ever made use of it")
            else:
                why = seed_keys.DROPPED.get((section, key), "it has no effect beside the other values")
                self.note(entry, "dropped", f"{told}: {why}")


def _model(seed: _Seed) -> None:
    kind = seed.take("model", "model", _architecture, "TensorflowUNet")
    flex, name = kind.startswith("TensorFlowFlex"), seed_keys.MODELS[kind]
    seed.put("model.name", name, "model", "model")
    if ("model", "model") not in seed.entries:
        seed.note(
            None, "assumed", "[model] model is not given, as in the seeds' first files, which mean TensorflowUNet"
        )
    for key, setting in (
        *(("image_height", "height"), ("image_width", "width"), ("image_channels", "channels")),
        *(("num_classes", "classes"), ("num_layers", "levels"), ("base_filters", "filters")),
    ):
        seed.pass_on("model", key, f"model.{setting}", values.whole)
    seed.pass_on("model", "dropout_rate", "model.dropout", values.number)
    seed.pass_on("model", "activation", "model.activation", values.text, "relu")
    if seed.take("model", "dropout_seed_fixing", values.truth, False):
        seed.put("model.dropout_seed", SEED, "model", "dropout_seed_fixing")
    _head(seed, flex=flex)
    rescale = seed.take("model", "input_normalize", values.truth, True)
    seed.tree["model"]["prior"] = 0.0  # theirs begins with biases of 0
    seed.put("model.rescale_input", _rescaled(seed, rescale=rescale), "model", "input_normalize")
    if name == "attention-unet":
        _attention(seed)
        return
    seed.pass_on("model", "base_kernels", "model.kernel_size", values.square, 3)
    seed.pass_on("model", "dilation", "model.dilation", values.square, 1)
    normalised = seed.take("model", "normalization", values.truth, False)
    seed.put("model.normalization", "batch" if normalised else "none", "model", "normalization")
    if normalised:
        seed.tree["model"] |= {"normalization_last": True, "batch_momentum": 0.99}
    seed.tree["model"]["upsampling"] = "transposed"


def _attention(seed: _Seed) -> None:
    """The seeds' attention network, whatever the file says: 3x3, batch normalization, bilinear, the same dropout."""
    fixed = {"kernel_size": 3, "dilation": 1, "normalization": "batch", "batch_momentum": 0.99}
    seed.tree["model"] |= {**fixed, "upsampling": "bilinear", "dropout_by_level": False}
    seed.note(None, "assumed", "the attention UNet is imagemask's, and not the seeds' layer for layer")


def _head(seed: _Seed, *, flex: bool) -> None:
    """The last activation: the Flex models put a softmax over several classes, the others keep to their sigmoid."""
    classes = seed.take("model", "num_classes", values.whole, 1)
    final = seed.take("model", "final_activation", values.text, "sigmoid")
    if flex and classes > 1:
        final = "softmax"
    seed.put("model.final_activation", final, "model", "final_activation")


def _rescaled(seed: _Seed, *, rescale: bool) -> bool:
    """Whether pixels are divided by 255 once: by the network, or by the class that read the images."""
    kind = seed.take("dataset", "datasetclass", _dataset, seed.take("dataset", "class_name", _dataset, ""))
    before = seed.take("dataset", "image_normalize", values.truth, False) or kind == "NormalizedImageMaskDataset"
    for key in ("datasetclass", "class_name", "image_normalize"):
        if entry := seed.entries.get(("dataset", key)):
            told = f"[dataset] {key} = {entry.value!r}"
            seed.note(entry, "dropped", f"{told}: imagemask decodes images in its own way, as RGB")
    if before and rescale:
        seed.note(None, "assumed", "the seeds divide these pixels by 255 twice; imagemask does it once")
    return rescale or before


def _optimiser(seed: _Seed) -> None:
    name = seed.take("model", "optimizer", values.one_of({"Adam": "adam", "AdamW": "adamw"}), "adam")
    seed.put("optimiser.name", name, "model", "optimizer")
    seed.pass_on("model", "learning_rate", "optimiser.learning_rate", values.number, 0.0001 if _is_flex(seed) else None)
    seed.pass_on("model", "clipvalue", "optimiser.clip_at", values.number, 0.2)
    seed.tree["optimiser"]["clipping"] = "value"
    seed.tree |= {"precision": "float32", "seed": SEED, "data": {"foreground_share": 0.0}}


def _loss(seed: _Seed) -> None:
    flex = _is_flex(seed)
    default = "categorical_crossentropy" if flex else None
    seed.pass_on("model", "loss", "loss.name", values.one_of(seed_keys.LOSSES), default)
    asked = seed.take("model", "metrics", _metrics, ["dice_coef_multiclass"] if flex else [])
    metrics = tuple(dict.fromkeys(seed_keys.METRICS[name] for name in asked if name in seed_keys.METRICS))
    if metrics:
        seed.put("metrics", metrics, "model", "metrics")
    entry = seed.entries.get(("model", "metrics"))
    if others := [name for name in asked if name in seed_keys.ACCURACIES]:
        text = f"[model] metrics: {', '.join(others)} counts background as success, and has no counterpart"
        seed.note(entry, "dropped", text if metrics else f"{text}; the foreground's metrics are taken")


def _schedule(seed: _Seed) -> None:
    flex = _is_flex(seed)
    seed.pass_on("train", "epochs", "schedule.epochs", values.whole, 100 if flex else None)
    seed.pass_on("train", "batch_size", "schedule.batch_size", values.whole, 4 if flex else None)
    seed.pass_on("train", "patience", "schedule.early_stopping", values.whole, 10 if flex else None)
    if seed.take("train", "learning_rate_reducer", values.truth, False):
        patience = seed.take("train", "patience", values.whole, 10)
        factor = seed.take("train", "reducer_factor", values.number, 0.4 if flex else 0.1)
        reduce = max(1, seed.take("train", "reducer_patience", values.whole, 4 if flex else patience // 2 or 5))
        seed.put("schedule.decay", "plateau", "train", "learning_rate_reducer")
        seed.put("schedule.reduce_factor", factor, "train", "reducer_factor")
        seed.put("schedule.reduce_patience", reduce, "train", "reducer_patience")
        if flex:
            text = "the seeds' code misspells the reducer's patience when it passes it on, so that 10 epochs hold there"
            seed.note(seed.entries.get(("train", "reducer_patience")), "assumed", text)
    else:
        seed.put("schedule.decay", "none", "train", "learning_rate_reducer")
    seed.tree["schedule"]["min_learning_rate"] = 0.0
    if seed.take("model", "generator", values.truth, False):
        seed.pass_on("train", "steps_per_epoch", "schedule.steps_per_epoch", values.whole, 400)


def _augmentation(seed: _Seed) -> None:
    """Ranges that hold what the lists of the seeds' augmentor hold; off where it does not run."""
    online = seed.take("model", "generator", values.truth, False)
    augmented = seed.take("generator", "augmentation", values.truth, True) if online else False
    cause = ("generator", "augmentation") if online else ("model", "generator")
    seed.put("augmentation.enabled", augmented, *cause)
    if not augmented:
        return
    seed.tree["augmentation"] |= dict.fromkeys(("translation", "zoom_in", "contrast", "brightness", "noise"), 0.0)
    seed.put("augmentation.flip_horizontal", seed.take("augmentor", "hflip", values.truth, True), "augmentor", "hflip")
    seed.put("augmentation.flip_vertical", seed.take("augmentor", "vflip", values.truth, True), "augmentor", "vflip")
    angles = seed.take("augmentor", "angles", values.numbers, [90.0, 180.0, 270.0])
    turn = max((abs((angle + 180) % 360 - 180) for angle in angles), default=0.0)
    turns = seed.take("augmentor", "rotation", values.truth, True)
    seed.put("augmentation.rotation", float(turn) if turns else 0.0, "augmentor", "angles" if turns else "rotation")
    shrinks = seed.take("augmentor", "shrinks", values.numbers, [0.8])
    smaller = max((1 - one for one in shrinks), default=0.0)
    seed.put("augmentation.zoom_out", round(max(smaller, 0.0), 6), "augmentor", "shrinks")
    shears = seed.take("augmentor", "shears", values.numbers, [])
    seed.put("augmentation.shear", max((abs(one) for one in shears), default=0.0), "augmentor", "shears")
    _bending(seed)
    if seed.take("augmentor", "brightening", values.truth, False):
        gain = seed.take("brightening", "alpha", values.number, 1.2)
        offset = seed.take("brightening", "beta", values.number, 10.0)
        seed.put("augmentation.contrast", round(abs(gain - 1), 6), "brightening", "alpha")
        seed.put("augmentation.brightness", round(abs(offset) / 255, 6), "brightening", "beta")


def _bending(seed: _Seed) -> None:
    """Elastic deformation and distortion: the strongest of both, as a share of the width.

    The seeds' elastic fields are uniform noise, smoothed over rows, columns and the three colours by a Gaussian of
    ``sigmoid`` pixels and scaled by ``alpha``: displacements of alpha / (2 sqrt(2) pi sigma**2) pixels (standard
    deviation; 2.3 for their 1300 and 8, as measured). Three of these are taken for the strongest.
    """
    width = max(1, seed.take("model", "image_width", values.whole, 512))
    bends: list[tuple[float, str, str]] = [(0.0, "augmentor", "deformation")]
    wanted = [key for key in ("transformer", "deformation") if seed.take("augmentor", key, values.truth, False)]
    if wanted:
        section = "deformation" if ("deformation", "alpha") in seed.entries else "augmentor"
        alpha = seed.take(section, "alpha", values.number, 1300.0)
        several = seed.take("deformation", "sigmoids", values.numbers, [])
        sigma = min(several) if several else seed.take(section, "sigmoid", values.number, 8.0)
        if sigma > 0:
            bends.append((3 * abs(alpha) / (2 * math.sqrt(2) * math.pi * sigma**2) / width, "augmentor", wanted[0]))
    if seed.take("augmentor", "distortion", values.truth, False):
        distortions = seed.take("distortion", "distortions", values.numbers, [0.02])
        bends.append((max(map(abs, distortions), default=0.0), "augmentor", "distortion"))
    share, section, key = max(bends)
    seed.put("augmentation.elastic", round(min(share, 0.2), 6), section, key)


def _output(seed: _Seed) -> None:
    if seed.take("train", "epoch_change_infer", values.truth, False):
        shown = seed.take("train", "num_infer_images", values.whole, 6)
        seed.put("output.previews", shown, "train", "num_infer_images")


def _is_flex(seed: _Seed) -> bool:
    return bool(seed.take("model", "model", _architecture, "TensorflowUNet").startswith("TensorFlowFlex"))


def _architecture(value: Any) -> str:
    name = values.text(value)
    if name not in seed_keys.MODELS:
        bare = name.removeprefix("TensorFlowFlex").removeprefix("Tensorflow")
        has = f"it has {' and '.join(sorted(set(seed_keys.MODELS.values())))}"
        if bare in seed_keys.OTHER_MODELS:
            raise ValueError(f"imagemask does not have this architecture; {has}")
        near = closest(name, seed_keys.MODELS)
        raise ValueError(f"there is no such architecture. Did you mean {near}?" if near else f"not known; {has}")
    return name


def _metrics(value: Any) -> list[str]:
    read = values.one_of({name: name for name in (*seed_keys.METRICS, *seed_keys.ACCURACIES)})
    return [read(one) for one in values.names(value)]


def _dataset(value: Any) -> str:
    return values.one_of({name: name for name in seed_keys.DATASETS})(value)
