"""The provider of a simulated vendor: the port as a real one answers it, with faults in between."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import get_args

from taly.errors import VendorRefused
from taly.model.check import Finding, Severity
from taly.model.environment import Component
from taly.model.plan import DatabaseOutlook, DatabaseVerdict, DatabaseWay, Migration, Step, StepKind
from taly.model.ports import (
    Attempt,
    Clock,
    Differences,
    Failed,
    InFlight,
    Other,
    Probe,
    Say,
    StepOptions,
    Wanted,
    silent,
)
from taly.model.release import (
    Deployment,
    Evidence,
    Gone,
    LivePeriod,
    Observation,
    Observed,
    Operation,
    Restorable,
)
from taly.simulate.canaries import CANARY
from taly.simulate.steps import BUILD, ENDED, steps_toward
from taly.simulate.strikes import Strikes
from taly.simulate.timeline import instant
from taly.simulate.traits import Traits
from taly.simulate.world import Operation as Underway
from taly.simulate.world import Part, Platform, Values, Write

SAYS = 6
"""How often a write that takes long tells how far it is."""
PATIENCE_S = 60.0
"""For how long a write that a vendor shows nothing of may still take effect."""
SKEW_S = 60.0
"""How far the vendor's clock and a process's may be apart."""


class SimProvider:
    """One vendor, as one simulated process talks to it."""

    def __init__(
        self,
        platform: Platform,
        traits: Traits,
        clock: Clock,
        strikes: Strikes,
        verdict: DatabaseVerdict,
    ) -> None:
        """`verdict` is what suits a database best: keep, revert or restore."""
        self.name, self.settle_s = traits.name, traits.settle_s
        self._platform, self._traits, self._clock = platform, traits, clock
        self._strikes, self._verdict = strikes, verdict

    # Looking

    def observe(self, component: Component) -> Observation:
        """What is live, and the history."""
        part = self._platform.parts[component.name]
        read_at = self._platform.timeline.now - part.lag()
        state = part.state_at(read_at)
        history = tuple(_history(part))
        live = next(one for one in history if one.id == state["deploy"])
        auto = bool(state["auto_deploy"]) if part.traits.has_auto else None
        in_flight = part.in_flight(read_at) if part.traits.shows_operations else _pushes(part)
        return Observed(
            component=part.name,
            live=live,
            history=history,
            state=dict(state),
            address={"name": part.name, "vendor": self.name},
            auto_deploy=auto,
            in_flight=tuple(_operation(part, one) for one in in_flight),
            url=f"http://{part.name}.app/",
        )

    def differences(self, before: Observed, target: Deployment) -> Differences:
        """What each migration since means, for a database."""
        if not self._traits.long_writes:
            return Differences()
        verdict = self._verdict
        return Differences(
            migrations=(Migration(name="m2", verdict=verdict, reasons=("it renames a column",)),),
            database=DatabaseOutlook(
                verdict=verdict,
                ways=tuple(
                    DatabaseWay(verdict=one, possible=True, why="it can")
                    for one in get_args(DatabaseVerdict)
                ),
                checkpoint="c1",
            ),
        )

    def steps(self, before: Observed, target: Deployment, options: StepOptions) -> tuple[Step, ...]:
        """As the vendor's traits need them."""
        return steps_toward(before, target, self._traits)

    def check(self, step: Step) -> tuple[Finding, ...]:
        """Whether the target is there."""
        part = self._platform.parts[step.component]
        if _is_gone(part, step.wanted.get("deploy")):
            text = "the target is gone"
            return (
                Finding(
                    code="target-gone", severity=Severity.ERROR, component=part.name, text=text
                ),
            )
        return ()

    def probe(self, step: Step, attempt: Attempt | None) -> Probe:
        """The component as a read shows it, against what the step wants."""
        part = self._platform.parts[step.component]
        lag = self._strikes.at_read(step, part)
        now = self._platform.timeline.now
        read_at, seen_at = now - lag, now - lag * self._traits.operations_lag
        state: Values = dict(part.state_at(read_at))
        operations = part.in_flight(seen_at) if self._traits.shows_operations else []
        self._strikes.looked(step, operations)
        if step.kind is StepKind.CANCEL:
            return self._probe_cancel(step, part)
        evidence = (Evidence(call=f"{self.name}:Read", at=self._clock.now(), says=str(state)),)
        if operations:
            return _under_way(step, operations[-1], evidence)
        if all(state.get(key) == value for key, value in step.wanted.items()):
            return Wanted(state=state, evidence=evidence)
        if attempt is not None and (failed := self._failed(part, attempt, seen_at)):
            return Failed(reason=f"{failed.id} ended as FAILED", evidence=evidence)
        if attempt is not None and self._may_come_yet(attempt):
            return InFlight(
                operation=attempt.key, same_target=bool(attempt.receipt), evidence=evidence,
                what="not in effect yet",
            )  # fmt: skip
        return Other(state=state, evidence=evidence)

    def _probe_cancel(self, step: Step, part: Part) -> Probe:
        operations = part.in_flight(self._platform.timeline.now)  # asked for by its id: no lag
        ((key, _),) = step.wanted.items()
        build = key.removeprefix(BUILD)
        evidence = (Evidence(call=f"{self.name}:Read", at=self._clock.now(), says="a build"),)
        if all(one.id != build for one in operations):
            return Wanted(state={key: ENDED}, evidence=evidence)
        return Other(state={key: None}, evidence=evidence)

    def _failed(self, part: Part, attempt: Attempt, read_at: float) -> Underway | None:
        """Our own operation, if it ended without doing what was asked, and this can be seen."""
        if not self._traits.shows_operations:
            return None
        named = attempt.receipt.get("operation") or attempt.receipt.get("adopted")
        since = attempt.intended_at - timedelta(seconds=SKEW_S)
        for one in reversed(part.operations):
            ours = one.id == named if named else _is_same(one, attempt, since, self._traits)
            if ours and one.ends <= read_at and one.fails:
                return one
        return None

    def _may_come_yet(self, attempt: Attempt) -> bool:
        waited = (self._clock.now() - attempt.intended_at).total_seconds()
        return not self._traits.shows_operations and waited < PATIENCE_S

    # Writing

    def act(self, step: Step, key: str, say: Say = silent) -> Mapping[str, str]:
        """The one write."""
        part = self._platform.parts[step.component]
        write = self._strikes.sending(step, key, part)
        fault = self._strikes.at_write(step, at_once=not self._traits.long_writes)
        if self._traits.long_writes:
            self._work(step, key, say, fault)
        elif fault == "push-before-write":
            self._platform.push(part, len(part.deployments))
        return self._strikes.through(
            fault,
            send=lambda copy: self._apply(step, part, replace(write, copy=copy), fault),
            shown=lambda _: self._shown_only(step, part, write),
        )

    def _work(self, step: Step, key: str, say: Say, fault: str) -> None:
        """Minutes of preparation that change nothing yet."""
        seconds = Random(step.id).uniform(2, 40)
        for done in range(SAYS):
            self._platform.timeline.block(seconds / SAYS)
            if done == SAYS // 2:
                self._strikes.in_work(fault)
            say(f"part {done} of {SAYS}", done / SAYS)
        self._strikes.still_ours(step, key)

    def _apply(self, step: Step, part: Part, write: Write, fault: str) -> Mapping[str, str]:
        """The vendor got the request."""
        now = self._platform.timeline.now
        if step.kind is StepKind.CANCEL:
            return self._cancel(step, part)
        if self._traits.tokens and (known := _by_token(part, write.key)):
            return {"operation": known.id}
        if self._traits.refuses_while_busy and part.in_flight(now):
            raise VendorRefused("another operation is in flight", reference="operation-in-flight")
        if _is_gone(part, step.wanted.get("deploy")):
            raise VendorRefused("the target is gone", reference="target-gone", hint="taly releases")
        change = dict(step.wanted)
        if fault == "yes-and-nothing":
            return {"operation": "op-none"}
        moves = change.get("deploy", part.state["deploy"]) != part.state["deploy"]
        takes_s = part.lags.uniform(*self._traits.takes_s) if moves else 0.0
        fails = fault == "operation-fails" and moves
        operation = self._platform.begin(
            part, change, write.key, takes_s=takes_s, write=write, fails=fails
        )
        if fault == "overtaken":
            self._platform.overtake(part, operation)
        return {"operation": operation.id} if self._traits.shows_operations else {"call": "POST"}

    def _cancel(self, step: Step, part: Part) -> Mapping[str, str]:
        (name,) = step.wanted
        for one in part.in_flight(self._platform.timeline.now):
            if one.id == name.removeprefix(BUILD):
                self._platform.cancel(part, one)
        return {"call": "cancel"}

    def _shown_only(self, step: Step, part: Part, write: Write) -> Mapping[str, str]:
        """The vendor shows what was asked for, and users get what they got before."""
        served = part.serves
        receipt = self._apply(step, part, write, "")
        operation = part.operations[-1] if part.operations else None
        if operation is not None and operation.by == write.key and "deploy" in step.wanted:
            wait = max(0.0, operation.ends - self._platform.timeline.now)
            self._platform.timeline.after(wait, lambda: _stick(part, served))
        return receipt


