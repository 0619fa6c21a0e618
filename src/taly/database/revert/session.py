"""The one session in which a database is changed: Prisma's lock, patience, and what failures mean.

The session is nobody else's and no pooler's. When our process is killed the server ends it: what
was not committed is gone, and so is the lock.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg
from psycopg.sql import SQL, Composed

from taly.database.checkpoint.session import connected
from taly.database.connection import Target, without_password
from taly.database.ledger import LOCK
from taly.database.rescue.bundle import Bundle
from taly.errors import Interrupted, TalyError, VendorRefused, VendorUnavailable
from taly.model.ports import Say

PRISMA_WAIT_S = 10.0
"""How long Prisma itself waits for its lock before it says P1002."""
LOOK_S = 0.1
"""A statement that takes long is looked after this often."""
Query = str | Composed | SQL
T = TypeVar("T")

HOLDER = """
SELECT a.pid, coalesce(nullif(a.application_name, ''), 'a program without a name'),
  date_trunc('second', now() - coalesce(a.xact_start, a.query_start, a.backend_start))::text
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid = %s AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
LIMIT 1
"""
SETTINGS = {
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "client_connection_check_interval": "1000",  # a killed process is noticed while a query runs
    "transaction_timeout": "0",
}
"""Of the session, where the server knows them."""
HOLDERS = """
SELECT DISTINCT a.pid, coalesce(nullif(a.application_name, ''), 'a program without a name'),
  a.state, c.relname
FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_class c ON c.oid = l.relation
WHERE l.granted AND a.pid <> pg_backend_pid() AND l.database =
  (SELECT oid FROM pg_database WHERE datname = current_database())
  AND c.relkind IN ('r', 'p') AND c.relname = ANY (%s) ORDER BY 1 LIMIT 3
"""
PAUSE_S = 0.5
"""Between two tries for the tables' locks: everybody who waited behind us goes on."""
EXACT = {
    "row_security": "off",  # an error instead of rows silently left out
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
}


@contextmanager
def holding(target: Target, say: Say) -> Iterator[psycopg.Connection]:
    """A session that holds Prisma's lock. Raises VendorRefused when somebody else keeps it."""
    with connected(target, autocommit=True) as connection:
        try:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            for name, value in SETTINGS.items():
                with suppress(psycopg.errors.UndefinedObject, psycopg.errors.FeatureNotSupported):
                    connection.execute("SELECT set_config(%s, %s, false)", (name, value))
            path = SQL("SET search_path TO {}").format(psycopg.sql.Identifier(target.schema))
            connection.execute(path)
            _take_lock(connection, target, say)
            yield connection
        except psycopg.Error as error:
            raise failure(target, error) from None  # libpq's own text may hold parts of the URL


def _take_lock(connection: psycopg.Connection, target: Target, say: Say) -> None:
    until = time.monotonic() + PRISMA_WAIT_S
    while True:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
        if row == (True,):
            return
        holder = lock_holder(connection)
        if time.monotonic() > until:
            raise VendorRefused(
                f"Prisma's lock on {target.place} is held by {holder or 'another session'}: a"
                " `prisma migrate` is under way, or one was left behind",
                reference="database-migrating",
                hint="wait until it has ended, then: taly plan",
            )
        say(f"waits for Prisma's lock, held by {holder or 'another session'}")
        time.sleep(LOOK_S)


def lock_holder(connection: psycopg.Connection) -> str:
    """Who holds Prisma's lock, in words; empty = nobody that can be seen."""
    row = connection.execute(HOLDER, (LOCK,)).fetchone()
    return f"process {row[0]} ({row[1]}), for {row[2]}" if row else ""


def patiently(connection: psycopg.Connection, query: Query, say: Say, note: str) -> int:
    """Run a statement that may take long and look after it: rows that it touched.

    When `say` raises, the statement is cancelled first.
    """
    text: Any = query.encode() if isinstance(query, str) else query
    return attended(connection, lambda: connection.execute(text).rowcount, say, note)


