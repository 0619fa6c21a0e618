"""The way down of every kind of migration, taken on a real PostgreSQL: the catalog is as before."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from postgast import split
from tests.contract.test_postgres_migrations import ROWS
from tests.migration_cases import BASE, CASES, Case
from tests.migration_snippets import KEEP, RESTORE, REVERT

from taly.database.snapshot import read_catalog
from taly.model.catalog import Catalog
from taly.planning.catalog_diff import differences
from taly.planning.down import Down, derive

Connection = psycopg.Connection[Any]


@pytest.fixture
def connection(postgres_url: str) -> Iterator[Connection]:
    """The base schema with a few rows."""
    with psycopg.connect(postgres_url, autocommit=True) as made:
        made.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        made.execute(BASE.encode())
        made.execute(ROWS)
        yield made


def run(connection: Connection, sql: str) -> None:
    """Statement by statement, as Prisma does from 7.4 on; a failed CONCURRENTLY is what it is."""
    for statement in split(sql):
        try:
            connection.execute(statement.encode())
        except psycopg.errors.UniqueViolation:
            assert "CONCURRENTLY" in statement


@contextmanager
def transaction(connection: Connection, down: Down) -> Iterator[None]:
    """One transaction, where the way down says that it can run in one."""
    if down.transactional:
        with connection.transaction():
            yield
    else:
        yield


def take(connection: Connection, down: Down) -> None:
    """Run the way down; guards first."""
    barred = [guard.text for guard in down.guards if asked(connection, guard.query)]
    assert not barred
    with transaction(connection, down):
        for statement in down.sql:
            connection.execute(statement.encode())


def asked(connection: Connection, query: str) -> bool:
    """A guard's answer."""
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return bool(row[0])


def up(connection: Connection, case: Case) -> tuple[Catalog, Down]:
    """Run a case; the catalog from before and the way down."""
    run(connection, case.before)
    before = read_catalog(connection)
    run(connection, case.sql)
    run(connection, case.rows)
    return before, derive("case", case.sql, before)


def lines(connection: Connection, before: Catalog) -> list[str]:
    """What is not as it was."""
    return [one.text for one in differences(before, read_catalog(connection))]


BARRED = {
    "drop not null, a row is NULL": 'UPDATE "User" SET "email" = \'x\' WHERE "email" IS NULL',
    "enum value that a row uses": 'UPDATE "User" SET "role" = \'USER\' WHERE "role" = \'GUEST\'',
}
"""Cases whose rows bar the way, and what makes them fit."""
ROWS_ARE_LOST = {
    "set not null after a backfill": ("public.User", ("name",)),
    "drop column": ("public.User", ("name",)),
    "drop table": ("public.Post", ()),
    "rename column as schema diffs emit it": ("public.User", ("name",)),
    "text to integer": ("public.User", ("age",)),
    "update": ("public.User", ("score",)),
    "delete": ("public.Post", ()),
}
"""Cases that destroy data: what must be saved before them."""
NO_STATEMENT_BRINGS_BACK = {"set not null after a backfill", "update", "delete"}


@pytest.mark.parametrize("name", CASES)
def test_down(connection: Connection, name: str) -> None:
    before, down = up(connection, CASES[name])
    if name in BARRED:
        assert any(asked(connection, guard.query) for guard in down.guards)
        run(connection, BARRED[name])
    assert lines(connection, before) or name in NO_STATEMENT_BRINGS_BACK
    take(connection, down)
    assert lines(connection, before) == []
    saves = [(save.table, save.columns) for save in down.data]
    assert saves == ([ROWS_ARE_LOST[name]] if name in ROWS_ARE_LOST else [])
    assert bool(down.gaps) == (name in NO_STATEMENT_BRINGS_BACK or name == "drop table")
    assert down.transactional == ("concurrently" not in name)


SNIPPETS = {**KEEP, **REVERT, **RESTORE}
BEFORE = {
    "view dropped": 'CREATE VIEW "user_names" AS SELECT "id", "name" FROM "User"',
    "moved to another schema": 'CREATE SCHEMA "app"',
    "drop schema": 'CREATE SCHEMA "app"',
    "enum rebuilt with a value that rows may use": (
        'ALTER TABLE "User" ALTER COLUMN "role" DROP DEFAULT'
    ),
    "enum rebuilt as Prisma does, losing a value": 'UPDATE "User" SET "role" = \'USER\'',
    "enum rebuilt the other way round": 'UPDATE "User" SET "role" = \'USER\'',
}
CANNOT_RUN = {
    "owner changed",
    "call of an unknown function",
    "DO block in another language",
    "syntax error",
    "unique constraint dropped",
}


@pytest.mark.parametrize("name", [name for name in RESTORE if name not in CANNOT_RUN])
def test_what_does_not_come_back_is_named(connection: Connection, name: str) -> None:
    """Either the catalog is as before, or a gap says that it will not be."""
    before, down = up(connection, Case(SNIPPETS[name], "", "", before=BEFORE.get(name, "")))
    take(connection, down)
    assert lines(connection, before) == [] or down.gaps


NAMED = re.compile(r": (comment|grants) was")
"""They are left as they are, and a gap says so."""
COME_BACK = [name for name in {**KEEP, **REVERT} if name not in CANNOT_RUN]


@pytest.mark.parametrize("name", COME_BACK)
def test_what_is_kept_or_reverted_comes_back(connection: Connection, name: str) -> None:
    before, down = up(connection, Case(SNIPPETS[name], "", "", before=BEFORE.get(name, "")))
    take(connection, down)
    left = [line for line in lines(connection, before) if not NAMED.search(line)]
    assert left == []
    assert bool(down.gaps) >= bool(lines(connection, before))
