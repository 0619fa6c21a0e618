"""How Vercel's past is rebuilt, and what its words mean: pure."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taly.providers.vercel.aliases import Serving, serving, uncovered
from taly.providers.vercel.client import _alias_name, http_date, retry_after, scope_of
from taly.providers.vercel.history import Past, deployments, live_periods
from taly.providers.vercel.payloads import Build, Job, Project

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ms(hours: float) -> int:
    return int((T0 + timedelta(hours=hours)).timestamp() * 1000)


def build(id_: str, hours: float, **more: Any) -> Build:
    said = {
        "uid": id_,
        "readyState": "READY",
        "readySubstate": "PROMOTED",
        "created": ms(hours - 0.1),
        "ready": ms(hours),
        "aliasAssigned": ms(hours),
        **more,
    }
    return Build.model_validate(said)


def project(job: dict[str, Any] | None = None, **more: Any) -> Project:
    said = {"id": "prj_1", "name": "web", "lastAliasRequest": job, **more}
    return Project.model_validate(said)


def job(kind: str, to: str, hours: float, status: str = "succeeded") -> dict[str, Any]:
    said = {"toDeploymentId": to, "jobStatus": status, "type": kind, "requestedAt": ms(hours)}
    return {"fromDeploymentId": None, **said}


def past(live: str, *builds: Build, of: Project | None = None) -> Past:
    return Past(
        component="web",
        project=of or project(),
        serving=Serving(shown={"web.example.com": live}, named=live),
        builds=builds,
        at=T0 + timedelta(hours=100),
    )


def told(seen: Past) -> dict[str, list[tuple[float, float | None]]]:
    """Id → periods, as hours after T0."""

    def hours(at: datetime | None) -> float | None:
        return None if at is None else round((at - T0).total_seconds() / 3600, 2)

    return {
        id_: [(hours(one.start) or 0.0, hours(one.end)) for one in periods]
        for id_, periods in live_periods(seen).items()
    }


def test_vercel_periods_follow_each_other() -> None:
    seen = told(past("c", build("c", 3), build("b", 2), build("a", 1)))
    assert seen == {"a": [(1, 2)], "b": [(2, 3)], "c": [(3, None)]}


def test_vercel_rollback_ends_the_bad_period_when_it_was_asked_for() -> None:
    of = project(job("rollback", "a", 5))
    assert told(past("a", build("b", 2), build("a", 1), of=of)) == {
        "a": [(1, 2), (5, None)],
        "b": [(2, 5)],
    }


def test_vercel_rollback_that_renewed_alias_assigned_keeps_the_first_period() -> None:
    of = project(job("rollback", "a", 5))
    good = build("a", 1, aliasAssigned=ms(5.003))
    assert told(past("a", build("b", 2), good, of=of)) == {"a": [(1, 2), (5, None)], "b": [(2, 5)]}


def test_vercel_succeeded_job_that_the_aliases_do_not_bear_out_does_not_count() -> None:
    of = project(job("rollback", "a", 5))
    assert told(past("b", build("b", 2), build("a", 1), of=of)) == {"a": [(1, 2)], "b": [(2, None)]}


@pytest.mark.parametrize("status", ["failed", "skipped", "pending", "some-new-word"])
def test_vercel_job_that_did_not_succeed_changed_nothing(status: str) -> None:
    of = project(job("rollback", "a", 5, status))
    assert told(past("b", build("b", 2), build("a", 1), of=of)) == {"a": [(1, 2)], "b": [(2, None)]}


def test_vercel_push_after_an_undone_rollback_ends_the_period() -> None:
    of = project(job("promote", "a", 5))
    seen = told(past("c", build("c", 7), build("b", 2), build("a", 1), of=of))
    assert seen == {"a": [(1, 2), (5, 7)], "b": [(2, 5)], "c": [(7, None)]}


def test_vercel_live_by_alias_wins_where_no_trace_is_left() -> None:
    of = project(updatedAt=ms(9))
    seen = told(past("a", build("b", 2), build("a", 1), of=of))
    assert seen == {"a": [(1, 2), (9, None)], "b": [(2, 9)]}


def test_vercel_staged_and_failed_ones_never_served() -> None:
    staged = build("s", 4, readySubstate="STAGED", aliasAssigned=None)
    failed = build("f", 5, readyState="ERROR", readySubstate=None, aliasAssigned=None)
    assert told(past("a", failed, staged, build("a", 1))) == {"a": [(1, None)]}


def test_vercel_staged_then_promoted_serves_since_its_promotion() -> None:
    of = project(job("promote", "b", 6))
    late = build("b", 2, aliasAssigned=ms(6))
    assert told(past("b", late, build("a", 1), of=of)) == {"a": [(1, 6)], "b": [(6, None)]}


def test_vercel_history_is_ordered_by_the_time_it_last_went_live() -> None:
    of = project(job("rollback", "a", 5))
    staged = build("s", 4, readySubstate="STAGED", aliasAssigned=None)
    seen = deployments(past("a", staged, build("b", 2), build("a", 1), of=of))
    assert [one.id for one in seen] == ["a", "b", "s"]


def test_vercel_alias_assigned_may_be_a_boolean() -> None:
    assert build("a", 1, aliasAssigned=True).assigned is None
    assert build("a", 1, aliasAssigned=True).served
    assert told(past("a", build("a", 1, aliasAssigned=True))) == {"a": [(1, None)]}


def test_vercel_old_deployments_without_a_substate_served_if_they_were_aliased() -> None:
    assert build("a", 1, readySubstate=None).served
    assert not build("a", 1, readySubstate=None, aliasAssigned=None).served


def test_vercel_commit_of_any_git_host() -> None:
    assert build("a", 1, meta={"gitlabCommitSha": "abc1234ff"}).label == "abc1234"
    assert build("dpl_0123456789ab", 1).label == "0123456789"


# Aliases -------------------------------------------------------------------------------------


def alias(domain: str, shows: str, **more: Any) -> dict[str, Any]:
    return {"domain": domain, "target": "PRODUCTION", "deployment": {"id": shows}, **more}


def test_vercel_only_production_names_without_redirect_count() -> None:
    of = project(
        alias=[
            alias("a.com", "x"),
            alias("www.a.com", "y", redirect="a.com"),
            alias("staging.a.com", "z", target="STAGING"),
        ],
        targets={"production": {"id": "x"}},
    )
    assert serving(of, None).is_all("x")


def test_vercel_alias_that_shows_nothing_is_a_stray() -> None:
    of = project(
        alias=[alias("a.com", "x"), {"domain": "b.com", "deployment": None}],
        targets={"production": {"id": "x"}},
    )
    assert serving(of, None).strays("x") == ("b.com",)


def test_vercel_targets_production_alone_is_no_proof() -> None:
    of = project(alias=[alias("a.com", "old")], targets={"production": {"id": "new"}})
    assert not serving(of, None).is_all("new")
    assert not serving(of, None).is_all("old")


def test_vercel_live_is_what_most_names_show() -> None:
    shown = {"a.com": "x", "b.com": "x", "c.com": "y"}
    assert Serving(shown=shown, named="y").live == "x"
    assert Serving(shown={}, named="y").live == "y"


def test_vercel_names_left_behind_by_a_rollback_are_still_to_do() -> None:
    shown = {"a.com": "good", "b.com": "good", "c.com": "bad"}
    assert Serving(shown=shown, named="good", moved_to="good").live == "bad"
    assert Serving(shown=shown, named="good", moved_to="older").live == "good"


def test_vercel_names_made_by_hand_follow_or_are_pinned() -> None:
    of = project(
        alias=[alias("a.com", "x"), alias("hand.com", "x"), alias("old.com", "w")],
        targets={"production": {"id": "x"}},
    )
    assert uncovered(of, frozenset({"a.com"})) == (("hand.com",), ("old.com",))


# The wire ------------------------------------------------------------------------------------


def test_vercel_retry_after_is_seconds_or_a_date_and_nothing_else() -> None:
    assert retry_after({"retry-after": "7"}, T0) == 7.0
    assert retry_after({"retry-after": "Sun, 01 Mar 2026 12:00:09 GMT"}, T0) == 9.0
    assert retry_after({"retry-after": "soon"}, T0) is None
    # Netlify's convention is not this vendor's.
    assert retry_after({"x-ratelimit-reset": str(ms(1) // 1000)}, T0) is None


def test_vercel_dates_that_are_none() -> None:
    assert http_date("") is None
    assert http_date("Sun, 01 Mar 2026 12:00:00 GMT") == T0


def test_vercel_scope_is_an_id_a_slug_or_nothing() -> None:
    assert scope_of("team_1") == {"teamId": "team_1"}
    assert scope_of("taly") == {"slug": "taly"}
    assert scope_of("") == {}


def test_vercel_failed_aliases_in_either_shape() -> None:
    assert _alias_name({"alias": "a.com"}) == "a.com"
    assert _alias_name({"alias": {"alias": "a.com", "deploymentId": "x"}}) == "a.com"


def test_vercel_unknown_job_status_is_not_running() -> None:
    assert not Job.model_validate(job("rollback", "a", 1, "some-new-word")).is_running
