"""What a plan does with each component, and why."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from graphlib import CycleError

from taly.model.check import Finding, Severity
from taly.model.environment import Component
from taly.model.plan import ComponentPlan, Disposition, Migration, Step, StepKind
from taly.model.ports import Differences
from taly.model.release import Deployment, Observation, Observed, Release, Unobserved
from taly.planning.codes import finding
from taly.planning.order import in_needs_order
from taly.planning.reach import deployment, hindrance, short
from taly.planning.standing import standing, unknown

StepsOf = Callable[[Observed, Deployment], tuple[Step, ...]]
"""The provider's own steps from what is live toward a deployment; pure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What the user chose beside the target."""

    only: frozenset[str] = frozenset()
    """Components to touch; empty = all."""
    skip: frozenset[str] = frozenset()
    """Components to leave out."""
    with_config: bool = False
    """Whether configuration goes back too; the providers' steps heed it."""
    allow_removals: bool = False
    """Whether going back may delete resources."""
    freeze_untouched: bool = False
    """Whether auto-deploys are also held on components that are at the target already."""

    def leaves_out(self, component: str) -> bool:
        """Whether the user left this component out."""
        return component in self.skip or (bool(self.only) and component not in self.only)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What the plan does with one component."""

    plan: ComponentPlan
    steps: tuple[Step, ...] = ()
    """The provider's steps, each after those it needs."""
    findings: tuple[Finding, ...] = ()
    stands_at: Deployment | None = None
    """The deployment that is verified at the end; None = the component is not verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """What every component is judged against."""

    release: Release
    options: PlanOptions
    steps_of: StepsOf
    now: datetime
    differences: Mapping[str, Differences] = field(default_factory=dict)


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
        return _part(component, seen, None, Disposition.SKIPPED, why, findings=(note,))
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
    worst = _worst(_migrations(component, planning))
    findings: tuple[Finding, ...] = ()
    if worst is not None:
        text = f"{worst.name} does not suit {planning.release.name}: {_reason(worst)}"
        findings = (finding("database-skipped", component.name, text),)
    return _part(component, seen, None, Disposition.SKIPPED, "left out", findings=findings)


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
    return _part(
        component,
        seen,
        seen.live,
        _refused_or(Disposition.ALREADY_THERE, findings),
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
    if migrations:
        return _database(component, seen, target, migrations, planning)
    hindered = hindrance(seen, planning.release)
    if hindered is not None:
        return _part(
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
    disposition = _refused_or(Disposition.ROLL_BACK, findings)
    why = f"goes back from {seen.live.label} to {target.label}"
    return _part(
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


def _database(
    component: Component,
    seen: Observed,
    target: Deployment | None,
    migrations: Sequence[Migration],
    planning: Planning,
) -> Part:
    """Kept as it is where the old code can live with it; otherwise it stops the plan."""
    findings = standing(seen, seen.live.id, (), planning.now)
    bad = [migration for migration in migrations if migration.verdict != "keep"]
    for migration in bad:
        undo = f"; undoing it needs: {migration.undo}" if migration.undo else ""
        text = f"{migration.name}: {_reason(migration)}{undo}"
        code = f"database-needs-{migration.verdict}"
        findings.append(finding(code, component.name, text))
    if bad:
        why = f"{len(bad)} of {len(migrations)} migrations since do not suit the old code"
        return _part(
            component,
            seen,
            target,
            Disposition.REFUSED,
            why,
            findings=findings,
            planning=planning,
        )
    many = "1 migration" if len(migrations) == 1 else f"{len(migrations)} migrations"
    why = f"stays: the old code can live with the {many} made since"
    findings.append(finding("database-kept-newer", component.name, why))
    disposition = _refused_or(Disposition.KEPT, findings)
    return _part(component, seen, seen.live, disposition, why, findings=findings, planning=planning)


def _migrations(component: Component, planning: Planning) -> tuple[Migration, ...]:
    differences = planning.differences.get(component.name)
    return differences.migrations if differences else ()


def _worst(migrations: Sequence[Migration]) -> Migration | None:
    for verdict in ("restore", "revert"):
        for migration in migrations:
            if migration.verdict == verdict:
                return migration
    return None


def _reason(migration: Migration) -> str:
    return migration.reasons[0] if migration.reasons else migration.verdict


def _refused_or(disposition: Disposition, findings: Sequence[Finding]) -> Disposition:
    refused = any(one.severity is Severity.ERROR for one in findings)
    return Disposition.REFUSED if refused else disposition


def _part(
    component: Component,
    seen: Observed,
    target: Deployment | None,
    disposition: Disposition,
    why: str,
    *,
    steps: Sequence[Step] = (),
    findings: Sequence[Finding] = (),
    planning: Planning | None = None,
) -> Part:
    """Put together; with `planning` what the provider says of the differences stands in it too."""
    to = target or seen.live
    differences = planning.differences.get(component.name) if planning else None
    differences = differences or Differences()
    skipped = disposition is Disposition.SKIPPED
    return Part(
        plan=ComponentPlan(
            component=component.name,
            provider=component.provider,
            disposition=disposition,
            why=why,
            from_deployment=seen.live.id,
            from_label=seen.live.label,
            to_deployment=to.id,
            to_label=to.label if target or skipped else short(to.id),
            config=differences.config,
            removals=differences.removals,
            migrations=differences.migrations,
            notes=(*seen.notes, *differences.notes),
        ),
        steps=tuple(steps),
        findings=(*findings, *differences.findings),
        stands_at=None if disposition in (Disposition.SKIPPED, Disposition.REFUSED) else to,
    )
