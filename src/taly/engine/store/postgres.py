"""The store's database for a team: PostgreSQL, in a schema `taly` of its own."""

import re
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import dict_row

from taly.engine.store.database import Result, Row, Transaction, queries, unreachable, upgrade

NOW = "extract(epoch from clock_timestamp())::double precision"
LOCK_NAMES = "lock table release_name in share row exclusive mode"
RETRY_S = 15.0
"""Real seconds for which a lost connection is made anew before the run stops."""
CONNECT_TIMEOUT_S = 5
IDLE_S = 10
"""Real seconds after which the server ends a transaction whose process says nothing: a frozen one
would otherwise keep its locks, and nobody could take its run over."""
SERVER_SIDE = {
    "tcp_keepalives_idle": 5,
    "tcp_keepalives_interval": 2,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""So that the server, too, notices a machine that is cut off; by itself it would take hours."""
ANSWER_S = 15.0
"""Real seconds for which an answer is waited for: longer than IDLE_S, for a row may be locked by a
frozen process, and shorter than a lease. A network that swallows everything never says so."""
LOST = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,
)
SETUP_LOCK = 0x7461_6C79
"""The advisory lock under which the schema is made: two first processes may come at once."""

Value = TypeVar("Value")


class _Impatient(psycopg.Connection[dict[str, Any]]):
    """A connection on which every answer comes within ANSWER_S, or the connection is lost."""

    def wait(self, gen: PQGen[Value], interval: float = 0.1, timeout: float | None = None) -> Value:
        if timeout is not None:  # psycopg's own, while it cancels
            return super().wait(gen, interval, timeout)
        return super().wait(_limited(gen, time.monotonic() + ANSWER_S), interval)


def _limited(gen: PQGen[Value], give_up: float) -> PQGen[Value]:
    """The same conversation, ended when nothing is ready to be read by then."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > give_up:
                raise psycopg.OperationalError("the server does not answer")
            wanted = gen.send(ready)
    except StopIteration as end:
        value: Value = end.value
        return value


class PostgresDatabase:
    """One connection, used by one thread at a time and made anew when it breaks."""

    def __init__(self, url: str) -> None:
        """Connect, and make or upgrade the schema."""
        self._url = url
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[dict[str, Any]] | None = None
        try:
            self.run(self._prepare, again=True)
        except BaseException:
            self.close()
            raise

    def _prepare(self, tx: Transaction) -> None:
        tx.script(f"select pg_advisory_xact_lock({SETUP_LOCK})")
        tx.script("create schema if not exists taly")
        tx.script("create table if not exists schema_version (version integer primary key)")
        upgrade(tx, int(tx.rows("read_version")[0]["version"]))

    def run(self, work: Callable[[Transaction], Result], *, again: bool) -> Result:
        """Do the work in one transaction; see Database."""
        give_up = time.monotonic() + RETRY_S
        with self._lock:
            while True:
                begun = False
                try:
                    connection = self._connected()
                    connection.execute("begin")
                    begun = True
                    result = work(_Statements(connection))
                    connection.execute("commit")
                except LOST as error:
                    self._disconnect()
                    # Once begun, the commit may have been done and only its answer lost.
                    if (begun and not again) or time.monotonic() > give_up:
                        raise unreachable(error) from error
                    time.sleep(0.2)
                except BaseException:
                    self._roll_back()
                    raise
                else:
                    return result

    def _connected(self) -> psycopg.Connection[dict[str, Any]]:
        if self._connection is None:
            connection = _Impatient.connect(
                self._url,
                autocommit=True,
                row_factory=dict_row,
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name="taly",
                keepalives_idle=5,
                keepalives_interval=2,
                keepalives_count=3,
                tcp_user_timeout=10_000,
            )
            connection.execute("set search_path to taly")
            connection.execute("set synchronous_commit to on")
            idle = f"set idle_in_transaction_session_timeout to '{IDLE_S}s'"
            connection.execute(idle.encode())
            for setting, value in SERVER_SIDE.items():
                connection.execute(f"set {setting} to {value}".encode())
            self._connection = connection
        return self._connection

    def _roll_back(self) -> None:
        if self._connection is not None:
            try:
                self._connection.execute("rollback")
            except psycopg.Error:
                self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._disconnect()


class _Statements:
    """Statements on an open transaction."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        self._connection = connection

    def rows(self, query: str, **values: object) -> list[Row]:
        cursor = self._connection.execute(_sql(query), values)
        return list(cursor.fetchall()) if cursor.description else []

    def many(self, query: str, values: list[dict[str, object]]) -> None:
        # Not executemany: that is a pipeline, behind which the server does not count IDLE_S.
        for one in values:
            self._connection.execute(_sql(query), one)

    def script(self, sql: str) -> None:
        self._connection.execute(sql.encode())


@cache
def _sql(query: str) -> bytes:
    named = re.sub(r":(\w+)", r"%(\1)s", queries()[query])
    locked = named.replace("{for_update}", "for update").replace("{lock_names}", LOCK_NAMES)
    locked = locked.replace("{unless_busy}", "for update skip locked")
    return locked.replace("{now}", NOW).encode()
