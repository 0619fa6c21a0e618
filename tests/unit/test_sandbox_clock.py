"""The sandbox's clock, and the one that taly keeps in step with it."""

import io
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest

from taly.app.context import sandbox_clock
from taly.clock import ScaledClock
from taly.errors import UsageError
from taly.sandbox.world import VirtualClock

T0 = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def test_while_the_past_is_replayed_it_stands_for_everybody() -> None:
    """CI's checkpoints of the past are stamped with the instant at which the clock stands."""
    clock = VirtualClock(speed=100_000)
    clock.seek(T0)
    assert clock.stands
    ours = ScaledClock.in_step(clock.describe())
    assert ours.now() == ours.now() == T0
    ours.sleep(0.01)
    assert ours.now() == T0


def test_once_it_runs_everybody_is_in_step() -> None:
    clock = VirtualClock(speed=1000)
    clock.seek(T0)
    clock.run()
    assert not clock.stands
    assert clock.describe()["speed"] == 1000
    assert abs(ScaledClock.in_step(clock.describe()).now() - clock.now()) < timedelta(seconds=60)


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


@pytest.mark.parametrize("said", ["{}", "[]", "no JSON", '{"origin": 5, "at_unix": 1, "speed": 1}'])
def test_what_answers_there_and_is_no_sandbox_is_told_of(
    said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(said.encode()))
    with pytest.raises(UsageError) as caught:
        sandbox_clock("http://127.0.0.1:4666")
    assert caught.value.reference == "sandbox-down"
