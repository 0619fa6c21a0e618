"""Releases from histories: what belongs together, what is a release, and under which name."""

from dataclasses import replace

import pytest
from factories import (
    Pinned,
    at,
    by_name,
    deployment,
    environment,
    observed,
    ran,
    releases,
)

from taly.model.release import Mark, Observed, Unobserved
from taly.planning.hashing import content_id_of
from taly.planning.releases import Releases

A, B, C = "a" * 40, "b" * 40, "c" * 40
DAY = 24 * 60.0


def sets(found: Releases) -> list[dict[str, str]]:
    return [dict(release.members) for release in found]


def down(component: str) -> Unobserved:
    return Unobserved(component=component, reason="no answer", reference="fake-unreachable")


def test_one_commit_of_a_mono_repo_is_one_release_however_slow_a_component_is() -> None:
    found = releases(
        ran("web", (0, "w1", A), (DAY, "w2", B)),
        ran("api", (6, "a1", A), (DAY + 50, "a2", B)),
    )
    assert sets(found) == [{"web": "w1", "api": "a1"}, {"web": "w2", "api": "a2"}]
    assert [release.name for release in found] == ["R1", "R2"]
    assert [release.commit for release in found] == [A, B]


def test_two_commits_of_one_repository_within_the_window_are_two_releases() -> None:
    found = releases(
        ran("web", (0, "w1", A), (20, "w2", B)), ran("api", (5, "a1", A), (25, "a2", B))
    )
    assert sets(found) == [{"web": "w1", "api": "a1"}, {"web": "w2", "api": "a2"}]


def test_a_commit_that_deploys_one_component_only_keeps_the_others() -> None:
    found = releases(ran("web", (0, "w1", A), (30, "w2", B)), ran("api", (2, "a1", A)))
    assert sets(found) == [{"web": "w1", "api": "a1"}, {"web": "w2", "api": "a1"}]


def test_repositories_of_their_own_are_grouped_by_closeness_alone() -> None:
    found = releases(
        ran("web", (0, "w1", A), (DAY, "w2", B)),
        ran("api", (5, "a1", C), (DAY + 9, "a2", "d" * 40)),
    )
    assert sets(found) == [{"web": "w1", "api": "a1"}, {"web": "w2", "api": "a2"}]
    assert [release.commit for release in found] == ["", ""]


def test_unknown_commits_join_what_is_close() -> None:
    found = releases(ran("web", (0, "w1", A), (20, "w2", B)), ran("api", (5, "a1"), (24, "a2")))
    assert sets(found) == [{"web": "w1", "api": "a1"}, {"web": "w2", "api": "a2"}]


def test_migrations_seconds_apart_are_one_state_of_the_database() -> None:
    found = releases(ran("db", (0, "m1"), (0.2, "m2"), (0.4, "m3")), ran("api", (3, "a1", A)))
    assert sets(found) == [{"db": "m3", "api": "a1"}]


def test_a_straggler_of_the_last_commit_begins_no_release() -> None:
    found = releases(
        ran("web", (0, "w1", A), (6, "w2", B)),
        ran("api", (8, "a1", A), (14, "a2", B)),
    )
    assert sets(found)[-1] == {"web": "w2", "api": "a2"}
    assert len(found) == 2


def test_a_rollback_soon_after_the_bad_deploy_does_not_hide_the_bad_release() -> None:
    found = releases(
        ran("web", (0, "w1", A), (DAY, "w2", B), (DAY + 20, "w1")),
        ran("api", (1, "a1", A), (DAY + 5, "a2", B), (DAY + 25, "a1")),
    )
    assert sets(found) == [{"web": "w1", "api": "a1"}, {"web": "w2", "api": "a2"}]
    assert found.live is not None
    assert found.live.name == "R1"
    assert len(found.live.live) == 2


