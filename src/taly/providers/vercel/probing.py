"""Where a project stands, seen from a step.

`jobStatus` is never proof. A job is ours only if its target, type and time fit; and only the
production names themselves, every one of them, say that it did its work.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from taly.errors import VendorRefused
from taly.model.plan import Step, StepKind
from taly.model.ports import Attempt, Clock, Failed, InFlight, Other, Probe, Wanted
from taly.model.release import Evidence
from taly.providers.vercel.aliases import Serving, serving
from taly.providers.vercel.client import Scope, VercelApi, gone, scope_of
from taly.providers.vercel.payloads import Job, Project, Rolling
from taly.providers.vercel.steps import BUILD, JOB, ROLLOUT

SKEW_S = 60.0
"""How far the vendor's clock and ours may be apart."""
GRACE_S = 180.0
"""Seconds after a request in which its job, or the aliases after it, may still be on their way."""
PROJECT_CALL = "GET /v9/projects/{id}?rollbackInfo=true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """All that was read for one probe."""

    step: Step
    attempt: Attempt | None
    project: Project
    rolling: Rolling | None
    serving: Serving
    at: datetime

    @property
    def wanted(self) -> str:
        """The deployment id that the step wants; empty = the step is about the setting alone."""
        return str(self.step.wanted.get("deployment") or "")

    @property
    def type(self) -> str:
        """The vendor's verb that leads there: only a promote turns auto-assignment on."""
        return "promote" if self.step.wanted.get("auto_assign") else "rollback"

    @property
    def state(self) -> Mapping[str, str | bool]:
        """What is there now, under the step's keys."""
        return {"deployment": self.serving.live, "auto_assign": self.project.auto_assign}

    def evidence(self, says: str) -> tuple[Evidence, ...]:
        """One piece of evidence: what the project said."""
        return (Evidence(call=PROJECT_CALL, at=self.at, says=says),)


def probe(api: VercelApi, clock: Clock, step: Step, attempt: Attempt | None) -> Probe:
    """Where the component stands, seen from `step.wanted`."""
    scope = scope_of(step.address.get("team", ""))
    if step.kind is StepKind.CANCEL and BUILD in step.address:
        return _probe_build(api, clock, step, attempt, scope)
    project = api.project(step.address["project"], scope)
    if step.kind is StepKind.CANCEL and JOB in step.address:
        return _probe_foreign_job(project, step, clock.now())
    rolling = api.rolling_release(project, scope)
    if step.kind is StepKind.CANCEL:
        return _probe_rollout(rolling, step, attempt, clock.now())
    sight = Sight(
        step=step,
        attempt=attempt,
        project=project,
        rolling=rolling,
        serving=serving(project, rolling, pinned=step.address.get("pinned", "")),
        at=clock.now(),
    )
    return _probe_project(api, scope, sight)


def _probe_project(api: VercelApi, scope: Scope, sight: Sight) -> Probe:
    job = sight.project.job
    if sight.wanted and job is not None and job.is_running:
        return _under_way(sight, job)
    if _as_wanted(sight):
        names = ", ".join(sight.serving.shown) or "targets.production"
        said = f"{names} → {sight.serving.live}, auto-assign {_on(sight.project.auto_assign)}"
        return Wanted(state=sight.state, evidence=sight.evidence(said))
    if not sight.wanted or sight.attempt is None:
        return Other(state=sight.state, evidence=sight.evidence(_elsewhere(sight)))
    if sight.attempt.receipt.get("queued") and sight.serving.canary:
        return _waits(sight, "queued behind a rolling release")
    if sight.attempt.receipt.get("type") == "settings":
        return Other(state=sight.state, evidence=sight.evidence(_elsewhere(sight)))
    if job is not None and _is_ours(job, sight.attempt, sight):
        return _after_our_job(api, scope, sight, job)
    return _without_our_job(sight, job)


def _as_wanted(sight: Sight) -> bool:
    wanted = sight.step.wanted
    if "auto_assign" in wanted and wanted["auto_assign"] != sight.project.auto_assign:
        return False
    return not sight.wanted or sight.serving.is_all(sight.wanted)


def _under_way(sight: Sight, job: Job) -> InFlight:
    same = job.to_id == sight.wanted and job.type == sight.type
    return InFlight(
        operation=job.name,
        same_target=same,
        evidence=sight.evidence(f"{job.type} to {job.to_id}: {job.status}"),
        what=f"{job.type} to {job.to_id[:12]}… is {job.status}",
    )


def _waits(sight: Sight, why: str) -> InFlight:
    return InFlight(
        operation=f"{sight.type}:{sight.wanted}",
        same_target=True,
        evidence=sight.evidence(why),
        what=why,
    )


def _asked_at(attempt: Attempt) -> datetime:
    """When the vendor took our request, by its own clock if it said so."""
    said = attempt.receipt.get("accepted_at")
    return datetime.fromisoformat(said) if said else attempt.intended_at


def _is_ours(job: Job, attempt: Attempt, sight: Sight) -> bool:
    """Whether the job is the one that our write began: same target, same type, not older."""
    if job.requested is None or job.to_id != sight.wanted or job.type != sight.type:
        return False
    return job.requested >= _asked_at(attempt) - timedelta(seconds=SKEW_S)


