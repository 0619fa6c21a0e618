"""The sandbox's clock, and the one that taly keeps in step with it."""

from datetime import UTC, datetime, timedelta

import pytest

from taly.clock import ScaledClock
from taly.sandbox.world import VirtualClock

T0 = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def in_step(clock: VirtualClock) -> ScaledClock:
    said = clock.describe()
    return ScaledClock(
        origin=datetime.fromisoformat(said["origin"]), at_unix=said["at_unix"], speed=said["speed"]
    )


def test_while_the_past_is_replayed_it_stands_for_everybody() -> None:
    """CI's checkpoints of the past are stamped with the instant at which the clock stands."""
    clock = VirtualClock(speed=100_000)
    clock.seek(T0)
    assert clock.stands
    ours = in_step(clock)
    assert ours.now() == ours.now() == T0
    ours.sleep(0.01)
    assert ours.now() == T0


def test_once_it_runs_everybody_is_in_step() -> None:
    clock = VirtualClock(speed=1000)
    clock.seek(T0)
    clock.run()
    assert not clock.stands
    assert clock.describe()["speed"] == 1000
    assert abs(in_step(clock).now() - clock.now()) < timedelta(seconds=60)


def test_a_moment_earlier_and_back() -> None:
    clock = VirtualClock(speed=10)
    clock.seek(T0)
    with clock.earlier(60):
        assert clock.now() == T0 - timedelta(minutes=1)
    assert clock.now() == T0
    with pytest.raises(RuntimeError, match="inside"), clock.earlier(60):
        raise RuntimeError("inside")
    assert clock.now() == T0


def test_a_clock_that_runs_goes_back_for_nobody() -> None:
    clock = VirtualClock(speed=1000)
    clock.seek(T0)
    clock.run()
    before = clock.now()
    with clock.earlier(3600):
        assert clock.now() >= before
