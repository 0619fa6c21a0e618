"""The simulated platform as it truly is: its components, their past, and who wrote what."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from taly.model.plan import Step
from taly.simulate.steps import BUILD
from taly.simulate.timeline import Timeline
from taly.simulate.traits import Traits

Value = str | bool | int | None
Values = Mapping[str, Value]
PERSON = "person"
PUSH = "push"


@dataclass(slots=True, eq=False)
class Operation:
    """Something that a vendor does over time."""

    id: str
    start: float
    ends: float
    change: Values
    by: str
    """A write's key, or `person` or `push`."""
    fails: bool = False
    over: bool = False
    cancelled: bool = False

    @property
    def is_foreign(self) -> bool:
        """Whether no write of taly's began it."""
        return self.by in (PERSON, PUSH)


@dataclass(slots=True, eq=False)
class Write:
    """One change that a request of taly's made, or would have made."""

    component: str
    key: str
    """`<run>:<step>`."""
    process: str
    asked: float
    """When the request was sent."""
    at: float = 0.0
    """When it took effect, or began to."""
    changed: bool = False
    """Whether anything was different after it took effect, or is to be when it does."""
    copy: bool = False
    """Whether the network made it: the second delivery of one request."""
    operation: Operation | None = None
    """What it began; None = it took effect at once."""


@dataclass(slots=True, eq=False)
class Deployed:
    """One deployment, with its past."""

    id: str
    commit: str
    at: float
    expired: bool = False


@dataclass(slots=True, eq=False)
class Part:
    """One component, as it truly is."""

    name: str
    traits: Traits
    deployments: list[Deployed]
    states: list[tuple[float, Values]]
    """(since when, the state), oldest first."""
    operations: list[Operation] = field(default_factory=list)
    foreign: list[float] = field(default_factory=list)
    """When something that was not taly's took effect."""
    lags: Random = field(default_factory=Random)
    served: str = ""
    """The deployment that really answers users, where the vendor shows another."""

    @property
    def state(self) -> Values:
        """The truth, now."""
        return self.states[-1][1]

    def state_at(self, second: float) -> Values:
        """The truth, then."""
        for since, state in reversed(self.states):
            if since <= second:
                return state
        return self.states[0][1]

    @property
    def serves(self) -> str:
        """The deployment that the application answers with."""
        return self.served or str(self.state["deploy"])

    def in_flight(self, second: float) -> list[Operation]:
        """What was in flight then."""
        return [one for one in self.operations if one.start <= second < one.ends]

    @property
    def live(self) -> str:
        """The deployment that the vendor shows as live."""
        return str(self.state["deploy"])

    def counted(self, step: Step) -> Values:
        """What of the step's wanted state its end is judged by."""
        return step.wanted

    def fits(self, wanted: Values, state: Values) -> bool:
        """Whether that state is as wanted."""
        return all(state.get(key) == value for key, value in wanted.items())

    def differing(self, wanted: Values) -> list[str]:
        """What of the wanted state is not so now."""
        state = self.state
        return [key for key, value in wanted.items() if key in state and state[key] != value]

    def cancelled(self, step: Step, second: float) -> bool:
        """Whether what this step is to end was under way no more then."""
        (key,) = step.wanted
        return all(one.id != key.removeprefix(BUILD) for one in self.in_flight(second))

    def commit(self, *, old: bool) -> str:
        """What the application answers that it is; `old`: what it was at first."""
        deploy = self.deployments[0].id if old else self.serves
        return next(one.commit for one in self.deployments if one.id == deploy)

    def stacked(self, second: float, visible: float) -> list[Operation]:
        """What is in flight then, and began before `visible`: nothing is to be sent on top."""
        if not self.traits.shows_operations:
            return []
        return [one for one in self.in_flight(second) if one.start < visible]

    def undecided(self, write: "Write | None") -> bool:
        """Whether nobody can know what came of that write, though it has ended."""
        return False

    def lag(self) -> float:
        """How old the next read is."""
        return min(1.0, self.lags.random() * 1.5) * self.traits.lag_s if self.traits.lag_s else 0.0


