"""When each step is expected to run, from the plan's edges and the steps' own forecasts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from taly.model.plan import Forecast, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """When a step is expected to run, in seconds from the start of the run."""

    start_s: float
    end_s: float


def schedule(steps: Iterable[Step]) -> dict[str, Slot]:
    """Step id → its slot, if every step starts as soon as those it needs are done.

    The steps stand in an order in which each comes after those it needs, as in a plan.
    """
    slots: dict[str, Slot] = {}
    for step in steps:
        start = max((slots[need].end_s for need in step.needs), default=0.0)
        slots[step.id] = Slot(start_s=start, end_s=start + step.forecast.seconds)
    return slots


def critical_path_s(steps: Iterable[Step]) -> float:
    """Seconds until the last step is expected to be done."""
    return max((slot.end_s for slot in schedule(steps).values()), default=0.0)


def forecast_from(durations_s: Sequence[float], usual_s: float) -> Forecast:
    """The median of earlier operations, newest first, or else the vendor's usual time."""
    latest = durations_s[:10]
    if not latest:
        return Forecast(seconds=usual_s, basis="the vendor's usual time")
    what = "the last update" if len(latest) == 1 else f"median of {len(latest)} updates"
    return Forecast(seconds=median(latest), basis=what)
