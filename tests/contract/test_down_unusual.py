"""Ways down of schemas that are not as Prisma writes them: tried out, the catalog is as before."""

import psycopg
import pytest

from taly.database.snapshot import read_catalog
from taly.model.catalog import Catalog
from taly.planning.catalog_diff import differences
from taly.planning.down import derive

CASES = {
    "a partitioned table gets a column, an index and another name for a column": (
        """CREATE TABLE p (k integer PRIMARY KEY, v text) PARTITION BY RANGE (k);
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
        CREATE TABLE p2 PARTITION OF p DEFAULT""",
        """ALTER TABLE p ADD COLUMN w text; CREATE INDEX ix ON p (v);
        ALTER TABLE p RENAME COLUMN v TO vv""",
    ),
    "a partitioned table loses a column and its index, and another is converted": (
        """CREATE TABLE p (k integer PRIMARY KEY, v text, x integer) PARTITION BY RANGE (k);
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
        CREATE INDEX ix ON p (v)""",
        "ALTER TABLE p DROP COLUMN v; ALTER TABLE p ALTER COLUMN x TYPE bigint",
    ),
    "a table that another one inherits from": (
        "CREATE TABLE a (id integer, v text); CREATE TABLE b (w text) INHERITS (a)",
        "ALTER TABLE a ADD COLUMN z integer; ALTER TABLE a RENAME v TO vv",
    ),
    "an enum with a check and a partial index on one of its values": (
        """CREATE TYPE s AS ENUM ('a', 'b');
        CREATE TABLE t (id integer PRIMARY KEY, s s DEFAULT 'a' CHECK (s <> 'b'));
        CREATE INDEX i ON t (id) WHERE s = 'a'""",
        "ALTER TYPE s ADD VALUE 'c'",
    ),
    "a column with a collation of its own is converted": (
        'CREATE TABLE t (id integer PRIMARY KEY, c text COLLATE "C")',
        "ALTER TABLE t ALTER c TYPE varchar(10)",
    ),
    "a column gets a collation": (
        "CREATE TABLE t (id integer PRIMARY KEY, c text)",
        'ALTER TABLE t ALTER c TYPE text COLLATE "C"',
    ),
}


@pytest.mark.parametrize("seen", [False, True], ids=["from the text", "with the catalog after"])
@pytest.mark.parametrize("case", CASES)
def test_the_catalog_is_as_before(case: str, seen: bool, postgres_url: str) -> None:
    earlier, up = CASES[case]
    _run(postgres_url, earlier)
    before = _catalog(postgres_url)
    _run(postgres_url, up)
    after = _catalog(postgres_url)
    assert list(differences(before, after)), "the migration does something"
    down = derive("m", up, before, after=after if seen else None)
    assert not down.gaps
    for statement in down.sql:
        _run(postgres_url, statement)
    assert [one.text for one in differences(before, _catalog(postgres_url))] == []
    invalid = "SELECT FROM pg_index WHERE NOT indisvalid"
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute(invalid).fetchall() == []


def _run(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.encode())


def _catalog(url: str) -> Catalog:
    with psycopg.connect(url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return read_catalog(connection)
