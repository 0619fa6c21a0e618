"""The side database: a checkpoint's backup, on the live server, under a name of the run."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Composable, Identifier

from taly.database.checkpoint import copies
from taly.database.checkpoint.contents import tables
from taly.database.checkpoint.dump import FOREIGN_SETTING, JOBS, Client
from taly.database.checkpoint.folder import DUMP, Checkpoint
from taly.database.checkpoint.manifest import TableContent
from taly.database.checkpoint.session import connected, explained, snapshot
from taly.database.checkpoint.verify import unlike, unlike_rows
from taly.database.programs import Programs, find_programs
from taly.database.restore.beside import LOOK_S, Beside, beside
from taly.database.restore.fence import Fence
from taly.database.restore.job import Job
from taly.database.restore.outside import dumped, source_of
from taly.database.restore.start import Start, program_version
from taly.errors import VendorRefused

FORGIVEN = (
    *("ALTER DEFAULT PRIVILEGES", "GRANT", "REVOKE", "COMMENT ON", "SECURITY LABEL"),
    *("CREATE PUBLICATION", "ALTER PUBLICATION", "CREATE EVENT TRIGGER", "ALTER EVENT TRIGGER"),
)
"""What may fail because a role is gone or because we are no superuser: it is told, with the
statement, and holds no data. An owner that cannot be set is the same."""
COMMAND = "Command was: "
SIZE = "SELECT pg_database_size(%s::oid)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What was made."""

    checkpoint: Checkpoint
    """With the counts and checksums that the side database must have."""
    notes: tuple[str, ...]
    """What of owners, grants and comments could not be set, and what is left behind elsewhere."""


def make_side(job: Job, fence: Fence, start: Start) -> Made:
    """Make it; raises VendorRefused when the backup cannot be restored."""
    checkpoint = start.checkpoint
    assert checkpoint is not None, "an undo makes none"
    if checkpoint.manifest.backup.template:
        _copied(job, fence, checkpoint)
        return Made(checkpoint=checkpoint, notes=())
    source = source_of(job, checkpoint)
    if source is None:
        notes = _restored(job, fence, checkpoint, checkpoint.path / DUMP)
        return Made(checkpoint=checkpoint, notes=notes)
    with dumped(job, source, checkpoint) as found:
        left = source.close(job.say)
        notes = _restored(job, fence, found.checkpoint, found.folder)
    behind = f"the temporary RDS instance was not deleted; delete it with: {left}"
    return Made(checkpoint=found.checkpoint, notes=(*notes, *([behind] if left else ())))


def _copied(job: Job, fence: Fence, checkpoint: Checkpoint) -> None:
    parts: list[Composable] = [
        SQL("CREATE DATABASE {} TEMPLATE {}").format(
            Identifier(job.side), Identifier(checkpoint.manifest.backup.template)
        )
    ]
    if fence.server_version >= 150_000:
        parts.append(SQL("STRATEGY FILE_COPY"))
    whole = megabytes(checkpoint.manifest.database.bytes)
    with fence.another() as session:
        pid = session.info.backend_pid
        beside(
            lambda: session.execute(SQL(" ").join(parts)),
            tell=lambda: job.say(f"copies the backup, {whole}"),
            stop=lambda: fence.cancel(pid),
        )


