"""`taly rollback`, `undo`, `unfreeze` and `resume`: the commands that change the world."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taly.cli.options import chosen, environment_options, json_option, opened, plan_options
from taly.cli.output import err, print_error, print_json
from taly.cli.plan import plan_body, show
from taly.cli.remote import follow_run, refuse_unless_shared, remote_option, submit_and_follow
from taly.cli.sinks import log_to_stderr
from taly.errors import EnvironmentLocked, ExitCode, Refused, TalyError, UsageError

if TYPE_CHECKING:
    from taly.app.context import Context
    from taly.app.plans import Planned
    from taly.engine.runner import Engine
    from taly.model.plan import Plan
    from taly.model.run import Run

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
confirm_option = click.option(
    "--confirm", default="", metavar="TEXT", help="The text that this environment demands."
)


@click.command()
@click.argument("plan_file", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--to",
    "target",
    default=None,
    metavar="TARGET",
    help="R41, last-good (the default), previous, a commit, or a time.",
)
@plan_options
@remote_option
@yes_option
@confirm_option
@environment_options
@json_option
def rollback(
    plan_file: str | None,
    target: str | None,
    remote: bool,
    yes: bool,
    confirm: str,
    config_path: str,
    store: str,
    as_json: bool,
    **options: Any,
) -> int:
    """Go back: show the plan, ask, run exactly that, and verify every component.

    Takes a plan that `taly plan -o FILE` wrote, or makes one.
    """
    from taly.app.plans import plan_rollback, recheck_plan

    if plan_file and (target is not None or any(options.values())):
        raise UsageError(
            "a plan file says already what to do; it goes without --to, --only and the like",
            reference="plan-and-options",
            hint=f"taly rollback {plan_file}",
        )
    context = opened(config_path, store)
    _prepare(context, "rollback", remote)
    if plan_file:
        planned = recheck_plan(context, _read(plan_file, context))
    else:
        target = "last-good" if target is None else target
        planned = plan_rollback(context, target, chosen(**options))
    how = How(remote=remote, yes=yes, confirm=confirm, as_json=as_json)
    return _confirm_and_run(context, planned, how)


@click.command()
@click.argument("run_id", metavar="RUN")
@remote_option
@yes_option
@confirm_option
@environment_options
@json_option
def undo(
    run_id: str, remote: bool, yes: bool, confirm: str, config_path: str, store: str, as_json: bool
) -> int:
    """Take a run back: every component to where it was before, settings included."""
    from taly.app.plans import plan_undo

    context = opened(config_path, store)
    _prepare(context, "undo", remote)
    planned = plan_undo(context, run_id)
    how = How(remote=remote, yes=yes, confirm=confirm, as_json=as_json)
    return _confirm_and_run(context, planned, how)


@click.command()
@remote_option
@yes_option
@confirm_option
@environment_options
@json_option
def unfreeze(
    remote: bool, yes: bool, confirm: str, config_path: str, store: str, as_json: bool
) -> int:
    """Give auto-deploys back exactly as they were. What is live stays live."""
    from taly.app.plans import plan_unfreeze

    context = opened(config_path, store)
    _prepare(context, "unfreeze", remote)
    planned = plan_unfreeze(context)
    how = How(remote=remote, yes=yes, confirm=confirm, as_json=as_json)
    return _confirm_and_run(context, planned, how)


@click.command()
@click.argument("run_id", metavar="RUN")
@remote_option
@environment_options
@json_option
def resume(run_id: str, remote: bool, config_path: str, store: str, as_json: bool) -> int:
    """Go on with a run that was interrupted or killed, or whose outcome is unknown.

    Works from any process that reaches the store; nothing is done twice.
    """
    from taly.app.remote import hand_over
    from taly.app.runs import take_over

    context = opened(config_path, store)
    _prepare(context, "resume", remote)
    if remote:
        hand_over(context, run_id)
        return follow_run(context, run_id, as_json)
    engine = take_over(context, run_id)
    return _follow(context, engine, run_id, context.store.plan(run_id), as_json)


@dataclass(frozen=True)
class How:
    """What was said of how the plan is to be run."""

    remote: bool
    yes: bool
    confirm: str
    as_json: bool


def _prepare(context: "Context", command: str, remote: bool) -> None:
    """Before any vendor is asked: can workers see the store; else load what executes."""
    from taly.app.runs import warm_up

    if remote:
        refuse_unless_shared(context, command)
    else:
        warm_up()


def _read(plan_file: str, context: "Context") -> "Plan":
    from taly.engine.codec import plan_from_json
    from taly.planning.digest import is_intact

    plan = plan_from_json(Path(plan_file).read_bytes())
    if not is_intact(plan):
        raise UsageError(
            f"{plan_file} was changed after it was made: its digest does not fit",
            reference="plan-altered",
            hint=f"taly plan --to {plan.to_release} -o {plan_file}",
        )
    if plan.environment != context.environment.name:
        raise UsageError(
            f"{plan_file} is for {plan.environment!r}, taly.toml for {context.environment.name!r}",
            reference="plan-of-another-environment",
            hint="taly plan",
        )
    return plan


def _confirm_and_run(context: "Context", planned: "Planned", how: How) -> int:
    from taly.app.remote import left_to_worker, ready_workers
    from taly.app.runs import start

    as_json = how.as_json
    if how.remote:
        planned = left_to_worker(planned)
    if not as_json:
        show(planned)
    if planned.refused:
        return _refuse(planned, as_json)
    if not planned.plan.steps:
        if as_json:
            print_json("run", {"run": None, "exit_code": 0, "steps": []})
        err().print("\nThere is nothing to do.", style="good")
        err().print("\nnext: [command]taly status[/]")
        return int(ExitCode.OK)
    if how.remote:
        ready_workers(context, planned.plan)
    _confirm(context, planned, yes=how.yes, confirm=how.confirm)
    if how.remote:
        return submit_and_follow(context, planned.plan, as_json)
    engine, run_id = start(context, planned)
    return _follow(context, engine, run_id, planned.plan, as_json)


def _refuse(planned: "Planned", as_json: bool) -> int:
    """Say why nothing was touched; with --json the plan and all findings are the document."""
    refused = _refusal(planned)
    if not as_json:
        raise refused
    print_json("plan", plan_body(planned))
    print_error(refused)
    return int(refused.exit_code)


def _refusal(planned: "Planned") -> TalyError:
    from taly.model.check import Severity

    errors = [f for f in planned.findings if f.severity is Severity.ERROR]
    lock = next((f for f in errors if f.code == "environment-locked"), None)
    first = lock or errors[0]
    where = f"{first.component}: " if first.component else ""
    kind = EnvironmentLocked if lock else Refused
    return kind(f"{where}{first.text}; nothing was touched", reference=first.code, hint=first.hint)


def _confirm(context: "Context", planned: "Planned", *, yes: bool, confirm: str) -> None:
    demanded = context.environment.policy.confirm
    if demanded:
        if confirm != demanded:
            raise UsageError(
                f"this environment demands --confirm={demanded}",
                reference="confirm-missing",
                hint=f"the same command with --confirm={demanded}",
            )
        return
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask on",
            reference="no-terminal",
            hint="the same command with --yes",
        )
    click.confirm(f"\nRun plan {planned.plan.digest[:8]} now?", abort=True, err=True)


def _follow(context: "Context", engine: "Engine", run_id: str, plan: "Plan", as_json: bool) -> int:
    from taly.app.runs import exit_code, takes_itself_back
    from taly.cli.run_summary import print_summary, run_body

    run = _watch(context, engine, run_id, plan)
    code = int(exit_code(run))
    body = run_body(run, code)
    if not as_json:
        print_summary(run)
    if takes_itself_back(run):
        undone = _take_back(context, run, as_json)
        body["taken_back"] = undone and run_body(undone, int(exit_code(undone)))
    if as_json:
        print_json("run", body)
    return code


def _watch(context: "Context", engine: "Engine", run_id: str, plan: "Plan") -> "Run":
    """Show the run until it ends, or until Ctrl-C leaves it; how it stands then."""
    from taly.app.runs import follow, load_run
    from taly.cli.run_view import heading, run_view

    log_to_stderr()
    console = err()
    console.print(heading(run_id, "Ctrl-C: no new step starts, those under way end"))
    try:
        with run_view(run_id, plan, console, context.clock) as view:
            return follow(context, engine, run_id, view.on_event)
    except KeyboardInterrupt:
        console.print("interrupted", style="warn")
        return load_run(context, run_id)


def _take_back(context: "Context", run: "Run", as_json: bool) -> "Run | None":
    """policy.on_failure = undo: what was done is taken back at once; the failure stays one.

    None when there is nothing to take back, or when it may not be done.
    """
    from taly.app.plans import plan_undo
    from taly.app.runs import start
    from taly.cli.run_summary import print_summary

    err().print("\nThe policy says to take back what was done.", style="warn")
    planned = plan_undo(context, run.id)
    if not as_json:
        show(planned)
    if planned.refused:
        print_error(_refusal(planned))
        return None
    if not any(step.writes for step in planned.plan.steps):
        err().print("There is nothing to take back.", style="good")
        return None
    engine, undo_id = start(context, planned)
    undone = _watch(context, engine, undo_id, planned.plan)
    if not as_json:
        print_summary(undone)
    return undone
