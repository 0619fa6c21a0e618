"""What pending migrations destroy, told from their texts."""

import pytest

from taly.planning.migrations.losses import losses

BASE = """
CREATE TYPE "role" AS ENUM ('guest', 'staff');
CREATE TABLE "users" ("id" SERIAL PRIMARY KEY, "Name" TEXT, "age" INTEGER, "role" "role");
CREATE TABLE app."notes" ("id" INTEGER PRIMARY KEY, "text" TEXT);
"""


def lost(*pending: str, base: str = BASE) -> set[tuple[str, str, tuple[str, ...]]]:
    named = [(f"m{number}", text) for number, text in enumerate(pending)]
    found = losses([base], named)
    assert not found.unseen
    return {(loss.kind, loss.name, loss.columns) for loss in found.known}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ('ALTER TABLE "users" DROP COLUMN "Name"', ("table", "users", ("Name",))),
        ('DROP TABLE "users"', ("table", "users", ())),
        ('DROP TABLE app."notes"', ("table", "app.notes", ())),
        ('DELETE FROM "users" WHERE "age" > 3', ("table", "users", ())),
        ('TRUNCATE "users"', ("table", "users", ())),
        ('UPDATE "users" SET "age" = "age" * 10', ("table", "users", ("age",))),
        (
            'ALTER TABLE "users" ALTER COLUMN "Name" TYPE INTEGER USING "Name"::integer',
            ("table", "users", ("Name",)),
        ),
        (
            'ALTER TABLE "users" ALTER COLUMN "age" TYPE INTEGER USING "age" / 2',
            ("table", "users", ("age",)),
        ),
        ('DROP TYPE "role" CASCADE', ("type", "role", ())),
        ("DROP SCHEMA app CASCADE", ("schema", "app", ())),
        (
            'INSERT INTO "users" ("id") VALUES (1) ON CONFLICT ("id") DO UPDATE SET "age" = 1',
            ("table", "users", ("age",)),
        ),
        ('WITH gone AS (DELETE FROM "users" RETURNING *) SELECT 1', ("table", "users", ())),
        ('DO $$ BEGIN DELETE FROM "users"; END $$', ("table", "users", ())),
        (
            'MERGE INTO "users" u USING app."notes" n ON n.id = u.id WHEN MATCHED THEN DELETE',
            ("table", "users", ()),
        ),
    ],
)
def test_each_way_to_destroy_is_seen(sql: str, expected: tuple[str, str, tuple[str, ...]]) -> None:
    assert lost(sql) == {expected}


@pytest.mark.parametrize(
    "sql",
    [
        'ALTER TABLE "users" ADD COLUMN "x" TEXT; UPDATE "users" SET "x" = \'y\'',
        'ALTER TABLE "users" RENAME COLUMN "Name" TO "title"',
        'CREATE TABLE "t" ("id" INT); INSERT INTO "t" VALUES (1); DELETE FROM "t"; DROP TABLE "t"',
        'ALTER TABLE "users" ALTER COLUMN "age" TYPE BIGINT',
        'INSERT INTO "users" ("id") VALUES (1) ON CONFLICT DO NOTHING',
        "ALTER TYPE \"role\" ADD VALUE 'owner'",
        'ALTER TYPE "role" RENAME TO "roles"',
        'CREATE INDEX "i" ON "users" ("age")',
        """
        CREATE TYPE "role_new" AS ENUM ('guest');
        ALTER TABLE "users" ALTER COLUMN "role" TYPE "role_new" USING ("role"::text::"role_new");
        ALTER TYPE "role" RENAME TO "role_old";
        ALTER TYPE "role_new" RENAME TO "role";
        DROP TYPE "role_old";
        """,
    ],
)
def test_what_destroys_nothing_is_left_alone(sql: str) -> None:
    assert lost(sql) == set()


def test_what_one_pending_migration_makes_and_the_next_destroys_does_not_count() -> None:
    assert lost('CREATE TABLE "t" ("id" INT)', 'DROP TABLE "t"') == set()


def test_things_are_named_as_they_are_called_before() -> None:
    found = lost(
        'ALTER TABLE "users" RENAME TO "people"; ALTER TABLE "people" RENAME "Name" TO "n"',
        'UPDATE "people" SET "n" = \'\'',
    )
    assert found == {("table", "users", ("Name",))}


def test_a_loss_is_the_first_migrations_doing() -> None:
    pending = [("a", 'ALTER TABLE "users" DROP COLUMN "age"'), ("b", "SELECT 1")]
    [loss] = losses([BASE], pending).known
    assert loss.migration == "a"
    assert loss.why == "drops age"


@pytest.mark.parametrize(
    "sql",
    [
        "DO $$ BEGIN IF true THEN EXECUTE 'x'; END IF; END $$",
        "SELECT cleanup()",
        "NOT SQL AT ALL",
        "DROP SEQUENCE s",
    ],
)
def test_what_cannot_be_read_is_said(sql: str) -> None:
    [said] = losses([BASE], [("20250101_x", sql)]).unseen
    assert said.startswith("20250101_x ")
