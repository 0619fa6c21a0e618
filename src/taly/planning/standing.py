"""What the present state of a component says about touching it: blocked, busy, soon too late."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from taly.model.check import Finding, Severity
from taly.model.plan import Step, StepKind
from taly.model.release import Deployment, Observed, Operation, Restorable, Unobserved
from taly.planning.codes import finding
from taly.planning.reach import when

SOON = timedelta(hours=24)
MENDING = (StepKind.REVERT, StepKind.RESTORE)
"""What blocks a database is a migration that failed: these take it back."""


def unknown(seen: Unobserved) -> Finding:
    """The finding for a component that could not be observed."""
    text = f"could not be observed ({seen.reference}): {seen.reason}"
    return finding("component-unknown", seen.component, text, seen.hint or "taly status")


def standing(
    observed: Observed, target_id: str, steps: Sequence[Step], now: datetime
) -> list[Finding]:
    """What hinders or endangers these steps toward the target, as the component stands now."""
    found = []
    if observed.blocked and any(step.writes and step.kind not in MENDING for step in steps):
        found.append(finding("component-blocked", observed.component, observed.blocked))
    found.extend(_operation(observed, one, target_id, steps) for one in observed.in_flight)
    target = next((d for d in observed.history if d.id == target_id), None)
    if target is not None and target_id != observed.live.id:
        found.extend(_retention(target, now))
    return found


def _operation(
    observed: Observed, operation: Operation, target_id: str, steps: Sequence[Step]
) -> Finding:
    name = observed.component
    if operation.toward and operation.toward == target_id:
        text = f"{operation.what} already leads to the target; it is taken over, not repeated"
        return finding("operation-in-flight", name, text, severity=Severity.NOTE)
    if any(step.kind is StepKind.CANCEL for step in steps):
        text = f"{operation.what} is under way; the plan ends it first"
        return finding("operation-in-flight", name, text, severity=Severity.WARNING)
    since = when(operation.started_at)
    text = f"{operation.what} is under way since {since}"
    if any(step.writes for step in steps):  # the engine never stacks one on another
        text = f"{text}; the plan waits until it has ended"
        return finding("operation-in-flight", name, text, severity=Severity.WARNING)
    text = f"{text}, and would take it away from where it should stay; wait until it has ended"
    return finding("operation-in-flight", name, text, "taly status --watch")


def _retention(target: Deployment, now: datetime) -> list[Finding]:
    match target.restorable:
        case Restorable(until=until) if until is not None and until - now <= SOON:
            text = f"the vendor removes {target.label} at {when(until)}"
            return [finding("retention-soon", target.component, text)]
        case _:
            return []
