"""What holds for all releases, whatever the histories look like."""

import random
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

from factories import at, environment, ran, releases
from hypothesis import given
from hypothesis import strategies as st

from taly.model.release import LivePeriod, Observed
from taly.planning.hashing import content_id_of

COMMITS = ["", "a" * 40, "b" * 40, "c" * 40]


@st.composite
def histories(draw: st.DrawFn) -> list[Observed]:
    """Components with any changes at any times, rollbacks and unknown commits among them."""
    seen = []
    for name in draw(st.lists(st.sampled_from("abcd"), min_size=1, unique=True)):
        minutes = draw(st.lists(st.integers(0, 600), min_size=1, max_size=6, unique=True))
        changes: list[tuple[float, str, str]] = []
        for minute in sorted(minutes):
            version = draw(st.integers(0, 4))
            if changes and changes[-1][1] == f"{name}{version}":
                continue
            changes.append((minute, f"{name}{version}", COMMITS[version % len(COMMITS)]))
        seen.append(ran(name, *changes))
    return seen


def live_at(one: Observed, instant: datetime) -> str | None:
    """By brute force: what was live then."""
    best: tuple[LivePeriod, str] | None = None
    for deployment in one.history:
        for period in deployment.live:
            if period.start <= instant and (best is None or period.start > best[0].start):
                best = (period, deployment.id)
    return best[1] if best else None


@given(histories())
def test_every_release_was_live_together_from_beginning_to_end(
    seen: list[Observed],
) -> None:
    for release in releases(*seen):
        for period in release.live:
            end = at(601) if period.end is None else period.end
            for instant in (period.start, end - timedelta(seconds=1)):
                expected = {one.component: live_at(one, instant) for one in seen}
                assert dict(release.members) == {k: v for k, v in expected.items() if v}


@given(histories())
def test_the_last_state_is_the_live_release_and_the_only_one(seen: list[Observed]) -> None:
    found = releases(*seen)
    assert found.live is not None
    assert dict(found.live.members) == {one.component: one.live.id for one in seen}
    assert sum(release.is_live for release in found) == 1


@given(histories())
def test_ids_are_equal_exactly_where_members_are(seen: list[Observed]) -> None:
    found = releases(*seen)
    sets = [frozenset(release.members.items()) for release in found]
    assert len(set(sets)) == len(sets) == len({release.content_id for release in found})
    assert all(r.content_id == content_id_of(dict(r.members)) for r in found)


@given(histories())
def test_periods_never_overlap(seen: list[Observed]) -> None:
    periods = sorted(
        (period for release in releases(*seen) for period in release.live),
        key=lambda period: period.start,
    )
    for one, following in pairwise(periods):
        assert one.end is not None
        assert one.end <= following.start


@given(histories(), st.randoms(use_true_random=False))
def test_the_order_of_what_is_given_changes_nothing(
    seen: list[Observed], chance: random.Random
) -> None:
    env = environment(*(one.component for one in seen))
    shuffled = list(seen)
    chance.shuffle(shuffled)
    one, other = releases(*seen, of=env), releases(*shuffled, of=env)
    assert [(r.name, r.content_id, r.live) for r in one] == [
        (r.name, r.content_id, r.live) for r in other
    ]


@given(histories(), st.integers(0, 600))
def test_a_name_once_given_stays_whatever_expires(seen: list[Observed], cut: int) -> None:
    before = releases(*seen)
    names = {release.content_id: release.name for release in before}

    def expired(one: Observed) -> Observed:
        kept = tuple(
            replace(d, live=tuple(p for p in d.live if p.end is None or p.end > at(cut)))
            for d in one.history
        )
        return replace(one, history=tuple(d for d in kept if d.live))

    later = releases(*(expired(one) for one in seen), names=names)
    numbers = [int(release.name[1:]) for release in later]
    assert len(set(numbers)) == len(numbers)
    for release in later:
        known = names.get(release.content_id)
        assert release.name == known or (known is None and release.name not in names.values())
    assert later.live is not None
    assert later.live.name == names[later.live.content_id]


@given(histories())
def test_what_never_served_never_becomes_a_member(seen: list[Observed]) -> None:
    one, *rest = seen
    never = replace(one.history[0], id="never", live=())
    found = releases(replace(one, history=(never, *one.history)), *rest)
    assert not any("never" in dict(release.members).values() for release in found)
