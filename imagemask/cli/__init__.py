"""The command line: parse, one library call, print. Results go to stdout, everything else to stderr.

Nothing but click is imported before a command runs, so that help is instant.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from imagemask.cli.audit import audit
from imagemask.cli.build import build, merge
from imagemask.cli.datasets import preview, split, verify
from imagemask.cli.evaluate import evaluate
from imagemask.cli.export import export_model
from imagemask.cli.learn import convert_config, train
from imagemask.cli.predict import predict
from imagemask.cli.report import report
from imagemask.cli.show import INTERRUPTED
from imagemask.cli.sources import check, info, list_, manifests, phantom

__all__ = ["main"]

_HELP = """Raw medical data into 2D image/mask folders that can be trusted.

In a workspace folder: put a source below raw/NAME, then

\b
  imagemask check lung-tumor      look before you build
  imagemask build lung-tumor      raw/lung-tumor -> datasets/lung-tumor
  imagemask split --by-patient    whole patients to train / valid / test
  imagemask verify                every pixel where it should be
  imagemask audit                 leaks, copies, broken pictures, uneven splits
  imagemask report                all of it on one page to look at
  imagemask preview               a contact sheet to look at
  imagemask train                 runs/lung-tumor/001: a model, and its scores per patient

Exit codes: 0 done; 2 refused before work; 3 finished, with quarantined cases; 4 input or output unusable; 5 findings;
130 interrupted (run again to resume); 1 a bug.
"""
_BAD_OUTPUT = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
_FORBIDDEN = {errno.EACCES, errno.EPERM}


class _Group(click.Group):
    """The one place that turns errors into a line on stderr and an exit code."""

    def make_context(self, *args: Any, **given: Any) -> click.Context:
        """The context of this call: a wrong option of ``imagemask`` itself shows here, one of a command later."""
        with _in_one_line():
            return super().make_context(*args, **given)

    def invoke(self, ctx: click.Context) -> Any:
        from pathlib import Path

        from imagemask import files
        from imagemask.errors import ImagemaskError, InputError

        try:
            with _in_one_line():
                return super().invoke(ctx)
        except ImagemaskError as error:
            _fail(ctx, error)
        except OSError as error:
            if error.errno in _FORBIDDEN:  # of reading or of writing: the system does not say
                reason = f"{error.filename or 'a file'}: {error.strerror}"
                _fail(ctx, InputError(reason, remedy="Check the permissions of this file, and of the folders above it"))
            elif error.errno in _BAD_OUTPUT:
                _fail(ctx, files.output_error(Path(error.filename or "."), error))
            else:
                raise
        except KeyboardInterrupt:
            click.echo("imagemask: interrupted. What is done is kept: run the same command again to go on", err=True)
            ctx.exit(INTERRUPTED)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are used."""
        return list(self.commands)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """A wrong option as a line like any other error, where click would print three."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:  # it prints the help
        raise
    except click.UsageError as error:
        asked = f" ({error.ctx.command_path} --help)" if error.ctx else ""
        click.echo(f"imagemask: {' '.join(error.format_message().split())}{asked}", err=True)
        raise click.exceptions.Exit(error.exit_code) from error


def _fail(ctx: click.Context, error: Any) -> None:
    click.echo(f"imagemask: {error}", err=True)
    ctx.exit(error.exit_code)


@click.group(cls=_Group, help=_HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="imagemask", prog_name="imagemask")
def main() -> None:
    """Everything below ``imagemask``."""


_COMMANDS = (
    *(list_, info, phantom, check, build, merge, split, verify, audit, report, preview),
    *(train, evaluate, predict, export_model, manifests, convert_config),
)
for command in _COMMANDS:
    main.add_command(command)
