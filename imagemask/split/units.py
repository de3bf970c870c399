"""Units: what a split keeps whole, what each one weighs, and where each one is (``split.csv``)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imagemask import manifest
from imagemask.errors import InputError, UsageError
from imagemask.names import some
from imagemask.types import SPLITS

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("patient", "group", "case")


@dataclass(frozen=True, slots=True)
class Assignment:
    """``split.csv``: which set, and which fold if there are any, each unit of a manifest column is in."""

    column: str
    split: Mapping[str, str]
    fold: Mapping[str, str] = field(default_factory=dict)

    @property
    def folds(self) -> int:
        """The number of folds; 0 without."""
        return max((int(fold) + 1 for fold in self.fold.values() if fold), default=0)

    @property
    def test_fold(self) -> int | None:
        """The fold that is the test set; None without."""
        folds = (self.fold.get(unit) for unit, split in self.split.items() if split == "test")
        return next((int(fold) for fold in folds if fold), None)

    def to_bytes(self) -> bytes:
        """The bytes of the file: sorted by unit."""
        rows = [(unit, self.split[unit], self.fold.get(unit, "")) for unit in sorted(self.split)]
        return manifest.csv_bytes([self.column, "split", "fold"], rows)


def read_assignment(dataset: Path) -> Assignment | None:
    """The assignment of a dataset folder; None where there is none. Raises InputError where it is damaged."""
    path = dataset / manifest.SPLIT
    try:
        with path.open(encoding="utf-8", newline="") as file:
            head, *rows = list(csv.reader(file)) or [[]]
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {error}", remedy=_REMEDY) from error
    if head not in [[column, "split", "fold"] for column in COLUMNS]:
        raise InputError(f"{path}: the first line is {','.join(head)!r}", remedy=_REMEDY)
    found: dict[str, tuple[str, str]] = {}
    for line, row in enumerate(rows, start=2):
        if len(row) != 3 or row[0] in found or row[1] not in SPLITS or not (row[2] == "" or row[2].isdecimal()):
            raise InputError(f"{path}: line {line} is {','.join(row)!r}", remedy=_REMEDY)
        found[row[0]] = (row[1], row[2])
    return Assignment(head[0], {unit: to[0] for unit, to in found.items()}, {unit: to[1] for unit, to in found.items()})


_REMEDY = (
    "Each unit is there once, with train, valid or test; restore the file, or draw anew: imagemask split --resplit"
)


def apply(frame: pd.DataFrame, assignment: Assignment) -> tuple[pd.DataFrame, int]:
    """A manifest with the sets and folds of an assignment, and the number of its rows that are in no set.

    A unit that the assignment does not name is in none, except where the assignment nowhere contradicts the source's
    own split, which is what the ``split`` column of a manifest holds at first: then the unit is where the source says.
    """
    import pandas as pd

    codes, names = codes_of(frame[assignment.column])
    split = np.array([assignment.split.get(name, "") for name in names], dtype=object)[codes]
    fold = np.array([assignment.fold.get(name, "") for name in names], dtype=object)[codes]
    own = frame["split"].to_numpy(object)
    both = (split != "") & (own != "")
    if bool((own[both] == split[both]).all()):
        split = np.where(split != "", split, own)
    columns = {name: pd.Series(cells, frame.index, dtype=str) for name, cells in (("split", split), ("fold", fold))}
    return frame.assign(**columns), int((split == "").sum())


def by_fold(folder: Path, folds: pd.Series[str], fold: int) -> list[str]:
    """The set of each row, where ``fold`` is the test set, and the next one (modulo their number) the validation set.

    ``folds`` is the column ``fold`` of the manifest in ``folder``. Raises UsageError where it has no such fold.
    """
    drawn = sorted({int(one) for one in folds if one.isdigit()})
    if not drawn:
        raise UsageError(
            f"{folder}: was not split into folds", remedy="imagemask split --folds 5, or leave --fold away"
        )
    count = drawn[-1] + 1
    if fold not in drawn:
        raise UsageError(f"{folder}: has no fold {fold}", remedy=f"There are folds 0 to {count - 1}")
    sets = {str(fold): "test", str((fold + 1) % count): "valid", "": ""}
    return [sets.get(one, "train") for one in folds]


@dataclass(frozen=True, slots=True)
class Units:
    """The values of a manifest column, sorted, and the bundles of units that may not be parted.

    ``of_row`` is the unit of each row and ``bundle`` the bundle of each unit; ``weights`` is bundles x 2: plain images,
    and those of them with foreground.
    """

    column: str
    names: Sequence[str]
    of_row: NDArray[np.int64]
    bundle: NDArray[np.int64]
    weights: NDArray[np.int64]

    @property
    def bundles(self) -> list[str]:
        """A name for each bundle: its first unit's."""
        return [self.names[first] for first in np.unique(self.bundle, return_index=True)[1].tolist()]


