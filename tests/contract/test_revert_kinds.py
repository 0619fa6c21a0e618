"""The 29 kinds of migrations, each taken back on a real PostgreSQL with rows from before and after.

For each: what is said of it, the schema as before, the old data exactly as it was, what was written
since in its place or in the rescue bundle, one row of the ledger marked, and applied again.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.contract.revert_stage import Project
from tests.contract.test_down_cases import BARRED
from tests.contract.test_postgres_migrations import ROWS
from tests.migration_cases import BASE, CASES

from taly.database.catalog import answers
from taly.database.connection import reading
from taly.errors import VendorRefused
from taly.model.catalog import Catalog
from taly.planning.migrations import CatalogFacts, classify_all, wanted_facts

CASE = "20250202000000_case"
USERS = 'SELECT id, email, name, role::text, age, score FROM "User" WHERE id <= 3 ORDER BY id'
POSTS = 'SELECT id, "authorId" FROM "Post" WHERE id <= 2 ORDER BY id'
NEW_USER = "INSERT INTO \"User\" (email) VALUES ('new@x')"


class After(NamedTuple):
    """What the new code wrote, and what the rescue bundle must hold of it."""

    writes: str = NEW_USER
    rescued: tuple[tuple[str, dict[str, str | None]], ...] = ()
    new_rows: int = 1


BIO = """
UPDATE "User" SET bio = 'x' WHERE id = 1; INSERT INTO "User" (email, bio) VALUES ('n', 'y')
"""
MORE = {
    "nullable column": After(
        BIO, (("User", {"id": "1", "bio": "x"}), ("User", {"id": "4", "bio": "y"}))
    ),
    "not null column with default": After(
        BIO,
        tuple(
            ("User", {"id": number, "bio": bio})
            for number, bio in (("2", ""), ("3", ""), ("1", "x"), ("4", "y"))
        ),
    ),
    "create table": After(
        NEW_USER + '; INSERT INTO "Tag" ("userId") VALUES (1), (4)',
        (("Tag", {"id": "1", "userId": "1"}), ("Tag", {"id": "2", "userId": "4"})),
    ),
    "add, backfill, set not null": After(
        BIO,
        tuple(
            ("User", {"id": number, "bio": bio})
            for number, bio in (("2", "b@x"), ("3", "c@x"), ("1", "x"), ("4", "y"))
        ),
    ),
    "required column without default": After(
        "INSERT INTO \"User\" (id, email, bio) VALUES (4, 'n', 'y')",
        (("User", {"id": "4", "bio": "y"}),),
    ),
    "set not null": After("INSERT INTO \"User\" (email, name) VALUES ('n', 'N')"),
    "set not null after a backfill": After(
        "INSERT INTO \"User\" (email, name) VALUES ('n', 'N')",
        (("User", {"id": "3", "name": ""}), ("User", {"id": "4", "name": "N"})),
    ),
    "rename column": After("INSERT INTO \"User\" (email, \"fullName\") VALUES ('n', 'N')"),
    "rename column as schema diffs emit it": After(
        "INSERT INTO \"User\" (email, \"fullName\") VALUES ('n', 'N')",
        (("User", {"id": "4", "fullName": "N"}),),
    ),
    "rename table": After(NEW_USER + '; INSERT INTO "Article" ("authorId") VALUES (4)'),
    "text to integer": After(
        "INSERT INTO \"User\" (email, age) VALUES ('n', 77)", (("User", {"id": "2", "age": "7"}),)
    ),
    "update": After(
        NEW_USER + '; UPDATE "User" SET score = 5 WHERE id = 2',
        tuple(
            ("User", {"id": number, "score": score})
            for number, score in (("1", "30"), ("2", "5"), ("3", "50"), ("4", "0"))
        ),
    ),
    "drop table": After(),
    "drop unique index": After(),
}
KEEPS_NEWER = {"update": ('UPDATE "User" SET score = id + 2', {2: 5})}
"""What is done before the checkpoint, and which rows keep the newer score."""


@pytest.fixture
def project(tmp_path: Path, postgres_url: str) -> Project:
    """The base schema with rows, applied by Prisma's rules."""
    made = Project(tmp_path, postgres_url)
    made.migration("20250101000000_init", BASE)
    assert made.deploy().code == "ok"
    made.run(ROWS)
    return made


