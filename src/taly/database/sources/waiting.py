"""Ask a vendor again and again, and tell somebody meanwhile."""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from taly.errors import VendorUnavailable
from taly.model.ports import Clock

POLL_S = 15.0
SLICE_S = 0.5

T = TypeVar("T")


def until(
    look: Callable[[], T | None],
    *,
    clock: Clock,
    tell: Callable[[], object],
    limit_s: float,
    what: str,
    poll_s: float = POLL_S,
) -> T:
    """The first answer that `look` gives; raises VendorUnavailable when it gives none in time.

    A vendor who does not answer for a while is asked again, until the limit.
    """
    end = clock.now() + timedelta(seconds=limit_s)
    while True:
        failed: VendorUnavailable | None = None
        try:
            found = look()
        except VendorUnavailable as error:
            found, failed = None, error
        if found is not None:
            return found
        if clock.now() >= end:
            raise failed or VendorUnavailable(
                f"{what}: not within {limit_s / 60:,.0f} minutes",
                reference="rds-too-slow",
                hint="taly status",
            )
        pause(clock, poll_s, tell)


def pause(clock: Clock, seconds: float, tell: Callable[[], object]) -> None:
    """Wait, telling often. A clock that stands (a sandbox replays its past) is not waited for."""
    begun = clock.monotonic()
    while True:
        tell()
        before = clock.monotonic()
        clock.sleep(SLICE_S)
        now = clock.monotonic()
        if now - begun >= seconds or now <= before:
            return