def test_a_redeploy_of_the_old_commit_does_not_hide_the_bad_release() -> None:
    found = releases(
        ran("web", (0, "w1", A), (20, "w2", B), (40, "w3", A)),
        ran("api", (1, "a1", A), (21, "a2", B), (41, "a3", A)),
    )
    assert {"web": "w2", "api": "a2"} in sets(found)
    assert sets(found)[-1] == {"web": "w3", "api": "a3"}


def test_a_partial_way_back_gets_a_name_and_is_called_mixed() -> None:
    found = releases(
        ran("web", (0, "w1", A), (DAY, "w2", B), (DAY + 20, "w1")),
        ran("api", (1, "a1", A), (DAY + 5, "a2", B)),
    )
    assert found.live is not None
    assert (found.live.name, found.live.mixed, found.live.label) == ("R3", True, "mixed")
    assert dict(found.live.members) == {"web": "w1", "api": "a2"}


def test_what_never_served_is_no_member() -> None:
    failed = deployment("web", "w-failed", commit=B)
    found = releases(
        observed("web", deployment("web", "w1", (0, None), commit=A), failed),
        ran("api", (1, "a1", A)),
    )
    assert sets(found) == [{"web": "w1", "api": "a1"}]


def test_what_is_live_counts_even_if_the_history_says_otherwise() -> None:
    seen = ran("web", (0, "w1", A), (DAY, "w2", B))
    seen = replace(seen, live=seen.history[1])
    found = releases(seen)
    assert found.live is not None
    assert dict(found.live.members) == {"web": "w1"}


def test_a_component_absent_then_is_absent_from_the_release() -> None:
    found = releases(ran("web", (0, "w1", A), (DAY, "w2", B)), ran("new", (DAY, "n1", B)))
    assert sets(found) == [{"web": "w1"}, {"web": "w2", "new": "n1"}]


def test_periods_end_when_the_next_group_begins() -> None:
    found = releases(
        ran("web", (0, "w1", A), (DAY, "w2", B)), ran("api", (5, "a1", A), (DAY + 5, "a2", B))
    )
    first, second = found.all
    assert (first.live[0].start, first.live[0].end) == (at(5), at(DAY))
    assert (second.live[0].start, second.live[0].end) == (at(DAY + 5), None)


def test_ambiguous_members_are_said() -> None:
    unsure = deployment("api", "a1", (0, DAY), candidates=("a1", "a0"))
    found = releases(
        observed("api", unsure, deployment("api", "a2", (DAY, None))), ran("web", (0, "w1"))
    )
    assert [release.ambiguous for release in found] == [("api",), ()]


def test_marks_are_found_by_content() -> None:
    bad = content_id_of({"web": "w2"})
    found = releases(ran("web", (0, "w1", A), (DAY, "w2", B)), marks={bad: (Mark.BAD, "500s")})
    assert [(r.mark, r.mark_why) for r in found] == [(Mark.NONE, ""), (Mark.BAD, "500s")]


def test_a_quick_rollback_of_one_component_does_not_swallow_anothers_deploy() -> None:
    """The way back of `web` and the first deploy of `pay` are two things."""
    found = releases(
        ran("web", (0, "w1"), (DAY, "w2"), (DAY + 200, "w1")),
        ran("pay", (0, "p1"), (DAY + 230, "p2")),
    )
    assert {"web": "w1", "pay": "p1"} in sets(found)
    assert found.all[0].live[-1].end == at(DAY + 230)
    assert not found.all[-1].mixed


def test_a_second_build_of_the_old_commit_is_a_release_of_its_own() -> None:
    found = releases(
        ran("web", (0, "w1", A), (20, "w2", B)), ran("api", (1, "a1", A), (40, "a3", A))
    )
    assert {"web": "w2", "api": "a1"} in sets(found)
    assert sets(found)[-1] == {"web": "w2", "api": "a3"}


