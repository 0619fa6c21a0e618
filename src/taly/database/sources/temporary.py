"""A temporary RDS instance, made of a snapshot or of a point in time, and taken away again."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from taly.database.checkpoint.manifest import BackupFacts
from taly.database.checkpoint.session import connected
from taly.database.connection import Target
from taly.database.sources.names import TAG, instance_name
from taly.database.sources.port import Find
from taly.database.sources.rds import USABLE, Instance, Rds
from taly.database.sources.waiting import until
from taly.errors import TalyError, VendorRefused, VendorUnavailable
from taly.model.ports import Clock, Say

RESTORE_LIMIT_S = 6 * 3600.0
"""A restore takes minutes; the first read of a large volume from S3 takes hours afterwards."""
ANSWER_LIMIT_S = 15 * 60.0
"""From `available` until its name is known everywhere."""
DELETE_LIMIT_S = 120.0
"""How long we wait for an instance that cannot be deleted yet, before we name the command."""
POLL_S = 5.0
LAG = timedelta(minutes=5)
"""A point in time can be restored about this much later."""

T = TypeVar("T")


class Restored:
    """The source: what the backup says, in an instance of its own, under a name of the work's."""

    def __init__(
        self, rds: Rds, clock: Clock | None, target: Target, backup: BackupFacts, work: str
    ) -> None:
        """Nothing is asked yet. `work` names the instance, and is written on it.

        `target` is the live database: user, password and database are the same in the copy.
        """
        self._rds = rds
        self._clock = clock
        self._target = target
        self._backup = backup
        self._work = work
        self.identifier = instance_name(work)

    @property
    def command(self) -> str:
        """What takes it away by hand."""
        region = f" --region {self._rds.region}" if self._rds.region else ""
        return (
            f"aws rds delete-db-instance --db-instance-identifier {self.identifier}"
            f" --skip-final-snapshot{region}"
        )

    def check(self, find: Find) -> None:
        """Whether RDS still has what it would be made of."""
        try:
            like = self._rds.instance(self._backup.instance)
            if like is None:
                find(
                    "restore-rds-gone",
                    f"RDS has no instance {self._backup.instance}: its network cannot be copied",
                    "aws rds describe-db-instances",
                )
            elif self._backup.kind == "rds-snapshot":
                self._check_snapshot(find)
            else:
                self._check_instant(like, find)
        except TalyError as error:
            find("restore-rds-unknown", error.message, error.hint or "taly permissions")

    def _check_snapshot(self, find: Find) -> None:
        found = self._rds.snapshot(self._backup.snapshot)
        if found is None or found.status != "available":
            status = "gone" if found is None else found.status
            find(
                "restore-rds-gone",
                f"snapshot {self._backup.snapshot} of {self._backup.instance} is {status}",
                "taly checkpoint list",
            )

    def _check_instant(self, like: Instance, find: Find) -> None:
        at = self._instant
        if like.retention_days == 0:
            why = "its automated backups are turned off"
        elif like.restorable_until is None:
            why = "RDS names no restorable time"
        elif at < like.restorable_until - timedelta(days=like.retention_days):
            why = f"its automated backups are kept for {like.retention_days} days"
        else:
            return
        find(
            "restore-rds-gone",
            f"{like.identifier} cannot be restored as it was at {at:%Y-%m-%d %H:%M:%S} UTC: {why}",
            "taly checkpoint list",
        )

    def open(self, say: Say) -> Target:
        """Make it, or take over what an earlier process of this work began."""
        found = self._rds.instance(self.identifier)
        if found is not None:
            self._ours(found)
        else:
            self._begin(say)
        up = self._wait(
            self._usable, say, f"{self._what} in {self.identifier}", limit_s=RESTORE_LIMIT_S
        )
        target = at_server(self._target, up.address, up.port)
        self._wait(
            lambda: _answers(target),
            say,
            f"waits until {self.identifier} answers",
            limit_s=ANSWER_LIMIT_S,
        )
        return target

    @property
    def _what(self) -> str:
        if self._backup.kind == "rds-snapshot":
            return "restores the RDS snapshot"
        return f"restores {self._backup.instance} as of {self._instant:%H:%M:%S}"

    @property
    def _instant(self) -> datetime:
        assert self._backup.restore_to is not None, "a point in time has one"
        return self._backup.restore_to

    def _begin(self, say: Say) -> None:
        like = self._rds.instance(self._backup.instance)
        if like is None:
            raise VendorRefused(
                f"RDS has no instance {self._backup.instance}",
                reference="restore-rds-gone",
                hint="aws rds describe-db-instances",
            )
        tags = {TAG: self._work}
        if self._backup.kind == "rds-pitr":
            self._wait(
                self._restorable,
                say,
                f"waits until RDS can restore {self._instant:%H:%M:%S}",
                limit_s=4 * LAG.total_seconds(),
            )
            self._once(lambda: self._rds.restore_at(self._instant, like, self.identifier, tags))
        else:
            self._once(
                lambda: self._rds.restore(self._backup.snapshot, like, self.identifier, tags)
            )

    def _once(self, write: Callable[[], None]) -> None:
        """A write whose answer was lost may have been done: then it is there, and ours."""
        try:
            write()
        except VendorUnavailable:
            if self._rds.instance(self.identifier) is None:
                raise

    def _restorable(self) -> Instance | None:
        like = self._rds.instance(self._backup.instance)
        until_ = like.restorable_until if like else None
        return like if until_ is not None and until_ >= self._instant else None

    def _usable(self) -> Instance | None:
        found = self._rds.instance(self.identifier)
        if found is None:
            return None  # RDS's reads may lag behind its writes
        if found.is_hopeless:
            raise VendorRefused(
                f"RDS could not restore {self.identifier}: it is {found.status}",
                reference="restore-rds-failed",
                hint=f"aws rds describe-events --source-identifier {self.identifier}"
                " --source-type db-instance",
            )
        return found if found.status in USABLE and found.address else None

    def _ours(self, found: Instance) -> None:
        if found.tags.get(TAG) != self._work:
            raise VendorRefused(
                f"RDS has an instance {self.identifier}, and its tag {TAG} does not say that it is"
                " this run's: it is left alone",
                reference="restore-rds-not-ours",
                hint=f"aws rds describe-db-instances --db-instance-identifier {self.identifier}",
            )

    def close(self, say: Say) -> str:
        """Delete it, if it is there and its name and tag say that it is ours."""
        try:
            self._wait(self._deleted, say, f"deletes {self.identifier}", limit_s=DELETE_LIMIT_S)
        except TalyError:
            return self.command
        return ""

    def _deleted(self) -> bool | None:
        found = self._rds.instance(self.identifier)
        if found is None or found.status == "deleting":
            return True
        self._ours(found)
        try:
            self._rds.delete_instance(self.identifier)
        except VendorRefused as error:
            if "invalid-d-b-instance-state" not in error.reference:
                raise
            return None  # it is still being made
        return True

    def _wait(self, look: Callable[[], T | None], say: Say, what: str, *, limit_s: float) -> T:
        assert self._clock is not None, "a check waits for nothing"
        return until(
            look,
            clock=self._clock,
            tell=lambda: say(what),
            limit_s=limit_s,
            what=what,
            poll_s=POLL_S,
        )


