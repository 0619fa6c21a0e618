"""Renews a lock in the background for as long as its run is worked on."""

import threading
from collections.abc import Callable

from taly.engine.shared.lock import EnvironmentLock
from taly.errors import LeaseLost, TalyError

RENEWED_SHARE = 1 / 3
"""A lock is renewed this often, in leases."""
AGAIN_SHARE = 0.05
"""After a renewal that was not answered the next comes this soon, in leases."""


class Keeper:
    """One thread that keeps one lock; it stops for good when the lock is lost."""

    def __init__(
        self,
        lock: EnvironmentLock,
        *,
        lease_s: float,
        also: Callable[[], None] = lambda: None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """`also` is done after each renewal; it must not take long.

        Nothing is renewed any more once the lock is not `wanted`.
        """
        self._lock, self._lease_s, self._also, self._wanted = lock, lease_s, also, wanted
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="taly-shared-lock")
        self._thread.start()

    def stop(self) -> None:
        """Renew no more; returns when the renewal that is under way has ended."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=self._lease_s)

    def _keep(self) -> None:
        pause_s = self._lease_s * RENEWED_SHARE
        while not self._stop.wait(pause_s) and self._wanted():
            try:
                self._lock.renew()
                self._also()
                pause_s = self._lease_s * RENEWED_SHARE
            except LeaseLost:
                return  # whoever acts under the lock is told by `EnvironmentLock.check`
            except TalyError:
                pause_s = self._lease_s * AGAIN_SHARE
