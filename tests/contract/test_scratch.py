"""Ways down tried out on a scratch database: what is proved, what is refused, what is left."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from tests.migration_cases import BASE, CASES

from taly.database.connection import Target, target_of
from taly.database.programs import find_programs
from taly.database.scratch import (
    LiveSchema,
    NotProven,
    Proven,
    Replay,
    left_behind,
    prove,
    replayed,
)
from taly.database.snapshot import read_catalog
from taly.errors import Refused, VendorUnavailable
from taly.model.catalog import Catalog
from taly.planning.catalog_diff import differences
from taly.planning.down import Down, derive, team

EARLIER = Replay(texts=(BASE,))
DROP_NAME = CASES["drop column"].sql


def target(url: str) -> Target:
    """As a component's settings name it."""
    return target_of({}, {"DATABASE_URL": url})


@pytest.fixture
def live(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """The live database with the base schema."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute(BASE.encode())
        yield connection


def databases(connection: psycopg.Connection[Any]) -> set[str]:
    """The databases on the server."""
    return {row[0] for row in connection.execute("SELECT datname FROM pg_database").fetchall()}


@pytest.fixture
def catalog(live: psycopg.Connection[Any]) -> Catalog:
    """The live catalog."""
    return read_catalog(live)


def test_a_way_down_is_proved_and_nothing_is_left(
    live: psycopg.Connection[Any], catalog: Catalog, postgres_url: str
) -> None:
    there = databases(live)
    found = prove(target(postgres_url), EARLIER, DROP_NAME, derive("m", DROP_NAME, catalog))
    assert isinstance(found, Proven), found
    assert [one.text for one in differences(found.before, found.after)] != []
    assert databases(live) == there
    assert differences(catalog, read_catalog(live)) == ()


def test_the_live_schema_is_copied_where_pg_dump_is(
    live: psycopg.Connection[Any], catalog: Catalog, postgres_url: str
) -> None:
    assert catalog.instant is not None
    programs = find_programs(catalog.instant.server_version)
    live.execute("CREATE FUNCTION f() RETURNS int AS 'SELECT 1' LANGUAGE sql")
    before = read_catalog(live)
    sql = 'DROP FUNCTION f(); DROP INDEX "User_email_key";'
    found = prove(
        target(postgres_url), LiveSchema(programs=programs), sql, derive("m", sql, before)
    )
    assert isinstance(found, Proven), found
    assert differences(before, read_catalog(live)) == ()


def test_an_incomplete_way_down_is_not_proved(
    live: psycopg.Connection[Any], catalog: Catalog, postgres_url: str
) -> None:
    there = databases(live)
    own = team("m", 'ALTER TABLE "User" ADD COLUMN "name" TEXT;', DROP_NAME, catalog)
    found = prove(target(postgres_url), EARLIER, DROP_NAME, own)
    assert isinstance(found, NotProven)
    assert found.left == ("index public.User.User_name_idx is missing",)
    assert databases(live) == there


@pytest.mark.parametrize(
    ("up", "down", "said"),
    [
        (DROP_NAME, 'DROP TABLE "Nope";', 'the way down fails: table "Nope" does not exist'),
        ("SELECT 1/0", "SELECT 1", "the migration itself fails: division by zero"),
    ],
)
def test_what_fails_is_said(postgres_url: str, up: str, down: str, said: str) -> None:
    own = Down(name="m", source="team", statements=(down,))
    found = prove(target(postgres_url), EARLIER, up, own)
    assert isinstance(found, NotProven)
    assert found.reason == said


def test_nothing_to_try_is_not_proved(postgres_url: str) -> None:
    sql = "DO $$ BEGIN EXECUTE 'SELECT 1'; END $$;"
    found = prove(target(postgres_url), EARLIER, sql, derive("m", sql, None))
    assert isinstance(found, NotProven)
    assert "DO block" in found.reason


def test_earlier_migrations_that_do_not_run_make_no_copy(postgres_url: str) -> None:
    found = prove(target(postgres_url), Replay(texts=("SELECT 1/0",)), "", derive("m", "", None))
    assert found == NotProven(reason="no copy of the schema can be made: division by zero")


def test_a_database_left_behind_is_found(live: psycopg.Connection[Any], postgres_url: str) -> None:
    live.execute("CREATE DATABASE taly_scratch_lost")
    try:
        assert left_behind(target(postgres_url)) == ("taly_scratch_lost",)
    finally:
        live.execute("DROP DATABASE taly_scratch_lost")


def test_without_createdb_it_is_refused(live: psycopg.Connection[Any], postgres_url: str) -> None:
    live.execute("DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN PASSWORD 'SANDBOXSECRETplain'")
    try:
        there = databases(live)
        host = postgres_url.rpartition("@")[2]
        url = f"postgresql://plain:SANDBOXSECRETplain@{host}"
        with pytest.raises(Refused) as raised:
            prove(target(url), EARLIER, "SELECT 1", derive("m", "SELECT 1", None))
        assert raised.value.reference == "database-no-createdb"
        assert "SANDBOXSECRET" not in raised.value.message
        assert databases(live) == there
    finally:
        live.execute("DROP ROLE plain")


def test_a_server_that_does_not_answer() -> None:
    gone = target("postgresql://u:SANDBOXSECRETx@127.0.0.1:1/x")
    with pytest.raises(VendorUnavailable) as raised:
        replayed(gone, ())
    assert raised.value.reference == "database-unreachable"
    assert "SANDBOXSECRET" not in raised.value.message


def test_replaying_gives_the_same_catalog(catalog: Catalog, postgres_url: str) -> None:
    empty, made = replayed(target(postgres_url), (BASE, "SELECT 1/0", "SELECT 1"))
    assert empty.tables == ()
    assert differences(catalog, made) == ()
