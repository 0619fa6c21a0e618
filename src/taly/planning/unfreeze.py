"""Giving auto-deploys back exactly as they were before taly held them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from taly.model.check import Finding
from taly.model.environment import Component, Environment
from taly.model.plan import ComponentPlan, Disposition, Forecast, Plan, Step, StepKind
from taly.model.release import Observed, Snapshot
from taly.model.run import Run, StepPhase, StepRun
from taly.planning.inverse import INVERSE_KINDS, Values
from taly.planning.planner import completed, observation
from taly.planning.standing import standing, unknown
from taly.planning.verifying import verify_step

FREEZE_KEYS = frozenset({"auto_deploy", "auto_assign", "locked"})
"""The keys of a component's state that say whether the next push goes live by itself."""


@dataclass(slots=True)
class _Held:
    """What taly changed of a component's auto-deploy setting and has not given back."""

    step: Step
    """The step that changed it last, for the address."""
    forecast: Forecast
    """How long the change took that held it: giving it back is the same kind of change."""
    prior: Values = field(default_factory=dict)


def make_unfreeze(environment: Environment, runs: Sequence[Run], snapshot: Snapshot) -> Plan:
    """The plan that gives every component the auto-deploy setting it had before taly held it.

    `runs` are the environment's runs, oldest first. The setting is the one from before the first
    run that changed it and from whose change nothing has brought it back. Nothing else is touched:
    the live deployments stay.
    """
    held = _held(runs)
    parts: list[ComponentPlan] = []
    steps: list[Step] = []
    verifying: list[Step] = []
    findings: list[Finding] = []
    for component in environment.components:
        seen = observation(snapshot, component.name)
        if component.name not in held:
            continue
        if not isinstance(seen, Observed):
            findings.append(unknown(seen))
            continue
        prior = held[component.name].prior
        if all(seen.state.get(key) == value for key, value in prior.items()):
            continue
        step = _thaw(component, seen, held[component.name])
        steps.append(step)
        parts.append(_part(component, seen, prior))
        findings.extend(standing(seen, seen.live.id, [step], snapshot.taken_at))
        verifying.append(_verification(component, seen, step, prior))
    plan = Plan(
        environment=environment.name,
        made_at=snapshot.taken_at,
        purpose="unfreeze",
        from_release="",
        to_release="",
        to_content_id="",
        why="gives auto-deploys back as they were before they were held",
        components=tuple(parts),
        steps=(),
        findings=tuple(findings),
    )
    return completed(plan, steps, verifying)


def _held(runs: Sequence[Run]) -> Mapping[str, _Held]:
    """Component → what is still held, from all that the runs did in their order."""
    held: dict[str, _Held] = {}
    for run in runs:
        for step in run.plan.steps:
            record = run.steps.get(step.id, StepRun(step=step.id))
            if step.kind in INVERSE_KINDS and _may_have_written(record):
                _note(held, step)
    return {name: one for name, one in held.items() if one.prior}


def _may_have_written(record: StepRun) -> bool:
    if record.attempt is not None:
        return True
    return record.phase is StepPhase.DONE and record.how in ("acted", "adopted")


def _note(held: dict[str, _Held], step: Step) -> None:
    one = held.setdefault(step.component, _Held(step=step, forecast=step.forecast))
    for key in FREEZE_KEYS & step.wanted.keys():
        if key not in one.prior:
            one.prior[key], one.forecast = step.before.get(key), step.forecast
        one.step = step
        if step.wanted[key] == one.prior[key]:
            del one.prior[key]


def _thaw(component: Component, seen: Observed, held: _Held) -> Step:
    said = ", ".join(f"{key} = {value}" for key, value in sorted(held.prior.items()))
    return Step(
        id=f"{StepKind.THAW.value}:{component.name}",
        kind=StepKind.THAW,
        component=component.name,
        provider=component.provider,
        title=f"{component.name}: auto-deploys as before ({said.lower()})",
        address={**held.step.address, **seen.address},
        before={key: seen.state.get(key) for key in held.prior},
        wanted=dict(held.prior),
        forecast=held.forecast,
    )


def _part(component: Component, seen: Observed, prior: Values) -> ComponentPlan:
    return ComponentPlan(
        component=component.name,
        provider=component.provider,
        disposition=Disposition.ALREADY_THERE,
        why=f"stays at {seen.live.label}; {', '.join(sorted(prior))} as before it was held",
        from_deployment=seen.live.id,
        from_label=seen.live.label,
        to_deployment=seen.live.id,
        to_label=seen.live.label,
        notes=seen.notes,
    )


def _verification(component: Component, seen: Observed, step: Step, prior: Values) -> Step:
    """The setting is given back, and the live deployment has not moved."""
    verification, _ = verify_step(replace(component, health=None), seen, seen.live, [step])
    return replace(verification, before=seen.state, wanted={**seen.state, **prior})
