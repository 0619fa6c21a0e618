"""The few questions about the live catalog that a migration's verdict hangs on."""

from collections.abc import Iterable
from typing import assert_never

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from taly.planning.migrations.facts import EnumValueUsed, HasNulls, IndexInvalid, Question

ENUM = """
SELECT t.oid, t.typarray,
  EXISTS (SELECT FROM pg_enum WHERE enumtypid = t.oid AND enumlabel = %(value)s),
  EXISTS (SELECT FROM pg_type d WHERE d.typbasetype IN (t.oid, t.typarray)) OR
  EXISTS (SELECT FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
          WHERE c.relkind = 'c' AND a.atttypid IN (t.oid, t.typarray))
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE n.nspname = %(schema)s AND t.typname = %(name)s AND t.typtype = 'e'
"""
COLUMNS = """
SELECT n.nspname, c.relname, a.attname, a.atttypid = %(array)s
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE a.atttypid IN (%(enum)s, %(array)s) AND NOT a.attisdropped
  AND c.relkind IN ('r', 'p') AND NOT c.relispartition
"""
COLUMN = """
SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s
               AND NOT attisdropped)
"""
VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"


def answers(
    connection: psycopg.Connection, schema: str, questions: Iterable[Question]
) -> dict[Question, bool]:
    """What the live database says; a question that it cannot answer is left out."""
    found: dict[Question, bool] = {}
    for question in questions:
        try:
            with connection.transaction():
                answer = _answer(connection, schema, question)
        except (psycopg.errors.QueryCanceled, psycopg.errors.InsufficientPrivilege):
            continue  # too slow, or not ours to read: not known
        if answer is not None:
            found[question] = answer
    return found


def _answer(connection: psycopg.Connection, schema: str, question: Question) -> bool | None:
    match question:
        case EnumValueUsed():
            return _enum_value_used(connection, schema, question)
        case HasNulls():
            return _has_nulls(connection, schema, question)
        case IndexInvalid():
            row = connection.execute(VALID, (_quoted(schema, question.index),)).fetchone()
            return None if row is None else not row[0]
        case _:
            assert_never(question)


def _enum_value_used(
    connection: psycopg.Connection, schema: str, question: EnumValueUsed
) -> bool | None:
    where, name = _split(schema, question.type)
    row = connection.execute(
        ENUM, {"schema": where, "name": name, "value": question.value}
    ).fetchone()
    if row is None:
        return None
    enum, array, has_label, in_other_types = row
    if not has_label:
        return False
    columns = connection.execute(COLUMNS, {"enum": enum, "array": array}).fetchall()
    for space, table, column, is_array in columns:
        test = "{value} = ANY ({column})" if is_array else "{column} = {value}"
        query = SQL("SELECT EXISTS (SELECT FROM {table} WHERE " + test + ")").format(
            value=SQL("{}::{}").format(Literal(question.value), Identifier(where, name)),
            column=Identifier(column),
            table=Identifier(space, table),
        )
        used = connection.execute(query).fetchone()
        if used and used[0]:
            return True
    return None if in_other_types else False


def _has_nulls(connection: psycopg.Connection, schema: str, question: HasNulls) -> bool | None:
    known = connection.execute(COLUMN, (_quoted(schema, question.table), question.column))
    if known.fetchone() != (True,):
        return None
    query = SQL("SELECT EXISTS (SELECT FROM {} WHERE {} IS NULL)").format(
        Identifier(*_split(schema, question.table)), Identifier(question.column)
    )
    row = connection.execute(query).fetchone()
    return bool(row and row[0])


def _split(schema: str, name: str) -> tuple[str, str]:
    """(schema, name) of a name as migrations have it."""
    where, dot, rest = name.partition(".")
    return (where, rest) if dot else (schema, name)


def _quoted(schema: str, name: str) -> str:
    parts = [part.replace('"', '""') for part in _split(schema, name)]
    return ".".join(f'"{part}"' for part in parts)
