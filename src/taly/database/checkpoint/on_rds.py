"""A checkpoint's backup that RDS makes: a snapshot, or an instant to which it can restore."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg

from taly.database.checkpoint.folder import write_file
from taly.database.checkpoint.manifest import Backup, BackupFacts, Instant
from taly.database.connection import Target
from taly.database.sources.names import TAG, snapshot_name
from taly.database.sources.rds import USABLE, Instance, Rds, Snapshot
from taly.database.sources.temporary import discard
from taly.database.sources.waiting import pause, until
from taly.errors import Refused, TalyError, UsageError, VendorRefused, VendorUnavailable
from taly.model.ports import Clock

MARK = "rds-snapshot"
"""A file with the snapshot's name and region, so that `prune` finds it after a kill."""
SOMEBODY_ELSES = "aws-d-b-snapshot-already-exists"
"""A refusal: there was one of that name before."""
SNAPSHOT_LIMIT_S = 12 * 3600.0
GONE_LIMIT_S = 300.0
POLL_S = 5.0
AFTER = timedelta(seconds=2)
"""RDS restores to whole seconds; two of them later is later for certain."""
CLOCK = "SELECT clock_timestamp() > %s"

Tell = Callable[[int], object]
"""Takes percents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRds:
    """Where the database is in RDS, and what it takes to ask."""

    instance: str
    """Empty = taly.toml does not say."""
    component: str
    region: str
    environ: Mapping[str, str]
    clock: Clock

    def rds(self) -> Rds:
        """The calls."""
        return Rds(self.environ, self.region)


def check_instance(where: OnRds, kind: Backup) -> Instance:
    """The instance, when it can be backed up in this way; else UsageError or Refused."""
    if not where.instance:
        raise UsageError(
            "taly.toml does not say which RDS instance the database is on",
            reference="rds-not-set",
            hint='rds = "instance-identifier" in the database\'s component of taly.toml',
        )
    found = where.rds().instance(where.instance)
    if found is None or found.status not in USABLE:
        status = f"is {found.status}" if found else "is not there"
        raise Refused(
            f"RDS instance {where.instance} {status}",
            reference="rds-not-available",
            hint="aws rds describe-db-instances",
        )
    if kind == "rds-pitr" and found.retention_days == 0:
        raise Refused(
            f"RDS instance {where.instance} has its automated backups turned off: no point in time"
            " of it can be restored",
            reference="rds-no-automated-backups",
            hint="taly checkpoint --backup rds-snapshot",
        )
    return found


def notes(instance: Instance, target: Target) -> list[str]:
    """What should make somebody think: it may be another server's snapshot."""
    server = target.place.rpartition("/")[0]
    listens = f"{instance.address}:{instance.port}"
    if server == listens:
        return []
    return [
        f"{target.url_env} leads to {server}, and RDS instance {instance.identifier} listens at"
        f" {listens}: a restore will show whether they are the same"
    ]


def begin(where: OnRds, kind: Backup, name: str, instant: Instant, folder: Path) -> BackupFacts:
    """Ask for it, right after the instant: it must not be older than that."""
    facts = BackupFacts(
        kind=kind, asked=kind, program="RDS", instance=where.instance, region=where.region
    )
    if kind == "rds-pitr":
        at = instant.at.replace(microsecond=0) + AFTER
        return facts.model_copy(update={"restore_to": at})
    identifier = snapshot_name(where.instance, where.component, name)
    write_file(folder / MARK, f"{identifier}\n{where.region}\n{name}\n".encode())
    rds = where.rds()
    try:
        rds.create_snapshot(where.instance, identifier, {TAG: name})
    except VendorUnavailable:  # its answer may be what was lost
        if rds.snapshot(identifier) is None:
            raise
    return facts.model_copy(update={"snapshot": identifier})


def finish(where: OnRds, backup: BackupFacts, connection: psycopg.Connection, tell: Tell) -> None:
    """Wait until it is there for good."""
    if backup.kind == "rds-pitr":
        while not _is_past(connection, backup):
            pause(where.clock, POLL_S, lambda: tell(0))
        return
    rds = where.rds()
    percent = 0

    def look() -> Snapshot | None:
        nonlocal percent
        found = rds.snapshot(backup.snapshot)
        percent = found.percent if found else percent
        if found is not None and found.status == "failed":
            raise VendorRefused(
                f"RDS could not make snapshot {backup.snapshot} of {backup.instance}",
                reference="rds-snapshot-failed",
                hint=f"aws rds describe-events --source-identifier {backup.instance}"
                " --source-type db-instance",
            )
        return found if found is not None and found.status == "available" else None

    until(
        look,
        clock=where.clock,
        tell=lambda: tell(percent),
        limit_s=SNAPSHOT_LIMIT_S,
        what=f"RDS makes snapshot {backup.snapshot}",
        poll_s=POLL_S,
    )


def _is_past(connection: psycopg.Connection, backup: BackupFacts) -> bool:
    row = connection.execute(CLOCK, (backup.restore_to,)).fetchone()
    return bool(row and row[0])


def take_back(where: OnRds, name: str) -> None:
    """Delete the snapshot of a checkpoint that is not there; raises with the command that does."""
    identifier = snapshot_name(where.instance, where.component, name)

    def look() -> bool | None:
        try:
            discard(where.rds(), identifier, name)
        except VendorRefused as error:
            if "invalid-d-b-snapshot-state" not in error.reference:
                raise
            return None  # it is still being made
        return True

    try:
        until(
            look,
            clock=where.clock,
            tell=lambda: None,
            limit_s=GONE_LIMIT_S,
            what=f"deletes RDS snapshot {identifier}",
            poll_s=POLL_S,
        )
    except TalyError as error:
        region = f" --region {where.region}" if where.region else ""
        raise VendorRefused(
            f"RDS snapshot {identifier} could not be deleted: {error.message}",
            reference="rds-snapshot-left",
            hint=f"aws rds delete-db-snapshot --db-snapshot-identifier {identifier}{region}",
        ) from error


def mark_in(partial: Path) -> tuple[str, str, str] | None:
    """(snapshot, region, checkpoint) of a folder that was left over; None when it has none."""
    try:
        identifier, region, name, _ = (partial / MARK).read_text(encoding="utf-8").split("\n")
    except (FileNotFoundError, ValueError):
        return None
    return identifier, region, name
