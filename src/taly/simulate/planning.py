"""Plans in a simulation: the real planner on what the simulated vendors show."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from taly.errors import Refused
from taly.model.plan import Plan, Step
from taly.model.ports import Differences, Provider, StepOptions
from taly.model.release import Deployment, Observed, Snapshot
from taly.model.run import Run
from taly.planning.planner import PlanOptions, make_plan
from taly.planning.preflight import judge, merged, refuses
from taly.planning.releases import build_releases
from taly.planning.target import choose
from taly.planning.undo import make_undo
from taly.simulate.timeline import instant

if TYPE_CHECKING:
    from taly.simulate.story import Simulation

WINDOW_S = 3600.0


def plan_rollback(simulation: "Simulation") -> Plan | None:
    """The plan to the last good release; None when it is refused, and nothing happens."""
    providers = simulation.providers()
    snapshot = _observe(simulation, providers)
    environment = simulation.environment
    releases = build_releases(environment, snapshot.components, (), {}, {}, WINDOW_S, own_runs=())
    try:
        choice = choose("last-good", releases, snapshot.components, snapshot.taken_at)
    except Refused:
        return None

    def steps_of(before: Observed, target: Deployment) -> tuple[Step, ...]:
        provider = environment.component(before.component).provider
        return providers[provider].steps(before, target, StepOptions())

    plan = make_plan(
        environment,
        snapshot,
        choice.release,
        releases.live,
        choice.why,
        steps_of,
        _differences(simulation, providers, snapshot, choice.release.members),
        PlanOptions(),
        releases=releases.all,
    )
    return _unless_refused(plan, snapshot, providers)


def plan_undo(simulation: "Simulation", run: Run) -> Plan | None:
    """The plan that takes a run back; None when it is refused, or there is nothing to do."""
    providers = simulation.providers()
    snapshot = _observe(simulation, providers)
    plan = make_undo(simulation.environment, run.plan, run, snapshot)
    return _unless_refused(plan, snapshot, providers)


def _observe(simulation: "Simulation", providers: Mapping[str, Provider]) -> Snapshot:
    at = instant(simulation.timeline.now)
    seen = {
        one.name: providers[one.provider].observe(one) for one in simulation.environment.components
    }
    return Snapshot(environment=simulation.environment.name, taken_at=at, components=seen)


def _differences(
    simulation: "Simulation",
    providers: Mapping[str, Provider],
    snapshot: Snapshot,
    members: Mapping[str, str],
) -> dict[str, Differences]:
    found = {}
    for name, seen in snapshot.components.items():
        wanted = members.get(name)
        if isinstance(seen, Observed) and wanted not in (None, seen.live.id):
            target = next(one for one in seen.history if one.id == wanted)
            provider = simulation.environment.component(name).provider
            found[name] = providers[provider].differences(seen, target)
    return found


def _unless_refused(
    plan: Plan, snapshot: Snapshot, providers: Mapping[str, Provider]
) -> Plan | None:
    findings = merged(
        plan.findings,
        judge(plan, snapshot),
        *(providers[step.provider].check(step) for step in plan.steps if step.writes),
    )
    return None if refuses(findings) or not plan.steps else plan
