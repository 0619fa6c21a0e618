"""Platforms of any size: components, their histories, and a vendor whose latencies are given."""

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from taly.model.check import Finding
from taly.model.environment import Component, Environment
from taly.model.plan import Forecast, Step, StepKind
from taly.model.ports import (
    Attempt,
    Clock,
    Differences,
    InFlight,
    Other,
    Probe,
    Say,
    StepOptions,
    Wanted,
    silent,
)
from taly.model.release import Deployment, Evidence, LivePeriod, Observed

WAVES = 3
SPACING = timedelta(hours=6)
EPOCH = datetime(2025, 1, 6, 9, tzinfo=UTC)


def environment(components: int) -> Environment:
    """That many components in three waves; each but the first wave's comes after one before it."""
    size = -(-components // WAVES)
    made = tuple(
        Component(name=f"c{i:04}", provider="fake", after=(f"c{i - size:04}",) if i >= size else ())
        for i in range(components)
    )
    return Environment(name="generated", components=made)


def history(component: str, deploys: int, offset: int = 0) -> tuple[Deployment, ...]:
    """Deployments of one component, newest first, each live until the next; one a release."""
    starts = [EPOCH + k * SPACING + timedelta(seconds=offset % 600) for k in range(deploys)]
    ends = [*starts[1:], None]
    return tuple(
        Deployment(
            component=component,
            id=f"{component}-{k:05}",
            label=f"build {k}",
            commit=f"{k:040x}",
            created_at=start,
            live=(LivePeriod(start=start, end=end),),
        )
        for k, (start, end) in reversed(list(enumerate(zip(starts, ends, strict=True))))
    )


def observed(component: str, deploys: int, offset: int = 0) -> Observed:
    """A component with such a history, the newest deployment live."""
    found = history(component, deploys, offset)
    return Observed(
        component=component,
        live=found[0],
        history=found,
        state={"deployment": found[0].id},
        address={"site": component},
        durations_s=(60.0,),
    )


def steps_of(before: Observed, target: Deployment) -> tuple[Step, ...]:
    """One step a component."""
    return (
        Step(
            id=f"roll-back:{before.component}",
            kind=StepKind.ROLL_BACK,
            component=before.component,
            provider="fake",
            title=f"{before.component} → {target.label}",
            address=before.address,
            before={"deployment": before.live.id},
            wanted={"deployment": target.id},
            forecast=Forecast(seconds=60.0, basis="given"),
        ),
    )


@dataclass
class FakeVendor:
    """A provider without a network: reads and writes sleep, operations take their given time."""

    clock: Clock
    seconds: Mapping[str, float]
    """Component → how long its operation takes, in the clock's seconds."""
    read_s: float = 0.1
    deploys: int = 4
    name: str = "fake"
    settle_s: float = 0.0
    took: dict[str, float] = field(default_factory=dict)
    """Component → what its operation really took, from the request to its end."""
    _ends: dict[str, tuple[float, str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def observe(self, component: Component) -> Observed:
        """One read."""
        self.clock.sleep(self.read_s)
        return observed(component.name, self.deploys, int(component.name[1:]))

    def differences(self, before: Observed, target: Deployment) -> Differences:
        """Nothing but the code."""
        self.clock.sleep(self.read_s)
        return Differences()

    def steps(self, before: Observed, target: Deployment, options: StepOptions) -> tuple[Step, ...]:
        """One step."""
        return steps_of(before, target)

    def check(self, step: Step) -> tuple[Finding, ...]:
        """One read; all is well."""
        self.clock.sleep(self.read_s)
        return ()

    def act(self, step: Step, key: str, say: Say = silent) -> Mapping[str, str]:
        """Begin the operation."""
        asked = self.clock.monotonic()
        self.clock.sleep(self.read_s)
        ends = self.clock.monotonic() + self.seconds[step.component]
        with self._lock:
            self._ends[step.component] = ends, str(step.wanted["deployment"])
            self.took[step.component] = ends - asked
        return {"operation": key}

    def probe(self, step: Step, attempt: Attempt | None) -> Probe:
        """One read: in flight until its time has come."""
        self.clock.sleep(self.read_s)
        evidence = (Evidence(call="fake:Get", at=self.clock.now(), says="its state"),)
        ends, target = self._ends.get(step.component, (0.0, ""))
        if self.clock.monotonic() < ends:
            return InFlight(operation=step.id, same_target=True, evidence=evidence)
        if target == step.wanted["deployment"]:
            return Wanted(state={"deployment": target}, evidence=evidence)
        return Other(state=step.before, evidence=evidence)


def latencies(env: Environment, low_s: float, high_s: float) -> dict[str, float]:
    """How long each component's operation is to take: drawn once, the same every time."""
    draw = random.Random(1)
    return {one.name: draw.uniform(low_s, high_s) for one in env.components}
