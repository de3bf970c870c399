"""``imagemask evaluate``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagemask.cli import show

if TYPE_CHECKING:
    from imagemask.learn.evaluate import Evaluation
    from imagemask.learn.measures import Measure

_NONE = "n/a"
_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("run", required=False, type=_FOLDER, metavar="[RUN]")
@click.option(
    "--split",
    type=click.Choice(["train", "valid", "test"]),
    default="test",
    show_default=True,
    help="The set that it is scored on.",
)
@click.option("--raw", type=_FOLDER, help="The raw source: its whole volumes are scored too, empty slices included.")
@click.option("--dataset", type=_FOLDER, help="The dataset. [default: where it lay when the run was trained]")
@show.as_json
def evaluate(run: Path | None, split: str, raw: Path | None, dataset: Path | None, as_json: bool) -> None:
    """Score the best network of RUN on patients that it has not seen. RUN is the newest below runs/, if none is given.

    Tables, curves and a contact sheet of the worst, median and best cases go to RUN/test (or valid, train). A set that
    was built without empty slices cannot show false positives: --raw can.
    """
    from imagemask import manifest
    from imagemask.learn import backend
    from imagemask.learn import evaluate as library
    from imagemask.learn import run as runs

    chosen = runs.Run.open(runs.find(run, Path()))
    backend.require()
    place = manifest.find(dataset, Path()) if dataset else None
    bars = show.Bars()
    try:
        found = library.evaluate(chosen, split=split, dataset=place, raw=raw, notify=bars.step)
    finally:
        bars.finish()
    if as_json:
        show.print_json("evaluate", found.document())
    else:
        print_evaluation(found)
    for failure in found.failures:
        file = f" {failure.file}:" if failure.file else ""
        click.echo(f"imagemask: not scored: {failure.case}:{file} {failure.reason}. {failure.remedy}", err=True)
    _exit(bool(found.failures))


def print_evaluation(found: Evaluation) -> None:
    """The sentence that says what was scored, then a line for each measure; what others report apart."""
    click.echo(f"{found.statement}.")
    click.echo(f"threshold {found.run.threshold:g}, chosen on the validation set.\n")
    for note in found.notes:
        show.warn(note)
    main = found.measures[0].label
    honest = [one for one in found.measures if one.all_background is None and _is_shown(one, main)]
    pooled = [one for one in found.measures if one.all_background is not None]
    show.print_table(["measure", "value", "95% interval", "over"], [_line(one, main) for one in honest])
    if pooled:
        click.echo("\nPooled over all pixels, as often reported, beside what predicting nothing at all would get:\n")
        rows = [[one.metric, _number(one.value), _number(one.all_background)] for one in pooled]
        show.print_table(["measure", "value", "all background"], rows)
    click.echo(f"\n{show.path(found.folder)}")


def _is_shown(one: Measure, main: str) -> bool:
    """Of several classes, each has its Dice on the screen; the rest is in evaluation.csv."""
    return one.label in ("", main) or one.metric == "dice"


def _line(one: Measure, main: str) -> list[Any]:
    name = one.metric if one.label in ("", main) else f"{one.metric} {one.label}"
    value = _number(one.value)
    lacking = f", {one.undefined} images have none" if one.undefined else ""
    return [
        name,
        value if value == _NONE else f"{value} {one.unit}".rstrip(),
        one.interval,
        f"{one.n} {one.of}{lacking}",
    ]


def _number(value: float | None) -> str:
    return _NONE if value is None or math.isnan(value) else f"{value:.4g}"


def _exit(failed: bool) -> None:
    from imagemask.errors import FINISHED_WITH_QUARANTINE

    if failed:
        click.get_current_context().exit(FINISHED_WITH_QUARANTINE)
