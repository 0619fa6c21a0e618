"""Reverts of everything that is not one plain migration of one plain table."""

from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.contract.checkpoint_stage import BASE as ODD
from tests.contract.checkpoint_stage import ROWS as ODD_ROWS
from tests.contract.revert_stage import Project

from taly.errors import VendorRefused
from taly.sandbox.migrate import ledger_rows

INIT, ONE, TWO, THREE = (
    "20250101000000_init",
    "20250201000000_one",
    "20250301000000_two",
    "20250401000000_three",
)
SCHEMA = """
CREATE TABLE "User" ("id" SERIAL PRIMARY KEY, "email" TEXT NOT NULL, "name" TEXT,
  "score" INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX "User_email_key" ON "User"("email");
CREATE INDEX "User_name_idx" ON "User"("name");
INSERT INTO "User" ("email", "name", "score")
VALUES ('a', 'Ada', 1), ('b', 'Bob', 2), ('c', NULL, 3);
"""


@pytest.fixture
def project(tmp_path: Path, postgres_url: str) -> Project:
    made = Project(tmp_path, postgres_url)
    made.migration(INIT, SCHEMA)
    assert made.deploy().code == "ok"
    return made


def applied(project: Project, sql: str, since: str = "", name: str = ONE) -> Any:
    """Applied with a checkpoint before it; the catalog and contents from before."""
    project.migration(name, sql)
    project.checkpoint()
    before = project.catalog(), project.contents()
    assert project.apply_statements(name)
    if since:
        project.run(since)
    return before


# CONCURRENTLY

UNIQUE_AWAY = 'DROP INDEX CONCURRENTLY "User_email_key";'
TWICE = 'INSERT INTO "User" ("email", "name") VALUES (\'a\', \'again\')'


def test_a_unique_index_dropped_concurrently_comes_back_or_leaves_nothing_invalid(
    project: Project,
) -> None:
    before, _ = applied(project, UNIQUE_AWAY, TWICE)
    live = project.catalog()
    with pytest.raises(VendorRefused) as refusal:
        project.revert(ONE)
    assert refusal.value.reference == "revert-barred"
    assert "(email)=(a)" in refusal.value.message
    assert project.unlike(live) == []  # no INVALID index
    assert project.rolled_back() == []
    project.run('DELETE FROM "User" WHERE "name" = \'again\'')
    project.revert(ONE)
    assert project.unlike(before) == []
    assert project.rolled_back() == [ONE]


