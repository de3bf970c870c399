"""A run folder as a report reads it, without Keras: its record, settings, history, and what an evaluation found.

The files are those of ``imagemask train`` and ``imagemask evaluate`` (docs/evaluation.md). All but ``run.json`` may be
missing: a run that is still being trained has no scores yet.
"""

from __future__ import annotations

import csv
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagemask import manifest
from imagemask.errors import InputError
from imagemask.split import by_fold, read_assignment

if TYPE_CHECKING:
    import pandas as pd

RECORD, SETTINGS, ENVIRONMENT, HISTORY = "run.json", "settings.toml", "environment.json", "history.csv"
EVALUATION, SCORES, PATIENTS, IMAGES = "evaluation.json", "evaluation.csv", "per_patient.csv", "per_image.csv"
CALIBRATION, CASES, MASKS, SHEET = "calibration.csv", "cases.csv", "cases", "cases.png"
SPLIT = "test"
"""The split of which a report shows the scores."""
ALL = "(all)"
"""In a column of classes: all of several together."""

_NEEDED = {
    HISTORY: ("epoch",),
    SCORES: ("metric", "class", "value", "low", "high", "interval", "unit", "n", "of", "undefined", "all_background"),
    PATIENTS: ("patient", "class", "images", "dice", "sensitivity", "precision", "hd95", "missed", "unit"),
    IMAGES: ("patient", "class", "dice"),
    CALIBRATION: ("pixels", "low", "high", "count", "confidence", "frequency"),
    CASES: ("key", "place", "patient", "dice", "foreground", "predicted"),
}
"""Columns that a report reads."""

Line = Mapping[str, str]


@dataclass(frozen=True)
class RunFolder:
    """The run in ``folder``; ``record`` is its run.json."""

    folder: Path
    record: Mapping[str, Any] = field(repr=False)

    @classmethod
    def open(cls, folder: Path) -> RunFolder:
        """The run in ``folder``. Raises InputError where its run.json is missing or damaged."""
        if not (folder / RECORD).is_file():
            raise InputError(f"{folder}: is no run", remedy="Name a run folder, as imagemask train wrote it")
        record = _json(folder / RECORD)
        if not isinstance(record, dict) or not str(record.get("schema", "")).startswith("imagemask.run/"):
            raise InputError(f"{folder / RECORD}: is not the record of a run", remedy="Train again, or restore it")
        return cls(folder, record)

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The resolved configuration; empty where it is not there. Raises InputError for a damaged one."""
        path = self.folder / SETTINGS
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise _damaged(path, error) from error

    @cached_property
    def environment(self) -> Mapping[str, Any]:
        """On what it was trained last; empty where that is not known."""
        path = self.folder / ENVIRONMENT
        found = _json(path) if path.is_file() else []
        last = found[-1] if isinstance(found, list) and found else {}
        return last if isinstance(last, dict) else {}

    @cached_property
    def evaluation(self) -> Mapping[str, Any] | None:
        """evaluation.json of the test set; None where the run was not evaluated, or not to the end."""
        path = self.folder / SPLIT / EVALUATION
        found = _json(path) if path.is_file() else None
        return found if isinstance(found, dict) else None

    def history(self) -> list[Line]:
        """A line an epoch."""
        return lines(self.folder / HISTORY)

    def table(self, name: str) -> list[Line]:
        """The lines of a table of the evaluation; none where it is not there. Raises InputError for a damaged one."""
        return lines(self.folder / SPLIT / name)

    @cached_property
    def dataset(self) -> tuple[Path | None, str]:
        """The dataset that it was trained on, where it still lies there with the same pixels; else None, and why."""
        place = (self.folder / str(self.record.get("folder", ""))).resolve()
        if not (place / manifest.MANIFEST).is_file():
            return None, "Its dataset is no longer where it was, so that no picture of it can be shown."
        try:
            rows = manifest.read(place).sort_values("key", kind="stable")
            digest = manifest.digest_of_pairs(rows, manifest.read_dataset(place))
        except (InputError, KeyError) as error:
            return None, f"Its dataset cannot be read ({error}), so that no picture of it can be shown."
        if digest != self.record.get("digest"):
            return None, "Its dataset holds other pixels by now, so that no picture of it can be shown."
        return place, ""

    @property
    def was_resplit(self) -> bool:
        """Whether its dataset, where it still lies there, was split in another way since: into other folds, where the
        run is of a fold. Raises InputError where a split.csv is damaged.
        """
        place = self.dataset[0]
        return place is not None and self._placed(place) != self._placed(self.folder)

    def rows(self) -> pd.DataFrame:
        """The manifest of its dataset; in the sets of this run where they follow from a fold, and it still has those.

        Raises InputError where the manifest cannot be read or the dataset is not there.
        """
        place, why = self.dataset
        if place is None:
            raise InputError(f"{self.folder}: {why}", remedy="Put the dataset back")
        found, fold = manifest.read(place), self.record.get("fold")
        if fold is None or self.was_resplit:
            return found
        return found.assign(split=by_fold(place, found["fold"], fold))

    def _placed(self, folder: Path) -> tuple[str, Mapping[str, str]] | None:
        """What the split.csv in ``folder`` keeps whole, and where each of it is, as far as this run went by it.

        None where it is missing, or is the empty one of a run under the source's own split.
        """
        path = folder / manifest.SPLIT
        found = read_assignment(folder) if path.is_file() and path.stat().st_size else None
        if found is None:
            return None
        return found.column, found.split if self.record.get("fold") is None else found.fold


def lines(path: Path) -> list[Line]:
    """The lines of a CSV file of a run, all of text; none where it is not there. Raises InputError where damaged."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            found: list[Line] = list(csv.DictReader(file, strict=True))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _damaged(path, error) from error
    missing = [name for name in _NEEDED[path.name] if found and name not in found[0]]
    if missing or any(None in line or None in line.values() for line in found):
        raise _damaged(path, f"it lacks {', '.join(missing)}" if missing else "a line is cut short or too long")
    return found


def number(cell: object) -> float:
    """A cell as a number; nan where it holds none."""
    try:
        return float(str(cell))
    except ValueError:
        return math.nan


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: object) -> InputError:
    trained = path.name in (RECORD, SETTINGS, ENVIRONMENT, HISTORY)
    remedy = "Restore it, or train again" if trained else "imagemask evaluate writes scores anew; or restore it"
    return InputError(f"{path}: cannot be read: {error}", remedy=remedy)
