"""Figures over runs: how many succeeded, how long they took, how good the forecasts were."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import get_args

from taly.model.events import Outcome
from taly.model.run import Run, StepPhase

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a length of time is spread over runs; seconds, None without any run."""

    count: int
    sum_s: float
    median_s: float | None
    p95_s: float | None
    """The nearest rank: a time that a run really took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCount:
    """How many runs of one purpose ended so."""

    purpose: str
    outcome: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCount:
    """How many steps of one kind were done so."""

    kind: str
    how: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Over all finished runs of an environment; a rate or error of nothing is None."""

    environment: str
    runs: int
    outcomes: Mapping[str, int]
    """Every outcome there is → runs of any purpose that ended so."""
    by_purpose: tuple[RunCount, ...]
    success_rate: float | None
    """Of all runs."""
    restore: Spread
    """Rollbacks that succeeded: from the start of the run to the end of its last step."""
    forecast_error: float | None
    """Median of |real - forecast| / forecast over those rollbacks."""
    step_forecast_error: float | None
    """The same over the steps that taly really did."""
    steps: tuple[StepCount, ...]
    undo_rate: float | None
    """Rollbacks that a run took back, of all rollbacks."""


def measure(environment: str, runs: Sequence[Run]) -> Metrics:
    """The figures of these runs; those that are not finished are left out."""
    ended = [run for run in runs if run.outcome is not None]
    outcomes = Counter(str(run.outcome) for run in ended)
    purposes = Counter((run.plan.purpose, str(run.outcome)) for run in ended)
    steps = Counter(
        (step.kind.value, run.steps[step.id].how)
        for run in ended
        for step in run.plan.steps
        if run.steps[step.id].phase is StepPhase.DONE
    )
    restored = [(run, took) for run in ended if (took := _restoring_s(run)) is not None]
    rollbacks = {run.id for run in ended if run.plan.purpose == "rollback"}
    return Metrics(
        environment=environment,
        runs=len(ended),
        outcomes={outcome: outcomes[outcome] for outcome in OUTCOMES},
        by_purpose=tuple(
            RunCount(purpose=purpose, outcome=outcome, count=count)
            for (purpose, outcome), count in sorted(purposes.items())
        ),
        success_rate=_rate(outcomes["succeeded"], len(ended)),
        restore=spread([took for _, took in restored]),
        forecast_error=_middle(_errors((took, run.plan.forecast_s) for run, took in restored)),
        step_forecast_error=_middle(_errors(pair for run in ended for pair in _acted(run))),
        steps=tuple(
            StepCount(kind=kind, how=how, count=count)
            for (kind, how), count in sorted(steps.items())
        ),
        undo_rate=_rate(len(rollbacks & _taken_back(ended)), len(rollbacks)),
    )


def spread(seconds: Sequence[float]) -> Spread:
    """Count, sum, median and 95th percentile."""
    ordered = sorted(seconds)
    return Spread(
        count=len(ordered),
        sum_s=round(sum(ordered), 3),
        median_s=_middle(ordered),
        p95_s=ordered[-(-len(ordered) * 95 // 100) - 1] if ordered else None,
    )


def _restoring_s(run: Run) -> float | None:
    """From the start to the end of the last step; only a rollback that succeeded restores."""
    if run.outcome != "succeeded" or run.plan.purpose != "rollback" or run.started_at is None:
        return None
    ends = [state.ended_at for state in run.steps.values() if state.ended_at is not None]
    return (max(ends) - run.started_at).total_seconds() if ends else None


def _acted(run: Run) -> Iterator[tuple[float, float]]:
    """(real, forecast) of each step that taly did itself."""
    for step in run.plan.steps:
        state = run.steps[step.id]
        if state.how == "acted" and state.started_at and state.ended_at:
            yield (state.ended_at - state.started_at).total_seconds(), step.forecast.seconds


def _taken_back(runs: Sequence[Run]) -> set[str]:
    """The runs that an undo took back with success."""
    return {
        run.plan.to_release
        for run in runs
        if run.plan.purpose == "undo" and run.outcome == "succeeded"
    }


def _errors(pairs: Iterator[tuple[float, float]]) -> list[float]:
    return [abs(real - forecast) / forecast for real, forecast in pairs if forecast > 0]


def _middle(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _rate(some: int, of: int) -> float | None:
    return some / of if of else None
