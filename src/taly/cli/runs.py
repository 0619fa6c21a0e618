"""`taly runs`, `taly show` and `taly cancel`: runs, read from their events."""

from typing import TYPE_CHECKING

import click
from rich.markup import escape

from taly.cli.options import environment_options, json_option, opened
from taly.cli.output import ago, err, out, print_json

if TYPE_CHECKING:
    from taly.app.context import Context
    from taly.engine.store import RunSummary

STYLES = {
    "succeeded": "good",
    "under way": "command",
    "waiting for a worker": "command",
    "unfinished": "warn",
}


def _stands(context: "Context", run: "RunSummary") -> str:
    """How a run ended, or what becomes of it."""
    from taly.app.runs import load_run, parked

    if run.outcome is not None:
        return run.outcome
    if run.waits:
        return "waiting for a worker"
    if run.is_alive:
        return "under way"
    return "parked" if parked(context, load_run(context, run.id)) else "unfinished"


@click.command()
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How many, newest first.",
)
@environment_options
@json_option
def runs(limit: int, config_path: str, store: str, as_json: bool) -> None:
    """List the runs of this environment, newest first."""
    context = opened(config_path, store)
    summaries = context.store.runs(context.environment.name, limit=limit)
    if as_json:
        body = [
            {
                "id": one.id,
                "purpose": one.purpose,
                "plan_digest": one.digest,
                "by": one.by,
                "created_at": one.created_at,
                "finished_at": one.finished_at,
                "outcome": one.outcome,
                "alive": one.is_alive,
                "waiting": one.waits,
                "parked": _stands(context, one) == "parked",
            }
            for one in summaries
        ]
        print_json("runs", {"runs": body})
        return
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), header_style="quiet")
    for title in ("run", "what", "when", "outcome", "by"):
        table.add_column(title, no_wrap=True)
    now = context.clock.now()
    for one in summaries:
        outcome = _stands(context, one)
        shown = f"[{STYLES.get(outcome, 'bad')}]{outcome}[/]"
        table.add_row(one.id, one.purpose, ago(one.created_at, now), shown, escape(one.by))
    out().print(table if summaries else "There are no runs yet.")
    then = f"taly show {summaries[0].id}" if summaries else "taly status"
    err().print(f"\nnext: [command]{then}[/]")


@click.command()
@click.argument("run_id", metavar="RUN")
@environment_options
@json_option
def show(run_id: str, config_path: str, store: str, as_json: bool) -> None:
    """Show one run: every step, when it ran, and how it ended."""
    from taly.app.remote import refusal_of
    from taly.app.runs import exit_code, load_run, parked
    from taly.cli.plan_view import headline
    from taly.cli.run_summary import began, print_summary, run_body

    context = opened(config_path, store)
    run = load_run(context, run_id)
    if as_json:
        print_json("run", run_body(run, int(exit_code(run))))
        return
    if refused := refusal_of(context, run_id):
        out().print(f"refused: {refused.reference}", style="bad", markup=False)
        out().print(refused.message, markup=False, soft_wrap=True)
    if why := parked(context, run):
        out().print(why, style="bad", markup=False)
    out().print(headline(run.plan).append(f"\n{began(run)}", style="quiet"))
    print_summary(run)


@click.command()
@click.argument("run_id", metavar="RUN")
@environment_options
def cancel(run_id: str, config_path: str, store: str) -> None:
    """Ask a run to stop: steps under way are brought to their end, no new one starts."""
    from taly.app.runs import cancel as cancel_run

    match cancel_run(opened(config_path, store), run_id):
        case "left":
            said = f"Nobody works on {run_id}: its steps under way must be brought to their end."
            then = f"[command]taly resume {run_id}[/], then [command]taly undo {run_id}[/]"
        case "ended":
            said = f"{run_id} had not begun and is cancelled: nothing was touched."
            then = "[command]taly runs[/]"
        case "waits":
            said = f"{run_id} waits for a worker, which brings its steps under way to their end."
            then = f"[command]taly follow {run_id}[/], then [command]taly undo {run_id}[/]"
        case "stops":
            said = f"{run_id} stops after the steps that are under way."
            then = f"[command]taly show {run_id}[/], then [command]taly undo {run_id}[/]"
    err().print(said)
    err().print(f"\nnext: {then}")
