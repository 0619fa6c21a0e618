"""What Vercel answers, as far as we read it; shapes after the vendor's own SDK.

Enumerations stay text: an unknown value is something to tolerate, never a crash.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field

from taly.providers.payload import Payload

PRODUCTION = "PRODUCTION"
RUNNING_JOB = ("pending", "in-progress")
BUILDING = ("BUILDING", "INITIALIZING", "QUEUED")
END_MS = 253_402_300_800_000
"""The year 10000."""
SHA_KEYS = ("githubCommitSha", "gitlabCommitSha", "bitbucketCommitSha", "gitCommitSha")


def _instant(value: Any) -> datetime | None:
    """Milliseconds since 1970; `aliasAssigned` may also be a boolean, which says no time.

    ValueError for what is no time of the years 1970 to 9999.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value < END_MS:
        raise ValueError("no time")
    return datetime.fromtimestamp(value / 1000, tz=UTC)


Instant = Annotated[datetime | None, BeforeValidator(_instant)]


class Build(Payload):
    """A deployment: from a list (`uid`), by itself, or within a project (`id`)."""

    id: str = Field(validation_alias=AliasChoices("uid", "id"))
    url: str = ""
    state: str = Field("", validation_alias=AliasChoices("readyState", "state"))
    substate: str | None = Field(None, alias="readySubstate")
    target: str | None = None
    plan: str = ""
    meta: dict[str, Any] = Field(default_factory=dict)
    created: Instant = Field(None, validation_alias=AliasChoices("created", "createdAt"))
    ready: Instant = Field(None, validation_alias=AliasChoices("ready", "readyAt"))
    assigned: Instant = Field(
        None, validation_alias=AliasChoices("aliasAssignedAt", "aliasAssigned")
    )
    candidate: bool | None = Field(None, alias="isRollbackCandidate")
    removed: bool = Field(False, alias="softDeletedByRetention")
    expires: Instant = Field(None, alias="expiration")

    @property
    def commit(self) -> str:
        """The git commit, whichever host it came from; empty when the vendor does not say."""
        return next((str(self.meta[key]) for key in SHA_KEYS if self.meta.get(key)), "")

    @property
    def label(self) -> str:
        """What a person recognises it by."""
        return self.commit[:7] or self.id.removeprefix("dpl_")[:10]

    @property
    def is_building(self) -> bool:
        """Whether it may still become a production deployment."""
        return self.state in BUILDING

    @property
    def served(self) -> bool:
        """Whether production traffic reached it: PROMOTED, not STAGED."""
        if self.state != "READY":
            return False
        if self.substate is None:  # older deployments do not say
            return self.candidate is True or self.assigned is not None
        return self.substate in ("PROMOTED", "ROLLING")


class Alias(Payload):
    """One of `project.alias[]`."""

    domain: str
    target: str = PRODUCTION
    redirect: str | None = None
    deployment: Build | None = None

    @property
    def is_production(self) -> bool:
        """Whether users reach production by it."""
        return self.redirect is None and self.target == PRODUCTION

    @property
    def points_to(self) -> str:
        """The id of the deployment that it shows; empty = none."""
        return self.deployment.id if self.deployment else ""


class Job(Payload):
    """`lastAliasRequest`: the last rollback or promote that was asked for."""

    to_id: str = Field(alias="toDeploymentId")
    from_id: str | None = Field(None, alias="fromDeploymentId")
    status: str = Field("", alias="jobStatus")
    requested: Instant = Field(None, alias="requestedAt")
    type: str = ""

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.status in RUNNING_JOB

    @property
    def name(self) -> str:
        """What names it, since the vendor gives it no id."""
        at = self.requested.isoformat() if self.requested else "?"
        return f"{self.type}:{self.to_id}:{at}"


class Project(Payload):
    """A project, read with `rollbackInfo=true`."""

    id: str
    name: str
    account: str = Field("", alias="accountId")
    auto_assign: bool = Field(True, alias="autoAssignCustomDomains")
    aliases: tuple[Alias, ...] = Field((), alias="alias")
    targets: Mapping[str, Build | None] = Field(default_factory=dict)
    job: Job | None = Field(None, alias="lastAliasRequest")
    rolling: Any = Field(None, alias="rollingRelease")
    paused: bool = False
    permissions: Mapping[str, Any] = Field(default_factory=dict)
    updated: Instant = Field(None, alias="updatedAt")

    @property
    def production(self) -> Build | None:
        """What the vendor calls the current production deployment."""
        return self.targets.get("production")


class Rolling(Payload):
    """A rolling release."""

    state: str = ""
    canary: Build | None = Field(None, alias="canaryDeployment")
    started: Instant = Field(None, alias="startedAt")

    @property
    def is_active(self) -> bool:
        """Whether part of the traffic goes to the canary."""
        return self.state == "ACTIVE"

    @property
    def canary_id(self) -> str:
        """The id of the deployment that it leads to."""
        return self.canary.id if self.canary else ""


class EnvVar(Payload):
    """An environment variable: its name and times, never its value."""

    key: str
    target: list[str] | str = Field(default_factory=list)
    created: Instant = Field(None, alias="createdAt")
    updated: Instant = Field(None, alias="updatedAt")

    @property
    def is_production(self) -> bool:
        """Whether production builds get it."""
        return "production" in self.target
