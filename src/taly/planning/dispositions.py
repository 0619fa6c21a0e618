"""What a plan does with each component, and why."""

from graphlib import CycleError

from taly.model.check import Finding
from taly.model.environment import Component
from taly.model.plan import ComponentPlan, Disposition, Migration, StepKind
from taly.model.release import Deployment, Observation, Observed, Unobserved
from taly.planning.codes import finding
from taly.planning.databases import database_part, reason_of, worst_of
from taly.planning.order import in_needs_order
from taly.planning.parts import Part, Planning, make_part, refused_or
from taly.planning.reach import deployment, hindrance
from taly.planning.standing import standing, unknown


def part_of(component: Component, seen: Observation, planning: Planning) -> Part:
    """What the plan does with this component."""
    if isinstance(seen, Unobserved):
        return _unobserved(component, seen, planning)
    if planning.options.leaves_out(component.name):
        return _left_out(component, seen, planning)
    target_id = planning.release.members.get(component.name)
    if target_id is None:
        why = f"it is no part of {planning.release.name} and stays as it is"
        note = finding("not-in-release", component.name, why)
        return make_part(component, seen, None, Disposition.SKIPPED, why, findings=(note,))
    if target_id == seen.live.id and not seen.live.candidates:
        return _already_there(component, seen, planning)
    return _toward(component, seen, target_id, planning)


def _unobserved(component: Component, seen: Unobserved, planning: Planning) -> Part:
    left_out = planning.options.leaves_out(component.name)
    return Part(
        plan=ComponentPlan(
            component=component.name,
            provider=component.provider,
            disposition=Disposition.SKIPPED if left_out else Disposition.REFUSED,
            why="left out" if left_out else "it could not be observed",
            from_deployment="",
            from_label="unknown",
            to_deployment="",
            to_label="unknown",
        ),
        findings=() if left_out else (unknown(seen),),
    )


def _left_out(component: Component, seen: Observed, planning: Planning) -> Part:
    worst = worst_of(_migrations(component, planning))
    findings: tuple[Finding, ...] = ()
    if worst is not None:
        text = f"{worst.name} does not suit {planning.release.name}: {reason_of(worst)}"
        findings = (finding("database-skipped", component.name, text),)
    return make_part(component, seen, None, Disposition.SKIPPED, "left out", findings=findings)


def _already_there(component: Component, seen: Observed, planning: Planning) -> Part:
    """Left alone, except for what would take it away from the target again."""
    kinds = set()
    if any(operation.toward != seen.live.id for operation in seen.in_flight):
        kinds.add(StepKind.CANCEL)
    if planning.options.freeze_untouched and seen.auto_deploy:
        kinds.add(StepKind.FREEZE)
    offered = planning.steps_of(seen, seen.live) if kinds else ()
    steps = in_needs_order([step for step in offered if step.kind in kinds])
    findings = standing(seen, seen.live.id, steps, planning.now)
    if seen.auto_deploy and not any(step.kind is StepKind.FREEZE for step in steps):
        findings.append(_auto_deploy_on(component.name))
    why = f"it is at {seen.live.label} already"
    return make_part(
        component,
        seen,
        seen.live,
        refused_or(Disposition.ALREADY_THERE, findings),
        why,
        steps=steps,
        findings=findings,
    )


def _auto_deploy_on(name: str) -> Finding:
    text = "it is left as it is, auto-deploy included: the next push goes live there"
    return finding("auto-deploy-on", name, text)


def _toward(component: Component, seen: Observed, target_id: str, planning: Planning) -> Part:
    target = deployment(seen, target_id)
    migrations = _migrations(component, planning)
    if migrations or _has_outlook(component, planning):
        return database_part(component, seen, target, migrations, planning)
    hindered = hindrance(seen, planning.release)
    if hindered is not None:
        return make_part(
            component, seen, target, Disposition.REFUSED, hindered.text, findings=(hindered,)
        )
    assert target is not None  # one that is not in the history hinders
    return _roll_back(component, seen, target, planning)


def _roll_back(
    component: Component, seen: Observed, target: Deployment, planning: Planning
) -> Part:
    try:
        steps = in_needs_order(planning.steps_of(seen, target))
    except CycleError:
        steps = []
    findings = standing(seen, target.id, steps, planning.now)
    if not any(step.kind is StepKind.ROLL_BACK for step in steps):
        text = f"provider {component.provider} has no steps toward {target.label}"
        findings.append(finding("steps-missing", component.name, text))
    findings.extend(_removals(component.name, planning))
    disposition = refused_or(Disposition.ROLL_BACK, findings)
    why = f"goes back from {seen.live.label} to {target.label}"
    return make_part(
        component, seen, target, disposition, why, steps=steps, findings=findings, planning=planning
    )


def _removals(name: str, planning: Planning) -> list[Finding]:
    differences = planning.differences.get(name)
    if differences is None or not differences.removals:
        return []
    count = len(differences.removals)
    what = f"{count} resources, {differences.removals[0]} among them"
    if count == 1:
        what = differences.removals[0]
    if planning.options.allow_removals:
        return [finding("removals", name, f"going back deletes {what}")]
    hint = f"taly plan --to {planning.release.name} --allow-removals"
    return [finding("removals-need-consent", name, f"going back would delete {what}", hint)]


def _migrations(component: Component, planning: Planning) -> tuple[Migration, ...]:
    differences = planning.differences.get(component.name)
    return differences.migrations if differences else ()


def _has_outlook(component: Component, planning: Planning) -> bool:
    differences = planning.differences.get(component.name)
    return differences is not None and differences.database is not None
