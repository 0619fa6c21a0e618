"""How migrations are read: what one file makes and undoes, what is opaque, what is asked."""

import pytest
from test_migrations_cases import BASE

from taly.model.plan import Migration
from taly.planning.migrations import CatalogFacts, classify, classify_all, wanted_facts
from taly.planning.migrations.facts import EnumValueUsed, HasNulls, IndexInvalid
from taly.planning.migrations.types import retype


def read(sql: str, *, complete: bool = True) -> Migration:
    """Classify over the base schema."""
    return classify("m", sql, CatalogFacts(earlier=(BASE,), complete=complete))


KEEP = {
    "default dropped and set again": (
        'ALTER TABLE "User" ALTER COLUMN "score" DROP DEFAULT;'
        'ALTER TABLE "User" ALTER COLUMN "score" SET DEFAULT 1;'
    ),
    "renamed and renamed back": (
        'ALTER TABLE "User" RENAME TO "U"; ALTER TABLE "U" RENAME TO "User";'
    ),
    "a helper table made and dropped": (
        'CREATE TABLE "tmp" ("a" INT); INSERT INTO "tmp" VALUES (1); UPDATE "tmp" SET "a" = 2;'
        'DELETE FROM "tmp"; DROP TABLE "tmp";'
    ),
    "unique index replaced by a constraint on the same columns": (
        'DROP INDEX "User_email_key";'
        'ALTER TABLE "User" ADD CONSTRAINT "email_unique" UNIQUE ("email");'
    ),
    "DO block that makes a type unless it is there": (
        "DO $$ BEGIN CREATE TYPE \"Color\" AS ENUM ('RED');"
        " EXCEPTION WHEN duplicate_object THEN null; END $$;"
    ),
    "IF EXISTS of what never was": (
        'DROP TABLE IF EXISTS "nope"; DROP INDEX IF EXISTS "nope_idx";'
        'DROP TYPE IF EXISTS "Nope"; DROP VIEW IF EXISTS "nope_view";'
        'ALTER TABLE "User" DROP COLUMN IF EXISTS "nope";'
        'ALTER TABLE "User" DROP CONSTRAINT IF EXISTS "nope_check";'
    ),
    "IF NOT EXISTS of what is there": (
        'CREATE TABLE IF NOT EXISTS "User" ("id" INT);'
        'ALTER TABLE "User" ADD COLUMN IF NOT EXISTS "name" TEXT NOT NULL;'
    ),
    "function replaced that this file made": (
        "CREATE FUNCTION f() RETURNS int AS 'SELECT 1' LANGUAGE sql;"
        "CREATE OR REPLACE FUNCTION f() RETURNS int AS 'SELECT 2' LANGUAGE sql;"
    ),
    "constraint and index renamed": (
        'ALTER TABLE "User" RENAME CONSTRAINT "User_pkey" TO "pk";'
        'ALTER INDEX "User_email_key" RENAME TO "mails";'
    ),
    "foreign key dropped": 'ALTER TABLE "Post" DROP CONSTRAINT "Post_authorId_fkey";',
    "what is said around": (
        "BEGIN; SET lock_timeout = '5s'; COMMENT ON TABLE \"User\" IS 'x';"
        'ANALYZE "User"; GRANT SELECT ON "User" TO PUBLIC; COMMIT;'
    ),
    "semicolons inside strings and functions": (
        'ALTER TABLE "User" ADD COLUMN "sep" TEXT DEFAULT \'; DROP TABLE "User";\';'
        'CREATE FUNCTION g() RETURNS void AS $$ BEGIN DROP TABLE "User"; END; $$ LANGUAGE plpgsql;'
    ),
    "sequence set": "SELECT pg_catalog.setval('\"User_id_seq\"', 100, false);",
    "view and materialized view": (
        'CREATE VIEW "v" AS SELECT 1; CREATE MATERIALIZED VIEW "w" AS SELECT 1;'
    ),
    "a table filled from another": 'CREATE TABLE "copy" AS SELECT * FROM "User";',
    "an identity column": (
        'ALTER TABLE "Post" ADD COLUMN "n" INTEGER GENERATED ALWAYS AS IDENTITY;'
    ),
    "index of the base schema spelled with its schema": 'DROP INDEX "public"."User_name_idx";',
}

