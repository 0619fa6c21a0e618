"""The steps that ask whether it worked: one a component, and one for all of them at the end."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from taly.model.check import Finding
from taly.model.environment import Component, HealthCheck
from taly.model.plan import Forecast, Step, StepKind
from taly.model.release import Deployment, Observed, State
from taly.planning.codes import finding

VERIFY_ALL = "verify-all"
HEALTH_MARGIN_S = 60.0
"""What the vendor's own answers may take on top of the health check's deadline."""


def verify_step(
    component: Component,
    observed: Observed,
    target: Deployment,
    steps: Sequence[Step],
) -> tuple[Step, tuple[Finding, ...]]:
    """The component's verification: its steps' wanted states together, or the state as it is.

    The health check's placeholders are filled in for the target; what cannot be filled in because
    its commit is not known is not asked, and a finding says so.
    """
    writing = [step for step in steps if step.writes]
    before: State = observed.state
    wanted: State = observed.state
    if writing:
        before = {key: value for step in reversed(writing) for key, value in step.before.items()}
        wanted = {key: value for step in writing for key, value in step.wanted.items()}
    health, findings = filled(component, target)
    step = Step(
        id=f"{StepKind.VERIFY.value}:{component.name}",
        kind=StepKind.VERIFY,
        component=component.name,
        provider=component.provider,
        title=f"{component.name} is {target.label}",
        address={**observed.address, **(steps[-1].address if steps else {})},
        before=before,
        wanted=wanted,
        needs=tuple(step.id for step in steps),
        health=health,
        forecast=_forecast(health),
        deadline_s=(health.deadline_s if health else 0.0) + HEALTH_MARGIN_S,
    )
    return step, findings


def verify_all_step(verifications: Sequence[Step]) -> Step:
    """Everything once more, at the same time, when each has been seen on its own."""
    deadline = max((step.deadline_s for step in verifications), default=HEALTH_MARGIN_S)
    return Step(
        id=VERIFY_ALL,
        kind=StepKind.VERIFY_ALL,
        component="",
        provider="",
        title=f"all {len(verifications)} components together",
        needs=tuple(step.id for step in verifications),
        forecast=Forecast(seconds=2.0, basis="a read of each"),
        deadline_s=deadline,
    )


def filled(
    component: Component, target: Deployment
) -> tuple[HealthCheck | None, tuple[Finding, ...]]:
    """The component's health check for this deployment, and what it cannot ask."""
    health = component.health
    if health is None:
        return None, ()
    values = {"{deployment}": target.id}
    if target.commit:
        values["{commit}"] = target.commit
    contains = _fill(health.contains, values)
    expect, header = _fill_all(health.expect, values), _fill_all(health.header, values)
    unchecked = (
        len(expect) < len(health.expect) or len(header) < len(health.header) or contains is None
    )
    done = replace(health, expect=expect, header=header, contains=contains or "")
    if not unchecked:
        return done, ()
    text = f"the commit of {target.label} is not known, so its answer is not compared with it"
    return done, (finding("version-unchecked", component.name, text),)


def _fill_all(expected: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    texts = {key: _fill(text, values) for key, text in expected.items()}
    return {key: text for key, text in texts.items() if text is not None}


def _fill(text: str, values: Mapping[str, str]) -> str | None:
    """The text with its placeholders filled in; None when one is left."""
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return None if "{commit}" in text else text


def _forecast(health: HealthCheck | None) -> Forecast:
    if health is None:
        return Forecast(seconds=1.0, basis="a read")
    seconds = 1.0 + (health.successes - 1) * health.interval_s
    return Forecast(seconds=seconds, basis=f"{health.successes} answers in a row")
