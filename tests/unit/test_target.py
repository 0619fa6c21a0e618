"""Choosing where to go back to, and saying why."""

from dataclasses import replace

import pytest
from factories import T0, at, by_name, deployment, observed, ran, releases

from taly.errors import Refused
from taly.model.release import Barred, Deployment, Gone, Mark, Observed
from taly.planning.reach import hindrances, nearest_restorable, nearest_whole
from taly.planning.releases import Releases
from taly.planning.target import Choice, choose, parse_time

A, B, C = "a1" * 20, "b2" * 20, "c3" * 20
DAY = 24 * 60.0
WEB = ran("web", (0, "w1", A), (DAY, "w2", B), (2 * DAY, "w3", C))
API = ran("api", (1, "a1", A), (DAY + 1, "a2", B), (2 * DAY + 1, "a3", C))
NOW = at(3 * DAY)


def lost(seen: Observed, id_: str, how: Gone | Barred) -> Observed:
    """The component, its deployment of that id no longer restorable."""

    def change(one: Deployment) -> Deployment:
        return replace(one, restorable=how) if one.id == id_ else one

    return replace(seen, history=tuple(change(one) for one in seen.history))


def pick(text: str, *seen: Observed, found: Releases | None = None) -> Choice:
    return choose(text, found or releases(*seen), by_name(*seen), NOW)


def refused(text: str, *seen: Observed, found: Releases | None = None) -> Refused:
    with pytest.raises(Refused) as raised:
        pick(text, *seen, found=found)
    return raised.value


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("R1", "R1"),
        ("r2", "R2"),
        ("last-good", "R2"),
        ("previous", "R2"),
        ("a1a1", "R1"),
        (B, "R2"),
        (B.upper()[:10], "R2"),
        ((T0.isoformat())[:10] + "T23:00", "R1"),
        (at(DAY + 30).isoformat(), "R2"),
        ("-2d", "R1"),
        ("30h ago", "R2"),
        ("-1h", "R3"),
        ("yesterday 09:00", "R3"),
    ],
)
def test_what_the_user_may_say(text: str, name: str) -> None:
    assert pick(text, WEB, API).release.name == name


def test_a_time_between_two_releases_means_the_one_before() -> None:
    assert pick(at(DAY + 0.5).isoformat(), WEB, API).release.name == "R1"


def test_last_good_passes_over_bad_ones_and_says_so() -> None:
    marked = releases(WEB, API, marks={releases(WEB, API).all[1].content_id: (Mark.BAD, "slow")})
    choice = pick("last-good", WEB, API, found=marked)
    assert choice.release.name == "R1"
    assert "passed over R2: marked bad (slow)" in choice.why


def test_last_good_needs_every_member_restorable() -> None:
    api = lost(API, "a2", Gone(reason="expired by lifecycle rule 2"))
    choice = pick("last-good", WEB, api)
    assert choice.release.name == "R1"
    assert "api: a2 of release R2 is gone: expired by lifecycle rule 2" in choice.why


def test_a_member_that_is_live_now_needs_no_restoring() -> None:
    api = lost(ran("api", (1, "a1", A)), "a1", Gone(reason="expired"))
    api = replace(api, live=api.history[0])
    assert pick("last-good", WEB, api).release.name == "R2"


def test_no_good_release_says_what_is_wrong_with_each() -> None:
    gone = Gone(reason="expired")
    error = refused("last-good", lost(lost(WEB, "w1", gone), "w2", gone), API)
    assert error.reference == "no-good-release"
    assert "R1" in error.message
    assert "R2" in error.message


def test_after_half_a_way_back_the_release_one_comes_from_is_not_the_last_good() -> None:
    web = ran("web", (0, "w1", A), (DAY, "w2", B), (DAY + 20, "w1"))
    api = ran("api", (1, "a1", A), (DAY + 5, "a2", B))
    choice = pick("last-good", web, api)
    assert choice.release.name == "R1"
    assert "on its way back from it" in choice.why


def test_previous_is_by_time_live_and_not_by_number() -> None:
    web = ran("web", (0, "w1", A), (DAY, "w2", B), (2 * DAY, "w3", C), (2 * DAY + 30, "w1"))
    assert pick("previous", web).release.name == "R3"


def test_an_unknown_release_names_those_near_it() -> None:
    error = refused("R7", WEB, API)
    assert error.reference == "target-unknown"
    assert "R3, R2, R1" in error.message


