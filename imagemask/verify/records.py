"""What a dataset says about itself beside its manifest: dataset.json, split.csv and quarantine.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from imagemask.manifest import DATASET, QUARANTINE, SPLIT
from imagemask.names import some
from imagemask.types import SPLITS
from imagemask.verify.findings import Finding, found
from imagemask.verify.table import LEVELS, Table

if TYPE_CHECKING:
    import pandas as pd

_QUARANTINE = ["case", "file", "stage", "code", "reason", "remedy"]


class _Part(BaseModel):
    """A part of dataset.json. Keys that are not checked are let through."""

    model_config = ConfigDict(frozen=True, strict=True)


class Label(_Part):
    """One class: its label in the source and its value in a written mask."""

    name: str
    source_value: int
    mask_value: int = Field(ge=1, le=255)


class Counts(_Part):
    """How many there are of everything; the sums that design and build promise are checked by ``_counts``."""

    discovered: int = Field(ge=0)
    built: int = Field(ge=0)
    quarantined: int = Field(ge=0)
    excluded: int = Field(ge=0)
    pairs: int = Field(ge=0)
    patients: int = Field(ge=0)
    foreground_pairs: int = Field(ge=0)
    slices_read: int = Field(ge=0)
    slices_kept: int = Field(ge=0)
    slices_empty: int = Field(ge=0)


class Facts(_Part):
    """The terms under which the source may be used: they must travel with every copy."""

    licence: str = Field(min_length=1)
    citation: str = Field(min_length=1)


class Document(_Part):
    """What of dataset.json is checked."""

    format_name: Literal["imagemask.dataset/1"] = Field(alias="schema")
    name: str = Field(min_length=1)
    source: Facts
    labels: list[Label] = Field(min_length=1, max_length=255)
    counts: Counts
    excluded: Mapping[str, str]

    @model_validator(mode="after")
    def _one_value_a_label(self) -> Document:
        if len({label.mask_value for label in self.labels}) < len(self.labels):
            raise ValueError("two labels have one mask_value")
        return self


def read_document(dataset: Path) -> tuple[Document | None, list[Finding]]:
    """``dataset.json``, or None and what is wrong with it."""
    path = dataset / DATASET
    try:
        return Document.model_validate_json(path.read_bytes()), []
    except OSError as error:
        return None, [found("IM021", f"dataset.json cannot be read: {error.strerror}", file=DATASET)]
    except ValidationError as error:
        return None, [
            found("IM021", ": ".join([".".join(map(str, one["loc"])), one["msg"]]).lstrip(": "), file=DATASET)
            for one in error.errors()
        ]


def check_document(document: Document, table: Table) -> Iterator[Finding]:
    """dataset.json against the rows."""
    names = table.frame["dataset"]
    for position in table.frame.index[(names != document.name) & (names != "")]:
        message = f"dataset is {names[position]!r}, dataset.json says {document.name!r}"
        yield found("IM011", message, line=table.lines[position])
    counts = document.counts
    for name, number in _counted(table.frame).items():
        if getattr(counts, name) != number:
            message = f"{name} is {getattr(counts, name)}, manifest.csv holds {number}"
            yield found("IM022", message, file=DATASET)
    for message in _contradictions(document, built=table.frame["case"].nunique()):
        yield found("IM022", message, file=DATASET)


def _counted(frame: pd.DataFrame) -> dict[str, int]:
    return {
        "pairs": len(frame),
        "patients": frame["patient"][frame["patient"] != ""].nunique(),
        "foreground_pairs": int((frame["foreground"] != "0").sum()),
        "slices_kept": len(frame[["case", "slice"]].drop_duplicates()),
    }


def _contradictions(document: Document, *, built: int) -> Iterator[str]:
    counts = document.counts
    if counts.discovered != (parts := counts.built + counts.quarantined + counts.excluded):
        yield f"discovered is {counts.discovered}, but built + quarantined + excluded is {parts}"
    if counts.slices_read != (parts := counts.slices_kept + counts.slices_empty):
        yield f"slices_read is {counts.slices_read}, but slices_kept + slices_empty is {parts}"
    if counts.built < built:
        yield f"built is {counts.built}, manifest.csv holds {built} cases"
    if counts.excluded != len(document.excluded):
        yield f"counts.excluded is {counts.excluded}, excluded lists {len(document.excluded)}"


def check_quarantine(dataset: Path, document: Document | None) -> Iterator[Finding]:
    """quarantine.csv against the count in dataset.json."""
    rows, wrong = _read_csv(dataset / QUARANTINE)
    if not wrong and (not rows or rows[0] != _QUARANTINE):
        wrong = f"the header is not {','.join(_QUARANTINE)}"
    if wrong:
        yield found("IM023", wrong, file=QUARANTINE)
        return
    cases = {row[0] for row in rows[1:]}
    if document is not None and len(cases) != document.counts.quarantined:
        message = f"lists {len(cases)} cases, dataset.json counts {document.counts.quarantined}"
        yield found("IM023", message, file=QUARANTINE)


def kept_whole(dataset: Path) -> str:
    """The column that the split was told not to divide: the header of split.csv; ``patient`` where there is none."""
    rows, _ = _read_csv(dataset / SPLIT)
    return rows[0][0] if rows and _is_split_header(rows[0]) else LEVELS[0]


def _is_split_header(row: Sequence[str]) -> bool:
    return len(row) == 3 and row[0] in LEVELS and row[1:] == ["split", "fold"]


def check_split(dataset: Path, table: Table) -> Iterator[Finding]:
    """split.csv, where there is one, against the rows: what it assigns is what they say."""
    if not (dataset / SPLIT).exists():
        return
    rows, wrong = _read_csv(dataset / SPLIT)
    if not wrong and (not rows or not _is_split_header(rows[0])):
        wrong = f"the header is not one of {', '.join(LEVELS)}, then split,fold"
    if wrong:
        yield found("IM010", wrong, file=SPLIT)
        return
    level = rows[0][0]
    assigned: dict[str, tuple[str, str]] = {}
    for unit, split, fold in rows[1:]:
        if unit in assigned or split not in SPLITS:
            reason = "is assigned twice" if unit in assigned else f"is assigned to {split!r}"
            yield found("IM010", f"{level} {unit!r} {reason}", file=SPLIT)
        assigned[unit] = split, fold
    yield from _disagreeing(table, level, assigned)
    yield from _empty(table, level, assigned)


def _disagreeing(table: Table, level: str, assigned: Mapping[str, tuple[str, str]]) -> Iterator[Finding]:
    cells = (table.frame[column].tolist() for column in (level, "split", "fold"))
    for position, (unit, split, fold) in enumerate(zip(*cells, strict=True)):
        wanted = assigned.get(unit)
        if wanted is None and split:
            message = f"{level} {unit!r} is in {split!r}, split.csv does not name it"
        elif wanted is not None and wanted != (split, fold):
            message = f"{level} {unit!r} is in {_place(split, fold)}, split.csv says {_place(*wanted)}"
        else:
            continue
        yield found("IM010", message, line=table.lines[position])


def _empty(table: Table, level: str, assigned: Mapping[str, tuple[str, str]]) -> Iterator[Finding]:
    """Sets, or folds where there are any, in which nobody is left of those whom split.csv names."""
    named: dict[str, list[str]] = {}
    for unit, (split, fold) in assigned.items():
        if split in SPLITS:
            named.setdefault(f"fold {fold}" if fold else split, []).append(unit)
    there = set(table.frame[level])
    for place, units in sorted(named.items()):
        if there.isdisjoint(units):
            yield found("IM027", f"{place} is empty: no pair is of {level} {some(units)}", file=SPLIT)


def _place(split: str, fold: str) -> str:
    return f"{split!r}, fold {fold}" if fold else repr(split)


def _read_csv(path: Path) -> tuple[list[list[str]], str]:
    """The rows of a small table, all as long as the first, or why there are none."""
    try:
        text = path.read_bytes().decode("utf-8")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return [], f"{path.name} cannot be read: {getattr(error, 'strerror', None) or error}"
    ragged = next((number for number, row in enumerate(rows) if len(row) != len(rows[0])), None)
    if ragged is not None:
        return [], f"row {ragged} of {path.name} has {len(rows[ragged])} cells, its header {len(rows[0])}"
    return rows, ""
