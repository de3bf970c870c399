"""What a build will cost, before it is started: measured on one case of the very source."""

from __future__ import annotations

import tempfile
import time
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
    """Build the case of median size into a temporary folder, and scale by bytes. Writes nothing elsewhere.

    Raises InputError where there is no case.
    """
    number, shards = how.shard
    share = build.discover(job)[number - 1 :: shards]
    todo = sorted((one for one in share if one.id not in job.source.excluded), key=lambda one: one.bytes)
    workers = how.workers or build.suggested_workers(todo)
    total = sum(one.bytes for one in todo)
    seconds, written, sample = 0.0, 0, ""
    if todo:
        case = todo[len(todo) // 2]
        seconds, written = _measure(job, case)
        scale = total / case.bytes if case.bytes else len(todo)
        seconds, written, sample = seconds * scale / workers, int(written * scale), case.id
    return Estimate(
        cases=len(todo),
        excluded=len(share) - len(todo),
        bytes_in=total,
        bytes_out=written,
        seconds=round(seconds, 1),
        workers=workers,
        memory_per_worker=build.memory_per_worker(todo),
        measured_on=sample,
    )


def _measure(job: Job, case: Case) -> tuple[float, int]:
    with tempfile.TemporaryDirectory(prefix="imagemask-") as folder:
        trial = replace(job, dataset=Path(folder))
        for name in (one_case.IMAGES, one_case.MASKS, build.fragments.FOLDER):
            files.make_folder(trial.dataset / name)
        start = time.perf_counter()
        one_case.run(trial, case)
        seconds = time.perf_counter() - start
        return seconds, sum(path.stat().st_size for path in trial.dataset.rglob("*.png"))
