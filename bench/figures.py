"""What a measurement yields, and the arithmetic between measured times and a figure. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

Status = Literal["met", "missed", "no goal", "skipped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One row of the table."""

    part: str
    """`a` to `k`: the measurement that it belongs to."""
    title: str
    value: float | None
    """None when it was not measured; `note` says why."""
    unit: str
    """`×` for a ratio, else a unit of time or size."""
    goal: float | None = None
    """None = the figure only explains others."""
    at_least: bool = False
    """Whether the goal is a lower bound."""
    n: int = 1
    """How many measurements the value is the median of."""
    note: str = ""
    failed: bool = False
    """Whether it should have been measured and could not be."""
    measured: Mapping[str, Any] = field(default_factory=dict)
    """What the value was computed from."""

    @property
    def status(self) -> Status:
        """How the value stands to its goal."""
        if self.value is None:
            return "failed" if self.failed else "skipped"
        if self.goal is None:
            return "no goal"
        met = self.value >= self.goal if self.at_least else self.value <= self.goal
        return "met" if met else "missed"


def could_not(part: str, title: str, why: str, *, failed: bool) -> Figure:
    """The row of something that was left out, or could not be measured."""
    return Figure(part=part, title=title, value=None, unit="", note=why, failed=failed)


def critical_path_s(needs: Mapping[str, Iterable[str]], seconds: Mapping[str, float]) -> float:
    """The longest way through steps that take these seconds; steps without any take none.

    `needs` names, for each step, those it waits for; a step stands after those it needs.
    """
    ends: dict[str, float] = {}
    for step, before in needs.items():
        start = max((ends[one] for one in before), default=0.0)
        ends[step] = start + seconds.get(step, 0.0)
    return max(ends.values(), default=0.0)


def ratio(numerator: float, denominator: float) -> float:
    """The quotient; ValueError where nothing was measured to compare with."""
    if denominator <= 0:
        raise ValueError(f"nothing to compare {numerator:g} with: the other side took no time")
    return numerator / denominator


def overhead_s(wall_s: float, vendors_s: float) -> float:
    """What a tool took beyond its vendors; ValueError if it was faster than they were."""
    if wall_s <= vendors_s:
        raise ValueError(f"{wall_s:g} s in all cannot hold {vendors_s:g} s of vendors' time")
    return wall_s - vendors_s


def growth(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The exponent k of seconds ~ size^k, by least squares on logarithms: 1 is linear."""
    xs, ys = [math.log(size) for size in sizes], [math.log(one) for one in seconds]
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - x_mean) ** 2 for x in xs)
    return sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / spread


def covered_s(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds in which at least one of these (start, end) was under way."""
    total, until = 0.0, -math.inf
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def longest_s(spans: Mapping[str, Sequence[tuple[float, float]]]) -> float:
    """The most that one of these groups of (start, end) was under way."""
    return max((covered_s(one) for one in spans.values()), default=0.0)


def middle(values: Iterable[float]) -> float:
    """The median."""
    return median(list(values))
