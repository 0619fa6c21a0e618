"""What the emulated Vercel keeps: builds, aliases, alias jobs, rolling releases."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from taly.sandbox.emulator import Outcome

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

BUILD_S = 60.0
"""Virtual seconds from a push to a production deployment that is ready."""
JOB_STARTS_S = 2.0
"""Virtual seconds for which an alias job is `pending`."""
JOB_S = 12.0
"""Virtual seconds from a rollback or promote request to the end of its alias job."""
ROLLOUT_S = 600.0
"""Virtual seconds that a rolling release takes."""
LATE_FAILURE_S = 300.0
"""Virtual seconds for which a `failed-late` deployment serves before someone rolls it back."""
LATE_PROMOTE_S = 60.0
"""Virtual seconds after which that person promotes the good one, which restores auto-assign."""
DELETED_BY_RETENTION = "DEPLOYMENT_DELETED"


def identifier(prefix: str, *parts: str) -> str:
    """An id in the vendor's form, the same for the same parts."""
    digest = hashlib.sha256("/".join(parts).encode()).digest()
    return f"{prefix}_{''.join(ALPHABET[byte % len(ALPHABET)] for byte in digest[:28])}"


def ms(instant: datetime) -> int:
    """Milliseconds since 1970, as the vendor writes time."""
    return int(instant.timestamp() * 1000)


@dataclass(slots=True, kw_only=True)
class Build:
    """One deployment."""

    id: str
    host: str
    commit: str
    message: str
    outcome: Outcome
    created_at: datetime
    state: Literal["BUILDING", "READY", "ERROR", "CANCELED"] = "BUILDING"
    substate: Literal["", "STAGED", "ROLLING", "PROMOTED"] = ""
    ready_at: datetime | None = None
    assigned_at: datetime | None = None
    """When production aliases were assigned to it."""
    target: Literal["production", "preview"] = "production"
    gone: bool = False
    """Removed by the retention policy."""

    @property
    def served(self) -> bool:
        """Whether production traffic ever reached it."""
        return self.substate == "PROMOTED"


@dataclass(slots=True, kw_only=True)
class Alias:
    """A name under which users reach the project."""

    domain: str
    in_settings: bool = True
    """False: made by hand (`vercel alias set`); rollbacks and promotes leave it where it is."""
    deployment: str = ""
    redirect: str | None = None
    target: Literal["PRODUCTION", "STAGING", "PREVIEW"] = "PRODUCTION"

    @property
    def moves(self) -> bool:
        """Whether going live moves it."""
        return self.in_settings and self.redirect is None and self.target == "PRODUCTION"


@dataclass(slots=True, kw_only=True)
class Job:
    """A request to move the production aliases."""

    type: Literal["rollback", "promote"]
    from_id: str | None
    to_id: str
    requested_at: datetime
    status: str = "pending"
    spoilt: str = ""
    """The kind of the fault that decides its end; empty = it does its work."""

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.status in ("pending", "in-progress")


@dataclass(slots=True, kw_only=True)
class Rollout:
    """A rolling release."""

    current: str
    canary: str
    started_at: datetime
    state: Literal["ACTIVE", "COMPLETE", "ABORTED"] = "ACTIVE"
    queued: str | None = None
    percentage: int = 10


@dataclass(slots=True, kw_only=True)
class EnvVar:
    """An environment variable's name; its value is not kept."""

    key: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """A project's switches; the scenario's component settings, unknown ones refused."""

    plan: Literal["hobby", "pro", "enterprise"] = "pro"
    team: str = "taly"
    """The owning team's slug; empty = a personal account (which the hobby plan always is)."""
    domain: str = ""
    """The custom domain in the project's settings; empty = `<name>.example.com`."""
    retention_days: int = 365
    keep: int = 10
    """The newest production deployments that retention spares."""
    env: tuple[str, ...] = ("API_URL", "SENTRY_DSN")
    already_current: int = 409
    """409 or 422: what a rollback to the live deployment answers."""
    rollback_body: bool = False
    """Whether a rollback's 201 has a JSON body."""
    assigned_moves: bool = False
    """Whether a rollback renews `aliasAssigned` of the deployment that it makes live."""
    alias_lag_s: float = 0.0
    """Virtual seconds after a job's `succeeded` in which reads still show the old aliases."""
    gone_listed: bool = True
    """Whether lists still show what retention removed, as `softDeletedByRetention`."""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Switches":
        """The switches that a scenario names; TypeError for an unknown one."""
        given = dict(settings)
        if "env" in given:
            given["env"] = tuple(given["env"])
        if given.get("plan") == "hobby":
            given["team"] = ""
        return cls(**given)


@dataclass(slots=True, kw_only=True)
class ProjectData:
    """A project's data."""

    name: str
    switches: Switches
    created_at: datetime
    id: str = ""
    auto_assign: bool = True
    paused: bool = False
    role: Literal["owner", "viewer"] = "owner"
    aliases: list[Alias] = field(default_factory=list)
    builds: list[Build] = field(default_factory=list)
    """Oldest first."""
    served: list[str] = field(default_factory=list)
    """Ids in the order in which they went live; a rollback appends again."""
    job: Job | None = None
    job_history: list[Job] = field(default_factory=list)
    failed_aliases: list[str] = field(default_factory=list)
    rollout: Rollout | None = None
    rollback_target: str | None = None
    env: list[EnvVar] = field(default_factory=list)
    updated_at: datetime | None = None

    def build(self, id_or_host: str) -> Build | None:
        """The build of that id, URL or alias."""
        by_alias = {alias.domain: alias.deployment for alias in self.aliases}
        wanted = by_alias.get(id_or_host, id_or_host)
        return next((one for one in self.builds if wanted in (one.id, one.host)), None)

    @property
    def live(self) -> str:
        """The id that the production alias points to; empty before the first deployment."""
        return self.aliases[0].deployment

    @property
    def previous(self) -> str:
        """The id that was live before what is live now; empty if there was none."""
        earlier = [one for one in self.served if one != self.live]
        return earlier[-1] if earlier else ""
