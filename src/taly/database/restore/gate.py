"""Prisma's own lock on the live database, held from the beginning until the swap.

A `prisma migrate deploy` that came in between would change the schema under the carry-over; it
waits ten seconds for the lock and then says so.
"""

import time
from contextlib import ExitStack, suppress

import psycopg

from taly.database.checkpoint.session import DEPLOY_WAIT_MS, connected, explained
from taly.database.ledger import LOCK
from taly.database.restore.job import Job
from taly.errors import TalyError, VendorRefused

LOOK_S = 0.05
TAKE = "SELECT pg_try_advisory_lock(%s)"


class Gate:
    """The session that holds it; also the one for short reads of the live database."""

    def __init__(self, job: Job) -> None:
        """Take the lock; VendorRefused while a `prisma migrate` is under way."""
        self._stack = ExitStack()
        self.connection: psycopg.Connection = self._stack.enter_context(
            connected(job.target, autocommit=True)
        )
        deadline = time.monotonic() + DEPLOY_WAIT_MS / 1000
        while not self._take(job):
            if time.monotonic() > deadline:
                self.close()
                raise VendorRefused(
                    f"a `prisma migrate` is under way on {job.target.place}: it holds its lock",
                    reference="restore-migrate-running",
                    hint="taly status   (again when it has ended)",
                )
            time.sleep(LOOK_S)

    def _take(self, job: Job) -> bool:
        try:
            row = self.connection.execute(TAKE, (LOCK,)).fetchone()
        except psycopg.Error as error:
            raise explained(job.target, error) from None
        return bool(row and row[0])

    def close(self) -> None:
        """End the session and with it the lock. Safe to call twice."""
        with suppress(TalyError):
            self._stack.close()
