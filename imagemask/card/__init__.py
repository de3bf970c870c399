"""The data card: README.md and croissant.json, which `build` and `split` keep in a dataset.

Both follow from manifest.csv, dataset.json, quarantine.csv and split.csv, and are written after them, by whoever holds
the dataset's lock: a run that is killed in between is mended by running it again. A file of these names that is not
ours (it lacks the mark of ours) is somebody's own, and never overwritten.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from imagemask import files
from imagemask.card import croissant, readme
from imagemask.card.facts import gather

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NAMES", "foreign", "is_ours", "notes", "problems", "write"]

NAMES = (readme.NAME, croissant.NAME)
_HEAD = 1 << 16  # bytes in which a mark stands


def write(dataset: Path, frame: pd.DataFrame | None = None) -> None:
    """Write the card of a dataset folder where it is not what the dataset gives; what is not ours is left.

    ``frame`` is the manifest as manifest.csv holds it already, where it is at hand. Raises InputError where a table
    cannot be read or the folder not be written.
    """
    for path, data in _wanted(dataset, frame):
        if _read(path) != data:
            files.write_atomic(path, data)


def problems(dataset: Path, frame: pd.DataFrame | None = None) -> Iterator[tuple[str, str]]:
    """File and what is wrong with it, of a card of ours that is missing or not what the dataset gives.

    Raises InputError as ``write`` does.
    """
    for path, data in _wanted(dataset, frame):
        found = _read(path)
        if found != data:
            yield path.name, "is missing" if found is None else "is not what this dataset gives"


def foreign(dataset: Path) -> list[str]:
    """The names of a card that somebody else's files bear."""
    return [name for name in NAMES if (dataset / name).exists() and not is_ours(dataset / name)]


def notes(dataset: Path) -> tuple[str, ...]:
    """What to tell a person about files that were left as they are."""
    said = "was not written by imagemask and is left as it is; remove it to have one that fits the dataset"
    return tuple(f"{name} {said}" for name in foreign(dataset))


def is_ours(path: Path) -> bool:
    """Whether ``path`` is a file of a card that was written by us: the mark stands in its front matter, or its head."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD).decode("utf-8", "replace")
    except OSError:
        return False
    if path.name == readme.NAME:
        opening, *lines = head.splitlines() or [""]
        front = lines[: lines.index("---")] if "---" in lines else lines
        return opening == "---" and readme.MARK in front
    return path.name == croissant.NAME and croissant.MARK in head


def _wanted(dataset: Path, frame: pd.DataFrame | None) -> Iterator[tuple[Path, bytes]]:
    """The files of the card that are ours to write, with what they are to hold."""
    theirs = foreign(dataset)
    if len(theirs) == len(NAMES):
        return
    facts = gather(dataset, frame)
    if readme.NAME not in theirs:
        yield dataset / readme.NAME, readme.text(facts).encode("utf-8")
    if croissant.NAME not in theirs:
        yield dataset / croissant.NAME, croissant.text(dataset, facts).encode("utf-8")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
