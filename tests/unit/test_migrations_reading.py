"""How migrations are read: what one file makes and undoes, what is opaque, what is asked."""

import pytest
from tests.migration_cases import BASE
from tests.migration_snippets import KEEP, RESTORE, REVERT

from taly.model.plan import Migration
from taly.planning.migrations import CatalogFacts, classify, classify_all, wanted_facts
from taly.planning.migrations.facts import EnumValueUsed, HasNulls, IndexInvalid
from taly.planning.migrations.types import retype


def read(sql: str, *, complete: bool = True) -> Migration:
    """Classify over the base schema."""
    return classify("m", sql, CatalogFacts(earlier=(BASE,), complete=complete))


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


def test_a_migration_nested_deeper_than_the_parser_hands_over_is_taken_for_the_worst() -> None:
    found = read(f'UPDATE "User" SET name = {" || ".join(["name"] * 200)};')
    assert found.verdict == "restore"
    assert "nested too deeply" in found.reasons[0]
