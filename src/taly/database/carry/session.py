"""Sessions of a carry-over, and what their failures mean."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType

import psycopg

from taly.database.carry.sql import q, run
from taly.database.checkpoint.session import EXACT, SINCE_17, open_session
from taly.database.connection import Target, without_password
from taly.errors import TalyError, VendorRefused, VendorUnavailable

LOCK_WAIT_MS = 700
"""Shorter than `deadlock_timeout`: whoever waits for us in a circle is not the one who is ended."""
OURS = {
    "lc_monetary": "C",
    "standard_conforming_strings": "on",
    "lock_timeout": str(LOCK_WAIT_MS),
    "synchronous_commit": "on",
    "xmloption": "content",
    "default_transaction_read_only": "off",
    "work_mem": "64MB",  # the sums of many buckets do not fit into the default, and went to disk
}
FRESH = {
    # Few rows of a large table by its index. In the source that would lead to index-only scans,
    # which are slow where users have just written.
    "random_page_cost": "1.1",
}
"""For the database that was just made, and that only we write to."""


def opened(
    target: Target,
    name: str,
    *,
    autocommit: bool = False,
    more: Mapping[str, str] = MappingProxyType({}),
) -> psycopg.Connection:
    """A session in which text reads back as the same value; the caller closes it.

    `more`: settings beside those.
    """
    connection = open_session(target, f"taly-carry {name}", autocommit=True)
    settings = {**EXACT, **OURS, **more, "search_path": q(target.schema)}
    if connection.info.server_version >= 170_000:
        settings |= SINCE_17
    try:
        for setting, value in settings.items():
            run(connection, "SELECT set_config(%s, %s, false)", (setting, value))
    except BaseException:
        connection.close()
        raise
    connection.autocommit = autocommit
    return connection


def close(connection: psycopg.Connection | None) -> None:
    """Close a session, whatever state it is in."""
    if connection is not None:
        with suppress(psycopg.Error):
            connection.close()


@contextmanager
def explained(target: Target) -> Iterator[None]:
    """Failures of either database come out as ours, without the URL's password."""
    try:
        yield
    except psycopg.Error as error:
        raise _meaning(target, error) from None  # libpq's own text may hold parts of the URL


def _meaning(target: Target, error: psycopg.Error) -> TalyError:
    said = without_password(
        target, error.diag.message_primary or " ".join(str(error).split())[-160:]
    )
    said = said or type(error).__name__
    match error:
        case psycopg.errors.InsufficientPrivilege():
            return VendorRefused(
                f"database {target.place}: {said}",
                reference="carry-forbidden",
                hint=f"the user in {target.url_env} must own the tables",
            )
        case psycopg.errors.DiskFull():
            return VendorRefused(
                f"the server of {target.place} has no room left: {said}",
                reference="database-disk-full",
                hint="taly checkpoint prune",
            )
        case psycopg.errors.LockNotAvailable() | psycopg.errors.DeadlockDetected():
            return VendorUnavailable(
                f"database {target.place}: another session holds a lock: {said}",
                reference="database-locked",
                hint="taly rollback   (when it has ended)",
            )
        case psycopg.OperationalError():
            return VendorUnavailable(
                f"database {target.place}: the connection was lost during the carry-over: {said}",
                reference="carry-connection-lost",
                hint="taly rollback   (it starts from scratch)",
            )
    return VendorRefused(
        f"database {target.place}: the carry-over failed: {said}",
        reference="carry-failed",
        hint="taly rollback --help",
    )
