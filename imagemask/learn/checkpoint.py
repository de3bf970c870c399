"""What ``train --resume`` goes on from: every variable of a model and its optimizer, and the state of the training.

One file, replaced whole. Keras' own formats leave out the states of random generators (dropout), so that a resumed run
would not be the run that was never stopped (keras#19796); here they are among the model's variables.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagemask.errors import InputError
from imagemask.files import write_atomic

if TYPE_CHECKING:
    import keras

_STATE = "state"


def save(path: Path, model: keras.Model, state: Mapping[str, Any]) -> None:
    """Write ``model`` (compiled) and ``state``, which is JSON. Raises InputError where that is impossible."""
    arrays: dict[str, Any] = {f"{number:05d}": np.asarray(one) for number, one in enumerate(_variables(model))}
    arrays[_STATE] = np.frombuffer(json.dumps(dict(state)).encode(), np.uint8)
    file = io.BytesIO()
    np.savez(file, **arrays)
    write_atomic(path, file.getvalue(), lasting=True)


def load(path: Path, model: keras.Model) -> dict[str, Any]:
    """Put the variables of ``path`` into ``model``, of the same architecture and compiled alike; gives the state.

    Raises InputError where the file is missing, damaged, or of another model.
    """
    variables = _variables(model)
    state, arrays = _read(path)
    shapes = [tuple(variable.shape) for variable in variables]
    if [array.shape for array in arrays] != shapes:
        raise InputError(f"{path}: is of another model", remedy="Resume with the settings that the run began with")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return state


def state_of(path: Path) -> dict[str, Any]:
    """The state alone. Raises InputError where the file is missing or damaged."""
    return _read(path)[0]


def _read(path: Path) -> tuple[dict[str, Any], list[np.ndarray[Any, Any]]]:
    try:
        with path.open("rb") as stored, np.load(stored, allow_pickle=False) as file:
            arrays = [file[name] for name in sorted(file.files) if name != _STATE]
            state: dict[str, Any] = json.loads(file[_STATE].tobytes())
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: is missing", remedy="The run has not come to the end of an epoch: begin anew"
        ) from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: is damaged: {error}", remedy="Begin a new run") from error
    return state, arrays


def _variables(model: keras.Model) -> list[Any]:
    return [*model.variables, *model.optimizer.variables]
