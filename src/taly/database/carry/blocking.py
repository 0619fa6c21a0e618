"""The write pause: writers of the live database wait, readers go on."""

import time
from collections.abc import Iterable

import psycopg

from taly.database.carry.sql import lit, number, q, run
from taly.database.carry.work import LEDGER, Name, Works
from taly.errors import VendorUnavailable
from taly.model.ports import Say

STEP_BACK_S = 0.2
"""How long writers may go on between two attempts."""


def lock(
    connection: psycopg.Connection, works: Works, ledger: str, limit_s: float, say: Say
) -> None:
    """Lock every table against writers, all in one transaction that stays open.

    While we wait for one lock, writers queue behind us: so each attempt is short, and is given up
    as a whole. Raises VendorUnavailable `carry-locked` when that does not succeed in time.
    """
    names = _names(connection, works, ledger)
    end = time.monotonic() + limit_s
    while True:
        try:
            for name in names:
                run(connection, f"LOCK TABLE {q(*name)} IN SHARE MODE")
            _lock_large_objects(connection)
            return
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            connection.rollback()
            if time.monotonic() > end:
                raise VendorUnavailable(
                    "the tables could not be locked: other transactions that write last long",
                    reference="carry-locked",
                    hint="taly rollback   (when they have ended)",
                ) from None
            say("waits for other transactions to end")
            time.sleep(STEP_BACK_S)


def _names(connection: psycopg.Connection, works: Works, ledger: str) -> Iterable[Name]:
    names = {work.source for work in works.tables}
    known = f"SELECT (to_regclass({lit(q(ledger, LEDGER))}) IS NOT NULL)::int"
    if number(connection, known):
        names.add((ledger, LEDGER))
    return sorted(names)


def _lock_large_objects(connection: psycopg.Connection) -> None:
    """As far as we may: on most managed servers nobody may lock a system catalog."""
    run(connection, "SAVEPOINT taly_objects")
    try:
        run(connection, "LOCK TABLE pg_catalog.pg_largeobject IN SHARE MODE")
    except psycopg.errors.InsufficientPrivilege:
        run(connection, "ROLLBACK TO SAVEPOINT taly_objects")
