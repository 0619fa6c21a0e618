"""Amazon RDS, as far as backups go: a few calls, and their answers as our words.

https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from taly.aws import AwsClients, aws_errors
from taly.errors import VendorRefused

USABLE = frozenset({"available", "backing-up", "storage-optimization"})
"""States in which an instance lets us in and its backup is whole."""
HOPELESS = frozenset({"failed", "inaccessible-encryption-credentials", "storage-full"})
"""And every `incompatible-…`."""
WRITES = 1
"""A write is sent once: a lost answer is cleared up by looking."""

HINTS: Mapping[str, str] = {
    "aws-access-denied": "taly permissions",
    "aws-d-b-instance-not-found": "aws rds describe-db-instances",
    "aws-instance-quota-exceeded": "delete an instance that nobody needs, or ask AWS for more",
    "aws-storage-quota-exceeded": "ask AWS for more storage",
    "aws-snapshot-quota-exceeded": "taly checkpoint prune",
    "aws-k-m-s-key-not-accessible-fault": "kms:CreateGrant and kms:DescribeKey on the key",
    "aws-insufficient-d-b-instance-capacity": "taly rollback   (later)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A DB instance."""

    identifier: str
    status: str
    address: str
    """Empty until it has an endpoint."""
    port: int
    tags: Mapping[str, str]
    retention_days: int
    """0 = RDS makes no backups of its own: no point in time can be restored."""
    restorable_until: datetime | None
    created_at: datetime | None
    body: Mapping[str, Any]
    """As RDS describes it."""

    @property
    def is_hopeless(self) -> bool:
        """Whether it will never let us in."""
        return self.status in HOPELESS or self.status.startswith("incompatible-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A DB snapshot."""

    identifier: str
    arn: str
    status: str
    instance: str
    percent: int
    tags: Mapping[str, str]


class Rds:
    """The calls, in one region."""

    def __init__(self, environ: Mapping[str, str], region: str) -> None:
        """Nothing is asked yet. `region` empty = AWS_REGION."""
        self._clients = AwsClients(environ)
        self.region = region

    def instance(self, identifier: str) -> Instance | None:
        """The instance; None when there is none of that name."""
        found = self._described("describe_db_instances", "DBInstances", identifier, "DBInstance")
        return _instance(found) if found else None

    def snapshot(self, identifier: str) -> Snapshot | None:
        """The snapshot; None when there is none of that name."""
        found = self._described("describe_db_snapshots", "DBSnapshots", identifier, "DBSnapshot")
        return _snapshot(found) if found else None

    def create_snapshot(self, instance: str, identifier: str, tags: Mapping[str, str]) -> None:
        """Begin to make one."""
        self._write(
            "create_db_snapshot",
            DBInstanceIdentifier=instance,
            DBSnapshotIdentifier=identifier,
            Tags=_listed(tags),
        )

    def delete_snapshot(self, identifier: str) -> None:
        """Delete one."""
        self._write("delete_db_snapshot", DBSnapshotIdentifier=identifier)

    def restore(
        self, snapshot: str, like: Instance, identifier: str, tags: Mapping[str, str]
    ) -> None:
        """Begin to make a new instance of a snapshot, in the network of another one."""
        self._write(
            "restore_db_instance_from_db_snapshot",
            DBSnapshotIdentifier=snapshot,
            DBInstanceIdentifier=identifier,
            Tags=_listed(tags),
            **beside(like),
        )

    def restore_at(
        self, at: datetime, like: Instance, identifier: str, tags: Mapping[str, str]
    ) -> None:
        """Begin to make a new instance as another one was at that instant."""
        self._write(
            "restore_db_instance_to_point_in_time",
            SourceDBInstanceIdentifier=like.identifier,
            TargetDBInstanceIdentifier=identifier,
            RestoreTime=at,
            Tags=_listed(tags),
            **beside(like),
        )

    def delete_instance(self, identifier: str) -> None:
        """Delete an instance with its own backups; nothing of it is kept."""
        self._write(
            "delete_db_instance",
            DBInstanceIdentifier=identifier,
            SkipFinalSnapshot=True,
            DeleteAutomatedBackups=True,
        )

    def _described(self, method: str, key: str, identifier: str, kind: str) -> Any:
        client = self._clients.client("rds", self.region)
        try:
            with hinted(), aws_errors(f"rds {method}"):
                found = getattr(client, method)(**{f"{kind}Identifier": identifier})
        except VendorRefused as error:
            if error.reference in ("aws-d-b-instance-not-found", "aws-d-b-snapshot-not-found"):
                return None
            raise
        return next(iter(found[key]), None)

    def _write(self, method: str, **given: Any) -> None:
        client = self._clients.client("rds", self.region, attempts=WRITES)
        with hinted(), aws_errors(f"rds {method}"):
            getattr(client, method)(**given)


@contextmanager
def hinted() -> Iterator[None]:
    """Add to a refusal of RDS what a tired person can do about it."""
    try:
        yield
    except VendorRefused as error:
        error.hint = error.hint or HINTS.get(error.reference, "")
        raise


def beside(like: Instance) -> dict[str, Any]:
    """What makes a new instance like another one: in its network, and not open to the world.

    RDS would else put it into the default VPC with the default group, and restore no parameters.
    Encryption and the key follow from the backup.
    """
    body = like.body
    groups = [one["VpcSecurityGroupId"] for one in body.get("VpcSecurityGroups", ())]
    given: dict[str, Any] = {
        "DBInstanceClass": body["DBInstanceClass"],
        "Port": like.port,
        "MultiAZ": False,
        "PubliclyAccessible": False,
        "AutoMinorVersionUpgrade": False,
        "CopyTagsToSnapshot": False,
        "DeletionProtection": False,
        "VpcSecurityGroupIds": groups,
        "DBSubnetGroupName": body.get("DBSubnetGroup", {}).get("DBSubnetGroupName"),
        "DBParameterGroupName": _first(body, "DBParameterGroups", "DBParameterGroupName"),
        "StorageType": body.get("StorageType"),
        "EnableIAMDatabaseAuthentication": body.get("IAMDatabaseAuthenticationEnabled"),
    }
    if body.get("StorageType") in ("io1", "io2"):
        given["Iops"] = body.get("Iops")
    return {name: value for name, value in given.items() if value not in (None, "", [])}


def _first(body: Mapping[str, Any], key: str, name: str) -> Any:
    return next((one.get(name) for one in body.get(key, ())), None)


def _instance(body: Mapping[str, Any]) -> Instance:
    endpoint = body.get("Endpoint") or {}
    return Instance(
        identifier=body["DBInstanceIdentifier"],
        status=body.get("DBInstanceStatus", ""),
        address=endpoint.get("Address", ""),
        port=int(endpoint.get("Port") or 5432),
        tags=_tags(body),
        retention_days=int(body.get("BackupRetentionPeriod") or 0),
        restorable_until=body.get("LatestRestorableTime"),
        created_at=body.get("InstanceCreateTime"),
        body=body,
    )


def _snapshot(body: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        identifier=body["DBSnapshotIdentifier"],
        arn=body.get("DBSnapshotArn", ""),
        status=body.get("Status", ""),
        instance=body.get("DBInstanceIdentifier", ""),
        percent=int(body.get("PercentProgress") or 0),
        tags=_tags(body),
    )


def _tags(body: Mapping[str, Any]) -> dict[str, str]:
    return {one["Key"]: one.get("Value", "") for one in body.get("TagList", ())}


def _listed(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
