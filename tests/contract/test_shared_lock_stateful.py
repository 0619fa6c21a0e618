"""Any order of what machines, clocks and networks may do: never do two act at the same time.

Time is the model's. A machine *acts* where `check` lets it, and what it began is sent within
another quarter of the lease (`journal.FRESH_SHARE`), also when the machine stands still in between.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from shared_stage import Memory, holding

from taly.engine.journal import FRESH_SHARE
from taly.engine.shared.lock import EnvironmentLock
from taly.engine.shared.objects import Changed, Stored, unreachable
from taly.errors import EnvironmentLocked, LeaseLost, OutcomeUnknown

LEASE_S = 100.0
PACES = (0.95, 1.05)
"""How fast the machines' clocks run, and where they began."""
STEPS_S = (0.0, 1.0, 21.0, 45.0, 67.0)
FATES = ("ok", "lost-request", "lost-reply", "late")
BEGINNINGS = (0.0, -3600.0)


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

    def get(self, key: str) -> Stored | None:
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
        self._memory.overwrite(key, body)

    def keys(self, prefix: str) -> list[str]:
        return self._memory.keys(prefix)


@dataclass
class Machine:
    """One process, and what the model knows of it."""

    objects: Flaky
    lock: EnvironmentLock
    acts_until: list[float] = field(default_factory=list)
    """The model's instants until which something that it began may still be sent."""


class Model:
    """Two machines, one lock, and one instant."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now = 0.0
        self.memory = Memory()
        self.machines = [self._machine(number) for number in range(2)]
        self.fences: list[int] = []
        self.taken_over = 0

    def _machine(self, number: int) -> Machine:
        def tick() -> float:
            return BEGINNINGS[number] + self.now * PACES[number]

        def sleep(_: float) -> None:
            raise Waits

        objects = Flaky(self.memory)
        return Machine(objects, EnvironmentLock(objects, "production", tick=tick, sleep=sleep))

    def step(self) -> None:
        """Time passes, and one machine does something."""
        self.now += self.chance.choice(STEPS_S)
        number = self.chance.randrange(2)
        machine = self.machines[number]
        machine.objects.next = self.chance.choices(FATES, (12, 1, 1, 1))[0]
        does = self.chance.choices(
            (self.work, self.renew, self.let_go, self.restart, self.late_write_arrives),
            (12, 3, 1, 1, 1),
        )[0]
        try:
            does(number)
        except (Waits, EnvironmentLocked, OutcomeUnknown, Changed):
            pass
        except LeaseLost:
            self.restart(number)
        acting = [one for one in self.machines if max(one.acts_until, default=-1) > self.now]
        assert len(acting) <= 1, "two act at the same time"
        assert self.fences == sorted(set(self.fences))

    def work(self, number: int) -> None:
        """Take it if need be; then begin something."""
        machine = self.machines[number]
        if machine.lock.held is None:
            seen = machine.lock.read().verdict
            taken = machine.lock.take(holding(f"run-{number}", lease_s=LEASE_S))
            self.fences.append(taken.fence)
            self.taken_over += seen == "silent"
        machine.lock.check()
        machine.acts_until.append(self.now + LEASE_S * FRESH_SHARE / PACES[number])

    def renew(self, number: int) -> None:
        """As the keeper does."""
        self.machines[number].lock.renew()

    def late_write_arrives(self, number: int) -> None:
        """What its sender gave up."""
        late = self.machines[number].objects.late
        if late:
            late.pop(0)()

    def let_go(self, number: int) -> None:
        """A process lets go when nothing of its own is to be sent any more."""
        machine = self.machines[number]
        if max(machine.acts_until, default=-1.0) < self.now:
            self.chance.choice((machine.lock.free, machine.lock.leave))()

    def restart(self, number: int) -> None:
        """What the killed process had begun may still be on its way."""
        old = self.machines[number]
        self.machines[number] = self._machine(number)
        self.machines[number].acts_until = old.acts_until
        self.machines[number].objects.late = old.objects.late


@pytest.mark.parametrize("seed", range(3))
def test_two_machines_never_act_at_the_same_time(seed: int) -> None:
    chance = random.Random(seed)
    taken_over = 0
    for _ in range(300):
        model = Model(chance)
        for _ in range(14):
            model.step()
        taken_over += model.taken_over
    assert taken_over > 60, "it is taken over often enough for this to mean something"
