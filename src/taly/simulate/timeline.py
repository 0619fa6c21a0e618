"""Virtual time: one thread, one queue of what is due, and simulated processes that die or freeze.

A call that takes long (a slow vendor, a frozen process) does not give its thread back: while it
blocks, what else is due runs inside it. So one thread plays many, and always in the same order.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""Second 0 of every simulation."""
MAX_EVENTS = 20_000
"""What a whole simulation may take: more is an endless loop."""
MAX_DEPTH = 12
"""Calls that block inside each other; one more lets time pass and nobody else run."""


class Killed(BaseException):
    """The simulated process dies here."""


class Endless(BaseException):
    """The simulation does not come to an end."""


class Broken(BaseException):
    """The simulator itself is wrong: no handler of taly's may hide that."""


@dataclass(slots=True, eq=False)
class Process:
    """One simulated operating-system process."""

    pid: int
    machine: str
    skew_s: float
    """How far its wall clock is ahead of the true time."""
    alive: bool = True
    frozen_until: float = 0.0
    in_store: bool = False
    """Whether a call of its is blocked in the store: its other threads cannot go on either."""
    held: list[Callable[[], None]] = field(default_factory=list)
    """What they were to do meanwhile."""

    @property
    def name(self) -> str:
        """As the trace calls it."""
        return f"p{self.pid}"


class Timeline:
    """What is due when. Everything random was drawn before: here is only order."""

    def __init__(self) -> None:
        """Begin at second 0."""
        self.now = 0.0
        self.current: Process | None = None
        """The process whose code runs; None = the world itself."""
        self._due: list[tuple[float, int, Process | None, Callable[[], None]]] = []
        self._count = 0
        self._events = 0
        self._depth = 0

    def after(self, seconds: float, do: Callable[[], None], process: Process | None = None) -> None:
        """Do it then, unless its process is dead by then; a frozen one does it when it thaws."""
        self._push(self.now + seconds, process, do)

    def run_until(self, instant: float) -> None:
        """Let everything happen that is due by then."""
        while self._due and self._due[0][0] <= instant:
            self._step()
        self.now = max(self.now, instant)

    def run_while(self, busy: Callable[[], bool], *, until: float) -> None:
        """Let things happen one after the other while `busy` says so, at most until then."""
        while busy() and self._due and self._due[0][0] <= until:
            self._step()

    def block(self, seconds: float) -> None:
        """The running code waits here, its thread with it; Killed if its process dies meanwhile."""
        process, until = self.current, self.now + seconds
        self._depth += 1
        try:
            while True:
                until = max(until, process.frozen_until if process else 0.0)
                if self._depth > MAX_DEPTH or not self._due or self._due[0][0] > until:
                    break
                self._step()
        finally:
            self._depth -= 1
            self.current = process
        self.now = max(self.now, until)
        if process is not None and not process.alive:
            raise Killed

    def freeze(self, seconds: float) -> None:
        """The running process stands still, all its threads; Killed if it dies meanwhile."""
        assert self.current is not None, "only a process freezes"
        self.current.frozen_until = self.now + seconds
        self.block(seconds)

    def freeze_in_store(self, seconds: float) -> None:
        """The same, in the middle of a call of the store, which lets none of its threads go on."""
        process = self.current
        assert process is not None, "only a process freezes"
        process.in_store = True
        try:
            self.freeze(seconds)
        finally:
            process.in_store = False
            for do in process.held:
                self.after(0.0, do, process)
            process.held.clear()

    def die(self) -> None:
        """The running process is gone."""
        assert self.current is not None, "only a process dies"
        self.current.alive = False
        raise Killed

    def _push(self, due: float, process: Process | None, do: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (due, self._count, process, do))

    def _step(self) -> None:
        due, _, process, do = heapq.heappop(self._due)
        self.now = max(self.now, due)
        if process is not None and not process.alive:
            return
        if process is not None and process.in_store:
            process.held.append(do)
            return
        if process is not None and process.frozen_until > self.now:
            self._push(process.frozen_until, process, do)
            return
        self._events += 1
        if self._events > MAX_EVENTS:
            raise Endless(f"more than {MAX_EVENTS} events, at second {self.now:.0f}")
        before, self.current = self.current, process
        try:
            do()
        except Exception as error:
            raise Broken(f"{type(error).__name__}: {error}") from error
        finally:
            self.current = before


class SimClock:
    """A process's clock: its wall time may be wrong, its seconds are right."""

    def __init__(self, timeline: Timeline, process: Process) -> None:
        """Follow the timeline, as that process sees it."""
        self._timeline, self._process = timeline, process

    def now(self) -> datetime:
        """The instant, as wrong as this machine's clock."""
        return instant(self._timeline.now + self._process.skew_s)

    def monotonic(self) -> float:
        """True seconds."""
        return self._timeline.now

    def sleep(self, seconds: float) -> None:
        """Wait, while others go on."""
        self._timeline.block(max(0.0, seconds))


def instant(second: float) -> datetime:
    """The true instant of that second."""
    return NOON + timedelta(seconds=second)
