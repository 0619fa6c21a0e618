"""`taly database`: the ledger, the verdict and the catalog, without the rest of the platform."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from taly.cli.options import environment_options, json_option, opened
from taly.cli.output import ago, err, hanging, local, out, print_json, size, zone
from taly.cli.plan_database import block
from taly.errors import ExitCode

if TYPE_CHECKING:
    from taly.app.databases import Status, Verdict
    from taly.database.ledger import Row
    from taly.database.ways import WayDown

STYLES = {"keep": "good", "revert": "warn", "restore": "bad"}
INDENT = Text(" " * 8)
"""Under a verdict, where its migration's name begins."""

component_option = click.option(
    "--component", default="", metavar="NAME", help="Which database, where there are several."
)


@click.group()
def database() -> None:
    """Look at the database alone: its migrations, what going back means, its schema."""


@database.command(short_help="The migrations, newest first, and what failed.")
@component_option
@environment_options
@json_option
def status(component: str, config_path: str, store: str, as_json: bool) -> None:
    """Show the migrations that the database has, newest first, and what failed."""
    from taly.app.databases import status as database_status

    found = database_status(opened(config_path, store), component)
    if as_json:
        print_json("database-status", _status_body(found))
        return
    console = out()
    console.print(f"[name]{found.component}[/]  {found.place}  [quiet]{zone()}[/]", markup=True)
    for row in reversed(found.ledger.rows):
        word, style = _state(row, found.ledger.running)
        console.print(f"  {local(row.started_at)}  [{style}]{word:<11}[/] ", end="")
        console.print(row.name, markup=False)
    for kept in found.put_aside:
        age = ago(kept.since, found.now)
        console.print(f"  put aside by {kept.run} {age}: {kept.name}, {size(kept.bytes)}")
    for name in found.left_over:
        err().print(f"left over from a taly that was killed: dropdb --force {name}", style="warn")
    for kept in found.put_aside:
        err().print(f"when {kept.run} is not to be undone: taly forget {kept.run}", style="quiet")
    failed = [row for row in found.ledger.unfinished if not found.ledger.running]
    if failed:
        err().print(
            f"\n{failed[0].name} did not finish: it may be half applied, and the next deploy stops"
            " at it",
            style="bad",
            markup=False,
        )
    err().print("\nnext: [command]taly database verdict[/]")


def _state(row: "Row", running: bool) -> tuple[str, str]:
    if row.rolled_back_at is not None:
        return "rolled back", "quiet"
    if row.finished_at is not None:
        return "applied", "good"
    return ("running", "command") if running else ("failed", "bad")


def _status_body(found: "Status") -> dict[str, Any]:
    return {
        "component": found.component,
        "place": found.place,
        "running": found.ledger.running,
        "left_over": list(found.left_over),
        "put_aside": [
            {"run": one.run, "name": one.name, "since": one.since, "bytes": one.bytes}
            for one in found.put_aside
        ],
        "migrations": [
            {
                "name": row.name,
                "state": _state(row, found.ledger.running)[0],
                "started_at": row.started_at,
                "finished_at": row.finished_at,
                "rolled_back_at": row.rolled_back_at,
            }
            for row in found.ledger.rows
        ],
    }


@database.command(short_help="Keep, revert or restore, and why, for each migration.")
@click.option(
    "--to",
    "target",
    default="last-good",
    show_default=True,
    metavar="TARGET",
    help="R41, last-good, previous, a commit, or a time (2026-11-23T09:00, -2h).",
)
@click.option("--sql", "with_sql", is_flag=True, help="Print the statements of each way down.")
@click.option(
    "--prove",
    "tried",
    is_flag=True,
    help="Try each way down on an empty scratch database of the same server.",
)
@component_option
@environment_options
@json_option
def verdict(
    target: str,
    with_sql: bool,
    tried: bool,
    component: str,
    config_path: str,
    store: str,
    as_json: bool,
) -> None:
    """Say for each migration whether going back keeps, reverts or restores, and why."""
    from taly.app.databases import verdict as database_verdict

    found = database_verdict(opened(config_path, store), component, target, tried=tried)
    if as_json:
        print_json("database-verdict", _verdict_body(found))
        return
    console = out()
    console.print(f"{found.component} → {found.release}: {found.why}", style="quiet", markup=False)
    ways = {way.down.name: way for way in found.ways}
    for migration in found.found.migrations:
        console.print()
        style = STYLES[migration.verdict]
        console.print(f"[{style}]{migration.verdict:<8}[/] ", end="")
        console.print(migration.name, style="name", markup=False)
        for reason in migration.reasons:
            console.print(hanging(INDENT, Text(reason)))
        if migration.name in ways:
            _print_way(ways[migration.name], with_sql=with_sql)
    if found.found.database is not None:
        console.print()
        console.print(block(found.component, found.found.database, None, found.now))
    for finding in found.found.findings:
        err().print(f"! {finding.text}", style="warn", markup=False)
    if not found.found.migrations:
        console.print("The database has no migration that the release had not.", style="good")
    elif not tried:
        command = f"taly database verdict --to {found.release} --prove"
        err().print(f"\nnext: [command]{command}[/]")
    else:
        err().print(f"\nnext: [command]taly plan --to {found.release}[/]")


