"""How results are printed: JSON for machines, aligned lines for people; bars on stderr, on a terminal only."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

INTERRUPTED = 130
"""The exit code after Ctrl-C."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
as_annotations = click.option("--annotations", is_flag=True, help="Print findings as GitHub workflow commands.")


def require_one_form(*, annotations: bool, as_json: bool) -> None:
    """Refuse both forms at once. Raises UsageError."""
    from imagemask.errors import UsageError

    if annotations and as_json:
        raise UsageError("--annotations and --json exclude each other", remedy="Run it twice, or give one of them")


def print_json(schema: str, document: dict[str, Any]) -> None:
    """One JSON object on stdout; ``schema`` names its form and version."""
    click.echo(json.dumps({"schema": f"imagemask.{schema}/1", **document}, indent=2, ensure_ascii=False, default=str))


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Lines of a name and what it is, aligned; empty ones are left out."""
    shown = [(name, str(value)) for name, value in facts if value not in ("", None, (), [])]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{name:<{width}}  {value}")


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """An aligned table; numbers to the right."""
    body = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in [list(header), *body]) for column in range(len(header))]
    for line in [list(header), *body]:
        cells = [
            cell.rjust(width) if line is not header and _is_number(cell) else cell.ljust(width)
            for cell, width in zip(line, widths, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def print_findings(schema: str, report: Any, annotations: list[str] | None, *, as_json: bool) -> None:
    """What ``manifests`` and ``verify`` found: as JSON, as GitHub annotations, or a line each."""
    if as_json:
        print_json(schema, asdict(report))
    elif annotations is not None:
        for line in annotations:
            click.echo(line)
    else:
        for one in report.findings:
            click.echo(f"{_place(one)}: {one.code} {one.message}. {one.remedy}")
        seen = _count(report.pairs, "pair") if hasattr(report, "pairs") else _count(len(report.documents), "manifest")
        click.echo(f"{seen}: {_count(len(report.findings), 'finding')}")


def _place(finding: Any) -> str:
    """The file of a finding. A line is always one of manifest.csv, also where another file is at fault."""
    if finding.line is None:
        return str(finding.file)
    own = finding.file.endswith("manifest.csv")
    return f"{finding.file}:{finding.line}" if own else f"{finding.file} (manifest.csv, line {finding.line})"


def warn(text: str) -> None:
    """A note to a person, on stderr."""
    click.echo(f"imagemask: note: {text}", err=True)


def looking(at: Path) -> None:
    """That a source is being looked through, which may take minutes from a slow disk; on a terminal only."""
    if sys.stderr.isatty():
        click.echo(f"looking through {path(at)}", err=True)


def some(names: Sequence[str]) -> str:
    """How many names there are, and the first few; "" for none."""
    shown = ", ".join(names[:8])
    return f"{len(names)}: {shown}{', ...' if len(names) > 8 else ''}" if names else ""


def path(place: Path) -> str:
    """A path for people: relative to the current folder where it lies below it."""
    here = Path.cwd()
    return str(place.relative_to(here)) if place.is_relative_to(here) else str(place)


class Bar:
    """A progress bar of cases (and slices, where they are counted) on stderr; nothing where that is no terminal."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.slices = 0
        self.bar: Any = None

    def start(self, cases: int) -> None:
        """``cases`` are to be done."""
        if sys.stderr.isatty():
            self.bar = click.progressbar(
                length=cases, label=self.label, file=sys.stderr, show_pos=True, item_show_func=lambda _: self._counted()
            )
            self.bar.render_progress()

    def step(self, done: Any) -> None:
        """A case has ended, with ``done.slices`` slices read."""
        self.slices += getattr(done, "slices", 0)
        if self.bar is not None:
            self.bar.update(1, done)

    def count(self, done: int, cases: int) -> None:
        """``done`` of ``cases`` have ended; the first call draws the bar."""
        if done == 1:
            self.start(cases)
        self.step(done)

    def advance(self, ended: int, of: int) -> None:
        """``ended`` more of ``of`` have ended; the first call draws the bar."""
        if self.bar is None:
            self.start(of)
        if self.bar is not None:
            self.bar.update(ended)

    def finish(self) -> None:
        """End the bar's line."""
        if self.bar is not None:
            self.bar.render_finish()

    def _counted(self) -> str:
        return f"{self.slices} slices" if self.slices else ""


class Bars:
    """Bars of bytes, one after another, each of what is being done; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        self.label = ""
        self.done = 0
        self.bar: Any = None

    def step(self, label: str, done: int, total: int) -> None:
        """``done`` bytes of ``total`` are done of what ``label`` says; another label ends the bar before."""
        if not sys.stderr.isatty():
            return
        if label != self.label:
            self.finish()
            self.label, self.done = label, 0
            self.bar = click.progressbar(length=total, label=label, file=sys.stderr, show_eta=True)
            self.bar.render_progress()
        self.bar.update(done - self.done)
        self.done = done

    def finish(self) -> None:
        """End the line of the bar."""
        if self.bar is not None:
            self.bar.render_finish()
        self.label, self.bar = "", None


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace("%", "", 1).lstrip("+-").isdigit()
