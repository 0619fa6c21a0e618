"""A run while it happens: a bar a step on a terminal, a line a change elsewhere."""

import threading
from datetime import datetime
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from taly.cli.output import clock_span, fit, zone
from taly.cli.plan_view import step_name
from taly.model.events import (
    LeaseTaken,
    Recorded,
    RunFinished,
    StepActed,
    StepDone,
    StepFailed,
    StepIntended,
    StepProgressed,
    StepStarted,
    StepUnknown,
)
from taly.model.plan import Plan, Step
from taly.model.ports import Clock
from taly.model.run import Run, StepPhase, StepRun, fold

NAME_WIDTH = 30
BAR_WIDTH = 18
MAX_ROWS = 40
TELL_EVERY_S = 10.0
"""In a log; a terminal redraws one line instead."""

PHASES = {
    StepPhase.WAITING: ("·", "quiet"),
    StepPhase.RUNNING: ("▸", "command"),
    StepPhase.DONE: ("✓", "good"),
    StepPhase.FAILED: ("×", "bad"),
    StepPhase.UNKNOWN: ("?", "warn"),
}

HOW = {
    "acted": "done",
    "adopted": "done: taken over from an operation already under way",
    "already": "was already so",
    "verified": "verified",
}


class RunView(Protocol):
    """What shows a run; enter it, feed it events, leave it."""

    def __enter__(self) -> "RunView":
        """Begin to show."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop showing."""
        ...

    def on_event(self, recorded: Recorded) -> None:
        """Take note of an event, from any thread."""
        ...


class PlainView:
    """A line a change: for logs, CI and pipes."""

    def __init__(self, plan: Plan, console: Console) -> None:
        """Lines go to `console`."""
        self._names = {step.id: step_name(step) for step in plan.steps}
        self._console = console
        self._told: dict[str, datetime] = {}
        """Step → when it last said how far it is."""

    def __enter__(self) -> "PlainView":
        """Nothing to prepare."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing to clean up."""

    def on_event(self, recorded: Recorded) -> None:
        """Print the line that the event deserves, if any."""
        says = line_of(recorded)
        if says is None or self._is_too_soon(recorded):
            return
        step = getattr(recorded.event, "step", "")
        name = self._names.get(step, "")
        at = recorded.at.astimezone().strftime("%H:%M:%S")
        line = f"{at}  {name}: {says}" if name else f"{at}  {says}"
        self._console.print(line, markup=False, soft_wrap=True)  # a log's lines are whole

    def _is_too_soon(self, recorded: Recorded) -> bool:
        """Whether a step that tells how far it is every second did so just now."""
        event = recorded.event
        if not isinstance(event, StepProgressed) or event.fraction is None:
            return False
        last = self._told.get(event.step)
        if last is not None and (recorded.at - last).total_seconds() < TELL_EVERY_S:
            return True
        self._told[event.step] = recorded.at
        return False


def line_of(recorded: Recorded) -> str | None:
    """What an event means to the reader; None for one that says nothing new."""
    event = recorded.event
    match event:
        case StepStarted():
            return "started"
        case StepIntended() | StepActed():
            return None
        case StepProgressed() if event.fraction is not None:
            return f"{event.note} ({event.fraction:.0%})"
        case StepProgressed():
            return event.note
        case StepDone():
            return HOW.get(event.how, event.how)
        case StepFailed():
            return f"FAILED: {event.reason}"
        case StepUnknown():
            return f"OUTCOME UNKNOWN: {event.reason}"
        case LeaseTaken():
            return f"continued by {event.owner}"
        case _:
            return None


