"""The folder that ``predict`` writes: what lies where, and whose it is.

::

    predict.json       what made the pictures below: run, model, threshold, labels; and which input each name is
    masks/NAME.png     overlays/NAME.png    probabilities/NAME.png (.npy)      of a picture
    masks/NAME.nii.gz  overlays/NAME.png    probabilities/NAME.nii.gz          of a volume

Prediction into the folder of an earlier one goes on where that had the same settings: an input that was there before is
written anew, a new one is added. What was made of another input, by other settings, or by somebody else, is not
replaced unless that is asked for, and an input never is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagemask.errors import InputError, UsageError
from imagemask.files import make_folder, output_error, write_atomic
from imagemask.learn.inputs import Input

DOCUMENT = "predict.json"
_SCHEMA = "imagemask.predictions/1"
_KINDS = {"masks": (".png", ".nii.gz"), "overlays": (".png",), "probabilities": (".png", ".npy", ".nii.gz")}


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder ``root``, claimed for the outputs of this run."""

    root: Path

    def place(self, kind: str, name: str, suffix: str) -> Path:
        """Where an output goes; its folder is made. Raises InputError where that cannot be."""
        path = self.root / kind / f"{name}{suffix}"
        make_folder(path.parent)
        return path

    def forget(self, name: str) -> None:
        """Remove whatever was written under ``name``: an input that fails has no output, not even an earlier one.

        Raises InputError where that cannot be.
        """
        for path in _places(self.root, name):
            try:
                path.unlink(missing_ok=True)
            except NotADirectoryError:  # then nothing lies below it
                continue
            except OSError as error:
                raise output_error(path, error) from error


def claim(root: Path, inputs: Sequence[Input], settings: Mapping[str, Any], *, overwrite: bool) -> Folder:
    """Make ``root`` and write down there what is going to be made of what.

    Raises UsageError where that would replace an input, or, without ``overwrite``, what other settings, another input
    or somebody else made; InputError where it cannot be written.
    """
    if root.exists() and not root.is_dir():
        raise InputError(f"{root}: is not a folder", remedy="Give another --out")
    _refuse_inputs(root, inputs)
    earlier = _earlier(root)
    sources = {one.name: _relative(one.path, root) for one in inputs}
    same = earlier.get("settings") == settings
    known: dict[str, str] = earlier.get("inputs", {}) if same else {}
    folder = Folder(root)
    if overwrite:
        for one in inputs:
            folder.forget(one.name)
    else:
        _refuse_others(root, earlier, settings, sources)
    make_folder(root)
    document = {"schema": _SCHEMA, "settings": dict(settings), "inputs": dict(sorted({**known, **sources}.items()))}
    write_atomic(root / DOCUMENT, (json.dumps(document, indent=2) + "\n").encode("utf-8"))
    return folder


def _refuse_inputs(root: Path, inputs: Sequence[Input]) -> None:
    given = {path.resolve() for one in inputs for path in one.files}
    for one in inputs:
        if hit := next((path for path in _places(root, one.name) if path.resolve() in given), None):
            raise UsageError(f"{hit}: is an input, and would be written over", remedy="Give another --out")


def _refuse_others(
    root: Path, earlier: Mapping[str, Any], settings: Mapping[str, Any], sources: Mapping[str, str]
) -> None:
    remedy = "Give another --out, or --overwrite"
    if earlier and (before := earlier.get("settings", {})) != settings:
        names = {*before, *settings}
        differ = ", ".join(sorted(name for name in names if before.get(name) != settings.get(name)))
        raise UsageError(f"{root}: holds predictions with another {differ}", remedy=remedy)
    known = earlier.get("inputs", {})
    for name, source in sources.items():
        if known.get(name) != source and (there := next(_existing(root, name), None)):
            whose = f"was made of {known[name]}" if name in known else "is there already"
            raise UsageError(f"{there}: {whose}", remedy=remedy)


def _earlier(root: Path) -> dict[str, Any]:
    """The document of an earlier prediction; one that cannot be read is none, and its outputs are somebody else's."""
    try:
        found = json.loads((root / DOCUMENT).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and found.get("schema") == _SCHEMA else {}


def _existing(root: Path, name: str) -> Iterator[Path]:
    return (path for path in _places(root, name) if path.exists())


def _places(root: Path, name: str) -> list[Path]:
    return [root / kind / f"{name}{suffix}" for kind, suffixes in _KINDS.items() for suffix in suffixes]


def _relative(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path.resolve(), root.resolve())).as_posix()
