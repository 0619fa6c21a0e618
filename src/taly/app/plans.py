"""Plans: made from a fresh observation, and checked before anything is touched."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from taly.app.allowed import permission_findings, unchecked
from taly.app.context import Context
from taly.app.discover import ask_health, observe, seen
from taly.app.history import History, load_history
from taly.app.keeping import store_in_patient, weak_connections
from taly.app.parallel import Raised, Result, TimedOut, Value, fan_out
from taly.app.shared import lock_findings, lock_line
from taly.app.shared_checkpoints import checkpoints_elsewhere
from taly.app.targets import choose_release
from taly.errors import Refused, TalyError
from taly.model.check import Finding, Severity
from taly.model.plan import Plan, Step
from taly.model.ports import Differences, StepOptions
from taly.model.release import Deployment, Gone, Observed, Release, Snapshot
from taly.planning.codes import finding
from taly.planning.order import DATABASE_KINDS
from taly.planning.planner import PlanOptions, make_plan
from taly.planning.preflight import judge, merged, refuses
from taly.planning.undo import make_undo, make_unfreeze
from taly.redaction import redact

CHECK_TIMEOUT_S = 60.0
"""Real seconds that all preflight checks together may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan and everything that was found out about it."""

    plan: Plan
    findings: tuple[Finding, ...]
    lock: str = ""
    """Who is held off while it runs, where that is not the whole team by itself."""
    ended: frozenset[str] = frozenset()
    """The runs that had ended before the environment was looked at."""

    @property
    def refused(self) -> bool:
        """Whether it must not run."""
        return refuses(self.findings)


def plan_rollback(context: Context, target: str, options: PlanOptions) -> Planned:
    """The plan that takes the environment to `target`, with all checks done. Touches nothing.

    `target` is a release's name, `last-good`, `previous`, a commit or a time. Raises Refused when
    there is no such release, UsageError when --only or --skip name no component.
    """
    ended = ended_runs(context)
    history = load_history(context)
    snapshot = history.snapshot
    live = history.releases.live
    choice = choose_release(context, history, target)
    plan = make_plan(
        environment=context.environment,
        snapshot=snapshot,
        release=choice.release,
        from_release=live,
        choice_why=choice.why,
        steps_of=_steps_of(context, options),
        differences=_differences(context, history, choice.release),
        options=options,
        releases=history.releases.all,
    )
    planned = check_plan(context, _with_answers(context, plan, snapshot), snapshot)
    return replace(planned, ended=ended)


def ended_runs(context: Context) -> frozenset[str]:
    """The newest of the environment's runs that are over."""
    recent = context.store.runs(context.environment.name)
    return frozenset(run.id for run in recent if run.outcome is not None)


def _with_answers(context: Context, plan: Plan, snapshot: Snapshot) -> Plan:
    """The plan with what each application answers now, which an undo must know."""
    health = ask_health(context, snapshot)
    parts = tuple(
        replace(part, answered_before=health[part.component].healthy)
        if part.component in health
        else part
        for part in plan.components
    )
    return replace(plan, components=parts)


def check_plan(context: Context, plan: Plan, snapshot: Snapshot) -> Planned:
    """Run every preflight check of a plan against what is live now. Touches nothing."""
    found = merged(
        plan.findings,
        judge(plan, snapshot),
        lock_findings(context),
        store_in_patient(context),
        weak_connections(context, sorted({one.component for one in plan.steps if one.writes})),
        checkpoints_elsewhere(context, plan),
        _vendor_checks(context, plan),
    )
    return Planned(plan=plan, findings=found, lock=lock_line(context))


def recheck_plan(context: Context, plan: Plan) -> Planned:
    """Check a plan that was made earlier against what is live now: a stale one is refused."""
    ended = ended_runs(context)
    return replace(check_plan(context, plan, observe(context)), ended=ended)


def against(planned: Planned) -> Finding | None:
    """The first thing that speaks against the plan's run, which holds the environment by now."""
    wrong = (one for one in planned.findings if one.severity is Severity.ERROR)
    return next((one for one in wrong if one.code != "environment-locked"), None)


def plan_undo(context: Context, run_id: str) -> Planned:
    """The plan that takes a run back, exactly to the state before it."""
    from taly.app.runs import load_run

    run = load_run(context, run_id)
    if run.outcome is None:
        raise Refused(
            f"run {run_id} is not finished",
            reference="run-unfinished",
            hint=f"taly resume {run_id}",
        )
    ended = ended_runs(context)
    snapshot = observe(context)
    plan = make_undo(context.environment, run.plan, run, snapshot)
    brought = tuple(_brought_back(context, plan))
    plan = replace(plan, findings=(*plan.findings, *brought))
    return replace(check_plan(context, plan, snapshot), ended=ended)


