"""Export of a trained network."""

from __future__ import annotations

from pathlib import Path

import click

from imagemask.cli import show


@click.command("export-model")
@click.argument("run", required=False, type=click.Path(path_type=Path), metavar="[RUN]")
@click.option("--to", type=click.Choice(["savedmodel", "onnx", "keras"]), required=True, help="The format.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="What to write. [default: savedmodel, model.onnx or model.keras in RUN]",
)
@show.as_json
def export_model(run: Path | None, to: str, out: Path | None, as_json: bool) -> None:
    """Write the best network of RUN for use elsewhere. RUN is the newest below runs/, where none is given.

    An ONNX file and a SavedModel carry sizes, window, labels and threshold with them, and compute in float32. They are
    written by TensorFlow, whatever the network was trained with. ONNX: pip install 'imagemask[export]'.
    """
    from imagemask.learn import export as library
    from imagemask.learn import run as runs

    done = library.export(runs.Run.open(runs.find(run, Path())), to, out)
    for note in done.notes:
        show.warn(note)
    if as_json:
        show.print_json("export-model", {"path": str(done.path), "format": done.format, "model": dict(done.card)})
        return
    click.echo(show.path(done.path))