def column_for(by: str, frame: pd.DataFrame, group: str) -> str:
    """The manifest column that a split ``by`` patient, group or image keeps whole.

    ``group`` is the source's own word for what it publishes: patient, image (the parent image) or none. Where that is
    not the patient, or some rows have none, the column group stands for it, if every row has one: it holds the patient
    of a row that has no group of its own, and ``gather`` ties groups that share a patient, so that none is parted.
    Raises UsageError where nothing groups the rows.
    """
    patients, groups = frame["patient"] != "", frame["group"] != ""
    if by == "patient" and (group != "patient" or not patients.all()) and groups.all():
        return "group"
    if by == "patient" and not patients.any():
        raise UsageError(
            "no grouping: the manifest names neither patients nor groups, so nothing says which images belong together",
            remedy="Build with what identifies a patient (folder: --patient REGEX), or accept leakage: --by image",
        )
    column = "case" if by == "image" else by
    check_complete(frame, column)
    return column


def check_complete(frame: pd.DataFrame, column: str) -> None:
    """Refuse a manifest in which some rows have no value in ``column``, naming their cases."""
    cases = sorted(set(frame["case"][frame[column] == ""]))
    if cases:
        others = " or ".join(f"--by {by}" for by in ("patient", "group", "image") if by != column)
        raise UsageError(
            f"{len(cases)} cases have no {column}: {some(cases)}",
            remedy=f"Build again with a {column} for each case, or split {others}",
        )


def gather(frame: pd.DataFrame, column: str, *, copies: bool = False) -> Units:
    """The units of a manifest. Patients that share a group are one bundle, and groups that share a patient.

    With ``copies`` so are units that share a source file, byte for byte: one picture that was published twice.
    """
    of_row, names = codes_of(frame[column])
    other = {"patient": "group", "group": "patient"}.get(column)
    ties = [frame[name] for name in (other, "source_sha256" if copies else "") if name] if other else []
    bundle = _bundles(len(names), of_row, ties)
    plain = (frame["variant"] == "").to_numpy()
    weights = np.zeros((int(bundle.max(initial=-1)) + 1, 2), dtype=np.int64)
    for measure, rows in enumerate((plain, plain & (frame["foreground"] > 0).to_numpy())):
        weights[:, measure] = np.bincount(bundle[of_row[rows]], minlength=len(weights))
    return Units(column, names, of_row, bundle, weights)


def settled(units: Units, rows: pd.Series[str], values: Sequence[str]) -> NDArray[np.int64]:
    """Where each bundle is: the place in ``values`` of what its rows say, -1 where they are blank.

    Raises UsageError where the rows of a bundle disagree, and InputError for a value that is not among ``values``.
    """
    codes, found = codes_of(rows)
    unknown = sorted({*found} - {*values, ""})
    if unknown:
        raise InputError(
            f"{manifest.MANIFEST}: column {rows.name} holds {some(unknown)}", remedy=f"It may hold {', '.join(values)}"
        )
    place = np.array([values.index(name) if name else -1 for name in found], dtype=np.int64)[codes]
    unit, value = distinct(units.of_row, place, place >= 0)
    where = np.full(len(units.weights), -1, dtype=np.int64)
    where[units.bundle[unit]] = value
    torn = np.unique(units.bundle[unit[where[units.bundle[unit]] != value]])
    if torn.size:
        parted = np.isin(units.bundle[unit], torn)
        raise _torn(units, zip(unit[parted].tolist(), value[parted].tolist(), strict=True), values)
    return where


def _torn(units: Units, parted: Iterable[tuple[int, int]], values: Sequence[str]) -> UsageError:
    sides: dict[str, list[str]] = {}
    for unit, value in parted:
        sides.setdefault(units.names[unit], []).append(values[value])
    named = [f"{name} ({', '.join(where)})" for name, where in sides.items()]
    return UsageError(
        f"the present split parts what belongs together: {units.column} {some(named)}",
        remedy="Draw it anew with --resplit",
    )


def codes_of(column: pd.Series[str]) -> tuple[NDArray[np.int64], list[str]]:
    """A text column as places in the sorted list of its values, and that list."""
    import pandas as pd

    codes, values = pd.factorize(column.to_numpy(object))
    order = sorted(range(len(values)), key=values.__getitem__)
    rank = np.empty(len(values), dtype=np.int64)
    rank[order] = np.arange(len(values))
    return rank[codes], [str(values[place]) for place in order]


def _bundles(count: int, of_row: NDArray[np.int64], ties: Sequence[pd.Series[str]]) -> NDArray[np.int64]:
    """The bundle of each of ``count`` units: those that share a value of a tie, directly or through others."""
    head = list(range(count))
    for tie in ties:
        members, values = distinct(of_row, codes_of(tie)[0], (tie != "").to_numpy())
        shared = np.bincount(values)[values] > 1  # most values are one unit's only, and tie nothing
        first: dict[int, int] = {}
        for unit, value in zip(members[shared].tolist(), values[shared].tolist(), strict=True):
            one, other = _find(head, unit), _find(head, first.setdefault(value, unit))
            head[max(one, other)] = min(one, other)
    roots = [_find(head, unit) for unit in range(count)]
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)


def distinct(
    first: NDArray[np.int64], second: NDArray[np.int64], where: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct pairs of two columns of small numbers, in order, among the rows ``where``."""
    radix = int(second.max(initial=0)) + 1
    pairs = np.unique(first[where] * radix + second[where])
    return pairs // radix, pairs % radix


def _find(head: list[int], unit: int) -> int:
    while head[unit] != unit:
        head[unit] = head[head[unit]]
        unit = head[unit]
    return unit
