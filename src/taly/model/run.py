"""A run: the state of one execution of one plan, folded from its events and from nothing else."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import assert_never

from taly.model.events import (
    CancelRequested,
    LeaseTaken,
    Outcome,
    Recorded,
    RunFinished,
    RunStarted,
    StepActed,
    StepDone,
    StepFailed,
    StepIntended,
    StepProgressed,
    StepStarted,
    StepUnknown,
)
from taly.model.plan import Plan
from taly.model.ports import Attempt
from taly.model.release import State


class StepPhase(StrEnum):
    """Where a step of a run stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRun:
    """One step of a run."""

    step: str
    phase: StepPhase = StepPhase.WAITING
    how: str = ""
    """For a step that is done: acted, adopted, already or verified."""
    attempt: Attempt | None = None
    """The latest write that was made, or may have been made, for it."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    note: str = ""
    """The latest thing to say about it."""
    fraction: float | None = None
    reason: str = ""
    """Why it failed or is unknown."""
    reference: str = ""
    hint: str = ""
    state: State | None = None
    """The state that was seen when it was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of one plan."""

    id: str
    plan: Plan
    steps: Mapping[str, StepRun]
    """In the plan's order."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    by: str = ""
    outcome: Outcome | None = None
    """None while it is unfinished: running, interrupted or waiting for `taly resume`."""
    cancel_requested: bool = False
    takeovers: int = 0
    """How many processes took it over, one after another, since a write was accepted or a step
    ended: what each of them began, none brought to an end."""

    @property
    def has_unknown(self) -> bool:
        """Whether a step's outcome could not be seen."""
        return any(step.phase is StepPhase.UNKNOWN for step in self.steps.values())


class Fold:
    """A run that grows with its events, one at a time: constant work an event."""

    def __init__(self, run_id: str, plan: Plan) -> None:
        """The run before its first event."""
        self._run = Run(id=run_id, plan=plan, steps={})
        self._steps = {step.id: StepRun(step=step.id) for step in plan.steps}

    def apply(self, recorded: Recorded) -> None:
        """Take in the next event. What is done, failed or finished stays so."""
        if self._run.outcome is not None:
            return
        event, at = recorded.event, recorded.at
        match event:
            case RunStarted():
                self._run = replace(self._run, started_at=at, by=event.by)
            case LeaseTaken():
                self._run = replace(self._run, takeovers=self._run.takeovers + 1)
            case CancelRequested():
                self._run = replace(self._run, cancel_requested=True)
            case RunFinished():
                self._run = replace(self._run, ended_at=at, outcome=event.outcome)
            case _:
                if isinstance(event, StepActed | StepDone | StepFailed | StepUnknown):
                    self._run = replace(self._run, takeovers=0)
                old = self._steps[event.step]
                if old.phase not in (StepPhase.DONE, StepPhase.FAILED):
                    self._steps[event.step] = _apply_step(old, event, at)

    def step(self, step_id: str) -> StepRun:
        """Where that step stands now."""
        return self._steps[step_id]

    def run(self) -> Run:
        """The run as it stands now."""
        return replace(self._run, steps=dict(self._steps))


def fold(run_id: str, plan: Plan, events: Iterable[Recorded]) -> Run:
    """The run that these events, in their order, make of this plan."""
    growing = Fold(run_id, plan)
    for recorded in events:
        growing.apply(recorded)
    return growing.run()


def _apply_step(
    old: StepRun,
    event: StepStarted
    | StepIntended
    | StepActed
    | StepProgressed
    | StepDone
    | StepFailed
    | StepUnknown,
    at: datetime,
) -> StepRun:
    match event:
        case StepStarted():
            started = old.started_at or at
            return replace(
                old, phase=StepPhase.RUNNING, started_at=started, ended_at=None, reason=""
            )
        case StepIntended():
            return replace(old, attempt=Attempt(key=event.key, intended_at=at))
        case StepActed():
            attempt = old.attempt or Attempt(key="", intended_at=at)
            return replace(old, attempt=replace(attempt, receipt=event.receipt))
        case StepProgressed():
            return replace(old, note=event.note, fraction=event.fraction)
        case StepDone():
            return replace(
                old, phase=StepPhase.DONE, how=event.how, state=event.state, ended_at=at, note=""
            )
        case StepFailed():
            return replace(
                old,
                phase=StepPhase.FAILED,
                reason=event.reason,
                reference=event.reference,
                hint=event.hint,
                ended_at=at,
            )
        case StepUnknown():
            return replace(old, phase=StepPhase.UNKNOWN, reason=event.reason, ended_at=at)
        case _:
            assert_never(event)
