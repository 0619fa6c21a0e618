"""The store's database for one machine: a SQLite file."""

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from taly.engine.store.database import (
    SCHEMA_VERSION,
    Result,
    Row,
    Transaction,
    queries,
    unreachable,
    upgrade,
)
from taly.errors import OutcomeUnknown, UsageError

BUSY_TIMEOUT_S = 30.0
LOOK_S = 0.01
"""Real seconds after which a new file is tried again that somebody else switches."""
NOW = "((julianday('now') - 2440587.5) * 86400.0)"


class SqliteDatabase:
    """One connection to one file, used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file, made for its owner's eyes only where it is new."""
        make_private(path)
        self._path = path
        self._lock = threading.Lock()
        # Transactions are begun and ended by us, so that a write takes its lock at the beginning.
        self._connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        self._connection.row_factory = sqlite3.Row
        self._connection.text_factory = _text
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise _told(error, self._path) from error

    def _prepare(self) -> None:
        ask = self._connection.execute
        keep_a_log(self._connection)
        # An intent must have reached the disk before the vendor is called.
        ask("pragma synchronous = full")
        ask("pragma fullfsync = on")
        if self._version() != SCHEMA_VERSION:
            self.run(self._upgrade, again=True)

    def _version(self) -> int:
        found = self._connection.execute(
            "select 1 from sqlite_master where name = 'schema_version'"
        ).fetchone()
        if not found:
            return 0
        return int(self._connection.execute(queries()["read_version"]).fetchone()[0])

    def _upgrade(self, tx: Transaction) -> None:
        tx.script("create table if not exists schema_version (version integer primary key)")
        upgrade(tx, self._version())

    def run(self, work: Callable[[Transaction], Result], *, again: bool) -> Result:
        """Do the work in one transaction; see Database. A local file loses no answers."""
        with self._lock:
            try:
                self._connection.execute("begin immediate")
                result = work(_Statements(self._connection))
                self._connection.execute("commit")
            except sqlite3.OperationalError as error:
                self._roll_back()
                raise _told(error, self._path) from error
            except BaseException:
                self._roll_back()
                raise
            return result

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("rollback")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def keep_a_log(connection: sqlite3.Connection) -> None:
    """Switch a new file to a write-ahead log.

    SQLite does not wait here for another who is about to do so too: both hold the file for
    reading, so waiting could last for ever. https://www.sqlite.org/c3ref/busy_handler.html
    """
    last = time.monotonic() + BUSY_TIMEOUT_S
    while connection.execute("pragma journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("pragma journal_mode = wal")
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > last:
                raise
            time.sleep(LOOK_S)


def _text(raw: bytes) -> str:
    """Bytes that are no text stay tellable: `taly audit verify` names where they stand."""
    return raw.decode("utf-8", "surrogateescape")


def make_private(path: Path) -> None:
    """A private file, where there is none.

    One that is there, or is made meanwhile, is not opened: closing it again would drop the
    locks of every other connection of this process to it (POSIX), and SQLite would then take the
    file for nobody's.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        elif path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        elif not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UsageError(
            f"the store {path} cannot be opened: {error.strerror}",
            reference="store-not-writable",
            hint="taly runs --store FILE",
        ) from error


def _told(error: sqlite3.DatabaseError, path: Path) -> OutcomeUnknown:
    """The error in words that say what to mend: https://www.sqlite.org/rescode.html."""
    code = _code(error)
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return OutcomeUnknown(
            f"the store cannot be written ({error}); nothing is done that cannot be written down "
            "there first",
            reference="store-full",
            hint="df, then the same again",
        )
    if _is_busy(error):
        return OutcomeUnknown(
            f"another process has kept the store locked for {BUSY_TIMEOUT_S:.0f} s: end it if it "
            "is frozen; nothing is done that cannot be written down there first",
            reference="store-locked",
            hint=f"fuser {path}, then the same again",
        )
    return unreachable(error)


def _is_busy(error: sqlite3.DatabaseError) -> bool:
    return _code(error) == sqlite3.SQLITE_BUSY


def _code(error: sqlite3.DatabaseError) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


class _Statements:
    """Statements on an open transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, query: str, **values: object) -> list[Row]:
        return [dict(row) for row in self._connection.execute(_sql(query), values).fetchall()]

    def many(self, query: str, values: list[dict[str, object]]) -> None:
        self._connection.executemany(_sql(query), values)

    def script(self, sql: str) -> None:
        # Not executescript: that would commit first.
        for statement in sql.split(";"):
            if statement.strip():
                self._connection.execute(statement)


@cache
def _sql(query: str) -> str:
    return (
        queries()[query]
        .replace("{now}", NOW)
        .replace("{for_update}", "")
        .replace("{unless_busy}", "")
        .replace("{lock_names}", "select 1")
    )
