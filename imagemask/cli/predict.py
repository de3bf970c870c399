"""``imagemask predict``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from imagemask.cli import show

_PATH = click.Path(path_type=Path)


_HELP = """Predict masks for INPUT...: pictures, NIfTI volumes, DICOM series, or folders of them, by the model of RUN.

\b
  OUT/masks/          a PNG at the picture's size; NIfTI on the volume's grid
  OUT/overlays/       outlines on the picture; a contact sheet of the volume
  OUT/probabilities/  with --probabilities

Exit codes: 3 some inputs failed, each is named and the others are done; 4 nothing could be predicted.
"""


@click.command(help=_HELP)
@click.argument("run", type=_PATH)
@click.argument("inputs", type=_PATH, nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", type=_PATH, required=True, help="The folder to write to.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Least probability of foreground. [default: the run's]")
@click.option("--flips", is_flag=True, help="Take the mean over the image and its three mirror images.")
@click.option(
    "--tiles",
    type=click.Choice(["auto", "never", "always"]),
    default="auto",
    show_default=True,
    help="Predict in overlapping tiles of the input's own pixels; auto: what is larger than the network's input, where "
    "that was trained on unscaled pictures.",
)
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Images or tiles at a time.")
@click.option("--probabilities", is_flag=True, help="Also write probabilities.")
@click.option("--overwrite", is_flag=True, help="Replace what lies in --out under the names of these inputs.")
@show.as_json
def predict(run: Path, inputs: tuple[Path, ...], out: Path, as_json: bool, **given: Any) -> None:
    """Predict masks for INPUT..."""
    from imagemask.learn import backend
    from imagemask.learn import predict as library
    from imagemask.learn import run as runs

    chosen = runs.Run.open(runs.find(run, Path()))
    backend.require()
    if given["threshold"] is None and chosen.record.threshold is None:
        show.warn(f"the threshold is {chosen.threshold:g}: the run has none of its own (imagemask evaluate chooses it)")
    bar = show.Bar("predict")
    try:
        report = library.predict(chosen, inputs, out, library.How(**given), progress=_moving(bar))
    finally:
        bar.finish()
    _print(report, as_json)
    library.require_some(report)
    _exit(bool(report.failures))


def _moving(bar: show.Bar) -> Callable[[int, int], None]:
    """What moves ``bar`` when it is told how many of all are done."""
    seen = 0

    def progress(done: int, total: int) -> None:
        nonlocal seen
        if not seen:
            bar.start(total)
        for _ in range(done - seen):
            bar.step(None)
        seen = max(seen, done)

    return progress


def _print(report: Any, as_json: bool) -> None:
    for failure in report.failures:
        click.echo(f"imagemask: {failure}", err=True)
    if as_json:
        from dataclasses import asdict

        show.print_json("predict", asdict(report))
        return
    volumes = [one for one in report.predictions if one.millilitres is not None]
    for one in volumes:
        amounts = ", ".join(f"{name} {amount:.2f} ml" for name, amount in one.millilitres.items())
        click.echo(f"{show.path(one.mask)}: {one.slices} slices, {amounts}")
    pictures = len(report.predictions) - len(volumes)
    notes = Counter(flag for one in report.predictions for flag in one.flags)
    empty = sum(1 for one in report.predictions if not any(one.foreground.values()))
    show.print_facts(
        [
            ("predicted", _counted(pictures, len(volumes)) if report.predictions else ""),
            ("without foreground", empty or ""),
            ("failed", len(report.failures) or ""),
            ("passed over", ", ".join(f"{count} {reason}" for reason, count in report.passed_over.items())),
            ("notes", ", ".join(f"{flag} ({count})" for flag, count in sorted(notes.items()))),
            ("threshold", f"{report.threshold:g}"),
            ("in", show.path(report.out)),
        ]
    )


def _counted(pictures: int, volumes: int) -> str:
    parts = [(pictures, "picture"), (volumes, "volume")]
    return " and ".join(f"{count} {what}{'' if count == 1 else 's'}" for count, what in parts if count)


def _exit(failed: bool) -> None:
    from imagemask.errors import FINISHED_WITH_QUARANTINE

    if failed:
        click.get_current_context().exit(FINISHED_WITH_QUARANTINE)
