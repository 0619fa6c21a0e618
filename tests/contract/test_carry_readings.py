"""Values of one type read in another on a real PostgreSQL: nothing fails, nothing is cut unseen."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from taly.database.snapshot import read_catalog
from taly.planning.carry import ColumnPair, correspond, pairs, read_hints

TYPES = """
CREATE TYPE "Mood" AS ENUM ('ok', 'so so', 'it''s "bad"');
CREATE DOMAIN "short" AS varchar(5);
CREATE DOMAIN "positive" AS integer CHECK (VALUE > 0);
"""
TEXTS = ("2026-03-02 10:00:00.1234567", "2026-03-02", "0.100000000000000000001", "-1e-400", "1e39")
OLD = {
    "smallint": ("-32768", "0", "32767"),
    "integer": ("-2147483648", "7", "2147483647"),
    "bigint": ("-9223372036854775808", "9223372036854775807"),
    "numeric": ("NaN", "1e50", "-0.000000001"),
    "numeric(10,2)": ("NaN", "99999999.99", "-0.10"),
    "numeric(5)": ("99999", "-1"),
    "real": ("NaN", "-Infinity", "0.1", "3.4028235e38", "1.2e-38"),
    "double precision": ("NaN", "0.1", "1.7976931348623157e308", "5e-324"),
    "text": ("", " a ", "a\nb", "12345678901"),
    "varchar(5)": ("", "ab  ", "äöüßé"),
    "uuid": ("00000000-0000-0000-0000-00000000000f",),
    "boolean": ("t", "f"),
    "date": ("2026-03-02", "infinity", "0044-03-15 BC"),
    "timestamp(3)": ("2026-03-02 10:00:00.123", "-infinity"),
    "timestamptz(3)": ("2026-03-02 10:00:00.12+02",),
    "timestamptz": ("2026-03-02 10:00:00.123456+02",),
    "interval(0)": ("1 year -3 days 04:05:06",),
    "json": ('{"b": 1,  "a": 2}',),
    "jsonb": ('{"b": 1,  "a": 2}',),
    "bytea": ("\\x00ff",),
    "integer[]": ("{}", "{1,NULL,-5}", "{{1,2},{3,4}}"),
    "varchar(5)[]": ("{}", '{"a b",NULL,"\\""}'),
    '"Mood"': ("ok", "so so", 'it\'s "bad"'),
    '"Mood"[]': ("{}", '{ok,NULL,"so so"}'),
    '"short"': ("abcde",),
    '"positive"': ("1",),
}
NEW = {
    "smallint": ("-32768", "5", "32767"),
    "integer": ("-2147483648", "0", "2147483647"),
    "bigint": ("-9223372036854775808", "0", "2147483648", "9223372036854775807"),
    "numeric": ("NaN", "Infinity", "1e400", "10.555", "99999999.995", "0", "9223372036854775808"),
    "numeric(12,4)": ("99999999.9999", "10.5500", "10000.5000", "NaN"),
    "real": ("NaN", "Infinity", "0.1", "2147483648", "3.4e38"),
    "double precision": ("NaN", "1e308", "1e-300", "0.1", "9223372036854775807", "1.5"),
    "text": (
        "",
        " 7 ",
        "007",
        "1e5",
        "x",
        "9999999999999",
        "12.345",
        "NaN",
        "t",
        "äöüßéx",
        "{1}",
        *TEXTS,
    ),
    "varchar(200)": ("", "abcdef", "99999999.995"),
    "timestamp": ("2026-03-02 10:00:00.123456", "2026-03-02 00:00:00", "infinity", "4714-11-24 BC"),
    "timestamptz": ("2026-03-02 10:00:00.123456+02", "2026-03-02 10:00:00.123+02"),
    "interval": ("1.5 seconds", "1 day"),
    "json": ('{"b": 1,  "a": 2}', "1"),
    "jsonb": ('{"b": 1}', "[]"),
    "bigint[]": ("{}", "{1,NULL}", "{2147483648}", "{{1,2},{3,9999999999}}"),
    "text[]": ("{}", "{ok,NULL}", "{abcdef}", '{"so so"}'),
    "uuid": ("00000000-0000-0000-0000-00000000000f",),
    '"Mood"': ("ok", 'it\'s "bad"'),
}
QUIET = "SET TimeZone = 'UTC'; SET extra_float_digits = 1;"


@pytest.fixture
def connection(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A database with the types, and values that print the same everywhere."""
    with psycopg.connect(postgres_url, autocommit=True) as made:
        made.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        made.execute(TYPES.encode() + QUIET.encode())
        yield made


