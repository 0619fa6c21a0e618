"""`--remote` and `taly follow`: runs that others carry, seen from here."""

from typing import TYPE_CHECKING

import click

from taly.cli.options import environment_options, json_option, opened
from taly.cli.output import err, print_json
from taly.errors import ExitCode

if TYPE_CHECKING:
    from taly.app.context import Context
    from taly.model.plan import Plan
    from taly.model.run import Run

remote_option = click.option(
    "--remote", is_flag=True, help="Let a worker do it (taly worker), and follow."
)


@click.command()
@click.argument("run_id", metavar="RUN")
@environment_options
@json_option
def follow(run_id: str, config_path: str, store: str, as_json: bool) -> int:
    """Watch a run that another process works on, or will; Ctrl-C leaves, the run goes on.

    Ends as the run does, with the same exit status.
    """
    return follow_run(opened(config_path, store), run_id, as_json)


def refuse_unless_shared(context: "Context", command: str) -> None:
    """UsageError where no worker could reach the store; before any vendor is asked."""
    from taly.app.workers import refuse_local

    refuse_local(context.config.store, f"taly {command} --remote")


def submit_and_follow(context: "Context", plan: "Plan", as_json: bool) -> int:
    """Leave the plan's run to the workers, and watch it to its end."""
    from taly.app.remote import submit

    return follow_run(context, submit(context, plan), as_json)


def follow_run(context: "Context", run_id: str, as_json: bool) -> int:
    """Watch a run to its end; the exit code of the same run done here."""
    from taly.app.remote import refusal_of, taken_back_by
    from taly.app.runs import exit_code, parked
    from taly.cli.run_summary import print_summary, run_body

    try:
        run = _watch(context, run_id)
        refused = refusal_of(context, run_id)
        if refused is not None:
            raise refused
        code = int(exit_code(run))
        body = run_body(run, code)
        if why := parked(context, run):
            err().print(why, style="bad", markup=False)
        if not as_json:
            print_summary(run)
        if undo_id := taken_back_by(context, run):
            err().print("\nThe policy says to take back what was done.", style="warn")
            undone = _watch(context, undo_id)
            body["taken_back"] = run_body(undone, int(exit_code(undone)))
            if not as_json:
                print_summary(undone)
    except KeyboardInterrupt:
        return _left(context, run_id, as_json)
    if as_json:
        print_json("run", body)
    return code


def _watch(context: "Context", run_id: str) -> "Run":
    from taly.app.remote import follow as follow_events
    from taly.cli.run_view import heading, run_view

    console, plan = err(), context.store.plan(run_id)
    console.print(heading(run_id, "Ctrl-C leaves; the run goes on"))
    with run_view(run_id, plan, console, context.clock) as view:
        return follow_events(
            context,
            run_id,
            view.on_event,
            lambda text: console.print(text, style="warn", markup=False, soft_wrap=True),
        )


def _left(context: "Context", run_id: str, as_json: bool) -> int:
    """Ctrl-C: nothing happens to the run."""
    from taly.app.runs import load_run
    from taly.cli.run_summary import run_body

    err().print(f"\nYou left; {run_id} goes on without you.", style="warn")
    err().print(
        f"next: [command]taly follow {run_id}[/], [command]taly show {run_id}[/] "
        f"or [command]taly cancel {run_id}[/]"
    )
    if as_json:
        print_json("run", run_body(load_run(context, run_id), int(ExitCode.INTERRUPTED)))
    return int(ExitCode.INTERRUPTED)
