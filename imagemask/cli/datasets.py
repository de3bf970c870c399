"""Commands about datasets: split, verify, preview."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from imagemask.cli import show

_dataset = click.argument("dataset", required=False, type=click.Path(path_type=Path), metavar="[DATASET]")


def _find(dataset: Path | None) -> Path:
    from imagemask import manifest

    return manifest.find(dataset, Path())


@click.command()
@_dataset
@click.option(
    "--by", type=click.Choice(["patient", "group", "image"]), help="What no two sets may share. [default: patient]"
)
@click.option("--by-patient", is_flag=True, help="The same as --by patient.")
@click.option("--ratios", help="Of train, valid and test. [default: 70,15,15]")
@click.option("--folds", type=click.IntRange(3), help="Draw this many folds instead.")
@click.option("--fold", type=click.IntRange(0), help="The fold that is the test set. [default: 0]")
@click.option("--seed", type=int, help="Chooses between equally good splits. [default: 0]")
@click.option(
    "--variants", type=click.Choice(["train", "everywhere"]), help="Where augmented copies go. [default: train]"
)
@click.option(
    "--layout", type=click.Choice(["link", "copy", "none"]), help="How train/ valid/ test/ are made. [default: link]"
)
@click.option("--resplit", is_flag=True, help="Draw anew, also what the source itself split.")
@show.as_json
def split(dataset: Path | None, by: Any, by_patient: bool, ratios: str | None, as_json: bool, **given: Any) -> None:
    """Assign whole patients to train, valid and test, and lay the three folders out."""
    from dataclasses import asdict

    from imagemask import split as library
    from imagemask.errors import UsageError

    if by_patient and by not in (None, "patient"):
        raise UsageError(f"--by-patient and --by {by} exclude each other", remedy="Give one of them")
    by = "patient" if by_patient else by
    request = library.Request(by=by, ratios=library.parse_ratios(ratios) if ratios else None, **given)
    report = library.split(_find(dataset), request)
    if as_json:
        show.print_json("split", asdict(report))
        return
    _print_split(report)


def _print_split(report: Any) -> None:
    header = ["", f"{report.by}s", "images", "with foreground", "of images", "of foreground", "asked", "off by"]
    for title, parts in (("split", report.parts), ("fold", report.folds)):
        if parts:
            show.print_table([title, *header[1:]], [_line(part) for part in parts])
    for note in report.notes:
        show.warn(note)
    for text in report.warnings:
        show.warn(text)
    if report.layout != "none":
        click.echo(f"{report.laid_out} pairs in train/ valid/ test/ ({report.layout}; variants: {report.variants})")


def _line(part: Any) -> list[object]:
    shares = [f"{100 * share:.1f}%" for share in (part.image_share, part.foreground_share, part.ratio)]
    return [part.name, part.units, part.images, part.foreground, *shares, f"{part.deviation:.1f}"]


@click.command()
@_dataset
@click.option("--fast", is_flag=True, help="Decode no picture: tables, files and PNG headers only.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@show.as_annotations
@show.as_json
def verify(dataset: Path | None, fast: bool, workers: int, annotations: bool, as_json: bool) -> None:
    """Check that a dataset is what its manifest says: files, digests, sizes, values, splits, counts."""
    from imagemask import manifest
    from imagemask import verify as library

    show.require_one_form(annotations=annotations, as_json=as_json)
    folder = _find(dataset)
    bar = show.Bar("verify")
    try:
        report = library.verify(folder, fast=fast, workers=workers, progress=bar.advance)
    finally:
        bar.finish()
    lines = library.annotate(report, folder / manifest.MANIFEST) if annotations else None
    show.print_findings("verify", report, lines, as_json=as_json)
    click.get_current_context().exit(report.exit_code)


@click.command()
@_dataset
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="The picture. [default: DATASET/preview.png]"
)
@click.option("--n", type=click.IntRange(1, 1000), default=24, show_default=True, help="Pairs to show.")
def preview(dataset: Path | None, out: Path | None, n: int) -> None:
    """Draw a contact sheet of pairs, masks outlined, keys and splits below."""
    from imagemask import preview as library

    folder = _find(dataset)
    click.echo(show.path(library.preview(folder, out or folder / "preview.png", n)))