def _brought_back(context: Context, plan: Plan) -> Iterator[Finding]:
    """What comes back with each database: its user decides knowing it."""
    for step in plan.steps:
        if step.kind not in DATABASE_KINDS or "undoes" not in step.address:
            continue
        # Imported here: an undo that changes no database needs none of it.
        from taly.database.undoing import carried_back

        try:
            said = carried_back(step, context.environ)
        except TalyError as error:
            said = (f"what comes back with it cannot be told: {error.message}",)
        for text in said:
            yield finding("database-brought-back", step.component, text)


def plan_unfreeze(context: Context) -> Planned:
    """The plan that gives auto-deploys back exactly as they were before taly held them."""
    from taly.app.runs import finished_runs

    ended = ended_runs(context)
    snapshot = observe(context)
    runs = finished_runs(context)
    plan = make_unfreeze(context.environment, runs, snapshot)
    return replace(check_plan(context, plan, snapshot), ended=ended)


def _steps_of(
    context: Context, options: PlanOptions
) -> Callable[[Observed, Deployment], tuple[Step, ...]]:
    chosen = StepOptions(
        with_config=options.with_config,
        allow_removals=options.allow_removals,
        accept_conversions=options.accept_conversions,
        database=options.database,
    )

    def steps_of(before: Observed, target: Deployment) -> tuple[Step, ...]:
        provider = context.environment.component(before.component).provider
        return context.provider(provider).steps(before, target, chosen)

    return steps_of


def _differences(context: Context, history: History, release: Release) -> Mapping[str, Differences]:
    """What else going there changes, asked of all vendors at once."""
    pairs = [
        (observed, target)
        for name, observed in seen(history.snapshot).items()
        if (target := target_of(observed, release)) is not None and target.id != observed.live.id
    ]

    def one(pair: tuple[Observed, Deployment]) -> Differences:
        observed, target = pair
        provider = context.environment.component(observed.component).provider
        return context.provider(provider).differences(observed, target)

    results = fan_out(one, pairs, timeout_s=CHECK_TIMEOUT_S)
    return {
        observed.component: _known(observed.component, result)
        for (observed, _), result in zip(pairs, results, strict=True)
    }


def target_of(observed: Observed, release: Release) -> Deployment | None:
    """The release's deployment of this component; None when the release has none."""
    wanted = release.members.get(observed.component)
    if wanted is None:
        return None
    for deployment in observed.history:
        if deployment.id == wanted:
            return deployment
    return Deployment(
        component=observed.component,
        id=wanted,
        label=wanted[:20],
        commit=release.commit,
        restorable=Gone(reason="its vendor no longer lists it"),
    )


def _known(component: str, result: Result[Differences]) -> Differences:
    match result:
        case Value(value):
            return value
        case TimedOut(after_s):
            said = f"no answer within {after_s:.0f} s"
        case Raised(error):
            said = error.message if isinstance(error, TalyError) else redact(repr(error))
    unknown = Finding(
        code="differences-unknown",
        severity=Severity.ERROR,
        component=component,
        text=f"what going back would change cannot be told: {said}",
        hint="taly status",
    )
    return Differences(findings=(unknown,))


def _vendor_checks(context: Context, plan: Plan) -> tuple[Finding, ...]:
    """Every vendor's own checks of every writing step, at once."""
    steps = [step for step in plan.steps if step.writes]

    def check(step: Step | None) -> tuple[Finding, ...]:
        if step is None:
            return permission_findings(context, plan)
        return context.provider(step.provider).check(step)

    *results, allowed = fan_out(check, [*steps, None], timeout_s=CHECK_TIMEOUT_S)
    found = tuple(
        finding
        for step, result in zip(steps, results, strict=True)
        for finding in _findings(step, result)
    )
    return (*found, *_allowed(plan, allowed))


def _allowed(plan: Plan, result: Result[tuple[Finding, ...]]) -> tuple[Finding, ...]:
    """Nothing hangs on this check: what it could not find out, the vendor says when it is asked."""
    match result:
        case Value(value):
            return value
        case TimedOut():
            why = "no answer in time"
        case Raised(error):
            why = error.message if isinstance(error, TalyError) else type(error).__name__
    return (unchecked(plan, why),)


def _findings(step: Step, result: Result[tuple[Finding, ...]]) -> tuple[Finding, ...]:
    match result:
        case Value(value):
            return value
        case TimedOut(after_s):
            code, said = "vendor-timeout", f"no answer within {after_s:.0f} s"
        case Raised(error) if isinstance(error, TalyError):
            code, said = "vendor-unreachable", error.message
        case Raised(error):
            code, said = "vendor-unreachable", redact(f"{type(error).__name__}: {error}")
    text = f"{step.title} cannot be checked: {said}"
    return (
        Finding(
            code=code,
            severity=Severity.ERROR,
            component=step.component,
            text=text,
            hint="taly status",
        ),
    )