class Platform:
    """All components, and what happens to them."""

    def __init__(self, timeline: Timeline, parts: list[Part], note: Callable[[str], None]) -> None:
        """`note` hears what happens, for the trace."""
        self.timeline = timeline
        self.parts = {part.name: part for part in parts}
        self.writes: list[Write] = []
        self.note = note
        self._numbers = 0

    def begin(
        self, part: Part, change: Values, by: str, *, takes_s: float, write: Write | None = None,
        fails: bool = False,
    ) -> Operation:  # fmt: skip
        """An operation begins; it changes the component when it ends, unless it is cancelled."""
        self._numbers += 1
        now = self.timeline.now
        operation = Operation(
            id=f"op-{self._numbers}", start=now, ends=now + takes_s, change=change, by=by,
            fails=fails,
        )  # fmt: skip
        part.operations.append(operation)
        if takes_s <= 0:
            self._end(part, operation, write)
            return operation
        if write is not None:  # a deployment has begun, whatever comes of it
            self.writes.append(write)
            write.at, write.operation = now, operation
            write.changed = any(part.state.get(key) != value for key, value in change.items())
        self.timeline.after(takes_s, lambda: self._end(part, operation, None))
        return operation

    def overtake(self, part: Part, operation: Operation) -> None:
        """As soon as an operation has ended, somebody deploys something else."""
        other = self.built(part, 40)

        def begin() -> None:
            self.note(f"somebody deploys {other.id} to {part.name}")
            self.begin(part, {"deploy": other.id}, PERSON, takes_s=8.0)

        self.timeline.after(max(0.0, operation.ends - self.timeline.now) + 0.01, begin)

    def cancel(self, part: Part, operation: Operation) -> None:
        """It is ended without effect."""
        operation.cancelled = operation.over = True
        operation.ends = min(operation.ends, self.timeline.now)

    def by_hand(self, part: Part, target: str, kind: str, nth: int) -> bool:
        """Somebody else deploys by hand, to the same target or to another; whether it is done."""
        busy = part.in_flight(self.timeline.now)
        if part.traits.long_writes or (busy and part.traits.refuses_while_busy):
            return False
        if kind == "other-operation":
            target = self.built(part, 50 + nth).id
        self.begin(part, {"deploy": target}, PERSON, takes_s=5.0 + (nth * 17) % 60)
        return True

    def expire(self, part: Part, target: str) -> bool:
        """The vendor keeps that deployment no longer; whether it was there and not live."""
        for one in part.deployments:
            if one.id == target and part.state["deploy"] != target:
                one.expired = True
                return True
        return False

    def push(self, part: Part, number: int) -> bool:
        """Somebody pushes: it is deployed if the vendor may; whether it is."""
        if not part.traits.has_auto or not part.state["auto_deploy"]:
            return False
        if part.traits.refuses_while_busy and part.in_flight(self.timeline.now):
            return False
        pushed = self.built(part, number)
        low, high = part.traits.takes_s
        self.note(f"a push to {part.name} is being deployed: {pushed.id}")
        self.begin(part, {"deploy": pushed.id}, PUSH, takes_s=max(3.0, (low + high) / 2))
        return True

    def built(self, part: Part, number: int) -> Deployed:
        """A new, bad deployment that was never live."""
        pushed = Deployed(
            id=f"{part.name}-x{number}", commit=f"{0xBAD0000 + number:040x}", at=self.timeline.now
        )
        part.deployments.append(pushed)
        return pushed

    def _end(self, part: Part, operation: Operation, write: Write | None) -> None:
        if operation.over:
            return
        operation.over = True
        held = operation.by == PUSH and part.traits.auto_at_end and not part.state["auto_deploy"]
        if operation.fails or held:
            return
        self.put(part, operation.change, write, foreign=operation.is_foreign)

    def put(self, part: Part, change: Values, write: Write | None, *, foreign: bool) -> None:
        """The component is so from now on."""
        now, state = self.timeline.now, {**part.state, **change}
        if write is not None:
            self.writes.append(write)
            write.at, write.changed = now, state != part.state or part.served != ""
        if foreign:
            part.foreign.append(now)
        if state != part.state:
            self.note(f"{part.name} is {state} now")
            part.states.append((now, state))
        part.served = ""