def _restored(job: Job, fence: Fence, checkpoint: Checkpoint, folder: Path) -> tuple[str, ...]:
    manifest = checkpoint.manifest
    copies.create_empty(job.target, job.side)
    oid = fence.oid_of(job.side)
    programs = find_programs(program_version(manifest, fence.server_version))
    with Restoring(job, programs, str(folder), fence.server_version // 10_000) as client:
        size = 0
        while not client.has_ended:
            size = int(fence.one(SIZE, oid) or size)
            whole = max(manifest.database.bytes, size)
            job.say(f"restore {megabytes(size)} of {megabytes(whole)}", size / whole)
            client.look()
        client.check()
        told = tuple(client.forgiven())
    _analyze(job, fence)
    return told


def _analyze(job: Job, fence: Fence) -> None:
    """A dump has no statistics, and without them the first queries take the worst plans."""
    with connected(job.place(job.side), autocommit=True) as session:
        pid = session.info.backend_pid
        beside(
            lambda: session.execute("ANALYZE"),
            tell=lambda: job.say("statistics of the restored tables"),
            stop=lambda: fence.cancel(pid),
        )


class Restoring(Client):
    """`pg_restore` with owners, grants and comments, which a user may not all set."""

    def __init__(self, job: Job, programs: Programs, folder: str, server: int) -> None:
        command = [
            programs.path("pg_restore"),
            *("--format=directory", f"--jobs={JOBS}", "--no-password", "--no-subscriptions"),
            *(f"--dbname={job.side}", folder),
        ]
        super().__init__(job.place(job.side), command, job.side)

    def look(self) -> None:
        """Wait a moment, or until it has ended."""
        time.sleep(LOOK_S)

    def forgiven(self) -> Iterator[str]:
        """What it could not set, with the statement."""
        for error, command in self._complaints():
            if command:
                yield f"{error.partition('ERROR:')[2].strip() or error}: {command}"

    def _is_harmless(self) -> bool:
        return all(
            FOREIGN_SETTING in error or _is_forgiven(command)
            for error, command in self._complaints()
        )

    def _complaints(self) -> Iterator[tuple[str, str]]:
        """(error, first line of the statement) of each; without a statement it is the program's."""
        error = ""
        for line in self._lines():
            if line.startswith(COMMAND):
                yield error, line.removeprefix(COMMAND)
                error = ""
            elif "error:" in line:
                if error:
                    yield error, ""
                error = line
        if error:
            yield error, ""


def _is_forgiven(command: str) -> bool:
    return command.startswith(FORGIVEN) or (
        command.startswith("ALTER ") and " OWNER TO " in command
    )


def prove_side(
    job: Job, fence: Fence, checkpoint: Checkpoint, begin: Callable[[], frozenset[tuple[str, str]]]
) -> Beside:
    """Compare counts, checksums and schema with the manifest, beside the carry-over.

    All in one snapshot, taken before `begin` is called: what is carried over is not in it.
    `begin` begins the carry-over and tells of which tables that sums the rows up itself, to be
    compared by `check_rows`.
    """
    stack = ExitStack()
    connection = stack.enter_context(snapshot(job.place(job.side)))
    try:
        names = [SQL("{}").format(Identifier(one.schema, one.name)) for one in tables(connection)]
        if names:  # else a TRUNCATE of a table that was not read yet would empty the snapshot too
            connection.execute(
                SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(SQL(", ").join(names))
            )
        pid = connection.info.backend_pid
        summed = begin()
    except psycopg.Error as error:
        stack.close()
        raise explained(job.target, error) from None
    except BaseException:
        stack.close()
        raise

    def work() -> None:
        with stack:
            wrong = list(unlike(checkpoint, connection, lambda what, done, whole: None, summed))
        if wrong:
            raise _differs(checkpoint, wrong)

    return Beside(work, lambda: fence.cancel(pid))


def check_rows(checkpoint: Checkpoint, summed: Mapping[tuple[str, str], tuple[int, str]]) -> None:
    """Compare what the carry-over has summed up with the manifest; raises VendorRefused."""
    expected = [one for one in checkpoint.manifest.tables if (one.table_schema, one.name) in summed]
    found = [
        TableContent(
            table_schema=one.table_schema,
            name=one.name,
            rows=summed[(one.table_schema, one.name)][0],
            checksum=summed[(one.table_schema, one.name)][1],
        )
        for one in expected
    ]
    wrong = list(unlike_rows(expected, found))
    if wrong:
        raise _differs(checkpoint, wrong)


def _differs(checkpoint: Checkpoint, wrong: list[str]) -> VendorRefused:
    shown = "\n".join(f"  {line}" for line in wrong[:6])
    return VendorRefused(
        f"the backup of {checkpoint.name} does not hold what it should:\n{shown}",
        reference="restore-backup-differs",
        hint=f"taly checkpoint verify {checkpoint.name}",
    )


def megabytes(size: int) -> str:
    """For people."""
    return f"{size / 1_000_000:,.0f} MB"
