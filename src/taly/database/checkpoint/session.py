"""Connections for making and proving checkpoints: one snapshot, exact text, no time limits."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from taly.database.connection import CONNECT_TIMEOUT_S, Target, meaning, without_password
from taly.database.ledger import LOCK
from taly.errors import EnvironmentLocked, TalyError, VendorRefused, VendorUnavailable

DEPLOY_WAIT_MS = 3_000
"""How long a `migrate deploy` may take to end before a checkpoint gives up."""
LOCK_WAIT_MS = 20_000

EXACT = {
    "search_path": "",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": str(LOCK_WAIT_MS),
    "row_security": "off",  # an error instead of rows silently left out
    "bytea_output": "hex",
    "extra_float_digits": "1",  # the shortest text that reads back as the same number
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "client_encoding": "UTF8",
}
"""Text made under these reads back as the same value, whatever the database's own settings."""
SINCE_17 = {"transaction_timeout": "0"}


@contextmanager
def snapshot(target: Target, database: str = "") -> Iterator[psycopg.Connection]:
    """One read-only REPEATABLE READ transaction that may last as long as it takes.

    `database` is another one of the same server. Raises VendorUnavailable, VendorRefused.
    """
    with connected(target, database) as connection:
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        settings = dict(EXACT)
        if connection.info.server_version >= 170_000:
            settings |= SINCE_17
        for name, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, true)", (name, value))
        yield connection


def open_session(
    target: Target, application: str, *, database: str = "", autocommit: bool = False
) -> psycopg.Connection:
    """A session that notices when the other side is gone; the caller closes it.

    `application` is what the server calls it, cut at 63 bytes.
    """
    return psycopg.connect(
        make_conninfo(target.url, **({"dbname": database} if database else {})),
        connect_timeout=CONNECT_TIMEOUT_S,
        application_name=application.encode()[:63].decode(errors="ignore"),
        prepare_threshold=None,
        keepalives_idle=30,
        keepalives_interval=10,
        keepalives_count=6,
        tcp_user_timeout=90_000,
        autocommit=autocommit,
    )


@contextmanager
def connected(
    target: Target, database: str = "", *, autocommit: bool = False
) -> Iterator[psycopg.Connection]:
    """A connection whose failures come out as ours."""
    name = _application(target)
    try:
        with open_session(target, name, database=database, autocommit=autocommit) as connection:
            yield connection
    except psycopg.Error as error:
        raise explained(target, error) from None  # libpq's own text may hold parts of the URL


def _application(target: Target) -> str:
    """What the server calls our sessions; a run that must find its own again puts it in the URL."""
    given = str(conninfo_to_dict(target.url).get("application_name") or "")
    return given if given.startswith("taly") else "taly"


def explained(target: Target, error: psycopg.Error) -> TalyError:
    """What a failure means for a checkpoint."""
    said = without_password(target, error.diag.message_primary or "")
    match error:
        case psycopg.errors.InsufficientPrivilege():
            return VendorRefused(
                f"database {target.place}: {said}",
                reference="checkpoint-forbidden",
                hint=f"GRANT pg_read_all_data TO the user in {target.url_env}",
            )
        case psycopg.errors.DiskFull():
            return VendorRefused(
                f"the server of {target.place} has no room left: {said}",
                reference="database-disk-full",
                hint="taly checkpoint prune",
            )
        case psycopg.errors.ObjectInUse():
            return VendorUnavailable(
                f"database {target.place} is in use: {said}",
                reference="database-in-use",
                hint="taly checkpoint --backup dump",
            )
        case psycopg.errors.LockNotAvailable():
            return VendorUnavailable(
                f"database {target.place}: another session holds a lock: {said}",
                reference="database-locked",
                hint="taly checkpoint",
            )
        case psycopg.errors.UndefinedTable() | psycopg.errors.UndefinedColumn():
            return VendorUnavailable(
                f"database {target.place} was changed meanwhile: {said}",
                reference="database-changed",
                hint="taly checkpoint",
            )
    return meaning(target, error)


def check_no_deploy(target: Target) -> None:
    """Take Prisma's lock and let it go at once; EnvironmentLocked while a deploy is under way.

    In a transaction, so that it also holds behind a pooler; never kept while we work, for the
    deploy that follows would wait for it.
    """
    with connected(target) as connection:
        connection.execute("SELECT set_config('lock_timeout', %s, true)", (str(DEPLOY_WAIT_MS),))
        try:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        except psycopg.errors.LockNotAvailable:
            raise EnvironmentLocked(
                f"a `prisma migrate` is under way on {target.place}: it holds its lock",
                reference="checkpoint-deploy-running",
                hint="taly checkpoint   (when it has ended)",
            ) from None
        finally:
            connection.rollback()
