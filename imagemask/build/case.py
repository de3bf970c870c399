"""One case, in a worker: hash its files, read it, write its pairs, commit its fragment. Returns counts, no arrays."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from imagemask import files, manifest, pool, registry
from imagemask.build import fragments, pairs
from imagemask.build.fragments import Fragment
from imagemask.build.pairs import Finished, Pair, Writing
from imagemask.cases import inputs, relative
from imagemask.errors import CaseError, InputError, UsageError, exhausted
from imagemask.types import Case, Recipe, Row, Slice, Source

_LONGEST_KEY = 200  # bytes: a file system takes 255, and a temporary name is longer


@dataclass(frozen=True, slots=True)
class Job:
    """A build, resolved: what is written (``recipe``, ``source``), from where and to where.

    ``plan_key`` is that of the fragments: what their keys have in common. ``notes`` is what the generator says of this
    very folder beyond its source manifest (``folder``: what it guessed).
    """

    raw: Path
    dataset: Path
    source: Source
    recipe: Recipe
    plan_key: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """How a case ended, for the process that counts: ``resumed`` where an earlier run had done it."""

    case: str
    outcome: fragments.Outcome
    pairs: int
    slices: int
    resumed: bool = False


def run(job: Job, case: Case, fail_fast: bool = False) -> Done:
    """Build ``case``, unless a fragment with its key says that this was done.

    A CaseError becomes a quarantine fragment; with ``fail_fast`` an InputError. An InputError (the output cannot be
    written) goes through: it is not the case's fault.
    """
    earlier, rows = fragments.read(job.dataset, case.id), list[dict[str, Any]]()
    try:
        with pool.beside() as beside:
            names, stamps = inputs(case, job.raw), _stamps(case)
            # Beside reading and writing: hashing, decompressing and encoding all leave the interpreter to others.
            hashing = pool.begin(beside, sum(size for size, _ in stamps), _hash, names)
            if earlier and _is_done(job, case, earlier, hashing.result):
                return _done(earlier, resumed=True)
            fragments.forget(job.dataset, case.id)
            writing = Writing(job.dataset, beside, rows)
            try:
                fragment, finished = _build(job, case, writing), writing.finished()
            except Exception as error:
                if not (isinstance(error, InputError) or exhausted(error)):
                    writing.settle()  # what disk or memory lack beside counts first: it is not the case's fault
                raise
            fragment = _sealed(job, case, fragment, finished, hashing.result())
        _require_unchanged(case, stamps)
    except (InputError, UsageError):
        raise
    except Exception as error:
        fault = _fault(case, error)
        if fail_fast:
            raise InputError(f"{case.id}: {fault.reason} [{fault.code}]", remedy=fault.remedy) from error
        fragments.forget(job.dataset, case.id)
        pairs.remove(job.dataset, [*(earlier.rows if earlier else ()), *rows])
        fragment = fragments.quarantined(case, fault, raw=job.raw)
        del fault  # its traceback knows this frame, and both would keep the case's arrays
    fragments.write(job.dataset, fragment)
    return _done(fragment)


def _hash(names: Mapping[Path, str]) -> dict[str, str]:
    return {name: files.sha256(path) for path, name in names.items()}


def is_done(job: Job, case: Case) -> bool:
    """Whether ``run`` would find ``case`` done: its files are read, to see whether they are still the same."""
    earlier = fragments.read(job.dataset, case.id)
    try:
        return earlier is not None and _is_done(job, case, earlier, lambda: _hash(inputs(case, job.raw)))
    except (OSError, CaseError):  # a file that cannot be read, or named: building it will say so
        return False


def _is_done(job: Job, case: Case, earlier: Fragment, hashes: Callable[[], dict[str, str]]) -> bool:
    """Whether an earlier run has built ``case`` from these very files, and all that it wrote is there."""
    if earlier.outcome != "built" or not pairs.are_whole(job.dataset, earlier.rows, earlier.sizes):
        return False
    return earlier.key == _key(job, case, hashes())


def _sealed(
    job: Job, case: Case, fragment: Fragment, finished: Sequence[Finished], hashes: Mapping[str, str]
) -> Fragment:
    """``fragment`` with its key and sizes, and in each row the hash of its source file and the digest of its pixels."""
    for row, pair in zip(fragment.rows, finished, strict=True):
        row["digest"] = pair.digest
        row["source_sha256"] = hashes.get(row["source"], "")
    return replace(fragment, key=_key(job, case, hashes), sizes=[pair.sizes for pair in finished])


def _key(job: Job, case: Case, hashes: Mapping[str, str]) -> str:
    return fragments.key(job.plan_key, case, hashes)


def _fault(case: Case, error: Exception) -> CaseError:
    """Any exception as what is wrong with the case. Raises InputError where it is the machine that is at its end.

    A picture library, and a generator that somebody else wrote, have many ways to fail on a damaged file, and one bad
    file must not end a build.
    """
    if lacks := exhausted(error):
        remedy = "Give fewer --workers and run again: what is done is kept"
        raise InputError(f"{case.id}: {lacks}", remedy=remedy) from error
    if isinstance(error, CaseError):
        return error
    if isinstance(error, OSError):
        return _unreadable(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    reason = f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"
    file = case.images[0] if case.images else None
    return CaseError(
        "unexpected_error", reason, file=file, remedy="If the file is sound, this is a bug: please report it"
    )


def _unreadable(error: OSError) -> CaseError:
    file = Path(error.filename) if isinstance(error.filename, str) else None
    reason = f"{file.name if file else 'a file'} cannot be read: {error.strerror or error}"
    return CaseError("unreadable_file", reason, file=file, remedy="Check its permissions, or fetch it again")


def _build(job: Job, case: Case, writing: Writing) -> Fragment:
    import numpy as np

    generator = registry.load(job.recipe.generator)
    options = generator.Options.model_validate(dict(job.recipe.options))
    flags: Counter[str] = Counter()
    read = kept = empty = 0
    last = -1
    for piece in generator.read(case, options):
        if piece.index <= last:
            raise CaseError("slice_order", f"slice {piece.index} comes after slice {last}", remedy="Mend the generator")
        last, read = piece.index, read + 1
        # Most slices of a volume are empty, and all that they cost beyond being read is this look: not by any(), which
        # takes ten times as long where a slice lies backwards in memory.
        wanted = job.recipe.keep_empty or np.count_nonzero(piece.mask) > 0
        written = list(pairs.of_slice(piece, job.source, job.recipe)) if wanted else []
        for pair in written:
            row = _row(job, case, piece, pair)
            _require_short(row.key)
            writing.add(row, pair)
        kept += bool(written)
        empty += not written
        noted = chain.from_iterable(pair.flags for pair in written)
        flags.update({*case.flags, *piece.flags, *noted, *(_lost(piece, written) if wanted else ())})
    return Fragment(
        case=case.id,
        key="",
        outcome="built",
        rows=writing.rows,
        read=read,
        kept=kept,
        empty=empty,
        flags=dict(sorted(flags.items())),
        patient=case.patient,
        group=case.group or case.patient,
    )


def _require_short(key: str) -> None:
    if len(key.encode()) > _LONGEST_KEY:
        reason = f"{key} is longer than {_LONGEST_KEY} bytes"
        raise CaseError("name_too_long", reason, remedy="Rename the source file", stage="write")


def _row(job: Job, case: Case, piece: Slice, pair: Pair) -> Row:
    flags = {*case.flags, *pair.flags, *_lost(piece, [pair])}
    spacing = pair.spacing or (None, None)
    return Row(
        key=manifest.key_of(case.id, piece.index, pair.variant),
        dataset=job.recipe.name,
        patient=case.patient,
        group=case.group or case.patient,
        case=case.id,
        slice=piece.index,
        variant=pair.variant,
        split=case.split,
        fold="",
        category=case.category,
        flags=" ".join(sorted(flags)),
        height=pair.mask.shape[0],
        width=pair.mask.shape[1],
        spacing_y=spacing[0],
        spacing_x=spacing[1],
        source_height=piece.mask.shape[0],
        source_width=piece.mask.shape[1],
        box=" ".join(map(str, pair.box)),
        pad=" ".join(map(str, pair.pad)),
        foreground=sum(pair.counts[1:]),
        classes=" ".join(str(value) for value, count in enumerate(pair.counts) if value and count),
        source=relative(piece.source or case.images[0], job.raw),
        source_sha256="",  # it and the digest are known when the fragment is sealed
        digest="",
        extra={column: case.extra.get(column, "") for column in job.source.columns},
    )


def _lost(piece: Slice, written: Sequence[Pair]) -> list[str]:
    """A flag where a slice has labelled pixels and what was written has none: in shrinking, the background won."""
    lost = not any(any(pair.counts[1:]) for pair in written) and bool(piece.mask.any())
    return ["foreground_lost"] if lost else []


def _stamps(case: Case) -> list[tuple[int, int]]:
    """Size and time of change of every file: a cheap sign that one changed while it was read."""
    found = [path.stat() for path in (*case.images, *case.masks)]
    return [(one.st_size, one.st_mtime_ns) for one in found]


def _require_unchanged(case: Case, stamps: list[tuple[int, int]]) -> None:
    for path, before, now in zip((*case.images, *case.masks), stamps, _stamps(case), strict=True):
        if now != before:
            reason = f"{path.name} changed while it was read"
            raise CaseError("changed_while_read", reason, file=path, remedy="Run again when it rests")


def _done(fragment: Fragment, *, resumed: bool = False) -> Done:
    return Done(fragment.case, fragment.outcome, len(fragment.rows), fragment.read, resumed)
