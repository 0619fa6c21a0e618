"""How an emulated project behaves: pushes, alias jobs, rollbacks, promotes, retention."""

import heapq
import itertools
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal

from taly.sandbox.emulator import Deploy
from taly.sandbox.vercel.errors import ApiError
from taly.sandbox.vercel.model import (
    BUILD_S,
    DELETED_BY_RETENTION,
    JOB_S,
    JOB_STARTS_S,
    LATE_FAILURE_S,
    LATE_PROMOTE_S,
    ROLLOUT_S,
    Alias,
    Build,
    EnvVar,
    Job,
    ProjectData,
    Rollout,
    Switches,
    identifier,
)
from taly.sandbox.world import World

JOB_FAULTS = frozenset(
    {
        "alias-job-stale",
        "alias-job-absent",
        "alias-job-skipped",
        "alias-job-failed",
        "alias-partial",
        "job-false-success",
    }
)
"""How a rollback or promote goes wrong after its 201:

stale / absent: `lastAliasRequest` shows an older succeeded job of another deployment / nothing;
skipped, failed: the job ends so, nothing is moved; partial: it `succeeded`, one alias is left
behind; false-success: it `succeeded`, nothing was moved.
"""


class Project:
    """A project and what is still to happen to it. Its owner locks."""

    def __init__(self, world: World, name: str, switches: Switches) -> None:
        self._world = world
        now = world.clock.now()
        domain = switches.domain or f"{name}.example.com"
        self.data = ProjectData(
            name=name,
            switches=switches,
            created_at=now,
            id=identifier("prj", name),
            aliases=[Alias(domain=f"{name}.vercel.app"), Alias(domain=domain)],
            env=[EnvVar(key=key, created_at=now, updated_at=now) for key in switches.env],
        )
        self._agenda: list[tuple[datetime, int, Callable[[datetime], None]]] = []
        self._numbers = itertools.count()

    # What is to come ---------------------------------------------------------------------

    def later(self, at: datetime, seconds: float, what: Callable[[datetime], None]) -> None:
        """Do `what` that many virtual seconds after `at`."""
        due = at + timedelta(seconds=seconds)
        heapq.heappush(self._agenda, (due, next(self._numbers), what))

    def catch_up(self, now: datetime) -> None:
        """Let everything happen that is due, each at its own instant; then apply retention."""
        while self._agenda and self._agenda[0][0] <= now:
            due, _, what = heapq.heappop(self._agenda)
            what(due)
        self._expire(now)

    def _expire(self, now: datetime) -> None:
        oldest = now - timedelta(days=self.data.switches.retention_days)
        production = [one for one in self.data.builds if one.state == "READY"]
        aliased = {alias.deployment for alias in self.data.aliases}
        for build in production[: -self.data.switches.keep or None]:
            if build.created_at < oldest and build.id not in aliased:
                build.gone = True

    # Deploys -----------------------------------------------------------------------------

    def push(self, deploy: Deploy, at: datetime, *, late_s: float = LATE_FAILURE_S) -> Build:
        """A production build begins; a `failed-late` one is rolled back after `late_s`."""
        data = self.data
        number = str(len(data.builds))
        id_ = identifier("dpl", data.name, number, deploy.commit)
        build = Build(
            id=id_,
            host=f"{data.name}-{id_[4:13].lower()}-{data.switches.team or 'me'}.vercel.app",
            commit=deploy.commit,
            message=deploy.message,
            outcome=deploy.outcome,
            created_at=at,
        )
        for key in deploy.settings.get("env", ()):
            self.set_env(key, at)
        data.builds.append(build)
        self.later(at, _build_s(deploy), lambda due: self._built(build, due, late_s))
        return build

    def seed(self, deploy: Deploy, at: datetime) -> None:
        """A deploy of the past, over and done with at that instant."""
        seconds = _build_s(deploy)
        late_s = LATE_FAILURE_S
        if deploy.outcome == "failed-late":
            after = 2 * JOB_S + LATE_PROMOTE_S
            earlier = max((one.ready_at for one in self.data.builds if one.ready_at), default=None)
            if earlier is not None:  # it went live after the one that is promoted again
                room = (at - earlier).total_seconds() - _build_s(deploy) - after
                late_s = max(1.0, min(LATE_FAILURE_S, room))
            seconds += late_s + after
        self.push(deploy, at - timedelta(seconds=seconds), late_s=late_s)
        self.catch_up(at)

    def _built(self, build: Build, at: datetime, late_s: float) -> None:
        if build.state != "BUILDING":
            return
        if build.outcome == "failed":
            build.state = "ERROR"
            return
        build.state, build.ready_at, build.substate = "READY", at, "STAGED"
        if not self.data.auto_assign:
            return
        earlier = self.data.live
        self._go_live(build, at)
        if build.outcome == "failed-late" and earlier:
            self.later(at, late_s, lambda due: self._revert_by_hand(earlier, due))

    def _revert_by_hand(self, good: str, at: datetime) -> None:
        self._ask("rollback", good, at)
        self.later(at, JOB_S + LATE_PROMOTE_S, lambda due: self._ask("promote", good, due))

    def _go_live(self, build: Build, at: datetime, *, spare: int = 0) -> None:
        """Point the aliases to the build, all but the last `spare` of them."""
        moving = [alias for alias in self.data.aliases if alias.moves]
        for alias in moving[: len(moving) - spare]:
            alias.deployment = build.id
        build.substate = "PROMOTED"
        if build.assigned_at is None or self.data.switches.assigned_moves:
            build.assigned_at = at
        self.data.served.append(build.id)
        self.data.updated_at = at

    # Rollback and promote ----------------------------------------------------------------

    def rollback(self, deployment: str, at: datetime) -> None:
        """POST …/rollback/{deployment}; raises ApiError as the vendor refuses."""
        data = self.data
        build = self._eligible(deployment)
        if not build.served:
            raise ApiError(422, "invalid_rollback_target", "The deployment never served production")
        if build.id == data.live and not (data.rollout and data.rollout.state == "ACTIVE"):
            message = "The deployment is already the current production deployment"
            raise ApiError(data.switches.already_current, "already_current", message)
        if data.switches.plan == "hobby" and build.id != data.previous:
            message = "To roll back further than the previous production deployment, upgrade to pro"
            raise ApiError(402, "payment_required", message)
        self._refuse_a_second_job()
        self._ask("rollback", build.id, at)

    def promote(self, deployment: str, at: datetime) -> Literal["asked", "queued"]:
        """POST …/promote/{deployment}; `queued` = behind the active rolling release."""
        data = self.data
        build = self._eligible(deployment)
        if build.id == data.live and data.auto_assign:
            raise ApiError(409, "already_current", "The deployment is already in production")
        self._refuse_a_second_job()
        if data.rollout is not None and data.rollout.state == "ACTIVE":
            data.rollout.queued = build.id
            return "queued"
        self._ask("promote", build.id, at)
        return "asked"

    def _eligible(self, deployment: str) -> Build:
        build = self.data.build(deployment)
        if build is None:
            raise ApiError(404, "not_found", "The deployment was not found")
        if build.gone:
            raise ApiError(410, DELETED_BY_RETENTION, "The deployment was deleted")
        if build.target != "production" or build.state != "READY":
            raise ApiError(422, "invalid_target", "Not a ready production deployment")
        return build

    def _refuse_a_second_job(self) -> None:
        if self.data.job is not None and self.data.job.running:
            raise ApiError(409, "conflict", "Another rollback or promote is already in progress")

    def _ask(self, kind: Literal["rollback", "promote"], to: str, at: datetime) -> None:
        data = self.data
        fault = self._world.faults.take(
            vendor="vercel", component=data.name, call=kind, kinds=JOB_FAULTS
        )
        spoilt = fault.kind if fault else ""
        if spoilt == "alias-job-absent":
            data.job = None
            return
        if spoilt == "alias-job-stale":
            data.job = self._older_job(to, at)
            return
        job = Job(type=kind, from_id=data.live or None, to_id=to, requested_at=at, spoilt=spoilt)
        data.job = job
        data.job_history.append(job)
        data.failed_aliases = []
        self.later(at, JOB_STARTS_S, lambda _: self._start(job))
        self.later(at, JOB_S, lambda due: self._finish(job, due))

    def _older_job(self, not_to: str, at: datetime) -> Job:
        """A succeeded job of another deployment, recent enough to mislead the vendor's CLI."""
        other = next((one.id for one in self.data.builds if one.id != not_to), not_to)
        before = at - timedelta(seconds=90)
        return Job(
            type="rollback", from_id=None, to_id=other, requested_at=before, status="succeeded"
        )

    def _start(self, job: Job) -> None:
        job.status = "in-progress"

    def _finish(self, job: Job, at: datetime) -> None:
        data = self.data
        build = data.build(job.to_id)
        moving = [alias.domain for alias in data.aliases if alias.moves]
        if job.spoilt == "alias-job-skipped":
            job.status = "skipped"
            return
        if job.spoilt == "alias-job-failed" or build is None or build.gone:
            job.status, data.failed_aliases = "failed", moving
            return
        job.status = "succeeded"
        if job.spoilt == "job-false-success":
            return
        data.failed_aliases = moving[-1:] if job.spoilt == "alias-partial" else []
        self.later(at, data.switches.alias_lag_s, lambda due: self._move(job, build, due))

    def _move(self, job: Job, build: Build, at: datetime) -> None:
        """What a job that succeeded changes."""
        data = self.data
        self._go_live(build, at, spare=len(data.failed_aliases))
        data.auto_assign = job.type == "promote"
        data.rollback_target = job.to_id if job.type == "rollback" else None
        if data.rollout is not None and data.rollout.state == "ACTIVE":
            self._end_rollout(data.rollout, "ABORTED")

    # Rolling releases, settings ----------------------------------------------------------

    def start_rollout(self, canary: Build, at: datetime) -> None:
        """A rolling release toward a staged deployment begins."""
        rollout = Rollout(current=self.data.live, canary=canary.id, started_at=at)
        canary.substate = "ROLLING"
        self.data.rollout = rollout
        self.later(at, ROLLOUT_S, lambda due: self._complete(rollout, due))

    def _complete(self, rollout: Rollout, at: datetime) -> None:
        if rollout.state != "ACTIVE":
            return
        self._end_rollout(rollout, "COMPLETE")
        canary = self.data.build(rollout.canary)
        if canary is not None:
            self._go_live(canary, at)
        if rollout.queued is not None:
            self._ask("promote", rollout.queued, at)

    def _end_rollout(self, rollout: Rollout, state: Literal["COMPLETE", "ABORTED"]) -> None:
        rollout.state = state
        canary = self.data.build(rollout.canary)
        if canary is not None and canary.substate == "ROLLING":
            canary.substate = "PROMOTED"

    def cancel(self, build: Build) -> None:
        """Stop a build; ApiError if it is none any more."""
        if build.state != "BUILDING":
            raise ApiError(400, "bad_request", "Deployment can not be canceled: it is not building")
        build.state = "CANCELED"

    def set_env(self, key: str, at: datetime) -> None:
        """An environment variable is added or changed in the project's settings."""
        for variable in self.data.env:
            if variable.key == key:
                variable.updated_at = at
                return
        self.data.env.append(EnvVar(key=key, created_at=at, updated_at=at))


def _build_s(deploy: Deploy) -> float:
    """Virtual seconds that its build takes: the deploy's setting `build_s`, else the usual."""
    return float(deploy.settings.get("build_s", BUILD_S))
