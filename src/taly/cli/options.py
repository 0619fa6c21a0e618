"""Options that several commands share, and the context that they open."""

from collections.abc import Callable, Mapping
from shlex import quote
from typing import TYPE_CHECKING, Any, TypeVar

import click

from taly.app.context import Context, open_context
from taly.planning.parts import PlanOptions

if TYPE_CHECKING:
    from taly.model.plan import DatabaseVerdict

F = TypeVar("F", bound=Callable[..., Any])


def environment_options(command: F) -> F:
    """`--config` and `--store`."""
    command = click.option(
        "--store",
        metavar="URL",
        default="",
        envvar="TALY_STORE",
        help="Where runs are kept: a file, or postgresql://… for a team.",
    )(command)
    return click.option(
        "--config",
        "config_path",
        metavar="FILE",
        default="",
        envvar="TALY_CONFIG",
        help="taly.toml; else the nearest one above the present folder.",
    )(command)


def plan_options(command: F) -> F:
    """What narrows or widens a plan."""
    for option in (
        click.option(
            "--accept-conversions",
            is_flag=True,
            help="Read renamed or retyped columns back as they stand, without a hint.",
        ),
        click.option(
            "--database",
            type=click.Choice(["keep", "revert", "restore"]),
            help="What to do with the database; else what suits best.",
        ),
        click.option(
            "--allow-removals", is_flag=True, help="Accept that going back deletes resources."
        ),
        click.option(
            "--with-config", is_flag=True, help="Bring old configuration back where it is known."
        ),
        click.option("--skip", multiple=True, metavar="COMPONENT", help="Leave these out."),
        click.option("--only", multiple=True, metavar="COMPONENT", help="Only these."),
    ):
        command = option(command)
    return command


def chosen(
    *,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    with_config: bool,
    allow_removals: bool,
    database: "DatabaseVerdict | None",
    accept_conversions: bool,
) -> PlanOptions:
    """What `plan_options` were given."""
    return PlanOptions(
        only=frozenset(only),
        skip=frozenset(skip),
        with_config=with_config,
        allow_removals=allow_removals,
        database=database,
        accept_conversions=accept_conversions,
    )


def flags(options: Mapping[str, Any]) -> list[str]:
    """What `plan_options` were given, as they would be typed again."""
    found = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            found.append(flag)
        elif value:
            values = value if isinstance(value, tuple) else (value,)
            found += [f"{flag} {quote(one)}" for one in values]
    return found


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


def opened(config_path: str, store: str) -> Context:
    """The context of a command that has `environment_options`."""
    return open_context(config_path=config_path, store=store)
