"""Plans that take a run back: an undo is a plan like any other, and so is an unfreeze."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from taly.model.check import Finding
from taly.model.environment import Component, Environment
from taly.model.plan import ComponentPlan, Disposition, Plan, Step, StepKind
from taly.model.release import Deployment, Gone, Observed, Snapshot, State
from taly.model.run import Run, StepPhase, StepRun
from taly.planning.codes import finding
from taly.planning.inverse import INVERSE_KINDS, inverses
from taly.planning.order import MOVING
from taly.planning.planner import completed, observation
from taly.planning.reach import deployment, short
from taly.planning.standing import standing, unknown
from taly.planning.unfreeze import make_unfreeze
from taly.planning.verifying import verify_step

__all__ = ["make_undo", "make_unfreeze"]


def make_undo(
    environment: Environment,
    plan: Plan,
    run: Run,
    snapshot: Snapshot,
) -> Plan:
    """The plan that brings every component that the run changed back to where it was.

    Only what the run did itself is taken back, newest first; a step of unknown outcome counts when
    its component is no longer as it was. An application that did not answer as it should before
    the run is not asked after its undo: it is broken again, as it was.
    """
    components = {component.name: component for component in environment.components}
    states = {
        name: seen.state
        for name in components
        if isinstance(seen := observation(snapshot, name), Observed)
    }
    changed = changed_steps(plan, run, states)
    steps = inverses(plan.steps, changed, states, run.id)
    by_component: dict[str, list[Step]] = {}
    for step in steps:
        by_component.setdefault(step.component, []).append(step)
    findings: list[Finding] = [*_changed_since(plan, changed, states), *_lost_cancels(plan, run)]
    parts: list[ComponentPlan] = []
    verifying: list[Step] = []
    touched = {step.component for step in changed}
    for was in plan.components:
        component = components.get(was.component)
        if component is None or was.component not in touched:
            continue
        seen = observation(snapshot, was.component)
        if not isinstance(seen, Observed):
            findings.append(unknown(seen))
            continue
        prior = _prior(seen, was)
        own = by_component.get(was.component, [])
        parts.append(_part(component, seen, prior, own))
        findings.extend(_against(seen, prior, own, snapshot))
        was_broken = was.answered_before is False
        if was_broken:
            text = "it did not answer as it should before the run, so it is not asked after it"
            findings.append(finding("was-broken-before", was.component, text))
        health_of = replace(component, health=None) if was_broken else component
        verification, more = verify_step(health_of, seen, prior, own)
        verifying.append(verification)
        findings.extend(more)
    why = f"takes back run {run.id}, which went from {plan.from_release} to {plan.to_release}"
    undo = Plan(
        environment=environment.name,
        made_at=snapshot.taken_at,
        purpose="undo",
        from_release=plan.to_release,
        to_release=run.id,
        to_content_id="",
        why=why,
        components=tuple(parts),
        steps=(),
        findings=tuple(findings),
    )
    return completed(undo, steps, verifying)


def changed_steps(plan: Plan, run: Run, states: Mapping[str, State]) -> list[Step]:
    """The steps that the run did, or may have done, in the plan's order."""
    done: list[Step] = []
    now: dict[str, dict[str, str | bool | int | None]] = {}
    for step in plan.steps:
        record = run.steps.get(step.id, StepRun(step=step.id))
        before = {**step.before, **now.get(step.component, {})}
        expected = {key: before.get(key) for key in step.wanted}
        if step.kind in INVERSE_KINDS and (
            _ours(record) or _may_be(record, expected, states.get(step.component))
        ):
            done.append(step)
            now.setdefault(step.component, {}).update(step.wanted)
    return done


def _ours(record: StepRun) -> bool:
    """Done by the run: written, adopted, or found done after a write whose answer was lost."""
    return record.phase is StepPhase.DONE and (
        record.how in ("acted", "adopted") or record.attempt is not None
    )


def _may_be(record: StepRun, before: State, state: State | None) -> bool:
    """Begun and not known to be done: it counts when the component is not as it was before."""
    if record.phase in (StepPhase.WAITING, StepPhase.DONE) or record.attempt is None:
        return False
    return state is None or any(state.get(key) != value for key, value in before.items())


def _changed_since(
    plan: Plan, changed: Sequence[Step], states: Mapping[str, State]
) -> list[Finding]:
    left: dict[str, dict[str, str | bool | int | None]] = {}
    for step in changed:
        left.setdefault(step.component, {}).update(step.wanted)
    found = []
    for name, wanted in left.items():
        state = states.get(name, wanted)
        moved = [key for key, value in wanted.items() if state.get(key) != value]
        if moved:
            key = moved[0]
            text = f"{key} was left at {wanted[key]} and is {state.get(key)} now; it is overwritten"
            found.append(finding("changed-since-run", name, text))
    return found


def _lost_cancels(plan: Plan, run: Run) -> list[Finding]:
    return [
        finding("cancel-not-undone", step.component, f"{step.title}: it is not started again")
        for step in plan.steps
        if step.kind is StepKind.CANCEL and _ours(run.steps.get(step.id, StepRun(step=step.id)))
    ]


def _prior(seen: Observed, was: ComponentPlan) -> Deployment:
    """The deployment that was live before the run."""
    return deployment(seen, was.from_deployment) or Deployment(
        component=was.component,
        id=was.from_deployment,
        label=was.from_label or short(was.from_deployment),
        restorable=Gone(reason="it is no longer in the history"),
    )


def _part(
    component: Component, seen: Observed, prior: Deployment, steps: Sequence[Step]
) -> ComponentPlan:
    disposition, why = Disposition.ALREADY_THERE, "it is as it was before the run already"
    if any(step.kind in MOVING for step in steps):
        disposition, why = Disposition.ROLL_BACK, f"back to {prior.label}, as before the run"
    elif steps:
        disposition, why = Disposition.ALREADY_THERE, "its auto-deploy setting as before the run"
    return ComponentPlan(
        component=component.name,
        provider=component.provider,
        disposition=disposition,
        why=why,
        from_deployment=seen.live.id,
        from_label=seen.live.label,
        to_deployment=prior.id,
        to_label=prior.label,
        notes=seen.notes,
    )


def _against(
    seen: Observed, prior: Deployment, steps: Sequence[Step], snapshot: Snapshot
) -> list[Finding]:
    found = standing(seen, prior.id, steps, snapshot.taken_at) if steps else []
    match prior.restorable:
        case Gone(reason=reason) if seen.live.id != prior.id:
            text = f"{prior.label}, live before the run, is gone: {reason}"
            found.append(finding("target-gone", seen.component, text, "taly releases"))
        case _:
            pass
    return found
