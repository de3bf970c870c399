"""What a build will cost, before it is started: measured on one case of the very source."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imagemask import build, files
from imagemask.build import case as one_case
from imagemask.build.case import Job
from imagemask.types import Case


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes, seconds and cases. ``seconds`` and ``bytes_out`` scale what building ``measured_on`` took to the share."""

    cases: int
    excluded: int
    bytes_in: int
    bytes_out: int
    seconds: float
    workers: int
    memory_per_worker: int
    measured_on: str


def estimate(job: Job, how: build.How) -> Estimate:
    """Build a case of median size into a temporary folder, and scale by bytes. Writes nothing elsewhere.

    Raises InputError where there is no case.
    """
    number, shards = how.shard
    share = build.discover(job)[number - 1 :: shards]
    todo = sorted((one for one in share if one.id not in job.source.excluded), key=lambda one: one.bytes)
    workers = how.workers or build.suggested_workers(todo)
    case, seconds, written = _measured(job, todo)
    total = sum(one.bytes for one in todo)
    scale = 0.0 if case is None else total / case.bytes if case.bytes else len(todo)
    return Estimate(
        cases=len(todo),
        excluded=len(share) - len(todo),
        bytes_in=sum(path.stat().st_size for one in todo for path in (*one.images, *one.masks)),
        bytes_out=int(written * scale),
        seconds=round(seconds * scale / workers, 1),
        workers=workers,
        memory_per_worker=build.memory_per_worker(todo),
        measured_on=case.id if case else "",
    )


def _measured(job: Job, todo: Sequence[Case]) -> tuple[Case | None, float, int]:
    """The first case from the middle on that can be built, the seconds that it took and the bytes that it wrote."""
    middle = len(todo) // 2
    for case in (*todo[middle:], *todo[:middle]):
        found = _measure(job, case)
        if found is not None:
            return case, *found
    return None, 0.0, 0


def _measure(job: Job, case: Case) -> tuple[float, int] | None:
    with tempfile.TemporaryDirectory(prefix="imagemask-") as folder:
        trial = replace(job, dataset=Path(folder))
        for name in (one_case.IMAGES, one_case.MASKS, build.fragments.FOLDER):
            files.make_folder(trial.dataset / name)
        start = time.perf_counter()
        done = one_case.run(trial, case)
        seconds = time.perf_counter() - start
        if done.outcome != "built":
            return None
        return seconds, sum(path.stat().st_size for path in trial.dataset.rglob("*.png"))
