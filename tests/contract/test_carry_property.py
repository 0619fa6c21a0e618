"""Whatever the schemas, the migration and the writes: nothing of what is live is lost."""

from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg.sql import SQL, Identifier
from tests.contract.carry_stage import Stage, finish, made, side_url

from taly.sandbox.server import Server

__all__ = ["side_url"]

OLD = """
CREATE TYPE st AS ENUM ('a', 'b');
CREATE TABLE parent (id int PRIMARY KEY, code text UNIQUE, boss int REFERENCES parent,
                     st st, n numeric(6,2) NOT NULL DEFAULT 0 {check});
CREATE TABLE child (id int, no int, parent int {required} REFERENCES parent, t text,
                    PRIMARY KEY (id, no) {unique});
CREATE TABLE bag (x int, y text);
"""
BACKUP = """
INSERT INTO parent VALUES (1, 'c1', NULL, 'a', 1), (2, 'c2', 1, 'b', 2), (3, 'c3', 2, NULL, 3);
INSERT INTO child VALUES (1, 1, 1, 'x'), (1, 2, 2, 'y'), (2, 1, 3, ''), (3, 1, 3, 'z');
INSERT INTO bag VALUES (1, 'a'), (1, 'a'), (2, NULL), (NULL, NULL);
"""
MIGRATIONS = (
    "ALTER TYPE st ADD VALUE 'c'",
    "ALTER TABLE parent DROP CONSTRAINT parent_code_key",
    "ALTER TABLE parent ADD extra text DEFAULT 'd'",
    "ALTER TABLE parent ALTER n TYPE text",
    "ALTER TABLE child DROP CONSTRAINT child_parent_fkey",
    "ALTER TABLE child DROP t",
    "ALTER TABLE child ALTER parent DROP NOT NULL",
    "CREATE TABLE fresh (id int PRIMARY KEY, v text); INSERT INTO fresh VALUES (1, 'v')",
    "ALTER TABLE bag ADD z int",
    "UPDATE parent SET n = '7'",
)
ids = st.integers(1, 6)
codes = st.sampled_from(["c1", "c2", "c3", "c4", "c5"])
labels = st.sampled_from(["a", "b", "c"])
numbers = st.sampled_from(["0", "1.5", "12345678", "1.234", "no", "NaN"])
WRITES = st.one_of(
    st.builds("INSERT INTO parent (id, code, st, n) VALUES ({}, '{}', '{}', '{}')".format,
              ids, codes, labels, numbers),
    st.builds("UPDATE parent SET code = '{}' WHERE id = {}".format, codes, ids),
    st.builds("UPDATE parent SET st = '{}', n = '{}' WHERE id = {}".format, labels, numbers, ids),
    st.builds("UPDATE parent SET id = {} WHERE id = {}".format, ids, ids),
    st.builds("UPDATE parent SET boss = {} WHERE id = {}".format, ids, ids),
    st.builds("UPDATE parent SET extra = '{}' WHERE id = {}".format, codes, ids),
    st.builds("DELETE FROM parent WHERE id = {}".format, ids),
    st.builds("INSERT INTO child (id, no, parent) VALUES ({}, {}, {})".format, ids, ids, ids),
    st.builds("UPDATE child SET parent = {} WHERE id = {}".format, st.one_of(ids, st.just("NULL")),
              ids),
    st.builds("UPDATE child SET no = no + 1, t = '{}' WHERE id = {}".format, codes, ids),
    st.builds("DELETE FROM child WHERE parent = {}".format, ids),
    st.builds("INSERT INTO bag (x, y) VALUES ({}, '{}')".format, ids, codes),
    st.builds("UPDATE bag SET x = {} WHERE x = {}".format, ids, ids),
    st.builds("UPDATE bag SET z = {} WHERE x = {}".format, ids, ids),
    st.builds("DELETE FROM bag WHERE x = {}".format, ids),
    st.builds("INSERT INTO fresh VALUES ({}, '{}') ON CONFLICT (id) DO UPDATE SET v = 'u'".format,
              ids, codes),
    st.sampled_from(["TRUNCATE child", "TRUNCATE bag", "DELETE FROM fresh"]),
)  # fmt: skip
writes = st.lists(WRITES, max_size=6)


