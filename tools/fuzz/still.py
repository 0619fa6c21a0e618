"""Time for those who only read."""

from datetime import datetime


class Still:
    """A clock that nobody waits for."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        """Always the same instant."""
        return self._at

    def monotonic(self) -> float:
        """Always the same."""
        return self._at.timestamp()

    def sleep(self, seconds: float) -> None:
        """At once."""
