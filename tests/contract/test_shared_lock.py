"""The lock in S3: two machines, answers that are lost, clocks that lie, processes that freeze."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from shared_stage import BUCKET, LOCK, Stage, holding, shared_stage, until

from taly.aws import AwsClients
from taly.engine.journal import monotonic_s
from taly.engine.shared.keeper import Keeper
from taly.engine.shared.lock import PATIENCE, STALE_SHARE, EnvironmentLock
from taly.engine.shared.objects import Changed
from taly.errors import EnvironmentLocked, LeaseLost, OutcomeUnknown, UsageError

ROOT = Path(__file__).parents[2]
HOUR_S = 3600.0


@pytest.fixture(scope="module")
def served() -> Iterator[Stage]:
    with shared_stage() as stage:
        yield stage


@pytest.fixture
def stage(served: Stage) -> Stage:
    served.world.faults.clear()
    client = AwsClients(served.environ).client("s3", "")
    for one in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        client.delete_object(Bucket=BUCKET, Key=one["Key"])
    return served


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


# Answers that do not come


def test_a_lost_answer_to_the_taking_is_recognised_as_our_own(stage: Stage) -> None:
    stage.fault("lose-reply")
    lock = stage.lock()
    assert lock.take(holding()).fence == 1
    lock.check()
    lock.renew()
    assert len([one for one in stage.calls(LOCK) if one.wrote]) >= 2


def test_a_lost_answer_to_a_take_over_is_recognised_too(stage: Stage) -> None:
    stage.lock().take(holding(lease_s=0.2))
    stage.fault("lose-reply")
    assert stage.lock().take(holding("run-000002")).fence == 2


def test_a_lost_request_is_sent_again(stage: Stage) -> None:
    stage.fault("lose-request")
    assert stage.lock().take(holding()).fence == 1


def test_a_lost_answer_to_a_renewal_is_no_lost_lock(stage: Stage) -> None:
    lock = stage.lock()
    lock.take(holding(lease_s=20))
    stage.fault("lose-reply")
    with pytest.raises(OutcomeUnknown):
        lock.renew()
    lock.renew()
    lock.renew()
    held = lock.held
    assert held is not None
    assert held.beat == 3


def test_a_lost_answer_to_the_release_is_no_held_lock(stage: Stage) -> None:
    lock = stage.lock()
    lock.take(holding())
    stage.fault("lose-reply")
    with pytest.raises(OutcomeUnknown):
        lock.renew()
    lock.free()
    assert stage.lock().read().verdict == "free"


def test_who_lets_go_and_is_not_answered_acts_no_more(stage: Stage) -> None:
    """Found by the model: others may have it already."""
    lock = stage.lock()
    lock.take(holding(lease_s=20))
    stage.fault("lose-reply")
    with pytest.raises(OutcomeUnknown):
        lock.free()
    stage.lock().take(holding("run-000002"))
    with pytest.raises(LeaseLost, match="was let go"):
        lock.check()
    lock.renew()
    lock.free()
    assert stage.lock().read().verdict == "alive"


def test_a_renewal_that_was_not_answered_counts_from_when_it_was_first_sent(stage: Stage) -> None:
    offset = [0.0]
    lock = stage.lock(tick=lambda: monotonic_s() + offset[0])
    lock.take(holding(lease_s=100))
    stage.fault("lose-reply")
    with pytest.raises(OutcomeUnknown):
        lock.renew()
    offset[0] = 60.0
    lock.renew()
    assert lock.age_s() >= 60


def test_finding_an_old_write_applied_is_no_fresh_renewal(stage: Stage) -> None:
    """Found by the model: whoever saw that write long ago may take the lock now."""
    offset = [0.0]
    lock = stage.lock(tick=lambda: monotonic_s() + offset[0])
    lock.take(holding(lease_s=100))
    stage.fault("lose-reply")
    with pytest.raises(OutcomeUnknown):
        lock.renew()
    offset[0] = 90.0
    lock.check()
    assert lock.age_s() < 10
    held = lock.held
    assert held is not None
    assert held.beat == 3


def test_a_taking_that_was_not_answered_counts_from_when_it_was_first_sent(stage: Stage) -> None:
    offset = [0.0]

    def a_minute(_: float) -> None:
        offset[0] += 60.0

    lock = stage.lock(tick=lambda: monotonic_s() + offset[0], sleep=a_minute)
    stage.fault("lose-reply")
    lock.take(holding(lease_s=100))
    assert lock.age_s() >= 60


@pytest.mark.parametrize(
    ("status", "code"),
    [(409, "ConditionalRequestConflict"), (503, "SlowDown"), (500, "InternalError")],
)
def test_what_passes_is_tried_again(stage: Stage, status: int, code: str) -> None:
    stage.fault("refuse", status=status, code=code)
    lock = stage.lock()
    lock.take(holding(lease_s=20))
    stage.fault("refuse", status=409, code="ConditionalRequestConflict")
    lock.renew()
    lock.check()
    assert lock.held is not None


def test_a_blip_costs_a_keeper_nothing(stage: Stage) -> None:
    lock = stage.lock()
    lock.take(holding(lease_s=0.6))
    stage.fault("refuse", count=3, status=503, code="SlowDown")
    keeper = Keeper(lock, lease_s=0.6)
    until(lambda: lock.held is not None and lock.held.beat >= 3)
    keeper.stop()
    lock.check()


def test_without_s3_nothing_is_taken(stage: Stage) -> None:
    stage.fault("lose-request", call="", count=99)
    with pytest.raises(OutcomeUnknown) as refusal:
        stage.lock(sleep=lambda _: None).take(holding())
    assert refusal.value.reference == "shared-unreachable"


def test_without_s3_nobody_acts_beyond_the_lease(stage: Stage) -> None:
    offset = [0.0]
    lock = stage.lock(tick=lambda: monotonic_s() + offset[0])
    lock.take(holding(lease_s=20))
    stage.fault("lose-request", call="", count=99)
    offset[0] = 20 * STALE_SHARE - 1
    lock.check()  # fresh: S3 is not even asked
    offset[0] = 20 * STALE_SHARE + 1
    with pytest.raises(OutcomeUnknown, match="could not be renewed for 15 s") as stopped:
        lock.check()
    assert stopped.value.reference == "shared-unreachable"
    assert "taly resume run-000001" in stopped.value.message


def test_credentials_that_ran_out_stop_a_run_as_silence_does(stage: Stage) -> None:
    """The run is under way: it is no user's mistake, and it can be resumed."""
    offset = [0.0]
    lock = stage.lock(tick=lambda: monotonic_s() + offset[0])
    lock.take(holding(lease_s=20))
    stage.fault("refuse", count=99, status=403, code="ExpiredToken")
    offset[0] = 15
    with pytest.raises(OutcomeUnknown, match="ExpiredToken"):
        lock.check()
    with pytest.raises(UsageError, match="ExpiredToken") as refusal:
        stage.lock().take(holding("run-000002"), lambda _: True)
    assert refusal.value.reference == "shared-refused"


def test_a_lock_that_somebody_removed_is_lost(stage: Stage) -> None:
    lock = stage.lock()
    lock.take(holding())
    AwsClients(stage.environ).client("s3", "").delete_object(
        Bucket=BUCKET, Key="taly/production/lock.json"
    )
    with pytest.raises(LeaseLost, match="was removed"):
        lock.renew()


@pytest.mark.parametrize("body", [b"hello", b"[]", b'{"format_version": 99}', b"{}"])
def test_an_object_that_is_no_lock_is_never_overwritten(stage: Stage, body: bytes) -> None:
    stage.objects().put("production/lock.json", body, over=None)
    with pytest.raises(UsageError) as refusal:
        stage.lock().take(holding())
    assert refusal.value.reference == "shared-unreadable"


def test_many_threads_check_while_it_is_renewed(stage: Stage) -> None:
    lock: EnvironmentLock = stage.lock()
    lock.take(holding(lease_s=0.3))
    keeper = Keeper(lock, lease_s=0.3)
    errors: list[BaseException] = []

    def check() -> None:
        try:
            for _ in range(50):
                lock.check()
                time.sleep(0.005)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=check) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    keeper.stop()
    assert not errors
