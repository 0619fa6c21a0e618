"""The swap: two renames in one transaction, and no moment in which a write could slip between.

One session renames. PostgreSQL first locks the database itself, so that new connections wait, and
then waits up to five seconds for the sessions in it to go. Meanwhile another session ends them
all, and only then do we let go of our own, which has held the tables locked until here. Whoever is
killed, at whatever instant: the transaction is there as a whole or not at all.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from psycopg.sql import SQL, Composed, Identifier, Literal

from taly.database.checkpoint.session import explained
from taly.database.restore.asides import Aside, aside_of
from taly.database.restore.beside import Beside
from taly.database.restore.fence import Fence
from taly.database.restore.job import Job
from taly.database.restore.names import Label, written
from taly.errors import TalyError, VendorUnavailable

TRIES = 4
PATIENCE_S = 4.0
"""Of PostgreSQL's five seconds: later than this we do not let go of our own locks any more."""
LOCK_WAIT_MS = 5_000
LOOK_S = 0.005

GRANTED = """
SELECT count(*) FROM pg_locks
WHERE pid = %s AND locktype = 'object' AND classid = 'pg_database'::regclass AND objid = %s
  AND mode = 'AccessExclusiveLock' AND granted
"""
OURS = "SELECT pid FROM pg_stat_activity WHERE datid = %s AND application_name = ANY (%s)"
TABLE_LOCKS = """
SELECT l.pid, count(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.database = %s AND a.application_name = ANY (%s) AND l.locktype = 'relation' AND l.granted
  AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
GROUP BY l.pid
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Which database takes whose place."""

    live: int
    """OID of the one that goes."""
    incoming: str
    incoming_oid: int
    label: Label
    back: Aside | None
    """For an undo: the incoming one as it was put aside, to be as it was before."""
    release: Callable[[], None]
    """Closes all sessions of ours in both databases."""


def table_locks(fence: Fence, live: int) -> Mapping[int, int]:
    """Which sessions of ours hold how many locks on tables of the live database."""
    return dict(fence.rows(TABLE_LOCKS, (live, list(fence.names))))


def swap(job: Job, fence: Fence, renamer: psycopg.Connection, exchange: Exchange) -> None:
    """Do it, from inside the write pause.

    Raises VendorRefused or VendorUnavailable; then nothing was renamed, unless the message says
    that nobody knows.
    """
    locks = table_locks(fence, exchange.live)
    for attempt in range(1, TRIES + 1):
        job.say("the databases change places" if attempt == 1 else f"swap, try {attempt}")
        try:
            _attempt(job, fence, renamer, exchange, locks)
        except _Again:
            continue
        except psycopg.Error as error:
            _settle(job, fence, error)
        return
    raise VendorUnavailable(
        f"{job.target.place} was never without sessions of others for {TRIES} tries",
        reference="restore-sessions-stay",
        hint=f"taly resume {job.run}",
    )


class _Again(Exception):
    """The database was not free in time; our locks still hold."""


def _attempt(
    job: Job,
    fence: Fence,
    renamer: psycopg.Connection,
    exchange: Exchange,
    locks: Mapping[int, int],
) -> None:
    released = False
    pid = renamer.info.backend_pid
    fence.end_sessions(exchange.incoming_oid, _ours(fence, exchange.incoming_oid))
    renaming = Beside(lambda: _rename(job, renamer, exchange), lambda: fence.cancel(pid))
    try:
        with renaming:
            _wait_for_lock(fence, renaming, pid, exchange.live)
            since = time.monotonic()
            fence.end_sessions(exchange.live, _ours(fence, exchange.live))
            if renaming.is_over or time.monotonic() - since > PATIENCE_S:
                renaming.wait(lambda: None)
            _check_still_locked(job, fence, exchange, locks)
            released = True
            exchange.release()
            for oid in (exchange.live, exchange.incoming_oid):
                fence.end_sessions(oid)
            renaming.wait(lambda: None)
        _commit(renamer)
    except (psycopg.errors.ObjectInUse, psycopg.errors.LockNotAvailable):
        renamer.rollback()
        if released:
            raise
        raise _Again from None
    except BaseException:
        renamer.close()  # had it renamed already, because our session was ended: that is undone
        raise


def _rename(job: Job, renamer: psycopg.Connection, exchange: Exchange) -> None:
    for statement in _statements(job, exchange):
        renamer.execute(statement)


def _commit(renamer: psycopg.Connection) -> None:
    """The instant in which the world changes; a decision of its own, when all was looked at."""
    renamer.commit()


def _statements(job: Job, exchange: Exchange) -> list[SQL | Composed]:
    live, aside = Identifier(job.database), Identifier(job.aside)
    out: list[SQL | Composed] = [
        SQL("SET LOCAL lock_timeout = {}").format(Literal(LOCK_WAIT_MS)),
        SQL("SET LOCAL synchronous_commit = on"),
        SQL("ALTER DATABASE {} RENAME TO {}").format(live, aside),
        SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(exchange.incoming), live),
        SQL("COMMENT ON DATABASE {} IS {}").format(aside, Literal(written(exchange.label))),
        # Whoever finds it shall not take it for the live one and write there.
        SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(aside),
    ]
    if exchange.back is not None:
        was = exchange.back.label
        out.append(SQL("COMMENT ON DATABASE {} IS {}").format(live, Literal(was.comment)))
        name = SQL("default_transaction_read_only")
        out.append(
            SQL("ALTER DATABASE {} RESET {}").format(live, name)
            if was.read_only is None
            else SQL("ALTER DATABASE {} SET {} = {}").format(live, name, Literal(was.read_only))
        )
    return out


def _wait_for_lock(fence: Fence, renaming: Beside, pid: int, live: int) -> None:
    while not fence.one(GRANTED, pid, live):
        if renaming.is_over:
            renaming.wait(lambda: None)
            return
        time.sleep(LOOK_S)


def _ours(fence: Fence, oid: int) -> list[int]:
    return [pid for (pid,) in fence.rows(OURS, (oid, list(fence.names)))]


def _check_still_locked(
    job: Job, fence: Fence, exchange: Exchange, locks: Mapping[int, int]
) -> None:
    """Had our session been ended, somebody could have written since the last pass."""
    now = table_locks(fence, exchange.live)
    if any(now.get(pid, 0) < count for pid, count in locks.items()):
        raise VendorUnavailable(
            f"our session that held the tables of {job.target.place} was ended by somebody",
            reference="database-unreachable",
            hint=f"taly resume {job.run}",
        )


def _settle(job: Job, fence: Fence, error: psycopg.Error) -> None:
    """The answer was lost or bad: is it done? Returns when it is."""
    with suppress(TalyError):
        if aside_of(fence, job.run, job.database) is not None:
            return
    raise explained(job.target, error)
