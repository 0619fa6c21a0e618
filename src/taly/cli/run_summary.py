"""How a run ended: a timeline, what went wrong, what to do next."""

from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from taly.cli.output import clock_span, err, fit, hanging, local, out, zone
from taly.cli.plan_view import step_name
from taly.cli.run_databases import database_lines
from taly.cli.run_view import PHASES
from taly.model.plan import Disposition, Plan, Step, StepKind
from taly.model.run import Run, StepPhase, StepRun

WIDTH = 27
MAX_ROWS = 40


def run_body(run: Run, exit_code: int) -> dict[str, Any]:
    """The JSON of a run: `taly rollback`, `undo`, `unfreeze`, `resume` and `show`."""
    return {
        "run": run.id,
        "exit_code": exit_code,
        "environment": run.plan.environment,
        "purpose": run.plan.purpose,
        "from_release": run.plan.from_release,
        "to_release": run.plan.to_release,
        "plan_digest": run.plan.digest,
        "outcome": run.outcome,
        "by": run.by,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "steps": [_step_body(step, run.steps[step.id]) for step in run.plan.steps],
    }


def _step_body(step: Step, state: StepRun) -> dict[str, Any]:
    return {
        "id": step.id,
        "kind": step.kind.value,
        "component": step.component,
        "title": step.title,
        "phase": state.phase.value,
        "how": state.how,
        "started_at": state.started_at,
        "ended_at": state.ended_at,
        "seconds": _seconds(state),
        "forecast_s": step.forecast.seconds,
        "wanted": dict(step.wanted),
        "state": dict(state.state) if state.state is not None else None,
        "receipt": dict(state.attempt.receipt) if state.attempt else {},
        "reason": state.reason,
        "reference": state.reference,
        "hint": state.hint,
    }


def _seconds(state: StepRun) -> float | None:
    if state.started_at is None or state.ended_at is None:
        return None
    return round((state.ended_at - state.started_at).total_seconds(), 3)


def print_summary(run: Run) -> None:
    """Print the timeline and the verdict, then name the next command."""
    out().print()
    out().print(timeline(run))
    out().print(verdict(run))
    for step in run.steps.values():
        if step.phase in (StepPhase.FAILED, StepPhase.UNKNOWN):
            out().print(_trouble(run, step))
    for text in database_lines(run):
        out().print(text)
    for line in frozen(run):
        out().print(f"  {line}", style="quiet", markup=False)
    err().print(f"\nnext: [command]{next_command(run)}[/]")


def began(run: Run) -> str:
    """`run-1s0d9w, began Mon 23 Nov 22:14 by ada@laptop · times are UTC`."""
    when = f"began {local(run.started_at)}" if run.started_at else "has not begun"
    return f"{run.id}, {when} by {run.by} · {zone()}"


def timeline(run: Run) -> Table:
    """When each step ran, on one axis, with its time against its forecast."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="quiet")
    table.add_column("", width=1)
    table.add_column("step", no_wrap=True, max_width=30)
    table.add_column("", width=WIDTH, no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("forecast", justify="right", no_wrap=True)
    begin, length = _extent(run)
    for step in run.plan.steps[:MAX_ROWS]:
        state = run.steps[step.id]
        sign, style = PHASES[state.phase]
        took = _seconds(state)
        table.add_row(
            Text(sign, style=style),
            Text(fit(step_name(step), 30)),
            _bar(state, begin, length),
            "" if took is None else clock_span(took),
            Text(clock_span(step.forecast.seconds), style="quiet"),
        )
    return table


def _extent(run: Run) -> tuple[float, float]:
    times = [
        moment.timestamp()
        for step in run.steps.values()
        for moment in (step.started_at, step.ended_at)
        if moment is not None
    ]
    if not times:
        return 0.0, 1.0
    return min(times), max(max(times) - min(times), 0.001)


def _bar(state: StepRun, begin: float, length: float) -> Text:
    if state.started_at is None:
        return Text("")
    _, style = PHASES[state.phase]
    start = state.started_at.timestamp()
    end = state.ended_at.timestamp() if state.ended_at else begin + length
    left = min(WIDTH - 1, int((start - begin) / length * WIDTH))
    width = max(1, min(WIDTH - left, round((end - start) / length * WIDTH)))
    return Text(" " * left).append("━" * width, style=style)


def verdict(run: Run) -> Text:
    """One sentence: what the run came to."""
    done = sum(step.phase is StepPhase.DONE for step in run.steps.values())
    took = ""
    if run.started_at and run.ended_at:
        took = f" in {clock_span((run.ended_at - run.started_at).total_seconds())}"
    count = f"{done} of {len(run.steps)} steps"
    match run.outcome:
        case "succeeded":
            return Text(f"Done{took}: {goal(run.plan)}, every step verified.", style="good")
        case "failed":
            return Text(f"FAILED and halted{took}: {count} were done.", style="bad")
        case "verification-failed":
            return Text(f"VERIFICATION FAILED{took}: the platform is not as it should be.", "bad")
        case "cancelled":
            return Text(f"Cancelled{took}: {count} were done.", style="warn")
        case _ if run.has_unknown:
            return Text(f"OUTCOME UNKNOWN: {count} are known to be done.", style="warn")
        case _:
            return Text(f"Interrupted: {count} were done, nothing was lost.", style="warn")


def goal(plan: Plan) -> str:
    """What the plan was for."""
    match plan.purpose:
        case "rollback":
            return f"{_reached(plan)} at {plan.to_release}"
        case "undo":
            return f"{plan.to_release} is undone"
        case _:
            return "auto-deploys are as they were"


def _reached(plan: Plan) -> str:
    """`production is`, or how much of it where components were left out."""
    left = sum(part.disposition is Disposition.SKIPPED for part in plan.components)
    if not left:
        return f"{plan.environment} is"
    total = len(plan.components)
    return f"{total - left} of {total} components of {plan.environment} are"


def _trouble(run: Run, step: StepRun) -> RenderableType:
    sign, style = PHASES[step.phase]
    text = Text().append(step_name(run.plan.step(step.step)), style=style)
    text.append(f": {step.reason}")
    if step.hint:
        text.append("\nhint: ", style="quiet").append(step.hint, style="command")
    return hanging(Text(sign, style=style), text)


def frozen(run: Run) -> list[str]:
    """What stays held after the run, which its user must know."""
    held = [
        step.component
        for step in run.plan.steps
        if step.kind is StepKind.FREEZE and run.steps[step.id].phase is StepPhase.DONE
    ]
    if not held or run.plan.purpose != "rollback":
        return []
    return [
        f"Auto-deploys are held on {', '.join(held)}:",
        "pushes do not go live until `taly unfreeze`.",
    ]


def next_command(run: Run) -> str:
    """What to type now."""
    if run.outcome is None:
        return f"taly resume {run.id}"
    if run.outcome == "succeeded":
        return "taly status"
    return f"taly undo {run.id}   (or taly show {run.id})"
