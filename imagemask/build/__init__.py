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

from imagemask import archives, card, files, pool, registry
from imagemask.build import case as one_case
from imagemask.build import folder, fragments, swap
from imagemask.build.case import Done, Job
from imagemask.build.fragments import FORMAT, Fragment, Plan
from imagemask.build.merge import Counts, Merged
from imagemask.build.merge import merge as join
from imagemask.cases import discover as in_order
from imagemask.cases import relative
from imagemask.errors import CaseError, InputError, UsageError
from imagemask.types import PHANTOM, Case, DescribesItself, Generator, Options, Recipe, Source, from_options

__all__ = ["FORMAT", "Built", "Counts", "How", "Job", "Merged", "Progress", "discover", "merge", "prepare", "run"]

Progress = Callable[[Done], None]
_UNPACKING = archives.How()
_SYNTHETIC = "Synthetic: made from a phantom that stands in for this source; no patient was imaged"
_MEMORY_OF_A_WORKER = 300 << 20  # the imports, and a picture or two
_MEMORY_PER_BYTE = 1.3


@dataclass(frozen=True, slots=True)
class How:
    """How a build runs, which never changes what it writes. Shards count from 1."""

    workers: int | None = None
    """None: processes, as many as processors and memory allow; 1: this very process."""
    shard: tuple[int, int] = (1, 1)
    replace: bool = False
    fail_fast: bool = False
    executor: pool.Make | None = None
    """Makes the executor, a cluster's for instance, in place of local processes."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a run did. ``merged`` is None for a shard: ``merge`` joins them when all have ended."""

    dataset: Path
    source: Source
    cases: int
    resumed: int
    workers: int
    """As many as there were cases for, those included that proved to be done."""
    merged: Merged | None
    quarantined: int
    """Of this run's share."""
    left: tuple[str, ...]
    """Cases of an earlier run that are not in the source any more; what was built of them is gone."""
    passed_over: tuple[str, ...]
    """Links out of the raw folder, which are not followed, folders that cannot be listed, and pipes and devices."""


def prepare(
    name: str,
    *,
    raw: Path | None,
    out: Path | None,
    recipe: Mapping[str, Any],
    options: Mapping[str, Any],
    unpacking: archives.How = _UNPACKING,
) -> Job:
    """The job of building source ``name`` from ``raw`` (raw/NAME) to ``out`` (datasets/NAME).

    ``raw`` is a folder or an archive; archives are unpacked beside themselves first, as ``unpacking`` says. ``recipe``
    holds fields of Recipe, ``options`` fields of the generator's Options. Raises UsageError for an option that is wrong
    and for folders that lie inside one another, InputError where ``raw`` is neither folder nor archive, and as
    ``archives.unpack_all`` does.
    """
    generator = registry.load(name)
    chosen = from_options(generator.Options, options)
    published = source = registry.source(name)
    place = _locate(name, raw, generator, chosen)
    if place.packed:  # that takes long: what would be refused afterwards is refused now
        _recipe(name, source, recipe, chosen)
        _refuse_nested(place.folder, (out or Path("datasets") / source.name).resolve())
    told = archives.unpack_all(place, unpacking)
    raw = place.folder
    if isinstance(generator, DescribesItself):
        source = generator.describe(source, raw, chosen)
    dataset = (out or Path("datasets") / source.name).resolve()
    _refuse_nested(raw, dataset)
    resolved = _recipe(name, source, recipe, chosen)
    notes = tuple(note for note in source.notes if note not in published.notes)
    if (raw / PHANTOM).is_file():  # what is made of it must not pass for the real source
        source = source.model_copy(update={"notes": (_SYNTHETIC, *source.notes)})
    return Job(raw, dataset, source, resolved, fragments.plan_key(resolved, source), (*told, *notes))


def _locate(name: str, raw: Path | None, generator: Generator, options: Options) -> archives.Place:
    found = (raw or Path("raw") / name).absolute()
    if not found.is_dir() and not archives.is_archive(found):
        what = f"is not a folder, nor an archive ({', '.join(archives.SUFFIXES)})" if found.exists() else "is missing"
        raise InputError(
            f"{found}: {what}",
            remedy=f"Give --raw FOLDER. `imagemask info {name}` says how to get it, `imagemask phantom {name}` "
            "makes a stand-in",
        )
    return archives.locate(found, registry.source(name).archives, archives.usable(generator, options), refresh=True)


