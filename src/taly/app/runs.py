"""Runs: started, followed, resumed, cancelled, and read back from their events."""

import threading
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Literal, assert_never

import httpx2

from taly.app.context import Context
from taly.app.settling import settle_bundles
from taly.app.shared import team_of
from taly.engine.owner import Owner
from taly.engine.runner import Engine
from taly.engine.store import Marked
from taly.engine.worker import TRIES, can_take, is_poison
from taly.errors import EnvironmentLocked, ExitCode, LeaseLost, OutcomeUnknown, Refused
from taly.model.events import (
    CancelRequested,
    LeaseTaken,
    Recorded,
    RunFinished,
    RunStarted,
    StepActed,
    StepDone,
    StepFailed,
    StepIntended,
    StepStarted,
)
from taly.model.plan import Plan
from taly.model.release import Mark
from taly.model.run import Run, StepPhase, fold
from taly.planning.digest import is_intact
from taly.transport import certificates

if TYPE_CHECKING:
    from taly.app.plans import Planned
    from taly.engine.durable import DurableExecutor

OnEvent = Callable[[Recorded], None]
ROLLED_BACK = "rolled back in "
"""How the reason of a mark begins that taly set itself."""


def as_it_is(plan: Plan) -> Plan:
    """The plan, unchanged: it was made on this machine."""
    return plan


def engine_of(
    context: Context, *, by: str = "", anchored: Callable[[Plan], Plan] = as_it_is
) -> Engine:
    """The engine that works on this context's store, as `by` or as whoever calls."""
    return Engine(
        store=context.store,
        providers=context.providers,
        clock=context.clock,
        owner=Owner.here(by or context.by, context.identity),
        http=httpx2.Client(follow_redirects=False, verify=certificates(ca_file=context.ca_file)),
        lease_s=context.environment.policy.lease_s,
        anchored=anchored,
    )


def start(context: Context, planned: "Planned") -> tuple[Engine, str]:
    """Lock the environment for this plan; EnvironmentLocked names the run that holds it.

    The lock came after the checks: where another run may have changed something in between, they
    are made again under it, and Refused is raised as it would have been before.
    """
    engine = engine_of(context)
    run_id = engine.start(planned.plan)
    recent = {one.id for one in context.store.runs(context.environment.name)}
    if recent - planned.ended - {run_id}:
        why = "another run came first, and this one touched nothing"
        engine.check_first(run_id, lambda: _check_again(context, planned.plan, why))
    return engine, run_id


def take_over(context: Context, run_id: str) -> Engine:
    """Take a run that nobody works on, to go on with it here; raises as `Engine.take_over`.

    One of which no step was begun is checked first, as when it was planned: much may have been
    changed while it lay there. Refused then ends it, with nothing touched. One that was begun is
    brought to its end, whatever came since.
    """
    engine = engine_of(context)
    engine.take_over(run_id)
    run = load_run(context, run_id)
    begun = any(step.phase is not StepPhase.WAITING for step in run.steps.values())
    if not begun and not context.store.cancel_requested_by(run_id):
        why = f"{run_id} had begun no step; it is over and touched nothing"
        engine.check_first(run_id, lambda: _check_again(context, run.plan, why))
    return engine


def _check_again(context: Context, plan: Plan, why: str) -> None:
    from taly.app.plans import against, recheck_plan

    if not is_intact(plan):
        text = "the stored plan is not what its digest says"
        raise Refused(f"{text}; {why}", reference="plan-altered", hint="taly audit verify")
    first = against(recheck_plan(context, plan))
    if first is not None:
        where = f"{first.component}: " if first.component else ""
        raise Refused(f"{where}{first.text}; {why}", reference=first.code, hint=first.hint)


def executor_of(context: Context, engine: Engine) -> "DurableExecutor":
    """What carries this engine's runs: DBOS, imported only by commands that execute."""
    from taly.engine.durable import DurableExecutor

    return DurableExecutor(engine, context.config.store)


def warm_up() -> None:
    """Import DBOS in the background, while the vendors are asked for what the plan needs."""
    threading.Thread(target=import_module, args=("dbos",), daemon=True).start()


def follow(context: Context, engine: Engine, run_id: str, on_event: OnEvent) -> Run:
    """Work through a run to its end; as `Engine.execute`, with a lost lease as an error.

    A run that was not started by this engine is taken over first.
    """
    under_way: dict[str, str] = {}

    def hear(recorded: Recorded) -> None:
        _note(under_way, recorded)
        on_event(recorded)

    try:
        run = executor_of(context, engine).execute(run_id, hear)
    except OutcomeUnknown as error:
        raise _with_what_is_unknown(error, run_id, under_way) from error
    except LeaseLost as lost:
        raise EnvironmentLocked(
            f"another process has taken over {run_id}; this one stopped and recorded nothing more",
            reference="lease-lost",
            hint=f"taly show {run_id}",
        ) from lost
    after_run(context, run)
    return run


def _note(under_way: dict[str, str], recorded: Recorded) -> None:
    """Keep in mind, by its id, each step that began and has not ended, and how far it came."""
    match recorded.event:
        case StepStarted(step=step):
            under_way.setdefault(step, "begun, nothing sent")
        case StepIntended(step=step):
            under_way[step] = "sent, or about to be"
        case StepActed(step=step):
            under_way[step] = "sent, and accepted"
        case StepDone(step=step) | StepFailed(step=step):
            under_way.pop(step, None)


