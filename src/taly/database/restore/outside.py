"""A backup that lies elsewhere: a temporary instance is read, dumped, and taken away again."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from taly.database.checkpoint.contents import contents, large_objects, tables
from taly.database.checkpoint.copied import unlike_copy
from taly.database.checkpoint.dump import dump
from taly.database.checkpoint.folder import DUMP, PARTIAL, Checkpoint
from taly.database.checkpoint.manifest import TableContent
from taly.database.checkpoint.session import snapshot
from taly.database.connection import Target
from taly.database.folders import LOCK
from taly.database.programs import find_programs
from taly.database.restore.beside import beside
from taly.database.restore.job import Job
from taly.database.sources import Rds, Restored, for_run
from taly.errors import VendorRefused

EXPORT = "SELECT pg_export_snapshot()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dumped:
    """What was read of it."""

    folder: Path
    checkpoint: Checkpoint
    """The given one, with the counts and checksums that the dump must have."""


def source_of(job: Job, checkpoint: Checkpoint | None) -> Restored | None:
    """Where its backup can be read; None when it lies in files or on the live server."""
    if checkpoint is None or not checkpoint.manifest.backup.instance:
        return None
    backup = checkpoint.manifest.backup
    return for_run(Rds(job.environ, backup.region), job.clock, job.target, backup, job.work)


@contextmanager
def dumped(job: Job, source: Restored, checkpoint: Checkpoint) -> Iterator[Dumped]:
    """Open it, prove it, dump it; the dump is gone afterwards.

    Raises VendorRefused when it does not hold what it should.
    """
    with _folder(job) as folder:
        target = source.open(job.say)
        with snapshot(target) as connection:
            job.say("proves the backup: the rows nobody touched while it was made")
            _prove(job, connection, checkpoint)
            expected = _dump(job, connection, target, folder / DUMP)
            objects = large_objects(connection)
        manifest = checkpoint.manifest.model_copy(
            update={
                "tables": expected,
                "sums": "mixed",
                "large_objects": objects,
                # What the side database is made of, and must be compared as.
                "backup": checkpoint.manifest.backup.model_copy(update={"kind": "dump"}),
            }
        )
        yield Dumped(folder=folder / DUMP, checkpoint=replace(checkpoint, manifest=manifest))


def _prove(job: Job, connection: psycopg.Connection, checkpoint: Checkpoint) -> None:
    wrong: list[str] = []

    def quiet(what: str, done: int, whole: int) -> None:
        """It is told of by the thread that waits."""

    beside(
        lambda: wrong.extend(unlike_copy(checkpoint, connection, quiet)),
        tell=lambda: job.say("proves the backup: the rows nobody touched while it was made"),
        stop=connection.cancel,
    )
    if wrong:
        shown = "\n".join(f"  {line}" for line in wrong[:6])
        raise VendorRefused(
            f"the backup of {checkpoint.name} does not hold what it should:\n{shown}",
            reference="restore-backup-differs",
            hint=f"taly checkpoint verify {checkpoint.name}",
        )


def _dump(
    job: Job, connection: psycopg.Connection, target: Target, folder: Path
) -> tuple[TableContent, ...]:
    """Dump what the connection sees, and sum it up meanwhile."""
    row = connection.execute(EXPORT).fetchone()
    assert row is not None, "it gives a name"
    found: list[TableContent] = []
    programs = find_programs(connection.info.server_version)

    def sum_up() -> None:
        found.extend(contents(connection, tables(connection), lambda what, done, whole: None))

    with dump(programs, target, str(row[0]), folder) as client:

        def tell() -> None:
            client.check()
            job.say("dumps the temporary instance")

        beside(sum_up, tell=tell, stop=connection.cancel)
        client.wait(lambda what, done, whole: tell(), "dump", folder)
    return tuple(found)


@contextmanager
def _folder(job: Job) -> Iterator[Path]:
    """Always the same for this run. `taly checkpoint prune` removes what a killed one left."""
    path = job.checkpoints / f"{PARTIAL}restore-{job.side}"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700, parents=True)
    lock = os.open(path / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)
