"""The dataset folder that a build writes to: is it ours, of this recipe, free; its locks and its plan."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from imagemask import files
from imagemask.build import fragments
from imagemask.build.case import IMAGES, MASKS, remove_pictures
from imagemask.build.fragments import LOCK, Plan
from imagemask.errors import InputError, UsageError


def open_(dataset: Path, plan: Plan, shard: tuple[int, int], held: ExitStack) -> tuple[str, ...]:
    """Make ``dataset`` ready for a build of ``plan``; ``held`` keeps its locks. The cases that have left the source.

    What was built of those is removed. Raises UsageError where the folder is not ours, holds another recipe, or another
    run is working in it; InputError where it cannot be written.
    """
    refuse_foreign(dataset)
    for name in (IMAGES, MASKS, fragments.FOLDER):
        files.make_folder(dataset / name)
    home = dataset / fragments.FOLDER
    number, shards = shard
    held.enter_context(files.lock(home / LOCK, shared=shards > 1))
    if shards > 1:
        held.enter_context(files.lock(home / f"{LOCK}-{number}-of-{shards}"))
        _refuse_other_shards(home, shards)
    with files.lock(home / f"{LOCK}-plan", wait=True):
        return _agree(dataset, plan, alone=shards == 1)


def refuse_foreign(dataset: Path) -> None:
    """Refuse a folder with files in it that no build of ours has put there."""
    if dataset.exists() and not dataset.is_dir():
        raise InputError(f"{dataset}: is not a folder", remedy="Give another --out")
    if not dataset.is_dir() or (dataset / fragments.FOLDER / fragments.PLAN).is_file():
        return
    for path in dataset.rglob("*"):
        begun = path.parent.name == fragments.FOLDER and path.name.startswith((LOCK, f".{fragments.PLAN}"))
        if not path.is_dir() and not begun:
            raise UsageError(
                f"{dataset}: holds {path.relative_to(dataset)}, and nothing that imagemask built",
                remedy="Give another --out",
            )


def _refuse_other_shards(home: Path, shards: int) -> None:
    """Two divisions of one source have cases in common."""
    for path in home.glob(f"{LOCK}-*-of-*"):
        if not path.name.endswith(f"-of-{shards}"):
            with files.lock(path):  # held where a run of another division is working
                continue


def _agree(dataset: Path, plan: Plan, *, alone: bool) -> tuple[str, ...]:
    """Hold ``plan`` against the one that is there, and put it in its place."""
    if not (dataset / fragments.FOLDER / fragments.PLAN).is_file():
        fragments.write_plan(dataset, plan)
        return ()
    old = fragments.read_plan(dataset)
    if found := fragments.differences(old, plan):
        raise UsageError(
            f"{dataset}: holds a build of another recipe: {'; '.join(found)}",
            remedy="Give --replace to build it anew, or another --out",
        )
    left, new = sorted(set(old.cases) - set(plan.cases)), sorted(set(plan.cases) - set(old.cases))
    if not alone and (left or new):
        seen = f"{(left + new)[0]} is {'missing' if left else 'new'} here"
        raise UsageError(
            f"{dataset}: another shard saw other cases: {seen}",
            remedy="Give every shard the same raw folder; after a change of the source, build once without --shard",
        )
    for case in left:
        remove_pictures(dataset, fragments.read(dataset, case))
        fragments.forget(dataset, case)
    if old != plan:
        fragments.write_plan(dataset, plan)
    return tuple(left)
