"""A click group whose commands are imported when they are called."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """Commands by `module:attribute`."""

    def __init__(self, *args: Any, commands_from: Mapping[str, str], **kwargs: Any) -> None:
        """Keep the table; nothing is imported yet."""
        super().__init__(*args, **kwargs)
        self._commands_from = commands_from

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the table's order: the order in which they are used."""
        return list(self._commands_from)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None if there is none of that name."""
        where = self._commands_from.get(cmd_name)
        if where is None:
            return None
        module, _, attribute = where.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command
