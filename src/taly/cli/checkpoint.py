"""`taly checkpoint`: what must be kept just before a migration."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from taly.cli.options import environment_options, json_option, opened
from taly.cli.output import ago, err, out, print_json, size

if TYPE_CHECKING:
    from taly.app.shared_checkpoints import Elsewhere
    from taly.database.checkpoint.folder import Checkpoint

EVERY_S = 1.0
"""Real seconds between two lines about one thing."""
NONE = "There are no checkpoints yet."

component_option = click.option(
    "--component", default="", metavar="NAME", help="Which database, where there are several."
)


@click.group(invoke_without_command=True)
@click.option("--commit", default="", help="The git commit to be deployed; else the CI's own.")
@click.option("--label", default="", help="What your team calls the release, e.g. v2026.47.")
@click.option(
    "--backup",
    type=click.Choice(["dump", "template", "rds-snapshot", "rds-pitr", "none"]),
    default="dump",
    show_default=True,
    help="pg_dump, a copy on the same server, a snapshot or the instant in RDS, or nothing but what"
    " is destroyed.",
)
@click.option(
    "--no-trial", is_flag=True, help="Do not try the ways down out on a scratch database."
)
@click.option(
    "--again", is_flag=True, help="Also where a migration that was rolled back comes unchanged."
)
@click.option("--after", is_flag=True, help="The migration is done: record the window's end.")
@click.option("--name", default="", help="With --after: which one; else the latest.")
@component_option
@environment_options
@json_option
@click.pass_context
def checkpoint(
    click_context: click.Context,
    commit: str,
    label: str,
    backup: Any,
    no_trial: bool,
    again: bool,
    after: bool,
    name: str,
    component: str,
    config_path: str,
    store: str,
    as_json: bool,
) -> None:
    """Keep what a migration may destroy. For CI, just before `prisma migrate deploy`.

    \b
    taly checkpoint --commit "$SHA"  # before: catalog, rows about to go, backup
    npx prisma migrate deploy
    taly checkpoint --after          # behind: what it wrote is not your users'
    """
    if click_context.invoked_subcommand is not None:
        _check_order(click_context)
        return
    if name and not after:
        raise click.UsageError("--name goes with --after: a new checkpoint gets its own name")
    if after and (commit or label or no_trial or again or backup != "dump"):
        raise click.UsageError("--after belongs to a checkpoint that was made: only --name fits")
    from taly.app.again import refuse_taken_back
    from taly.app.checkpoints import close, make, outdated

    context = opened(config_path, store)
    with ended_by_signals():
        if not (after or again):
            refuse_taken_back(context, component)
        made = (
            close(context, component=component, name=name)
            if after
            else make(
                context,
                component=component,
                backup=backup,
                commit=commit,
                label=label,
                trial=not no_trial,
                report=progress(),
            )
        )
    if as_json:
        print_json("checkpoint", {"checkpoint": _body(made)})
    elif after:
        _print_closed(made)
    else:
        _print_made(made)
        if count := outdated(context, component):
            err().print(f"{count} older than taly.toml keeps: [command]taly checkpoint prune[/]")


def _check_order(context: click.Context) -> None:
    """An option that no one would read must not be given."""
    for param in context.command.params:
        if context.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"{param.opts[0]} goes behind `taly checkpoint {context.invoked_subcommand}`"
            )


@checkpoint.command(name="list")
@environment_options
@json_option
def list_(config_path: str, store: str, as_json: bool) -> None:
    """List the checkpoints, newest first."""
    from taly.app.checkpoints import kept, others
    from taly.database.checkpoint.folder import Checkpoint

    context = opened(config_path, store)
    found = kept(context)
    good = [one for one in found if isinstance(one, Checkpoint)]
    bad = [one for one in found if not isinstance(one, Checkpoint)]
    there = others(context)
    if as_json:
        body = {
            "checkpoints": [_body(one) for one in good],
            "unreadable": [{"name": one.name, "reason": one.reason} for one in bad],
            "elsewhere": None if there is None else [_elsewhere_body(one) for one in there],
        }
        print_json("checkpoints", body)
        return
    now = context.clock.now()
    for one in good:
        manifest = one.manifest
        out().print(one.name, style="name", markup=False)
        window = "window closed" if one.after else "[warn]window open[/]"
        out().print(
            f"  {ago(manifest.made_at, now)} · {manifest.component} ·"
            f" {len(manifest.pending)} pending · {manifest.backup.kind}"
            f" {size(manifest.bytes)} · {window}"
        )
    for broken in bad:
        out().print(broken.name, style="bad", markup=False)
        out().print(f"  {broken.reason}", markup=False)
    _print_others(there or [])
    if not found:
        out().print("There are no checkpoints here yet." if context.config.shared else NONE)
        err().print("\nnext: [command]taly checkpoint[/]")
    elif good:
        err().print(f"\nnext: [command]taly checkpoint verify {good[0].name}[/]", soft_wrap=True)


def _elsewhere_body(one: "Elsewhere") -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if name != "removed"}


def _print_others(found: "list[Elsewhere]") -> None:
    for one in found:
        out().print(one.name, style="name", markup=False)
        what = f"  on {one.host} · {one.component} · {len(one.pending)} pending · {one.backup}"
        out().print(what, style="quiet", markup=False)


@checkpoint.command(short_help="Restore one, compare, and drop the copy.")
@click.argument("name")
@environment_options
@json_option
def verify(name: str, config_path: str, store: str, as_json: bool) -> None:
    """Restore a checkpoint into a scratch database, compare, and drop it again."""
    from taly.app.checkpoints import prove

    context = opened(config_path, store)
    with ended_by_signals():
        proof = prove(context, name, progress())
    if as_json:
        body = {
            "name": name,
            "files": proof.files,
            "bytes": proof.bytes,
            "restored": proof.restored,
            "tables": proof.tables,
            "rows": proof.rows,
        }
        print_json("checkpoint-proof", body)
        return
    say = err().print
    say(f"{proof.files} files, {size(proof.bytes)}: as they were written.")
    if proof.restored:
        say(
            f"Restored, and equal: {proof.tables} tables, {proof.rows:,} rows, the catalog.",
            style="good",
        )
    else:
        say("It holds no backup: there was nothing to restore.", style="warn")
    say("\nnext: [command]npx prisma migrate deploy[/]")


@checkpoint.command()
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    default=None,
    help="How many of the newest stay; else what taly.toml says.",
)
@component_option
@environment_options
def prune(keep: int | None, component: str, config_path: str, store: str) -> None:
    """Remove old checkpoints, and what an interrupted one left."""
    from taly.app.checkpoints import retain

    with ended_by_signals():
        done = retain(opened(config_path, store), component=component, keep=keep)
    say = err().print
    for name in (*done.removed, *done.left_over):
        say(f"removed {name}", markup=False)
    for one in done.unreadable:
        say(f"left alone, for it cannot be read: {one.reason}", style="warn", markup=False)
    freed = f", {size(done.bytes)} free again" if done.bytes else ""
    say(f"{len(done.removed)} removed{freed}.")
    say("\nnext: [command]taly checkpoint list[/]")


def progress() -> Callable[[str, int, int], None]:
    """Lines on stderr, not more than one a second about one thing, and one at its end."""
    console, last = err(), dict[str, float]()
    began = time.monotonic()

    def report(what: str, done: int, whole: int) -> None:
        now = time.monotonic()
        ended = whole > 0 and done >= whole
        if not ended and now - last.get(what, began) < EVERY_S:
            return
        if ended and last.get(what) == float("inf"):
            return
        last[what] = float("inf") if ended else now
        of = f" of {size(whole)}" if whole > done else ""
        console.print(f"{what}: {size(done)}{of}", style="quiet", markup=False)

    return report


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end us as Ctrl-C does: a CI that cancels must leave nothing half made."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {one: signal.signal(one, interrupt) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _print_made(made: "Checkpoint") -> None:
    manifest = made.manifest
    say = err().print
    out().print(made.name, style="name", markup=False, soft_wrap=True)
    backup = manifest.backup
    say(f"{_migrations(len(manifest.pending)).capitalize()} pending.", markup=False)
    if backup.kind != backup.asked:
        said = f"No {backup.asked}: {backup.why}\nA {backup.kind} was made instead."
        say(said, style="warn", markup=False)
    for kept in manifest.destroyed:
        what = ", ".join(kept.columns) if kept.key else "whole rows"
        say(f"  {kept.table_schema}.{kept.table}: {kept.rows:,} rows kept ({what})", markup=False)
        for why in kept.why:
            say(f"    {why}", style="quiet", markup=False)
    for down in manifest.ways_down:
        if down.proven:
            say(f"  way down of {down.migration}: tried out, works", style="good", markup=False)
        else:
            said = f"  way down of {down.migration}: not proven: {down.reason}"
            say(said, style="warn", markup=False)
    for unseen in manifest.unseen:
        say(f"  not seen in the text: {unseen}", style="warn", markup=False)
    for note in manifest.notes:
        say(f"  {note}", style="warn", markup=False)
    rows = sum(table.rows for table in manifest.tables)
    if backup.kind == "none":
        say("No backup was made, as asked.", style="warn")
    else:
        how_big = size(manifest.bytes)
        say(f"{backup.kind}: {len(manifest.tables)} tables, {rows:,} rows, {how_big} in all.")
    say("\nnext: [command]npx prisma migrate deploy[/], then [command]taly checkpoint --after[/]")


def _print_closed(made: "Checkpoint") -> None:
    assert made.after is not None, "it was closed just now, or before"
    out().print(made.name, style="name", markup=False, soft_wrap=True)
    say = err().print
    applied = _migrations(len(made.after.applied))
    say(f"The migration window is closed; {applied} applied in it.")
    for note in made.after.notes:
        say(f"  {note}", style="warn", markup=False)
    say(f"\nnext: [command]taly checkpoint verify {made.name}[/]", soft_wrap=True)


def _body(made: "Checkpoint") -> dict[str, Any]:
    manifest = made.manifest
    apart = {"format_version", "ledger", "files", "settled", "large_objects_later", "window"}
    body = manifest.model_dump(mode="json", exclude=apart)
    closed = None
    if made.after is not None:
        closed = made.after.model_dump(mode="json", exclude={"format_version", "ledger", "files"})
    return {
        **body,
        "path": str(made.path),
        "pending": list(manifest.pending),
        "bytes": manifest.bytes,
        "after": closed,
    }


def _migrations(count: int) -> str:
    return "1 migration is" if count == 1 else f"{count or 'no'} migrations are"
