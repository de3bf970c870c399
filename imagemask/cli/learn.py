"""Commands about training: train, convert-config."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from imagemask.cli import show
from imagemask.cli.evaluate import print_evaluation

if TYPE_CHECKING:
    from imagemask.learn.settings import Settings
    from imagemask.learn.train import Trained


@click.command()
@click.argument("dataset", required=False, type=click.Path(path_type=Path), metavar="[DATASET]")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML, or a seed project's train_eval_infer.config.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="The run folder. [default: runs/NAME/001 ...]"
)
@click.option("--model", help="The architecture. [default: unet]")
@click.option("--epochs", type=int, help="The most epochs. [default: 100]")
@click.option("--batch-size", type=int, help="Images a step. [default: 8]")
@click.option("--seed", type=int, help="Weights, order and augmentation follow from it. [default: 0]")
@click.option("--fold", type=int, help="The fold that is the test set.")
@click.option(
    "--precision", type=click.Choice(["auto", "float32", "bfloat16"]), help="Of the arithmetic. [default: auto]"
)
@click.option(
    "--devices", type=click.Choice(["one", "all"]), default="one", show_default=True, help="Devices of this machine."
)
@click.option("--require-gpu", is_flag=True, help="Refuse to train where there is no GPU.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, or with the newest that did not end.")
@click.option(
    "--show-augmentation",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a contact sheet of augmented images to this PNG, and train nothing.",
)
def train(dataset: Path | None, config: Path | None, show_augmentation: Path | None, **given: Any) -> None:
    """Train a network over a dataset, then evaluate it on the validation and test sets.

    Ctrl-C, or a crash, loses at most the epoch that is under way: --resume goes on to the very weights that the run
    would have come to.
    """
    from imagemask import manifest
    from imagemask.learn import backend
    from imagemask.learn import train as library

    backend.require()
    machine = library.Machine(given.pop("devices"), require_gpu=given.pop("require_gpu"))
    out, resume = given.pop("out"), given.pop("resume")
    told = {name: value for name, value in {**given, "config": config}.items() if value is not None}
    with _Lines() as lines, _interruptible(lines):
        if resume:
            _refuse_others(told)
            place = out or library.unfinished(Path())
            folder = None if dataset is None else manifest.find(dataset, Path())
            trained = library.resume(place, folder, machine=machine, watch=lines)
        else:
            folder, chosen = _chosen(dataset, config, given)
            if show_augmentation is not None:
                click.echo(show.path(library.show_augmentation(folder, chosen, show_augmentation)))
                return
            trained = library.train(folder, chosen, out=out, machine=machine, watch=lines)
    _print_end(trained)
    for name, scored in trained.scores.items():
        click.echo(f"\n{name}: ", nl=False)
        print_evaluation(scored)


@contextmanager
def _interruptible(lines: _Lines) -> Iterator[None]:
    """Ctrl-C says how to go on: what was done up to the end of the last epoch is on disk."""
    try:
        yield
    except KeyboardInterrupt:
        if lines.place is None:
            raise
        click.echo(
            "\nimagemask: interrupted. All epochs that came to their end are kept, and the one under way is not. "
            f"To go on: imagemask train --resume --out {lines.place}",
            err=True,
        )
        click.get_current_context().exit(show.INTERRUPTED)


def _refuse_others(told: Mapping[str, object]) -> None:
    from imagemask.errors import UsageError

    if told:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(told))
        raise UsageError(
            f"--resume goes on with the settings of the run, and {options} was given",
            remedy="Leave it away, or begin a new run without --resume",
        )


def _chosen(dataset: Path | None, config: Path | None, given: Mapping[str, Any]) -> tuple[Path, Settings]:
    """The dataset's folder, and the settings; what became of a seed's keys goes to stderr."""
    from imagemask import manifest
    from imagemask.learn import seed_config

    converted = seed_config.load(config, given)
    for note in converted.notes:
        show.warn(str(note))
    named = converted.settings.data.dataset
    return manifest.find(dataset or (Path(named) if named else None), Path()), converted.settings


class _Lines:
    """A training on stderr: a bar of steps while an epoch runs, where that is a terminal, and a line an epoch."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.place: Path | None = None
        self.steps = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._end_bar()

    def at(self, place: Path) -> None:
        """Remember where."""
        self.place = place

    def begins(self, epoch: int, steps: int) -> None:
        """Draw the bar."""
        if self.steps:
            self.bar = click.progressbar(
                length=steps, label=f"epoch {epoch}", file=sys.stderr, show_pos=True, item_show_func=lambda text: text
            )
            self.bar.render_progress()

    def step(self, loss: float | None) -> None:
        """Move it."""
        if self.bar is not None:
            self.bar.update(1, None if loss is None else f"loss {loss:.4f}")

    def ended(self, row: Mapping[str, float], *, best: bool) -> None:
        """The numbers of an epoch in a line."""
        self._end_bar()
        names = ("loss", "val_loss", "val_foreground_dice")
        numbers = "  ".join(f"{name} {row[name]:.4f}" for name in names if name in row)
        click.echo(f"epoch {row['epoch']:3.0f}  {numbers}  {row['seconds']:.1f} s{'  best' if best else ''}", err=True)

    def note(self, text: str) -> None:
        """A line of its own."""
        show.warn(text)

    def _end_bar(self) -> None:
        if self.bar is not None:
            self.bar.render_finish()
        self.bar = None


def _print_end(trained: Trained) -> None:
    """Where the model lies, and the share of time spent waiting; then its scores on the two sets."""
    progress = trained.progress
    facts = [
        ("run", show.path(trained.run.folder)),
        ("epochs", f"{progress.epoch}, the best of them {progress.best_epoch}: {trained.reason}"),
    ]
    if trained.waited is not None:
        share = f"{100 * trained.waited:.1f}% of the time of the steps was spent waiting for data"
        facts.append(("waiting", share))
    show.print_facts(facts)


@click.command("convert-config")
@click.argument("file", type=click.Path(path_type=Path))
@show.as_json
def convert_config(file: Path, as_json: bool) -> None:
    """Print the training configuration in FILE as TOML, and on stderr what became of each of its keys.

    FILE is a train_eval_infer.config as the seed projects have them, or TOML, whose defaults are then written out.
    """
    from dataclasses import asdict

    from imagemask.learn import seed_config, settings

    converted = seed_config.load(file)
    if as_json:
        notes = [asdict(note) for note in converted.notes]
        show.print_json("convert-config", {"settings": converted.settings.model_dump(mode="json"), "notes": notes})
        return
    for note in converted.notes:
        show.warn(str(note))
    click.echo(settings.dump(converted.settings), nl=False)
