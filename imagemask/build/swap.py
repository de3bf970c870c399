"""``--replace``: build beside the dataset, then put the new folder in its place. Killed anywhere, it recovers."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from imagemask import files, manifest, split
from imagemask.build import fragments
from imagemask.build.fragments import Plan
from imagemask.errors import ImagemaskError


def beside(dataset: Path) -> Path:
    """Where the replacement is built: on the same file system, hidden."""
    return dataset.with_name(f".{dataset.name}.new")


def replaced_by(replacement: Path) -> Path:
    """The dataset that ``replacement`` will stand in for."""
    return replacement.with_name(replacement.name.removeprefix(".").removesuffix(".new"))


def prepare(replacement: Path, plan: Plan) -> None:
    """Start the replacement; one that was left half-built is resumed where its plan is this one, else removed.

    The dataset's split goes with it: a test patient must not wander into train because a window changed. Its three
    folders do not: the stamp that goes along says that they are not made yet.
    """
    if replacement.is_dir() and not _is_of(replacement, plan):
        shutil.rmtree(replacement)
    files.make_folder(replacement / fragments.FOLDER)
    old = replaced_by(replacement) / manifest.SPLIT
    if old.is_file():
        files.write_atomic(replacement / manifest.SPLIT, old.read_bytes())
    stamp = split.read_stamp(replaced_by(replacement))
    if stamp is not None:
        split.write_stamp(replacement, replace(stamp, manifest=split.UNFINISHED))


def _is_of(replacement: Path, plan: Plan) -> bool:
    try:
        return not fragments.differences(fragments.read_plan(replacement), plan)
    except ImagemaskError:
        return False


def into_place(dataset: Path) -> None:
    """Swap the finished replacement in, and remove what it replaces."""
    if dataset.exists():
        dataset.rename(_old(dataset))
    beside(dataset).rename(dataset)
    recover(dataset)


def recover(dataset: Path) -> None:
    """End a swap that was killed half-way: the finished replacement takes its place, the old folder goes."""
    if not _old(dataset).exists():
        return
    if not dataset.exists():
        beside(dataset).rename(dataset)
    shutil.rmtree(_old(dataset))


def _old(dataset: Path) -> Path:
    return dataset.with_name(f".{dataset.name}.old")
