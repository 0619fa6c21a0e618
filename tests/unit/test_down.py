"""Ways down without a database: what is derived, what is a gap, what must be saved."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.migration_cases import CASES

from taly.planning.down import Save, derive, team
from taly.planning.down.names import normal
from taly.planning.down.renames import ordered
from taly.planning.down.retype import is_kept, way_back


@pytest.mark.parametrize(
    ("up", "down"),
    [
        ('ALTER TABLE "a" RENAME TO "b"', ['ALTER TABLE "public"."b" RENAME TO "a"']),
        (
            'ALTER TABLE "a" RENAME COLUMN "x" TO "y"',
            ['ALTER TABLE "public"."a" RENAME COLUMN "y" TO "x"'],
        ),
        ('ALTER TABLE "a" ADD COLUMN "x" INT', ['ALTER TABLE "public"."a" DROP COLUMN "x"']),
        ('CREATE TABLE "a" ("x" INT)', ['DROP TABLE "public"."a"']),
        ('CREATE INDEX ON "a"("x")', ['DROP INDEX "public"."a_x_idx"']),
        ('CREATE TABLE "a" ("x" INT); DROP TABLE "a"', []),
        ('ALTER TYPE "r" RENAME TO "s"', ['ALTER TYPE "public"."s" RENAME TO "r"']),
    ],
)
def test_without_the_catalog_renames_and_additions_are_taken_back(up: str, down: list[str]) -> None:
    found = derive("m", up, None)
    assert list(found.sql) == down
    assert found.gaps == ()


@pytest.mark.parametrize(
    "name",
    [
        "drop column",
        "drop table",
        "drop unique index",
        "set not null",
        "text to integer",
        "enum value that no row uses",
    ],
)
def test_without_the_catalog_what_needs_it_is_a_gap(name: str) -> None:
    found = derive("m", CASES[name].sql, None)
    assert any("known" in gap for gap in found.gaps), found


def test_names_are_quoted_whatever_they_hold() -> None:
    found = derive("m", 'ALTER TABLE "o""dd" RENAME COLUMN "a b" TO "c;d"', None, schema="s'x")
    assert found.sql == ('ALTER TABLE "s\'x"."o""dd" RENAME COLUMN "c;d" TO "a b"',)


def test_text_that_does_not_parse_is_a_gap() -> None:
    found = derive("m", "ALTER TABEL x", None)
    assert found.gaps[0].startswith("it does not parse")
    assert found.sql == ()


def test_text_nested_deeper_than_the_parser_hands_over_is_a_gap() -> None:
    """Two hundred `||` in a row are good SQL, and protobuf refuses the tree of them."""
    found = derive("m", f"UPDATE x SET a = {' || '.join(['b'] * 200)}", None)
    assert found.gaps == ("it does not parse: it is nested too deeply to be read",)


def test_the_teams_own_way_down_wins() -> None:
    found = team("m", "SELECT 1", 'DROP TABLE "a"', None)
    assert (found.source, found.sql, found.gaps) == ("team", ("SELECT 1",), ())
    assert found.data == (Save(kind="table", table="public.a", why="table a is dropped"),)


def test_a_backfill_of_a_new_column_needs_nothing_saved() -> None:
    up = 'ALTER TABLE "a" ADD COLUMN "x" INT; UPDATE "a" SET "x" = 1;'
    assert derive("m", up, None).data == ()


def test_concurrently_is_in_no_transaction() -> None:
    found = derive("m", 'CREATE INDEX CONCURRENTLY "i" ON "a"("x")', None)
    assert found.sql == ('DROP INDEX CONCURRENTLY "public"."i"',)
    assert not found.transactional


def test_a_ring_of_renames_goes_by_a_third_name() -> None:
    names = {"a": 1, "b": 2, "c": 3}
    for now, then in ordered([("a", "b"), ("b", "c"), ("c", "a")]):
        assert then not in names
        names[then] = names.pop(now)
    assert names == {"b": 1, "c": 2, "a": 3}


@given(then=st.permutations("abcdef"))
@settings(max_examples=60)
def test_no_rename_meets_a_name_that_is_taken(then: list[str]) -> None:
    names = {name: name for name in "abcdef"}
    for now, wanted in ordered(zip("abcdef", then, strict=True)):
        assert wanted not in names
        names[wanted] = names.pop(now)
    assert names == {new: old for old, new in zip("abcdef", then, strict=True)}


@pytest.mark.parametrize(
    ("before", "after", "kept", "back"),
    [
        ("integer", "bigint", True, "TYPE integer"),
        ("text", "character varying(200)", True, "TYPE text"),
        ("character varying(20)", "text", True, "TYPE character varying(20)"),
        ("text", "integer", False, 'TYPE text USING "x"::text'),
        ("integer", "text", True, 'TYPE integer USING "x"::integer'),
        ('public."Role"', "text", True, 'TYPE public."Role" USING "x"::text::public."Role"'),
        ("timestamp(3) without time zone", "date", False, None),
        ("numeric(10,2)", "numeric(12,4)", True, None),
        ("jsonb", "integer", False, None),
    ],
)
def test_a_type_comes_back_only_by_a_cast_that_cuts_nothing(
    before: str, after: str, kept: bool, back: str | None
) -> None:
    assert is_kept(before, after) is kept
    assert way_back("x", before, after) == back


@pytest.mark.parametrize(
    ("catalog", "parsed"),
    [
        ("character varying(200)", "varchar(200)"),
        ("timestamp(3) without time zone", "timestamp(3)"),
        ("timestamp with time zone", "timestamptz"),
        ('public."Role"[]', "Role[]"),
        ("app.kind", "app.kind"),
        ("numeric(10,2)", "numeric(10,2)"),
        ("character(3)", "char(3)"),
    ],
)
def test_the_catalogs_spelling_of_a_type_is_the_parsers(catalog: str, parsed: str) -> None:
    assert normal(catalog) == parsed
