"""Commands about sources: list, info, phantom, check, manifests."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from imagemask.cli import show
from imagemask.cli.options import Sources

_FOLDER = click.Path(path_type=Path)


@click.command("list")
@show.as_json
def list_(as_json: bool) -> None:
    """List the sources that can be built."""
    from imagemask import registry

    found, broken = registry.described()
    for error in broken:
        show.warn(str(error))
    if as_json:
        kept = {"name", "title", "licence", "group"}
        show.print_json("list", {"sources": [source.model_dump(mode="json", include=kept) for source in found]})
        return
    show.print_table(["name", "licence", "title"], [(one.name, one.licence, one.title) for one in found])


@click.command()
@click.argument("name")
@show.as_json
def info(name: str, as_json: bool) -> None:
    """Show what is known about source NAME: how to get it, licence, labels, what a full copy holds."""
    from imagemask import files, registry

    source = registry.source(name)
    if as_json:
        show.print_json("info", source.model_dump(mode="json"))
        return
    expected = source.expected
    show.print_facts(
        [
            ("name", source.name),
            ("title", source.title),
            ("url", source.url),
            ("licence", f"{source.licence} {source.licence_url}".strip()),
            ("citation", source.citation),
            ("labels", ", ".join(f"{value} = {label}" for value, label in source.labels.items())),
            ("window", ", ".join(source.window)),
            ("split by", source.group),
            ("by image", f"refused: {source.by_image}" if source.by_image else ""),
            (
                "expected",
                f"{expected.cases} cases: {expected.images} images, {expected.masks} masks" if expected.cases else "",
            ),
        ]
    )
    for archive in source.archives:
        size = files.human(archive.bytes) if archive.bytes else "size unknown"
        click.echo(f"archive   {archive.name} ({size}, {archive.checksum or 'no checksum published'})")
    for case, reason in source.excluded.items():
        click.echo(f"excluded  {case}: {reason}")
    for note in source.notes:
        click.echo(f"note      {note}")
    click.echo("\nHow to get it:")
    for number, step in enumerate(source.get, start=1):
        click.echo(f"  {number}. {step}")


@click.command()
@click.argument("name")
@click.argument("folder", metavar="[DIR]", required=False, type=_FOLDER)
@click.option("--patients", type=click.IntRange(1), default=24, show_default=True, help="Patients.")
@click.option(
    "--size", type=click.IntRange(32, 1024), default=128, show_default=True, help="Rows and columns of a slice."
)
@click.option("--slices", type=click.IntRange(8, 2000), default=24, show_default=True, help="Slices a volume, about.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, other patients.")
@click.option("--faults", is_flag=True, help="Add cases that must be quarantined.")
def phantom(name: str, folder: Path | None, **given: Any) -> None:
    """Write a small synthetic copy of source NAME to DIR, with the quirks of the real one. [default: raw/NAME]"""
    from imagemask import registry
    from imagemask.errors import UsageError
    from imagemask.types import WritesPhantom

    generator = registry.load(name)
    target = folder or Path("raw") / name
    if not isinstance(generator, WritesPhantom):
        raise UsageError(f"{name} has no phantom")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target}: is there already, and not empty", remedy="Give another DIR")
    generator.phantom(target, **given)
    where = "" if target == Path("raw") / name else f" --raw {shlex.quote(str(target))}"
    click.echo(f"{target}: a phantom of {name}, {given['patients']} patients. Next: imagemask check {name}{where}")


def _check(name: str, own: list[click.Parameter], fields: list[str]) -> click.Command:
    command = click.Command(name, callback=_checking(name, fields), params=own)
    for decorate in (
        click.option("--raw", type=_FOLDER, help="The raw source: a folder, or an archive. [default: raw/NAME]"),
        show.as_json,
    ):
        decorate(command)
    return command


check = Sources(
    name="check",
    make=_check,
    help="""Hold a raw folder against what is known of its source, before any work.

    Every case is opened as a build would, up to its first slice. What lies deeper shows when it is built: a damaged
    end of a CT image, a voxel that is no number, a slice that cannot be decoded.
    """,
)


def _checking(name: str, fields: list[str]) -> Callable[..., None]:
    def run(*, raw: Path | None, as_json: bool, **given: Any) -> None:
        from dataclasses import asdict

        from imagemask import check as library

        options = {key: given[key] for key in fields}
        bar = show.Bar(f"check {name}")
        try:
            report = library.check(name, raw or Path("raw") / name, options, progress=bar.count, looking=show.looking)
        finally:
            bar.finish()
        if as_json:
            show.print_json("check", asdict(report))
        else:
            _print_check(report)
        click.get_current_context().exit(report.exit_code)

    return run


def _print_check(report: Any) -> None:
    counts = ", ".join(f"{report.found.get(what, 0)} {what}{_of(number)}" for what, number in report.expected.items())
    show.print_facts(
        [
            ("source", report.source + (", a phantom" if report.phantom else "")),
            ("raw", report.raw),
            ("found", counts),
            ("missing", show.some(report.missing)),
            ("extra", show.some(report.extra)),
            ("junk", f"{report.junk} files of operating systems, passed over" if report.junk else ""),
            ("links", show.some(report.links)),
            ("unreadable", show.some(report.unreadable)),
            ("special", show.some(report.special)),
        ]
    )
    for archive in report.archives:
        if archive.state != "absent":
            why = f": {archive.reason}" if archive.reason else ""
            click.echo(f"archive      {archive.name}: {archive.state.replace('_', ' ')}{why}")
    for note in report.notes:
        click.echo(f"note         {note}")
    for flag, cases in report.noted.items():
        click.echo(f"noted        {flag} of {show.some(cases)}")
    for case, reason in report.excluded.items():
        click.echo(f"excluded     {case}: {reason}")
    for one in report.duplicates:
        click.echo(f"duplicates   {', '.join(one.cases)}: the same {one.kind}")
    for problem in report.quarantined:
        click.echo(f"quarantine   {problem.case}: {problem.reason} [{problem.code}]. {problem.remedy}")
    click.echo(_verdict(report))


def _verdict(report: Any) -> str:
    """What a build would do, in a line that promises no more than was looked at."""
    if report.stopped:
        return f"a build would stop: {report.stopped}. {report.remedy}"
    if report.packed:
        return f"still packed: a build begins by unpacking {', '.join(report.packed)}. Check again after that"
    if not report.complete:
        return "incomplete: a build goes on with what is there"
    if report.first_slice_only:
        return "complete, as far as labels and the first slice of each case show: the others only a build reads"
    return "complete"


def _of(expected: int | None) -> str:
    return "" if expected is None else f" of {expected}"


@click.command()
@click.argument("paths", nargs=-1, type=_FOLDER, metavar="[PATH]...")
@show.as_annotations
@show.as_json
def manifests(paths: tuple[Path, ...], annotations: bool, as_json: bool) -> None:
    """Check source manifests (.toml) and dataset manifests (manifest.csv). [default: those of all sources]"""
    from imagemask import documents

    show.require_one_form(annotations=annotations, as_json=as_json)
    report = documents.check_paths(paths)
    lines = documents.annotate(report) if annotations else None
    show.print_findings("manifests", report, lines, as_json=as_json)
    click.get_current_context().exit(report.exit_code)
