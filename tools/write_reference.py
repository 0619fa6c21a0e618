"""Writes docs/reference/commands.md and settings.md from the code: `make docs`.

A test compares the files with what this prints, so that the pages cannot fall behind.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from pydantic import BaseModel

from taly.cli.main import cli
from taly.config.settings import (
    SETTINGS,
    CheckpointSettings,
    ColumnHint,
    HealthSettings,
    NetworkSettings,
    PolicySettings,
    SecretSettings,
)

DOCS = Path(__file__).parent.parent / "docs" / "reference"


def commands_page() -> str:
    """Every command with its help, as a terminal shows it."""
    parts = [
        "# Commands\n",
        "Written by `make docs` from the program itself.\n",
        "Data goes to stdout, messages to stderr. `--json` prints one JSON document with a "
        "`format_version`. There is no prompt where there is no terminal. Exit codes: "
        "[errors](errors.md).\n",
    ]
    root = click.Context(cli, info_name="taly", **cli.context_settings)
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        assert command is not None
        parts.extend(_help(command, root, name))
    return "\n".join(parts)


def _help(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent, max_content_width=80)
    context.terminal_width = 80
    yield f"## {context.command_path}\n\n```\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            child = command.get_command(context, inner)
            assert child is not None
            yield from _help(child, context, inner)


def settings_page() -> str:
    """Every setting of taly.toml."""
    parts = [
        "# Settings: taly.toml\n",
        "Written by `make docs` from the program itself. `taly init` writes the file for you; "
        "every mistake in it is named at once, with its place.\n",
        "## The file\n",
        "| setting | default | meaning |\n| --- | --- | --- |\n"
        "| `environment` | required | The environment's name, e.g. `production`. |\n"
        "| `store` | `.taly/store.db` beside the file | Where runs are kept: a file, or "
        "`postgresql://…` for a team; as a table as in `[secrets]` where it holds a password. |\n"
        "| `shared` |  | `s3://bucket/prefix` of a team without such a PostgreSQL: its lock, "
        "releases and runs. [Share it](../how-to/share-with-a-team.md). |\n"
        "| `shared_region` |  | AWS region of that bucket; else AWS_REGION. |\n"
        "| `sandbox.control` |  | Only in a sandbox: its control API, whose clock taly keeps. |\n",
        "## [policy]\n",
        _table(PolicySettings),
        "## [checkpoints]\n",
        _table(CheckpointSettings),
        "## [secrets.NAME]\n",
        "NAME is the variable that a provider reads (`NETLIFY_AUTH_TOKEN`, `DATABASE_URL`…); the "
        "variable itself is then not looked at. [Keep secrets](../how-to/keep-secrets.md).\n",
        _table(SecretSettings),
        "## [network]\n",
        _table(NetworkSettings),
        "## [components.NAME]\n",
        "| setting | default | meaning |\n| --- | --- | --- |\n"
        f"| `provider` | required | One of {', '.join(f'`{name}`' for name in SETTINGS)}, "
        "or a plug-in's. |\n"
        "| `after` | `[]` | Components that a deploy does before this one; "
        "a rollback goes in reverse. |\n",
    ]
    for name, model in SETTINGS.items():
        parts += [f'### provider = "{name}"\n', _table(model)]
    parts += [
        '### [components.NAME.columns."table.column"]\n',
        "Of a database: how to read a column back that a migration renamed, retyped or widened; "
        "named as the old schema calls it, `schema.table.column` outside the default one. "
        "[When the database must go back](../how-to/when-the-database-must-go-back.md).\n",
        _table(ColumnHint),
        "## [components.NAME.health]\n",
        _table(HealthSettings),
    ]
    return "\n".join(parts)


def _table(model: type[BaseModel]) -> str:
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for name, field in model.model_fields.items():
        default = (
            "required"
            if field.is_required()
            else _default(field.get_default(call_default_factory=True))
        )
        rows.append(f"| `{field.alias or name}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


def _default(value: object) -> str:
    return "" if value in ("", {}, (), None) else f"`{value}`"


PAGES = {"commands.md": commands_page, "settings.md": settings_page}


def main() -> int:
    """Write the pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
