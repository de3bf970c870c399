"""``imagemask build NAME`` and ``imagemask merge``. A generator's options become options of its own command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from imagemask.cli import show
from imagemask.cli.options import Sources

_FOLDER = click.Path(path_type=Path)


def _shard(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    """``2/8`` as (2, 8)."""
    number, _, shards = value.partition("/")
    if not (number.isdigit() and shards.isdigit() and 1 <= int(number) <= int(shards)):
        raise click.BadParameter(f"{value!r} is not I/N with I from 1 to N, such as 1/4")
    return int(number), int(shards)


_RECIPE = (
    click.option(
        "--size", type=click.IntRange(8, 8192), help="Side of the written squares. [default: the source's own]"
    ),
    click.option("--stretch", is_flag=True, help="Squash to --size instead of padding."),
    click.option("--window", metavar="NAME|LO:HI", help="CT window: a preset, LO:HI in HU, or three with commas: RGB."),
    click.option(
        "--crop", "crops", type=click.IntRange(1), multiple=True, help="Also write a centre crop by this margin."
    ),
    click.option("--keep-empty/--drop-empty", default=False, help="Keep pairs whose mask is empty. [default: drop]"),
    click.option("--flip", "flips", type=click.Choice(["h", "v"]), multiple=True, help="Also write a mirrored copy."),
    click.option("--rotate", "rotations", type=float, multiple=True, metavar="DEG", help="Also write a rotated copy."),
    click.option("--combine", is_flag=True, help="Write the product of crops, flips and rotations."),
)
_RUN = (
    click.option("--raw", type=_FOLDER, help="The raw source: a folder, or an archive. [default: raw/NAME]"),
    click.option("--out", type=_FOLDER, help="The dataset. [default: datasets/NAME]"),
    click.option("--workers", type=click.IntRange(1), help="Processes. [default: by processors and memory]"),
    click.option(
        "--shard",
        metavar="I/N",
        default="1/1",
        callback=_shard,
        help="Build the I-th of N shares; then `imagemask merge`.",
    ),
    click.option("--replace", is_flag=True, help="Build anew beside the dataset, swap at the end."),
    click.option("--fail-fast", is_flag=True, help="Stop at the first case that fails."),
    click.option(
        "--allow-checksum-mismatch", is_flag=True, help="Unpack an archive that is not the published one, with a note."
    ),
    click.option("--dry-run", is_flag=True, help="Say what it would take; write nothing."),
    show.as_json,
)


def _command(name: str, own: list[click.Parameter], fields: list[str]) -> click.Command:
    command = click.Command(name, callback=_callback(name, fields), params=own)
    for decorate in (*_RECIPE, *_RUN):
        decorate(command)
    return command


build = Sources(name="build", make=_command, help="Turn a raw source into a dataset of image/mask pairs.")


def _callback(name: str, fields: list[str]) -> Callable[..., None]:
    def run(**given: Any) -> None:
        options = {key: given.pop(key) for key in fields}
        recipe = {
            key: given.pop(key) for key in ("size", "stretch", "crops", "keep_empty", "flips", "rotations", "combine")
        }
        window = given.pop("window")
        recipe["window"] = tuple(part.strip() for part in window.split(",")) if window else None
        _run(name, recipe, options, **given)

    return run


def _run(
    name: str, recipe: dict[str, Any], options: dict[str, Any], *, dry_run: bool, as_json: bool, **given: Any
) -> None:
    from imagemask import archives, pool
    from imagemask import build as library

    allowed = given.pop("allow_checksum_mismatch")
    bars = show.Bars()

    def looking(at: Path) -> None:
        bars.finish()
        show.looking(at)

    unpacking = archives.How(allow_mismatch=allowed, look_only=dry_run, progress=bars.step, ready=looking)
    try:
        places = {"raw": given.pop("raw"), "out": given.pop("out")}
        job = library.prepare(name, **places, recipe=recipe, options=options, unpacking=unpacking)
    finally:
        bars.finish()
    for text in (*job.notes, *_warnings(job.source)):
        show.warn(text)
    how = library.How(**given)
    if dry_run:
        _print_estimate(job, how, as_json)
        return
    if how.workers == 1:
        pool.settle()  # this process is the worker
    bar = show.Bar(f"build {job.recipe.name}")
    try:
        built = library.run(job, how, started=bar.start, progress=bar.step)
    finally:
        bar.finish()
    _print_built(built, as_json)
    _exit(built.quarantined)


def _warnings(source: Any) -> list[str]:
    missing = [name for name in ("licence", "citation") if getattr(source, name) == "unknown"]
    remedy = "give --licence and --citation, or an imagemask.toml beside the data"
    return [f"{' and '.join(missing)} unknown: {remedy}"] if missing else []


def _print_estimate(job: Any, how: Any, as_json: bool) -> None:
    from dataclasses import asdict

    from imagemask import files
    from imagemask.build.estimate import estimate

    found = estimate(job, how)
    if as_json:
        show.print_json("estimate", asdict(found))
        return
    before = f", {found.done} done before" if found.done else ""
    facts = [("cases", f"{found.cases} to build, {found.excluded} excluded{before}")]
    if found.measured_on:
        facts += [
            ("reads", files.human(found.bytes_in)),
            ("writes", f"about {files.human(found.bytes_out)} to {show.path(job.dataset)}"),
            ("takes", f"about {found.seconds:.0f} s with {found.workers} workers (measured on {found.measured_on})"),
            ("memory", f"{files.human(found.memory_per_worker)} a worker"),
        ]
    show.print_facts(facts)
    if found.cases and not found.measured_on:
        show.warn("no case that is left gives a pair, so nothing could be measured")


def _print_built(built: Any, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        document = asdict(built)
        document["source"] = built.source.name
        show.print_json("build", document)
    elif built.merged is None:
        show.print_facts(
            [
                ("dataset", show.path(built.dataset)),
                ("cases", f"{built.cases} in this shard, {built.quarantined} quarantined"),
            ]
        )
        click.echo(f"When every shard has ended: imagemask merge {show.path(built.dataset)}")
    else:
        _print_merged(built.merged, resumed=built.resumed)
    if built.left:
        show.warn(f"no longer in the source, and removed: {show.some(built.left)}")
    if built.passed_over:
        names = show.some(built.passed_over)
        show.warn(f"not read, as links out of the source, folders that cannot be listed, or pipes and devices: {names}")


def _print_merged(merged: Any, *, resumed: int = 0) -> None:
    counts = merged.counts
    parts = f"{counts.built} built + {counts.quarantined} quarantined + {counts.excluded} excluded"
    cases = f"{counts.discovered} discovered = {parts}"
    slices = f"{counts.slices_read} read = {counts.slices_kept} kept + {counts.slices_empty} empty, dropped"
    show.print_facts(
        [
            ("dataset", show.path(merged.dataset)),
            ("cases", cases + (f" ({resumed} were done before)" if resumed else "")),
            ("slices", slices),
            ("pairs", f"{counts.pairs}, {counts.foreground_pairs} with foreground"),
            ("patients", counts.patients or "none published"),
            ("notes", ", ".join(f"{flag} ({count} slices)" for flag, count in merged.flags.items())),
            ("removed", f"{merged.removed} files of a run that was stopped half-way" if merged.removed else ""),
        ]
    )
    for case, why in merged.excluded:
        click.echo(f"excluded     {case}: {why}")
    for case, note in merged.quarantined:
        click.echo(f"quarantined  {case}: {note.file}: {note.reason} [{note.code}]. {note.remedy}")
    for note in merged.notes:
        show.warn(note)
    if merged.unassigned:
        show.warn(f"{merged.unassigned} patients have no split yet: run imagemask split")
    elif merged.stale:
        show.warn("train/ valid/ test/ are not those of this manifest: run imagemask split")


def _exit(quarantined: int) -> None:
    from imagemask.errors import FINISHED_WITH_QUARANTINE

    if quarantined:
        click.get_current_context().exit(FINISHED_WITH_QUARANTINE)


@click.command()
@click.argument("dataset", type=_FOLDER)
@show.as_json
def merge(dataset: Path, as_json: bool) -> None:
    """Join the fragments that the shards of a build have left in DATASET."""
    from dataclasses import asdict

    from imagemask import build as library
    from imagemask import manifest

    merged = library.merge(manifest.find(dataset, Path()).absolute())
    if as_json:
        show.print_json("merge", asdict(merged))
    else:
        _print_merged(merged)
    _exit(merged.counts.quarantined)