REVERT = {
    "required column whose default is dropped again": (
        'ALTER TABLE "User" ADD COLUMN "bio" TEXT NOT NULL DEFAULT \'\';'
        'ALTER TABLE "User" ALTER COLUMN "bio" DROP DEFAULT;'
    ),
    "default dropped": 'ALTER TABLE "User" ALTER COLUMN "score" DROP DEFAULT;',
    "enum rebuilt as Prisma does, losing a value": (
        "BEGIN; CREATE TYPE \"Role_new\" AS ENUM ('USER');"
        'ALTER TABLE "User" ALTER COLUMN "role" DROP DEFAULT;'
        'ALTER TABLE "User" ALTER COLUMN "role" TYPE "Role_new"'
        ' USING ("role"::text::"Role_new");'
        'ALTER TYPE "Role" RENAME TO "Role_old"; ALTER TYPE "Role_new" RENAME TO "Role";'
        'DROP TYPE "Role_old"; ALTER TABLE "User" ALTER COLUMN "role" SET DEFAULT \'USER\';'
        "COMMIT;"
    ),
    "enum value renamed": "ALTER TYPE \"Role\" RENAME VALUE 'USER' TO 'MEMBER';",
    "type renamed": 'ALTER TYPE "Role" RENAME TO "UserRole";',
    "enum rebuilt the other way round": (
        'ALTER TYPE "Role" RENAME TO "Role_old"; CREATE TYPE "Role" AS ENUM (\'USER\');'
        'ALTER TABLE "User" ALTER COLUMN "role" TYPE "Role" USING ("role"::text::"Role");'
        'DROP TYPE "Role_old";'
    ),
    "unique constraint dropped": 'ALTER TABLE "User" DROP CONSTRAINT "User_pkey";',
    "integer to text": 'ALTER TABLE "User" ALTER COLUMN "score" TYPE TEXT;',
    "row security on": 'ALTER TABLE "User" ENABLE ROW LEVEL SECURITY;',
    "moved to another schema": 'ALTER TABLE "User" SET SCHEMA "app";',
    "rights revoked": 'REVOKE INSERT ON "User" FROM PUBLIC;',
    "owner changed": 'ALTER TABLE "User" OWNER TO "other";',
    "a statement of a kind nobody thought of": 'CREATE RULE r AS ON INSERT TO "User" DO NOTHING;',
    "view dropped": 'DROP VIEW "user_names";',
    "sequence renamed": 'ALTER SEQUENCE "User_id_seq" RENAME TO "s";',
    "restrictive policy": 'CREATE POLICY p ON "User" AS RESTRICTIVE USING (false);',
}

RESTORE = {
    "DO block with computed SQL": "DO $$ BEGIN EXECUTE 'DROP TABLE \"User\"'; END $$;",
    "DO block that drops": 'DO $$ BEGIN DROP TABLE "User"; END $$;',
    "DO block with a condition": (
        'DO $$ BEGIN IF true THEN ALTER TABLE "User" DROP COLUMN "name"; END IF; END $$;'
    ),
    "DO block in another language": "DO LANGUAGE plperl $$ drop_all(); $$;",
    "call of an unknown function": "SELECT drop_everything();",
    "drop schema": 'DROP SCHEMA "app" CASCADE;',
    "drop type with its columns": 'DROP TYPE "Role" CASCADE;',
    "column dropped and added again": (
        'ALTER TABLE "User" DROP COLUMN "age"; ALTER TABLE "User" ADD COLUMN "age" INTEGER;'
    ),
    "enum rebuilt with a value that rows may use": (
        "CREATE TYPE \"Role_new\" AS ENUM ('ADMIN', 'USER', 'GUEST');"
        'ALTER TABLE "User" ALTER COLUMN "role" TYPE "Role_new"'
        ' USING ("role"::text::"Role_new");'
        'DROP TYPE "Role"; ALTER TYPE "Role_new" RENAME TO "Role";'
    ),
    "values computed anew": (
        'ALTER TABLE "User" ALTER COLUMN "score" TYPE TEXT USING lower("score"::text);'
    ),
    "syntax error": "ALTER TABEL x;",
}


@pytest.mark.parametrize("name", KEEP)
def test_keep(name: str) -> None:
    found = read(KEEP[name])
    assert found.verdict == "keep", found.reasons


@pytest.mark.parametrize("name", REVERT)
def test_revert(name: str) -> None:
    found = read(REVERT[name])
    assert found.verdict == "revert", found.reasons


