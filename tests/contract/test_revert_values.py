"""Values at the edge, through a revert, its undo and a revert again: each comes back as it was."""

from pathlib import Path

import pytest
from tests.contract.revert_stage import Project

INIT, ONE = "20250101000000_init", "20250201000000_one"
TYPES = """
CREATE TYPE pair AS (a text, b integer);
CREATE TYPE nest AS (p pair, c text[]);
CREATE DOMAIN few AS text[] CHECK (cardinality(VALUE) < 9);
CREATE DOMAIN couple AS pair;
CREATE DOMAIN small AS integer CHECK (VALUE < 10);
"""
EDGES = {
    "pair": ["NULL", "ROW(NULL, NULL)", "ROW('', NULL)", "ROW('(,)', 0)", "ROW('NULL', 1)"],
    "nest": ["NULL", "ROW(NULL, NULL)", "ROW(ROW(NULL, NULL)::pair, '{}')", "ROW(NULL, '{NULL}')"],
    "couple": ["NULL", "ROW(NULL, NULL)::pair", "ROW('x', 1)::pair"],
    "pair[]": [
        "NULL",
        "'{}'",
        "ARRAY[NULL, ROW(NULL, NULL)]::pair[]",
        "ARRAY[ROW('\"', 1)]::pair[]",
    ],
    "few": ["NULL", "'{}'", "ARRAY[NULL, 'NULL', '', '\"']", "'[2:3]={a,b}'", "'{{a},{NULL}}'"],
    "small": ["NULL", "-1", "9"],
    "bytea": ["NULL", "''", r"'\x00ff5c0a09'"],
    "timestamptz": ["NULL", "'infinity'", "'-infinity'", "'0044-03-15 12:00:00.000001+00 BC'"],
    "date": ["NULL", "'infinity'", "'4713-01-01 BC'"],
    "numeric": ["NULL", "'NaN'", "'Infinity'", "1.10", "1e-130"],
    "double precision": ["NULL", "'NaN'", "'-Infinity'", "'-0'", "5e-324"],
    "text": ["NULL", "''", r"'\N'", r"E'\\.\n\t\r'", "'NULL'"],
    "char(3)": ["NULL", "''", "'a'"],
    "boolean": ["NULL", "true", "false"],
    "int4range": ["NULL", "'empty'", "'(,)'", "'[1,)'"],
    "interval": ["NULL", "'-1 mon 1 day -00:00:00.1'"],
    "jsonb": ["NULL", "'null'", "'{\"a\": 1.10}'"],
    "json": ["NULL", "'null'", '\'{"a" :1, "a": 2}\''],
    "inet": ["NULL", "'10.0.0.1/8'", "'::1'"],
    "point": ["NULL", "'(NaN,-0)'"],
}
NAMES = {type_: f"v{number}" for number, type_ in enumerate(EDGES)}
DEEPEST = max(len(values) for values in EDGES.values())


def columns() -> str:
    return ", ".join(f"{name} {type_}" for type_, name in NAMES.items())


def value(type_: str, row: int) -> str:
    """The value in one row, in its type: a row of a query is no composite by itself."""
    found = EDGES[type_]
    return f"({found[row] if row < len(found) else 'NULL'})::{type_}"


def values(row: int) -> str:
    return ", ".join(value(type_, row) for type_ in EDGES)


def filled(table: str, first: str = "") -> str:
    rows = (f"INSERT INTO {table} SELECT {first}{values(row)};" for row in range(DEEPEST))
    return "".join(rows)


@pytest.fixture
def project(tmp_path: Path, postgres_url: str) -> Project:
    made = Project(tmp_path, postgres_url)
    made.migration(INIT, TYPES)
    assert made.deploy().code == "ok"
    return made


KEYED = f"""
CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  twice bigint GENERATED ALWAYS AS (id * 2) STORED, {columns()})
"""
KEYLESS = f"CREATE TABLE k ({columns()})"
WHOLE = f"CREATE TABLE w (id serial PRIMARY KEY, {columns()})"


