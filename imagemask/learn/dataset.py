"""A dataset as training sees it: its rows, each with the set that it belongs to; its classes, size and digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagemask import manifest
from imagemask.errors import InputError, UsageError
from imagemask.split import Assignment, apply, by_fold
from imagemask.types import SPLITS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Dataset:
    """A built and split dataset. ``rows`` is its manifest, sorted by key, in which ``split`` follows from ``fold``.

    ``document`` is its dataset.json. Where ``fold`` is given, that fold is the test set, the next one (modulo the
    number of folds) the validation set, and the others are for training, as ``imagemask split --fold`` has it.
    """

    folder: Path
    document: Mapping[str, Any]
    rows: pd.DataFrame
    fold: int | None = None

    @property
    def name(self) -> str:
        """The dataset's name."""
        return str(self.document["name"])

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the foreground classes, by class id from 1."""
        return tuple(str(label["name"]) for label in self.document["labels"])

    @property
    def classes(self) -> int:
        """Output channels of a model: 1 for one foreground class, else the background and every class."""
        return 1 if len(self.labels) == 1 else len(self.labels) + 1

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of every picture, or None where they differ."""
        sizes = set(zip(self.rows["height"].tolist(), self.rows["width"].tolist(), strict=True))
        return sizes.pop() if len(sizes) == 1 else None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of every pair's key and pixel digest, and of the labels, whatever the split."""
        return manifest.digest_of_pairs(self.rows, self.document)

    def part(self, name: str) -> pd.DataFrame:
        """The rows of ``train``, ``valid`` or ``test``. Augmented variants are for training only."""
        here = self.rows["split"] == name
        return self.rows[here if name == "train" else here & (self.rows["variant"] == "")]


def read(folder: Path, *, fold: int | None = None, assignment: Assignment | None = None) -> Dataset:
    """The dataset in ``folder``; with ``assignment``, under that split in place of its own.

    Raises InputError where it cannot be read; UsageError where it was not split, has no such fold, or a set is empty.
    """
    rows = manifest.read(folder).sort_values("key", kind="stable").reset_index(drop=True)
    document = manifest.read_dataset(folder)
    if rows.empty:
        raise InputError(f"{folder}: holds no pair", remedy="Build it: imagemask build NAME")
    if assignment is not None:
        rows, _ = apply(rows, assignment)
    if fold is not None:
        rows = rows.assign(split=by_fold(folder, rows["fold"], fold))
    _require_split(folder, rows)
    return Dataset(folder, document, rows, fold)


def _require_split(folder: Path, rows: pd.DataFrame) -> None:
    blank = rows[rows["split"] == ""]
    if len(blank) == len(rows):
        raise UsageError(f"{folder}: was not split", remedy="imagemask split --by-patient")
    if len(blank):
        who = sorted(set(blank["patient"].where(blank["patient"] != "", blank["case"])))
        raise UsageError(
            f"{folder}: {len(blank)} pairs of {len(who)} patients have no split ({', '.join(who[:3])}...)",
            remedy="imagemask split assigns them, and leaves the others where they are",
        )
    plain = rows[rows["variant"] == ""]
    if empty := [name for name in SPLITS if not (plain["split"] == name).any()]:
        raise UsageError(
            f"{folder}: {', '.join(empty)} holds no pair", remedy="imagemask split --resplit, or build more"
        )
