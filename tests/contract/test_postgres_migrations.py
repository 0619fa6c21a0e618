"""The verdicts, checked: each migration is run, and then the old client's statements are."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from postgast import split
from tests.migration_cases import BASE, CASES, Case
from tests.migration_snippets import KEEP, RESTORE, REVERT

from taly.database.catalog import answers
from taly.planning.migrations import CatalogFacts, classify_all, wanted_facts
from taly.planning.migrations.facts import EnumValueUsed, HasNulls, IndexInvalid

ROWS = """
INSERT INTO "User" ("email", "name", "age", "role") VALUES
  ('a@x', 'Ada', '36', 'ADMIN'), ('b@x', 'Ada', '007', 'USER'), ('c@x', NULL, '1', 'USER');
INSERT INTO "Post" ("authorId") VALUES (1), (2);
"""
TYPES: dict[str, Any] = {
    "id": int,
    "email": str,
    "name": (str, type(None)),
    "role": str,
    "age": str,
    "score": int,
}
USER = 'SELECT "id", "email", "name", "role", "age", "score" FROM "User"'
RETURNING = USER.replace("SELECT", "RETURNING").replace(' FROM "User"', "")
OLD_CLIENT = (
    USER,
    'SELECT "id", "authorId" FROM "Post"',
    f"""INSERT INTO "User" ("email", "name", "age", "role")
        VALUES ('new@x', NULL, 'young', 'ADMIN'::"Role") {RETURNING}""",
    f'INSERT INTO "User" ("email") VALUES (\'defaults@x\') {RETURNING}',
    f"""INSERT INTO "User" ("email") VALUES ('b@x')
        ON CONFLICT ("email") DO UPDATE SET "name" = 'again' {RETURNING}""",
    f"""UPDATE "User" SET "role" = 'USER'::"Role" WHERE "role" = 'ADMIN'::"Role" {RETURNING}""",
    'INSERT INTO "Post" ("authorId") VALUES (2) RETURNING "id"',
    'DELETE FROM "Post" WHERE "authorId" = 2 RETURNING "id"',
)
"""What a client generated from the base schema sends: every column by name, enums cast, upserts."""


@pytest.fixture
def connection(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """The base schema with a few rows."""
    with psycopg.connect(postgres_url, autocommit=True) as made:
        made.execute(BASE.encode())
        made.execute(ROWS)
        yield made


def run(connection: psycopg.Connection[Any], sql: str) -> None:
    """Statement by statement, as Prisma does from 7.4 on; a failed CONCURRENTLY is what it is."""
    for statement in split(sql):
        try:
            connection.execute(statement.encode())
        except psycopg.errors.UniqueViolation:
            assert "CONCURRENTLY" in statement


def old_client_fails(connection: psycopg.Connection[Any]) -> str:
    """What the old client says first; empty when all of it works."""
    for statement in OLD_CLIENT:
        try:
            rows = connection.execute(statement.encode())
        except psycopg.Error as error:
            return f"{statement}: {error}"
        names = [column.name for column in rows.description or ()]
        for row in rows.fetchall():
            for name, value in zip(names, row, strict=True):
                if not isinstance(value, TYPES.get(name, int)):
                    return f"{statement}: {name} is {value!r}"
                if name == "role" and value not in ("ADMIN", "USER"):
                    return f"{statement}: {name} is {value!r}"
    return ""


def verdict(connection: psycopg.Connection[Any], sql: str) -> str:
    """What is said of it with the live catalog's answers."""
    texts = [("0_init", BASE), ("1_case", sql)]
    questions = wanted_facts(texts, after=1, complete=True)
    with connection.transaction():
        found = answers(connection, "public", questions)
    facts = CatalogFacts(answers=found, complete=True)
    return classify_all(texts, after=1, catalog=facts)[0].verdict


def check(connection: psycopg.Connection[Any], case: Case) -> None:
    """The verdict is as written, and it is true."""
    for sql in (case.before, case.sql, case.rows):
        run(connection, sql)
    assert verdict(connection, case.sql) == case.verdict
    said = old_client_fails(connection)
    assert bool(said) == (case.verdict != "keep"), said


