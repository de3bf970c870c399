"""A trained network for use elsewhere: a SavedModel, an ONNX file, or its Keras file.

Each takes float32 ``N x height x width x channels``, values 0 to 255, for any N, and gives probabilities, float32 ``N x
height x width x classes``. With a SavedModel and an ONNX file travels the network's card: what a picture must be before
it goes in, and how labels are made of what comes out. Both compute in float32, whatever the network was trained in.

Only TensorFlow writes these two. Keras' other way to ONNX, from JAX, takes a further package, and a SavedModel that JAX
writes holds code for the kind of device that it was written on. The Keras file is the same on every backend, so that a
network that JAX has trained is exported by TensorFlow.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from imagemask import __version__, files, pixels
from imagemask.errors import InputError, UsageError
from imagemask.learn import backend, models
from imagemask.learn.run import BEST, LAST, Run

if TYPE_CHECKING:
    import keras

NAMES = {"savedmodel": "savedmodel", "onnx": "model.onnx", "keras": "model.keras"}
"""The formats, and what each is called in the run folder where no other place is given."""
CARD = "assets.extra/imagemask.json"
"""Where the card lies in a SavedModel: TensorFlow keeps this folder for what is not its own."""
INPUT, OUTPUT = "image", "probabilities"
"""The names of the network's input and output in an ONNX file."""

_PACKAGES = ("onnx", "tf2onnx")
_GRAPH = "saved_model.pb"


@dataclass(frozen=True)
class Exported:
    """What was written where: ``card`` as it travels along (in a Keras file it does not), ``notes`` for a person."""

    path: Path
    format: str
    card: Mapping[str, JsonValue]
    notes: tuple[str, ...] = ()


def export(run: Run, to: str, out: Path | None = None) -> Exported:
    """Write the best network of ``run`` as ``to`` says (``NAMES``), to ``out`` or into the run folder.

    What an earlier export wrote there is replaced. Raises UsageError where Keras does not run on TensorFlow, a package
    is missing, or something else lies there; InputError where the network is missing or damaged, or cannot be written.
    """
    place = run.folder / NAMES[to] if out is None else out
    _require_room(run, to, place)
    if to == "keras":
        _copy(run, place)
        return Exported(place, to, card(run), _about(run))
    _require_tensorflow(to)
    network, notes = in_float32(run.model())
    write = _write_onnx if to == "onnx" else _write_saved_model
    with _quiet(), _beside(place) as made:
        write(network, made, card(run))
    return Exported(place, to, card(run), (*notes, *_about(run)))


def card(run: Run) -> dict[str, JsonValue]:
    """What a user of the network must know who has neither the run nor this package: JSON.

    ``window``: the values of the source, such as HU, that become 0 and 255, for each channel; none for 8-bit pictures.
    ``crop_share``: what is cut off each side of a picture at the recipe's size, rounded half up to a pixel, before it
    is brought to ``height`` x ``width``; there, nothing is foreground.
    """
    record = run.record
    several = "foreground where 1 - probabilities[0] >= threshold, and then the most probable class from 1"
    return {
        "schema": "imagemask.model/1",
        "imagemask": __version__,
        INPUT: "float32, N x height x width x channels, values 0 to 255",
        OUTPUT: "float32, N x height x width x classes",
        "decision": "foreground where probabilities[0] >= threshold" if record.classes == 1 else several,
        "threshold": run.threshold,
        "labels": list(record.labels),
        "height": record.height,
        "width": record.width,
        "channels": record.channels,
        "classes": record.classes,
        "window": [list(pixels.parse_window(name)) for name in record.window],
        "background": record.background,
        "crop_share": record.crop_share,
        "recipe": dict(record.recipe),
        "dataset": record.dataset,
        "digest": record.digest,
        "source": dict(record.source),
    }


def in_float32(model: keras.Model) -> tuple[keras.Model, tuple[str, ...]]:
    """The network of the first output, with the same weights, in which every layer computes in float32; and notes."""
    import keras

    network = models.inference(model)
    other = sorted({layer.compute_dtype for layer in network.layers} - {"float32"})
    if not other:
        return network, ()
    rebuilt = keras.models.clone_model(network, clone_function=_layer_in_float32)
    rebuilt.set_weights(network.get_weights())
    said = f"the network computes in {', '.join(other)}, and the export in float32: pixels at the threshold may differ"
    return rebuilt, (said,)


