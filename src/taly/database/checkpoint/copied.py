"""Prove a physical copy of the database's server: an instance that RDS made of a backup."""

from collections.abc import Iterator

import psycopg

from taly.database.checkpoint import catalog_file, facts
from taly.database.checkpoint.contents import Report, large_objects
from taly.database.checkpoint.folder import Checkpoint
from taly.database.checkpoint.on_rds import OnRds
from taly.database.checkpoint.session import snapshot
from taly.database.checkpoint.settled import unsettled
from taly.database.connection import Target
from taly.database.sources.rds import Rds
from taly.database.sources.temporary import for_verify
from taly.errors import VendorError
from taly.planning.catalog_diff import differences

XMAX = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"


def unlike_copy(
    checkpoint: Checkpoint, connection: psycopg.Connection, report: Report
) -> Iterator[str]:
    """What it does not hold as it should.

    It may hold more than there was at the checkpoint's instant, as it is from a little later; never
    less, and nothing else of the rows that nobody touched meanwhile.
    """
    manifest = checkpoint.manifest
    moment = facts.moment(connection, _place(manifest.database.place))
    unlike = facts.same_database(manifest.database, moment.database)
    if unlike:
        yield from (f"{word} {now}, and it was {was}" for word, (was, now) in unlike.items())
        return  # nothing of another database could be compared
    row = connection.execute(XMAX).fetchone()
    if row is None or row[0] < _xmax(manifest.instant.snapshot):
        yield "it is from before the checkpoint's instant"
    xmin, folder = manifest.instant.xmin, checkpoint.path
    yield from unsettled(connection, xmin, manifest.settled, folder, report, manifest.sums)
    objects = large_objects(connection)
    if manifest.large_objects_later is None and objects != manifest.large_objects:
        yield f"{objects} large objects, and there were {manifest.large_objects}"
    before = catalog_file.read_catalog_file(folder / catalog_file.BEFORE)
    yield from (one.text for one in differences(before, moment.catalog))


def _place(place: str) -> Target:
    return Target(url_env="", url="", schema="", place=place, pooled=False)


def _xmax(text: str) -> int:
    """Of a snapshot as text: xmin:xmax:those between that were not over."""
    return int(text.split(":")[1])


def check_on_rds(checkpoint: Checkpoint, target: Target, report: Report, where: OnRds) -> list[str]:
    """Have RDS make a temporary instance of the backup, compare, delete it; what is wrong with it.

    Raises VendorError, with the command that deletes the instance, where it could not be deleted.
    """
    backup = checkpoint.manifest.backup
    rds = Rds(where.environ, backup.region)
    source = for_verify(rds, where.clock, target, backup, checkpoint.name)
    size = checkpoint.manifest.database.bytes

    def say(note: str, fraction: float | None = None) -> None:
        report(note, 0, size)

    try:
        with snapshot(source.open(say)) as connection:
            return list(unlike_copy(checkpoint, connection, report))
    finally:
        if left := source.close(say):
            raise VendorError(
                f"the temporary RDS instance {source.identifier} could not be deleted",
                reference="rds-instance-left",
                hint=left,
            )