def _with_what_is_unknown(
    error: OutcomeUnknown, run_id: str, under_way: dict[str, str]
) -> OutcomeUnknown:
    """The same, with the steps whose end was not seen: the store cannot be asked for them now."""
    steps = "".join(f"\n    {step}: {how}" for step, how in under_way.items())
    said = f"\n  Not known is the end of:{steps}" if steps else "\n  No step was under way."
    return OutcomeUnknown(
        error.message + said, reference=error.reference, hint=f"taly resume {run_id}"
    )


def after_run(context: Context, run: Run) -> None:
    """What stands outside of the run and follows from how it ended: bundles, releases' marks."""
    settle_bundles(run)
    _mark_what_was_left(context, run)


def takes_itself_back(run: Run) -> bool:
    """Whether the policy wants what the run did to be undone at once: it failed."""
    failed = run.outcome in ("failed", "verification-failed")
    return failed and run.plan.on_failure == "undo"


def _mark_what_was_left(context: Context, run: Run) -> None:
    """A release that was rolled back from is bad until somebody says otherwise.

    Else it would be the last good one as soon as the next release is live. Undoing the run takes
    the mark back; what the team itself said is left alone.
    """
    if run.outcome != "succeeded":
        return
    plan = run.plan
    if plan.purpose == "rollback" and plan.from_release != plan.to_release:
        _mark(context, plan.from_release, Mark.BAD, f"{ROLLED_BACK}{run.id}", run.by)
    elif plan.purpose == "undo":
        undone = context.store.plan(plan.to_release)
        _mark(context, undone.from_release, Mark.NONE, f"{ROLLED_BACK}{plan.to_release}", run.by)


def _mark(context: Context, release: str, mark: Mark, why: str, by: str) -> None:
    """Set our own mark, or take it back; `why` tells ours from the team's."""
    environment, store = context.environment.name, context.store
    ids = {name: id_ for id_, name in store.release_names(environment).items()}
    content_id = ids.get(release)
    if content_id is None:
        return
    known = store.marks(environment).get(content_id)
    is_ours = known is None or known.mark is Mark.NONE or known.why.startswith(ROLLED_BACK)
    if is_ours and (mark is not Mark.NONE or (known is not None and known.why == why)):
        at = context.clock.now()
        marked = Marked(content_id=content_id, mark=mark, why=why, by=by, at=at)
        store.mark_release(environment, marked, context.identity)


def load_run(context: Context, run_id: str) -> Run:
    """The run as its events tell it; UsageError if there is none of that id."""
    store = context.store
    return fold(run_id, store.plan(run_id), store.events(run_id))


def finished_runs(context: Context) -> list[Run]:
    """The environment's runs that work on it no more, oldest first.

    Another machine's that was left, or fell silent, is one of them, though it never ended.
    """
    environment, store = context.environment.name, context.store
    team = team_of(context)
    if team is not None:
        team.look()
    holder = store.unfinished(environment)
    under_way = holder.id if holder is not None else ""
    return [
        load_run(context, one.id)
        for one in reversed(store.runs(environment, limit=1000))
        if one.outcome is not None or one.id != under_way
    ]


Stopping = Literal["stops", "waits", "ended", "left"]
"""What becomes of a run that was asked to stop: who works on it stops; a worker will take it and
stop; it had not begun and is over; nobody works on it, and it has to be resumed to end."""


def cancel(context: Context, run_id: str) -> Stopping:
    """Ask a run to stop: steps under way are brought to their end, no new one starts."""
    store = context.store
    store.request_cancel(run_id, context.by)
    run = store.run(run_id)
    if run.is_alive:
        return "stops"
    if not run.for_workers:
        return "left"
    begun = any(not isinstance(one.event, RunStarted | LeaseTaken) for one in store.events(run_id))
    if not begun:
        return _end_unbegun(context, run_id)
    someone = any(can_take(one, run.environment, run.fits) for one in store.workers())
    return "waits" if someone else "left"


def _end_unbegun(context: Context, run_id: str) -> Stopping:
    """End a run that waits and of which no step was begun: there is nothing to bring to its end."""
    store, at = context.store, context.clock.now()
    owner = Owner.here(context.by, context.identity)
    try:
        lease = store.take_lease(run_id, owner, at=at, lease_s=context.environment.policy.lease_s)
    except EnvironmentLocked:  # a worker was faster; it has been told to stop
        return "stops"
    last = store.events(run_id)[-1].seq
    ended = (CancelRequested(by=context.by), RunFinished(outcome="cancelled"))
    store.append(lease, [(at, event) for event in ended], after=last)
    return "ended"


def parked(context: Context, run: Run) -> str:
    """Why no worker takes the run any more, and what to do; empty when it was not parked."""
    summary = context.store.run(run.id)
    if run.outcome or summary.for_workers or summary.is_alive or not is_poison(run):
        return ""
    return (
        f"parked: {TRIES} workers took {run.id} one after another, and none brought a step to its "
        f"end; it keeps {summary.environment} until taly resume {run.id} has ended it"
    )


def exit_code(run: Run) -> ExitCode:
    """What a run means to the shell: 0 only when every step was done and verified."""
    match run.outcome:
        case "succeeded":
            return ExitCode.OK
        case "failed":
            return ExitCode.STEP_FAILED
        case "verification-failed":
            return ExitCode.VERIFICATION_FAILED
        case "cancelled":
            return ExitCode.INTERRUPTED
        case None:
            return ExitCode.UNKNOWN if run.has_unknown else ExitCode.INTERRUPTED
        case _:
            assert_never(run.outcome)
