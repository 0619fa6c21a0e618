"""Every value comes back exactly; and random merges never lose a newer one."""

from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.checkpoint_stage import BASE, ROWS
from tests.contract.rescue_stage import RUN, Stage, begin, table

from taly.database.rescue.bundle import open_bundle
from taly.database.rescue.present import texts
from taly.database.rescue.session import exact

MORE = r"""
CREATE TYPE pair AS (a integer, b text);
CREATE TABLE "odd 100% {}" (
  "id%s" varchar(20) PRIMARY KEY, "b""%" boolean, c char(4), i inet, iv interval, p pair, d date,
  bits bit varying(5), x xml, r int4range, m money, arr text[][], v tsvector, f real,
  t timetz, mac macaddr, j jsonb, "char" "char", n name
);
INSERT INTO "odd 100% {}" VALUES
  ('', true, 'ab', '10.0.0.1', '1 mon -2 days 03:04:05.6', ROW(NULL, NULL), 'infinity', '10101',
   '<a>&lt;</a>', '[1,5)', '12.34', '{{a,NULL},{"NULL","\\"}}', 'a:1 b:2', 'NaN', '12:00+05:30',
   '08:00:2b:01:02:03', '{"\u00e9": "\\n"}', 'x', 'name'),
  (E'\\N', NULL, '', '::1/64', '-1 year', ROW(1, NULL), '0044-03-15 BC', '', NULL, 'empty', NULL,
   '{}', '', '-0', NULL, NULL, 'null', '', ''),
  (E'a\tb\n%s {} ''', false, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
   NULL, NULL, NULL, NULL, NULL);
"""
TABLES = """
SELECT n.nspname::text, c.relname::text, coalesce((SELECT array_agg(a.attname::text ORDER BY k.i)
    FROM pg_index x, unnest(x.indkey::int2[]) WITH ORDINALITY k(n, i), pg_attribute a
    WHERE x.indrelid = c.oid AND x.indisprimary AND a.attrelid = c.oid AND a.attnum = k.n), '{}'),
  array_agg(a.attname::text ORDER BY a.attnum),
  array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_'
  AND n.nspname <> 'information_schema' GROUP BY c.oid, n.nspname, c.relname ORDER BY 1, 2
"""


@pytest.fixture
def stage(tmp_path: Path, postgres_url: str) -> Stage:
    return Stage(base=tmp_path / "rescue", url=postgres_url)


def dump(connection: psycopg.Connection) -> dict[tuple[str, str], list[list[str | None]]]:
    """Everything, as text."""
    found = {}
    with connection.transaction(), exact(connection):
        for schema, name, _, columns, _ in connection.execute(TABLES).fetchall():
            quoted = ", ".join('"{}"'.format(one.replace('"', '""')) for one in columns)
            place = ".".join('"{}"'.format(one.replace('"', '""')) for one in (schema, name))
            query = f"SELECT {quoted} FROM {place}"
            found[schema, name] = sorted(texts(connection.execute(query.encode())), key=str)
    return found


def rescue_all(stage: Stage, connection: psycopg.Connection) -> None:
    """Everything into a bundle."""
    bundle = begin(stage.base, step="s")
    values = dump(connection)
    for schema, name, key, columns, types in connection.execute(TABLES).fetchall():
        rescued = table(name, dict(zip(columns, types, strict=True)), *key, schema=schema)
        for row in values[schema, name]:
            bundle.table(rescued).add("row", row, why="all of it goes")
    bundle.finish()
    bundle.confirm()


def test_every_type_and_odd_name_comes_back_as_it_was(stage: Stage) -> None:
    stage.run(BASE)
    stage.run(ROWS)
    stage.run(MORE)
    # A server with other habits: neither the bundle nor the comparison depends on them.
    name = stage.run("SELECT current_database()")[0][0]
    stage.run(f"ALTER DATABASE {name} SET datestyle = 'German, DMY'")
    stage.run(f"ALTER DATABASE {name} SET intervalstyle = 'iso_8601'")
    stage.run(f"ALTER DATABASE {name} SET bytea_output = 'escape'")
    stage.run(f"ALTER DATABASE {name} SET timezone = 'Asia/Kathmandu'")
    try:
        with stage.connected() as connection:
            before = dump(connection)
            rescue_all(stage, connection)
            connection.execute(
                'TRUNCATE "User", "Order", keyless, nothing, "Other One"."odd ""name"".x", parted,'
                ' "odd 100%% {}"'.replace("%%", "%").encode()
            )
        reader = open_bundle(stage.base, RUN, "database", step="s")
        merged = stage.merge(reader)
        assert not merged.left, [one.left for one in merged.tables]
        with stage.connected() as connection:
            assert dump(connection) == before
        assert sum(len(rows) for rows in before.values()) > 140
        # Compared with what is there now, nothing differs.
        (reader.path / "replayed.json").unlink()
        again = stage.merge(reader)
        assert [set(one.fates) for one in again.tables] == [{"nothing"}] * len(merged.tables)
        assert merged.tables
    finally:
        stage.run(f"ALTER DATABASE {name} RESET ALL")