def _after_our_job(api: VercelApi, scope: Scope, sight: Sight, job: Job) -> Probe:
    """Our job ended, or says something unknown, and the names are not as wanted."""
    if job.status in ("failed", "skipped"):
        failed = ", ".join(api.failed_aliases(sight.project.id, scope)) or "no name was given"
        return Failed(
            reason=f"Vercel's {job.type} ended as {job.status} ({failed})",
            evidence=sight.evidence(f"lastAliasRequest: {job.status}"),
        )
    by_hand = set(sight.step.address.get("uncovered", "").split(",")) - {""}
    strays = sight.serving.strays(sight.wanted)
    only_by_hand = bool(strays) and set(strays) <= by_hand
    if _waited_s(sight) < GRACE_S and not (only_by_hand and job.status == "succeeded"):
        return _waits(sight, f"the {job.type} says {job.status}; the names do not show it yet")
    return Failed(
        reason=f"Vercel calls the {job.type} {job.status or 'nothing'}, and {_elsewhere(sight)}",
        evidence=sight.evidence(f"lastAliasRequest: {job.status}; {_elsewhere(sight)}"),
    )


def _waited_s(sight: Sight) -> float:
    """Seconds since our request, by our own clock alone: the vendor's may differ."""
    assert sight.attempt is not None
    return (sight.at - sight.attempt.intended_at).total_seconds()


def _without_our_job(sight: Sight, job: Job | None) -> Probe:
    """The names are not as wanted, and the project's last job is not ours, or there is none."""
    assert sight.attempt is not None
    shown = f"a {job.status} {job.type} to {job.to_id}" if job else "no job"
    if not sight.attempt.receipt:
        said = f"lastAliasRequest: {shown}, not ours; {_elsewhere(sight)}"
        return Other(state=sight.state, evidence=sight.evidence(said))
    asked = _asked_at(sight.attempt)
    if job is not None and job.requested is not None and job.requested > asked:
        reason = f"someone else asked for a {job.type} to {job.to_id} after us"
        return Failed(reason=reason, evidence=sight.evidence(f"lastAliasRequest: {shown}"))
    if _waited_s(sight) < GRACE_S:
        return _waits(sight, f"accepted; Vercel shows {shown} so far")
    return Failed(
        reason=f"Vercel accepted the {sight.type} and shows {shown} for it; {_elsewhere(sight)}",
        evidence=sight.evidence(f"lastAliasRequest: {shown}"),
    )


def _elsewhere(sight: Sight) -> str:
    """What is not as wanted, in words."""
    if sight.wanted:
        strays = sight.serving.strays(sight.wanted)
        if strays:
            return ", ".join(f"{name} shows {sight.serving.shown[name]}" for name in strays)
        if sight.serving.named != sight.wanted:
            return f"targets.production is {sight.serving.named or 'nothing'}"
        if sight.serving.canary not in ("", sight.wanted):
            return f"a rolling release sends traffic to {sight.serving.canary}"
    return f"auto-assign is {_on(sight.project.auto_assign)}"


def _on(value: bool) -> str:
    return "on" if value else "off"


def _probe_build(
    api: VercelApi, clock: Clock, step: Step, attempt: Attempt | None, scope: Scope
) -> Probe:
    """A production build: wanted is that it can publish no more."""
    call, at = "GET /v13/deployments/{id}", clock.now()
    try:
        build = api.deployment(step.address[BUILD], scope)
    except VendorRefused as error:
        if not gone(error):
            raise
        return Wanted(state={}, evidence=(Evidence(call=call, at=at, says="it is deleted"),))
    evidence = (Evidence(call=call, at=at, says=f"readyState {build.state}"),)
    if not build.is_building:
        return Wanted(state={}, evidence=evidence)
    if attempt is not None and attempt.receipt:
        what = f"the build of {build.label} is being cancelled"
        return InFlight(operation=build.id, same_target=True, evidence=evidence, what=what)
    return Other(state={}, evidence=evidence)


def _probe_foreign_job(project: Project, step: Step, at: datetime) -> Probe:
    """Someone else's job: wanted is that it has ended, whatever its end."""
    job = project.job
    said = f"{job.type} to {job.to_id}: {job.status}" if job else "no job"
    evidence = (Evidence(call=PROJECT_CALL, at=at, says=said),)
    if job is None or not job.is_running:
        return Wanted(state={}, evidence=evidence)
    return InFlight(
        operation=job.name, same_target=job.name == step.address[JOB], evidence=evidence, what=said
    )


def _probe_rollout(
    rolling: Rolling | None, step: Step, attempt: Attempt | None, at: datetime
) -> Probe:
    """A rolling release: wanted is that it sends nobody to its canary any more."""
    said = rolling.state if rolling else "there is none"
    evidence = (Evidence(call="GET /v1/projects/{id}/rolling-release", at=at, says=said),)
    if rolling is None or not rolling.is_active or rolling.canary_id != step.address[ROLLOUT]:
        return Wanted(state={}, evidence=evidence)
    if attempt is None or not attempt.receipt:
        return Other(state={}, evidence=evidence)
    if (at - attempt.intended_at).total_seconds() >= GRACE_S:
        reason = "Vercel accepted the rollback that stops the rolling release, and it still runs"
        return Failed(reason=reason, evidence=evidence)
    what = "the rolling release is being stopped"
    return InFlight(
        operation=f"{ROLLOUT}:{rolling.canary_id}", same_target=True, evidence=evidence, what=what
    )
