"""Raw folder into dataset: discover, send each case to an executor, join the fragments. Resumes where it was stopped.

``prepare`` resolves what is asked for into a ``Job``; ``run`` builds it; ``merge`` joins what shards have built;
``estimate.estimate`` says beforehand what it will cost. docs/architecture.md, "The flow", is the contract.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from imagemask import files, pool, registry
from imagemask.build import case as one_case
from imagemask.build import fragments, swap
from imagemask.build.case import IMAGES, MASKS, Done, Job
from imagemask.build.fragments import FORMAT, Fragment, Plan
from imagemask.build.merge import Counts, Merged
from imagemask.build.merge import merge as join
from imagemask.cases import discover as in_order
from imagemask.errors import CaseError, InputError, UsageError
from imagemask.types import Case, DescribesItself, Options, Recipe, Source

__all__ = ["FORMAT", "Built", "Counts", "How", "Job", "Merged", "Progress", "discover", "merge", "prepare", "run"]

Progress = Callable[[Done], None]
_MEMORY_OF_A_WORKER = 300 << 20  # the imports, and a picture or two
_MEMORY_PER_BYTE = 1.3


@dataclass(frozen=True, slots=True)
class How:
    """How a build runs, which never changes what it writes. Shards count from 1."""

    workers: int | None = None
    shard: tuple[int, int] = (1, 1)
    replace: bool = False
    fail_fast: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """What a run did. ``merged`` is None for a shard: ``merge`` joins them when all have ended."""

    dataset: Path
    source: Source
    cases: int
    resumed: int
    workers: int
    merged: Merged | None
    quarantined: int
    """Of this run's share."""


def prepare(
    name: str, *, raw: Path | None, out: Path | None, recipe: Mapping[str, Any], options: Mapping[str, Any]
) -> Job:
    """The job of building source ``name`` from ``raw`` (raw/NAME) to ``out`` (datasets/NAME).

    ``recipe`` holds fields of Recipe, ``options`` fields of the generator's Options. Raises UsageError for an option
    that is wrong and for folders that lie inside one another, InputError where ``raw`` is not a folder.
    """
    generator = registry.load(name)
    raw = _raw_folder(name, raw)
    chosen = _options(generator.Options, options)
    published = source = registry.source(name)
    if isinstance(generator, DescribesItself):
        source = generator.describe(source, raw, chosen)
    dataset = (out or Path("datasets") / source.name).absolute()
    _refuse_nested(raw, dataset)
    resolved = _recipe(name, source, recipe, chosen)
    notes = tuple(note for note in source.notes if note not in published.notes)
    return Job(raw, dataset, source, resolved, notes)


def _raw_folder(name: str, raw: Path | None) -> Path:
    folder = (raw or Path("raw") / name).absolute()
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "is missing"
        raise InputError(
            f"{folder}: {what}",
            remedy=f"`imagemask info {name}` says how to get it, `imagemask phantom {name}` makes one",
        )
    return folder


def _options(kind: type[Options], given: Mapping[str, Any]) -> Options:
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        raise UsageError(_first(error)) from error


def _recipe(name: str, source: Source, given: Mapping[str, Any], options: Options) -> Recipe:
    from imagemask import pixels

    fields = {"window": source.window, **{key: value for key, value in given.items() if value is not None}}
    # The window's numbers go into the recipe, not a preset's name: the name may come to mean something else.
    bounds = [pixels.parse_window(text) for text in fields["window"]]
    if len(bounds) not in (0, 1, 3):
        raise UsageError(f"{len(bounds)} windows were given", remedy="Give one, or three: one a colour channel")
    fields["window"] = tuple(f"{low:g}:{high:g}" for low, high in bounds)
    try:
        return Recipe(generator=name, name=source.name, options=options.model_dump(mode="json"), **fields)
    except ValidationError as error:
        raise UsageError(_first(error)) from error


def _first(error: ValidationError) -> str:
    one = error.errors()[0]
    option = "--" + str(one["loc"][0]).replace("_", "-") if one["loc"] else "the options"
    return f"{option} {one.get('input')!r}: {one['msg'].removeprefix('Value error, ')}"


def _refuse_nested(raw: Path, dataset: Path) -> None:
    here, there = raw.resolve(), dataset.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise UsageError(f"{dataset} and {raw} lie inside one another", remedy="Give another --out")


def discover(job: Job) -> list[Case]:
    """The cases of the source, sorted by id. Raises InputError as ``cases.discover`` does."""
    generator = registry.load(job.recipe.generator)
    options = generator.Options.model_validate(dict(job.recipe.options))
    return in_order(generator, job.raw, options)


