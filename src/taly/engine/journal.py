"""The pen of one lease: many threads append, one commit writes for all of them, in order."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from taly.engine.redaction import cleaned
from taly.engine.store.port import Lease, Store
from taly.errors import LeaseLost
from taly.model.events import Event, Recorded
from taly.model.ports import Clock

FRESH_SHARE = 0.25
"""Share of the lease for which nobody can have taken over since an append, with room to spare."""


def monotonic_s() -> float:
    """Real seconds that go on while this process, or the machine, is asleep."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


@dataclass(slots=True)
class _Entry:
    event: Event
    recorded: Recorded | None = None
    error: BaseException | None = None


class Journal:
    """Appends the events of one run under one lease."""

    def __init__(
        self,
        *,
        store: Store,
        lease: Lease,
        clock: Clock,
        after: int,
        on_event: Callable[[Recorded], None],
        tick: Callable[[], float] = monotonic_s,
    ) -> None:
        """`after` is the last number known; `on_event` hears each event once it is durable.

        It must not raise.
        """
        self.lease = lease
        self.tick = tick
        self._store = store
        self._clock = clock
        self._last = after
        self._on_event = on_event
        self._pending: list[_Entry] = []
        self._pending_lock = threading.Lock()
        self._writing = threading.Lock()
        self._lost: BaseException | None = None
        self.told_to_stop = self.cancelled = False

    def append(self, event: Event) -> Recorded:
        """Return once the event is on disk; LeaseLost when the run is another process's now.

        Whoever comes while a commit is under way is written, with all others that came, by the
        next one: a thousand steps cost tens of disk flushes, not thousands.
        """
        entry = _Entry(cleaned(event))
        with self._pending_lock:
            self._pending.append(entry)
        with self._writing:
            if entry.recorded is None and entry.error is None:
                self._write_pending()
        if entry.recorded is None:
            raise entry.error or AssertionError("unreachable: an entry is written or failed")
        return entry.recorded

    def stop(self, *, for_good: bool) -> None:
        """Tell writes that take long to end early; for good, or to be resumed."""
        self.told_to_stop = True
        self.cancelled = self.cancelled or for_good

    def lose(self, why: BaseException) -> None:
        """Append nothing from now on: the lease is lost, or the store is out of reach."""
        self._lost = self._lost or why

    def check(self) -> None:
        """Raise what `lose` was told, if it was."""
        if self._lost is not None:
            raise self._lost

    def is_fresh(self, since: float) -> bool:
        """Whether an append begun at `tick` = since still keeps everybody else out."""
        return self.tick() - since <= self.lease.lease_s * FRESH_SHARE

    def _write_pending(self) -> None:
        with self._pending_lock:
            batch, self._pending = self._pending, []
        try:
            self.check()
            at = self._clock.now()
            written = self._store.append(
                self.lease, [(at, entry.event) for entry in batch], after=self._last
            )
        except BaseException as error:
            self.lose(error)
            for entry in batch:
                entry.error = error
            return
        self._last += len(batch)
        for entry, recorded in zip(batch, written, strict=True):
            entry.recorded = recorded
            self._on_event(recorded)


class Heartbeat:
    """Keeps a lease while its run is worked on, and listens for a request to stop."""

    LISTEN_S = 0.5

    def __init__(self, *, store: Store, journal: Journal, on_cancel: Callable[[str], None]) -> None:
        self._store = store
        self._journal = journal
        self._on_cancel = on_cancel
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="taly-heartbeat")

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def _beat(self) -> None:
        for pause_s in self.beats():
            if self._stop.wait(pause_s):
                return

    def beats(self) -> Iterator[float]:
        """Listen and renew, each time after the real seconds that are yielded; ends when lost."""
        lease = self._journal.lease
        every_s = lease.lease_s / 3
        renewed, heard = self._journal.tick(), False
        while True:
            yield min(self.LISTEN_S, every_s)
            try:
                if not heard and (by := self._store.cancel_requested_by(lease.run_id)):
                    heard = True
                    self._on_cancel(by)
                if self._journal.tick() - renewed >= every_s:
                    self._store.renew(lease)
                    renewed = self._journal.tick()
            except (Exception, LeaseLost) as error:
                if not self._stop.is_set():  # else the run has just ended and unlocked by itself
                    self._journal.lose(error)
                return