def there_and_back(project: Project, sql: str, since: str = "") -> dict[str, tuple[int, str]]:
    """Back, undone and back again; the contents after the first way back."""
    project.migration(ONE, sql)
    project.checkpoint()
    before, catalog = project.contents(), project.catalog()
    assert project.apply_statements(ONE)
    if since:
        project.run(since)
    held = project.contents()
    project.revert(ONE)
    assert project.unlike(catalog) == []
    back = project.contents()
    if not since:
        assert back == before
    project.apply(ONE, run="run-2bbbbb")
    assert project.contents() == held
    project.revert(ONE, run="run-3ccccc")
    assert project.contents() == back
    return back


def test_saved_values_of_dropped_and_overwritten_columns(project: Project) -> None:
    for table in (KEYED, KEYLESS, WHOLE):
        project.run(table)
    names = list(NAMES.values())
    into = f"t ({', '.join(names)})"
    project.run(filled(into) + filled("k") + filled("w", "nextval('w_id_seq'), "))
    half = len(names) // 2
    sql = "DROP TABLE w;"
    for table in "tk":
        sql += f"UPDATE {table} SET {', '.join(f'{name} = NULL' for name in names[:half])};"
        sql += f"ALTER TABLE {table} {', '.join(f'DROP COLUMN {name}' for name in names[half:])};"
    there_and_back(project, sql)
    assert project.run("INSERT INTO w DEFAULT VALUES RETURNING id") == [(DEEPEST + 1,)]
    assert project.run("INSERT INTO t DEFAULT VALUES RETURNING id, twice") == [
        (DEEPEST + 1, 2 * DEEPEST + 2)
    ]


def test_rescued_values_of_columns_and_tables_that_go(project: Project) -> None:
    project.run("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE k (x int)")
    project.run(f"INSERT INTO t SELECT generate_series(1, {DEEPEST}); INSERT INTO k TABLE t")
    added = ", ".join(f"ADD COLUMN {name} {type_}" for type_, name in NAMES.items())
    since = filled("w", "nextval('w_id_seq'), ")
    for row in range(DEEPEST):
        given = ", ".join(f"{name} = {value(type_, row)}" for type_, name in NAMES.items())
        since += (
            f"UPDATE t SET {given} WHERE id = {row + 1}; UPDATE k SET {given} WHERE x = {row + 1};"
        )
    there_and_back(project, f"ALTER TABLE t {added}; ALTER TABLE k {added}; {WHOLE};", since)


def test_values_that_were_overwritten_since_are_put_back_by_the_undo(project: Project) -> None:
    """What is compared right after the revert: a composite of NULLs is not NULL."""
    project.run("CREATE TABLE t (id int PRIMARY KEY, p pair, n numeric, s text, a text[])")
    project.run(
        "INSERT INTO t SELECT i, ROW('x', i)::pair, i, i, ARRAY[i] FROM generate_series(1, 4) i"
    )
    back = there_and_back(
        project,
        "UPDATE t SET p = NULL, n = NULL, s = NULL, a = NULL;",
        "UPDATE t SET p = ROW(NULL, NULL), n = 'NaN', s = '', a = '{NULL}' WHERE id = 2;"
        "UPDATE t SET p = ROW('', NULL), n = 'Infinity', s = 'NULL', a = '{}' WHERE id = 3;",
    )
    assert back["public.t"][0] == 4
    shown = "SELECT id, p IS DISTINCT FROM NULL, p::text, n::text, s, a::text FROM t ORDER BY 1"
    assert project.run(shown) == [
        (1, True, "(x,1)", "1", "1", "{1}"),
        (2, True, "(,)", "NaN", "", "{NULL}"),
        (3, True, '("",)', "Infinity", "NULL", "{}"),
        (4, True, "(x,4)", "4", "4", "{4}"),
    ]
