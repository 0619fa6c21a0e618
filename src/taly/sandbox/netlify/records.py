"""What the emulated Netlify keeps: deploys, what is yet to happen, and a site's switches."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal

BUILDING = ("enqueued", "building", "uploading", "processing")
"""The states of a deploy that is on its way, as far as this emulator makes them."""
FINISHED = ("ready", "old")


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """How one site behaves. The ones marked [?] are not established: clients must bear both."""

    plan: Literal["free", "pro"] = "pro"
    retention_days: float | None = None
    """After how many days a deploy is deleted; None = 30 on free, 90 on pro."""
    lock_follows: Literal["deploy", "site"] = "deploy"
    """[?] deploy: publishing another deploy ends the lock; site: the lock stays."""
    restore_when_locked: Literal["allowed", "refused"] = "allowed"
    """[?] Whether another deploy can be published by hand while the site is locked."""
    lock_allowed: bool = True
    """[?] False: the plan has no locks, and the call is refused with 403."""
    restore_delay_s: float = 12.0
    """Virtual seconds from the 201 of a restore until it is published."""
    build_s: float = 90.0
    """Virtual seconds that a production build takes."""
    old_after: int = 2
    """How many superseded deploys still read `ready`; older ones read the undocumented `old`."""

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Switches":
        """The switches among a sandbox component's settings; ValueError for an unknown one."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(settings.keys() - known):
            raise ValueError(f"netlify: unknown settings {unknown}; known: {sorted(known)}")
        return cls(**settings)

    @property
    def keep_days(self) -> float:
        """Days until a deploy that is not kept for another reason is deleted."""
        if self.retention_days is not None:
            return self.retention_days
        return 30.0 if self.plan == "free" else 90.0


@dataclass(slots=True, kw_only=True)
class DeployRecord:
    """One deploy of one site."""

    id: str
    commit: str
    title: str
    branch: str
    context: str
    state: str
    created_at: datetime
    updated_at: datetime
    published_at: datetime | None = None
    """When it was published last: publishing it again overwrites this, as at Netlify."""
    error_message: str | None = None
    broken: bool = False
    """Its page is an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that happens to a site at a known instant."""

    at: datetime
    what: Literal["state", "ready", "error", "publish"]
    deploy: str
    state: str = ""


def instant(at: datetime | None) -> str | None:
    """A timestamp as Netlify writes it, in milliseconds."""
    if at is None:
        return None
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
