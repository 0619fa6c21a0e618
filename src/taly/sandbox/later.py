"""Does what the scenario has in store, each thing when the virtual clock reaches it."""

import threading
from collections.abc import Iterable

from taly.sandbox.timeline import Happening
from taly.sandbox.world import VirtualClock

LOOK_S = 0.25
"""Real seconds: the clock may jump or change its pace, so it is looked at again."""


class Later:
    """A thread that waits for happenings; each is done in a thread of its own."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._waiting: list[Happening] = []
        self._problems: list[str] = []
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="sandbox-later", daemon=True)

    def start(self, happenings: Iterable[Happening]) -> None:
        """Begin to wait for these, which are in time order."""
        self._waiting = list(happenings)
        self._thread.start()

    def stop(self) -> None:
        """Do nothing more."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def waiting(self) -> list[Happening]:
        """What has not happened yet, soonest first."""
        with self._lock:
            return list(self._waiting)

    def problems(self) -> list[str]:
        """What was due and could not be done, with the reason."""
        with self._lock:
            return list(self._problems)

    def _run(self) -> None:
        while not self._ended.is_set() and (waiting := self.waiting()):
            left_s = (waiting[0].at - self._clock.now()).total_seconds()
            if left_s > 0:
                self._ended.wait(min(LOOK_S, max(0.005, left_s / self._clock.speed)))
                continue
            with self._lock:
                due = self._waiting.pop(0)
            threading.Thread(target=self._do, args=(due,), daemon=True).start()

    def _do(self, due: Happening) -> None:
        try:
            due.do()
        except Exception as error:
            with self._lock:
                self._problems.append(f"{due.what}: {type(error).__name__}: {error}")
