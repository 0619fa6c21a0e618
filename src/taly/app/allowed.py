"""Preflight of permissions: may the credentials do exactly what this plan does on AWS?"""

from collections.abc import Iterator

from taly.app.context import Context
from taly.app.permissions import NEEDS
from taly.aws import AwsClients
from taly.model.check import Finding, Severity
from taly.model.permissions import Ask
from taly.model.plan import Plan
from taly.planning.codes import finding
from taly.providers.simulation import Unchecked, unallowed

HINT = "taly permissions --only write"


def asks_of(plan: Plan) -> Iterator[Ask]:
    """The AWS actions that the plan's steps come down to, each once a component."""
    seen: set[Ask] = set()
    for step in plan.steps:
        needs = NEEDS.get(step.provider)
        for ask in needs.asks(step) if needs and step.writes else ():
            if ask not in seen:
                seen.add(ask)
                yield ask


def permission_findings(context: Context, plan: Plan) -> tuple[Finding, ...]:
    """One finding for each action that is not allowed; a note when AWS could not be asked."""
    asks = list(asks_of(plan))
    if not asks:
        return ()
    found = unallowed(AwsClients(context.environ), asks[0].region, asks)
    if isinstance(found, Unchecked):
        text = f"whether the AWS credentials may do all of this was not checked: {found.why}"
        return (finding("permissions-unchecked", "", text, "taly permissions"),)
    return tuple(
        finding(
            "permission-missing",
            one.ask.component,
            f"{one.principal} may not {one.ask.action} on {one.ask.resource}"
            + ("" if one.certain else ", unless a condition allows it"),
            HINT,
            severity=Severity.ERROR if one.certain else Severity.WARNING,
        )
        for one in found
    )
