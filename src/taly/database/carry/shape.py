"""Whether the live schema still is the one that the correspondence was made for."""

from collections.abc import Mapping

import psycopg

from taly.database.carry.capture import PREFIX
from taly.database.carry.sql import lit, rows
from taly.database.carry.work import Name, Works
from taly.errors import VendorUnavailable

COLUMNS = f"""
SELECT md5(string_agg(n.nspname || chr(1) || c.relname || chr(1) || a.attname || chr(1)
  || a.atttypid || chr(1) || a.atttypmod, chr(2) ORDER BY c.oid, a.attnum))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_'
  AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, {lit(PREFIX)})
"""
PARTITIONS = """
SELECT n.nspname, c.relname, (SELECT array_agg(t.relid::oid::bigint ORDER BY t.relid::oid)
                              FROM pg_partition_tree(c.oid) t)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'p' AND NOT c.relispartition AND n.nspname !~ '^pg_'
"""


class Shape:
    """Columns of all tables, and which partitions there are."""

    def __init__(self, source: psycopg.Connection) -> None:
        self._columns = _columns(source)
        self._partitions = _partitions(source)

    def check(self, source: psycopg.Connection, works: Works) -> set[int]:
        """Tables that have got or lost a partition since the last look: no trigger tells of that.

        Raises VendorUnavailable when a table or column has changed.
        """
        if _columns(source) != self._columns:
            raise VendorUnavailable(
                "the live schema was changed during the carry-over",
                reference="database-changed",
                hint="taly plan",
            )
        before, self._partitions = self._partitions, _partitions(source)
        return {
            work.n
            for work in works.tables
            if before.get(work.source) != self._partitions.get(work.source)
        }


def _columns(source: psycopg.Connection) -> str:
    return str(rows(source, COLUMNS)[0][0])


def _partitions(source: psycopg.Connection) -> Mapping[Name, list[int]]:
    return {(schema, name): list(found) for schema, name, found in rows(source, PARTITIONS)}
