"""Large objects: new, changed and deleted ones, in chunks."""

import psycopg

from taly.database.carry.judging import MASS_ROWS, MASS_SHARE
from taly.database.carry.model import Since
from taly.database.carry.sql import lit, number, rows, run
from taly.model.ports import Say

CHUNK = 1 << 20
"""Bytes that are in memory at once."""
ALL = "SELECT oid, pg_get_userbyid(lomowner) FROM pg_largeobject_metadata"
MAY_READ = "SELECT has_table_privilege('pg_catalog.pg_largeobject', 'SELECT')"


def carry(
    source: psycopg.Connection,
    target: psycopg.Connection,
    since: Since | None,
    say: Say,
) -> int:
    """Bring them over; returns how many were written or removed.

    They have no triggers, so each pass looks for what was written since a transaction, which needs
    the right to read pg_largeobject; without it, and without `since`, the contents' hashes are
    compared, which reads them all.
    """
    ours = {int(oid): str(owner) for oid, owner in rows(source, ALL)}
    theirs = {int(oid) for oid, _ in rows(target, ALL)}
    gone = theirs - ours.keys()
    if len(gone) > MASS_ROWS and len(gone) > len(theirs) * MASS_SHARE:
        gone = set()
    for oid in gone:
        run(target, f"SELECT lo_unlink({oid})")
    both = ours.keys() & theirs
    changed = _changed(source, target, both, since) if both else set()
    wanted = (ours.keys() - theirs) | changed
    for done, oid in enumerate(sorted(wanted)):
        say(f"large objects: {done:,} of {len(wanted):,}")
        _copy(source, target, oid, ours[oid], new=oid not in theirs)
    return len(wanted) + len(gone)


def _changed(
    source: psycopg.Connection, target: psycopg.Connection, both: set[int], since: Since | None
) -> set[int]:
    readable = bool(number(source, f"SELECT ({MAY_READ.removeprefix('SELECT ')})::int"))
    suspects = both
    if since is not None and readable:
        # A shortened one leaves no newer row behind, but its last page is always written anew or
        # its number of pages differs; both show in the hash below.
        newer = f"age(xmin) <= age({lit(str(since.xmin % 2**32))}::xid)"
        found = rows(source, f"SELECT DISTINCT loid FROM pg_largeobject WHERE {newer}")
        pages = "SELECT loid, count(*), sum(length(data)) FROM pg_largeobject GROUP BY 1"
        here = {int(oid): (n, size) for oid, n, size in rows(source, pages)}
        there = {int(oid): (n, size) for oid, n, size in rows(target, pages)}
        suspects = {int(oid) for (oid,) in found} & both
        suspects |= {oid for oid in both if here.get(oid) != there.get(oid)}
    return {oid for oid in suspects if _hash(source, oid) != _hash(target, oid)}


def _hash(connection: psycopg.Connection, oid: int) -> list[tuple[object, ...]]:
    """Of its chunks, so that the server never holds it as a whole."""
    return rows(
        connection,
        f"SELECT sum(hashtextextended(encode(sha256(lo_get({oid}, n * {CHUNK}, {CHUNK})), 'hex'),"
        f" n)), max(n) FROM generate_series(0, ({_size(connection, oid)} / {CHUNK})) n",
    )


def _size(connection: psycopg.Connection, oid: int) -> int:
    return number(
        connection,
        f"SELECT lo_lseek64(fd, 0, 2) FROM (SELECT lo_open({oid}, 262144) AS fd OFFSET 0) f",
    )


def _copy(
    source: psycopg.Connection, target: psycopg.Connection, oid: int, owner: str, *, new: bool
) -> None:
    if not new:
        run(target, f"SELECT lo_unlink({oid})")
    run(target, f"SELECT lo_create({oid})")
    offset = 0
    while True:
        row = source.execute("SELECT lo_get(%s, %s, %s)", (oid, offset, CHUNK), binary=True)
        found = row.fetchone()
        data = bytes(found[0]) if found else b""
        if data:
            target.execute("SELECT lo_put(%s, %s, %s)", (oid, offset, data))
        if len(data) < CHUNK:
            break
        offset += len(data)
    me = rows(target, "SELECT current_user")[0][0]
    if owner != me:
        run(target, f'ALTER LARGE OBJECT {oid} OWNER TO "{owner.replace(chr(34), chr(34) * 2)}"')
