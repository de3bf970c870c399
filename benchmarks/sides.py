"""The sides that are ours, for every benchmark of building: one worker in this process, and a crew of processes.

Each runs in a process of its own. What it imports comes before the clock, for a worker imports once and builds
hundreds of cases. What builds is settled as a worker of a pool is (``pool.settle``), and so is the floor: one OpenCV
thread, so that one worker is one worker, and memory that is kept.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import measure

VOLUMES = ("lung-tumor", "pancreas")


def as_asked(source: str, raw: Path, out: Path, asked: str) -> Any:
    """The job that ``asked`` describes, as JSON: a recipe and options."""
    from imagemask import build as library

    wanted = json.loads(asked)
    return library.prepare(source, raw=raw, out=out, recipe=wanted.get("recipe", {}), options=wanted.get("options", {}))


def imports(source: str) -> None:
    """What a build of this source imports, early."""
    import pandas as pd  # noqa: F401
    from PIL import Image

    from imagemask import augment, build, images, masks, pixels, registry, split  # noqa: F401

    if source in VOLUMES:
        from imagemask.volumes import content, dicom, geometry, nifti, pairs  # noqa: F401
    else:
        from imagemask.pictures import cells, contours, palettes  # noqa: F401
    Image.init()
    registry.load(source)


def alone(source: str) -> None:
    """Make this process a worker beside which there is no other."""
    from imagemask import pool

    imports(source)
    pool.settle()


def build(source: str, raw: Path, out: Path, asked: str = "{}") -> None:
    """One process that builds. ``worker`` is what it took from the first case to the last fragment, ``busy`` what of
    processors in all threads.
    """
    from imagemask import build as library

    alone(source)
    job = as_asked(source, raw, out, asked)

    def work() -> dict[str, float]:
        at: list[tuple[float, float]] = []

        def look(_: object) -> None:
            at.append((time.perf_counter(), time.process_time()))

        built = library.run(job, library.How(workers=1), started=look, progress=look)
        assert built.quarantined == 0, built.merged
        worker, busy = (end - begin for begin, end in zip(at[0], at[-1], strict=True))
        return {"worker": worker, "busy": busy, "pairs": len(list((out / "images").iterdir()))}

    measure.report(work)


def crew(source: str, raw: Path, out: Path, size: str, asked: str = "{}") -> None:
    """Every case of a source by workers that are already there; how long they took to come is told apart.

    ``size`` is their number; "bare": one that has no thread beside, as where each processor has a worker.
    """
    from functools import partial

    from imagemask import build as library
    from imagemask import files, pool
    from imagemask.build import case as one_case
    from imagemask.build.pairs import IMAGES, MASKS

    imports(source)
    workers = 1 if size == "bare" else int(size)
    pool.settle(pool.processors() if size == "bare" else workers)
    job = as_asked(source, raw, out, asked)
    cases = library.discover(job)
    for folder in (IMAGES, MASKS, library.fragments.FOLDER):
        files.make_folder(out / folder)
    begin = time.perf_counter()
    executor = pool.in_process(1) if workers == 1 else pool.processes(workers)
    there: set[int] = set()
    while len(there) < workers:
        there |= set(executor.map(_come, [source] * workers))
    start = time.perf_counter() - begin

    def work() -> dict[str, float]:
        idle = measure.Idleness()
        begin = ended = time.perf_counter()
        ran = pool.run(partial(one_case.run, job), cases, workers=workers, died=_died, make=lambda _: executor)
        for done in ran:
            assert done.outcome == "built", done
            ended = time.perf_counter()
        return {"cases": ended - begin, "start": start, "idle": idle.share()}

    measure.report(work)


def _come(source: str) -> int:
    import os

    imports(source)
    return os.getpid()


def _died(case: object) -> None:
    raise RuntimeError(f"a worker died over {case}")