@pytest.mark.parametrize("name", CASES)
def test_case(connection: psycopg.Connection[Any], name: str) -> None:
    check(connection, CASES[name])


@pytest.mark.parametrize("name", KEEP)
def test_what_is_kept_works(connection: psycopg.Connection[Any], name: str) -> None:
    check(connection, Case(KEEP[name], "keep", ""))


NOT_SHOWN_HERE = {
    # We are a superuser and the owner: rights, owners and row security do not stop us.
    "row security on",
    "rights revoked",
    "owner changed",
    "restrictive policy",
    # They name what this database does not have.
    "view dropped",
    "moved to another schema",
    "drop schema",
    "call of an unknown function",
    "DO block in another language",
    "syntax error",
    # It breaks only clients that name the sequence.
    "sequence renamed",
    # It breaks what the old client does elsewhere, or only with rows that are not here.
    "a statement of a kind nobody thought of",
    "enum rebuilt with a value that rows may use",
    "unique constraint dropped",
}


@pytest.mark.parametrize(
    "name", [name for name in {**REVERT, **RESTORE} if name not in NOT_SHOWN_HERE]
)
def test_what_is_not_kept_fails(connection: psycopg.Connection[Any], name: str) -> None:
    sql = {**REVERT, **RESTORE}[name]
    expected = "revert" if name in REVERT else "restore"
    rebuilt = "losing" in name or "other way" in name
    before = """UPDATE "User" SET "role" = 'USER'""" if rebuilt else ""
    check(connection, Case(sql, expected, "", before=before))


def test_answers_of_arrays_quoted_names_and_what_is_not_there(
    connection: psycopg.Connection[Any],
) -> None:
    connection.execute(
        'CREATE SCHEMA "o""dd"; CREATE TYPE "o""dd"."Kind" AS ENUM (\'A\', \'B\', \'C\');'
        'CREATE TABLE "o""dd"."List" ("kinds" "o""dd"."Kind"[], "x" INT);'
        'INSERT INTO "o""dd"."List" VALUES (\'{A,B}\', NULL)'
    )
    asked = {
        EnumValueUsed(type='o"dd.Kind', value="B"): True,
        EnumValueUsed(type='o"dd.Kind', value="C"): False,
        EnumValueUsed(type='o"dd.Kind', value="gone"): False,
        EnumValueUsed(type="Nope", value="x"): None,
        HasNulls(table='o"dd.List', column="x"): True,
        HasNulls(table='o"dd.List', column="kinds"): False,
        HasNulls(table="User", column="nope"): None,
        HasNulls(table="Nope", column="x"): None,
        IndexInvalid(index="User_email_key"): False,
        IndexInvalid(index="nope"): None,
    }
    with connection.transaction():
        found = answers(connection, "public", asked)
    assert found == {question: value for question, value in asked.items() if value is not None}


def test_an_enum_inside_a_domain_is_not_known(connection: psycopg.Connection[Any]) -> None:
    connection.execute('CREATE DOMAIN "Safe" AS "Role"; CREATE TABLE "d" ("r" "Safe")')
    question = EnumValueUsed(type="Role", value="ADMIN")
    connection.execute("ALTER TYPE \"Role\" ADD VALUE 'X'")
    with connection.transaction():
        assert answers(connection, "public", [question]) == {question: True}
        other = EnumValueUsed(type="Role", value="X")
        assert answers(connection, "public", [other]) == {}


def test_a_question_that_takes_too_long_is_not_known(
    connection: psycopg.Connection[Any], postgres_url: str
) -> None:
    question = HasNulls(table="User", column="email")
    with psycopg.connect(postgres_url) as blocker, connection.transaction():
        blocker.execute('LOCK TABLE "User" IN ACCESS EXCLUSIVE MODE')
        connection.execute("SET LOCAL statement_timeout = 100")
        assert answers(connection, "public", [question]) == {}
        assert connection.execute("SELECT 1").fetchone() == (1,)
