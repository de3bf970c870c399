"""Is a dataset what its manifest says? Every pair, every file, every count; each finding with a stable code.

The codes (``CODES`` in ``findings``) are documented in docs/verify.md:

* IM001 to IM011, IM025, IM027: manifest.csv itself: form, cells, keys, order; divided patients, split.csv; its name.
* IM012 to IM020: the pictures: missing, stray, unreadable, of another size, depth, values, counts or pixels.
* IM021 to IM024, IM026: dataset.json, its counts, quarantine.csv, the laid-out folders, the card.
* IM101 to IM106: source manifests (``imagemask.documents``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from imagemask import card, manifest
from imagemask.errors import FINDINGS, InputError
from imagemask.verify import pairs, records, table
from imagemask.verify.findings import CODES, Finding, annotate, annotation, command, found, in_order
from imagemask.verify.records import Document
from imagemask.verify.table import Table

__all__ = ["CODES", "Finding", "VerifyReport", "annotate", "annotation", "check_manifest", "command", "verify"]

_AT_A_TIME = 128  # pairs a task: half a second of work, so that progress moves and workers end together


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was looked at, and what is wrong with it. ``fast`` says that no picture was decoded."""

    dataset: str
    fast: bool
    pairs: int
    patients: int
    kept_whole: str
    """The column that the split was told not to divide."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or 5 where something was found."""
        return FINDINGS if self.findings else 0


def verify(
    dataset: Path, *, fast: bool = False, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> VerifyReport:
    """Check the dataset folder ``dataset``; the same report for any number of ``workers``.

    ``fast`` decodes no picture: it looks at the tables, at which files there are, and at both ends of every PNG.
    ``progress`` is called with the number of pairs that a task has ended, and of all. Raises InputError where there is
    no manifest.
    """
    whole = records.kept_whole(dataset)
    rows, wrong = table.read(dataset / manifest.MANIFEST)
    if rows is None:
        return VerifyReport(str(dataset), fast, 0, 0, whole, wrong)
    document, unusable = records.read_document(dataset)
    findings = [*unusable, *table.check(rows, kept_whole=whole), *_records(dataset, rows, document)]
    if not findings:  # the card follows from the tables: where they are wrong, they are what to mend
        findings += _card(dataset, rows)
    findings += _layout(dataset, rows, fast=fast)
    unfit = {one.line for one in findings if one.code in ("IM003", "IM004")}
    findings += pairs.strays(dataset, set(rows.frame["key"]))
    values = None if document is None else tuple(label.mask_value for label in document.labels)
    fit = sum(line not in unfit for line in rows.lines)
    for ended, some in _pictures(_tasks(dataset, rows, values=values, fast=fast, unfit=unfit), workers):
        findings += some
        if progress:
            progress(ended, fit)
    patients = rows.frame["patient"]
    return VerifyReport(
        str(dataset), fast, len(rows.frame), patients[patients != ""].nunique(), whole, in_order(findings)
    )


def check_manifest(path: Path) -> list[Finding]:
    """What is wrong with a manifest.csv by itself: the part of ``verify`` that needs no other file.

    A split.csv beside it says what the split was told to keep whole. Raises InputError where there is no such file.
    """
    rows, wrong = table.read(path)
    return wrong if rows is None else in_order(table.check(rows, kept_whole=records.kept_whole(path.parent)))


def _records(dataset: Path, rows: Table, document: Document | None) -> Iterator[Finding]:
    if document is not None:
        yield from records.check_document(document, rows)
    yield from records.check_split(dataset, rows)
    yield from records.check_quarantine(dataset, document)


def _card(dataset: Path, rows: Table) -> Iterator[Finding]:
    for name, message in card.problems(dataset, rows.frame):
        yield found("IM026", message, file=name)


def _layout(dataset: Path, rows: Table, *, fast: bool) -> Iterator[Finding]:
    from imagemask import split

    line_of: dict[str, int] = {}
    try:
        for file, message in split.layout_problems(dataset, rows.frame, names_only=fast):
            line_of = line_of or dict(zip(rows.frame["key"] + ".png", rows.lines, strict=True))
            yield found("IM024", message, file=file, line=line_of.get(PurePath(file).name))
    except InputError as error:  # a key that names no file; it is a finding of its own, too
        yield found("IM024", error.reason)


def _tasks(
    dataset: Path, rows: Table, *, values: tuple[int, ...] | None, fast: bool, unfit: set[int | None]
) -> Iterator[pairs.Task]:
    """The pairs in portions; rows whose cells cannot be understood are left out."""
    frame = rows.frame
    columns = [frame[name].tolist() for name in pairs.Wanted._fields[1:]]
    for begin in range(0, len(frame), _AT_A_TIME):
        cells = zip(*(column[begin : begin + _AT_A_TIME] for column in [rows.lines, *columns]), strict=True)
        wanted = [
            pairs.Wanted(line, key, int(height), int(width), int(foreground), *others)
            for line, key, height, width, foreground, *others in cells
            if line not in unfit
        ]
        yield pairs.Task(dataset, values, fast, wanted)


def _pictures(tasks: Iterable[pairs.Task], workers: int) -> Iterator[tuple[int, list[Finding]]]:
    """How many pairs a task looked at, and what it found."""
    from imagemask import pool

    make = pool.in_process if workers == 1 else pool.processes
    return pool.run(_ended, tasks, workers=workers, died=_died, make=make)


def _ended(task: pairs.Task) -> tuple[int, list[Finding]]:
    return len(task.rows), pairs.check(task)


def _died(task: pairs.Task) -> tuple[int, list[Finding]]:
    raise InputError(
        f"{task.dataset}: a worker died at one of the {len(task.rows)} pairs from {task.rows[0].key} on",
        remedy="Most likely the memory ran out: give fewer --workers",
    )