def run(job: Job, how: How, *, started: Callable[[int], None], progress: Progress) -> Built:
    """Build the share of ``job`` that ``how.shard`` names; a whole build ends by merging.

    ``started(cases)`` is called once, ``progress`` as each case ends. Raises UsageError where the dataset folder holds
    another recipe or another run is working in it; InputError where input or output cannot be used, or nothing was
    built.
    """
    number, shards = how.shard
    if how.replace and shards > 1:
        raise UsageError("--replace does not go with --shard", remedy="Build the shards with another --out")
    cases = discover(job)
    share = cases[number - 1 :: shards]
    swap.recover(job.dataset)
    target = replace(job, dataset=swap.beside(job.dataset)) if how.replace else job
    with ExitStack() as held:
        _open(target, cases, how, held)
        started(len(share))
        workers = how.workers or suggested_workers(share)
        ended = _run_cases(target, share, workers, how.fail_fast, progress)
        merged = join(target.dataset) if shards == 1 else None
        if how.replace and merged:
            swap.into_place(job.dataset)
            merged = replace(merged, dataset=job.dataset)
    return Built(
        dataset=job.dataset,
        source=job.source,
        cases=len(share),
        resumed=sum(one.resumed for one in ended),
        workers=workers,
        merged=merged,
        quarantined=sum(one.outcome == "quarantined" for one in ended),
    )


def merge(dataset: Path) -> Merged:
    """Join the fragments that shards have left in ``dataset``. Raises InputError where one is missing."""
    fragments.read_plan(dataset)
    with files.lock(dataset / fragments.FOLDER / fragments.LOCK):
        return join(dataset)


def _open(job: Job, cases: Sequence[Case], how: How, held: ExitStack) -> None:
    """Make the dataset folder, or check that it is ours and of this recipe; hold its locks; write the plan."""
    plan = Plan(job.recipe, job.source, tuple(case.id for case in cases))
    if how.replace:
        _refuse_foreign(swap.replaced_by(job.dataset))
        swap.prepare(job.dataset, plan)
    _refuse_foreign(job.dataset)
    for folder in (IMAGES, MASKS, fragments.FOLDER):
        files.make_folder(job.dataset / folder)
    home = job.dataset / fragments.FOLDER
    number, shards = how.shard
    held.enter_context(files.lock(home / fragments.LOCK, shared=shards > 1))
    if shards > 1:
        held.enter_context(files.lock(home / f"{fragments.LOCK}-{number}-of-{shards}"))
    with files.lock(home / f"{fragments.LOCK}-plan", wait=True):
        if (home / fragments.PLAN).is_file():
            _refuse_other(job.dataset, fragments.read_plan(job.dataset), plan)
        if not (home / fragments.PLAN).is_file() or fragments.read_plan(job.dataset) != plan:
            fragments.write_plan(job.dataset, plan)


def _refuse_foreign(dataset: Path) -> None:
    if dataset.exists() and not dataset.is_dir():
        raise InputError(f"{dataset}: is not a folder", remedy="Give another --out")
    if dataset.is_dir() and any(dataset.iterdir()) and not (dataset / fragments.FOLDER).is_dir():
        raise UsageError(f"{dataset}: is not empty, and nothing that imagemask built", remedy="Give another --out")


def _refuse_other(dataset: Path, old: Plan, new: Plan) -> None:
    found = fragments.differences(old, new)
    if found:
        raise UsageError(
            f"{dataset}: holds a build of another recipe: {'; '.join(found)}",
            remedy="Give --replace to build it anew, or another --out",
        )


def _run_cases(job: Job, share: Sequence[Case], workers: int, fail_fast: bool, progress: Progress) -> list[Done]:
    ended: list[Done] = []
    todo: list[Case] = []
    for case in share:
        if case.id in job.source.excluded:
            fragment = Fragment(case.id, "", "excluded", reason=job.source.excluded[case.id])
            fragments.write(job.dataset, fragment)
            ended.append(Done(case.id, "excluded", 0, 0))
            progress(ended[-1])
        else:
            todo.append(case)
    build = partial(one_case.run, job, fail_fast=fail_fast)
    for done in pool.run(build, todo, workers=min(workers, len(todo)) or 1, died=partial(_died, job)):
        ended.append(done)
        progress(done)
    return ended


def _died(job: Job, case: Case) -> Done:
    """The record of a case that killed its worker, alone in its pool."""
    error = CaseError(
        "worker_died",
        "the process that built it was killed, twice, the second time alone: for lack of memory, most likely",
        file=case.images[0] if case.images else None,
        remedy="Give the machine more memory; the case is tried again at the next run",
    )
    fragments.forget(job.dataset, case.id)
    fragments.write(job.dataset, fragments.quarantined(case, error, raw=job.raw))
    return Done(case.id, "quarantined", 0, 0)


def suggested_workers(cases: Sequence[Case]) -> int:
    """Processors, bounded by memory: a worker holds one case at a time."""
    return min(pool.default_workers(memory_per_worker(cases)), max(1, len(cases)))


def memory_per_worker(cases: Sequence[Case]) -> int:
    """Bytes that one worker may need, by the largest case."""
    return _MEMORY_OF_A_WORKER + int(_MEMORY_PER_BYTE * max((case.bytes for case in cases), default=0))
