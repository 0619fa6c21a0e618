"""COPY out what pending migrations are about to destroy, as exact text."""

import gzip
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from taly.database.checkpoint.contents import Report
from taly.database.checkpoint.folder import DESTROYED
from taly.database.checkpoint.manifest import Kept
from taly.planning.migrations.losses import Loss, Reach

RELATION = """
SELECT c.oid, n.nspname, c.relname, c.relkind FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""
# A table "a.b" and a table b in schema a have the same name in a migration's losses: both are kept.
NAMED = RELATION + " AND (n.nspname, c.relname) IN ((%s, %s), (%s, %s))"
WITHIN = RELATION + " AND n.nspname = %s AND NOT c.relispartition"
BY_OID = RELATION + " AND c.oid = %s"
OF_TYPE = """
SELECT a.attrelid, a.attname::text FROM pg_attribute a
  JOIN pg_type t ON t.oid = a.atttypid OR t.typarray = a.atttypid
  JOIN pg_namespace n ON n.oid = t.typnamespace
  JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p') AND NOT c.relispartition
WHERE (n.nspname, t.typname) IN ((%s, %s), (%s, %s)) AND NOT a.attisdropped
"""
COLUMNS = """
SELECT a.attname::text, a.attgenerated <> '' FROM pg_attribute a
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
KEY = """
SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid
  AND a.attnum = ANY (i.indkey)
WHERE i.indrelid = %s AND i.indisprimary ORDER BY array_position(i.indkey::int2[], a.attnum)
"""
REFERRING = """
SELECT conrelid, confdeltype <> 'a' AND confdeltype <> 'r',
  confupdtype <> 'a' AND confupdtype <> 'r',
  ARRAY(SELECT attname::text FROM pg_attribute
        WHERE attrelid = confrelid AND attnum = ANY (confkey))
FROM pg_constraint WHERE contype = 'f' AND confrelid = %s AND conparentid = 0
"""


@dataclass(slots=True)
class Wanted:
    """What to copy of one table."""

    schema: str
    name: str
    columns: tuple[str, ...]
    """All that can be written back."""
    key: tuple[str, ...]
    lost: set[str] = field(default_factory=set)
    whole: bool = False
    why: list[str] = field(default_factory=list)

    @property
    def copied(self) -> tuple[str, ...]:
        """The columns to copy, in the table's order."""
        if self.is_whole:
            return self.columns
        return tuple(name for name in self.columns if name in self.lost or name in self.key)

    @property
    def is_whole(self) -> bool:
        """Whole rows, for want of a key that stays."""
        return self.whole or not self.key or bool(self.lost & set(self.key))


class Selection:
    """Losses, told by name, looked up in the catalog."""

    def __init__(self, connection: psycopg.Connection, schema: str) -> None:
        """`schema` is where a name without one lies."""
        self._connection = connection
        self._schema = schema
        self._wanted: dict[int, Wanted] = {}
        self._followed: set[tuple[int, Reach, tuple[str, ...]]] = set()
        self.unseen: list[str] = []

    def add(self, losses: Iterable[Loss]) -> list[Wanted]:
        """What to copy, by table; what does not exist cannot be lost."""
        for loss in losses:
            why = f"{loss.migration}: {loss.why}"
            if loss.kind == "type":
                for oid, column in self._rows(OF_TYPE, *self._candidates(loss.name)):
                    self._want(oid, (column,), why)
                continue
            query, names = (
                (WITHIN, (loss.name,))
                if loss.kind == "schema"
                else (NAMED, self._candidates(loss.name))
            )
            for oid, schema, name, kind in self._rows(query, *names):
                self._relation(oid, f"{schema}.{name}", kind, loss, why)
        return [one for one in self._wanted.values() if one.copied]

    def _relation(self, oid: int, place: str, kind: str, loss: Loss, why: str) -> None:
        if kind in ("v", "f"):
            what = "a view" if kind == "v" else "a foreign table"
            self.unseen.append(f"{why}: {place} is {what}")
        elif kind != "m":  # a materialised view is made anew from its query
            self._want(oid, loss.columns, why)
            self._follow(oid, loss.reach, loss.columns, why)

    def _want(self, oid: int, lost: tuple[str, ...], why: str) -> None:
        if oid not in self._wanted:
            [(_, schema, name, _)] = self._rows(BY_OID, oid)
            columns = [name for name, generated in self._rows(COLUMNS, oid) if not generated]
            key = tuple(name for (name,) in self._rows(KEY, oid))
            self._wanted[oid] = Wanted(schema=schema, name=name, columns=tuple(columns), key=key)
        wanted = self._wanted[oid]
        existing = set(lost) & set(wanted.columns)
        if lost and not existing:
            return
        wanted.lost |= existing
        wanted.whole |= not lost
        if why not in wanted.why:
            wanted.why.append(why)

    def _follow(self, oid: int, reach: Reach, columns: tuple[str, ...], why: str) -> None:
        """Rows of tables that refer to this one, as far as their foreign keys take them along."""
        if reach == "none" or (oid, reach, columns) in self._followed:
            return
        self._followed.add((oid, reach, columns))
        for child, on_delete, on_update, referred in self._rows(REFERRING, oid):
            taken = {
                "truncate": True,
                "delete": on_delete,
                "update": on_update and bool(set(columns) & set(referred)),
            }[reach]
            if taken:
                said = f"{why}, and with them those that refer to them"
                self._want(child, (), said)
                self._follow(child, reach, self._wanted[child].columns, why)

    def _candidates(self, name: str) -> tuple[str, str, str, str]:
        """A name as migrations have it may be qualified, or have a dot in it."""
        where, dot, rest = name.partition(".")
        return (self._schema, name, where if dot else self._schema, rest if dot else name)

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(query.encode(), values).fetchall()


def copy_out(
    connection: psycopg.Connection, wanted: list[Wanted], folder: Path, report: Report
) -> tuple[Kept, ...]:
    """Write a file a table into `folder`/destroyed; rows are never held in memory together."""
    if wanted:
        (folder / DESTROYED).mkdir(mode=0o700)
    return tuple(
        _copy(connection, one, number, folder, report) for number, one in _numbered(wanted)
    )


def _numbered(wanted: list[Wanted]) -> Iterator[tuple[int, Wanted]]:
    return iter(enumerate(sorted(wanted, key=lambda one: (one.schema, one.name)), start=1))


def _copy(
    connection: psycopg.Connection, wanted: Wanted, number: int, folder: Path, report: Report
) -> Kept:
    # Numbered: a table's name may hold what a file's name cannot.
    path = folder / DESTROYED / f"{number:04}.copy.gz"
    columns = SQL(", ").join(map(Identifier, wanted.copied))
    query = SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(
        columns, Identifier(wanted.schema, wanted.name)
    )
    rows = size = 0
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with (
        os.fdopen(handle, "wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=raw, mtime=0) as file,
        connection.cursor() as cursor,
        cursor.copy(query) as copy,
    ):
        for block in copy:
            file.write(block)
            rows += bytes(block).count(b"\n")  # a line end inside a value is written as \n
            size += len(block)
            report(f"copy of {wanted.schema}.{wanted.name}", size, 0)
    return Kept(
        file=path.relative_to(folder).as_posix(),
        table_schema=wanted.schema,
        table=wanted.name,
        columns=wanted.copied,
        key=() if wanted.is_whole else wanted.key,
        rows=rows,
        bytes=size,
        why=tuple(wanted.why),
    )


def count_rows(path: Path) -> int:
    """Rows of a file, read to its end."""
    with gzip.open(path, "rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