def readings(
    connection: psycopg.Connection[Any], old: Iterable[str], new: Iterable[str]
) -> Iterator[tuple[str, str, ColumnPair, bool]]:
    """Every old type over against every new one: how it reads, and whether that needs a yes."""
    types = [(before, now) for before in old for now in new]
    catalogs = []
    for place in (0, 1):
        columns = "".join(f", v{number} {both[place]}" for number, both in enumerate(types))
        connection.execute(f"CREATE TABLE t (id integer PRIMARY KEY{columns})".encode())
        catalogs.append(read_catalog(connection))
        connection.execute("DROP TABLE t")
    matched = pairs(*catalogs, same_database=False, texts=(), schema="public")
    there = correspond(catalogs[1], catalogs[0], matched)
    asked = {said.partition(" ")[0] for said in there.conversions}
    for (before, now), pair in zip(types, there.tables[0].columns[1:], strict=True):
        yield before, now, pair, f"t.{pair.source}" in asked


@pytest.mark.parametrize("new", NEW)
def test_no_value_of_the_new_type_stops_the_reading_or_is_cut(
    connection: psycopg.Connection[Any], new: str
) -> None:
    for old, _, pair, asks in readings(connection, OLD, [new]):
        fits = f"({pair.fits}) IS NOT FALSE" if pair.fits else "true"
        row = f'(SELECT %s::text::{new} AS "{pair.source}") s'
        query = f"SELECT s.{pair.source}::text, {pair.expression}, {fits} FROM {row}"
        for value in (*NEW[new], None):
            [(own, read, whole)] = connection.execute(query.encode(), (value,)).fetchall()
            if not whole:
                assert read == own, "it goes to the bundle as it was written"
            elif not asks and own is not None and (not pair.labels or read in pair.labels):
                assert reads_back(connection, old, new, own, read), (old, new, own)


def reads_back(
    connection: psycopg.Connection[Any], old: str, new: str, own: str, read: str
) -> bool:
    """Whether the old type refuses what was read, or holds what was written."""
    try:
        there = connection.execute(f"SELECT %s::text::{old}::text".encode(), (read,)).fetchone()
    except (psycopg.DataError, psycopg.errors.CheckViolation):
        return read == own
    assert there is not None
    if new in ("text", "varchar(200)"):
        return there[0] == read or in_words(old, there[0]) == in_words(old, read)
    same = connection.execute(
        f"SELECT to_jsonb(%s::text::{new}) = to_jsonb(%s::text::{new})".encode(), (there[0], own)
    ).fetchone()
    return same == (True,)


def in_words(old: str, text: str) -> object:
    """What a spelling means: 007 is a 7, `t` is true, a date is its midnight."""
    if old == "boolean":
        return text.startswith("t")
    if old.startswith(("timestamp", "date")):
        return f"{text.removesuffix('+00')} 00:00:00"[:19]
    if old in ("bytea", "jsonb", "interval(0)"):
        return ""  # they have more spellings than this test knows
    numbers = ("int", "big", "small", "num", "real", "double", '"positive')
    return Decimal(text) if old.startswith(numbers) else text


