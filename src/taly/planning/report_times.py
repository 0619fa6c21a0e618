"""When each step of a run was expected, when it was done, and what it waited for."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise

from taly.model.events import LeaseTaken, Recorded, StepIntended
from taly.model.plan import Step, StepKind
from taly.model.run import Run, StepPhase, StepRun
from taly.planning.forecast import Slot, schedule
from taly.planning.report import Timed, Wait

SHORT_S = 1.0
"""A wait below this is the engine's own work, and not worth a picture."""


def name_of(step: Step) -> str:
    """`roll back backend`, `verify everything`."""
    verb = step.kind.value.replace("-", " ")
    if step.kind is StepKind.VERIFY_ALL:
        return "verify everything"
    migration = step.address.get("migration", "")
    if migration and step.kind in (StepKind.REVERT, StepKind.APPLY):
        return f"{verb} {migration}"
    return f"{verb} {step.component}"


def last_verified(run: Run) -> datetime | None:
    """When the last verification ended well; None when none did."""
    ends = [
        state.ended_at
        for step in run.plan.steps
        if step.kind in (StepKind.VERIFY, StepKind.VERIFY_ALL)
        and (state := run.steps[step.id]).phase is StepPhase.DONE
        and state.ended_at is not None
    ]
    return max(ends, default=None)


def idle_times(run: Run, events: Sequence[Recorded]) -> tuple[Wait, ...]:
    """From the last word of a process that was killed to the first of the one that went on."""
    if run.started_at is None:
        return ()
    return tuple(
        Wait(
            from_s=_seconds(run.started_at, before.at),
            to_s=_seconds(run.started_at, recorded.at),
            why="no process worked on the run",
        )
        for before, recorded in pairwise(events)
        if isinstance(recorded.event, LeaseTaken)
    )


def timed_steps(run: Run, events: Sequence[Recorded]) -> tuple[Timed, ...]:
    """Every step, in the plan's order."""
    slots = schedule(run.plan.steps)
    intended = _first_intents(events)
    return tuple(
        _timed(run, step, slots[step.id], intended.get(step.id)) for step in run.plan.steps
    )


def _timed(run: Run, step: Step, slot: Slot, intended: datetime | None) -> Timed:
    state, start = run.steps[step.id], run.started_at
    from_s = seconds = None
    if start is not None and state.started_at is not None:
        from_s = _seconds(start, state.started_at)
        if state.ended_at is not None:
            seconds = _seconds(state.started_at, state.ended_at)
    return Timed(
        id=step.id,
        name=name_of(step),
        phase=state.phase.value,
        how=state.how,
        forecast_from_s=round(slot.start_s, 3),
        forecast_s=step.forecast.seconds,
        from_s=from_s,
        seconds=seconds,
        waits=tuple(_waits(run, step, state, intended)),
    )


def _waits(run: Run, step: Step, state: StepRun, intended: datetime | None) -> Iterator[Wait]:
    """Before it began though all it needs was done; before its write, for what was under way."""
    if run.started_at is None or state.started_at is None:
        return
    ready = [run.started_at, *(end for need in step.needs if (end := run.steps[need].ended_at))]
    spans = [(max(ready), state.started_at, "ready, and not begun")]
    if intended is not None:
        spans.append((state.started_at, intended, "looked, and waited for what was under way"))
    for begin, end, why in spans:
        if (end - begin).total_seconds() >= SHORT_S:
            from_s, to_s = _seconds(run.started_at, begin), _seconds(run.started_at, end)
            yield Wait(from_s=from_s, to_s=to_s, why=why)


def _first_intents(events: Sequence[Recorded]) -> Mapping[str, datetime]:
    """Step → when it first said that it would write."""
    found: dict[str, datetime] = {}
    for recorded in events:
        if isinstance(recorded.event, StepIntended):
            found.setdefault(recorded.event.step, recorded.at)
    return found


def _seconds(start: datetime, end: datetime) -> float:
    return round((end - start).total_seconds(), 3)
