"""The dataset folder that a build writes to: is it ours, of this recipe, free; its locks and its plan."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from imagemask import files, manifest
from imagemask.build import fragments, pairs
from imagemask.build.fragments import LOCK, Plan
from imagemask.build.pairs import IMAGES, MASKS
from imagemask.errors import InputError, UsageError


def open_(dataset: Path, plan: Plan, shard: tuple[int, int], held: ExitStack) -> tuple[str, ...]:
    """Make ``dataset`` ready for a build of ``plan``; ``held`` keeps its locks. The cases that have left the source.

    What was built of those is removed. A build of another recipe that has made nothing is forgotten. Raises UsageError
    where the folder is not ours, holds another recipe, or another run is working in it; InputError where it cannot be
    written.
    """
    refuse_foreign(dataset)
    for name in (IMAGES, MASKS, fragments.FOLDER):
        files.make_folder(dataset / name)
    home = dataset / fragments.FOLDER
    number, shards = shard
    held.enter_context(files.lock(home / LOCK, shared=shards > 1))
    # The plan's lock comes before a shard's: whoever holds one of those meanwhile has agreed to the plan that is there.
    with files.lock(home / f"{LOCK}-plan", wait=True):
        others = [path for path in home.glob(f"{LOCK}-*-of-*") if path.name != f"{LOCK}-{number}-of-{shards}"]
        if shards > 1:
            held.enter_context(files.lock(home / f"{LOCK}-{number}-of-{shards}"))
            # Two divisions of one source have cases in common.
            _refuse_busy(path for path in others if not path.name.endswith(f"-of-{shards}"))
        return _agree(dataset, plan, others, alone=shards == 1)


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


def _refuse_busy(locks: Iterable[Path]) -> None:
    """Raises UsageError where a run holds one of ``locks``."""
    for path in locks:
        with files.lock(path):
            continue


def check(dataset: Path, plan: Plan, *, alone: bool) -> tuple[str, ...]:
    """The cases of the build in ``dataset`` that ``plan`` has no more. Touches nothing; ``alone``: no shard.

    Raises UsageError where the folder is not ours, holds pairs of another recipe, or another shard saw other cases;
    InputError where it is no folder.
    """
    refuse_foreign(dataset)
    if not (dataset / fragments.FOLDER / fragments.PLAN).is_file():
        return ()
    old = fragments.read_plan(dataset)
    if found := fragments.differences(old, plan):
        made = [fragments.read(dataset, case) for case in old.cases]
        has_pairs = (dataset / manifest.MANIFEST).exists() or any(one is not None and one.rows for one in made)
        # A shard cannot tell an attempt that has ended from another shard's work, unless all of it has ended.
        if has_pairs or not (alone or all(made)):
            raise UsageError(
                f"{dataset}: holds a build of another recipe: {'; '.join(found)}",
                remedy="Give --replace to build it anew, or another --out",
            )
        return ()
    left, new = sorted(set(old.cases) - set(plan.cases)), sorted(set(plan.cases) - set(old.cases))
    if not alone and (left or new):
        seen = f"{(left + new)[0]} is {'missing' if left else 'new'} here"
        raise UsageError(
            f"{dataset}: another shard saw other cases: {seen}",
            remedy="Give every shard the same raw folder; after a change of the source, build once without --shard",
        )
    return tuple(left)


def _agree(dataset: Path, plan: Plan, others: Iterable[Path], *, alone: bool) -> tuple[str, ...]:
    """Hold ``plan`` against the one that is there, and put it in its place. ``others`` are locks of other shards."""
    path = dataset / fragments.FOLDER / fragments.PLAN
    old = fragments.read_plan(dataset) if path.is_file() else plan
    replaced = bool(fragments.differences(old, plan))
    if replaced:
        _refuse_busy(others)  # first: none of them can make a pair after we have looked for pairs
    left = check(dataset, plan, alone=alone)
    for case in left:
        if made := fragments.read(dataset, case):
            pairs.remove(dataset, made.rows)
    for case in old.cases if replaced else left:  # before the plan: killed between, this build has not tried them yet
        fragments.forget(dataset, case)
    if not path.is_file() or path.read_bytes() != plan.to_bytes():
        fragments.write_plan(dataset, plan)
    return left
