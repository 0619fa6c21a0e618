"""Runs that workers carry: submitted, followed from afar, and left at any time."""

import time
from collections.abc import Callable
from dataclasses import replace

from taly.app.context import Context
from taly.app.plans import Planned
from taly.app.runs import load_run, takes_itself_back
from taly.app.workers import fits_for, submit
from taly.engine.store import RunSummary, WorkerRow
from taly.engine.worker import Refusal, can_take, misfits
from taly.errors import OutcomeUnknown, Refused
from taly.model.check import Finding, Severity
from taly.model.events import Recorded
from taly.model.plan import Plan
from taly.model.run import Run

POLL_S = 0.3
"""Real seconds between two looks at a run that is followed."""

FILES = frozenset(
    {
        "rescue-unreadable",
        "restore-bundle-gone",
        "restore-checkpoint-broken",
        "restore-checkpoint-gone",
        "restore-program-missing",
    }
)
"""Findings about files and programs of the machine that is asked."""

OnEvent = Callable[[Recorded], None]
Say = Callable[[str], None]

__all__ = [
    "follow",
    "hand_over",
    "left_to_worker",
    "ready_workers",
    "refusal_of",
    "submit",
    "taken_back_by",
]


def ready_workers(context: Context, plan: Plan) -> list[WorkerRow]:
    """The workers that would take this plan's run; Refused when there is none, with the reason."""
    environment, fits = context.environment.name, fits_for(context, plan)
    alive = [one for one in context.store.workers() if one.is_alive and not one.draining]
    serving = [one for one in alive if environment in one.environments]
    ready = [one for one in serving if can_take(one, environment, fits)]
    if not serving:
        others = f" ({len(alive)} serve other environments)" if alive else ""
        raise Refused(
            f"no worker serves {environment}{others}; nothing was touched",
            reference="no-worker",
            hint="taly worker --store postgresql://…   (on any machine; or go without --remote)",
        )
    if not ready:
        names = misfits(fits, serving[0].environments[environment])
        raise Refused(
            f"the workers of {environment} have {', '.join(names)} set up otherwise than this "
            "taly.toml; nothing was touched",
            reference="workers-differ",
            hint="taly workers   (then the same taly.toml here and there)",
        )
    return ready


def left_to_worker(planned: Planned) -> Planned:
    """The plan, not refused for want of a database's files: they lie where the worker is.

    It makes every check again before the first step, and refuses what is refused there.
    """
    return replace(planned, findings=tuple(map(_noted, planned.findings)))


def _noted(one: Finding) -> Finding:
    if one.code not in FILES or one.severity is not Severity.ERROR:
        return one
    text = f"{one.text}; not here, and the worker looks where it is"
    return replace(one, severity=Severity.NOTE, text=text, hint="")


def hand_over(context: Context, run_id: str) -> Plan:
    """Leave a run that nobody works on to workers; its plan. Raises as `ready_workers` too."""
    plan = context.store.plan(run_id)
    ready_workers(context, plan)
    context.store.hand_over(run_id, fits=fits_for(context, plan))
    return plan


def follow(context: Context, run_id: str, on_event: OnEvent, say: Say) -> Run:
    """Hear a run's events until it has ended, or nobody will go on with it; how it stands then.

    `say` hears what keeps it waiting, each time that changes. Nothing depends on the follower.
    """
    last, told = 0, ""
    while True:
        try:
            summary = context.store.run(run_id)
            for recorded in context.store.events(run_id, after=last):
                on_event(recorded)
                last = recorded.seq
            if summary.outcome is not None or not (summary.is_alive or summary.for_workers):
                return load_run(context, run_id)
            says = _waiting(context, summary) if summary.waits else ""
        except OutcomeUnknown:
            says = "the store does not answer; the run may go on meanwhile"
        if says and says != told:
            say(says)
        told = says
        time.sleep(POLL_S)


def _waiting(context: Context, run: RunSummary) -> str:
    """What a run that nobody works on waits for."""
    alive = [one for one in context.store.workers() if one.is_alive]
    ready = [
        one.name
        for one in alive
        if one.id not in run.tried and can_take(one, run.environment, run.fits)
    ]
    if ready:
        busy = sum(1 for one in alive if one.name in ready and one.run_id)
        busy_too = f", {busy} of them busy" if busy else ""
        return f"{run.id} waits for a worker; {len(ready)} could take it{busy_too}"
    reasons = [f"{one.name} {one.says}" for one in alive if run.id in one.says]
    why = f" ({'; '.join(reasons)})" if reasons else ""
    return (
        f"{run.id} waits, and no worker takes it{why}: start one with taly worker, "
        f"or leave (Ctrl-C) and go on here with taly resume {run.id}"
    )


def refusal_of(context: Context, run_id: str) -> Refused | None:
    """Why the worker that took the run did not begin it; None when it did."""
    text = context.store.run(run_id).refused
    if not text:
        return None
    why = Refusal.of_text(text)
    message = f"{why.message}; the worker touched nothing"
    return Refused(message, reference=why.reference, hint=why.hint or f"taly show {run_id}")


def taken_back_by(context: Context, run: Run) -> str:
    """The run with which the worker takes a failed one back, as the policy wants; empty = none.

    Waits while a worker still sees to it.
    """
    if not takes_itself_back(run):
        return ""
    while True:
        busy = any(one.is_alive and one.run_id == run.id for one in context.store.workers())
        recent = context.store.runs(run.plan.environment, limit=10)
        for one in (one for one in recent if one.purpose == "undo" and one.id > run.id):
            if context.store.plan(one.id).to_release == run.id:
                return one.id
        if not busy:
            return ""
        time.sleep(POLL_S)
