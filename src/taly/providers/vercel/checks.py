"""Preflight: what can be seen beforehand of every refusal that a rollback may meet."""

from collections.abc import Iterator

from taly.errors import VendorRefused
from taly.model.check import Finding, Severity
from taly.model.plan import Step, StepKind
from taly.model.ports import Clock
from taly.providers.vercel.aliases import serving
from taly.providers.vercel.client import VercelApi, scope_of
from taly.providers.vercel.history import Past, deployments, is_hobby
from taly.providers.vercel.payloads import Build, Job, Project

ROLLBACK_RIGHT, PROMOTE_RIGHT = "deploymentRollback", "deploymentPromote"
REFUSED_READS = frozenset({"vercel-not-found", "vercel-scope", "vercel-token-invalid"})
"""What refused reads say about the user's set-up; any other refusal is nobody's finding."""


class Checks:
    """The checks of one step, by reads alone."""

    def __init__(self, api: VercelApi, clock: Clock, step: Step) -> None:
        self._api, self._clock, self._step = api, clock, step
        self._scope = scope_of(step.address.get("team", ""))
        self._promotes = bool(step.wanted.get("auto_assign"))

    def run(self) -> tuple[Finding, ...]:
        """Every finding; a read that is refused is one."""
        if self._step.kind not in (StepKind.ROLL_BACK, StepKind.FREEZE, StepKind.THAW):
            return ()
        try:
            project = self._api.project(self._step.address["project"], self._scope)
            return tuple(self._findings(project))
        except VendorRefused as error:
            if error.reference not in REFUSED_READS:
                raise
            return (self._error(error.reference, error.message, error.hint),)

    def _findings(self, project: Project) -> Iterator[Finding]:
        if project.paused:
            text = "the project is paused: no visitor reaches any deployment"
            yield self._error("vercel-paused", text, "resume the project in Vercel's dashboard")
        yield from self._rights(project)
        target = str(self._step.wanted.get("deployment") or "")
        if not target:
            return
        yield from self._operations(project, target)
        yield from self._aliases(project)
        yield from self._target(project, target)

    def _rights(self, project: Project) -> Iterator[Finding]:
        right = PROMOTE_RIGHT if self._promotes else ROLLBACK_RIGHT
        said = project.permissions
        if said and not said.get(right):
            text = f"the token's role on {project.name} does not show the right {right}"
            yield self._warning("vercel-role", text, "use the token of a member who may deploy")

    def _operations(self, project: Project, target: str) -> Iterator[Finding]:
        job = project.job
        if job is not None and job.is_running and not self._is_adoptable(job, target):
            text = f"a {job.type} to {job.to_id} is {job.status}; Vercel runs one at a time"
            yield self._warning("vercel-conflict", text, "taly status")
        rolling = self._api.rolling_release(project, self._scope)
        if rolling is not None and rolling.is_active:
            does = "queues behind" if self._promotes else "stops"
            text = f"a rolling release to {rolling.canary_id} is under way; this {does} it"
            yield self._warning("vercel-rolling-release", text, "taly status")

    def _is_adoptable(self, job: Job, target: str) -> bool:
        return job.to_id == target and job.type == ("promote" if self._promotes else "rollback")

    def _aliases(self, project: Project) -> Iterator[Finding]:
        by_hand = self._step.address.get("uncovered", "")
        if by_hand:
            text = f"not in the project's domain settings, so Vercel will not move it: {by_hand}"
            hint = f"vercel domains add <name> {project.name}"
            yield self._warning("vercel-alias-uncovered", text, hint)

    def _target(self, project: Project, target: str) -> Iterator[Finding]:
        try:
            build = self._api.deployment(target, self._scope)
        except VendorRefused as error:
            missing = error.reference in ("target-gone", "vercel-not-found")
            if not missing:
                raise
            text = f"deployment {target} is no longer at Vercel"
            yield self._error("target-gone", text, "taly releases")
            return
        yield from self._eligible(project, build)

    def _eligible(self, project: Project, build: Build) -> Iterator[Finding]:
        if build.removed:
            text = f"deployment {build.label} was removed by the retention policy"
            yield self._error("target-gone", text, "taly releases")
        elif build.state != "READY" or build.target not in (None, "production"):
            text = f"deployment {build.label} is {build.state}, target {build.target}"
            yield self._error("vercel-invalid-target", text, "taly releases")
        elif not self._promotes and not build.served:
            text = f"deployment {build.label} is staged and never served production"
            yield self._error("never-served", text, "taly releases")
        elif not self._promotes and is_hobby(project):
            yield from self._hobby(project, build)

    def _hobby(self, project: Project, build: Build) -> Iterator[Finding]:
        past = Past(
            component=self._step.component,
            project=project,
            serving=serving(project, None, pinned=self._step.address.get("pinned", "")),
            builds=tuple(self._api.deployments(project.id, self._scope)),
            at=self._clock.now(),
        )
        known = {one.id: one.restorable for one in deployments(past)}
        found = known.get(build.id)
        if found is not None and found.kind == "barred":
            text = f"{build.label}: {found.reason}"
            yield self._error(found.reference, text, "taly releases")

    def _error(self, code: str, text: str, hint: str) -> Finding:
        return self._finding(Severity.ERROR, code, text, hint)

    def _warning(self, code: str, text: str, hint: str) -> Finding:
        return self._finding(Severity.WARNING, code, text, hint)

    def _finding(self, severity: Severity, code: str, text: str, hint: str) -> Finding:
        return Finding(
            code=code, severity=severity, component=self._step.component, text=text, hint=hint
        )
