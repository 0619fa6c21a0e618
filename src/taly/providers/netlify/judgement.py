"""What a look at a Netlify site means for a step: wanted, on its way, other, or failed. Pure."""

from datetime import datetime

from taly.model.plan import Step, StepKind
from taly.model.ports import Attempt, Failed, InFlight, Other, Probe, Wanted
from taly.model.release import Evidence, State
from taly.providers.netlify.payloads import SitePayload

PATIENCE_S = {
    StepKind.ROLL_BACK: (90.0, 300.0),
    StepKind.FREEZE: (10.0, 60.0),
    StepKind.THAW: (10.0, 60.0),
    StepKind.CANCEL: (10.0, 60.0),
}
"""Seconds for which a write may still take effect: when its answer was lost, when it came.

Netlify has no operation to ask about a restore: only the published deploy itself tells."""


def judge(
    step: Step,
    state: State,
    evidence: tuple[Evidence, ...],
    attempt: Attempt | None,
    *,
    now: datetime,
    overtaken: bool,
) -> Probe:
    """`overtaken`: our restore was published, and something else has been published since."""
    if all(state.get(key) == value for key, value in _counted(step).items()):
        return Wanted(state=state, evidence=evidence)
    if overtaken:
        reason = f"it was published, and then deploy {state['deploy']} was published over it"
        return Failed(reason=reason, evidence=evidence)
    if attempt is None or step.kind not in PATIENCE_S:
        return Other(state=state, evidence=evidence)
    answered = bool(attempt.receipt)
    waited_s = (now - attempt.intended_at).total_seconds()
    if waited_s < PATIENCE_S[step.kind][answered]:
        return InFlight(
            operation=attempt.receipt.get("call", step.id),
            # Without an answer nobody knows whether there is anything to adopt: wait, then send.
            same_target=answered,
            evidence=evidence,
            what="accepted; not in effect yet" if answered else "no answer; may be in effect yet",
        )
    if answered:
        reason = f"Netlify accepted it, and {waited_s:.0f} s later it is not in effect"
        return Failed(reason=reason, evidence=evidence)
    return Other(state=state, evidence=evidence)


def is_about_deploy(step: Step) -> bool:
    """Whether the step's `deploy` must be live for it to be done.

    Unlocking comes before the deploy is restored when a rollback is undone, so for it only
    `locked` counts.
    """
    return "deploy" in step.wanted and step.kind is not StepKind.THAW and not _unlocks(step)


def in_words(site: SitePayload) -> str:
    """What getSite said, for the evidence."""
    return f"published {site.live or 'nothing'}, locked {site.locked}"


def _counted(step: Step) -> State:
    if step.kind in (StepKind.FREEZE, StepKind.THAW) and not is_about_deploy(step):
        return {key: value for key, value in step.wanted.items() if key != "deploy"}
    return step.wanted


def _unlocks(step: Step) -> bool:
    return step.kind is StepKind.FREEZE and step.wanted.get("locked") is False
