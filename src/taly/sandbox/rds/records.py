"""moto's objects, with the states, times and endpoints of the servers that stand behind them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from moto.rds.models import DBInstance, rds_backends

from taly.sandbox.server import Server

BACKING_UP_S = 60.0
"""A new instance makes its first backup of its own before it is `available`."""


class EndpointInstance(DBInstance):
    """moto's instance, but where it is reached and until when it can be restored are real."""

    reached_at: tuple[str, int] | None = None
    restorable: datetime | None = None

    @property
    def endpoint(self) -> Any:
        """None until there is a server: RDS leaves it out."""
        if self.reached_at is None:
            return None
        return {"Address": self.reached_at[0], "Port": self.reached_at[1]}

    @property
    def latest_restorable_time(self) -> Any:
        """None where there are no automated backups."""
        return self.restorable


@dataclass(slots=True, kw_only=True)
class Kept:
    """A snapshot: a physical copy of a cluster."""

    identifier: str
    cluster: Path
    password: str
    begun_at: datetime
    done_at: datetime
    fails: bool = False

    def percent(self, now: datetime) -> int:
        """How much of it is copied."""
        whole = (self.done_at - self.begun_at).total_seconds()
        return min(100, int(100 * (now - self.begun_at).total_seconds() / whole)) if whole else 100

    def status(self, now: datetime) -> str:
        """As RDS names it."""
        if now < self.done_at:
            return "creating"
        return "failed" if self.fails else "available"


@dataclass(slots=True, kw_only=True)
class Running:
    """An instance: a real server."""

    identifier: str
    server: Server | None
    """None until a restored one was started."""
    done_at: datetime
    fails: bool = False
    deleted_at: datetime | None = None
    """When it will be gone."""
    archive: Path | None = None
    """Where its write-ahead log is kept."""
    base: Path | None = None
    """The copy from which the log is replayed."""
    problem: list[str] = field(default_factory=list)

    def status(self, now: datetime) -> str:
        """As RDS names it."""
        if self.deleted_at is not None:
            return "deleting"
        if self.problem or (self.fails and now >= self.done_at):
            return "incompatible-restore"
        if now < self.done_at or self.server is None:
            return "creating"
        if now < self.done_at + timedelta(seconds=BACKING_UP_S):
            return "backing-up"
        return "available"


def backend(account: str, region: str) -> Any:
    """moto's RDS of that account."""
    return rds_backends[account][region]


def dress(
    body: Any, running: Running, now: datetime, at: datetime, restorable: datetime | None
) -> None:
    """Put what is real into moto's object."""
    body.__class__ = EndpointInstance
    body.status = running.status(now)
    up = running.server is not None and body.status not in ("creating", "incompatible-restore")
    body.reached_at = ("127.0.0.1", running.server.port) if up and running.server else None
    body.instance_create_time = at
    body.restorable = restorable


def defaults(identifier: str, version: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the emulated instance is like, as `create_db_instance` of moto takes it."""
    major = version.partition(".")[0]
    return {
        "db_instance_identifier": identifier,
        "db_instance_class": str(given.get("class", "db.t4g.medium")),
        "engine": "postgres",
        "engine_version": version,
        "allocated_storage": 20,
        "master_username": "master",
        "master_user_password": "unused",
        "storage_type": "gp3",
        "storage_encrypted": True,
        "kms_key_id": "arn:aws:kms:eu-central-1:123456789012:key/emulated",
        "publicly_accessible": False,
        "backup_retention_period": int(given.get("retention_days", 7)),
        "db_parameter_group_name": f"default.postgres{major}",
        "license_model": "postgresql-license",
        "ca_certificate_identifier": "rds-ca-rsa2048-g1",
        "tags": [{"Key": "team", "Value": "taly"}],
    }
