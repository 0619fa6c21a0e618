"""What each command needs of PostgreSQL, and of AWS where the database is on RDS.

Which actions can be narrowed to what is from the Service Authorization Reference
(https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonrds.html).
"""

from collections.abc import Iterable, Iterator

from taly.model.environment import Component
from taly.model.permissions import Grant, Needs, Right, arn, region_of

OURS = "taly-*"
"""What taly makes in RDS is called so."""

RIGHTS = (
    Right(
        needed_for="taly status, taly plan, the verdict",
        rights="CONNECT, USAGE on the schema, and SELECT on _prisma_migrations and on the tables "
        "whose rows a migration depends on",
    ),
    Right(
        needed_for="rows written since, in the plan",
        rights="SELECT on the tables; those it may not read are left out",
    ),
    Right(
        needed_for="taly checkpoint",
        rights="GRANT pg_read_all_data; to try out ways down also CREATEDB; for a template copy "
        "it owns the database",
    ),
    Right(needed_for="keep", rights="nothing"),
    Right(
        needed_for="revert, and its undo",
        rights="what prisma migrate deploy needs: it owns the tables, or is a member of their "
        "owner; without a checkpoint also CREATEDB, to replay the migrations on an empty database",
    ),
    Right(
        needed_for="restore, and its undo",
        rights="it owns the database and its tables, CREATEDB (a rename needs it as a copy does), "
        "GRANT SET ON PARAMETER session_replication_role (PostgreSQL 15 and later; before that a "
        "superuser), and pg_signal_backend where other users are connected",
    ),
    Right(needed_for="taly forget", rights="it owns the database that was put aside"),
)


def _on_rds(component: Component, region: str, *resources: str) -> Iterator[str]:
    """Nothing where taly.toml names no instance."""
    if instance := component.settings.get("rds"):
        for one in resources:
            yield arn("rds", region_of(component, region), one.format(instance=instance))


def _instances(component: Component, region: str) -> Iterator[str]:
    yield from _on_rds(component, region, "db:{instance}", f"db:{OURS}")


def _snapshots(component: Component, region: str) -> Iterator[str]:
    yield from _on_rds(component, region, f"snapshot:{OURS}")


def _snapshotting(component: Component, region: str) -> Iterator[str]:
    yield from _on_rds(component, region, "db:{instance}", f"snapshot:{OURS}")


def _restoring(component: Component, region: str) -> Iterator[str]:
    places = ("og:*", "pg:*", "subgrp:*")  # its network and parameters are the live instance's
    yield from _on_rds(
        component, region, "db:{instance}", f"db:{OURS}", f"snapshot:{OURS}", *places
    )


def _made(component: Component, region: str) -> Iterator[str]:
    yield from _on_rds(component, region, f"db:{OURS}", f"snapshot:{OURS}")


def _temporary(component: Component, region: str) -> Iterator[str]:
    yield from _on_rds(component, region, f"db:{OURS}")


def _remarks(components: Iterable[Component], region: str) -> Iterator[str]:
    if any(one.settings.get("rds") for one in components):
        yield (
            "RDS: for an encrypted instance add kms:CreateGrant and kms:DescribeKey on its key; "
            "a CI that makes checkpoints needs MakeSnapshots, TagWhatIsMade and the reads"
        )


NEEDS = Needs(
    rights=RIGHTS,
    grants=(
        Grant(
            sid="ReadInstances",
            part="read",
            actions=("rds:DescribeDBInstances",),
            resources=_instances,
        ),
        Grant(
            sid="ReadSnapshots",
            part="read",
            actions=("rds:DescribeDBSnapshots",),
            resources=_snapshots,
        ),
        Grant(
            sid="MakeSnapshots",
            part="write",
            actions=("rds:CreateDBSnapshot",),
            resources=_snapshotting,
        ),
        Grant(
            sid="RestoreInstances",
            part="write",
            actions=(
                "rds:RestoreDBInstanceFromDBSnapshot",
                "rds:RestoreDBInstanceToPointInTime",
            ),
            resources=_restoring,
        ),
        Grant(
            sid="TagWhatIsMade",
            part="write",
            actions=("rds:AddTagsToResource",),
            resources=_made,
        ),
        Grant(
            sid="DeleteTemporaryInstances",
            part="write",
            actions=("rds:DeleteDBInstance",),
            resources=_temporary,
        ),
        Grant(
            sid="DeleteOldSnapshots",
            part="write",
            actions=("rds:DeleteDBSnapshot",),
            resources=_snapshots,
        ),
    ),
    remarks=_remarks,
)
