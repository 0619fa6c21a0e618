"""The RDS API: moto checks and answers, and a real server is copied, restored and taken away."""

import re
import shutil
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from werkzeug.wrappers import Request, Response

from taly.sandbox.http import Reply, VendorApp
from taly.sandbox.rds.cluster import CopiedServer, archive_all, copy
from taly.sandbox.rds.records import Kept, Running, backend, defaults, dress
from taly.sandbox.server import Server
from taly.sandbox.serverless.moto_server import MotoServer
from taly.sandbox.serverless.query import AwsError, refusal
from taly.sandbox.world import Fault, World

SNAPSHOT_S = 180.0
RESTORE_S = 480.0
DELETE_S = 120.0
LAG_S = 300.0
"""Virtual seconds: how long each takes, and how far behind point-in-time restores are."""
READS = ("Describe", "List")
FAULTS = frozenset({"rds-quota", "rds-kms", "rds-restore-fails", "rds-snapshot-fails"})
CODES = {403: "AccessDenied", 429: "Throttling", 503: "ServiceUnavailable"}
UP = frozenset({"available", "backing-up"})


class RdsEmulator:
    """One account's RDS. Instances are added; clients make snapshots and restore them.

    A snapshot is a physical copy of the cluster, made when it is asked for; it reads `creating`
    for its virtual time. A restored instance is a server of its own on loopback.

    LatestRestorableTime is told by the database server's clock, which runs in real time, because
    that is what a RestoreTime is compared with.
    """

    def __init__(self, world: World, directory: Path, region: str) -> None:
        """Prepare; nothing runs yet. `directory` is made, for copies and restored servers."""
        self._world = world
        self._directory = directory
        directory.mkdir(mode=0o711)
        self._region = region
        self._moto = MotoServer()
        self._lock = threading.RLock()
        self._instances: dict[str, Running] = {}
        self._snapshots: dict[str, Kept] = {}
        self._threads: list[threading.Thread] = []
        self._going: dict[str, Any] = {}
        self._before: Mapping[str, Callable[[Mapping[str, str]], None]] = {
            "CreateDBSnapshot": self._may_copy,
            "RestoreDBInstanceFromDBSnapshot": self._may_restore,
            "RestoreDBInstanceToPointInTime": self._may_replay,
            "DeleteDBInstance": self._may_delete,
            "DeleteDBSnapshot": self._may_discard,
        }
        self._after: Mapping[str, Callable[[Mapping[str, str]], None]] = {
            "CreateDBSnapshot": self._copied,
            "RestoreDBInstanceFromDBSnapshot": self._restored,
            "RestoreDBInstanceToPointInTime": self._replayed,
            "DeleteDBInstance": self._deleting,
            "DeleteDBSnapshot": self._discarded,
        }
        self.wsgi = VendorApp(
            world=world,
            vendor="rds",
            handler=self._handle,
            targeted=lambda request: (_target(request), ""),
            refused=_refused,
        )

    def add(self, identifier: str, server: Server, given: Mapping[str, Any], archive: Path) -> None:
        """Take a running server in as an instance; `archive` holds its write-ahead log."""
        with self._lock:
            version = re.sub(r"^.*?(\d[\d.]*).*$", r"\1", server.version)
            self._moto_rds.create_db_instance(defaults(identifier, version, given))
            base = self._directory / f"{identifier}-base"
            copy(server, base)
            long_ago = datetime(2025, 1, 1, tzinfo=UTC)
            self._instances[identifier] = Running(
                identifier=identifier, server=server, done_at=long_ago, archive=archive, base=base
            )

    def state(self) -> dict[str, Any]:
        """Instances and snapshots with their states."""
        with self._lock:
            self._catch_up()
            now = self._now()
            return {
                "instances": {name: one.status(now) for name, one in self._instances.items()},
                "snapshots": {name: one.status(now) for name, one in self._snapshots.items()},
            }

    def stop(self) -> None:
        """End every restored server. Those that were added are somebody else's."""
        for thread in self._threads:
            thread.join(timeout=60)
        with self._lock:
            for one in self._instances.values():
                if isinstance(one.server, CopiedServer):
                    one.server.stop()

    @property
    def _moto_rds(self) -> Any:
        return backend(self._moto.account, self._region)

    def _now(self) -> datetime:
        return self._world.clock.now()

    def _in(self, seconds: float) -> datetime:
        """That much later; while the past is replayed everything is done at once."""
        now = self._now()
        return now if self._world.clock.stands else now + timedelta(seconds=seconds)

    def _handle(self, request: Request) -> Reply:
        with self._lock:
            action, form = request.form.get("Action", ""), request.form.to_dict()
            self._catch_up()
            try:
                self._before.get(action, _reads_only(action))(form)
                response = self._moto.call(request)
            except AwsError as error:
                response = refusal(error)
            done = response.status_code < 300
            if done and action in self._after:
                self._after[action](form)
            if done and not action.startswith(READS):
                self._catch_up()
                self._amend(response, action)
            wrote = done and not action.startswith(READS)
            return Reply(response=response, target=_target(request), wrote=wrote, body=form)

    def _amend(self, response: Response, action: str) -> None:
        """A write's reply shows the state right after it, which moto worded before."""
        text = response.get_data(as_text=True)
        if action.startswith("Restore"):
            text = text.replace(*_tag("DBInstanceStatus", "available", "creating"))
            text = re.sub(r"<Endpoint>.*?</Endpoint>", "", text, flags=re.DOTALL)
        if action == "CreateDBSnapshot":
            text = text.replace(*_tag("Status", "available", "creating"))
        response.set_data(text)

    def _catch_up(self) -> None:
        """Let moto's objects show what the clock and the servers say."""
        now, rds = self._now(), self._moto_rds
        for name, one in list(self._instances.items()):
            if one.deleted_at is not None and now >= one.deleted_at:
                rds.databases.pop(name, None)
                del self._instances[name]
                continue
            body = rds.databases.get(name)
            if body is not None:
                restorable = self._restorable() if body.backup_retention_period else None
                dress(body, one, now, one.done_at, restorable)
        for name, kept in self._snapshots.items():
            body = rds.database_snapshots.get(name)
            if body is not None:
                body.status = kept.status(now)
                body.created = body.original_snapshot_create_time = kept.begun_at
                body.percent_progress = kept.percent(now)
        for name in [one for one in rds.database_snapshots if one not in self._snapshots]:
            del rds.database_snapshots[name]  # moto's automated ones hold nothing here

    def _restorable(self) -> datetime:
        lag = 0.0 if self._world.clock.stands else LAG_S / self._world.clock.speed
        return datetime.now(UTC) - timedelta(seconds=lag)

    def _strikes(self, kind: str, action: str) -> bool:
        fault = self._world.faults.take(
            vendor="rds", component="", call=f"RDS.{action}", kinds=frozenset({kind})
        )
        return fault is not None

    def _may_copy(self, form: Mapping[str, str]) -> None:
        self._instance(form["DBInstanceIdentifier"], UP)

    def _copied(self, form: Mapping[str, str]) -> None:
        source = self._instances[form["DBInstanceIdentifier"]].server
        assert source is not None, "it was seen to be up"
        name = form["DBSnapshotIdentifier"].lower()
        cluster = self._directory / f"snapshot-{name}"
        copy(source, cluster)
        self._snapshots[name] = Kept(
            identifier=name,
            cluster=cluster,
            password=source.password,
            begun_at=self._now(),
            done_at=self._in(SNAPSHOT_S),
            fails=self._strikes("rds-snapshot-fails", "CreateDBSnapshot"),
        )

    def _may_restore(self, form: Mapping[str, str]) -> None:
        self._may_make(form)
        kept = self._snapshots.get(form["DBSnapshotIdentifier"].rpartition(":")[2])
        if kept is not None and kept.status(self._now()) != "available":
            message = f"Cannot restore from snapshot {kept.identifier}: it is not available."
            raise AwsError("InvalidDBSnapshotState", message)

    def _may_replay(self, form: Mapping[str, str]) -> None:
        self._may_make(form)
        self._instance(form["SourceDBInstanceIdentifier"], UP)
        wanted = datetime.fromisoformat(form["RestoreTime"])
        if wanted > self._restorable():
            message = f"The specified instance cannot be restored to {form['RestoreTime']}."
            raise AwsError("InvalidRestoreFault", message)

    def _may_make(self, form: Mapping[str, str]) -> None:
        action = form["Action"]
        if self._strikes("rds-quota", action):
            raise AwsError("InstanceQuotaExceeded", "Cannot create more than 40 instances.")
        if self._strikes("rds-kms", action):
            message = "The KMS key is not accessible: the caller needs kms:CreateGrant."
            raise AwsError("KMSKeyNotAccessibleFault", message)

    def _restored(self, form: Mapping[str, str]) -> None:
        kept = self._snapshots[form["DBSnapshotIdentifier"].rpartition(":")[2]]
        server = CopiedServer(self._directory, kept.cluster, kept.password)
        self._begin(form["DBInstanceIdentifier"], server, form)

    def _replayed(self, form: Mapping[str, str]) -> None:
        source = self._instances[form["SourceDBInstanceIdentifier"]]
        assert source.server is not None, "it was seen to be up"
        assert source.base is not None, "it has automated backups"
        archive_all(source.server)
        at = datetime.fromisoformat(form["RestoreTime"])
        server = CopiedServer(
            self._directory, source.base, source.server.password, archive=source.archive, at=at
        )
        self._begin(form["TargetDBInstanceIdentifier"], server, form)

    def _begin(self, name: str, server: CopiedServer, form: Mapping[str, str]) -> None:
        body = self._moto_rds.databases[name]
        body.publicly_accessible = form.get("PubliclyAccessible") == "true"
        body.multi_az = form.get("MultiAZ") == "true"
        one = Running(
            identifier=name,
            server=None,
            done_at=self._in(RESTORE_S),
            fails=self._strikes("rds-restore-fails", form["Action"]),
        )
        self._instances[name] = one
        if one.fails:
            return

        def run() -> None:
            try:
                server.start()
            except Exception as error:
                server.stop()
                one.problem.append(str(error))
            else:
                one.server = server

        thread = threading.Thread(target=run, name=f"rds-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _may_delete(self, form: Mapping[str, str]) -> None:
        """Moto would have it gone at once: its object comes back until the time is over."""
        name = form["DBInstanceIdentifier"]
        one = self._instance(name, UP | {"incompatible-restore", "deleting"})
        self._going[name] = self._moto_rds.databases[name]
        if one.deleted_at is None:
            one.deleted_at = self._in(DELETE_S)
            if isinstance(one.server, CopiedServer):
                one.server.stop()

    def _deleting(self, form: Mapping[str, str]) -> None:
        name = form["DBInstanceIdentifier"]
        self._moto_rds.databases[name] = self._going.pop(name)

    def _may_discard(self, form: Mapping[str, str]) -> None:
        kept = self._snapshots.get(form["DBSnapshotIdentifier"])
        if kept is not None and kept.status(self._now()) == "creating":
            message = "The snapshot cannot be deleted while it is being created."
            raise AwsError("InvalidDBSnapshotState", message)

    def _discarded(self, form: Mapping[str, str]) -> None:
        kept = self._snapshots.pop(form["DBSnapshotIdentifier"])
        shutil.rmtree(kept.cluster, ignore_errors=True)

    def _instance(self, name: str, states: frozenset[str]) -> Running:
        one = self._instances.get(name)
        if one is None:
            raise AwsError("DBInstanceNotFound", f"DBInstance {name} not found.", 404)
        status = one.status(self._now())
        if status not in states:
            message = f"Instance {name} is not in a valid state: it is {status}."
            raise AwsError("InvalidDBInstanceState", message)
        return one


def _reads_only(action: str) -> Callable[[Mapping[str, str]], None]:
    def check(form: Mapping[str, str]) -> None:
        if not action.startswith(READS):
            raise AwsError("InvalidAction", f"this sandbox does not emulate {action}")

    return check


def _tag(name: str, old: str, new: str) -> tuple[str, str]:
    return f"<{name}>{old}</{name}>", f"<{name}>{new}</{name}>"


def _target(request: Request) -> str:
    return f"RDS.{request.form.get('Action', '')}"


def _refused(request: Request, fault: Fault) -> Response:
    code = str(fault.settings.get("code") or CODES.get(fault.status, "InternalFailure"))
    return refusal(AwsError(code, "injected by the sandbox", fault.status))
