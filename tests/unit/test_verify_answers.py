"""When an answer of the application counts as the one that was expected."""

import pytest

from taly.engine.verify import same, shortest

FULL = "f6d00fc0cf276c2e9df3cfee896dce5b600b53e2"


@pytest.mark.parametrize("got", [FULL, FULL[:7], FULL[:12]])
def test_a_commit_is_the_same_in_every_abbreviation(got: str) -> None:
    assert same(got, FULL)
    assert same(FULL, got)


@pytest.mark.parametrize("got", ["", FULL[:6], "f6d00fd", "v" + FULL, "ok"])
def test_another_text_is_another_text(got: str) -> None:
    assert not same(got, FULL)


def test_only_commits_may_be_abbreviated() -> None:
    assert not same("version-1", "version-12")
    assert same("ok", "ok")


def test_a_body_is_searched_for_the_shortest_form_of_a_commit() -> None:
    assert shortest(FULL) == FULL[:7]
    assert shortest("Release 12") == "Release 12"
