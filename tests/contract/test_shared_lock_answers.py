"""Answers that S3 does not give, or gives late: to a taking, a renewal, a release."""

import threading
import time

import pytest
from shared_stage import BUCKET, LOCK, Stage, holding, served, stage, until

from taly.aws import AwsClients
from taly.engine.journal import monotonic_s
from taly.engine.shared.keeper import Keeper
from taly.engine.shared.lock import STALE_SHARE, EnvironmentLock
from taly.errors import LeaseLost, OutcomeUnknown, UsageError

__all__ = ["served", "stage"]


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


def renewed_without_an_answer(stage: Stage) -> tuple[EnvironmentLock, list[float]]:
    """A lock held for 100 seconds, and by how much its clock is ahead."""
    offset = [0.0]
    lock = stage.lock(tick=lambda: monotonic_s() + offset[0])
    lock.take(holding(lease_s=100))
    stage.fault("lose-reply")
    with pytest.raises(OutcomeUnknown):
        lock.renew()
    return lock, offset


def test_a_renewal_that_was_not_answered_counts_from_when_it_was_first_sent(stage: Stage) -> None:
    lock, offset = renewed_without_an_answer(stage)
    offset[0] = 60.0
    lock.renew()
    assert lock.age_s() >= 60


def test_finding_an_old_write_applied_is_no_fresh_renewal(stage: Stage) -> None:
    """Found by the model: whoever saw that write long ago may take the lock now."""
    lock, offset = renewed_without_an_answer(stage)
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