def test_the_window_is_the_policys() -> None:
    close = (ran("web", (0, "w0"), (DAY, "w1")), ran("api", (1, "a0"), (DAY + 59, "a1")))
    apart = (ran("web", (0, "w0"), (DAY, "w1")), ran("api", (1, "a0"), (DAY + 61, "a1")))
    assert (len(releases(*close)), len(releases(*apart))) == (2, 3)


def test_two_commits_that_deploy_different_components_are_two_releases() -> None:
    found = releases(
        ran("web", (0, "w1", A), (DAY, "w2", B)),
        ran("api", (1, "a1", A), (DAY + 20, "a2", C)),
        ran("pay", (2, "p1", A), (2 * DAY, "p2", B), (3 * DAY, "p3", C)),
    )
    assert {"web": "w2", "api": "a1", "pay": "p1"} in sets(found)


class TestNames:
    history = (
        ran("web", (0, "w1", A), (DAY, "w2", B), (2 * DAY, "w3", C)),
        ran("api", (1, "a1", A), (DAY + 1, "a2", B), (2 * DAY + 1, "a3", C)),
    )

    def names(self) -> dict[str, str]:
        return {release.content_id: release.name for release in releases(*self.history)}

    def test_new_names_are_handed_out_to_be_stored(self) -> None:
        found = releases(*self.history)
        assert found.unnamed == tuple(release.content_id for release in found)
        again = releases(*self.history, names=self.names())
        assert again.unnamed == ()
        assert [r.name for r in again] == ["R1", "R2", "R3"]

    def test_names_stay_when_old_history_expires(self) -> None:
        expired = (
            ran("web", (DAY, "w2", B), (2 * DAY, "w3", C)),
            self.history[1],
        )
        found = releases(*expired, names=self.names())
        assert [release.name for release in found] == ["R2", "R3"]
        assert found.unnamed == ()

    def test_the_next_release_gets_the_next_number_even_if_old_ones_are_forgotten(self) -> None:
        later = ran("web", (2 * DAY, "w3", C), (3 * DAY, "w4", "d" * 40))
        found = releases(later, ran("api", (2 * DAY + 1, "a3", C)), names=self.names())
        assert [release.name for release in found] == ["R3", "R4"]

    def test_a_vendor_that_is_down_gives_no_names_to_store(self) -> None:
        found = releases(self.history[0], down("api"), names=self.names())
        assert found.unnamed == ()
        assert found.unobserved == ("api",)
        assert all(release.unknown == ("api",) for release in found)

    def test_with_stored_members_a_vendor_that_is_down_changes_no_name(self) -> None:
        members = {r.content_id: dict(r.members) for r in releases(*self.history)}
        found = releases(self.history[0], down("api"), names=self.names(), members=members)
        assert [release.name for release in found] == ["R1", "R2", "R3"]

    def test_with_stored_members_a_component_new_in_the_configuration_changes_no_name(self) -> None:
        members = {r.content_id: dict(r.members) for r in releases(*self.history)}
        added = ran("pay", (0, "p1", A), (2 * DAY, "p2", C))
        found = releases(*self.history, added, names=self.names(), members=members)
        assert [release.name for release in found] == ["R1", "R2", "R3"]


