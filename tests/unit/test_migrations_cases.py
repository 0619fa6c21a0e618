"""The 29 migrations that were run against real old clients, by name: what the verdict must be."""

import pytest
from tests.migration_cases import BASE, CASES, GUEST, OPTIONAL_EMAIL, Case

from taly.planning.migrations import CatalogFacts, classify


def facts(case: Case) -> CatalogFacts:
    """The base schema as the only earlier migration, and the case's answers."""
    return CatalogFacts(answers=case.answers, earlier=(BASE,), complete=True)


def test_there_are_29_cases() -> None:
    assert len(CASES) == 29


@pytest.mark.parametrize("name", CASES)
def test_verdict_and_undo(name: str) -> None:
    case = CASES[name]
    found = classify("20260301_case", case.sql, facts(case))
    assert (found.verdict, found.undo) == (case.verdict, case.undo), found.reasons
    if case.verdict != "keep":
        assert found.reasons


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.verdict != "keep"])
def test_what_breaks_also_breaks_when_nothing_else_is_known(name: str) -> None:
    found = classify("20260301_case", CASES[name].sql, CatalogFacts())
    assert found.verdict != "keep", found.reasons


def test_failed_concurrent_index_is_named_invalid() -> None:
    case = CASES["unique index concurrently that failed"]
    assert any("INVALID" in reason for reason in classify("m", case.sql, facts(case)).reasons)


@pytest.mark.parametrize("sql", [GUEST, OPTIONAL_EMAIL, 'DROP INDEX "Other_email_key";'])
def test_a_question_without_an_answer_counts_against_keeping(sql: str) -> None:
    found = classify("m", sql, CatalogFacts(earlier=(BASE,), complete=True))
    assert found.verdict != "keep"
