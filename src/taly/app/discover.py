"""Observe the whole environment at once; one dead vendor hides no other."""

from collections.abc import Mapping
from dataclasses import dataclass

import httpx2

from taly.app.context import Context
from taly.app.parallel import Raised, Result, TimedOut, Value, fan_out
from taly.engine.verify import ask
from taly.errors import TalyError
from taly.model.environment import Component, HealthCheck
from taly.model.release import Observation, Observed, Snapshot, Unobserved
from taly.planning.commits import with_full_commits
from taly.planning.verifying import filled
from taly.redaction import redact
from taly.transport import certificates

OBSERVE_TIMEOUT_S = 45.0
"""Real seconds that a whole observation may take."""
HEALTH_TIMEOUT_S = 12.0
"""Real seconds that the applications have to answer one request."""


def observe(context: Context, *, timeout_s: float = OBSERVE_TIMEOUT_S) -> Snapshot:
    """What is live now, on every component, read in parallel.

    A component that could not be seen is Unobserved, with the reason; nothing is raised for it.
    """
    environment = context.environment
    taken_at = context.clock.now()

    def one(component: Component) -> Observation:
        return context.provider(component.provider).observe(component)

    results = fan_out(one, environment.components, timeout_s=timeout_s)
    seen = {
        component.name: _observation(component, result)
        for component, result in zip(environment.components, results, strict=True)
    }
    snapshot = Snapshot(environment=environment.name, taken_at=taken_at, components=seen)
    return with_full_commits(snapshot)


def _observation(component: Component, result: Result[Observation]) -> Observation:
    match result:
        case Value(value):
            return value
        case TimedOut(after_s):
            return Unobserved(
                component=component.name,
                reason=f"{component.provider} did not answer within {after_s:.0f} s",
                reference="vendor-timeout",
                hint="taly status",
            )
        case Raised(error) if isinstance(error, TalyError):
            return Unobserved(
                component=component.name,
                reason=error.message,
                reference=error.reference,
                hint=error.hint,
            )
        case Raised(error):
            return Unobserved(
                component=component.name,
                reason=redact(f"{type(error).__name__}: {error}"),
                reference="observe-failed",
                hint="taly status",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What the application itself answered, once."""

    component: str
    healthy: bool
    says: str
    """`ok`, or what was seen instead."""


def ask_health(context: Context, snapshot: Snapshot) -> Mapping[str, Health]:
    """What every application that has a health check answers now, to one request each."""
    checks: list[tuple[str, HealthCheck]] = []
    for name, observed in seen(snapshot).items():
        health, _ = filled(context.environment.component(name), observed.live)
        if health is not None:
            checks.append((name, health))
    if not checks:
        return {}
    tls = not all(check.url.startswith("http://") for _, check in checks)
    trusted = certificates(tls=tls, ca_file=context.ca_file)
    with httpx2.Client(follow_redirects=False, verify=trusted) as http:
        results = fan_out(lambda check: ask(check[1], http), checks, timeout_s=HEALTH_TIMEOUT_S)
    return {name: _health(name, result) for (name, _), result in zip(checks, results, strict=True)}


def _health(component: str, result: Result[str]) -> Health:
    match result:
        case Value(wrong):
            return Health(component=component, healthy=not wrong, says=wrong or "ok")
        case TimedOut(after_s):
            says = f"no answer within {after_s:.0f} s"
        case Raised(error):
            says = redact(f"{type(error).__name__}: {error}")
    return Health(component=component, healthy=False, says=says)


def seen(snapshot: Snapshot) -> dict[str, Observed]:
    """The components that could be observed."""
    return {
        name: observation
        for name, observation in snapshot.components.items()
        if isinstance(observation, Observed)
    }
