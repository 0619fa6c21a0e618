"""What can be said against running a plan without asking a vendor anything more."""

from collections.abc import Iterable

from taly.model.check import Finding, Severity
from taly.model.plan import Plan, Step
from taly.model.release import Observed, Snapshot, State
from taly.planning.codes import finding
from taly.planning.digest import is_intact
from taly.planning.planner import observation
from taly.planning.standing import standing, unknown


def refuses(findings: Iterable[Finding]) -> bool:
    """Whether any of these means that nothing may be touched."""
    return any(one.severity is Severity.ERROR for one in findings)


def merged(*groups: Iterable[Finding]) -> tuple[Finding, ...]:
    """All findings, each once: planning and preflight look at some of the same things."""
    first: dict[tuple[str, str, str], Finding] = {}
    for group in groups:
        for one in group:
            first.setdefault((one.code, one.component, one.text), one)
    return tuple(first.values())


def judge(plan: Plan, snapshot: Snapshot) -> tuple[Finding, ...]:
    """Everything that the platform's present state and the plan itself say against running it."""
    found: list[Finding] = []
    if not is_intact(plan):
        text = "the plan is not what its digest says: it was changed after it was made"
        found.append(finding("plan-tampered", "", text, _replan(plan)))
    by_component = _by_component(plan)
    for part in plan.components:
        steps = by_component.get(part.component)
        if not steps:
            continue
        seen = observation(snapshot, part.component)
        if not isinstance(seen, Observed):
            found.append(unknown(seen))
            continue
        found.extend(standing(seen, part.to_deployment, steps, snapshot.taken_at))
        found.extend(_drift(part.component, steps, seen.state, plan))
    return tuple(found)


def drift(plan: Plan, snapshot: Snapshot) -> tuple[Finding, ...]:
    """The components that are no longer as they were when the plan was made."""
    found: list[Finding] = []
    for name, steps in _by_component(plan).items():
        seen = observation(snapshot, name)
        if isinstance(seen, Observed):
            found.extend(_drift(name, steps, seen.state, plan))
    return tuple(found)


def _by_component(plan: Plan) -> dict[str, list[Step]]:
    """Component → its steps, in the plan's order."""
    found: dict[str, list[Step]] = {}
    for step in plan.steps:
        if step.component:
            found.setdefault(step.component, []).append(step)
    return found


def lock_held(run_id: str, by: str) -> Finding:
    """The finding for an environment that another run holds."""
    text = f"{run_id}, started by {by}, holds the environment"
    return finding("environment-locked", "", text, f"taly show {run_id}")


def _drift(name: str, steps: Iterable[Step], state: State, plan: Plan) -> list[Finding]:
    """One finding for all keys that changed; the state may already be partly what is wanted."""
    expected = {}
    for step in steps:
        expected.update({k: v for k, v in step.before.items() if k not in expected})
    changed = [key for key, value in expected.items() if state.get(key) != value]
    if not changed:
        return []
    key = changed[0]
    text = f"{key} was {expected[key]} when the plan was made and is {state.get(key)} now"
    if len(changed) > 1:
        text += f"; so {'have' if len(changed) > 2 else 'has'} {', '.join(changed[1:])} changed"
    return [finding("plan-stale", name, text, _replan(plan))]


def _replan(plan: Plan) -> str:
    if plan.purpose == "rollback":
        return f"taly plan --to {plan.to_release}"
    return f"taly {plan.purpose} {plan.to_release}".rstrip()