def for_run(
    rds: Rds, clock: Clock | None, target: Target, backup: BackupFacts, work: str
) -> Restored:
    """The source of a restore; `work` is the run and the component."""
    return Restored(rds, clock, target, backup, work)


def for_verify(
    rds: Rds, clock: Clock, target: Target, backup: BackupFacts, checkpoint: str
) -> Restored:
    """The source of a proof: another proof of the same checkpoint takes a killed one's over."""
    return Restored(rds, clock, target, backup, f"verify {checkpoint}")


def discard(rds: Rds, identifier: str, checkpoint: str) -> None:
    """Delete a checkpoint's snapshot, if it is there and its tag says that it is ours."""
    found = rds.snapshot(identifier)
    if found is None:
        return
    if found.tags.get(TAG) != checkpoint:
        raise VendorRefused(
            f"the tag {TAG} of snapshot {identifier} does not say that it is {checkpoint}'s: it is"
            " left alone",
            reference="restore-rds-not-ours",
            hint=f"aws rds describe-db-snapshots --db-snapshot-identifier {identifier}",
        )
    rds.delete_snapshot(identifier)


def at_server(target: Target, host: str, port: int) -> Target:
    """The same database, user and password on another server."""
    parts = urlsplit(target.url)
    query = {key: value for key, value in parse_qsl(parts.query) if key != "host"}
    user, at, _ = parts.netloc.rpartition("@")
    url = parts._replace(netloc=f"{user}{at}{host}:{port}", query=urlencode(query, quote_via=quote))
    name = target.place.rpartition("/")[2]
    return replace(target, url=urlunsplit(url), place=f"{host}:{port}/{name}")


def _answers(target: Target) -> bool | None:
    """Whether it lets us in; raises when it says that it will not."""
    with connected(target, autocommit=True) as session:
        session.execute("SELECT 1")
    return True
