"""What each command needs of PostgreSQL, and of AWS where the database is on RDS.

Which actions can be narrowed to what is from the Service Authorization Reference
(https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonrds.html).
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from taly.errors import Refused, UsageError
from taly.model.environment import Component
from taly.model.permissions import (
    ANY,
    Ask,
    Needs,
    Resources,
    Right,
    arn,
    reads,
    region_of,
    writes,
)
from taly.model.plan import Step, StepKind

if TYPE_CHECKING:
    from taly.database.checkpoint.manifest import BackupFacts

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


def _on_rds(*resources: str) -> Resources:
    """Of the component's instance; nothing where taly.toml names none."""

    def narrowed(component: Component, region: str) -> Iterator[str]:
        if instance := component.settings.get("rds"):
            for one in resources:
                yield arn("rds", region_of(component, region), one.format(instance=instance))

    return narrowed


INSTANCE, MADE, SNAPSHOTS = "db:{instance}", f"db:{OURS}", f"snapshot:{OURS}"
PLACES = ("og:*", "pg:*", "subgrp:*")
"""What RDS asks about besides: a copy's network and parameters are the live instance's."""


def _asks(step: Step) -> Iterator[Ask]:
    """Of a restore whose backup is in RDS: the temporary instance is made, tagged and deleted.

    What is wrong with the checkpoint itself is the restore's own check to say.
    """
    backup = _backup(step)
    if backup is None or not backup.on_rds:
        return
    of = partial(arn, "rds", backup.region or ANY)
    source = {
        "rds-snapshot": ("RestoreDBInstanceFromDBSnapshot", f"snapshot:{backup.snapshot}"),
        "rds-pitr": ("RestoreDBInstanceToPointInTime", f"db:{backup.instance}"),
    }
    restore, made_of = source[backup.kind]
    for action, resource, only_if in (
        (restore, made_of, ""),
        (restore, MADE, ""),
        ("AddTagsToResource", MADE, ""),
        ("DeleteDBInstance", MADE, "to take the temporary instance away again"),
    ):
        yield Ask(
            component=step.component,
            action=f"rds:{action}",
            resource=of(resource),
            region=backup.region,
            only_if=only_if,
        )


def _backup(step: Step) -> "BackupFacts | None":
    name = step.address.get("checkpoint", "")
    if step.kind is not StepKind.RESTORE or not name:
        return None
    # Imported here: `taly permissions` reads no checkpoint.
    from taly.database.checkpoint.folder import named

    with suppress(UsageError, Refused):
        return named(Path(step.address["checkpoints"]), name).manifest.backup
    return None


def _remarks(components: Iterable[Component], region: str) -> Iterator[str]:
    if any(one.settings.get("rds") for one in components):
        yield (
            "RDS: for an encrypted instance add kms:CreateGrant and kms:DescribeKey on its key; "
            "a CI that makes checkpoints needs MakeSnapshots, TagWhatIsMade and the reads"
        )


NEEDS = Needs(
    rights=RIGHTS,
    grants=(
        reads("ReadInstances", "rds:DescribeDBInstances", on=_on_rds(INSTANCE, MADE)),
        reads("ReadSnapshots", "rds:DescribeDBSnapshots", on=_on_rds(SNAPSHOTS)),
        writes("MakeSnapshots", "rds:CreateDBSnapshot", on=_on_rds(INSTANCE, SNAPSHOTS)),
        writes(
            "RestoreInstances",
            "rds:RestoreDBInstanceFromDBSnapshot",
            "rds:RestoreDBInstanceToPointInTime",
            on=_on_rds(INSTANCE, MADE, SNAPSHOTS, *PLACES),
        ),
        writes("TagWhatIsMade", "rds:AddTagsToResource", on=_on_rds(MADE, SNAPSHOTS)),
        writes("DeleteTemporaryInstances", "rds:DeleteDBInstance", on=_on_rds(MADE)),
        writes("DeleteOldSnapshots", "rds:DeleteDBSnapshot", on=_on_rds(SNAPSHOTS)),
    ),
    asks=_asks,
    remarks=_remarks,
)