def _recipe(name: str, source: Source, given: Mapping[str, Any], options: Options) -> Recipe:
    from imagemask import augment, pixels

    fields = {"window": source.window, **{key: value for key, value in given.items() if value is not None}}
    # The window's numbers go into the recipe, not a preset's name: the name may come to mean something else.
    bounds = pixels.parse_windows(fields["window"])
    fields["window"] = tuple(f"{_shortest(low)}:{_shortest(high)}" for low, high in bounds)
    for several in ("crops", "flips", "rotations"):  # the order in which they are asked for makes no other dataset
        fields[several] = tuple(sorted(set(fields.get(several, ()))))
    facts = {"generator": name, "name": source.name, "options": options.model_dump(mode="json")}
    recipe = from_options(Recipe, {**facts, **fields})
    augment.variants(recipe)  # raises what is wrong with an angle before anything is written
    if recipe.stretch and recipe.size is None:
        raise UsageError("--stretch without --size", remedy="Give the side that pictures are to be squashed to")
    if recipe.combine and not (recipe.crops or recipe.flips or recipe.rotations):
        raise UsageError("--combine without --crop, --flip or --rotate", remedy="Give what is to be combined")
    return recipe


def _shortest(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(float(number))


def _refuse_nested(raw: Path, dataset: Path) -> None:
    here, there = raw.resolve(), dataset.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise UsageError(f"{dataset} and {raw} lie inside one another", remedy="Give another --out")


def discover(job: Job) -> list[Case]:
    """The cases of the source, sorted by id. Raises InputError as ``cases.discover`` does."""
    generator = registry.load(job.recipe.generator)
    options = generator.Options.model_validate(dict(job.recipe.options))
    return in_order(generator, job.raw, options)


def shared(job: Job, how: How) -> tuple[Plan, list[Case]]:
    """The plan of all shards, and the cases of this one. Raises UsageError for a shard of a replacement."""
    number, shards = how.shard
    if how.replace and shards > 1:
        raise UsageError("--replace does not go with --shard", remedy="Build the shards with another --out")
    cases = discover(job)
    return Plan(job.recipe, job.source, tuple(case.id for case in cases)), cases[number - 1 :: shards]


def run(job: Job, how: How, *, started: Callable[[int], None], progress: Progress) -> Built:
    """Build the share of ``job`` that ``how.shard`` names; a whole build ends by merging.

    ``started(cases)`` is called once, ``progress`` as each case ends. Raises UsageError where the dataset folder holds
    another recipe or another run is working in it; InputError where input or output cannot be used, or nothing was
    built.
    """
    plan, share = shared(job, how)
    swap.recover(job.dataset)
    with ExitStack() as held:
        target = replace(job, dataset=swap.begin(job.dataset, plan, held)) if how.replace else job
        left = folder.open_(target.dataset, plan, how.shard, held)
        started(len(share))
        todo = _without_excluded(target, share, progress)
        workers = workers_for(todo, how)
        ended = _run_cases(target, todo, workers, how, progress)
        merged = join(target.dataset) if how.shard[1] == 1 else None
        if how.replace and merged:
            swap.into_place(job.dataset)
            merged = replace(merged, dataset=job.dataset, notes=card.notes(job.dataset))
    return Built(
        dataset=job.dataset,
        source=job.source,
        cases=len(share),
        resumed=sum(one.resumed for one in ended),
        workers=workers,
        merged=merged,
        quarantined=sum(one.outcome == "quarantined" for one in ended),
        left=left,
        passed_over=_passed_over(job.raw),
    )


def _passed_over(raw: Path) -> tuple[str, ...]:
    listing = files.walk(raw)
    return tuple(relative(path, raw) for path in (*listing.links, *listing.unreadable, *listing.special))


def merge(dataset: Path) -> Merged:
    """Join the fragments that shards have left in ``dataset``. Raises InputError where one is missing."""
    fragments.read_plan(dataset)
    with files.lock(dataset / fragments.FOLDER / fragments.LOCK):
        return join(dataset)


def _without_excluded(job: Job, share: Sequence[Case], progress: Progress) -> list[Case]:
    """The cases to be built; of the others it is written down why they are not."""
    todo: list[Case] = []
    for case in share:
        if case.id in job.source.excluded:
            fragment = Fragment(case.id, "", "excluded", reason=job.source.excluded[case.id])
            fragments.write(job.dataset, fragment)
            progress(Done(case.id, "excluded", 0, 0))
        else:
            todo.append(case)
    return todo


def _run_cases(job: Job, todo: Sequence[Case], workers: int, how: How, progress: Progress) -> list[Done]:
    ended: list[Done] = []
    call = partial(one_case.run, job, fail_fast=how.fail_fast)
    make = how.executor or (pool.in_process if how.workers == 1 else pool.processes)
    for done in pool.run(call, todo, workers=workers, died=partial(_died, job), make=make):
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


def workers_for(cases: Sequence[Case], how: How) -> int:
    """As many as are asked for, else by processors and memory, for a worker holds one case at a time; no more than have
    something to do: what is idle is for a thread.
    """
    asked = how.workers or pool.default_workers(memory_per_worker(cases))
    return max(1, min(asked, len(cases)))


def memory_per_worker(cases: Sequence[Case]) -> int:
    """Bytes that one worker may need, by the largest case."""
    return _MEMORY_OF_A_WORKER + int(_MEMORY_PER_BYTE * max((case.bytes for case in cases), default=0))