@pytest.fixture(scope="module")
def stage(
    postgres_server: Server, side_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Stage:
    """Emptied before each example."""
    folder = Path(tmp_path_factory.mktemp("bundles"))
    return made(postgres_server, postgres_server.url(), side_url, folder)


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_nothing_is_lost(stage: Stage, data: st.DataObject) -> None:
    old = OLD.format(
        check=data.draw(st.sampled_from(["", "CHECK (n <> 1.5)"])),
        required=data.draw(st.sampled_from(["", "NOT NULL"])),
        unique=data.draw(st.sampled_from(["", ", UNIQUE (parent)", ", UNIQUE (no, parent)"])),
    )
    with psycopg.connect(stage.live_url, autocommit=True) as live:
        with psycopg.connect(stage.side_url, autocommit=True) as side:
            for one in (live, side):
                one.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
                one.execute(old.encode())
                for insert in BACKUP.strip().split("\n"):
                    _try(one, insert)
        stage.backed_up()
        for sql in data.draw(st.lists(st.sampled_from(MIGRATIONS), max_size=6, unique=True)):
            _try(live, sql)
        if data.draw(st.booleans()):
            stage.migrated()
        _write(live, data.draw(writes))
        _check(stage, live, data)


def _check(stage: Stage, live: psycopg.Connection, data: st.DataObject) -> None:
    since: dict[str, Any] = {} if data.draw(st.booleans()) else {"since": None}
    backup = _contents(stage.side_url)
    with stage.carry(**since) as (carry, bundle):
        first = carry.first_pass()
        for more in data.draw(st.lists(writes, max_size=2)):
            _write(live, more)
            carry.next_pass()
        _write(live, data.draw(writes))
        done = finish(carry, bundle, first)
    _nothing_lost(stage, done, backup)
    _constraints_hold(stage.side_url)


def _nothing_lost(stage: Stage, done: Any, backup: dict[str, list[dict[str, Any]]]) -> None:
    """Compared in Python, with nothing of what is tested."""
    live, side = _contents(stage.live_url), _contents(stage.side_url)
    window = stage.since is not None and stage.since.window_end is not None
    for table, rows in live.items():
        rescued = done.rescued.get(table, [])
        whole = Counter(_frozen(row.row) for row in rescued if row.kind == "row")
        parts = [row.row for row in rescued if row.kind == "columns"]
        there = Counter(_frozen(row) for row in side.get(table, []))
        for row in rows:
            if whole[_frozen(row)]:
                whole[_frozen(row)] -= 1
                continue
            home = _home(row, there, parts)
            if home is None and window and "n" in row:
                # The migration converted `n`, and nothing else: the row is as in the backup.
                plain = [{**old, "n": row["n"]} for old in backup[table]]
                home = _home(row, Counter(_frozen(one) for one in plain), parts)
            else:
                there[home] -= 1
            assert home is not None, (table, row, rescued, side.get(table))
        assert not +whole, (table, whole)


def _home(
    row: dict[str, Any], there: Counter[Any], parts: list[dict[str, Any]]
) -> frozenset[Any] | None:
    """The row of the target that, with what is in the bundle, holds all of this one's values."""
    for found, count in there.items():
        if not count:
            continue
        values = dict(found)
        beside: dict[str, Any] = {}
        for part in parts:
            mine = all(part[key] == row[key] for key in ("id", "no") if key in part)
            if mine and ("id" in part or part == row):
                beside |= part
        if all(
            _equal(values.get(name, "missing"), value)
            or (name in beside and beside[name] == value)
            or (name not in values and value in (None, "d"))
            for name, value in row.items()
        ) and all(_equal(values[key], row[key]) for key in ("id", "no") if key in row):
            return found
    return None


def _equal(one: Any, two: Any) -> bool:
    return bool(one == two)


def _frozen(row: dict[str, Any]) -> frozenset[Any]:
    return frozenset(row.items())


def _contents(url: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    with psycopg.connect(url) as connection:
        for (table,) in connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace"
        ).fetchall():
            cursor = connection.execute(SQL("SELECT * FROM {}").format(Identifier(table)))
            names = [column.name for column in cursor.description or []]
            texts = SQL(", ").join(SQL("{}::text").format(Identifier(name)) for name in names)
            cursor = connection.execute(SQL("SELECT {} FROM {}").format(texts, Identifier(table)))
            found[table] = [dict(zip(names, row, strict=True)) for row in cursor]
    return found


def _constraints_hold(url: str) -> None:
    """Every foreign key is validated anew, by PostgreSQL."""
    with psycopg.connect(url, autocommit=True) as connection:
        for table, name, definition in connection.execute(
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)"
            " FROM pg_constraint WHERE contype = 'f'"
        ).fetchall():
            connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}".encode())
            connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}".encode())


def _write(connection: psycopg.Connection, statements: list[str]) -> None:
    for sql in statements:
        _try(connection, sql)


def _try(connection: psycopg.Connection, sql: str) -> None:
    """What the schema does not allow is refused, and nothing is written."""
    try:
        connection.execute(sql.encode())
    except psycopg.errors.OperationalError:
        raise
    except psycopg.Error:
        pass
