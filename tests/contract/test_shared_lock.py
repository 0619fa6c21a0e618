"""The lock in S3: two machines, answers that are lost, clocks that lie, processes that freeze."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from shared_stage import Stage, holding, served, stage

from taly.engine.journal import monotonic_s
from taly.engine.shared.keeper import Keeper
from taly.engine.shared.lock import PATIENCE, STALE_SHARE
from taly.engine.shared.objects import Changed
from taly.errors import EnvironmentLocked, LeaseLost, UsageError

ROOT = Path(__file__).parents[2]
HOUR_S = 3600.0

__all__ = ["served", "stage"]


# The emulated S3 writes under conditions as the real one does


def test_a_write_under_a_condition_happens_only_where_it_holds(stage: Stage) -> None:
    objects = stage.objects()
    first = objects.put("a", b"1", over=None)
    with pytest.raises(Changed, match="PreconditionFailed"):
        objects.put("a", b"2", over=None)
    second = objects.put("a", b"2", over=first)
    with pytest.raises(Changed, match="PreconditionFailed"):
        objects.put("a", b"3", over=first)
    with pytest.raises(Changed, match="NoSuchKey"):
        objects.put("b", b"1", over=second)
    read = objects.get("a")
    assert read is not None
    assert (read.body, read.tag) == (b"2", second)
    assert objects.get("b") is None
    assert objects.keys("") == ["a"]


def test_a_bucket_that_is_not_there_is_no_empty_one(stage: Stage) -> None:
    objects = stage.objects()
    objects._bucket = "not-there"
    for asking in (lambda: objects.get("a"), lambda: objects.put("a", b"1", over=None)):
        with pytest.raises(UsageError) as refusal:
            asking()
        assert refusal.value.reference == "shared-refused"
        assert "NoSuchBucket" in refusal.value.message


# Two machines


def compete(stage: Stage, folder: Path, how: str, count: int) -> None:
    command = [sys.executable, "-m", "tests.shared_worker", stage.environ["AWS_ENDPOINT_URL"]]
    both = [
        subprocess.Popen([*command, str(folder), name, how, str(count)], cwd=ROOT)
        for name in ("anna", "ben")
    ]
    for one in both:
        assert one.wait(timeout=60) == 0


def test_of_two_processes_at_the_same_moment_exactly_one_wins(stage: Stage, tmp_path: Path) -> None:
    compete(stage, tmp_path, "rounds", 10)
    won = sorted(one.name.split("-")[1] for one in tmp_path.glob("won-*"))
    lost = {one.name.split("-")[1]: one.read_text() for one in tmp_path.glob("lost-*")}
    assert won == sorted(lost) == sorted(map(str, range(10)))
    winners = {one.name.split("-")[2] for one in tmp_path.glob("won-0-*")}
    assert (
        f"is held by run-000001 (rollback, since 2026-01-01 12:00:00 UTC) of {winners.pop()}"
        in (lost["0"])
    )


def test_two_processes_are_never_inside_together(stage: Stage, tmp_path: Path) -> None:
    compete(stage, tmp_path, "sections", 8)
    fences = [
        int(line)
        for name in ("anna", "ben")
        for line in (tmp_path / f"fences-{name}").read_text().split()
    ]
    assert sorted(fences) == list(range(1, 17))


def test_the_refusal_names_the_run_the_person_and_the_machine(stage: Stage) -> None:
    keeping, other = stage.lock(), stage.lock()
    keeping.take(holding("run-0abcde", lease_s=1.5))
    keeper = Keeper(keeping, lease_s=1.5)
    with pytest.raises(EnvironmentLocked) as refusal:
        other.take(holding("run-000002"))
    keeper.stop()
    assert "run-0abcde (rollback, since 2026-01-01 12:00:00 UTC)" in refusal.value.message
    assert "ben on ci-runner-7 (process 7)" in refusal.value.message
    assert "taly show run-0abcde" in refusal.value.hint


def test_a_live_holder_keeps_it_for_many_leases(stage: Stage) -> None:
    lock, other = stage.lock(), stage.lock()
    lock.take(holding(lease_s=0.9))
    keeper = Keeper(lock, lease_s=0.9)
    last = time.monotonic() + 1.4
    while time.monotonic() < last:
        with pytest.raises(EnvironmentLocked):
            other.take(holding("run-000002"))
        lock.check()
    keeper.stop()


def test_what_is_free_is_taken_at_once_and_the_fence_grows(stage: Stage) -> None:
    waited: list[float] = []
    for number in range(1, 4):
        lock = stage.lock(sleep=waited.append)
        assert lock.take(holding()).fence == number
        lock.free()
    lock = stage.lock(sleep=waited.append)
    lock.take(holding())
    lock.leave()
    left = stage.lock(sleep=waited.append)
    assert left.read().verdict == "left"
    assert left.take(holding("run-000002")).fence == 5
    assert not waited


# A holder that died, or froze


def test_a_silent_holder_is_succeeded_only_after_its_whole_lease(stage: Stage) -> None:
    stage.lock().take(holding(lease_s=0.5))
    notices: list[str] = []
    other = stage.lock(notice=notices.append)
    began = monotonic_s()
    taken = other.take(holding("run-000002"))
    assert monotonic_s() - began >= 0.5 * PATIENCE
    assert taken.fence == 2
    assert "watching whether it lives, for at most" in notices[0]
    assert len(notices) == 1


def test_the_holder_s_own_lease_counts_whatever_the_taker_s(stage: Stage) -> None:
    stage.lock().take(holding(lease_s=0.6))
    began = monotonic_s()
    stage.lock().take(holding("run-000002", lease_s=0.05))
    assert monotonic_s() - began >= 0.6 * PATIENCE


def test_what_was_watched_once_is_not_watched_again(stage: Stage) -> None:
    stage.lock().take(holding(lease_s=0.3))
    other = stage.lock()
    assert other.look().verdict == "silent"
    began = monotonic_s()
    other.take(holding("run-000002"))
    assert monotonic_s() - began < 0.3


def test_a_frozen_holder_that_thaws_does_nothing_more(stage: Stage) -> None:
    frozen = stage.lock()
    frozen.take(holding(lease_s=0.2))
    stage.lock().take(holding("run-000002"))  # waits out the lease, then has it
    with pytest.raises(LeaseLost, match=r"run-000002 \(rollback"):
        frozen.check()
    with pytest.raises(LeaseLost):
        frozen.renew()
    frozen.free()  # not ours: nothing happens
    assert stage.lock().read().holding == replace(
        holding("run-000002"), fence=2, beat=1, nonce=_nonce(stage)
    )


def _nonce(stage: Stage) -> str:
    seen = stage.lock().read().holding
    assert seen is not None
    return seen.nonce


def test_a_machine_that_slept_goes_on_when_nobody_came(stage: Stage) -> None:
    offset = [0.0]
    lock = stage.lock(tick=lambda: monotonic_s() + offset[0])
    lock.take(holding(lease_s=20))
    offset[0] = HOUR_S
    lock.check()
    assert lock.age_s() < 20


def test_who_is_surely_dead_is_not_watched(stage: Stage) -> None:
    stage.lock().take(holding(lease_s=20))
    began = monotonic_s()
    taken = stage.lock().take(holding("run-000002"), lambda seen: seen.run == "run-000001")
    assert taken.fence == 2
    assert monotonic_s() - began < 5


# Clocks


@pytest.mark.parametrize("taker_is_ahead_s", [HOUR_S, -HOUR_S])
def test_an_hour_between_two_clocks_changes_nothing(stage: Stage, taker_is_ahead_s: float) -> None:
    """The clock on the wall is only shown; the ones that count start anywhere."""
    ahead = "13:00" if taker_is_ahead_s > 0 else "11:00"
    keeping = stage.lock()
    keeping.take(holding(lease_s=0.9))
    other = stage.lock(tick=lambda: monotonic_s() + taker_is_ahead_s)
    later = replace(holding("run-000002"), since=f"2026-01-01T{ahead}:00+00:00")
    keeper = Keeper(keeping, lease_s=0.9)
    with pytest.raises(EnvironmentLocked):
        other.take(later)
    keeper.stop()
    began = monotonic_s()
    other.take(later)
    assert monotonic_s() - began >= 0.9


def test_the_holder_is_done_before_the_taker_begins() -> None:
    """Even where one clock runs 5 % fast and the other 5 % slow."""
    acting_until = STALE_SHARE + 0.25  # journal.FRESH_SHARE
    assert acting_until * 1.05 < PATIENCE * 0.95
