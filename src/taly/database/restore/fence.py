"""One process at a time works on a run's databases: a session that holds a lock, and ends others.

It is a session with another database of the server, opened before anything else, because the
databases that are swapped must have no session at all; everything that is done to databases as a
whole is done through it.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any, LiteralString

import psycopg
from psycopg.abc import Query
from psycopg.sql import SQL, Identifier, Literal

from taly.database.checkpoint.session import connected, explained
from taly.database.connection import Target
from taly.database.restore.places import at, database_of, server_of
from taly.errors import TalyError, VendorRefused, VendorUnavailable

MAINTENANCE = ("postgres", "template1")
END_WAIT_S = 10.0
LOOK_S = 0.01

LOCK = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
OF_NAME = """
SELECT pid FROM pg_stat_activity
WHERE application_name = ANY (%s) AND pid <> pg_backend_pid() AND usename = current_user
"""
OTHER_SESSIONS = """
SELECT pid, coalesce(usename, usesysid::text), application_name FROM pg_stat_activity
WHERE datid = %s AND usesysid IS NOT NULL AND backend_type IS DISTINCT FROM 'parallel worker'
  AND pid <> ALL (%s)
"""
"""An autovacuum worker has no user; PostgreSQL sends it away itself. Of other users' sessions a
user without superuser's rights sees little more than that they are there."""
END = "SELECT pg_terminate_backend(%s)"
OID = "SELECT oid::bigint FROM pg_database WHERE datname = %s"


class Fence:
    """The session; `close` it last."""

    def __init__(
        self, target: Target, session: str, others: Sequence[str] = (), *, hint: str = "taly runs"
    ) -> None:
        """Connect, and name the session; `others` are names that this run's sessions also have.

        `hint` is the command for when sessions do not end. Raises VendorRefused when no database
        lets us in.
        """
        self.target = target
        self.session = session
        self.hint = hint
        self.names = [session, *others]
        self.database = maintenance_of(target)
        self._stack = ExitStack()
        self._connection = self._stack.enter_context(self.another())
        self._holds = False

    def another(self, *, autocommit: bool = True) -> Any:
        """One more session beside this one."""
        return connected(
            at(self.target, self.database, session=self.session), autocommit=autocommit
        )

    def rows(self, query: Query, given: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement; rows when it gives some. Failures come out as ours."""
        try:
            cursor = self._connection.execute(query, given or None)
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            raise explained(self.target, error) from None

    def one(self, query: LiteralString, *given: Any) -> Any:
        """The first value of the first row; None without a row."""
        found = self.rows(query, given)
        return found[0][0] if found else None

    @property
    def server_version(self) -> int:
        """As libpq has it, e.g. 150018."""
        return int(self._connection.info.server_version)

    @property
    def stands(self) -> bool:
        """Whether we still have the lock: nobody else has taken over."""
        if not self._holds:
            return False
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def take(self) -> None:
        """End every session that an earlier process of this run left, frozen or not; lock.

        Raises VendorUnavailable when they do not end.
        """
        deadline = time.monotonic() + END_WAIT_S
        while True:
            for (pid,) in self.rows(OF_NAME, (self.names,)):
                self.rows(END, (pid,))
            if self.try_take() and not self.rows(OF_NAME, (self.names,)):
                return
            if time.monotonic() > deadline:
                raise VendorUnavailable(
                    f"sessions named {self.session!r} on {server_of(self.target)} do not end",
                    reference="restore-sessions-stay",
                    hint=self.hint,
                )
            time.sleep(LOOK_S)

    def try_take(self) -> bool:
        """Lock, if nobody has it."""
        self._holds = self._holds or bool(self.one(LOCK, self.session))
        return self._holds

    def oid_of(self, name: str) -> int:
        """A database's; 0 when there is none of that name."""
        return int(self.one(OID, name) or 0)

    def end_sessions(self, oid: int, spared: Sequence[int] = ()) -> None:
        """End all sessions of a database but the spared ones, and wait until they are gone.

        Raises VendorRefused when they are not ours to end, VendorUnavailable when they stay.
        """
        deadline = time.monotonic() + END_WAIT_S
        while found := self.rows(OTHER_SESSIONS, (oid, list(spared))):
            for pid, user, application in found:
                self._end(pid, user, application)
            if time.monotonic() > deadline:
                raise VendorUnavailable(
                    f"{len(found)} sessions of {self.target.place} do not end",
                    reference="restore-sessions-stay",
                    hint=self.hint,
                )
            time.sleep(LOOK_S)

    def _end(self, pid: int, user: str, application: str) -> None:
        try:
            self._connection.execute(END, (pid,))
        except psycopg.errors.InsufficientPrivilege:
            raise not_ours(self.target, user, application) from None
        except psycopg.Error as error:
            raise explained(self.target, error) from None

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected to it; nothing when it is not there."""
        if self.oid_of(name):
            self.rows(SQL("ALTER DATABASE {} IS_TEMPLATE false").format(Identifier(name)))
            self.rows(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))

    def cancel(self, pid: int) -> None:
        """Make a session give up what it is doing."""
        self.rows(SQL("SELECT pg_cancel_backend({})").format(Literal(pid)))

    def close(self) -> None:
        """Let go of the lock and end the session."""
        with suppress(TalyError):
            self._stack.close()


def maintenance_of(target: Target) -> str:
    """A database of the server that is none of those to be swapped.

    Raises VendorRefused when none lets us in.
    """
    refused: TalyError | None = None
    for database in (name for name in MAINTENANCE if name != database_of(target)):
        try:
            with connected(target, database, autocommit=True):
                return database
        except VendorRefused as error:
            refused = error
    raise VendorRefused(
        f"databases can only be renamed from another one, and {server_of(target)} lets us into"
        f" neither {' nor '.join(MAINTENANCE)}: {refused.message if refused else ''}",
        reference="restore-no-maintenance",
        hint=f"GRANT CONNECT ON DATABASE postgres TO the user in {target.url_env}",
    )


def not_ours(target: Target, user: str, application: str) -> VendorRefused:
    """The refusal when somebody else's session stands in the way."""
    return VendorRefused(
        f"{target.place}: user {user} is connected ({application or 'no application name'}), and"
        f" the user in {target.url_env} may not end that session",
        reference="restore-sessions-of-others",
        hint=f"GRANT pg_signal_backend TO the user in {target.url_env}",
    )
