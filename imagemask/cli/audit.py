"""The command audit: is a dataset sound?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from imagemask.cli import show

_SHOWN, _FILES = 5, 3  # findings of a code, and files of a finding, that people are shown
_KINDS = {"error": "error", "warning": "warning", "advice": "notice"}
"""Severity: GitHub's word for it."""
_MEMORY = 300 << 20  # bytes of a worker: what it imports, and a few pictures of 2048 x 2048


@click.command()
@click.argument("dataset", required=False, type=click.Path(path_type=Path), metavar="[DATASET|FOLDER]")
@click.option(
    "--patient",
    metavar="REGEX",
    help=r"In a folder without manifest: a regular expression whose group is the patient, as '(P\d+)_'.",
)
@click.option("--workers", type=click.IntRange(1), help="Processes. [default: by processors and memory]")
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning"]),
    default="warning",
    show_default=True,
    help="The least severity that ends with exit code 5.",
)
@show.as_annotations
@show.as_json
def audit(
    dataset: Path | None, patient: str | None, workers: int | None, fail_on: str, annotations: bool, as_json: bool
) -> None:
    """Look for leaks, copies, broken images and masks, and uneven splits, in a dataset or any folder of pairs."""
    from imagemask import audit as library
    from imagemask import manifest, pool

    show.require_one_form(annotations=annotations, as_json=as_json)
    folder = manifest.find(dataset, Path())
    bar = show.Bar("audit")
    try:
        workers = workers or pool.default_workers(_MEMORY)
        report = library.audit(folder, patient=patient, workers=workers, progress=bar.advance)
    finally:
        bar.finish()
    if as_json:
        from dataclasses import asdict

        show.print_json("audit", asdict(report))
    elif annotations:
        for line in _annotations(report, folder):
            click.echo(line)
    else:
        _print(report)
    click.get_current_context().exit(report.exit_code(fail_on))


def _annotations(report: Any, folder: Path) -> Iterator[str]:
    """A GitHub workflow command a finding: at its first line of manifest.csv, else at its first file."""
    from imagemask import manifest
    from imagemask.audit import CODES
    from imagemask.verify import command

    whole = folder / manifest.MANIFEST
    whole = whole if whole.is_file() else folder
    for one in report.findings:
        place = folder / one.files[0] if one.files and not one.lines else whole
        text = f"{one.message}. {CODES[one.code].why}. {CODES[one.code].remedy}"
        line = one.lines[0] if one.lines else None
        yield command(_KINDS[one.severity], place, text, line=line, title=f"{one.code} {CODES[one.code].title}")


def _print(report: Any) -> None:
    from imagemask.audit import CODES, SEVERITIES, said_of

    for code, group in groupby(report.findings, key=lambda one: one.code):
        _print_code(code, CODES[code], list(group), report.pairs)
    for text in report.verdicts:
        click.echo(text)
    for text in report.unjudged:
        click.echo(f"Not judged: {text}")
    counts = [sum(one.severity == severity for one in report.findings) for severity in SEVERITIES]
    said = [said_of(count, severity) for count, severity in zip(counts, SEVERITIES, strict=True) if count]
    click.echo(f"{report.folder}: {report.pairs} pairs: {', '.join(said) or 'no findings'}")


def _print_code(code: str, meaning: Any, findings: list[Any], pairs: int) -> None:
    """What was found under a code: what it is, why it matters, what to do, and the first few findings."""
    about = len({file for one in findings for file in one.files})
    counts = f"{len(findings)} finding{'s' * (len(findings) > 1)}, {about} file{'s' * (about != 1)}; {pairs} pairs"
    click.echo(f"{findings[0].severity} {code}: {meaning.title} ({counts})")
    click.echo(f"  why: {meaning.why}")
    click.echo(f"  do:  {meaning.remedy}")
    for one in findings[:_SHOWN]:
        named = [file for file in one.files if file not in one.message]  # the others are said already
        files = ", ".join(named[:_FILES]) + (f" and {len(named) - _FILES} more" if named[_FILES:] else "")
        click.echo(f"  - {one.message}" + (f" [{files}]" if files else ""))
    if findings[_SHOWN:]:
        click.echo(f"  - and {len(findings) - _SHOWN} more")
    click.echo()
