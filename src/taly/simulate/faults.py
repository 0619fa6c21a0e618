"""The faults: which there are, how a seed draws its own, and which of them were met where."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from taly.model.plan import StepKind

Point = Literal["write", "read", "append", "ask", "world"]
"""Where a fault strikes: a request that changes, a look at the vendor, an event about to be stored,
a question to the application, or the world at some second of the run."""

KINDS: Mapping[Point, tuple[str, ...]] = {
    "write": (
        "request-lost",
        "reply-lost",
        "delivered-twice",
        "write-429",
        "write-500",
        "write-500-applied",
        "write-503",
        "write-409",
        "yes-and-nothing",
        "shown-not-served",
        "operation-fails",
        "slow-reply",
        "killed-before-write",
        "killed-after-write",
        "frozen-before-write",
        "frozen-after-write",
        "provider-breaks",
        "push-before-write",
        "overtaken",
    ),
    "read": (
        "read-lost",
        "read-429",
        "read-500",
        "read-503",
        "read-403",
        "old-state-read",
        "killed-at-read",
        "frozen-at-read",
    ),
    "append": (
        "killed-before-event",
        "killed-after-event",
        "frozen-before-event",
        "frozen-after-event",
        "store-locked",
        "disk-full",
    ),
    "ask": ("application-500", "application-old"),
    "world": (
        "push",
        "other-operation",
        "same-operation",
        "target-expires",
        "cancel",
        "interrupt",
        "second-run",
        "second-resume",
    ),
}
SKEW = "clock-skew"
ALL_KINDS = (*(kind for kinds in KINDS.values() for kind in kinds), SKEW)
POINTS: tuple[Point, ...] = (
    "write", "write", "write", "write", "read", "append", "append", "append", "ask", "world",
    "world",
)  # fmt: skip
"""As likely as they stand here."""
WRITING = tuple(
    str(kind) for kind in StepKind if kind not in (StepKind.VERIFY, StepKind.VERIFY_ALL)
)
MAX_FAULTS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong, once."""

    point: Point
    kind: str
    step: str = ""
    """The kind of step that it waits for; empty = any."""
    nth: int = 1
    """It strikes the nth time that the place is passed."""
    seconds: float = 0.0
    """How long it lasts; for the world, when it happens, counted from the run's beginning."""
    undo: bool = False
    """Whether it waits for the undo."""

    def __str__(self) -> str:
        where = f" of {self.step}" if self.step else ""
        when = " (undo)" if self.undo else ""
        return f"{self.kind} at {self.point} {self.nth}{where}, {self.seconds:.1f} s{when}"


def draw_faults(random: Random, kinds: Sequence[str], *, undo: bool) -> list[Fault]:
    """Up to six faults at steps of these kinds; one run in twelve has none: it must succeed."""
    if random.random() < 1 / 12:
        return []
    return [_draw(random, kinds, undo) for _ in range(random.randint(1, MAX_FAULTS))]


def _draw(random: Random, kinds: Sequence[str], undo: bool) -> Fault:
    point = random.choice(POINTS)
    step = ""
    if point == "write":
        step = random.choice([one for one in kinds if one in WRITING] or [""])
    elif point in ("read", "append") and random.random() < 0.8:
        step = random.choice(kinds)
    often = {"write": 1, "read": 3, "append": 4, "ask": 8, "world": 6}[point]
    nth = 1 if random.random() < 0.4 else random.randint(1, often)
    kind = random.choice(KINDS[point])
    return Fault(
        point=point, kind=kind, step=step, nth=nth, seconds=_seconds(random, point, kind),
        undo=undo,
    )  # fmt: skip


def _seconds(random: Random, point: Point, kind: str) -> float:
    if point == "world":
        return random.choice((0.0, random.uniform(0, 10), random.uniform(0, 60)))
    if kind == "slow-reply":
        return random.uniform(1, 12)
    if kind.startswith("frozen"):  # a short nap, or past the lease
        return random.choice((random.uniform(1, 10), random.uniform(20, 90), 200.0))
    return 0.0


@dataclass(slots=True)
class Coverage:
    """How often each fault struck a step of each kind."""

    hits: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_vendor: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(vendor, fault, kind of step), where real providers are played."""

    def hit(self, kind: str, step: str) -> None:
        """It struck there."""
        self.hits[kind, step] += 1

    def add(self, other: "Coverage") -> None:
        """Count another's too."""
        self.hits.update(other.hits)
        self.by_vendor.update(other.by_vendor)


class Faults:
    """The faults of one simulation that have not struck yet."""

    def __init__(self, coverage: Coverage) -> None:
        """None yet."""
        self._waiting: list[Fault] = []
        self._passed: Counter[tuple[Point, str]] = Counter()
        self.coverage = coverage

    def arm(self, mine: Iterable[Fault]) -> list[Fault]:
        """A run begins: its faults of the world are returned, to be put into time."""
        self._passed.clear()
        mine = list(mine)
        self._waiting = [fault for fault in mine if fault.point != "world"]
        return [fault for fault in mine if fault.point == "world"]

    def disarm(self) -> None:
        """From now on everything works."""
        self._waiting = []

    def strike(self, point: Point, step: str) -> Fault | None:
        """The fault that strikes here and now, if one does."""
        if not self._waiting:
            return None
        self._passed[point, ""] += 1
        if step:
            self._passed[point, step] += 1
        for i, fault in enumerate(self._waiting):
            fits = fault.point == point and fault.step in ("", step)
            if fits and self._passed[point, fault.step] >= fault.nth:
                del self._waiting[i]
                self.coverage.hit(fault.kind, step)
                return fault
        return None
