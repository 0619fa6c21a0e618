"""What preflight asks Netlify about one step, and says about it."""

from datetime import datetime, timedelta

from taly.errors import VendorError, VendorRefused
from taly.model.check import Finding, Severity
from taly.model.plan import Step, StepKind
from taly.model.release import Barred, Gone, Restorable
from taly.providers.netlify.api import NetlifyApi
from taly.providers.netlify.history import is_in_flight, restorability
from taly.providers.netlify.payloads import DeployPayload, SitePayload
from taly.providers.netlify.steps import cancel_id

SOON = timedelta(days=1)
"""A target that retention deletes within this time is warned about."""


def findings(api: NetlifyApi, step: Step, now: datetime) -> tuple[Finding, ...]:
    """Whether `act` would work; every failing read is a finding, never an exception."""
    try:
        site = api.site(step.address["site"])
    except VendorError as error:
        return (_failed_read(step, error),)
    if step.kind is not StepKind.ROLL_BACK:
        return ()
    try:
        deploys = api.production_deploys(site.id)
    except VendorError as error:
        return (_failed_read(step, error),)
    target = _target(api, step, deploys)
    found = [target] if isinstance(target, Finding) else _about_target(step, site, target, now)
    return (*found, *_about_builds(step, site, deploys, now))


def _target(api: NetlifyApi, step: Step, deploys: list[DeployPayload]) -> DeployPayload | Finding:
    wanted = str(step.wanted["deploy"])
    for deploy in deploys:
        if deploy.id == wanted:
            return deploy
    try:
        return api.deploy(wanted)
    except VendorRefused as error:
        if error.reference not in ("netlify-not-found", "netlify-gone"):
            return _failed_read(step, error)
        text = f"deploy {wanted} is no longer at Netlify (retention, or deleted by hand)"
        return _error(step, "target-gone", text, "taly releases")
    except VendorError as error:
        return _failed_read(step, error)


def _about_target(
    step: Step, site: SitePayload, target: DeployPayload, now: datetime
) -> list[Finding]:
    if target.site_id and target.site_id != site.id:
        text = f"deploy {target.id} belongs to another site ({target.site_id})"
        return [_error(step, "target-gone", text, "taly releases")]
    match restorability(site, target):
        case Barred(reason=reason, reference=reference):
            text = f"deploy {target.id} cannot be published: {reason}"
            return [_error(step, reference, text, "taly releases")]
        case Gone(reason=reason):
            return [_error(step, "target-gone", reason, "taly releases")]
        case Restorable(until=until) if until is not None and until - now < SOON:
            when = f"on {until:%d %B %Y}" if until > now else "any time now"
            text = f"Netlify is expected to delete deploy {target.id} {when}"
            return [_finding(step, "retention-soon", Severity.WARNING, text, "taly rollback")]
        case Restorable():
            return []


def _about_builds(
    step: Step, site: SitePayload, deploys: list[DeployPayload], now: datetime
) -> list[Finding]:
    """Builds that the plan does not cancel; a locked site's publish only once it is unlocked."""
    severity = Severity.WARNING if site.locked else Severity.ERROR
    return [
        _finding(
            step,
            "operation-in-flight",
            severity,
            f"the plan does not stop production build {deploy.id} ({deploy.label}, {deploy.state}),"
            " which may publish over the target",
            "taly status --watch",
        )
        for deploy in deploys
        if is_in_flight(deploy, now) and cancel_id(step.component, deploy.id) not in step.needs
    ]


def _failed_read(step: Step, error: VendorError) -> Finding:
    return _error(step, error.reference, error.message, error.hint)


def _error(step: Step, code: str, text: str, hint: str) -> Finding:
    return _finding(step, code, Severity.ERROR, text, hint)


def _finding(step: Step, code: str, severity: Severity, text: str, hint: str) -> Finding:
    return Finding(code=code, severity=severity, component=step.component, text=text, hint=hint)