def test_values_of_many_megabytes_come_back(stage: Stage) -> None:
    stage.run("CREATE TABLE t (id integer PRIMARY KEY, b bytea, x text)")
    stage.run(
        "INSERT INTO t SELECT i, decode(repeat('00ff5c', 500000), 'hex'), repeat('é\\\"', 1700000)"
        " FROM generate_series(1, 2) i"
    )
    with stage.connected() as connection:
        rescue_all(stage, connection)
    stage.run("CREATE TABLE kept AS SELECT id, md5(b) AS b, md5(x) AS x FROM t; TRUNCATE t")
    stage.merge(open_bundle(stage.base, RUN, "database", step="s"))
    assert stage.run(
        "SELECT count(*) FROM t JOIN kept k USING (id) WHERE md5(t.b) = k.b AND md5(t.x) = k.x"
    ) == [(2,)]


# Random merges.

KEYS = ["1", "2", "3"]
TEXT = st.sampled_from([None, "", "a", "b", "none"])
ROW = st.tuples(TEXT, TEXT)
STATE = st.dictionaries(st.sampled_from(KEYS), ROW)
RESCUED = st.dictionaries(
    st.sampled_from(KEYS),
    st.tuples(st.sampled_from(["row", "columns", "deleted"]), ROW, st.booleans()),
)
T = table("t", {"id": "integer", "x": "text", "y": "text"}, "id")


def contents(stage: Stage) -> dict[str, tuple[str | None, str | None]]:
    return {str(i): (x, y) for i, x, y in stage.run("SELECT * FROM t")}


def write(stage: Stage, rows: dict[str, Any]) -> None:
    with stage.connected() as connection:
        connection.execute("TRUNCATE t")
        for key, row in rows.items():
            connection.execute("INSERT INTO t VALUES (%s, %s, %s)", (key, *row))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(base=STATE, now=STATE, rescued=RESCUED, deletes=st.booleans(), forgetful=st.booleans())
def test_replayed_twice_is_once_and_no_newer_value_is_lost(
    stage: Stage,
    base: dict[str, Any],
    now: dict[str, Any],
    rescued: dict[str, Any],
    deletes: bool,
    forgetful: bool,
) -> None:
    """`forgetful`: the record of the first replay is gone, and the merge alone must do."""
    stage.run(
        "CREATE TABLE IF NOT EXISTS t (id integer PRIMARY KEY, x text, y text DEFAULT 'none')"
    )
    rows = []
    for key, (kind, values, with_base) in rescued.items():
        then = base.get(key)
        known = None if then is None or not with_base else {"id": key, "x": then[0], "y": then[1]}
        rows.append({"kind": kind, "values": (key, *values), "base": known})
    stage.run_number = getattr(stage, "run_number", 0) + 1
    reader = stage.bundle((T, rows), step=f"s{stage.run_number}")
    write(stage, now)
    stage.merge(reader, deletes=deletes)
    once = contents(stage)
    if forgetful:
        (reader.path / "replayed.json").unlink(missing_ok=True)
    stage.merge(reader, deletes=deletes)
    assert contents(stage) == once or (forgetful and deletes)
    for key, row in now.items():
        kind, values, with_base = rescued.get(key, ("", (), False))
        if key not in once:
            assert kind == "deleted"
            assert row == (base[key] if with_base and key in base else values)
            continue
        for place in (0, 1):
            if once[key][place] == row[place]:
                continue
            assert once[key][place] == values[place]
            if with_base and key in base:
                assert row[place] == base[key][place]
            else:
                assert kind == "columns"
                assert row[place] in ((None, "none") if place else (None,))
    for key in once.keys() - now.keys():
        assert rescued[key][0] == "row"
        assert once[key] == rescued[key][1]
        assert not (rescued[key][2] and key in base), "it was deleted since"