def _stick(part: Part, served: str) -> None:
    part.served = served


def _under_way(step: Step, operation: Underway, evidence: tuple[Evidence, ...]) -> InFlight:
    same = all(operation.change.get(key) == value for key, value in step.wanted.items())
    return InFlight(
        operation=operation.id, same_target=same, evidence=evidence, what=f"{operation.id} runs"
    )


def _is_same(one: Underway, attempt: Attempt, since: datetime, traits: Traits) -> bool:
    """Whether an operation is the one that our unanswered request began."""
    if traits.tokens:
        return one.by == attempt.key
    return one.by == attempt.key and instant(one.start) >= since


def _by_token(part: Part, key: str) -> Underway | None:
    return next((one for one in part.operations if one.by == key and not one.fails), None)


def _is_gone(part: Part, deploy: object) -> bool:
    return any(one.id == deploy and one.expired for one in part.deployments)


def _pushes(part: Part) -> list[Underway]:
    """The builds that even a vendor without operations shows."""
    now = part.operations[-1].start if part.operations else 0.0
    return [one for one in part.operations if not one.over and one.is_foreign and one.start <= now]


def _operation(part: Part, one: Underway) -> Operation:
    return Operation(
        id=one.id,
        what=f"deployment {one.id}",
        started_at=instant(one.start),
        toward=str(one.change.get("deploy", "")),
        cancellable=part.traits.cancels,
    )


def _history(part: Part) -> list[Deployment]:
    """Every deployment, the last to go live first, as the vendor rebuilds it from its log."""
    periods: dict[str, list[LivePeriod]] = {one.id: [] for one in part.deployments}
    ends = [since for since, _ in part.states[1:]] + [None]
    for (since, state), end in zip(part.states, ends, strict=True):
        mine = periods[str(state["deploy"])]
        until = None if end is None else instant(end)
        if mine and mine[-1].end == instant(since):
            mine[-1] = LivePeriod(start=mine[-1].start, end=until)
        else:
            mine.append(LivePeriod(start=instant(since), end=until))
    found = [
        Deployment(
            component=part.name,
            id=one.id,
            label=one.id,
            commit=one.commit,
            created_at=instant(one.at),
            live=tuple(periods[one.id]),
            restorable=Gone(reason="expired") if one.expired else Restorable(),
            config={"SECRET": CANARY},
        )
        for one in part.deployments
    ]
    never = instant(-1e7)
    return sorted(found, key=lambda d: d.live[-1].start if d.live else never, reverse=True)
