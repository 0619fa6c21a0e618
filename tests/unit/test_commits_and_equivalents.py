"""Abbreviated commits are spelled out; a kept database does not make another release."""

from dataclasses import replace

import factories as make

from taly.model.plan import ComponentPlan, Disposition, Plan
from taly.model.release import Observation
from taly.planning.commits import spelled_out
from taly.planning.equivalents import equivalents
from taly.planning.hashing import content_id_of
from taly.planning.releases import build_releases

FULL = "f6d00fc0cf276c2e9df3cfee896dce5b600b53e2"
OTHER = "f6d00fc99f276c2e9df3cfee896dce5b600b53e2"


def test_an_abbreviation_is_spelled_out() -> None:
    assert spelled_out({FULL, FULL[:12]}) == {FULL[:12]: FULL}


def test_an_abbreviation_that_fits_two_commits_stays() -> None:
    assert spelled_out({FULL, OTHER, FULL[:7]}) == {}


def test_without_whole_commits_nothing_is_guessed() -> None:
    assert spelled_out({FULL[:7], FULL[:12]}) == {}


def kept_world() -> dict[str, Observation]:
    """web goes v1 → v2 → back to v1 while the database stays at m2."""
    return make.by_name(
        make.ran("web", (0, "v1"), (605, "v2"), (1200, "v1")),
        make.ran("db", (0, "m1"), (600, "m2")),
    )


def plan_that_kept(content_id: str) -> Plan:
    """A rollback of web that kept the database."""
    parts = (
        part("web", Disposition.ROLL_BACK, "v2", "v1"),
        part("db", Disposition.KEPT, "m2", "m1"),
    )
    return Plan(
        environment="production",
        made_at=make.T0,
        purpose="rollback",
        from_release="R2",
        to_release="R1",
        to_content_id=content_id,
        why="",
        components=parts,
        steps=(),
    )


def part(name: str, disposition: Disposition, start: str, end: str) -> ComponentPlan:
    return ComponentPlan(
        component=name,
        provider="fake",
        disposition=disposition,
        why="",
        from_deployment=start,
        from_label=start,
        to_deployment=end,
        to_label=end,
    )


def test_a_release_whose_database_was_kept_is_that_release() -> None:
    seen, environment = kept_world(), make.environment("web", "db")
    inferred = build_releases(environment, seen, [], {}, {}, make.WINDOW_S)
    assert [release.is_live for release in inferred] == [False, False, True]
    first = inferred.all[0]
    known = equivalents([plan_that_kept(first.content_id)])
    merged = build_releases(environment, seen, [], {}, {}, make.WINDOW_S, equivalent=known)
    assert merged.live is not None
    assert merged.live.content_id == first.content_id
    assert dict(merged.live.kept) == {"db": "m2"}
    assert len(merged) == 2


def test_a_rollback_of_some_components_stands_for_nothing() -> None:
    plan = plan_that_kept("x")
    skipped = replace(plan.components[0], disposition=Disposition.SKIPPED)
    assert equivalents([replace(plan, components=(skipped, plan.components[1]))]) == {}


def test_the_state_is_found_by_what_was_kept_and_what_moved() -> None:
    (reached,) = equivalents([plan_that_kept("x")])
    assert reached == content_id_of({"web": "v1", "db": "m2"})
