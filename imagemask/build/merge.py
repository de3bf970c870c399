"""Fragments into a dataset: its tables, dataset.json and its card; the same bytes whoever wrote the fragments."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagemask import card, files, manifest, names
from imagemask.build import fragments
from imagemask.build.fragments import FORMAT, Fragment, Plan, Quarantine
from imagemask.build.pairs import IMAGES, MASKS
from imagemask.errors import InputError
from imagemask.types import Recipe

if TYPE_CHECKING:
    import pandas as pd

_REPEATED = ("dataset", "patient", "group", "case", "variant", "category", "flags", "box", "pad", "classes")
_PACKAGES = ("imagemask", "numpy", "opencv-python-headless", "nibabel", "pydicom", "SimpleITK", "pillow")


@dataclass(frozen=True, slots=True)
class Counts:
    """discovered = built + quarantined + excluded; slices_read = slices_kept + slices_empty, over the built cases."""

    discovered: int
    built: int
    quarantined: int
    excluded: int
    patients: int
    pairs: int
    foreground_pairs: int
    slices_read: int
    slices_kept: int
    slices_empty: int


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge wrote, beside the files themselves."""

    dataset: Path
    name: str
    counts: Counts
    quarantined: tuple[tuple[str, Quarantine], ...]
    excluded: tuple[tuple[str, str], ...]
    flags: dict[str, int]
    removed: int
    """Files in images/ and masks/ that no fragment names: what a killed run left half-way."""
    unassigned: int
    """Units (patients, groups or cases) that split.csv, where there is one, does not assign."""
    stale: bool
    """Whether there is a split, and train/ valid/ test/ are not made from this manifest."""
    notes: tuple[str, ...] = ()
    """Files of the card that are somebody else's, and were left as they are."""


