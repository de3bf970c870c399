"""Labels as nnU-Net's dataset.json declares them: what is read of them, and what it reserves.

Version 2 has {name: value}, version 1 {value: name}. A value that is a list makes a region of several labels, which
nnU-Net trains on as a whole; a mask still holds the single ones. See documentation/region_based_training.md and
ignore_label.md of MIC-DKFZ/nnUNet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagemask.errors import InputError, UsageError

IGNORE = "ignore"
"""The reserved name: pixels of this value are neither trained on nor scored."""


def labels(path: Path) -> dict[int, str]:
    """Label values and their names, without the background; ``ignore`` is among them.

    Raises InputError for a file that cannot be read, for regions, which name no value of a mask, and for a value with
    two names.
    """
    try:
        declared = json.loads(path.read_text(encoding="utf-8-sig"))["labels"]
        pairs = [(value, name) for key, one in declared.items() for value, name in _named(key, one) if value]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path}: its labels cannot be read: {type(error).__name__}: {error}",
            remedy='Write them as {"background": 0, "NAME": 1}; or give --labels 1=NAME',
        ) from error
    found = dict(pairs)
    regions = [key for key, one in declared.items() if isinstance(one, list) and len(one) != 1]
    doubles = [name for value, name in pairs if found[value] != name]
    if regions or doubles:
        what = f"regions ({', '.join(regions)})" if regions else f"two names for one value ({doubles[0]})"
        named = ",".join(f"{value}={IGNORE if found[value] == IGNORE else 'NAME'}" for value in sorted(found))
        raise InputError(
            f"{path}: declares {what}, and masks are built by one name for each value",
            remedy=f"Name the values that the masks hold: --labels {named or '1=NAME'}",
        )
    return found


def _named(key: str, one: Any) -> list[tuple[int, str]]:
    """The values that an entry names, each with the name: several of a region."""
    if key.isdecimal():
        return [(int(key), str(one))]
    return [(int(str(value)), key) for value in (one if isinstance(one, list) else [one])]  # int(1.5) would be 1


def classes(labels: Mapping[int, str], place: Path) -> tuple[dict[int, str], tuple[str, ...]]:
    """``labels``, of the masks in ``place``, without what is called ``ignore``, which is no class; a note where one is.

    Raises UsageError where nothing is left.
    """
    kept = {value: name for value, name in labels.items() if name != IGNORE}
    if not kept:
        raise UsageError(f"{place}: the labels declare no class", remedy="Give --labels 1=NAME")
    notes = (
        f"Label {value} is {IGNORE}, and no pixel can be left out here: masks that hold it are quarantined. "
        "With --labels and another name it is a class."
        for value in sorted(labels.keys() - kept.keys())
    )
    return kept, tuple(notes)
