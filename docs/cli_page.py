"""Writes docs/cli.md from the commands themselves: python docs/cli_page.py. A test fails where the page is stale."""

from collections.abc import Iterator
from pathlib import Path

import click

from imagemask.cli import main

PAGE = Path(__file__).with_name("cli.md")


def commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """Path and help text of a command and of those below it."""
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from commands(below, click.Context(below, info_name=name, parent=context, terminal_width=100))


def page() -> str:
    """The page as text."""
    context = click.Context(main, info_name="imagemask", terminal_width=100, max_content_width=100)
    parts = ["# Commands\n\nWritten by `python docs/cli_page.py`; do not edit.\n"]
    parts += [f"## {path}\n\n```text\n{text}\n```\n" for path, text in commands(main, context)]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
