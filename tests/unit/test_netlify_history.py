"""When a Netlify deploy was live, from what Netlify still says; pure."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from taly.model.release import Barred, Confidence, Deployment, Restorable
from taly.providers.netlify.history import (
    deployments,
    is_in_flight,
    restorability,
    retention_days,
)
from taly.providers.netlify.payloads import DeployPayload, SitePayload

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def deploy(name: str, created: float, published: float | None = None, **facts) -> DeployPayload:
    """Hours before NOW; published two minutes after creation unless told otherwise."""
    made = NOW - timedelta(hours=created)
    at = None if published is None else NOW - timedelta(hours=published)
    defaults = {"state": "ready", "branch": "main", "site_id": "s"}
    return DeployPayload(id=name, created_at=made, published_at=at, **(defaults | facts))


def prompt(name: str, created: float, **facts) -> DeployPayload:
    return deploy(name, created, created - 2 / 60, **facts)


def history(live: DeployPayload, *others: DeployPayload, **facts) -> tuple[Deployment, ...]:
    site = SitePayload(id="s", published_deploy=live, **facts)
    return deployments("web", site, [live, *others], NOW)


def hours(one: Deployment) -> list[tuple[float, float | None]]:
    def ago(at: datetime | None) -> float | None:
        return None if at is None else round((NOW - at).total_seconds() / 3600)

    return [(ago(period.start) or 0, ago(period.end)) for period in one.live]


def by_name(found: tuple[Deployment, ...]) -> dict[str, Deployment]:
    return {one.id: one for one in found}


def test_netlify_history_each_period_ends_where_the_next_begins() -> None:
    found = history(prompt("c", 24), prompt("b", 48), prompt("a", 72))
    assert [one.id for one in found] == ["c", "b", "a"]
    assert [hours(one) for one in found] == [[(24, None)], [(48, 24)], [(72, 48)]]
    assert all(one.evidence[0].confidence is Confidence.EXACT for one in found)


def test_netlify_history_a_deploy_published_again_keeps_an_inferred_first_time() -> None:
    again = deploy("b", 48, 12)
    found = by_name(history(again, prompt("c", 24), prompt("a", 72)))
    assert hours(found["b"]) == [(48, 24), (12, None)]
    assert hours(found["c"]) == [(24, 12)]
    assert hours(found["a"]) == [(72, 48)]
    assert found["b"].evidence[0].confidence is Confidence.INFERRED


def test_netlify_history_survives_a_rollback_and_its_undo() -> None:
    found = by_name(history(deploy("c", 24, 6), deploy("b", 48, 12), prompt("a", 72)))
    assert hours(found["c"]) == [(24, 12), (6, None)]
    assert hours(found["b"]) == [(48, 24), (12, 6)]
    assert hours(found["a"]) == [(72, 48)]


def test_netlify_history_a_quick_rollback_is_seen_too() -> None:
    """Within minutes: only the order gives it away."""
    again = deploy("b", 0.15, 0.05)
    found = by_name(history(again, prompt("c", 0.12), prompt("a", 72), prompt("z", 96)))
    assert len(found["b"].live) == 2
    assert found["b"].is_live
    assert not found["c"].is_live


def test_netlify_history_where_publishing_is_always_by_hand_nothing_is_inferred() -> None:
    found = history(deploy("c", 48, 24), deploy("b", 96, 60), deploy("a", 144, 120))
    assert [len(one.live) for one in found] == [1, 1, 1]
    assert all(one.evidence[0].confidence is Confidence.EXACT for one in found)


def test_netlify_history_the_site_says_what_is_live_even_when_the_list_lags() -> None:
    found = by_name(history(prompt("b", 48), prompt("c", 24)))
    assert found["b"].is_live
    assert not found["c"].is_live


def test_netlify_history_what_never_served_has_no_time_live() -> None:
    failed = deploy("x", 10, None, state="error", error_message="no such module")
    found = by_name(history(prompt("b", 24), failed, deploy("y", 5)))
    assert found["x"].live == found["y"].live == ()
    assert found["x"].restorable == Barred(
        reason="its build failed: no such module", reference="target-barred"
    )
    assert isinstance(found["y"].restorable, Restorable)


@given(
    st.lists(st.tuples(st.floats(1, 2000), st.none() | st.floats(0, 1900)), min_size=1, max_size=12)
)
def test_netlify_history_exactly_one_deploy_is_live_and_periods_never_overlap(rows) -> None:
    deploys = [deploy(str(number), made + (at or 0), at) for number, (made, at) in enumerate(rows)]
    live = deploys[0].model_copy(update={"published_at": deploys[0].published_at or NOW})
    found = history(live, *deploys[1:])
    assert [one.id for one in found if one.is_live] == ["0"]
    periods = sorted(
        (period.start, period.end or NOW + timedelta(days=1))
        for one in found
        for period in one.live
    )
    for (_, end), (start, _) in pairwise(periods):
        assert end <= start


def test_netlify_restorable_ready_and_old_and_nothing_else() -> None:
    site = SitePayload(id="s", plan="nf_team_pro")
    for state in ("ready", "old"):
        found = restorability(site, prompt("a", 24, state=state))
        assert isinstance(found, Restorable)
        assert found.until == NOW - timedelta(hours=24) + timedelta(days=90)
    for state in ("error", "rejected", "building", "pending_review", "reticulating", ""):
        assert isinstance(restorability(site, prompt("a", 24, state=state)), Barred)


def test_netlify_restorable_what_is_live_or_the_latest_of_its_branch_is_kept() -> None:
    found = by_name(
        history(prompt("b", 48), prompt("c", 24), prompt("f", 9, branch="f"), prompt("a", 72))
    )
    ends = {name: getattr(one.restorable, "until", "?") for name, one in found.items()}
    assert ends["b"] is ends["c"] is ends["f"] is None
    assert ends["a"] == NOW - timedelta(hours=72) + timedelta(days=30)


def test_netlify_retention_of_an_unknown_plan_is_the_shorter_one() -> None:
    plans = {"nf_team_dev": 30, "nf_team_pro": 90, "nf_team_business": 90, "": 30, "new": 30}
    found = {plan: retention_days(SitePayload(id="s", plan=plan)) for plan in plans}
    assert found == plans
    assert retention_days(SitePayload(id="s")) == 30


def test_netlify_in_flight_is_a_young_build_in_any_unfinished_state() -> None:
    assert is_in_flight(deploy("a", 0.1, None, state="enqueued"), NOW)
    assert is_in_flight(deploy("a", 0.1, None, state="retrying"), NOW)
    assert not is_in_flight(deploy("a", 0.1, None, state="ready"), NOW)
    assert not is_in_flight(deploy("a", 0.1, None, state="reticulating"), NOW)
    assert not is_in_flight(deploy("a", 400, None, state="uploading"), NOW)


def test_netlify_nulls_are_let_pass_and_times_without_a_zone_are_not() -> None:
    made = "2026-03-01T12:00:00"
    odd = {"id": "d", "site_id": None, "state": None, "created_at": f"{made}Z"}
    site = SitePayload.model_validate({"id": "s", "name": None, "published_deploy": odd})
    assert (site.live, site.locked) == ("d", False)
    with pytest.raises(ValidationError):
        DeployPayload.model_validate(odd | {"created_at": made})
