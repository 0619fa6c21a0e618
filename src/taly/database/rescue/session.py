"""What a replay needs of its session: exact text, quiet triggers, sequences that go on behind."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg.sql import SQL, Composable, Identifier

from taly.database.checkpoint.session import EXACT
from taly.database.rescue.present import Present

TRIGGERS = """
SELECT tgname::text, tgenabled = 'A' FROM pg_trigger
WHERE tgrelid = %s AND NOT tgisinternal AND tgenabled IN ('O', 'A') ORDER BY tgname
"""
SEQUENCES = """
SELECT DISTINCT a.attname::text, n.nspname::text, s.relname::text, q.seqincrement
FROM pg_depend d JOIN pg_class s ON s.relkind = 'S' JOIN pg_sequence q ON q.seqrelid = s.oid
  JOIN pg_namespace n ON n.oid = s.relnamespace
  LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
  JOIN pg_attribute a ON a.attrelid = %s AND NOT a.attisdropped AND (
    (d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype IN ('a', 'i')
     AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid
     AND d.refobjsubid = a.attnum)
    OR (f.adrelid = a.attrelid AND f.adnum = a.attnum
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = s.oid))
WHERE q.seqincrement > 0
"""
# With nextval, which never goes back: others may be drawing from it at the same time.
NEAR = 100_000
FORWARD = """
WITH at AS (SELECT last_value + CASE WHEN is_called THEN {step} ELSE 0 END AS v FROM {sequence}),
  top AS (SELECT max({column})::int8 AS v FROM {table})
SELECT CASE WHEN top.v - at.v > {near} * {step} THEN setval({name}, top.v)
  ELSE (SELECT max(nextval({name})) FROM generate_series(at.v, top.v, {step})) END
FROM at, top WHERE top.v >= at.v
"""


@contextmanager
def exact(connection: psycopg.Connection) -> Iterator[None]:
    """Text as the bundle has it, within the caller's transaction; its settings come back."""
    before: dict[str, str] = {}
    for name, value in EXACT.items():
        row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
        before[name] = str(row[0]) if row else ""
        _set(connection, name, value)
    yield
    for name, value in before.items():
        _set(connection, name, value)


def _set(connection: psycopg.Connection, name: str, value: str) -> None:
    connection.execute("SELECT set_config(%s, %s, true)", (name, value))


@contextmanager
def quiet(
    connection: psycopg.Connection, tables: Sequence[Present], notes: list[str]
) -> Iterator[None]:
    """No trigger of the application fires: rows come back as they were, and nothing is sent twice.

    Foreign keys stay in force. Where a trigger may not be switched off, `notes` tells.
    """
    off: list[tuple[Present, str, bool]] = []
    for table in tables:
        for name, always in connection.execute(TRIGGERS, (table.oid,)).fetchall():
            try:
                with connection.transaction():
                    _switch(connection, table, "DISABLE TRIGGER", name)
                off.append((table, name, always))
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectInUse):
                notes.append(
                    f"{table.schema}.{table.name}: trigger {name} fired, for it could not be"
                    " switched off"
                )
    yield
    if off:
        # ALTER TABLE is refused while a check is still to be made.
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for table, name, always in off:
        _switch(connection, table, "ENABLE ALWAYS TRIGGER" if always else "ENABLE TRIGGER", name)


def _switch(connection: psycopg.Connection, table: Present, how: str, name: str) -> None:
    verb: Composable = SQL(how)
    connection.execute(
        SQL("ALTER TABLE {} {} {}").format(table.place, verb, Identifier(name)), None
    )


def forward(connection: psycopg.Connection, table: Present) -> None:
    """Move sequences behind the greatest value that their columns hold now."""
    for column, schema, name, step in connection.execute(SEQUENCES, (table.oid,)).fetchall():
        sequence = Identifier(schema, name)
        query = SQL(FORWARD).format(
            sequence=sequence,
            column=Identifier(column),
            table=table.place,
            near=NEAR,
            step=step,
            name=SQL("{}::regclass").format(sequence.as_string(connection)),
        )
        connection.execute(query)