def _print_way(way: "WayDown", *, with_sql: bool) -> None:
    console, down = out(), way.down
    count = len(down.sql)
    source = "the team's down.sql" if down.source == "team" else f"{count} statements derived"
    console.print(f"         way down: {source}{_proof(way)}", style="quiet", markup=False)
    for gap in down.gaps:
        console.print(hanging(INDENT, Text(f"gap: {gap}", style="warn")))
    for save in down.data:
        console.print(hanging(INDENT, Text(f"needs saved data: {save.why}", style="warn")))
    for loses in down.loses:
        console.print(hanging(INDENT, Text(f"loses {loses}", style="warn")))
    if with_sql:
        for statement in down.sql:
            console.print(f"{statement.rstrip().rstrip(';')};", soft_wrap=True, markup=False)


def _proof(way: "WayDown") -> str:
    from taly.database.scratch import NotProven

    if way.proof is None:
        return ", not tried out"
    if isinstance(way.proof, NotProven):
        return f", NOT proven: {way.proof.reason}"
    return ", proven on an empty copy of the schema"


def _verdict_body(found: "Verdict") -> dict[str, Any]:
    ways = {way.down.name: way for way in found.ways}
    return {
        "component": found.component,
        "release": found.release,
        "migrations": [
            {
                "name": one.name,
                "verdict": one.verdict,
                "reasons": list(one.reasons),
                "undo": one.undo,
                "down": _way_body(ways[one.name]) if one.name in ways else None,
            }
            for one in found.found.migrations
        ],
        "outlook": None if found.found.database is None else asdict(found.found.database),
        "findings": [
            {"code": one.code, "text": one.text, "hint": one.hint} for one in found.found.findings
        ],
    }


def _way_body(way: "WayDown") -> dict[str, Any]:
    from taly.database.scratch import NotProven, Proven

    down = way.down
    return {
        "source": down.source,
        "statements": list(down.statements),
        "afterwards": list(down.afterwards),
        "transactional": down.transactional,
        "gaps": list(down.gaps),
        "loses": list(down.loses),
        "data": [
            {"kind": one.kind, "table": one.table, "columns": list(one.columns), "why": one.why}
            for one in down.data
        ],
        "guards": [{"query": one.query, "text": one.text} for one in down.guards],
        "proven": None if way.proof is None else isinstance(way.proof, Proven),
        "not_proven_because": way.proof.reason if isinstance(way.proof, NotProven) else "",
    }


@database.command(short_help="Compare the live schema with a saved one.")
@click.argument("saved", metavar="FILE|CHECKPOINT")
@component_option
@environment_options
@json_option
def diff(saved: str, component: str, config_path: str, store: str, as_json: bool) -> int:
    """Compare the live schema with a saved one: a checkpoint's, or its catalog.json.

    By meaning: the order of columns does not count. Exit code 5 when something differs.
    """
    from taly.app.databases import diff as database_diff

    found = database_diff(opened(config_path, store), component, saved)
    if as_json:
        body = [{"kind": one.kind, "what": one.what, "text": one.text} for one in found.differences]
        print_json("database-diff", {"component": found.component, "differences": body})
    else:
        for one in found.differences:
            out().print(one.text, markup=False, soft_wrap=True)
        if not found.differences:
            err().print("The schema is as it was saved.", style="good")
        err().print("\nnext: [command]taly database verdict[/]")
    return int(ExitCode.VERIFICATION_FAILED if found.differences else ExitCode.OK)