def _layer_in_float32(layer: keras.Layer) -> keras.Layer:
    return type(layer).from_config({**layer.get_config(), "dtype": "float32"})


def _about(run: Run) -> tuple[str, ...]:
    return ("no threshold was chosen on the validation set yet: 0.5",) if run.record.threshold is None else ()


def _require_tensorflow(to: str) -> None:
    """Raises UsageError where the format cannot be written here, with what to do."""
    name, what = backend.require(), "ONNX" if to == "onnx" else "a SavedModel"
    if name != "tensorflow":
        raise UsageError(
            f"{what} is written by TensorFlow, and Keras runs on {name}",
            remedy="Run again with KERAS_BACKEND=tensorflow (pip install 'imagemask[train]'): the network is the same",
        )
    missing = [package for package in _PACKAGES if importlib.util.find_spec(package) is None]
    if to == "onnx" and missing:
        raise UsageError(f"{' and '.join(missing)} not installed, for ONNX", remedy="pip install 'imagemask[export]'")


def _require_room(run: Run, to: str, place: Path) -> None:
    """Raises UsageError where ``place`` holds something that is no earlier export."""
    ours = (run.folder / BEST, run.folder / LAST)
    if place.resolve() in (one.resolve() for one in ours):
        raise UsageError(f"{place}: is the run's own network", remedy="Give another --out")
    if to != "savedmodel" and place.is_dir():
        raise UsageError(f"{place}: is a folder", remedy="Give a file with --out")
    if to == "savedmodel" and place.exists() and not (place / _GRAPH).is_file():
        raise UsageError(f"{place}: is there already, and is no SavedModel", remedy="Give another --out")


def _copy(run: Run, place: Path) -> None:
    """The Keras file, byte for byte."""
    if not (run.folder / BEST).is_file():
        raise InputError(f"{run.folder / BEST}: is missing", remedy=f"imagemask train --resume --out {run.folder}")
    with _beside(place) as made:
        shutil.copyfile(run.folder / BEST, made)


def _write_saved_model(network: keras.Model, made: Path, about: Mapping[str, JsonValue]) -> None:
    network.export(str(made), format="tf_saved_model", verbose=False)
    beside = made / CARD
    beside.parent.mkdir(exist_ok=True)
    beside.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _write_onnx(network: keras.Model, made: Path, about: Mapping[str, JsonValue]) -> None:
    """Keras converts, and calls the batch and the output as it likes; here they get their names, and the card is added.

    Texts of the card are ``metadata_props`` as they are, all else as JSON.
    """
    import numpy as np
    import onnx

    network(np.zeros((1, *network.input_shape[1:]), np.float32))  # Keras refuses to convert what was never called
    network.export(str(made), format="onnx", verbose=False)
    document = onnx.load(str(made))
    _name(document.graph)
    told = {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}
    onnx.helper.set_model_props(document, told)
    onnx.checker.check_model(document)
    onnx.save(document, str(made))


def _name(graph: Any) -> None:
    """Call the input, the output and the size of the batch by names that stay the same."""
    names = {graph.input[0].name: INPUT, graph.output[0].name: OUTPUT}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (graph.input[0], graph.output[0]):
        value.name = names[value.name]
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


@contextmanager
def _quiet() -> Iterator[None]:
    """What Keras and TensorFlow print goes to stderr; what they deprecate is theirs to mend."""
    with redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _beside(place: Path) -> Iterator[Path]:
    """A path to write to, in a folder beside ``place``; what lies there at the end takes its place."""
    work = files.temporary_name(place)
    shutil.rmtree(work, ignore_errors=True)
    files.make_folder(work)
    try:
        yield work / place.name
        if place.is_dir():  # a SavedModel, which goes with the folder
            place.rename(work / ".earlier")
        (work / place.name).replace(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)
