"""The components as they truly are: read from the emulators' own state, never asked for by HTTP."""

import copy
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from taly.model.plan import Plan
from taly.sandbox.awsjson import AwsError
from taly.sandbox.emulator import Deploy
from taly.sandbox.vercel.errors import ApiError
from taly.simulate.real.clock import EstateClock
from taly.simulate.timeline import NOON
from taly.simulate.world import PERSON, PUSH, Operation, Part, Values

NEVER = float("inf")


@dataclass(slots=True, eq=False, kw_only=True)
class Seen:
    """One thing under way, or over, as an emulator keeps it."""

    id: str
    start: datetime
    over: bool
    fails: bool = False
    pushed: bool = False


@dataclass(slots=True, eq=False)
class RealPart(Part):
    """A component of an emulated vendor."""

    emulator: Any = None
    clock: EstateClock = field(default_factory=EstateClock)
    acting: str = ""
    """Who changes it right now: a write's key, or `person`; empty = it changes by itself."""
    asked: set[str] = field(default_factory=set)
    """The deployments that taly asked for."""
    commits: dict[str, str] = field(default_factory=dict)
    """Deployment → commit."""
    first: str = ""
    takes: float = 0.0
    """Seconds from a request to its effect."""
    past: list[tuple[float, Any]] = field(default_factory=list)
    """(since when, a copy of what the emulator kept of it then)."""

    # What each vendor's is

    @abstractmethod
    def truth(self) -> Values:
        """The state, under the provider's keys."""

    @abstractmethod
    def under_way(self) -> Iterator[Seen]:
        """Operations and builds."""

    @abstractmethod
    def copied(self) -> Any:
        """A copy of what the emulator keeps of it."""

    @abstractmethod
    def swapped(self, kept: Any) -> Any:
        """Put this in the place of what the emulator keeps; what was there is returned."""

    @abstractmethod
    def deploy_by_hand(self, target: str) -> None:
        """A person makes that deployment the live one."""

    @abstractmethod
    def gone(self, target: str) -> None:
        """The vendor keeps that deployment no longer."""

    @abstractmethod
    def others(self) -> list[str]:
        """Deployments that are not live and could be."""

    # What most have nothing of

    def varied(self, fault: str) -> str:
        """The emulator's switch for a fault, or another of the same meaning."""
        return fault

    def unannounced(self, plan: Plan) -> list[str]:
        """What taly deleted since it was last asked, and this plan does not say so."""
        return []

    # What they have in common

    @property
    def live(self) -> str:
        """The deployment that is live."""
        return next(str(value) for value in self.state.values())

    @property
    def serves(self) -> str:
        """The same: the emulators show what they serve, or it is the state that differs."""
        return self.live

    @property
    def state(self) -> Values:
        """The truth, now."""
        self.sync()
        return self.states[-1][1]

    def in_flight(self, second: float) -> list[Operation]:
        """What was in flight then."""
        self.sync()
        return [one for one in self.operations if one.start <= second < one.ends]

    def commit(self, *, old: bool) -> str:
        """What the application answers that it is."""
        return self.commits.get(self.first if old else self.serves, "")

    def sync(self) -> None:
        """Catch up with the emulator."""
        now = self.clock.timeline.now
        state = self.truth()
        ended = self._sync_operations(now)
        if not self.states or state != self.states[-1][1]:
            if self.states and self._is_foreign(state):
                self.foreign.append(now)
            self.states.append((now, state))
            self.remember()
        elif ended:
            self.remember()

    def remember(self) -> None:
        """Keep a copy, for reads that show an old state."""
        self.past.append((self.clock.timeline.now, self.copied()))

    @contextmanager
    def as_it_was(self, lag_s: float) -> Iterator[None]:
        """For the block the vendor shows what was so many seconds ago."""
        self.sync()
        then = self.clock.timeline.now - lag_s
        kept = next((one for at, one in reversed(self.past) if at <= then), None)
        if kept is None or lag_s <= 0:
            yield
            return
        present = self.swapped(self.fresh(kept))
        self.clock.back_s = lag_s
        try:
            yield
        finally:
            self.clock.back_s = 0.0
            self.swapped(present)

    def fresh(self, kept: Any) -> Any:
        """A copy of a copy: a read may let time pass in it."""
        return copy.deepcopy(kept)

    @contextmanager
    def changed_by(self, who: str) -> Iterator[None]:
        """Around a change: what begins within is that one's."""
        self.sync()
        self.acting = who
        try:
            yield
            self.sync()
            self.remember()
        finally:
            self.acting = ""
        if who == PERSON:
            self.foreign.append(self.clock.timeline.now)

    def _is_foreign(self, state: Values) -> bool:
        before = self.states[-1][1]
        live, was = (str(next(iter(one.values()))) for one in (state, before))
        if live == was:
            return self.acting == PERSON
        return live not in self.asked

    def _sync_operations(self, now: float) -> bool:
        """Whether one ended."""
        ended = False
        known = {one.id: one for one in self.operations}
        for seen in self.under_way():
            one = known.get(seen.id)
            if one is None:
                if seen.over and not self.states:
                    continue  # of the past
                by = PUSH if seen.pushed else self.acting or PERSON
                start = (seen.start - NOON).total_seconds()
                one = Operation(id=seen.id, start=start, ends=NEVER, change={}, by=by)
                self.operations.append(one)
            one.fails = seen.fails
            if seen.over and not one.over:
                one.over, one.ends, ended = True, now, True
                if one.is_foreign:
                    self.foreign.append(now)
        return ended

    def hand(self, target: str) -> bool:
        """Somebody deploys that by hand; whether the vendor let them."""
        with suppress(ApiError, AwsError, ValueError, LookupError):
            with self.changed_by(PERSON):
                self.deploy_by_hand(target)
            return True
        return False

    def pushed(self, commit: str) -> None:
        """A push arrives."""
        with self.changed_by(PUSH):
            self.emulator.deploy(Deploy(component=self.name, commit=commit, settings=self.build))

    @property
    def build(self) -> dict[str, Any]:
        """Settings of a push: builds are short here."""
        return {"build_s": 20.0}
