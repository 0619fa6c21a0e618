"""A click group whose commands are imported when they are called."""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from taly.cli.examples import with_examples


class LazyGroup(click.Group):
    """Commands by `module:attribute`, each with the line that `--help` shows of it."""

    def __init__(
        self,
        *args: Any,
        commands_from: Mapping[str, tuple[str, str]],
        sections: Mapping[str, str],
        **kwargs: Any,
    ) -> None:
        """Keep the tables; nothing is imported yet. `sections`: first command → heading."""
        super().__init__(*args, **kwargs)
        self._commands_from = commands_from
        self._sections = sections

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the table's order: the order in which they are used."""
        return list(self._commands_from)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None if there is none of that name."""
        found = self._commands_from.get(cmd_name)
        if found is None:
            return None
        module, _, attribute = found[0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return with_examples(command, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, and a mistyped command is told what it may have meant."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in self._commands_from:
            near = get_close_matches(name, self._commands_from, n=1)
            meant = f" Did you mean `taly {near[0]}`?" if near else ""
            raise click.UsageError(f"There is no command {name!r}.{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing one of them."""
        rows: dict[str, list[tuple[str, str]]] = {}
        heading = ""
        for name, (_, line) in self._commands_from.items():
            heading = self._sections.get(name, heading)
            rows.setdefault(heading, []).append((f"{name:<11}", line))
        for heading, listed in rows.items():
            with formatter.section(heading):
                formatter.write_dl(listed)