def verdict(project: Project, sql: str) -> str:
    """What is said of the migration with the live catalog's answers."""
    texts = [("20250101000000_init", BASE), (CASE, sql)]
    questions = wanted_facts(texts, after=1, complete=True)
    with reading(project.target) as connection:
        facts = CatalogFacts(answers=answers(connection, "public", questions), complete=True)
    return classify_all(texts, after=1, catalog=facts)[0].verdict


def ids(project: Project) -> int:
    return int(project.run('SELECT count(*) FROM "User"')[0][0])


@pytest.mark.parametrize("name", CASES)
def test_kind(project: Project, name: str) -> None:
    case, after = CASES[name], MORE.get(name, After())
    failed = "failed" in name
    if case.before:
        project.run(case.before)
    if name in KEEPS_NEWER:
        project.run(KEEPS_NEWER[name][0])
    project.migration(CASE, case.sql)
    checkpoint = project.checkpoint("none")
    before, users, posts = project.catalog(), project.run(USERS), project.run(POSTS)
    count = ids(project)
    assert project.apply_statements(CASE) is not failed
    project.run(after.writes)
    if case.rows:
        project.run(case.rows)

    assert verdict(project, case.sql) == case.verdict
    if name in BARRED:
        live, held = project.catalog(), project.contents()
        with pytest.raises(VendorRefused) as refusal:
            project.revert(CASE)
        assert refusal.value.reference == "revert-barred"
        assert project.unlike(live) == []
        assert project.contents() == held
        assert project.rolled_back() == []
        project.run(BARRED[name])
    live, held = project.catalog(), project.contents()
    receipt = project.revert(CASE)

    assert project.unlike(before) == []
    assert receipt["way"] == f"checkpoint {checkpoint.name}"
    assert project.rolled_back() == [CASE]
    assert project.applied() == ["20250101000000_init"]
    expected = [list(row) for row in users]
    for row in expected:
        if name in KEEPS_NEWER and row[0] in KEEPS_NEWER[name][1]:
            row[5] = KEEPS_NEWER[name][1][row[0]]
        if name == "drop not null, a row is NULL" and row[0] == 1:
            row[1] = "x"  # the test made it fit
        if name == "enum value that a row uses" and row[0] == 1:
            row[3] = "USER"
    assert [list(row) for row in project.run(USERS)] == expected
    assert project.run(POSTS) == posts
    assert ids(project) == count + after.new_rows
    assert sorted(map(str, project.rescued(CASE))) == sorted(map(str, after.rescued))
    if not failed:
        round_trip(project, live, held)
    again(project, name)


def round_trip(project: Project, live: Catalog, held: dict[str, tuple[int, str]]) -> None:
    """Rollback, undo, rollback: where nothing was written in between, all is as it was."""
    before, back = project.catalog(), project.contents()
    project.apply(CASE, run="run-undo01")
    assert project.unlike(live) == []
    assert project.contents() == held
    assert project.applied() == ["20250101000000_init", CASE]
    project.revert(CASE, run="run-2again")
    assert project.unlike(before) == []
    assert project.contents() == back


def again(project: Project, name: str) -> None:
    """`migrate deploy` finds it pending and applies it."""
    if "failed" in name:
        project.run("UPDATE \"User\" SET name = 'n' || id")
    if name.startswith("set not null") and "backfill" not in name:
        project.run("UPDATE \"User\" SET name = 'n' WHERE name IS NULL")
    if name == "required column without default":
        project.run('DELETE FROM "User"')
    if "concurrently" in name:
        assert project.apply_statements(CASE)
    else:
        project.now = datetime.now(UTC)
        done = project.deploy()
        assert (done.code, done.applied) == ("ok", (CASE,))
    assert project.applied() == ["20250101000000_init", CASE]
    assert set(project.rolled_back()) == {CASE}