class TestRecorded:
    history = (
        ran("web", (0, "w1"), (DAY, "w2")),
        observed(
            "api",
            deployment("api", "a1", (1, DAY + 1), candidates=("a1", "a0")),
            deployment("api", "a2", (DAY + 1, None)),
        ),
    )

    def test_the_same_set_is_labelled_and_is_exact(self) -> None:
        pin = Pinned(members={"web": "w1", "api": "a1"}, at=at(10), commit=A, label="v1")
        first = releases(*self.history, recorded=[pin]).all[0]
        assert (first.recorded, first.commit, first.label) == (True, A, "v1")
        assert first.ambiguous == ()

    def test_a_record_that_contradicts_the_histories_replaces_what_they_say(self) -> None:
        pin = Pinned(members={"web": "w1", "api": "a0"}, at=at(10), label="v1")
        found = releases(*self.history, recorded=[pin])
        assert sets(found) == [{"web": "w1", "api": "a0"}, {"web": "w2", "api": "a2"}]
        assert found.all[0].live[0].start == at(1)

    def test_a_record_of_a_state_on_the_way_stands_beside_the_settled_one(self) -> None:
        pin = Pinned(members={"web": "w2", "api": "a1"}, at=at(DAY + 0.5), label="half")
        found = releases(*self.history, recorded=[pin])
        assert {"web": "w2", "api": "a2"} in sets(found)
        assert {"web": "w2", "api": "a1"} in sets(found)

    def test_a_record_never_replaces_what_is_live(self) -> None:
        pin = Pinned(members={"web": "w2", "api": "a9"}, at=at(DAY + 5))
        found = releases(*self.history, recorded=[pin])
        assert found.live is not None
        assert dict(found.live.members) == {"web": "w2", "api": "a2"}
        assert {"web": "w2", "api": "a9"} in sets(found)

    def test_nor_what_is_live_again(self) -> None:
        web = ran("web", (0, "w1"), (DAY, "w2"), (2 * DAY, "w1"))
        api = ran("api", (1, "a1"))
        pin = Pinned(members={"web": "w9", "api": "a1"}, at=at(10))
        found = releases(web, api, recorded=[pin])
        assert found.live is not None
        assert dict(found.live.members) == {"web": "w1", "api": "a1"}
        assert {"web": "w9", "api": "a1"} in sets(found)

    def test_a_record_of_a_state_on_the_way_to_an_old_release_replaces_nothing(self) -> None:
        web = ran("web", (0, "w1"), (DAY, "w2"), (2 * DAY, "w3"))
        api = ran("api", (1, "a1"), (DAY + 1, "a2"), (2 * DAY + 1, "a3"))
        pin = Pinned(members={"web": "w2", "api": "a1"}, at=at(DAY + 0.5))
        assert {"web": "w2", "api": "a2"} in sets(releases(web, api, recorded=[pin]))

    def test_a_record_of_some_components_is_completed(self) -> None:
        pin = Pinned(members={"web": "w1"}, at=at(10), label="v1")
        assert releases(*self.history, recorded=[pin]).all[0].label == "v1"


def test_nothing_observed_is_no_release() -> None:
    found = releases(down("web"), down("api"))
    assert found.all == ()
    assert found.live is None


def test_the_order_of_the_observations_does_not_matter() -> None:
    seen: list[Observed] = [ran("web", (0, "w1", A)), ran("api", (0, "a1", A))]
    env = environment("web", "api")
    assert sets(releases(*seen, of=env)) == sets(releases(*reversed(seen), of=env))
    assert by_name(*seen).keys() == {"web", "api"}


@pytest.mark.parametrize("text", ["r1", "R1"])
def test_a_release_is_found_by_its_name_in_either_case(text: str) -> None:
    found = releases(ran("web", (0, "w1"))).named(text)
    assert found is not None
    assert found.name == "R1"


def test_a_vendor_that_is_down_takes_no_name_and_no_mark_away() -> None:
    seen = (
        ran("web", (0, "w1", A), (DAY, "w2", B), (2 * DAY, "w3", C)),
        ran("api", (6, "a1", A), (DAY, "a2", B), (2 * DAY, "a3", C)),
    )
    whole = releases(*seen)
    names = {one.content_id: one.name for one in whole}
    members = {one.content_id: dict(one.members) for one in whole}
    marks = {one.content_id: (Mark.BAD, "no") for one in whole if one.name == "R2"}
    partly = releases(down("web"), seen[1], names=names, members=members, marks=marks)
    assert [(one.name, one.mark) for one in partly] == [
        ("R1", Mark.NONE),
        ("R2", Mark.BAD),
        ("R3", Mark.NONE),
    ]
