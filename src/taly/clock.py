"""The clocks that taly runs on: the machine's own, and the sandbox's faster one."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Self


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """The present instant, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        time.sleep(max(0.0, seconds))


class ScaledClock:
    """A clock that runs `speed` times as fast as the machine's, from a known instant.

    The sandbox and every taly process that talks to it share one, so that an update that takes an
    App Runner service five minutes takes three seconds at speed 100 and still reads `5m 00s`.
    """

    MIN_SLEEP_S = 0.02
    """Real seconds: keeps a poll loop on a very fast clock from spinning."""

    def __init__(self, *, origin: datetime, at_unix: float, speed: float) -> None:
        """Start from `origin`, which the clock showed at the real Unix second `at_unix`.

        At `speed` 0 it stands still: the sandbox is replaying its past.
        """
        self._origin = origin
        self._at_unix = at_unix
        self.speed = speed

    @classmethod
    def in_step(cls, said: Mapping[str, Any]) -> Self:
        """A clock in step with one that describes itself so: its `origin`, `at_unix` and `speed`.

        LookupError, TypeError or ValueError when it says something else.
        """
        origin = datetime.fromisoformat(said["origin"])
        return cls(origin=origin, at_unix=float(said["at_unix"]), speed=float(said["speed"]))

    def now(self) -> datetime:
        """The present instant on this clock, in UTC."""
        return self._origin + timedelta(seconds=(time.time() - self._at_unix) * self.speed)

    def monotonic(self) -> float:
        """This clock's seconds, never going back."""
        return time.monotonic() * self.speed

    def sleep(self, seconds: float) -> None:
        """Return after that many of this clock's seconds."""
        time.sleep(max(self.MIN_SLEEP_S, seconds / self.speed if self.speed else 0.0))
