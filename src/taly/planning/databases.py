"""What a plan does with a database: keep it, revert its migrations, or restore a backup."""

from collections.abc import Sequence
from dataclasses import replace

from taly.model.check import Finding
from taly.model.environment import Component
from taly.model.plan import (
    DatabaseOutlook,
    DatabaseVerdict,
    DatabaseWay,
    Disposition,
    Forecast,
    Migration,
    Step,
    StepKind,
)
from taly.model.release import Deployment, Observed
from taly.planning.codes import finding
from taly.planning.order import in_needs_order
from taly.planning.parts import Part, Planning, make_part, refused_or
from taly.planning.reach import hindrance
from taly.planning.standing import standing

KINDS = {"revert": StepKind.REVERT, "restore": StepKind.RESTORE}
"""The provider offers the steps of both ways; the plan has those of one."""
HOW = {
    "revert": "its migrations are taken back in place",
    "restore": "a backup takes its place, with what was written since carried over",
}


def database_part(
    component: Component,
    seen: Observed,
    target: Deployment | None,
    migrations: Sequence[Migration],
    planning: Planning,
) -> Part:
    """The way that suits best, or the one that the user wants; never another one silently."""
    differences = planning.differences[component.name]
    outlook = differences.database
    best = outlook.verdict if outlook else _worst_verdict(migrations)
    chosen = planning.options.database or best
    if chosen == "keep":
        return _kept(component, seen, target, migrations, planning)
    way = _way(outlook, chosen)
    if way is None or not way.possible:
        return _no_way(component, seen, target, migrations, planning, way)
    assert outlook is not None, "a way stands in an outlook"
    return _taken(component, seen, target, outlook, chosen, planning)


def worst_of(migrations: Sequence[Migration]) -> Migration | None:
    """The migration that weighs most against keeping the schema; None when all can stay."""
    for verdict in ("restore", "revert"):
        for migration in migrations:
            if migration.verdict == verdict:
                return migration
    return None


def reason_of(migration: Migration) -> str:
    """Why, in one sentence."""
    return migration.reasons[0] if migration.reasons else migration.verdict


def _worst_verdict(migrations: Sequence[Migration]) -> DatabaseVerdict:
    worst = worst_of(migrations)
    return worst.verdict if worst else "keep"


def _way(outlook: DatabaseOutlook | None, verdict: DatabaseVerdict) -> DatabaseWay | None:
    ways = outlook.ways if outlook else ()
    return next((way for way in ways if way.verdict == verdict), None)


def _kept(
    component: Component,
    seen: Observed,
    target: Deployment | None,
    migrations: Sequence[Migration],
    planning: Planning,
) -> Part:
    """Left as it is; where the old code cannot live with that, the plan says what breaks."""
    findings = standing(seen, seen.live.id, (), planning.now)
    bad = [migration for migration in migrations if migration.verdict != "keep"]
    for migration in bad:
        text = f"kept, as you asked for; the old code breaks: {migration.name}: "
        findings.append(
            finding("database-kept-anyway", component.name, text + reason_of(migration))
        )
    many = "1 migration" if len(migrations) == 1 else f"{len(migrations)} migrations"
    if not migrations:
        why = "stays: it has no migration that the release had not"
    elif bad:
        why = f"stays, as you asked for: {len(bad)} of {many} break the old code"
    else:
        why = f"stays: the old code can live with the {many} made since"
        findings.append(finding("database-kept-newer", component.name, why))
    disposition = refused_or(Disposition.KEPT, findings)
    return make_part(
        component, seen, seen.live, disposition, why, findings=findings, planning=planning
    )


