"""Large objects: new, changed and deleted ones, in chunks."""

from collections.abc import Iterator

import psycopg

from taly.database.carry.judging import MASS_ROWS, MASS_SHARE
from taly.database.carry.model import Since
from taly.database.carry.rowsql import since as written_since
from taly.database.carry.sql import number, q, rows, run
from taly.model.ports import Say

CHUNK = 1 << 20
"""Bytes that are in memory at once, of each side."""
WRITING = 0x20000
READING = 0x40000
ALL = "SELECT oid, pg_get_userbyid(lomowner) FROM pg_largeobject_metadata"
MAY_READ = "SELECT has_table_privilege('pg_catalog.pg_largeobject', 'SELECT')::int"
PAGE = "SELECT current_setting('block_size')::int / 4"


def carry(
    source: psycopg.Connection,
    target: psycopg.Connection,
    since: Since | None,
    say: Say,
) -> int:
    """Bring them over; returns how many were written or removed.

    They have no triggers, so each pass looks for what was written since a transaction, which needs
    the right to read pg_largeobject; without it, or without `since`, all of them are read.
    """
    ours = {int(oid): str(owner) for oid, owner in rows(source, ALL)}
    theirs = {int(oid) for oid, _ in rows(target, ALL)}
    gone = theirs - ours.keys()
    if len(gone) > MASS_ROWS and len(gone) > len(theirs) * MASS_SHARE:
        gone = set()
    for oid in gone:
        run(target, f"SELECT lo_unlink({oid})")
    if not ours:
        return len(gone)
    end = Source(source)
    new, suspects = ours.keys() - theirs, end.changed(ours.keys() & theirs, since)
    for oid in new:
        _create(target, oid, ours[oid])
    count = len(new) + len(gone)
    for done, oid in enumerate(sorted(new | suspects)):
        say(f"large objects: {done:,} of {len(new | suspects):,}")
        count += _copy(end, target, oid) and oid not in new
    return count


class Source:
    """Reads them without asking for a lock that our own write pause withholds."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._direct = bool(number(connection, MAY_READ))
        self._page = number(connection, PAGE)

    def changed(self, both: set[int], since: Since | None) -> set[int]:
        """Those that may have changed; a row of pg_largeobject is written anew for each write."""
        if since is None or not self._direct:
            return both
        query = f"SELECT DISTINCT loid FROM pg_largeobject s WHERE {written_since(since.xmin)}"
        return {int(oid) for (oid,) in rows(self._connection, query)} & both

    def chunks(self, oid: int) -> Iterator[tuple[int, bytes]]:
        """Offset and content, the last of them shorter than the others, perhaps empty."""
        size, offset = self._size(oid), 0
        while True:
            length = min(CHUNK, size - offset)
            yield offset, self._read(oid, offset, length)
            if length < CHUNK:
                return
            offset += CHUNK

    def _size(self, oid: int) -> int:
        if not self._direct:
            return _size(self._connection, oid)
        return number(
            self._connection,
            f"SELECT pageno::bigint * {self._page} + length(data) FROM pg_largeobject"
            f" WHERE loid = {oid} ORDER BY pageno DESC LIMIT 1",
        )

    def _read(self, oid: int, offset: int, length: int) -> bytes:
        if not self._direct:
            return _read(self._connection, oid, offset)
        first = offset // self._page
        found = self._connection.execute(
            "SELECT pageno, data FROM pg_largeobject WHERE loid = %s AND pageno >= %s"
            " AND pageno < %s",
            (oid, first, first + CHUNK // self._page),
            binary=True,
        )
        data = bytearray(length)  # a page that is not there reads as zeros
        for page, part in found:
            start = (page - first) * self._page
            data[start : start + len(part)] = part
        return bytes(data)


def _copy(source: Source, target: psycopg.Connection, oid: int) -> bool:
    """Write what differs; returns whether anything did."""
    changed, size = False, 0
    for offset, data in source.chunks(oid):
        size = offset + len(data)
        if data and _read(target, oid, offset)[: len(data)] != data:
            target.execute("SELECT lo_put(%s, %s, %s)", (oid, offset, data))
            changed = True
    if _size(target, oid) != size:
        run(target, f"SELECT lo_truncate64(lo_open({oid}, {WRITING}), {size})")
        changed = True
    return changed


def _create(target: psycopg.Connection, oid: int, owner: str) -> None:
    run(target, f"SELECT lo_create({oid})")
    if owner != rows(target, "SELECT current_user")[0][0]:
        run(target, f"ALTER LARGE OBJECT {oid} OWNER TO {q(owner)}")


def _read(connection: psycopg.Connection, oid: int, offset: int) -> bytes:
    found = connection.execute("SELECT lo_get(%s, %s, %s)", (oid, offset, CHUNK), binary=True)
    row = found.fetchone()
    return bytes(row[0]) if row else b""


def _size(connection: psycopg.Connection, oid: int) -> int:
    return number(
        connection,
        f"SELECT lo_lseek64(fd, 0, 2) FROM (SELECT lo_open({oid}, {READING}) AS fd OFFSET 0) f",
    )
