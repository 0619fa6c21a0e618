"""`replayed.json`: which rows of a bundle were put back where, so that no replay does it twice."""

import json
import os
from datetime import datetime
from pathlib import Path

import psycopg
from pydantic import BaseModel, ConfigDict, ValidationError

from taly.database.rescue.manifest import broken
from taly.database.rescue.table_file import append
from taly.errors import EnvironmentLocked

RECORD = "replayed.json"
IDENTITY = "SELECT oid::int8 FROM pg_database WHERE datname = current_database()"
SYSTEM = "SELECT system_identifier::text FROM pg_control_system()"
XID = "SELECT pg_current_xact_id()::text"
STATUS = "SELECT pg_xact_status(%s::text::xid8)"

Ranges = tuple[tuple[int, int], ...]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Replayed(_Strict):
    """One table of a bundle, after a replay."""

    left: Ranges
    """Rows, counted from 0, of which nothing was put back: first and last."""
    partial: Ranges
    """Rows of which only the columns `missing` were not put back."""
    missing: tuple[str, ...]


class Entry(_Strict):
    """One replay."""

    database: str
    """Which one: server and OID; a database that was swapped in is another one."""
    place: str
    at: datetime
    xid: str
    """Its transaction; the server knows whether it was committed."""
    confirmed: bool
    tables: dict[str, Replayed]
    """By file."""


class Record(_Strict):
    """All replays of a bundle."""

    format_version: str = "1.0"
    entries: tuple[Entry, ...] = ()


class Bits:
    """A set of row numbers: a bit for each."""

    def __init__(self, size: int, ranges: Ranges = ()) -> None:
        """Empty, or with these ranges."""
        self._size = size
        self._bits = bytearray(size // 8 + 1)
        self.count = 0
        for first, last in ranges:
            for number in range(first, min(last, size - 1) + 1):
                self.add(number)

    def add(self, number: int) -> None:
        """Put a number in."""
        if number in self:
            return
        self.count += 1
        self._bits[number >> 3] |= 1 << (number & 7)

    def __contains__(self, number: int) -> bool:
        """Whether it is in."""
        return bool(self._bits[number >> 3] & (1 << (number & 7)))

    def ranges(self) -> Ranges:
        """First and last of each run of numbers."""
        found: list[tuple[int, int]] = []
        for number in (one for one in range(self._size) if one in self):
            if found and found[-1][1] == number - 1:
                found[-1] = (found[-1][0], number)
            else:
                found.append((number, number))
        return tuple(found)


def database_of(connection: psycopg.Connection, place: str) -> str:
    """What tells a database from another that has its name now."""
    row = connection.execute(IDENTITY).fetchone()
    assert row is not None, "we are connected to one"
    try:
        with connection.transaction():
            system = connection.execute(SYSTEM).fetchone()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction):
        system = None
    return f"{system[0] if system else place}/{row[0]}"


def read(folder: Path) -> Record:
    """What was replayed; Refused when it cannot be read: replaying twice might undo a deletion."""
    path = folder / RECORD
    try:
        return Record.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Record()
    except OSError as error:
        raise broken(path, error.strerror or str(error)) from error
    except ValidationError as error:
        raise broken(path, "it is no such document, or not all of it") from error


def before(connection: psycopg.Connection, record: Record, database: str) -> dict[str, Replayed]:
    """File → how far it was replayed into this database; files never replayed are not in it."""
    found: dict[str, Replayed] = {}
    for entry in record.entries:
        if entry.database == database and _was_committed(connection, entry):
            found |= entry.tables
    return found


def _was_committed(connection: psycopg.Connection, entry: Entry) -> bool:
    if entry.confirmed:
        return True
    try:
        with connection.transaction():
            row = connection.execute(STATUS, (entry.xid,)).fetchone()
    except psycopg.Error:  # a number that this server has not reached
        return False
    if row and row[0] == "in progress" and not _is_ours(connection, entry.xid):
        raise EnvironmentLocked(
            f"another replay into {entry.place} is under way",
            reference="rescue-replay-running",
            hint="taly rescue list   (when it has ended)",
        )
    return bool(row and row[0] == "committed")


def _is_ours(connection: psycopg.Connection, xid: str) -> bool:
    row = connection.execute("SELECT pg_current_xact_id_if_assigned()::text").fetchone()
    return bool(row and row[0] == xid)


def note(
    connection: psycopg.Connection,
    folder: Path,
    *,
    database: str,
    place: str,
    at: datetime,
    tables: dict[str, Replayed],
) -> None:
    """Write down what this transaction does; it counts if the transaction is committed."""
    row = connection.execute(XID).fetchone()
    assert row is not None, "SELECT without FROM gives a row"
    entry = Entry(
        database=database, place=place, at=at, xid=str(row[0]), confirmed=False, tables=tables
    )
    record = read(folder)
    _write(folder, Record(entries=(*record.entries, entry)))


def settle(folder: Path, *, committed: bool) -> None:
    """The transaction of the latest entry has ended."""
    *others, last = read(folder).entries
    ended = (last.model_copy(update={"confirmed": True}),) if committed else ()
    _write(folder, Record(entries=(*others, *ended)))


def _write(folder: Path, record: Record) -> None:
    partial = folder / f".{RECORD}.{os.getpid()}"
    partial.unlink(missing_ok=True)
    append(partial, json.dumps(record.model_dump(mode="json"), indent=1).encode() + b"\n")
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.rename(folder / RECORD)
