"""`taly rescue`: what had no place in the older database, and how it comes back."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from taly.cli.options import environment_options, json_option, opened
from taly.cli.output import ago, err, out, print_json
from taly.errors import ExitCode, OutcomeUnknown, UsageError

if TYPE_CHECKING:
    from taly.app.context import Context
    from taly.app.rescues import Wish
    from taly.app.rescues_elsewhere import Elsewhere
    from taly.database.rescue.bundle import Reader
    from taly.database.rescue.outcome import Merged

ROWS = 5

run_argument = click.argument("run_id", metavar="RUN")


@click.group()
def rescue() -> None:
    """Look at what a rollback had to set aside, and put it back.

    \b
    taly rescue list
    taly rescue show RUN
    taly rescue replay RUN --dry-run   # after the fix has shipped
    taly rescue replay RUN
    """


@rescue.command(name="list")
@environment_options
@json_option
def list_(config_path: str, store: str, as_json: bool) -> None:
    """List the rescue bundles, newest first."""
    from taly.app.rescues import kept
    from taly.cli.rescue_view import listed, listed_body

    context = opened(config_path, store)
    good, bad = kept(context)
    there = _elsewhere(context, good)
    if as_json:
        known = None if there is None else [asdict(one) for one in there]
        print_json("rescues", {**listed_body(good, bad), "elsewhere": known})
        return
    if good:
        out().print(listed(good, lambda when: ago(when, context.clock.now())))
    for refusal in bad:
        out().print(f"cannot be read: {refusal.message}", style="bad", markup=False)
    for one in there or ():
        out().print(f"{one.run}, {one.step}: {one.rows:,} rows, not on this machine", markup=False)
        out().print(f"  {one.by} wrote {one.path}", style="quiet", markup=False)
    if good:
        held = [one for one in good if one.manifest.rows and one.manifest.state != "taken-back"]
        newest = (held or good)[0].manifest.run
        err().print(f"\nnext: [command]taly rescue show {newest}[/]", soft_wrap=True)
    elif there:
        err().print(f"\nnext: [command]taly rescue show {there[0].run}[/] there", soft_wrap=True)
    elif not bad and there is not None:
        out().print("There are no rescue bundles: no rollback had to set anything aside.")
        err().print("\nnext: [command]taly status[/]")


def _elsewhere(context: "Context", good: "list[Reader]") -> "list[Elsewhere] | None":
    """Bundles on other machines; None, and said, where the store does not tell."""
    from taly.app.rescues import others

    try:
        return others(context, good)
    except OutcomeUnknown as error:
        err().print(
            f"Other machines' bundles are not known: {error.message}", style="warn", markup=False
        )
        return None


@rescue.command()
@run_argument
@click.option("--table", default="", metavar="TABLE", help="Only this one: name or schema.name.")
@click.option(
    "--limit",
    type=click.IntRange(min=0, max=10_000),
    default=ROWS,
    show_default=True,
    help="How many rows of each table.",
)
@environment_options
@json_option
def show(run_id: str, table: str, limit: int, config_path: str, store: str, as_json: bool) -> None:
    """Show what a run set aside, and why. These are your users' data."""
    from taly.app.rescues import of_run
    from taly.cli.rescue_view import print_bundle, shown_body

    readers = of_run(opened(config_path, store), run_id)
    chosen = [
        (one, [facts for facts in one.tables if table in ("", facts.name, facts.label)])
        for one in readers
    ]
    if table and not any(tables for _, tables in chosen):
        known = ", ".join(facts.label for one in readers for facts in one.tables) or "none"
        raise UsageError(
            f"no bundle of {run_id} has the table {table}; there are: {known}",
            reference="rescue-table-unknown",
            hint=f"taly rescue show {run_id}",
        )
    if as_json:
        print_json("rescue", shown_body(run_id, chosen, limit))
        return
    for reader, tables in chosen:
        print_bundle(reader, tables, limit)
    err().print(f"\nnext: [command]taly rescue replay {run_id} --dry-run[/]", soft_wrap=True)


@rescue.command()
@run_argument
@click.option(
    "--into",
    default="",
    metavar="NAME|URL",
    help="A variable that holds a URL, or a URL without a password; else the component's.",
)
@click.option(
    "--table", "tables", multiple=True, metavar="TABLE", help="Only this one; may be repeated."
)
@click.option("--deletes", is_flag=True, help="Delete again what live had deleted.")
@click.option(
    "--partly", is_flag=True, help="Rows come back also where one of their columns is gone."
)
@click.option(
    "--unconfirmed", is_flag=True, help="Also bundles whose step never said that it was done."
)
@click.option("--dry-run", is_flag=True, help="Do it, tell what would be, and take it back.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--confirm", default="", metavar="TEXT", help="What policy.confirm demands.")
@environment_options
@json_option
def replay(
    run_id: str,
    into: str,
    tables: tuple[str, ...],
    deletes: bool,
    partly: bool,
    unconfirmed: bool,
    dry_run: bool,
    yes: bool,
    confirm: str,
    config_path: str,
    store: str,
    as_json: bool,
) -> int:
    """Put a run's bundle back, once the fix has shipped. Newer values stay.

    Exits 5 when something could not be put back: it stays in the bundle.
    """
    from taly.app.rescues import Wish, places, put_back
    from taly.cli.checkpoint import ended_by_signals
    from taly.cli.rescue_view import print_merged, progress, replayed_body
    from taly.database.rescue.work import Options

    context = opened(config_path, store)
    wish = Wish(
        run=run_id,
        into=into,
        options=Options(tables=tables, deletes=deletes, partly=partly),
        unconfirmed=unconfirmed,
    )
    where = places(context, wish)
    if not dry_run:
        question = f"Put the rescue bundle of {run_id} into {', '.join(where)}?"
        _confirm(question, yes, confirm, context.environment.policy.confirm)
    with ended_by_signals():
        merged = put_back(context, wish, dry_run=dry_run, report=progress())
    if as_json:
        print_json("rescue-replay", replayed_body(run_id, where, merged, dry_run=dry_run))
    else:
        print_merged(merged, dry_run=dry_run)
        _print_next(wish, merged, dry_run=dry_run)
    left = sum(one.left for one in merged)
    return int(ExitCode.VERIFICATION_FAILED if left else ExitCode.OK)


def _confirm(question: str, yes: bool, confirm: str, demanded: str) -> None:
    if demanded and confirm != demanded:
        raise UsageError(
            f"this environment demands --confirm={demanded}",
            reference="confirm-missing",
            hint=f"the same command with --confirm={demanded}",
        )
    if yes or demanded:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask on",
            reference="no-terminal",
            hint="the same command with --yes, or with --dry-run",
        )
    click.confirm(question, abort=True, err=True)


def _print_next(wish: "Wish", merged: "list[Merged]", *, dry_run: bool) -> None:
    again = f"taly rescue replay {wish.run}" + (f" --into {wish.into}" if wish.into else "")
    back = any(table.put_back for one in merged for table in one.tables)
    if dry_run and (back or not any(one.left for one in merged)):
        then = again
    elif any(one.left for one in merged):
        then = f"{again} --dry-run[/]   (once what is missing is there)[command]"
    else:
        then = "taly status"
    err().print(f"\nnext: [command]{then}[/]", soft_wrap=True)
