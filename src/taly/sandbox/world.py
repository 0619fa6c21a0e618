"""What all emulated vendors share: the virtual clock, the journal of calls, the faults."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any


class VirtualClock:
    """Time in the sandbox: still while history is seeded, then `speed` times real time."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self._origin = datetime.now(UTC)
        self._at_unix: float | None = None
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The present virtual instant, in UTC."""
        with self._lock:
            if self._at_unix is None:
                return self._origin
            passed = (time.time() - self._at_unix) * self.speed
            return self._origin + timedelta(seconds=passed)

    @property
    def stands(self) -> bool:
        """Whether it stands still: history is being seeded."""
        with self._lock:
            return self._at_unix is None

    @contextmanager
    def earlier(self, seconds: float) -> Iterator[None]:
        """For the block stand that many seconds earlier; a clock that runs is left alone."""
        if not self.stands:
            yield
            return
        present = self.now()
        self.seek(present - timedelta(seconds=seconds))
        try:
            yield
        finally:
            self.seek(present)

    def seek(self, instant: datetime) -> None:
        """Stand still at that instant: used while history is seeded."""
        with self._lock:
            self._origin, self._at_unix = instant, None

    def run(self) -> None:
        """Start to run from where the clock stands."""
        with self._lock:
            self._at_unix = time.time()

    def advance(self, seconds: float) -> None:
        """Jump ahead by that many virtual seconds."""
        with self._lock:
            self._origin += timedelta(seconds=seconds)

    def set_speed(self, speed: float) -> None:
        """Change the pace without a jump."""
        now = self.now()
        with self._lock:
            self.speed = speed
            if self._at_unix is not None:
                self._origin, self._at_unix = now, time.time()

    def wait_until(self, instant: datetime) -> None:
        """Return once the clock has reached that instant (real waiting)."""
        while (left := (instant - self.now()).total_seconds()) > 0:
            time.sleep(min(0.25, max(0.005, left / self.speed)))

    def describe(self) -> dict[str, Any]:
        """What a client needs to run a clock in step with this one; speed 0 = it stands still."""
        with self._lock:
            stands = self._at_unix is None
            return {
                "origin": self._origin.isoformat(),
                "at_unix": time.time() if self._at_unix is None else self._at_unix,
                "speed": 0.0 if stands else self.speed,
            }


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request that an emulated vendor got."""

    number: int
    at: datetime
    """Virtual time."""
    vendor: str
    method: str
    target: str
    """The path with its query, or the AWS operation, e.g. `AppRunner.UpdateService`."""
    component: str
    """The sandbox component that it was about; empty when it was about none or several."""
    body: Any
    """The parsed request body, secrets replaced by `[redacted]`."""
    status: int
    wrote: bool
    """Whether the vendor's state changed because of it."""
    fault: str = ""
    """The kind of the fault that hit it; empty = none."""


class Journal:
    """Every request that any vendor got, in order of arrival."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._lock = threading.Lock()

    def add(self, **facts: Any) -> None:
        """Append a call; `facts` are the fields of Call without its number."""
        with self._lock:
            self._calls.append(Call(number=len(self._calls) + 1, **facts))

    def calls(self, after: int = 0) -> list[Call]:
        """The calls numbered above `after`."""
        with self._lock:
            return self._calls[after:]


@dataclass(slots=True, kw_only=True)
class Fault:
    """Something that goes wrong, `count` times, then no more.

    Kinds that the HTTP layer does itself: `refuse` (status given in `status`, before anything is
    applied), `lose-request` (connection closed, nothing applied), `lose-reply` (applied, then the
    connection closed), `delay` (`seconds` real seconds). All others belong to one emulator, which
    documents them.
    """

    component: str = ""
    """Only requests about this component; empty = any."""
    vendor: str = ""
    """Only this vendor; empty = any."""
    call: str = ""
    """Only calls whose target contains this text; empty = any."""
    kind: str
    count: int = 1
    status: int = 503
    seconds: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)


HTTP_FAULTS = frozenset({"refuse", "lose-request", "lose-reply", "delay"})


class Faults:
    """The faults that wait to happen."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Arm a fault."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Disarm all."""
        with self._lock:
            self._faults.clear()

    def take(
        self, *, vendor: str, component: str, call: str, kinds: frozenset[str]
    ) -> Fault | None:
        """Use up one armed fault of one of these kinds that fits, or None."""
        with self._lock:
            for fault in self._faults:
                if (
                    fault.count > 0
                    and fault.kind in kinds
                    and fault.vendor in ("", vendor)
                    and fault.component in ("", component)
                    and fault.call in call
                ):
                    fault.count -= 1
                    return fault
        return None

    def armed(self) -> list[Fault]:
        """Those not used up."""
        with self._lock:
            return [fault for fault in self._faults if fault.count > 0]


@dataclass(slots=True, kw_only=True)
class World:
    """What every emulated vendor is given."""

    clock: VirtualClock
    journal: Journal = field(default_factory=Journal)
    faults: Faults = field(default_factory=Faults)
    secrets: set[str] = field(default_factory=set)
    """Values that the journal replaces by `[redacted]` wherever they stand."""
