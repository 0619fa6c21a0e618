"""Preflight of permissions: may the credentials do exactly what this plan does on AWS?"""

from collections.abc import Iterable, Iterator

from taly.app.context import Context
from taly.app.permissions import NEEDS
from taly.aws import AwsClients
from taly.model.check import Finding, Severity
from taly.model.permissions import Ask
from taly.model.plan import Plan
from taly.planning.codes import finding
from taly.providers.simulation import Denied, Unchecked, unallowed

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
    """One finding for each action that is not allowed; a note on those AWS could not be asked."""
    environ = context.environ
    here = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or ""
    asks = [ask.in_region(here) for ask in asks_of(plan)]
    known = [ask for ask in asks if not ask.is_anywhere]
    nowhere = [ask for ask in asks if ask.is_anywhere]
    notes = (_unchecked(nowhere, "AWS_REGION is not set"),) if nowhere else ()
    if not known:
        return notes
    found = unallowed(AwsClients(environ), known[0].region, known)
    if isinstance(found, Unchecked):
        return (_unchecked(known, found.why), *notes)
    return (*map(_denied, found), *notes)


def unchecked(plan: Plan, why: str) -> Finding:
    """The note that AWS did not say whether the plan's actions are allowed."""
    return _unchecked(asks_of(plan), why)


def _unchecked(asks: Iterable[Ask], why: str) -> Finding:
    """It names the actions: whoever reads it can look for them."""
    actions = ", ".join(dict.fromkeys(ask.action for ask in asks))
    text = f"whether the AWS credentials may do all of this was not checked ({actions}): {why}"
    return finding("permissions-unchecked", "", text, "taly permissions")


def _denied(one: Denied) -> Finding:
    """Only what the plan surely needs and AWS surely refuses stops it."""
    text = f"{one.principal} may not {one.ask.action} on {one.ask.resource}"
    if not one.certain:
        text += ", unless a condition allows it"
    if one.ask.only_if:
        text += f"; it is needed only {one.ask.only_if}"
    stops = one.certain and not one.ask.only_if
    severity = Severity.ERROR if stops else Severity.WARNING
    return finding("permission-missing", one.ask.component, text, HINT, severity=severity)
