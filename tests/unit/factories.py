"""Builders for tests of the pure core: platforms, histories, plans and runs in a line each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from taly.model.environment import Component, Environment, Policy
from taly.model.events import (
    Event,
    Recorded,
    RunFinished,
    RunStarted,
    StepActed,
    StepDone,
    StepIntended,
    StepStarted,
)
from taly.model.plan import Forecast, Plan, Step, StepKind
from taly.model.release import (
    Deployment,
    LivePeriod,
    Mark,
    Observation,
    Observed,
    Restorability,
    Restorable,
    Snapshot,
    State,
)
from taly.model.run import Run, fold
from taly.planning.memory import Remembered
from taly.planning.planner import PlanOptions, make_plan
from taly.planning.releases import Releases, build_releases

T0 = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
WINDOW_S = 3600.0


def at(minutes: float) -> datetime:
    """That many minutes after T0."""
    return T0 + timedelta(minutes=minutes)


def deployment(
    component: str,
    id_: str,
    *periods: tuple[float, float | None],
    commit: str = "",
    restorable: Restorability | None = None,
    candidates: tuple[str, ...] = (),
) -> Deployment:
    """A deployment, live in these periods of minutes after T0."""
    live = [LivePeriod(start=at(a), end=None if b is None else at(b)) for a, b in periods]
    return Deployment(
        component=component,
        id=id_,
        label=id_,
        commit=commit,
        created_at=live[0].start if live else T0,
        live=tuple(live),
        restorable=restorable or Restorable(),
        candidates=candidates,
    )


def observed(component: str, *deployments: Deployment, auto_deploy: bool = True) -> Observed:
    """A component with this history, oldest first; the last to go live is live."""
    by_start = sorted(
        (one for one in deployments if one.live), key=lambda one: one.live[-1].start, reverse=True
    )
    live = by_start[0]
    never = tuple(one for one in deployments if not one.live)
    return Observed(
        component=component,
        live=live,
        history=(*by_start, *never),
        state={"deployment": live.id, "auto_deploy": auto_deploy},
        address={"site": component},
        auto_deploy=auto_deploy,
    )


def ran(component: str, *changes: tuple[float, str] | tuple[float, str, str]) -> Observed:
    """A component that went live with (minute, id[, commit]) one after the other."""
    minutes = [change[0] for change in changes] + [None]
    periods: dict[str, list[tuple[float, float | None]]] = {}
    commits: dict[str, str] = {}
    for i, change in enumerate(changes):
        periods.setdefault(change[1], []).append((change[0], minutes[i + 1]))
        if len(change) == 3:
            commits[change[1]] = change[2]
    return observed(
        component,
        *(
            deployment(component, id_, *p, commit=commits.get(id_, ""))
            for id_, p in periods.items()
        ),
    )


def environment(*components: Component | str, policy: Policy | None = None) -> Environment:
    """An environment of these components, or of components of these names."""
    return Environment(
        name="production",
        components=tuple(
            Component(name=one, provider="fake") if isinstance(one, str) else one
            for one in components
        ),
        policy=policy or Policy(),
    )


def by_name(*seen: Observation) -> dict[str, Observation]:
    """Observations by their component's name."""
    return {one.component: one for one in seen}


def snapshot(*seen: Observation, minute: float = 10_000) -> Snapshot:
    """What was observed, that many minutes after T0."""
    return Snapshot(environment="production", taken_at=at(minute), components=by_name(*seen))


def releases(
    *seen: Observation,
    recorded: Sequence["Pinned"] = (),
    names: Mapping[str, str] | None = None,
    marks: Mapping[str, tuple[Mark, str]] | None = None,
    members: Mapping[str, Mapping[str, str]] | None = None,
    of: Environment | None = None,
    remembered: Sequence[Remembered] = (),
    own_runs: Sequence[LivePeriod] = (),
) -> Releases:
    """The releases that these observations tell of."""
    return build_releases(
        of or environment(*(one.component for one in seen)),
        by_name(*seen),
        recorded,
        names or {},
        marks or {},
        WINDOW_S,
        known_members=members,
        remembered=remembered,
        own_runs=own_runs,
    )


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """A recorded release."""

    members: Mapping[str, str]
    at: datetime
    commit: str = ""
    label: str = ""


def fake_steps(before: Observed, target: Deployment) -> tuple[Step, ...]:
    """A provider that restores, then locks: each step says its whole wanted state."""
    name = before.component
    roll_back = Step(
        id=f"roll-back:{name}",
        kind=StepKind.ROLL_BACK,
        component=name,
        provider="fake",
        title=f"{name} → {target.label}",
        address=before.address,
        before={"deployment": before.live.id},
        wanted={"deployment": target.id},
        forecast=Forecast(seconds=60.0, basis="a guess"),
    )
    freeze = Step(
        id=f"freeze:{name}",
        kind=StepKind.FREEZE,
        component=name,
        provider="fake",
        title=f"{name}: hold auto-deploys",
        address=before.address,
        before={"deployment": before.live.id, "auto_deploy": before.state["auto_deploy"]},
        wanted={"deployment": target.id, "auto_deploy": False},
        needs=(roll_back.id,),
        forecast=Forecast(seconds=3.0, basis="a guess"),
    )
    return (roll_back, freeze) if target.id != before.live.id else (replace(freeze, needs=()),)


def plan_to(
    name: str, *seen: Observation, of: Environment | None = None, options: PlanOptions | None = None
) -> Plan:
    """The plan to the release of that name, with the fake provider's steps."""
    known = releases(*seen, of=of)
    release = known.named(name)
    assert release is not None
    return make_plan(
        of or environment(*(one.component for one in seen)),
        snapshot(*seen),
        release,
        known.live,
        "it was asked for",
        fake_steps,
        {},
        options or PlanOptions(),
        releases=known.all,
    )


def run_of(plan: Plan, *events: Event, id_: str = "run-1") -> Run:
    """The run of this plan after these events."""
    recorded = [
        Recorded(seq=i, at=at(20_000 + i), fence=1, event=event)
        for i, event in enumerate((started(plan), *events), 1)
    ]
    return fold(id_, plan, recorded)


def started(plan: Plan) -> RunStarted:
    """The first event of a run of this plan."""
    return RunStarted(plan_digest=plan.digest, by="ada", host="laptop", version="1.0")


def acted(step: Step) -> tuple[Event, ...]:
    """The events of a step that was written and seen done."""
    return (
        StepStarted(step=step.id),
        StepIntended(step=step.id, key=f"run-1:{step.id}"),
        StepActed(step=step.id),
        StepDone(step=step.id, how="acted", state=step.wanted),
    )


def finished_run(plan: Plan, id_: str = "run-1") -> Run:
    """A run that did everything."""
    events = [event for step in plan.steps if step.writes for event in acted(step)]
    return run_of(plan, *events, RunFinished(outcome="succeeded"), id_=id_)


def applied(state: Mapping[str, State], steps: Iterable[Step]) -> dict[str, State]:
    """The components' states after these steps."""
    states = {name: dict(values) for name, values in state.items()}
    for step in steps:
        if step.writes:
            states[step.component].update(step.wanted)
    return dict(states)


def after(seen: Observed, steps: Iterable[Step]) -> Observed:
    """The component as it is observed after these steps."""
    state = applied(
        {seen.component: seen.state}, [s for s in steps if s.component == seen.component]
    )
    now = state[seen.component]
    live = next(one for one in seen.history if one.id == now["deployment"])
    return replace(seen, live=live, state=now, auto_deploy=bool(now["auto_deploy"]))
