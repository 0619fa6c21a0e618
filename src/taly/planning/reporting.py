"""A run's events and the runs after it → the report of it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from taly.model.check import Severity
from taly.model.events import (
    CancelRequested,
    LeaseTaken,
    Recorded,
    RunFinished,
    RunStarted,
    StepDone,
    StepFailed,
)
from taly.model.plan import Plan, StepKind
from taly.model.release import Evidence
from taly.model.run import Run, StepPhase
from taly.planning.aftermath import advice, database_changes, still_held
from taly.planning.report import (
    Act,
    Checked,
    Left,
    Moved,
    Report,
    Said,
    Times,
    Trouble,
    Undone,
)
from taly.planning.report_times import idle_times, last_verified, name_of, timed_steps

VERIFYING = (StepKind.VERIFY, StepKind.VERIFY_ALL)


def build_report(
    run: Run, events: Sequence[Recorded], later: Sequence[Run], said: Said, *, alive: bool = False
) -> Report:
    """The report of a run.

    `events` are the run's own, in order; `later` are the environment's runs that began after it,
    oldest first; `said` is what is said of the release that it left; `alive`: a process works on
    the run now.
    """
    plan = run.plan
    begun = next((one.event for one in events if isinstance(one.event, RunStarted)), None)
    undone = _undone(run, later)
    databases = database_changes(run)
    held = still_held(run, later)
    return Report(
        run=run.id,
        environment=plan.environment,
        purpose=plan.purpose,
        outcome=run.outcome,
        from_release=plan.from_release,
        to_release=plan.to_release,
        why=plan.why,
        to_since=plan.to_since,
        left=_left(plan, said) if plan.purpose == "rollback" else None,
        by=run.by,
        host=begun.host if begun else "",
        version=begun.version if begun else "",
        plan_digest=plan.digest,
        planned_at=plan.made_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
        times=_times(run),
        acts=tuple(_acts(plan, events, later, run.id)),
        components=_components(plan),
        steps=timed_steps(run, events),
        idle=idle_times(run, events),
        checked=_checked(run, events),
        databases=databases,
        troubles=_troubles(run),
        warned=tuple(
            f"{one.component}: {one.text}" if one.component else one.text
            for one in plan.findings
            if one.severity is Severity.WARNING
        ),
        held=held,
        undone_by=undone,
        next=tuple(advice(run, databases, held, undone, said, alive=alive)),
    )


def _left(plan: Plan, said: Said) -> Left:
    unwell = tuple(part.component for part in plan.components if part.answered_before is False)
    return Left(release=plan.from_release, since=plan.from_since, said=said, unwell=unwell)


def _components(plan: Plan) -> tuple[Moved, ...]:
    return tuple(
        Moved(
            component=part.component,
            provider=part.provider,
            disposition=part.disposition.value,
            from_label=part.from_label,
            to_label=part.to_label,
            why=part.why,
        )
        for part in plan.components
    )


def _times(run: Run) -> Times:
    """A run that did not succeed restored nothing, and an undo or unfreeze is no restoring."""
    plan, start = run.plan, run.started_at
    rolled_back = plan.purpose == "rollback"
    since = plan.from_since if rolled_back else None
    restored = last_verified(run) if rolled_back and run.outcome == "succeeded" else None
    return Times(
        live_s=_between(since, start),
        restored_at=restored,
        restore_s=_between(start, restored),
        total_s=_between(since, restored),
        forecast_s=plan.forecast_s,
    )


def _between(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds; None where one is not known, or vendors' clocks put them the wrong way round."""
    if start is None or end is None or end < start:
        return None
    return round((end - start).total_seconds(), 3)


def _acts(
    plan: Plan, events: Sequence[Recorded], later: Sequence[Run], run_id: str
) -> Iterator[Act]:
    for recorded in events:
        at = recorded.at
        match recorded.event:
            case RunStarted(by=by, host=host, version=version, plan_digest=digest):
                what = f"began the {plan.purpose} with taly {version} on {host}, plan {digest[:8]}"
                yield Act(at=at, by=by, what=what)
            case LeaseTaken(owner=owner):
                yield Act(at=at, by=owner, what="went on with the run")
            case CancelRequested(by=by):
                yield Act(at=at, by=by, what="asked the run to stop")
            case RunFinished(outcome=outcome):
                yield Act(at=at, by="taly", what=f"ended the run: {outcome}")
    for one in later:
        if _is_undo_of(one, run_id) and one.started_at:
            yield Act(at=one.started_at, by=one.by, what=f"began to take it back: {one.id}")


def _is_undo_of(run: Run, run_id: str) -> bool:
    return run.plan.purpose == "undo" and run.plan.to_release == run_id


def _undone(run: Run, later: Sequence[Run]) -> tuple[Undone, ...]:
    return tuple(
        Undone(run=one.id, by=one.by, at=one.started_at, outcome=one.outcome)
        for one in later
        if _is_undo_of(one, run.id)
    )


def _checked(run: Run, events: Sequence[Recorded]) -> tuple[Checked, ...]:
    evidence: Mapping[str, tuple[Evidence, ...]] = {
        recorded.event.step: recorded.event.evidence
        for recorded in events
        if isinstance(recorded.event, StepDone | StepFailed)
    }
    return tuple(
        Checked(
            name=name_of(step),
            phase=run.steps[step.id].phase.value,
            at=run.steps[step.id].ended_at,
            state=dict(run.steps[step.id].state or {}),
            evidence=evidence.get(step.id, ()),
        )
        for step in run.plan.steps
        if step.kind in VERIFYING
    )


def _troubles(run: Run) -> tuple[Trouble, ...]:
    return tuple(
        Trouble(
            name=name_of(run.plan.step(state.step)),
            phase=state.phase.value,
            reason=state.reason,
            reference=state.reference,
            hint=state.hint,
            at=state.ended_at,
        )
        for state in run.steps.values()
        if state.phase in (StepPhase.FAILED, StepPhase.UNKNOWN)
    )