def attended(connection: psycopg.Connection, work: Callable[[], T], say: Say, note: str) -> T:
    """Do work on a connection in a thread of its own while `say` is told that it goes on."""
    say(note)
    result: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:  # told again where it is waited for
            failed.append(error)

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    try:
        worker.join(LOOK_S)
        while worker.is_alive():
            say(note)
            worker.join(LOOK_S)
    except BaseException:
        with suppress(psycopg.Error):
            connection.cancel_safe(timeout=5)
        worker.join()
        raise
    if failed:
        raise failed[0]
    return result[0]


@contextmanager
def exact(connection: psycopg.Connection) -> Iterator[None]:
    """Within a transaction: values are printed so that they read back as they are."""
    old = {
        name: str(
            (connection.execute("SELECT current_setting(%s)", (name,)).fetchone() or ("",))[0]
        )
        for name in EXACT
    }
    _set(connection, EXACT)
    yield
    _set(connection, old)


def _set(connection: psycopg.Connection, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, true)", (name, value))


def failure(target: Target, error: psycopg.Error) -> TalyError:
    """What a failure means, when nothing was committed."""
    said = without_password(target, error.diag.message_primary or _first_line(error))
    detail = without_password(target, error.diag.message_detail or "")
    said = f"{said} ({detail})" if detail else said
    if error.diag.sqlstate is None or error.diag.sqlstate[:2] in ("08", "57", "40"):
        return VendorUnavailable(
            f"the session with {target.place} broke off, and nothing was changed: {said}",
            reference="database-unreachable",
            hint="taly status",
        )
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return VendorRefused(
            f"database {target.place}: {said}; nothing was changed",
            reference="revert-forbidden",
            hint=f"the user in {target.url_env} must own the tables, as it does when it migrates",
        )
    return VendorRefused(
        f"database {target.place} does not do it: {said}; nothing was changed",
        reference="revert-failed",
        hint="taly plan",
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def refused(error: TalyError) -> TalyError:
    """As a write's port wants it: what was found wrong beforehand surely changed nothing."""
    if isinstance(error, VendorRefused | VendorUnavailable | Interrupted):
        return error
    return VendorRefused(error.message, reference=error.reference, hint=error.hint)


def commit(connection: psycopg.Connection, target: Target, bundle: Bundle, what: str) -> None:
    """COMMIT; VendorUnavailable when the answer was lost: then the outcome is not known.

    The bundle stays in that case: it may be all that is left of what was dropped.
    """
    try:
        connection.execute("COMMIT")
    except psycopg.Error as error:
        if not isinstance(failure(target, error), VendorUnavailable):
            bundle.discard()
            raise
        raise VendorUnavailable(
            f"the connection to {target.place} was lost at the commit: whether {what} shows when"
            " the database can be asked again",
            reference="database-unreachable",
            hint="taly status",
        ) from None


def barred(error: psycopg.errors.IntegrityError) -> VendorRefused:
    """Rows do not fit: a value that is required and not there, one that is there twice."""
    detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
    return VendorRefused(
        f"rows written since bar the way: {error.diag.message_primary}{detail}; nothing was"
        " changed",
        reference="revert-barred",
        hint="change these rows, or: taly plan --database restore",
    )


def wait(connection: psycopg.Connection, tables: Sequence[tuple[str, str]], say: Say) -> None:
    """Let others go on for a moment, and say for whom we wait."""
    note = f"waits for {holders(connection, tables)}"
    say(note)
    time.sleep(PAUSE_S)
    say(note)


def holders(connection: psycopg.Connection, tables: Sequence[tuple[str, str]]) -> str:
    """Which sessions use these tables, in words."""
    rows = connection.execute(HOLDERS, ([name for _, name in tables],)).fetchall()
    told = [f"process {pid} ({program}, {state}) on {table}" for pid, program, state, table in rows]
    return ", ".join(told) or "other sessions' locks"
