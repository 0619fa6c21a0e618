"""Figures over runs: the arithmetic, and Prometheus' text format by a strict reader."""

import re
from dataclasses import replace
from datetime import timedelta
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_scene import START, Story, failed, platform_plan, succeeded, undo_of

from taly.cli.metrics_prometheus import exposition
from taly.model.events import StepDone, StepStarted
from taly.model.run import Run
from taly.planning.metrics import Metrics, measure, spread

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"'
SUFFIXES = {"summary": {"", "_sum", "_count"}, "counter": {""}, "gauge": {""}}


def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Read version 0.0.4 of the format, and refuse whatever it does not allow."""
    assert text.endswith("\n")
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    family, kind, helped = "", "", set()
    for line in text[:-1].split("\n"):
        if found := re.fullmatch(rf"# HELP ({NAME}) ((?:[^\\\n]|\\\\|\\n)*)", line):
            assert found[1] not in helped, "HELP twice"
            helped.add(found[1])
            family = found[1]
        elif found := re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|summary)", line):
            assert found[1] == family, "TYPE of another family, or behind its samples"
            kind = found[2]
        else:
            found = re.fullmatch(rf"({NAME})\{{((?:{LABEL},?)*)\}} (\S+)", line)
            assert found, line
            assert found[1].startswith(family)
            assert found[1].removeprefix(family) in SUFFIXES[kind], line
            labels = tuple(re.findall(LABEL, found[2]))
            assert ",".join(f'{name}="{value}"' for name, value in labels) == found[2]
            assert len({name for name, _ in labels}) == len(labels)
            key = (found[1], tuple((name, unescaped(value)) for name, value in labels))
            assert key not in samples, "a sample twice"
            samples[key] = float(found[5])
    return samples


def unescaped(value: str) -> str:
    return re.sub(r"\\(.)", lambda one: {"n": "\n"}.get(one[1], one[1]), value)


def some_runs() -> list[Run]:
    """Three rollbacks (one undone, one failed), the undo, and one that is under way."""
    one, two = succeeded(run="run-1"), succeeded(run="run-3")
    broken = failed()
    broken.run = "run-4"
    open_ = Story(platform_plan(), "run-5").begin()
    undo = undo_of(one)
    return [one.fold(), undo, two.fold(), broken.fold(), open_.fold()]


def test_outcomes_and_rates() -> None:
    figures = measure("production", some_runs())
    assert figures.runs == 4
    assert figures.outcomes == {
        "succeeded": 3,
        "failed": 1,
        "verification-failed": 0,
        "cancelled": 0,
    }
    assert figures.success_rate == pytest.approx(3 / 4)
    assert figures.undo_rate == pytest.approx(1 / 3)
    assert [(one.purpose, one.outcome, one.count) for one in figures.by_purpose] == [
        ("rollback", "failed", 1),
        ("rollback", "succeeded", 2),
        ("undo", "succeeded", 1),
    ]


def test_only_rollbacks_that_succeeded_restore() -> None:
    figures = measure("production", some_runs())
    assert (figures.restore.count, figures.restore.sum_s) == (2, 200)
    assert (figures.restore.median_s, figures.restore.p95_s) == (100, 100)
    forecast = platform_plan().forecast_s
    assert figures.forecast_error == pytest.approx(abs(100 - forecast) / forecast)


def test_a_forecast_is_measured_at_the_steps_that_taly_did_itself() -> None:
    plan = platform_plan()
    step = plan.steps[0]
    story = Story(replace(plan, steps=(step,))).begin().say(StepStarted(step=step.id))
    story.say(StepDone(step=step.id, how="already"), after_s=1)
    figures = measure("production", [story.end("succeeded").fold()])
    assert figures.step_forecast_error is None
    assert [(one.kind, one.how, one.count) for one in figures.steps] == [
        ("roll-back", "already", 1)
    ]
    story = Story(replace(plan, steps=(step,))).begin().do(step, seconds=28.0)
    figures = measure("production", [story.end("succeeded").fold()])
    assert figures.step_forecast_error == pytest.approx(0.5)


def test_an_undo_that_failed_took_nothing_back() -> None:
    one = succeeded()
    assert measure("production", [one.fold(), undo_of(one, "failed")]).undo_rate == 0


def test_of_nothing_nothing_is_known() -> None:
    figures = measure("production", [])
    assert figures.success_rate is figures.undo_rate is figures.forecast_error is None
    assert (figures.restore.median_s, figures.restore.p95_s) == (None, None)


@given(st.lists(st.floats(min_value=0, max_value=1e6), min_size=1))
def test_the_95th_percentile_is_a_time_that_was_taken(values: list[float]) -> None:
    found = spread(values)
    assert found.p95_s is not None
    assert found.median_s is not None
    assert found.p95_s in values
    assert sum(value <= found.p95_s for value in values) >= ceil(len(values) * 0.95 - 1e-9)
    assert sum(value < found.p95_s for value in values) < len(values) * 0.95
    assert min(values) <= found.median_s <= max(values)
    assert spread(values[::-1]) == found


@given(st.lists(st.sampled_from(["succeeded", "failed", "undone", "open"]), max_size=6))
def test_the_counts_add_up(endings: list[str]) -> None:
    runs: list[Run] = []
    for number, ending in enumerate(endings):
        story = Story(platform_plan(), f"run-{number}", START + timedelta(hours=number)).begin()
        if ending != "open":
            story.end("failed" if ending == "failed" else "succeeded")
        runs.append(story.fold())
        if ending == "undone":
            runs.append(replace(undo_of(story), id=f"undo-{number}"))
    figures = measure("production", runs)
    assert sum(figures.outcomes.values()) == figures.runs
    assert sum(one.count for one in figures.by_purpose) == figures.runs
    assert figures.runs == sum({"open": 0, "undone": 2}.get(one, 1) for one in endings)
    for rate in (figures.success_rate, figures.undo_rate):
        assert rate is None or 0 <= rate <= 1
    read(exposition(figures))


def figures_of(environment: str) -> Metrics:
    return measure(environment, some_runs())


def test_prometheus_can_read_it() -> None:
    samples = read(exposition(figures_of("production")))
    where = ("environment", "production")
    failed_ones = ("taly_runs_total", (where, ("purpose", "rollback"), ("outcome", "failed")))
    assert samples[failed_ones] == 1
    assert samples["taly_time_to_restore_seconds", (where, ("quantile", "0.95"))] == 100
    assert samples["taly_time_to_restore_seconds_count", (where,)] == 2
    assert samples["taly_time_to_restore_seconds_sum", (where,)] == 200
    assert samples["taly_run_success_ratio", (where,)] == 0.75
    assert ("taly_steps_total", (where, ("kind", "restore"), ("how", "acted"))) in samples


def test_what_is_not_known_has_no_sample() -> None:
    samples = read(exposition(measure("production", [])))
    assert {name for name, _ in samples} == {
        "taly_time_to_restore_seconds_sum",
        "taly_time_to_restore_seconds_count",
    }


@given(st.text())
def test_any_label_is_read_back_as_it_was(environment: str) -> None:
    samples = read(exposition(figures_of(environment)))
    assert {dict(labels)["environment"] for _, labels in samples} == {environment}
