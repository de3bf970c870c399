"""What a card says, read from manifest.csv, dataset.json, quarantine.csv and split.csv, and from nothing else.

No clock and no path of this machine: equal datasets give equal cards. A document that was edited by hand may hold
anything; what is not of the kind that it should be counts as absent, since `verify` has findings of its own for it.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagemask import manifest
from imagemask.types import SPLITS

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = "unknown"
_COUNTED = ["patient", "case", "variant", "foreground"]


@dataclass(frozen=True, slots=True)
class Part:
    """One split, or ("") the pairs that are in none. ``copies`` are augmented pairs; they are ``pairs``, too."""

    name: str
    patients: int
    cases: int
    pairs: int
    copies: int
    foreground: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a card says. ``document`` is dataset.json; texts in it can be written as UTF-8."""

    document: Mapping[str, Any]
    columns: tuple[str, ...]
    parts: tuple[Part, ...]
    whole: Part
    """Everything as one part."""
    strangers: int
    """Cases without a patient."""
    sizes: tuple[tuple[str, int], ...]
    """Height x width of the written pixels, and how many pairs have it, the most frequent first."""
    classes: Mapping[str, int]
    """Class id: number of pairs in whose mask it is."""
    variants: Mapping[str, int]
    quarantine: tuple[Mapping[str, str], ...]
    kept_whole: str
    """The column that the split did not divide: the first of split.csv; "" where there is none."""
    folds: int

    def text(self, *place: str, default: str = "") -> str:
        """The text at ``place`` in dataset.json."""
        found = self._at(place)
        return found if isinstance(found, str) and found.strip() else default

    def number(self, *place: str) -> int:
        """The whole number at ``place`` in dataset.json, or 0."""
        found = self._at(place)
        return found if isinstance(found, int) else 0

    def mapping(self, *place: str) -> Mapping[str, Any]:
        """The object at ``place`` in dataset.json."""
        found = self._at(place)
        return found if isinstance(found, Mapping) else {}

    def items(self, *place: str) -> Sequence[Any]:
        """The list at ``place`` in dataset.json."""
        found = self._at(place)
        return found if isinstance(found, list) else ()

    @property
    def labels(self) -> list[Mapping[str, Any]]:
        """The labels of dataset.json, in the order of their class ids, from 1."""
        return [label for label in self.items("labels") if isinstance(label, Mapping)]

    def _at(self, place: Sequence[str]) -> Any:
        found: Any = self.document
        for key in place:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found


def gather(dataset: Path, frame: pd.DataFrame | None = None) -> Facts:
    """The facts of a dataset folder. ``frame`` is its manifest, as numbers or as text, where it is at hand.

    Raises InputError where manifest.csv or dataset.json is missing or cannot be read.
    """
    rows = manifest.read(dataset) if frame is None else frame
    document = manifest.read_dataset(dataset)
    quarantine = _table(dataset / manifest.QUARANTINE)
    assigned = _table(dataset / manifest.SPLIT)
    return Facts(
        document=_clean(document) if isinstance(document, Mapping) else {},
        columns=tuple(map(_writable, rows.columns)),
        parts=tuple(_part(name, rows.loc[rows["split"] == name, _COUNTED]) for name in _splits(rows)),
        whole=_part("", rows),
        strangers=int(rows.loc[rows["patient"] == "", "case"].nunique()),
        sizes=_sizes(rows),
        classes=_classes(rows),
        variants=_variants(rows),
        quarantine=tuple(dict(zip(quarantine[0], line, strict=False)) for line in quarantine[1:]) if quarantine else (),
        kept_whole=assigned[0][0] if assigned and assigned[0] else "",
        folds=len({line[2] for line in assigned[1:] if len(line) > 2 and line[2]}),
    )


def _splits(frame: pd.DataFrame) -> list[str]:
    """The splits that there are, in the order of SPLITS; what is none of them after that, and "" last."""
    found = set(frame["split"].unique())
    return [*(name for name in SPLITS if name in found), *sorted(found - {*SPLITS, ""}), *([""] if "" in found else [])]


def _part(name: str, rows: pd.DataFrame) -> Part:
    patients, foreground = rows["patient"], rows["foreground"]
    # As numbers where it is at hand, as text where `verify` read it: no million of cells is converted for a card.
    positive = foreground > 0 if foreground.dtype.kind in "iuf" else foreground != "0"
    return Part(
        name=_writable(name),
        patients=int(patients[patients != ""].nunique()),
        cases=int(rows["case"].nunique()),
        pairs=len(rows),
        copies=int((rows["variant"] != "").sum()),
        foreground=int(positive.sum()),
    )


def _sizes(frame: pd.DataFrame) -> tuple[tuple[str, int], ...]:
    counted = frame.groupby(["height", "width"], sort=False).size()
    sizes = {
        f"{size[0]}x{size[1]}": count for size, count in zip(counted.index.tolist(), counted.tolist(), strict=True)
    }
    return tuple(sorted(sizes.items(), key=lambda size: (-size[1], size[0])))


def _variants(frame: pd.DataFrame) -> dict[str, int]:
    counted = frame["variant"].value_counts()
    return {name: count for name, count in sorted(zip(counted.index.tolist(), counted.tolist(), strict=True)) if name}


def _classes(frame: pd.DataFrame) -> dict[str, int]:
    found: Counter[str] = Counter()
    for together, count in frame["classes"].value_counts().items():
        for one in set(str(together).split()):
            found[one] += int(count)
    return dict(sorted(found.items()))


def _table(path: Path) -> list[list[str]]:
    """The rows of a small table, its header first; none where it is missing or damaged."""
    try:
        text = path.read_bytes().decode("utf-8")
        return list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _clean(value: Any) -> Any:
    """JSON can hold halves of surrogate pairs, which no file can."""
    if isinstance(value, str):
        return _writable(value)
    if isinstance(value, Mapping):
        return {_writable(key): _clean(inner) for key, inner in value.items()}
    return [_clean(inner) for inner in value] if isinstance(value, list) else value


def _writable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