@pytest.mark.parametrize(
    "text", ["", "nonsense", "beef", "99 bottles", "-2parsecs", "yesterday 25:99"]
)
def test_nonsense_is_refused(text: str) -> None:
    assert refused(text, WEB, API).reference == "target-unknown"


def test_the_future_is_refused() -> None:
    assert "future" in refused("2999-01-01", WEB).message


def test_before_all_history_is_refused() -> None:
    assert refused("-9999w", WEB).reference == "target-unknown"


def test_a_prefix_of_two_commits_is_ambiguous() -> None:
    one, two = "abcd" + "1" * 36, "abcd" + "2" * 36
    error = refused("abcd", ran("web", (0, "w1", one), (DAY, "w2", two)))
    assert error.reference == "target-ambiguous"
    assert "abcd11111111" in error.message


def test_a_commit_of_one_repository_among_several_is_found() -> None:
    web = ran("web", (0, "w1", A), (DAY, "w2", B))
    api = ran("api", (1, "a1", C), (DAY + 1, "a2", "d4" * 20))
    assert pick("d4d4d4", web, api).release.name == "R2"


def test_an_abbreviated_commit_of_one_vendor_is_the_same_commit() -> None:
    found = pick(B, ran("web", (0, "w1", A[:7]), (DAY, "w2", B[:7])))
    assert found.release.name == "R2"


def test_a_time_without_a_zone_is_utc() -> None:
    assert parse_time("2026-03-02T08:30", NOW) == at(30)
    assert parse_time("2026-03-02T09:30+01:00", NOW) == at(30)


class TestReach:
    def test_the_refusal_says_who_can_go_where(self) -> None:
        api = lost(API, "a2", Gone(reason="expired"))
        found = releases(WEB, api)
        text = nearest_restorable(found.all, found.all[1], by_name(WEB, api))
        assert text == "1 of 2 components can go to R2; api can go to R1."
        near = nearest_whole(found.all, found.all[1], by_name(WEB, api))
        assert near is not None
        assert near.name == "R1"

    def test_a_release_marked_bad_is_no_way_out(self) -> None:
        bad = releases(WEB, API).all[0].content_id
        found = releases(WEB, API, marks={bad: (Mark.BAD, "slow")})
        assert nearest_whole(found.all, found.all[1], by_name(WEB, API)) is None

    def test_a_bar_keeps_its_vendors_reference(self) -> None:
        barred = Barred(reason="the Hobby plan allows one step back", reference="hobby-limit")
        web = lost(WEB, "w1", barred)
        (found,) = hindrances(releases(web, API).all[0], by_name(web, API))
        assert (found.code, found.component) == ("hobby-limit", "web")

    def test_an_ambiguous_deployment_is_no_target(self) -> None:
        unsure = deployment("api", "a1", (0, DAY), candidates=("a1", "a0"))
        api = observed("api", unsure, deployment("api", "a2", (DAY, None)))
        (found,) = hindrances(releases(api).all[0], by_name(api))
        assert found.code == "target-ambiguous"

    def test_what_left_the_history_is_gone(self) -> None:
        forgotten = replace(API, history=API.history[:1])
        (found,) = hindrances(releases(WEB, API).all[1], by_name(WEB, forgotten))
        assert found.code == "target-gone"


class TestByDirectory:
    """A timestamp of `serverless deploy list` names the release that its deployment came with."""

    OLD = "1772438400000-2026-03-02T08:00:00.000Z"
    NEW = "1772440200000-2026-03-02T08:30:00.000Z"

    @pytest.mark.parametrize("text", [OLD, "1772438400000", "2026-03-02T08:00:00.000Z"])
    def test_the_upload_is_meant_and_not_what_was_live_at_that_time(self, text: str) -> None:
        known = ran("mail", (-600, "older"), (5, self.OLD), (35, self.NEW))
        found = choose(text, releases(known), by_name(known), at(600))
        assert found.release.members == {"mail": self.OLD}

    def test_one_that_matches_two_releases_is_refused(self) -> None:
        near = "1772438400500-2026-03-02T08:00:00.500Z"
        known = ran("mail", (-600, "older"), (5, self.OLD), (120, near))
        with pytest.raises(Refused) as refused:
            choose("2026-03-02T08:00:00", releases(known), by_name(known), at(600))
        assert refused.value.reference == "target-ambiguous"