def test_an_invalid_index_that_an_attempt_left_is_made_anew(project: Project) -> None:
    before, _ = applied(project, UNIQUE_AWAY, TWICE)
    with pytest.raises(psycopg.errors.UniqueViolation):  # as one that was killed leaves it
        project.run('CREATE UNIQUE INDEX CONCURRENTLY "User_email_key" ON "User"("email")')
    assert [
        row[0] for row in project.run("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
    ] == [1]
    project.run('DELETE FROM "User" WHERE "name" = \'again\'')
    project.revert(ONE)
    assert project.unlike(before) == []


def test_what_was_done_concurrently_before_a_kill_is_not_done_again(project: Project) -> None:
    sql = 'ALTER TABLE "User" ADD COLUMN "bio" TEXT;'
    sql += ' CREATE INDEX CONCURRENTLY "bios" ON "User"("bio")'
    before, _ = applied(project, sql, 'UPDATE "User" SET "bio" = \'x\'')

    class Stop(BaseException):
        pass

    def say(note: str, fraction: float | None = None) -> None:
        if note.startswith("waits for the tables"):
            raise Stop

    with pytest.raises(Stop):
        project.revert(ONE, say=say)
    assert project.unlike(before) == ["column public.User.bio was not there before"]
    assert project.applied() == [INIT, ONE]
    project.revert(ONE)
    assert project.unlike(before) == []
    assert len(project.rescued(ONE)) == 3


# Failed migrations

HALF = """
ALTER TABLE "User" RENAME COLUMN "name" TO "fullName";
ALTER TABLE "User" ADD COLUMN "bio" TEXT;
DROP INDEX "User_email_key";
UPDATE "User" SET "score" = "score" * 10;
CREATE TABLE "Tag" ("id" INTEGER PRIMARY KEY);
"""


@pytest.mark.parametrize(
    ("kept", "done"),
    [*(("checkpoint", done) for done in (0, 1, 3, 5)), ("replay", 2), ("replay", 5)],
)
def test_one_that_failed_half_way_is_repaired_whatever_of_it_is_there(
    project: Project, done: int, kept: str
) -> None:
    """Prisma 7.4 and later apply statement by statement."""
    project.migration(ONE, HALF + "SELECT 1/0;")
    if kept == "checkpoint":
        project.checkpoint()
    before, contents = project.catalog(), project.contents()
    assert not project.apply_statements(ONE, fail_after=done)
    if done >= 2:
        project.run('UPDATE "User" SET "bio" = \'x\' WHERE "id" = 2')
    project.revert(ONE)
    assert project.unlike(before) == []
    if done < 4 or kept == "checkpoint":
        assert project.contents() == contents
    [row] = [row for row in ledger_rows(project.url) if row["migration_name"] == ONE]
    assert row["rolled_back_at"]
    assert row["finished_at"] is None
    if done >= 2:
        assert ("User", {"id": "2", "bio": "x"}) in project.rescued(ONE)
    (project.migrations / ONE / "migration.sql").write_text('ALTER TABLE "User" ADD "ok" INT;')
    assert project.deploy().applied == (ONE,)


def test_one_that_failed_as_a_whole_is_only_marked(project: Project) -> None:
    """Prisma before 7.4 applies a file as one transaction."""
    project.migration(ONE, HALF + "SELECT 1/0;")
    project.checkpoint()
    project.run('UPDATE "User" SET "score" = 7 WHERE "id" = 1')  # a user's, before it failed
    before, contents = project.catalog(), project.contents()
    assert project.deploy(fail=ONE).code == "P3018"
    assert project.deploy().code == "P3009"
    project.revert(ONE)
    assert project.unlike(before) == []
    assert project.contents() == contents
    (project.migrations / ONE / "migration.sql").write_text('ALTER TABLE "User" ADD "ok" INT;')
    assert project.deploy().applied == (ONE,)


# Names, keys, types

BAD = '''
ALTER TABLE "User" RENAME COLUMN "Full Name" TO "name";
ALTER TABLE "User" DROP COLUMN "blob", DROP COLUMN "states";
UPDATE "User" SET "price" = "price" * 10 WHERE "price" <> 'NaN';
ALTER TABLE "Order" ADD COLUMN "odd ""col""" JSON;
ALTER TABLE "Order" ALTER COLUMN "user id" TYPE TEXT USING 'u' || "user id";
UPDATE keyless SET x = x + 1;
ALTER TABLE keyless ADD COLUMN z BOOLEAN DEFAULT true;
DELETE FROM parted WHERE k > 5;
DROP TABLE "Other One"."odd ""name"".x";
CREATE TABLE "Other One"."new ""one""" ("a" CHAR(5), "b" BOOLEAN);
ALTER TABLE nothing ADD COLUMN "now" INTEGER;
'''
SINCE = r'''
INSERT INTO "User" ("name", "price", "n") VALUES ('new', 5.50, 9);
UPDATE "User" SET "price" = 77 WHERE "id" = 2;
UPDATE "Order" SET "odd ""col""" = '{"k":  [1]}' WHERE "b" < 4;
INSERT INTO keyless VALUES (100, 'new', false), (100, 'new', NULL);
INSERT INTO parted VALUES (3000, 'new');
INSERT INTO "Other One"."new ""one""" VALUES ('a', true), (NULL, NULL), (E'\t\\', false);
'''
BAD_FOREIGN = 'ALTER TABLE "Order" DROP CONSTRAINT "Order_user id_fkey";'


@pytest.fixture
def odd(tmp_path: Path, postgres_url: str) -> Project:
    made = Project(tmp_path, postgres_url)
    made.migration(INIT, ODD)
    assert made.deploy().code == "ok"
    made.run(ODD_ROWS)
    return made


def test_odd_names_keys_and_types_there_and_back(odd: Project) -> None:
    sql = BAD.replace('ALTER TABLE "Order" ALTER COLUMN', BAD_FOREIGN + 'ALTER TABLE "Order" ALTER')
    sql = sql.replace("""TYPE TEXT USING 'u' || "user id";""", "TYPE BIGINT;")
    before, contents = applied(odd, sql, SINCE)
    old = odd.run('SELECT "id", "price"::text FROM "User" WHERE "id" = 1')
    live, held = odd.catalog(), odd.contents()
    odd.revert(ONE)
    assert odd.unlike(before) == []
    back = odd.contents()
    same = {"public.Order", "public.nothing", 'Other One.odd "name".x'}
    assert {name: back[name] for name in same} == {name: contents[name] for name in same}
    users = odd.run('SELECT "id", "Full Name", "price"::text, "blob" FROM "User" ORDER BY "id"')
    assert [row[2] for row in users] == ["NaN", "77", "1" + "0" * 100, "5.50"]
    assert users[0][3] == b"\x00\xff\\\n\t"
    assert old == [(1, "NaN")]
    keyless = odd.run("SELECT x, y FROM keyless")
    assert len(keyless) == 42
    assert keyless.count((100, "new")) == 2
    assert odd.run("SELECT count(*) FROM parted") == [(31,)]
    rescued = odd.rescued(ONE)
    assert ('new "one"', {"a": "\t\\   ", "b": "f"}) in rescued
    assert [row['odd "col"'] for name, row in rescued if name == "Order"] == ['{"k":  [1]}'] * 3
    odd.apply(ONE, run="run-undo01")
    assert odd.unlike(live) == []
    assert odd.contents() == held
    odd.revert(ONE, run="run-2again")
    assert odd.unlike(before) == []
    assert odd.contents() == back


# Several migrations, with and without a checkpoint

SEVERAL = {
    ONE: 'ALTER TABLE "User" RENAME COLUMN "name" TO "full";'
    ' UPDATE "User" SET "score" = "score" * 10;',
    TWO: 'ALTER TABLE "User" ADD COLUMN "bio" TEXT; UPDATE "User" SET "bio" = "email";'
    ' ALTER TABLE "User" RENAME TO "Person";',
    THREE: 'ALTER TABLE "Person" DROP COLUMN "full";'
    ' CREATE TABLE "Tag" ("id" INTEGER PRIMARY KEY);',
}


@pytest.mark.parametrize("window", ["closed", "open"])
def test_a_release_of_several_goes_back_step_by_step(project: Project, window: str) -> None:
    for name, sql in SEVERAL.items():
        project.migration(name, sql)
    project.checkpoint()
    shown = 'SELECT "id", "email", "name", "score" FROM "User" ORDER BY 1'
    before, rows = project.catalog(), project.run(shown)
    assert project.deploy().applied == tuple(SEVERAL)
    if window == "closed":
        project.after()
    now = 'SELECT "id", "email", "score", "bio" FROM "Person" ORDER BY 1'
    live, held = project.catalog(), project.run(now)
    for name in reversed(SEVERAL):
        project.revert(name)
    assert project.unlike(before) == []
    assert project.run(shown) == rows
    assert [name for name, _ in project.rescued(ONE)] == ["User"] * 3  # the scores, and no more
    for name in SEVERAL:
        project.apply(name, run="run-undo01")
    assert project.unlike(live) == []
    assert project.run(now) == held


def test_without_a_checkpoint_the_migrations_are_replayed_and_drift_stays(project: Project) -> None:
    project.run('CREATE INDEX "by hand" ON "User"("score"); COMMENT ON TABLE "User" IS \'ours\'')
    project.run('GRANT SELECT ON "User" TO PUBLIC')
    before, contents = project.catalog(), project.contents()
    project.migration(ONE, 'ALTER TABLE "User" RENAME COLUMN "name" TO "full", ')
    (project.migrations / ONE / "migration.sql").write_text(
        'ALTER TABLE "User" RENAME COLUMN "name" TO "full"; DROP INDEX "User_name_idx";'
        ' ALTER TABLE "User" ADD COLUMN "bio" TEXT; CREATE TABLE "Tag" ("id" SERIAL PRIMARY KEY)'
    )
    assert project.apply_statements(ONE)
    assert project.revert(ONE)["way"] == "the migrations"
    assert project.unlike(before) == []
    assert project.contents() == contents


def test_without_anything_to_know_the_schema_from_it_is_refused(project: Project) -> None:
    project.migration(ONE, 'DROP INDEX "User_name_idx"')
    assert project.apply_statements(ONE)
    (project.migrations / INIT / "migration.sql").unlink()
    with pytest.raises(VendorRefused) as refusal:
        project.revert(ONE)
    assert refusal.value.reference == "revert-no-way"
    assert INIT in refusal.value.message


def test_the_teams_way_wins_and_what_it_drops_besides_is_rescued(project: Project) -> None:
    before, _ = applied(
        project,
        'ALTER TABLE "User" ADD COLUMN "bio" TEXT; DO $$ BEGIN EXECUTE'
        " 'CREATE TABLE hidden (id INT PRIMARY KEY, v TEXT)'; END $$;",
        "INSERT INTO hidden VALUES (1, 'precious'); UPDATE \"User\" SET bio = 'b' WHERE id = 3;",
    )
    (project.migrations / ONE / "down.sql").write_text(
        'BEGIN;\nALTER TABLE "User" DROP COLUMN "bio";\n'
        "DO $$ BEGIN EXECUTE 'DROP TABLE hidden'; END $$;\nCOMMIT;\n"
    )
    assert project.revert(ONE)["way"] == "down.sql"
    assert project.unlike(before) == []
    assert project.rescued(ONE) == [
        ("User", {"id": "3", "bio": "b"}),
        ("hidden", {"id": "1", "v": "precious"}),
    ]


def test_what_a_script_drops_and_makes_anew_is_rescued(project: Project) -> None:
    """By OID: a table of the same name and form is not the one whose rows are gone."""
    before, _ = applied(project, 'CREATE INDEX "new" ON "User"("score")')
    (project.migrations / ONE / "down.sql").write_text(
        'DROP INDEX "new"; CREATE TABLE keep AS SELECT * FROM "User" WHERE false;'
        ' ALTER TABLE "User" DROP COLUMN "score"; DROP TABLE keep;'
        ' ALTER TABLE "User" ADD COLUMN "score" INTEGER NOT NULL DEFAULT 0;'
    )
    project.revert(ONE)
    assert project.unlike(before) == []
    assert [row["score"] for _, row in project.rescued(ONE)] == ["1", "2", "3"]


# Foreign keys, deleted rows, triggers


def test_rows_come_back_as_far_as_what_they_refer_to_is_there(project: Project) -> None:
    project.run(
        'CREATE TABLE "Post" ("id" SERIAL PRIMARY KEY, "userId" INTEGER REFERENCES "User"("id"),'
        ' "parent" INTEGER REFERENCES "Post"("id"));'
        'INSERT INTO "Post" ("userId", "parent") VALUES (1, NULL), (3, 1), (1, 2), (1, 1);'
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS"
        ' $$ BEGIN NEW."userId" := NULL; RETURN NEW; END $$;'
        'CREATE TRIGGER t BEFORE INSERT ON "Post" FOR EACH ROW EXECUTE FUNCTION f();'
        "CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.\"email\" := 'fired'; RETURN NEW; END $$;"
        'CREATE TRIGGER u BEFORE UPDATE ON "User" FOR EACH ROW EXECUTE FUNCTION g();'
    )
    before, _ = applied(
        project,
        'DELETE FROM "Post"; ALTER TABLE "User" DROP COLUMN "name";',
        'DELETE FROM "User" WHERE "id" = 3',
    )
    receipt = project.revert(ONE)
    assert project.unlike(before) == []
    assert project.run('SELECT * FROM "Post" ORDER BY 1') == [(1, 1, None), (4, 1, 1)]
    assert project.run('SELECT "email", "name" FROM "User" ORDER BY 1') == [
        ("a", "Ada"),
        ("b", "Bob"),
    ]
    assert receipt["without-place"] == "2"


def test_a_composite_of_which_a_field_is_null_is_a_value_to_rescue(project: Project) -> None:
    project.run('CREATE TYPE "place" AS ("street" TEXT, "town" TEXT)')
    before, _ = applied(
        project,
        'ALTER TABLE "User" ADD COLUMN "home" "place"',
        """UPDATE "User" SET "home" = ROW('Long Lane', NULL) WHERE "email" = 'a'""",
    )
    receipt = project.revert(ONE)
    assert project.unlike(before) == []
    assert receipt["rescued"] == "1"
