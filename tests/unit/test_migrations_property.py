"""Whatever stands around it: harmless statements are kept, and one that breaks is never kept."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.migration_cases import BASE
from tests.migration_snippets import RESTORE, REVERT

from taly.planning.migrations import CatalogFacts, classify

FACTS = CatalogFacts(earlier=(BASE,), complete=True)
NUMBERED = (
    'ALTER TABLE "User" ADD COLUMN "c{n}" TEXT;',
    'ALTER TABLE "User" ADD COLUMN "d{n}" INTEGER NOT NULL DEFAULT {n};',
    'CREATE TABLE "t{n}" ("id" SERIAL PRIMARY KEY, "a" TEXT);',
    'CREATE TABLE "s{n}" ("a" TEXT); UPDATE "s{n}" SET "a" = 1; DROP TABLE "s{n}";',
    'CREATE INDEX "i{n}" ON "User"("name");',
    'ALTER TABLE "Post" ADD CONSTRAINT "k{n}" CHECK ("id" > -{n});',
    "CREATE TYPE \"e{n}\" AS ENUM ('A'); ALTER TYPE \"e{n}\" ADD VALUE 'B';",
    'UPDATE "User" SET "score" = {n};',
    'DELETE FROM "Post" WHERE "id" = {n};',
    'COMMENT ON TABLE "User" IS \'{n}; DROP TABLE "User"\';',
    "BEGIN; COMMIT;",
)
breaking = st.sampled_from(
    [sql for name, sql in {**REVERT, **RESTORE}.items() if name != "syntax error"]
)


def harmless(first: int) -> st.SearchStrategy[list[str]]:
    """Up to eight harmless statements, numbered from `first` so that no name occurs twice."""
    return st.lists(st.sampled_from(NUMBERED), max_size=8).map(
        lambda templates: [text.format(n=n) for n, text in enumerate(templates, first)]
    )


@given(statements=harmless(0))
@settings(max_examples=150, deadline=None)
def test_harmless_statements_in_any_order_are_kept(statements: list[str]) -> None:
    found = classify("m", "\n".join(statements), FACTS)
    assert found.verdict == "keep", found.reasons


@given(before=harmless(0), bad=breaking, after=harmless(100))
@settings(max_examples=150, deadline=None)
def test_one_breaking_statement_anywhere_is_never_kept(
    before: list[str], bad: str, after: list[str]
) -> None:
    found = classify("m", "\n".join([*before, bad, *after]), FACTS)
    assert found.verdict != "keep", found.reasons


@given(text=st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_gets_a_verdict(text: str) -> None:
    assert classify("m", text, FACTS).verdict in ("keep", "revert", "restore")
