"""What a build will cost, before it is started: measured on one case of the very source.

What the build would refuse before its first case is refused here, by the same functions; but nothing is locked: it may
be asked while another run works in the folder.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imagemask import build, files
from imagemask.build import case as one_case
from imagemask.build import folder, fragments, swap
from imagemask.build.case import Job
from imagemask.build.fragments import Plan, Quarantine
from imagemask.build.merge import no_foreground
from imagemask.build.pairs import IMAGES, MASKS
from imagemask.errors import InputError
from imagemask.types import Case


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes, seconds and cases. ``seconds`` and ``bytes_out`` scale what building ``measured_on`` took to the share.

    ``cases`` are to be built, ``done`` ones were built before; ``measured_on`` is "" where nothing is left to be built,
    or no case of a shard can be.
    """

    cases: int
    excluded: int
    done: int
    bytes_in: int
    bytes_out: int
    seconds: float
    workers: int
    memory_per_worker: int
    measured_on: str


@dataclass(frozen=True, slots=True)
class _Trial:
    """What building one case alone came to."""

    case: str
    pairs: int
    seconds: float
    bytes_out: int
    quarantine: Quarantine | None


def estimate(job: Job, how: build.How) -> Estimate:
    """Build a case of median size into a temporary folder, and scale by bytes. Writes nothing elsewhere.

    Raises UsageError and InputError as ``build.run`` does before its first case; InputError where there is no case, or
    not one pair would be built.
    """
    plan, share = build.shared(job, how)
    begun = _begun(job, how, plan)
    left = [case for case in share if case.id not in job.source.excluded]
    todo = sorted((case for case in left if not (begun and one_case.is_done(begun, case))), key=lambda case: case.bytes)
    trials = _trials(job, todo)
    if len(todo) == len(left) and how.shard == (1, 1) and not any(trial.pairs for trial in trials):
        raise _nothing(job, len(share), trials)
    workers = build.workers_for(todo, how)
    measured = next((trial for trial in trials if trial.pairs), None)
    scale = _scale(todo, measured)
    return Estimate(
        cases=len(todo),
        excluded=len(share) - len(left),
        done=len(left) - len(todo),
        bytes_in=sum(path.stat().st_size for one in todo for path in (*one.images, *one.masks)),
        bytes_out=int(measured.bytes_out * scale) if measured else 0,
        seconds=round(measured.seconds * scale / workers, 1) if measured else 0.0,
        workers=workers,
        memory_per_worker=build.memory_per_worker(todo),
        measured_on=measured.case if measured else "",
    )


def _begun(job: Job, how: build.How, plan: Plan) -> Job | None:
    """The job that a run would go on with, None where it begins anew. Raises as ``build.run`` does before its work."""
    present = swap.present(job.dataset)
    _require_writable(present)
    if not how.replace:
        folder.check(present, plan, alone=how.shard[1] == 1)
        return replace(job, dataset=present)
    swap.check(present, plan)
    half_built = swap.beside(job.dataset)
    return replace(job, dataset=half_built) if half_built != present and swap.is_of(half_built, plan) else None


def _require_writable(dataset: Path) -> None:
    there = next(path for path in (dataset, *dataset.parents) if path.exists())
    why = errno.ENOTDIR if not there.is_dir() else errno.EACCES if not os.access(there, os.W_OK | os.X_OK) else 0
    if why and (there != dataset or there.is_dir()):  # a file in its very place is refused in other words
        raise files.output_error(dataset, OSError(why, os.strerror(why)))


def _nothing(job: Job, cases: int, trials: Sequence[_Trial]) -> InputError:
    failed = next(((trial.case, trial.quarantine) for trial in trials if trial.quarantine), None)
    why = f"{failed[0]}: {failed[1].reason} [{failed[1].code}]. {failed[1].remedy}" if failed else ""
    reason = f"{job.dataset}: not one pair would be built from {cases} cases"
    return InputError(reason, remedy=why or no_foreground(job.recipe))


def _scale(todo: Sequence[Case], measured: _Trial | None) -> float:
    """How many times the measured case the cases to build are, by bytes; by their number where it has none."""
    size = next((case.bytes for case in todo if measured and case.id == measured.case), 0)
    return sum(case.bytes for case in todo) / size if size else len(todo)


def _trials(job: Job, todo: Sequence[Case]) -> list[_Trial]:
    """Cases from the middle on, built one after another until a pair came of one."""
    middle = len(todo) // 2
    trials: list[_Trial] = []
    for case in (*todo[middle:], *todo[:middle]):
        trials.append(_try(job, case))
        if trials[-1].pairs:
            break
    return trials


def _try(job: Job, case: Case) -> _Trial:
    with tempfile.TemporaryDirectory(prefix="imagemask-") as place:
        trial = replace(job, dataset=Path(place))
        for name in (IMAGES, MASKS, fragments.FOLDER):
            files.make_folder(trial.dataset / name)
        start = time.perf_counter()
        done = one_case.run(trial, case)
        seconds = time.perf_counter() - start
        fragment = fragments.read(trial.dataset, case.id)
        written = sum(path.stat().st_size for path in trial.dataset.rglob("*.png"))
        return _Trial(case.id, done.pairs, seconds, written, fragment.quarantine if fragment else None)