class LiveView:
    """All steps at once, redrawn in place."""

    def __init__(self, run_id: str, plan: Plan, console: Console, clock: Clock) -> None:
        """Drawn on `console`, with elapsed times from `clock`."""
        self._run_id = run_id
        self._plan = plan
        self._clock = clock
        self._events: list[Recorded] = []
        self._folded = 0
        self._run = fold(run_id, plan, ())
        self._lock = threading.Lock()
        self._console = console
        self._live = Live(
            console=console, get_renderable=self._draw, refresh_per_second=8, transient=False
        )

    def __enter__(self) -> "LiveView":
        """Start to draw."""
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Draw once more and stop; the summary takes the place of a run that ended."""
        self._live.transient = any(isinstance(one.event, RunFinished) for one in self._events)
        self._live.stop()

    def on_event(self, recorded: Recorded) -> None:
        """Take note of an event."""
        with self._lock:
            self._events.append(recorded)

    def _draw(self) -> RenderableType:
        with self._lock:
            if self._folded != len(self._events):
                self._run = fold(self._run_id, self._plan, self._events)
                self._folded = len(self._events)
        rows = max(5, self._console.height - 4)
        return draw_run(self._run, self._clock, rows=rows)


def draw_run(run: Run, clock: Clock, *, rows: int = MAX_ROWS) -> RenderableType:
    """The steps of a run, a line each: sign, name, elapsed against forecast, what is going on."""
    shown = _shown(run, rows)
    lines = [_line(step, run.steps[step.id], clock) for step in shown]
    done = sum(step.phase is StepPhase.DONE for step in run.steps.values())
    foot = Text(f"{done} of {len(run.steps)} steps done", style="quiet")
    if len(shown) < len(run.steps):
        foot.append(f", {len(run.steps) - len(shown)} not drawn")
    return Group(*lines, foot)


def _shown(run: Run, rows: int) -> list[Step]:
    """All steps, or, where there are too many, those that matter now."""
    steps = list(run.plan.steps)
    if len(steps) <= rows:
        return steps
    rank = {
        StepPhase.FAILED: 0,
        StepPhase.UNKNOWN: 0,
        StepPhase.RUNNING: 1,
        StepPhase.WAITING: 2,
        StepPhase.DONE: 3,
    }
    chosen = sorted(steps, key=lambda step: rank[run.steps[step.id].phase])[:rows]
    keep = {step.id for step in chosen}
    return [step for step in steps if step.id in keep]


def _line(step: Step, state: StepRun, clock: Clock) -> Text:
    sign, style = PHASES[state.phase]
    elapsed = 0.0
    if state.started_at is not None:
        elapsed = ((state.ended_at or clock.now()) - state.started_at).total_seconds()
    time = clock_span(elapsed) if state.started_at else ""
    says = state.reason or state.note
    if state.phase is StepPhase.DONE:
        says = "was already so" if state.how == "already" else ""
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{sign} ", style=style)
    line.append(f"{fit(step_name(step), NAME_WIDTH):<{NAME_WIDTH}} ")
    line.append_text(_bar(step, state, elapsed))
    line.append(f" {time:>7} ")
    line.append(" ".join(says.split()), style="quiet" if not state.reason else style)
    return line


def _bar(step: Step, state: StepRun, elapsed: float) -> Text:
    """Full when done; under way, elapsed against forecast, never full before it is true."""
    _, style = PHASES[state.phase]
    if state.phase is StepPhase.DONE:
        return Text("━" * BAR_WIDTH, style="good")
    if state.started_at is None:
        return Text("╌" * BAR_WIDTH, style="quiet")
    part = state.fraction
    if part is None:
        part = min(0.97, elapsed / max(step.forecast.seconds, 0.1))
    filled = round(BAR_WIDTH * part)
    return Text("━" * filled, style=style).append("╌" * (BAR_WIDTH - filled), style="quiet")


def heading(run_id: str, aside: str) -> str:
    """What stands above a run that is shown, as markup: its name, what Ctrl-C does, whose times."""
    return f"\n[name]{run_id}[/] [quiet]{aside} · {zone()}[/]"


def run_view(run_id: str, plan: Plan, console: Console, clock: Clock) -> RunView:
    """The live view on a terminal, plain lines elsewhere."""
    if console.is_terminal:
        return LiveView(run_id, plan, console, clock)
    return PlainView(plan, console)
