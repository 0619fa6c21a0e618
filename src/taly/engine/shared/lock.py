"""The environment's lock where all machines see it: one object, written under conditions only.

No clock is compared with another machine's. A holder counts from before it sent its latest write
that counts, a taker from after it first read that write, each by its own monotonic clock: however
their clocks stand, the holder is done before the taker begins. docs/adr/0034 has the argument.
"""

import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from taly.engine.journal import monotonic_s
from taly.engine.shared.holding import Holding, from_json, held_by, locked, to_json
from taly.engine.shared.objects import Changed, Objects, Stored, unreachable
from taly.errors import LeaseLost, OutcomeUnknown, TalyError

PATIENCE = 1.1
"""A taker waits for this many leases: quartz clocks that differ by 10 % would be broken."""
STALE_SHARE = 0.7
"""Share of the lease after which a holder renews before it does anything. What is begun then is
sent within another quarter (`journal.FRESH_SHARE`): before the lease is over."""
POLL_SHARE = 0.05
"""A watcher looks this often, in leases."""
ATTEMPTS = 3
"""Times that a taking is sent, when there was no answer."""

Verdict = Literal["free", "left", "silent", "alive"]


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of the lock."""

    verdict: Verdict
    """free: nobody's. left: its holder said that it works no more. silent: nothing was heard of
    its holder for a whole lease. alive: something was."""
    holding: Holding | None
    tag: str | None

    @property
    def may_be_taken(self) -> bool:
        """Whether another process may take it now."""
        return self.verdict != "alive"


class EnvironmentLock:
    """The lock of one environment, as one process sees and holds it."""

    def __init__(
        self,
        objects: Objects,
        environment: str,
        *,
        tick: Callable[[], float] = monotonic_s,
        sleep: Callable[[float], None] = time.sleep,
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`tick` counts real seconds on while this machine sleeps. `notice` hears of waits."""
        self._objects, self._environment = objects, environment
        self._key = f"{environment}/lock.json"
        self._tick, self._sleep, self._notice = tick, sleep, notice
        self._mutex = threading.Lock()
        self._heard: tuple[str, float] = ("", 0.0)
        """The tag that was read last, and when it was read first."""
        self._mine: Holding | None = None
        self._tag = ""
        self._at = 0.0
        """When the write was sent that holds the lock now."""
        self._sending: tuple[Holding, float] | None = None
        """A write whose answer has not come, and when it was first sent."""
        self._lost: LeaseLost | None = None
        self._ending = False
        """Whether others may have been told to take it, though no answer came."""

    @property
    def held(self) -> Holding | None:
        """What we hold, as we wrote it last."""
        return self._mine

    def read(self) -> Look:
        """What the lock says now, without waiting to see whether its holder lives."""
        stored = self._objects.get(self._key)
        if stored is None:
            return Look("free", None, None)
        holding = self._parsed(stored)
        if stored.tag != self._heard[0]:
            self._heard = (stored.tag, self._tick())
        verdict: Verdict = "alive"
        if holding.state != "held":
            verdict = holding.state
        elif self._tick() - self._heard[1] >= holding.lease_s * PATIENCE:
            verdict = "silent"
        return Look(verdict, holding, stored.tag)

    def look(self, gone: Callable[[Holding], bool] = lambda _: False) -> Look:
        """The same, having watched a holder until it gave a sign, or for a whole lease.

        `gone` knows of a holder that is surely dead, or is ourselves.
        """
        first = self.read()
        look, told = first, False
        while look.verdict == "alive" and look.holding is not None:
            if look.tag != first.tag:
                return look
            if gone(look.holding):
                return replace(look, verdict="silent")
            if not told:
                told = True
                self._notice(_watching(self._environment, look.holding))
            self._sleep(look.holding.lease_s * POLL_SHARE)
            look = self.read()
        return look

    def take(self, wanted: Holding, gone: Callable[[Holding], bool] = lambda _: False) -> Holding:
        """Take the lock; `wanted` says for whom, its fence and nonce are made here.

        Raises EnvironmentLocked, which names who holds it; OutcomeUnknown `shared-unreachable`.
        """
        mine = replace(wanted, state="held", nonce=uuid.uuid4().hex, beat=1)
        sent_at = self._tick()
        unanswered = 0
        while True:
            try:
                look = self._takeable(mine.nonce, gone)
                if look.holding is not None and look.tag and look.holding.nonce == mine.nonce:
                    return self._hold(look.holding, look.tag, sent_at)  # the answer was lost
                before = look.holding.fence if look.holding else 0
                mine = replace(mine, fence=before + 1)
                if not unanswered:
                    sent_at = self._tick()
                tag = self._objects.put(self._key, to_json(mine), over=look.tag)
                return self._hold(mine, tag, sent_at)
            except Changed:
                continue
            except OutcomeUnknown:
                unanswered += 1
                if unanswered >= ATTEMPTS:
                    raise
                self._sleep(min(0.5, wanted.lease_s * POLL_SHARE))

    def _takeable(self, nonce: str, gone: Callable[[Holding], bool]) -> Look:
        """The lock when it is ours already, or may be taken; else EnvironmentLocked."""
        look = self.read()
        if look.holding is not None and look.holding.nonce == nonce:
            return look
        if not look.may_be_taken:
            look = self.look(gone)
        if not look.may_be_taken and look.holding is not None:
            raise locked(self._environment, look.holding)
        return look

    def rename(self, run: str) -> None:
        """From the next renewal on it is held for a run of that id."""
        with self._mutex:
            if self._mine is not None:
                self._mine = replace(self._mine, run=run)

    def renew(self) -> None:
        """Hold it for another lease; LeaseLost when it is another's, OutcomeUnknown."""
        with self._mutex:
            if self._mine is not None and not self._ending:
                self._write("held")

    def check(self) -> None:
        """Return while nobody else can have it; asks only when that is in doubt.

        Raises LeaseLost when it is another's, OutcomeUnknown when that cannot be seen.
        """
        if self._lost is not None:
            raise self._lost
        if self._ending:
            raise LeaseLost(f"the lock of {self._environment} was let go")
        mine = self._mine
        if mine is None:
            raise LeaseLost(f"the lock of {self._environment} is not held by this process")
        try:
            # Not once: what is found out may be that an old write was applied, which is no news.
            while self.age_s() > mine.lease_s * STALE_SHARE:
                self.renew()
        except TalyError as error:  # refused too, as when credentials ran out: a run is under way
            raise unreachable(
                f"the lock of {self._environment} in {self._objects.place} could not be renewed "
                f"for {self.age_s():.0f} s and may be another's soon: {mine.run} stopped where it "
                f"stood (taly resume {mine.run})",
                error,
            ) from error

    def age_s(self) -> float:
        """Seconds since the write was sent that holds the lock."""
        return self._tick() - self._at

    def leave(self) -> None:
        """Say that nobody works on the run any more: others need not wait for a lease."""
        self._end("left")

    def free(self) -> None:
        """Say that the run is over."""
        self._end("free")

    def _end(self, state: Literal["left", "free"]) -> None:
        with self._mutex:
            if self._mine is None or self._lost is not None:
                return
            self._ending = True
            with suppress(LeaseLost):  # another's already, which is what we want
                self._write(state)
            self._mine = None

    def _write(self, state: Literal["held", "left", "free"]) -> None:
        """Write our next state; one that was not answered is sent again just as it was."""
        for _ in range(ATTEMPTS):
            if self._lost is not None:
                raise self._lost
            assert self._mine is not None, "only what is held is renewed"
            if self._sending is None or self._sending[0].state != state:
                beat = self._sending[0].beat if self._sending else self._mine.beat
                now = replace(self._mine, state=state, beat=beat + 1)
                self._sending = (now, self._tick())
            wanted, sent_at = self._sending
            try:
                tag = self._objects.put(self._key, to_json(wanted), over=self._tag)
            except Changed:
                found = self._after_change(wanted)
                if found is None:
                    continue
                tag = found
            self._hold(wanted, tag, sent_at)
            return
        raise unreachable("another write of the lock is always under way")

    def _after_change(self, wanted: Holding) -> str | None:
        """The tag of our own write whose answer was lost; None = write again.

        Raises LeaseLost when another has the lock.
        """
        stored = self._objects.get(self._key)
        seen = self._parsed(stored) if stored else None
        if stored is not None and seen is not None and seen.nonce == wanted.nonce:
            self._tag = stored.tag  # S3's 409, or an earlier write of ours that came late
            return stored.tag if seen == wanted else None
        by = f"{held_by(seen)} has it" if seen else "its object was removed"
        self._lost = LeaseLost(f"the lock of {self._environment} is lost: {by}")
        raise self._lost

    def _hold(self, mine: Holding, tag: str, sent_at: float) -> Holding:
        self._mine, self._tag, self._at, self._sending = mine, tag, sent_at, None
        self._lost = None
        self._ending = mine.state != "held"
        return mine

    def _parsed(self, stored: Stored) -> Holding:
        return from_json(stored.body, f"{self._objects.place}/{self._key}")


def _watching(environment: str, holding: Holding) -> str:
    return (
        f"{environment} is held by {held_by(holding)}; watching whether it lives, for at most "
        f"{holding.lease_s * PATIENCE:.0f} s"
    )
