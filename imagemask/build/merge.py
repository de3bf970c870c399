"""Fragments into a dataset: manifest.csv, quarantine.csv, dataset.json; the same bytes whoever wrote the fragments."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Any

from imagemask import files, manifest
from imagemask.build import fragments
from imagemask.build.case import IMAGES, MASKS
from imagemask.build.fragments import FORMAT, Fragment, Plan, Quarantine
from imagemask.errors import InputError

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


def merge(dataset: Path) -> Merged:
    """Join the fragments of ``dataset``, whose lock the caller holds.

    Raises InputError where a case has no fragment yet (a shard has not ended), or where not one pair was built.
    """
    plan = fragments.read_plan(dataset)
    found = _fragments(dataset, plan)
    removed = _remove_unnamed(dataset, plan, found)
    rows = list(chain.from_iterable(fragment.rows for fragment in found))
    counts = _count(found, rows)
    flags: Counter[str] = Counter()
    for fragment in found:
        flags.update(fragment.flags)
    quarantined = tuple((one.case, one.quarantine) for one in found if one.quarantine)
    excluded = tuple((one.case, one.reason) for one in found if one.outcome == "excluded")
    columns = ("case", *(field.name for field in fields(Quarantine)))
    lines = [(case, *astuple(note)) for case, note in quarantined]
    files.write_atomic(dataset / manifest.QUARANTINE, manifest.csv_bytes(columns, lines))
    unassigned = _write_manifest(dataset, rows, plan.source.columns)
    document = _document(plan, counts, dict(excluded), flags)
    files.write_atomic(dataset / manifest.DATASET, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
    if not rows:
        raise InputError(
            f"{dataset}: not one pair was built from {counts.discovered} cases",
            remedy=f"{dataset / manifest.QUARANTINE} says why" if quarantined else "No mask has any foreground",
        )
    return Merged(
        dataset,
        plan.recipe.name,
        counts,
        quarantined,
        excluded,
        dict(sorted(flags.items())),
        removed,
        unassigned,
        _is_stale(dataset),
    )


def _fragments(dataset: Path, plan: Plan) -> list[Fragment]:
    found = [(case, fragments.read(dataset, case)) for case in plan.cases]
    missing = [case for case, fragment in found if fragment is None]
    if missing:
        raise InputError(
            f"{dataset}: {len(missing)} of {len(found)} cases have no fragment yet, {missing[0]} for one",
            remedy="Let the other shards end, or run the one that was stopped again; then merge",
        )
    return [fragment for _, fragment in found if fragment is not None]


def _remove_unnamed(dataset: Path, plan: Plan, found: Sequence[Fragment]) -> int:
    """Remove pictures and fragments that belong to nothing. A stale temporary name is one of them."""
    named = {f"{row['key']}.png" for fragment in found for row in fragment.rows}
    unnamed = [path for folder in (IMAGES, MASKS) for path in _entries(dataset / folder) if path.name not in named]
    for path in unnamed:
        path.unlink()
    cases = {f"{case}.json" for case in plan.cases}
    for path in _entries(dataset / fragments.FOLDER):
        if path.name not in cases and path.suffix in (".json", ".tmp") and path.name != fragments.PLAN:
            path.unlink()
    return len(unnamed)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _count(found: Sequence[Fragment], rows: Sequence[Any]) -> Counts:
    outcomes = Counter(fragment.outcome for fragment in found)
    return Counts(
        discovered=len(found),
        built=outcomes["built"],
        quarantined=outcomes["quarantined"],
        excluded=outcomes["excluded"],
        patients=len({row["patient"] for row in rows if row["patient"]}),
        pairs=len(rows),
        foreground_pairs=sum(row["foreground"] > 0 for row in rows),
        slices_read=sum(fragment.read for fragment in found),
        slices_kept=sum(fragment.kept for fragment in found),
        slices_empty=sum(fragment.empty for fragment in found),
    )


def _write_manifest(dataset: Path, rows: Sequence[Any], columns: Sequence[str]) -> int:
    """Write manifest.csv with the splits of split.csv, where there is one; the number of units left blank."""
    from imagemask import split

    frame = manifest.table(rows, columns)
    unassigned = 0
    assignment = split.read_assignment(dataset)
    if assignment is not None:
        frame, unassigned = split.apply(frame, assignment)
    manifest.write(dataset, frame)
    return unassigned


def _is_stale(dataset: Path) -> bool:
    from imagemask import split

    return split.read_assignment(dataset) is not None and not split.layout_is_current(dataset)


def _document(plan: Plan, counts: Counts, excluded: dict[str, str], flags: Counter[str]) -> dict[str, Any]:
    source, recipe = plan.source, plan.recipe
    kept = ("title", "url", "licence", "licence_url", "citation", "notes", "group")
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
        "flags": dict(sorted(flags.items())),
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
