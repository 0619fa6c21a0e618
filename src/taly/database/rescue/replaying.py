"""Put a run's bundles back into a database: in one transaction, one replay at a time."""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import psycopg

from taly.database.checkpoint.session import connected, explained
from taly.database.connection import Target, without_password
from taly.database.rescue.bundle import Reader
from taly.database.rescue.merge import merge
from taly.database.rescue.outcome import Merged
from taly.database.rescue.record import settle
from taly.database.rescue.work import Options
from taly.errors import (
    EnvironmentLocked,
    OutcomeUnknown,
    Refused,
    TalyError,
    VendorRefused,
    VendorUnavailable,
)

Report = Callable[[str, int, int], None]
"""Which step's bundle, rows looked at of a table, and how many it has."""


def replay(
    readers: Sequence[Reader],
    target: Target,
    *,
    options: Options,
    now: datetime,
    dry_run: bool,
    report: Report,
) -> list[Merged]:
    """Put bundles of one database back in this order: all of it, or nothing.

    Raises Refused for a damaged bundle, EnvironmentLocked while another replay of it runs,
    OutcomeUnknown when the connection was lost at the commit, VendorError.
    """
    for reader in readers:
        reader.check()
    with ExitStack() as held:
        for reader in readers:
            held.enter_context(_alone(reader.path))
        return _all(readers, target, options, now, dry_run, report)


def refuse_unfinished(readers: Sequence[Reader]) -> None:
    """Raise Refused when a step may not have been done, or was taken back by an undo."""
    for reader in readers:
        if reader.manifest.state == "taken-back":
            raise Refused(
                f"{reader.manifest.run} was undone, and its rescued rows came back with that: once"
                " more would bring back what was deleted since",
                reference="rescue-taken-back",
                hint=f"taly rescue show {reader.manifest.run}",
            )
        if reader.manifest.state == "prepared":
            run = reader.manifest.run
            raise Refused(
                f"{reader.manifest.step} of {run} wrote its rescue bundle and did not say that it"
                " was done: its rows may all still be in the database",
                reference="rescue-unconfirmed",
                hint=f"taly show {run}; if the step was done:"
                f" taly rescue replay {run} --unconfirmed",
            )


def _all(
    readers: Sequence[Reader],
    target: Target,
    options: Options,
    now: datetime,
    dry_run: bool,
    report: Report,
) -> list[Merged]:
    run = readers[0].manifest.run
    merged: list[Merged] = []
    committing = False
    try:
        with connected(target) as connection, _told(target, run):
            for reader in readers:
                one = merge(
                    connection,
                    reader,
                    now=now,
                    place=target.place,
                    options=options,
                    dry_run=dry_run,
                    progress=partial(report, reader.manifest.step),
                )
                merged.append(one)
            if dry_run:
                connection.rollback()
                return merged
            committing = True
            connection.commit()
            committing = False
    except VendorUnavailable as error:
        if committing:
            raise _unknown(run, error) from error
        raise
    for reader in readers:
        settle(reader.path, committed=True)
    return merged


def _unknown(run: str, error: TalyError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"nobody knows whether what {run} rescued was put back: {error.message}",
        reference="rescue-replay-unknown",
        hint=f"taly rescue replay {run}   (it asks the server, and does nothing twice)",
    )


@contextmanager
def _told(target: Target, run: str) -> Iterator[None]:
    """What a failure means for a replay."""
    again = f"taly rescue replay {run}"
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise VendorRefused(
            f"database {target.place}: {without_password(target, str(error.diag.message_primary))}",
            reference="rescue-forbidden",
            hint=f"a user that owns the tables, then {again} --into NAME_OF_A_VARIABLE",
        ) from None
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
        raise VendorUnavailable(
            f"database {target.place} is busy, and nothing was put back:"
            f" {error.diag.message_primary}",
            reference="database-locked",
            hint=again,
        ) from None
    except psycopg.Error as error:
        raise explained(target, error) from None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise EnvironmentLocked(
            f"another replay of {folder.name} is under way",
            reference="rescue-replay-running",
            hint="taly rescue list   (when it has ended)",
        ) from None
    finally:
        os.close(handle)
