"""Many waiting jobs on few threads.

A job is a generator: it yields the seconds it wants to wait, and holds no thread while it waits.
A thousand components under way so need no thousand threads.
"""

import heapq
import itertools
import queue
import threading
from collections.abc import Callable, Generator
from typing import Protocol, TypeVar

from taly.model.ports import Clock

Result = TypeVar("Result")
Job = Generator[float, None, Result]
"""Yields waits in the clock's seconds; returns its result."""

MAX_THREADS = 96
TICK_S = 0.25
"""The longest that a due job may go unnoticed, in the clock's seconds."""

_Turn = Callable[[], float | None]
"""Runs a job until it waits: for how long, or None once it has ended and its end was heard."""


def run_alone(job: Job[Result], clock: Clock) -> Result:
    """Run one job to its end in this thread."""
    while True:
        try:
            seconds = next(job)
        except StopIteration as end:
            result: Result = end.value
            return result
        clock.sleep(seconds)


class Spawner(Protocol):
    """What runs jobs side by side: threads, or the simulator in virtual time."""

    def spawn(self, job: Job[Result], then: Callable[[Result | BaseException], None]) -> None:
        """Begin a job; `then` gets its result, or what it raised."""
        ...

    def close(self) -> None:
        """Begin nothing more."""
        ...


class Tasks:
    """Runs jobs on daemon threads, so that a process told to leave never waits for a vendor."""

    def __init__(self, clock: Clock, max_threads: int = MAX_THREADS) -> None:
        self._clock = clock
        self._max_threads = max_threads
        self._ready: queue.SimpleQueue[_Turn | None] = queue.SimpleQueue()
        self._waiting: list[tuple[float, int, _Turn]] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._work = threading.Event()
        self._idle = self._threads = 0
        self._closed = False
        self._thread(self._keep_time)

    def spawn(self, job: Job[Result], then: Callable[[Result | BaseException], None]) -> None:
        """Begin a job; `then` gets its result, or what it raised, in the job's last thread."""

        def turn() -> float | None:
            try:
                return next(job)
            except StopIteration as end:
                then(end.value)
            except BaseException as error:
                then(error)
            return None

        self._make_ready(turn)

    def close(self) -> None:
        """Begin nothing more; jobs that wait are dropped, those that run end unheard."""
        with self._lock:
            self._closed = True
            threads = self._threads
            self._waiting.clear()
        self._work.set()
        for _ in range(threads):
            self._ready.put(None)

    def _thread(self, target: Callable[[], None]) -> None:
        threading.Thread(target=target, daemon=True, name="taly-engine").start()

    def _make_ready(self, turn: _Turn) -> None:
        with self._lock:
            if self._closed:
                return
            self._ready.put(turn)
            if self._ready.qsize() <= self._idle or self._threads >= self._max_threads:
                return
            self._threads += 1
        try:
            self._thread(self._run_ready)
        except RuntimeError:  # the machine gives no more threads: those that there are go on
            with self._lock:
                self._threads -= 1
                if not self._threads:
                    raise
                self._max_threads = self._threads

    def _run_ready(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            turn = self._ready.get()
            with self._lock:
                self._idle -= 1
            if turn is None:
                return
            self._advance(turn)

    def _advance(self, turn: _Turn) -> None:
        began = self._clock.monotonic()
        wait_s = turn()
        if wait_s is None:
            return
        with self._lock:
            if not self._closed:
                heapq.heappush(self._waiting, (began + wait_s, next(self._numbers), turn))
        self._work.set()

    def _keep_time(self) -> None:
        while not self._closed:
            with self._lock:
                now = self._clock.monotonic()
                due = []
                while self._waiting and self._waiting[0][0] <= now:
                    due.append(heapq.heappop(self._waiting)[2])
                left = self._waiting[0][0] - now if self._waiting else None
                if left is None:
                    self._work.clear()
            for turn in due:
                self._make_ready(turn)
            if left is None:
                self._work.wait()
            else:
                self._clock.sleep(min(left, TICK_S))