@pytest.mark.parametrize("name", RESTORE)
def test_restore(name: str) -> None:
    found = read(RESTORE[name])
    assert found.verdict == "restore", found.reasons


@pytest.mark.parametrize(
    "sql",
    [
        'DROP TABLE IF EXISTS "nope";',
        'ALTER TABLE "User" DROP COLUMN IF EXISTS "nope";',
        'DROP INDEX IF EXISTS "nope_idx";',
        "CREATE OR REPLACE FUNCTION f() RETURNS int AS 'SELECT 1' LANGUAGE sql;",
        "DO $$ BEGIN CREATE TYPE t AS ENUM ('a'); EXCEPTION WHEN duplicate_object THEN END $$;",
        'ALTER TABLE "Unread" ALTER COLUMN "a" TYPE VARCHAR(10);',
    ],
)
def test_with_an_incomplete_history_the_worst_is_assumed(sql: str) -> None:
    assert read(sql, complete=False).verdict != "keep"


def test_migrations_are_judged_together_against_the_target() -> None:
    texts = [
        ("0_init", BASE),
        ("1_add", 'ALTER TABLE "User" ADD COLUMN "bio" TEXT;'),
        ("2_drop", 'ALTER TABLE "User" DROP COLUMN "bio";'),
        ("3_rename", 'ALTER TABLE "User" RENAME COLUMN "name" TO "title";'),
        ("4_back", 'ALTER TABLE "User" RENAME COLUMN "title" TO "name";'),
    ]
    found = classify_all(texts, after=1, catalog=CatalogFacts(complete=True))
    assert [(one.name, one.verdict) for one in found] == [
        ("1_add", "keep"),
        ("2_drop", "keep"),
        ("3_rename", "keep"),
        ("4_back", "keep"),
    ]
    assert "taken back" in found[2].reasons[0]
    alone = classify_all(texts, after=2, catalog=CatalogFacts(complete=True))
    assert alone[0].verdict == "restore"


def test_a_missing_text_takes_nothing_back() -> None:
    texts = [
        ("0_init", BASE),
        ("1_rename", 'ALTER TABLE "User" RENAME COLUMN "name" TO "title";'),
        ("2_gone", None),
        ("3_add", 'ALTER TABLE "User" ADD COLUMN "bio" TEXT;'),
    ]
    found = classify_all(texts, after=1, catalog=CatalogFacts(complete=True))
    assert [one.verdict for one in found] == ["revert", "restore", "keep"]


def test_only_what_the_migrations_name_is_asked() -> None:
    sql = (
        'ALTER TYPE "Role" ADD VALUE \'GUEST\'; ALTER TABLE "User" ALTER "email" DROP NOT NULL;'
        'CREATE INDEX "i" ON "User"("name"); CREATE TABLE "Tag" ("id" INT);'
        'CREATE INDEX "j" ON "Tag"("id");'
    )
    asked = wanted_facts([("0", BASE), ("1", sql)], after=1, complete=True)
    assert set(asked) == {
        EnumValueUsed(type="Role", value="GUEST"),
        HasNulls(table="User", column="email"),
        IndexInvalid(index="i"),
    }
    assert wanted_facts([("0", BASE)], after=1, complete=True) == ()


@pytest.mark.parametrize(
    ("before", "after", "breaks", "undo"),
    [
        ("smallint", "bigint", False, "automatic"),
        ("bigint", "integer", True, "data"),
        ("real", "double precision", False, "automatic"),
        ("varchar(10)", "varchar(20)", False, "automatic"),
        ("varchar(10)", "text", False, "automatic"),
        ("numeric(10,2)", "numeric(12,2)", False, "automatic"),
        ("numeric(10,2)", "numeric(10,4)", True, "data"),
        ("numeric(10,2)", "numeric", False, "automatic"),
        ("numeric", "numeric(10,2)", True, "data"),
        ("uuid", "text", True, "automatic"),
        ("text", "uuid", True, "data"),
        ("text[]", "text", True, "automatic"),
        ("", "text", True, "data"),
        ("timestamp(3)", "timestamp(3)", False, "automatic"),
    ],
)
def test_changes_of_type(before: str, after: str, breaks: bool, undo: str) -> None:
    found = retype(before, after, rewritten=False)
    assert (found.breaks, found.undo) == (breaks, undo)
