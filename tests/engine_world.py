"""A small vendor for the engine's tests: slow operations, lagging reads, lost answers, lies.

What happened stands in a log of operations; what a read shows is computed from it for the instant
`now - lag`. The log lives in memory, or in a file that several processes share.
"""

import fcntl
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from taly.errors import VendorRefused, VendorUnavailable
from taly.model.plan import Plan, Step, StepKind
from taly.model.ports import Attempt, Clock, Failed, InFlight, Other, Probe, Say, Wanted, silent
from taly.model.release import Evidence

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class VirtualTime:
    """A clock on which sleeping is what makes time pass. For one thread."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += max(0.0, seconds)


class RealTime:
    """The machine's clock, a thousandth of a second at a time at least."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.001, seconds))


class Memory:
    """The vendor's log in this process."""

    def __init__(self) -> None:
        self.log: list[dict[str, Any]] = []

    @contextmanager
    def open(self) -> Iterator[list[dict[str, Any]]]:
        yield self.log


class SharedFile:
    """The vendor's log in a file, for vendors that outlive a killed process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    @contextmanager
    def open(self) -> Iterator[list[dict[str, Any]]]:
        with self._path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            log = [json.loads(line) for line in file]
            known = len(log)
            yield log
            for entry in log[known:]:
                file.write(json.dumps(entry) + "\n")


@dataclass
class FakeVendor:
    """An actuator whose components hold one value each. The faults are used up in their order."""

    clock: Clock
    log: Memory | SharedFile = field(default_factory=Memory)
    lag_s: float = 0.0
    state_lag_s: float | None = None
    """Where states lag and operations do not: an operation's end is seen before its effect."""
    operation_s: float = 0.0
    settle_s: float = 0.0
    initial: str = "old"
    write_faults: list[str] = field(default_factory=list)
    """Each is ok | lose-request | lose-reply | refuse | lie (yes, and nothing) | fail (later)."""
    read_faults: list[bool] = field(default_factory=list)
    name: str = "fake"

    def operate(
        self,
        component: str,
        target: str,
        *,
        key: str = "",
        fails: bool = False,
        ago_s: float = 0.0,
        lasts_s: float | None = None,
    ) -> None:
        """An operation begins: by our write, or (no key) by someone else."""
        start = self.clock.now().timestamp() - ago_s
        ends = start + (self.operation_s if lasts_s is None else lasts_s)
        entry = {"component": component, "target": target, "key": key, "fails": fails}
        with self.log.open() as log:
            log.append({**entry, "start": start, "ends": ends})

    def writes(self, component: str = "") -> list[dict[str, Any]]:
        """The writes of ours that took effect."""
        with self.log.open() as log:
            return [op for op in log if op["key"] and component in ("", op["component"])]

    def value(self, component: str) -> str:
        """What really is, now."""
        return self._at(component, self.clock.now().timestamp())[0]

    def _at(self, component: str, instant: float) -> tuple[str, list[dict[str, Any]], Any]:
        with self.log.open() as log:
            mine = [op for op in log if op["component"] == component and op["start"] <= instant]
        ended = sorted((op for op in mine if op["ends"] <= instant), key=lambda op: op["ends"])
        good = [op["target"] for op in ended if not op["fails"]]
        in_flight = [op for op in mine if op["ends"] > instant]
        return (good or [self.initial])[-1], in_flight, ended[-1] if ended else None

    def act(self, step: Step, key: str, say: Say = silent) -> Mapping[str, str]:
        fault = self.write_faults.pop(0) if self.write_faults else "ok"
        if fault == "refuse":
            raise VendorRefused("no, never", reference="fake-409")
        if fault not in ("lose-request", "lie"):
            target = str(step.wanted["value"])
            self.operate(step.component, target, key=key, fails=fault == "fail")
        if fault in ("lose-request", "lose-reply"):
            raise VendorUnavailable("no answer", reference="fake-unreachable")
        return {"accepted": key}

    def probe(self, step: Step, attempt: Attempt | None) -> Probe:
        if self.read_faults and self.read_faults.pop(0):
            raise VendorUnavailable("not now", reference="fake-503")
        now = self.clock.now()
        value, in_flight, last = self._at(step.component, now.timestamp() - self.lag_s)
        if self.state_lag_s is not None:
            value = self._at(step.component, now.timestamp() - self.state_lag_s)[0]
        evidence = (Evidence(call="fake:Read", at=now, says=value),)
        wanted = step.wanted["value"]
        if in_flight:
            op = in_flight[-1]
            same = op["target"] == wanted
            return InFlight(
                operation=f"op-{op['start']}", same_target=same, evidence=evidence, what="working"
            )
        if value == wanted:
            return Wanted(state={"value": value}, evidence=evidence)
        if attempt and last and last["key"] == attempt.key and last["fails"]:
            return Failed(reason="health check failed", evidence=evidence)
        return Other(state={"value": value}, evidence=evidence)


def step(
    component: str = "a",
    *,
    kind: StepKind = StepKind.ROLL_BACK,
    needs: tuple[str, ...] = (),
    **more: Any,
) -> Step:
    """A step that wants `good` of a component of the fake vendor."""
    return Step(
        id=f"{kind}:{component}",
        kind=kind,
        component=component,
        provider="fake",
        title=component,
        before={"value": "old"},
        wanted={"value": "good"},
        needs=needs,
        **more,
    )


def plan(*steps: Step, environment: str = "production", digest: str = "d1") -> Plan:
    """A plan of these steps."""
    return Plan(
        environment=environment,
        made_at=NOON,
        purpose="rollback",
        from_release="R2",
        to_release="R1",
        to_content_id="c1",
        why="the last good one",
        components=(),
        steps=steps,
        digest=digest,
    )


def rollback(components: int) -> Plan:
    """Freeze → roll back → verify each, then verify all: three steps a component and one."""
    steps: list[Step] = []
    for number in range(components):
        name = f"c{number}"
        steps.append(step(f"{name}-hooks", kind=StepKind.FREEZE))
        steps.append(step(name, needs=(f"freeze:{name}-hooks",)))
        steps.append(step(name, kind=StepKind.VERIFY, needs=(f"roll-back:{name}",)))
    checks = tuple(one.id for one in steps if one.kind is StepKind.VERIFY)
    steps.append(step("", kind=StepKind.VERIFY_ALL, needs=checks))
    return plan(*steps)
