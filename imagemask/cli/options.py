"""Commands that take a source: one a generator, made when asked for, with the fields of its Options as options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from imagemask.cli import show

Make = Callable[[str, list[click.Parameter], list[str]], click.Command]
"""A command from a generator's name, its own options and their names."""


class Sources(click.Group):
    """A group with a command for each generator, which ``make`` makes."""

    def __init__(self, *, make: Make, **given: Any) -> None:
        super().__init__(**given)
        self.make = make

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The registered names; no generator is imported for them."""
        from imagemask import registry

        return registry.names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """The command of a generator. Raises as ``registry.load`` and ``registry.source`` do."""
        from imagemask import registry

        fields = registry.load(cmd_name).Options.model_fields
        command = self.make(cmd_name, [_option(name, field) for name, field in fields.items()], list(fields))
        command.help = f"{registry.source(cmd_name).title}."
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Arguments as click reads them; the name comes first, and an option before it is refused in these words."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            message = f"NAME is missing: `{ctx.command_path} NAME {error.option_name} ...`, NAME one of "
            raise click.UsageError(message + ", ".join(self.list_commands(ctx)), ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Names and titles, from the source manifests alone; a plug-in that is broken is a note on stderr."""
        from imagemask import registry

        found, broken = registry.described()
        with formatter.section("Sources"):
            formatter.write_dl([(source.name, source.title) for source in found])
        for error in broken:
            show.warn(str(error))


def _option(name: str, field: Any) -> click.Option:
    """A field of a generator's Options as an option: a bool is a flag, a Literal a choice, a tuple may be repeated."""
    from imagemask import registry

    kind, default = registry.kind_of(field.annotation), field.get_default(call_default_factory=True)
    text = field.description[:1].upper() + field.description[1:]
    declared = [f"--{name.replace('_', '-')}", name]
    if kind is None or kind.base is bool:  # the registry has refused what is none of the kinds
        return click.Option(declared, is_flag=True, default=default, help=text)
    what = click.Choice(kind.choices) if kind.choices else kind.base
    shown = default is not None and not kind.many
    return click.Option(declared, type=what, multiple=kind.many, default=default, show_default=shown, help=text)