@pytest.mark.parametrize("old", OLD)
def test_what_needs_no_yes_reads_back_as_it_was(
    connection: psycopg.Connection[Any], old: str
) -> None:
    """Old values, migrated by PostgreSQL's own cast and read back."""
    compared = 0
    for _, new, pair, asks in readings(connection, [old], NEW):
        if asks:
            continue
        row = f'(SELECT %s::text::{old}::{_through(old, new)}{new} AS "{pair.source}") s'
        query = f"SELECT %s::text::{old}::text, ({pair.expression})::{old}::text FROM {row}"
        for value in OLD[old]:
            try:
                found = connection.execute(query.encode(), (value, value)).fetchone()
            except (psycopg.DataError, psycopg.errors.CheckViolation):
                continue  # then the migration had failed too
            assert found is not None
            assert found[0] == found[1], (old, new, value)
            compared += 1
    assert compared, "every reading needed a yes, or every migration failed"


def _through(old: str, new: str) -> str:
    """Where there is no direct cast a migration goes by text."""
    return (
        "text[]::"
        if old.endswith("[]") and "Mood" in old + new
        else "text::" * ("Mood" in old + new)
    )


def test_hints_are_expressions_over_the_row(connection: psycopg.Connection[Any]) -> None:
    run = connection.execute
    run(
        "CREATE TABLE b (id integer PRIMARY KEY, price numeric(10,2), who text NOT NULL, "
        '"M" "Mood")'
    )
    before = read_catalog(connection)
    run(
        "ALTER TABLE b RENAME price TO cents; "
        "ALTER TABLE b ALTER cents TYPE bigint USING cents * 100"
    )
    run('ALTER TABLE b DROP who; ALTER TABLE b ADD first text, ADD "Last" text')
    run("ALTER TYPE \"Mood\" ADD VALUE 'great'")
    run("INSERT INTO b VALUES (1, 1050, 'great', 'A', 'B'), (2, 99999999999999, 'ok', 'C', 'D')")
    live = read_catalog(connection)
    hints = read_hints(
        '{"b.price": {"transform": "cents / 100.0"}, "b.M": {"enum_map": {"great": "ok"}},'
        ' "b.who": {"fill": "first || \' \' || \\"Last\\""}}'
    )
    matched = pairs(before, live, same_database=True, texts=(), schema="public")
    there = correspond(live, before, matched, hints)
    assert there.conversions == there.notes == ()
    by_name = {one.target: one for one in there.tables[0].columns}
    query = ", ".join(by_name[name].expression for name in ("price", "M", "who"))
    rows = run(f"SELECT {query}, {by_name['price'].fits} FROM b s ORDER BY id".encode()).fetchall()
    assert rows[0] == ("10.50", "ok", "A B", True)
    assert rows[1][1:] == ("ok", "C D", False)


def test_a_renamed_label_reads_back_in_a_column_and_in_an_array(
    connection: psycopg.Connection[Any],
) -> None:
    run = connection.execute
    run('CREATE TABLE m (id integer PRIMARY KEY, one "Mood", more "Mood"[])')
    before = read_catalog(connection)
    steps = (("so so", "x"), ("ok", "so so"), ("x", "ok"))
    sql = "; ".join(f"ALTER TYPE \"Mood\" RENAME VALUE '{now}' TO '{then}'" for now, then in steps)
    run(sql.encode())
    run("INSERT INTO m VALUES (1, 'ok', '{ok,NULL,so so}'), (2, NULL, '{{ok},{\"so so\"}}')")
    live = read_catalog(connection)
    matched = pairs(before, live, same_database=True, texts=[("m", sql)], schema="public")
    columns = correspond(live, before, matched).tables[0].columns
    query = f"SELECT {columns[1].expression}, {columns[2].expression} FROM m s ORDER BY id"
    assert run(query.encode()).fetchall() == [
        ("so so", '{"so so",NULL,ok}'),
        (None, '{{"so so"},{ok}}'),
    ]
