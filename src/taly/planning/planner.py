"""From a snapshot and a release to a plan; a plan that must not run says so in its findings."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from taly.errors import UsageError
from taly.model.check import Finding, Severity
from taly.model.environment import Component, Environment
from taly.model.plan import Plan, Step
from taly.model.ports import Differences
from taly.model.release import Mark, Observation, Release, Snapshot, Unobserved
from taly.planning.codes import finding
from taly.planning.digest import sealed
from taly.planning.dispositions import part_of
from taly.planning.forecast import critical_path_s, schedule
from taly.planning.order import DATABASE_KINDS, circle, gated, in_order
from taly.planning.parts import Part, Planning, PlanOptions, StepsOf
from taly.planning.reach import hindrances, nearest_restorable, nearest_whole
from taly.planning.verifying import verify_all_step, verify_step

__all__ = ["PlanOptions", "make_plan"]


def make_plan(
    environment: Environment,
    snapshot: Snapshot,
    release: Release,
    from_release: Release | None,
    choice_why: str,
    steps_of: StepsOf,
    differences: Mapping[str, Differences],
    options: PlanOptions,
    *,
    releases: Sequence[Release] = (),
) -> Plan:
    """The plan that takes the environment from the snapshot to the release.

    `releases` are the ones to suggest where this one cannot be reached. What stands in the way
    becomes a finding of severity ERROR, all of it at once, and the component has no steps; those
    of the others stay in the plan, so that preflight can say all that is the matter with them.
    Raises UsageError `no-such-component` for a name in `only` or `skip` that is none.
    """
    _check_names(environment, options)
    planning = Planning(
        release=release,
        options=options,
        steps_of=steps_of,
        now=snapshot.taken_at,
        differences=differences,
    )
    seen = {c.name: observation(snapshot, c.name) for c in environment.components}
    parts = {c.name: part_of(c, seen[c.name], planning) for c in environment.components}
    findings = [*_of_release(release), *_of_order(environment.components)]
    in_circle = any(one.code == "order-circle" for one in findings)
    findings.extend(one for part in parts.values() for one in part.findings)
    steps: tuple[Step, ...] = ()
    if not in_circle:
        runnable = {name: part for name, part in parts.items() if part.stands_at is not None}
        steps, more = assemble(environment.components, seen, runnable)
        findings.extend(more)
    if any(one.severity is Severity.ERROR for one in findings):
        findings = _with_way_out(findings, release, releases, snapshot)
    elif not any(step.writes for step in steps):
        findings.append(finding("nothing-to-do", "", _why_nothing(release, from_release)))
    return sealed(
        Plan(
            environment=environment.name,
            made_at=snapshot.taken_at,
            purpose="rollback",
            from_release=from_release.name if from_release else "",
            to_release=release.name,
            to_content_id=release.content_id,
            why=choice_why,
            components=tuple(part.plan for part in parts.values()),
            steps=steps,
            findings=tuple(findings),
            forecast_s=critical_path_s(steps),
            on_failure=environment.policy.on_failure,
            from_since=_since(from_release),
            to_since=_since(release),
        )
    )


def observation(snapshot: Snapshot, component: str) -> Observation:
    """What the snapshot says of the component; one it does not hold was not observed."""
    return snapshot.components.get(component) or Unobserved(
        component=component, reason="it was not asked for", reference="not-observed"
    )


def assemble(
    components: Sequence[Component],
    seen: Mapping[str, Observation],
    parts: Mapping[str, Part],
) -> tuple[tuple[Step, ...], list[Finding]]:
    """All steps, each after those it needs: writes, then verifications, then all at once."""
    by_name = {component.name: component for component in components}
    writing: list[Step] = []
    verifying: list[Step] = []
    findings: list[Finding] = []
    for name, own in gated(components, {name: part.steps for name, part in parts.items()}):
        writing.extend(own)
        target, observed = parts[name].stands_at if name in parts else None, seen[name]
        if target is None or isinstance(observed, Unobserved):
            continue
        step, more = verify_step(by_name[name], observed, target, own)
        verifying.append(step)
        findings.extend(more)
    writing = in_order(writing)
    findings.extend(_gaps(writing))
    if not verifying:
        return tuple(writing), findings
    return (*writing, *verifying, verify_all_step(verifying)), findings


def _gaps(writing: Sequence[Step]) -> Iterator[Finding]:
    """For how long the code that is live meets a schema that it was not made for."""
    slots = schedule(writing)
    by_component: dict[str, list[Step]] = {}
    for step in writing:
        if step.kind in DATABASE_KINDS:
            by_component.setdefault(step.component, []).append(step)
    for name, own in by_component.items():
        ids = {step.id for step in own}
        waiting = [step for step in writing if step.component != name and ids & set(step.needs)]
        if waiting:
            length = max(slots[step.id].end_s for step in waiting) - slots[own[0].id].end_s
            users = list(dict.fromkeys(step.component for step in waiting))
            are = "is" if len(users) == 1 else "are"
            long = f"{length:.0f} s" if length < 90 else f"{length / 60:.0f} min"
            text = (
                f"it goes back first: until {', '.join(users)} {are} back as well, in about {long},"
                " the code that is live now fails where it needs the newer schema"
            )
            yield finding("database-order", name, text)


def completed(plan: Plan, writing: Sequence[Step], verifying: Sequence[Step]) -> Plan:
    """A plan without steps yet, with these, the forecast and the digest."""
    steps = (*writing, *verifying, *((verify_all_step(verifying),) if verifying else ()))
    findings = plan.findings
    if not writing:
        text = "everything is as it should be already"
        findings = (*findings, finding("nothing-to-do", "", text))
    return sealed(replace(plan, steps=steps, findings=findings, forecast_s=critical_path_s(steps)))


def _check_names(environment: Environment, options: PlanOptions) -> None:
    names = [component.name for component in environment.components]
    wrong = sorted((options.only | options.skip) - set(names))
    if wrong:
        raise UsageError(
            f"there is no component {', '.join(wrong)}; there are {', '.join(names[:20])}",
            reference="no-such-component",
            hint="taly status",
        )


def _of_release(release: Release) -> list[Finding]:
    if release.mark is not Mark.BAD:
        return []
    why = f": {release.mark_why}" if release.mark_why else ""
    hint = f"taly mark {release.name} good --why …"
    return [finding("target-marked-bad", "", f"{release.name} is marked bad{why}", hint)]


def _since(release: Release | None) -> datetime | None:
    if release is None or release.mixed or release.kept or not release.live:
        return None
    return release.live[0].start


def _why_nothing(release: Release, live: Release | None) -> str:
    if live is not None and live.content_id == release.content_id:
        return f"{release.name} is what is live"
    return f"nothing that the plan may touch has to change for {release.name}"


def _of_order(components: Sequence[Component]) -> list[Finding]:
    around = circle(components)
    if not around:
        return []
    return [finding("order-circle", "", f"`after` leads in a circle: {' → '.join(around)}")]


def _with_way_out(
    findings: Iterable[Finding],
    release: Release,
    releases: Sequence[Release],
    snapshot: Snapshot,
) -> list[Finding]:
    """Findings about an unreachable target say what can be reached instead."""
    stuck = {(one.component, one.code) for one in hindrances(release, snapshot.components)}
    found = list(findings)
    if not any((one.component, one.code) in stuck for one in found):
        return found
    near = nearest_whole(releases, release, snapshot.components)
    hint = f"taly plan --to {near.name}" if near else "taly releases"
    text = nearest_restorable(releases, release, snapshot.components)
    return [
        replace(one, text=f"{one.text}. {text}", hint=one.hint or hint)
        if (one.component, one.code) in stuck
        else one
        for one in found
    ]
