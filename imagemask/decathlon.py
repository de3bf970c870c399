"""The lists in a dataset.json of the Medical Segmentation Decathlon: which cases are for training, which for testing.

An entry is a name, or an object with an image and a label: ``{"image": "./imagesTr/lung_001.nii.gz", ...}``.
"""

from __future__ import annotations

import json
import posixpath
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import Any

from imagemask import files
from imagemask.errors import InputError

Identify = Callable[[str], str]
"""From the name of a file to the id of its case; "" for what is none."""


def training_list(path: Path, identify: Identify) -> tuple[Counter[str], str]:
    """How often each id is listed for training; and a flag where the list cannot be used, so that the disk decides.

    Raises InputError where the list leads out of its folder, or has a case for both training and test.
    """
    try:
        content = json.loads("" if files.is_special(path) else path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        return Counter(), "dataset_json_missing"
    except (OSError, ValueError, RecursionError):
        return Counter(), "dataset_json_unreadable"
    training, test = (_listed(path, content, key, identify) for key in ("training", "test"))
    if leaks := sorted(set(training) & set(test)):
        raise InputError(f"{path}: lists {', '.join(leaks)} for both training and test", remedy="Correct the list")
    return training, "" if training else "dataset_json_unreadable"


def _listed(path: Path, content: Any, key: str, identify: Identify) -> Counter[str]:
    """The ids under ``key``."""
    entries = content.get(key) if isinstance(content, dict) else None
    ids: Counter[str] = Counter()
    for entry in entries if isinstance(entries, list) else ():
        paths = [entry.get("image"), entry.get("label")] if isinstance(entry, dict) else [entry]
        ids.update({identify(_inside(path, name)) for name in paths if isinstance(name, str)} - {""})
    return ids


def _inside(path: Path, name: str) -> str:
    """The last part of a listed path. Raises InputError where it leads out of the folder of dataset.json."""
    plain = posixpath.normpath(name.replace("\\", "/"))
    if PureWindowsPath(name).anchor or plain.split("/")[0] == "..":
        raise InputError(f"{path}: lists {name!r}, which lies outside its folder", remedy="Do not trust this copy")
    return posixpath.basename(plain)