def merge(dataset: Path) -> Merged:
    """Join the fragments of ``dataset``, whose lock the caller holds.

    Raises InputError where a case has no fragment yet (a shard has not ended), or where not one pair was built.
    """
    plan = fragments.read_plan(dataset)
    sum_ = _add_up(dataset, plan)
    _write_quarantine(dataset, sum_)
    if not sum_.pairs:  # before anything that an earlier build has made is touched
        raise _nothing_built(dataset, plan, sum_)
    removed = _remove_unnamed(dataset, plan, sum_)
    frame, unassigned = _write_manifest(dataset, sum_)
    counts = sum_.counts(len(plan.cases))
    flags = dict(sorted(sum_.flags.items()))
    document = _document(plan, counts, dict(sum_.excluded), flags)
    files.write_atomic(dataset / manifest.DATASET, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
    card.write(dataset, frame)
    return Merged(
        dataset=dataset,
        name=plan.recipe.name,
        counts=counts,
        quarantined=tuple(sum_.quarantined),
        excluded=tuple(sum_.excluded),
        flags=flags,
        removed=removed,
        unassigned=unassigned,
        stale=_is_stale(dataset),
        notes=card.notes(dataset),
    )


def _nothing_built(dataset: Path, plan: Plan, sum_: _Sum) -> InputError:
    """Why there is nothing: the first case that was quarantined, with its remedy; else that all masks are empty."""
    what = f"{dataset}: not one pair was built from {names.counted(len(plan.cases), 'case')}"
    if sum_.quarantined:
        case, note = sum_.quarantined[0]
        counts = f"{len(sum_.quarantined)} quarantined" + f", {sum_.empty} without foreground" * (sum_.empty > 0)
        table = dataset / manifest.QUARANTINE
        first = f"{case}: {note.file}: {note.reason} [{note.code}]"
        return InputError(f"{what}: {counts} ({table}), the first is {first}", remedy=note.remedy)
    return InputError(what, remedy=no_foreground(plan.recipe))


def no_foreground(recipe: Recipe) -> str:
    """What to do where every case was built, and no pair came of it."""
    given = {name: recipe.options.get(name) for name in ("labels", "mask_threshold")}
    asked = [f"--{name.replace('_', '-')} {value}" for name, value in given.items() if value is not None]
    doubt = f" Is it the right {' and '.join(asked)}?" if asked else ""
    return f"No mask has any foreground as it is written.{doubt} --keep-empty keeps empty pairs"


class _Sum:
    """Fragments added up: columns of the manifest, not rows, since a million mappings would not fit into memory."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns: dict[str, list[Any]] = {name: [] for name in (*manifest.COLUMNS, *columns)}
        self.outcomes: Counter[str] = Counter()
        self.flags: Counter[str] = Counter()
        self.quarantined: list[tuple[str, Quarantine]] = []
        self.excluded: list[tuple[str, str]] = []
        self.read = self.kept = self.empty = 0
        # Equal texts of a column are kept once; keys, files and hashes are many, and numbers small.
        self._known: dict[str, dict[str, str]] = {name: {} for name in (*_REPEATED, *columns)}

    @property
    def pairs(self) -> int:
        """Rows so far."""
        return len(self.columns["key"])

    def add(self, fragment: Fragment) -> None:
        """Count one more case."""
        self.outcomes[fragment.outcome] += 1
        self.flags.update(fragment.flags)
        self.read, self.kept, self.empty = (
            self.read + fragment.read,
            self.kept + fragment.kept,
            self.empty + fragment.empty,
        )
        if fragment.quarantine:
            self.quarantined.append((fragment.case, fragment.quarantine))
        if fragment.outcome == "excluded":
            self.excluded.append((fragment.case, fragment.reason))
        for name, column in self.columns.items():
            cells = [row[name] for row in fragment.rows]
            if name in self._known:
                once = self._known[name].setdefault
                cells = [once(cell, cell) for cell in cells]
            column.extend(cells)

    def counts(self, discovered: int) -> Counts:
        """The counts of dataset.json."""
        return Counts(
            discovered=discovered,
            built=self.outcomes["built"],
            quarantined=self.outcomes["quarantined"],
            excluded=self.outcomes["excluded"],
            patients=len({patient for patient in self.columns["patient"] if patient}),
            pairs=self.pairs,
            foreground_pairs=sum(count > 0 for count in self.columns["foreground"]),
            slices_read=self.read,
            slices_kept=self.kept,
            slices_empty=self.empty,
        )


def _add_up(dataset: Path, plan: Plan) -> _Sum:
    sum_, missing = _Sum(plan.source.columns), []
    for case in plan.cases:
        fragment = fragments.read(dataset, case)
        if fragment is None:
            missing.append(case)
        else:
            sum_.add(fragment)
    if missing:
        raise InputError(
            f"{dataset}: {len(missing)} of {len(plan.cases)} cases have no fragment yet, {missing[0]} for one",
            remedy="Let the other shards end, or run the one that was stopped again; then merge",
        )
    return sum_


def _write_quarantine(dataset: Path, sum_: _Sum) -> None:
    columns = ("case", *(field.name for field in fields(Quarantine)))
    lines = [(case, *astuple(note)) for case, note in sum_.quarantined]
    files.write_atomic(dataset / manifest.QUARANTINE, manifest.csv_bytes(columns, lines))


def _remove_unnamed(dataset: Path, plan: Plan, sum_: _Sum) -> int:
    """Remove pictures and fragments that belong to nothing; a stale temporary name is one of them. Nothing else."""
    named = {f"{key}.png" for key in sum_.columns["key"]}
    pictures = [path for folder in (IMAGES, MASKS) for path in _entries(dataset / folder) if path.name not in named]
    unnamed = [path for path in pictures if path.suffix in (".png", ".tmp")]
    cases = {f"{case}.json" for case in plan.cases}
    known = {*cases, fragments.PLAN}
    stale = [path for path in _entries(dataset / fragments.FOLDER) if path.name not in known]
    for path in (*unnamed, *(path for path in stale if path.suffix in (".json", ".tmp"))):
        if not path.is_dir():
            path.unlink()
    return len(unnamed)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _write_manifest(dataset: Path, sum_: _Sum) -> tuple[pd.DataFrame, int]:
    """Write manifest.csv with the splits of split.csv, where there is one; its rows, the number of units left blank."""
    from imagemask import split

    frame = manifest.from_columns(sum_.columns)
    sum_.columns = {name: sum_.columns[name] for name in ("key", "patient", "foreground")}  # the rest is in the frame
    assignment = split.read_assignment(dataset)
    blank = 0
    if assignment is not None:
        frame, _ = split.apply(frame, assignment)
        blank = int(frame.loc[frame["split"] == "", assignment.column].nunique())
    manifest.write(dataset, frame)
    return frame, blank


def _is_stale(dataset: Path) -> bool:
    from imagemask import split

    return split.read_assignment(dataset) is not None and not split.layout_is_current(dataset)


def _document(plan: Plan, counts: Counts, excluded: dict[str, str], flags: dict[str, int]) -> dict[str, Any]:
    source, recipe = plan.source, plan.recipe
    kept = ("title", "url", "licence", "licence_url", "citation", "notes", "group", "by_image")
    written = manifest.mask_values(source.labels)
    labels = [{"name": source.labels[v], "source_value": v, "mask_value": m} for v, m in sorted(written.items())]
    return {
        "schema": "imagemask.dataset/1",
        "name": recipe.name,
        "generator": recipe.generator,
        "format": FORMAT,
        "recipe": recipe.model_dump(mode="json"),
        "source": {key: value for key, value in source.model_dump(mode="json").items() if key in kept},
        "labels": labels,
        "counts": asdict(counts),
        "excluded": excluded,
        "flags": flags,
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