def _no_way(
    component: Component,
    seen: Observed,
    target: Deployment | None,
    migrations: Sequence[Migration],
    planning: Planning,
    way: DatabaseWay | None,
) -> Part:
    """It cannot go there as it should: what is missing, and what could be done instead."""
    findings = standing(seen, seen.live.id, (), planning.now)
    because = f"; {way.why}" if way else ""
    hint = _instead(component, planning, way) if way else ""
    bad = [migration for migration in migrations if migration.verdict != "keep"]
    if way and (planning.options.database or not bad):
        text = f"{way.verdict} cannot be done: {way.why}"
        findings.append(finding("database-way-impossible", component.name, text, hint))
    else:
        for migration in bad:
            undo = f"; undoing it needs: {migration.undo}" if migration.undo else ""
            text = f"{migration.name}: {reason_of(migration)}{undo}{because}"
            code = f"database-needs-{migration.verdict}"
            findings.append(finding(code, component.name, text, hint))
    why = f"{len(bad)} of {len(migrations)} migrations since do not suit the old code"
    disposition = Disposition.REFUSED
    return make_part(
        component, seen, target, disposition, why, findings=findings, planning=planning
    )


def _instead(component: Component, planning: Planning, way: DatabaseWay) -> str:
    """The command that shows the way that is left; keeping it, the plan says what breaks."""
    outlook = planning.differences[component.name].database
    ways = outlook.ways if outlook else ()
    others = [one for one in reversed(ways) if one.possible and one.verdict != way.verdict]
    if not others:
        return ""
    return f"taly plan --to {planning.release.name} --database {others[0].verdict}"


def _taken(
    component: Component,
    seen: Observed,
    target: Deployment | None,
    outlook: DatabaseOutlook,
    chosen: DatabaseVerdict,
    planning: Planning,
) -> Part:
    """Taken back by the steps of the way that was chosen."""
    hindered = hindrance(seen, planning.release)
    if hindered is not None or target is None:
        found = (hindered,) if hindered else ()
        why = hindered.text if hindered else "the target is not known"
        return make_part(component, seen, target, Disposition.REFUSED, why, findings=found)
    offered = planning.steps_of(seen, target)
    steps = in_needs_order([step for step in offered if step.kind is KINDS[chosen]])
    steps = [_informed(step, outlook) for step in steps]
    findings = standing(seen, target.id, steps, planning.now)
    if not steps:
        text = f"provider {component.provider} has no steps toward {target.label}"
        findings.append(finding("steps-missing", component.name, text))
    if chosen != outlook.verdict:
        text = f"{chosen}, as you asked for; {outlook.verdict} suits best"
        best = _way(outlook, outlook.verdict)
        text += f": {best.why}" if best else ""
        findings.append(finding("database-overridden", component.name, text))
    findings.extend(_conversions(component.name, outlook, chosen, planning))
    why = f"goes back to {target.label}: {HOW[chosen]}"
    disposition = refused_or(Disposition.ROLL_BACK, findings)
    return make_part(
        component, seen, target, disposition, why, steps=steps, findings=findings, planning=planning
    )


def _informed(step: Step, outlook: DatabaseOutlook) -> Step:
    """With what only the outlook knows: where to start from, and how long it takes."""
    if outlook.checkpoint:
        step = replace(step, address={**step.address, "checkpoint": outlook.checkpoint})
    if step.kind is StepKind.RESTORE and outlook.restore_s is not None:
        basis = "by the database's size"
        step = replace(step, forecast=Forecast(seconds=outlook.restore_s, basis=basis))
    return step


def _conversions(
    name: str, outlook: DatabaseOutlook, chosen: DatabaseVerdict, planning: Planning
) -> list[Finding]:
    """Values that were written under another name or type are not read back unasked."""
    if not outlook.conversions:
        return []
    what = outlook.conversions[0]
    if len(outlook.conversions) > 1:
        what = f"{what}; and {len(outlook.conversions) - 1} more"
    if planning.options.accept_conversions:
        return [finding("conversions", name, f"values are read back as they stand: {what}")]
    way = f" --database {chosen}" if planning.options.database else ""
    hint = f"taly plan --to {planning.release.name}{way} --accept-conversions"
    text = f"nobody said how values read back: {what}"
    return [finding("conversions-need-consent", name, text, hint)]
