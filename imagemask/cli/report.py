"""``imagemask report``: a dataset or a run on one page of HTML."""

from __future__ import annotations

from pathlib import Path

import click

from imagemask.cli import show


@click.command()
@click.argument("dataset", required=False, type=click.Path(path_type=Path), metavar="[DATASET|RUN]")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="The page. [default: report.html in what it reports]"
)
@click.option("--open", "open_it", is_flag=True, help="Open it in the browser.")
@click.option("--embed", type=click.IntRange(0), default=0, show_default=True, help="Pairs to hold at full size.")
@click.option("--png", is_flag=True, help="Also write statistics and samples of the dataset as PNGs beside it.")
@click.option("--workers", type=click.IntRange(1), help="Processes. [default: by processors and memory]")
def report(dataset: Path | None, out: Path | None, open_it: bool, embed: int, png: bool, workers: int | None) -> None:
    """Write a page to look at: facts, plots, the audit's verdicts, a gallery of all pairs; for a run, its scores."""
    from imagemask import manifest, pool
    from imagemask import report as library

    folder = dataset or Path()
    if not library.is_run(folder):
        folder = manifest.find(dataset, Path())
    bars: dict[str, show.Bar] = {}

    def progress(what: str, ended: int, of: int) -> None:
        if what not in bars:
            for bar in bars.values():
                bar.finish()
            bars[what] = show.Bar(what)
        bars[what].advance(ended, of)

    page = out or folder / library.NAME
    workers = workers or pool.default_workers(library.WORKER_BYTES)
    library.write(folder, page, embed=embed, workers=workers, progress=progress)
    for bar in bars.values():
        bar.finish()
    click.echo(show.path(page))
    for picture in library.pictures(folder, page.parent) if png else ():
        click.echo(show.path(picture))
    if open_it:
        click.launch(page.resolve().as_uri())
