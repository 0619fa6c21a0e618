"""What taly knows of the past from its own runs, where vendors' histories say something else."""

from dataclasses import replace

from factories import at, plan_to, ran, releases

from taly.model.release import LivePeriod, Mark
from taly.planning.hashing import content_id_of
from taly.planning.memory import Remembered, remembered
from taly.planning.releases import Releases

A, B, C = "a" * 40, "b" * 40, "c" * 40
DAY = 24 * 60.0
R2 = {"web": "w2", "api": "a2"}
R3 = {"web": "w3", "api": "a3"}
API = ran("api", (0, "a1", A), (DAY, "a2", B), (2 * DAY, "a3", C))
WEB = ran("web", (0, "w1", A), (DAY, "w2", B), (2 * DAY, "w3", C))
BACK_AT = 3 * DAY
"""When a run of ours went back from R3 to R2."""
WENT_BACK = ran(
    "api", (0, "a1", A), (DAY, "a2", B), (2 * DAY, "a3", C), (BACK_AT, "a2", B), (4 * DAY, "a3", C)
)
FORGETFUL = ran("web", (0, "w1", A), (BACK_AT + 9, "w2", B), (4 * DAY + 9, "w3", C))
"""The same as its vendor tells it afterwards: each deploy's last time of publishing only."""
RUNS = (
    LivePeriod(start=at(BACK_AT - 1), end=at(BACK_AT + 10)),
    LivePeriod(start=at(4 * DAY - 1), end=at(4 * DAY + 10)),
)


def afterwards(**more: object) -> Releases:
    first = releases(WEB, API)
    names = {release.content_id: release.name for release in first}
    known = remembered([plan_to("R2", WEB, API)], names)
    found: Releases = releases(
        FORGETFUL, WENT_BACK, names=names, remembered=known, own_runs=RUNS, **more
    )
    return found


def test_what_comes_and_goes_within_a_run_is_no_release() -> None:
    seen = (FORGETFUL, WENT_BACK)
    between = {"web": "w1", "api": "a2"}
    assert between in [dict(one.members) for one in releases(*seen)]
    found = releases(*seen, own_runs=RUNS)
    periods = [period.start for one in found for period in one.live]
    assert at(BACK_AT) not in periods
    assert at(4 * DAY) not in periods


def test_nobody_released_what_a_run_left_behind() -> None:
    seen = (
        ran("web", (0, "w1", A)),
        ran("api", (0, "a1", A), (DAY, "a2", B)),
    )
    assert [one.mixed for one in releases(*seen)] == [False, False]
    run = LivePeriod(start=at(DAY - 1), end=at(DAY + 1))
    assert [one.mixed for one in releases(*seen, own_runs=[run])] == [False, True]


def test_while_a_run_is_under_way_nothing_is_a_new_release() -> None:
    seen = (ran("web", (0, "w1", A), (DAY + 2, "w2", B)), ran("api", (0, "a1", A), (DAY, "a2", B)))
    run = LivePeriod(start=at(DAY - 1), end=None)
    assert [one.mixed for one in releases(*seen, own_runs=[run])] == [False, True]


def test_a_release_keeps_name_and_members_when_its_vendor_forgets() -> None:
    found = afterwards()
    assert {one.name: dict(one.members) for one in found if not one.mixed} == {
        "R1": {"web": "w1", "api": "a1"},
        "R2": R2,
        "R3": R3,
    }
    two, three = found.named("R2"), found.named("R3")
    assert two is not None
    assert three is not None
    assert [period.start for period in two.live] == [at(DAY), at(BACK_AT + 9)]
    assert (two.commit, three.commit) == (B, C)
    assert three.is_live
    assert not three.mixed


def test_a_mark_stays_with_the_release_that_its_vendor_forgot() -> None:
    found = afterwards(marks={content_id_of(R3): (Mark.BAD, "it lost bookings")})
    assert [one.name for one in found if one.mark is Mark.BAD] == ["R3"]


def test_a_plan_remembers_no_state_that_nobody_released() -> None:
    plan = plan_to("R2", WEB, API)
    names = {content_id_of(R3): "R3"}
    assert {one.content_id for one in remembered([plan], names)} == {
        content_id_of(R2),
        content_id_of(R3),
    }
    nobodys = replace(plan, from_since=None, to_since=None)
    assert remembered([nobodys, replace(plan, purpose="undo")], names) == []


def test_memory_that_histories_cannot_complete_changes_nothing() -> None:
    other = Remembered(content_id=content_id_of(R2), members={"web": "w9"}, at=at(DAY))
    before, after = releases(WEB, API), releases(WEB, API, remembered=[other])
    assert [dict(one.members) for one in before] == [dict(one.members) for one in after]
