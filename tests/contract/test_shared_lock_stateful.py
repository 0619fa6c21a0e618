"""Any order of what machines, clocks and networks may do: never do two act at the same time.

Time is the model's. A machine *acts* where `check` lets it, and what it began is sent within
another quarter of the lease (`journal.FRESH_SHARE`), also when the machine stands still in between.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from shared_stage import Memory, holding

from taly.engine.journal import FRESH_SHARE
from taly.engine.shared.lock import EnvironmentLock
from taly.engine.shared.objects import unreachable
from taly.errors import EnvironmentLocked, LeaseLost, OutcomeUnknown

LEASE_S = 100.0
MACHINES = st.integers(0, 2)
PACES = (0.97, 1.0, 1.04)
"""How fast the machines' clocks run, and where they began."""
BEGINNINGS = (0.0, 1e6, -3600.0)


class Waits(Exception):
    """The machine would sleep now: others come before it looks again."""


class Flaky:
    """The shared place as one machine reaches it."""

    def __init__(self, memory: Memory) -> None:
        self._memory, self.place = memory, "memory"
        self.next = "ok"
        """What becomes of the next write: ok, lost-request, lost-reply or late."""
        self.late: list[Callable[[], Any]] = []
        """Writes that are still under way in the network."""

    def get(self, key: str) -> Any:
        return self._memory.get(key)

    def put(self, key: str, body: bytes, *, over: str | None) -> str:
        fate, self.next = self.next, "ok"
        if fate == "late":
            self.late.append(lambda: self._memory.put(key, body, over=over))
        if fate == "lost-reply":
            self._memory.put(key, body, over=over)
        if fate != "ok":
            raise unreachable("no answer")
        return self._memory.put(key, body, over=over)

    def overwrite(self, key: str, body: bytes) -> None:
        raise NotImplementedError

    def keys(self, prefix: str) -> list[str]:
        raise NotImplementedError


@dataclass
class Machine:
    """One process, and what the model knows of it."""

    objects: Flaky
    lock: EnvironmentLock
    acts_until: list[float] = field(default_factory=list)
    """The model's instants until which something that it began may still be sent."""


class Lock(RuleBasedStateMachine):
    """Three machines and one lock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.memory = Memory()
        self.machines = [self._machine(number) for number in range(3)]
        self.fences: list[int] = []

    def _machine(self, number: int) -> Machine:
        def tick() -> float:
            return BEGINNINGS[number] + self.now * PACES[number]

        def sleep(_: float) -> None:
            raise Waits

        objects = Flaky(self.memory)
        return Machine(objects, EnvironmentLock(objects, "production", tick=tick, sleep=sleep))

    @rule(seconds=st.sampled_from([1.0, 10.0, 30.0, 45.0, 70.0, 95.0, 111.0, 300.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(number=MACHINES, fate=st.sampled_from(["lost-request", "lost-reply", "late"]))
    def the_network_will(self, number: int, fate: str) -> None:
        self.machines[number].objects.next = fate

    @rule(number=MACHINES)
    def a_late_write_arrives(self, number: int) -> None:
        late = self.machines[number].objects.late
        if late:
            try:
                late.pop(0)()
            except Exception as error:
                assert type(error).__name__ == "Changed"  # noqa: PT017  # any other is a bug

    @rule(number=MACHINES)
    def reach_for_it(self, number: int) -> None:
        machine = self.machines[number]
        if machine.lock.held is not None:
            return
        try:
            taken = machine.lock.take(holding(f"run-{number}", lease_s=LEASE_S))
        except (Waits, EnvironmentLocked, OutcomeUnknown):
            return
        self.fences.append(taken.fence)

    @rule(number=MACHINES)
    def renew(self, number: int) -> None:
        machine = self.machines[number]
        if machine.lock.held is None:
            return
        try:
            machine.lock.renew()
        except OutcomeUnknown:
            return
        except LeaseLost:
            self._restart(number)

    @rule(number=MACHINES)
    def act(self, number: int) -> None:
        machine = self.machines[number]
        if machine.lock.held is None:
            return
        try:
            machine.lock.check()
        except OutcomeUnknown:
            return
        except LeaseLost:
            self._restart(number)
            return
        machine.acts_until.append(self.now + LEASE_S * FRESH_SHARE / PACES[number])

    @rule(number=MACHINES, how=st.sampled_from(["free", "leave"]))
    def let_go(self, number: int, how: str) -> None:
        machine = self.machines[number]
        if max(machine.acts_until, default=-1.0) >= self.now:
            return  # a process lets go when nothing of its own is to be sent any more
        try:
            getattr(machine.lock, how)()
        except OutcomeUnknown:
            return

    @rule(number=MACHINES)
    @precondition(lambda self: self.now > 0)
    def killed_and_started_again(self, number: int) -> None:
        self._restart(number)

    def _restart(self, number: int) -> None:
        """What the dead process had begun may still be on its way."""
        acts_until = self.machines[number].acts_until
        late = self.machines[number].objects.late
        self.machines[number] = self._machine(number)
        self.machines[number].acts_until = acts_until
        self.machines[number].objects.late = late

    @invariant()
    def nobody_acts_beside_another(self) -> None:
        acting = [one for one in self.machines if max(one.acts_until, default=-1.0) > self.now]
        assert len(acting) <= 1

    @invariant()
    def fences_grow(self) -> None:
        assert self.fences == sorted(set(self.fences))


Lock.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLock = Lock.TestCase
