"""`make bench`: the arithmetic from measured times to figures, the table, the JSON, a quick run."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from bench import __main__ as command
from bench import (
    clients,
    durability,
    generated,
    machine,
    planner,
    processes,
    report,
    startup,
    thousand,
)
from bench.figures import (
    Figure,
    could_not,
    covered_s,
    critical_path_s,
    growth,
    longest_s,
    overhead_s,
    ratio,
)
from rich.console import Console

ROOT = Path(__file__).parents[2]


def figure(value: float | None = 1.0, **facts: Any) -> Figure:
    return Figure(**{"part": "a", "title": "it", "value": value, "unit": "×", **facts})


def test_the_critical_path_follows_the_edges() -> None:
    needs = {"web": [], "api": ["web"], "job": [], "check": ["api", "job"]}
    assert critical_path_s(needs, {"web": 12.0, "api": 300.0, "job": 49.0}) == 312.0
    assert critical_path_s(needs, {"web": 12.0, "api": 300.0, "job": 400.0}) == 400.0
    assert critical_path_s({}, {}) == 0.0


def test_a_ratio_needs_something_to_compare_with() -> None:
    assert ratio(6.0, 4.0) == 1.5
    with pytest.raises(ValueError, match="nothing to compare"):
        ratio(6.0, 0.0)


def test_a_tool_cannot_be_faster_than_its_vendors() -> None:
    assert overhead_s(3.5, 1.5) == 2.0
    with pytest.raises(ValueError, match="cannot hold"):
        overhead_s(1.0, 1.5)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_growth_is_the_exponent(power: float) -> None:
    sizes = [250, 500, 1000]
    assert growth(sizes, [3e-4 * size**power for size in sizes]) == pytest.approx(power)


def test_time_that_several_requests_shared_counts_once() -> None:
    assert covered_s([(5.0, 6.0), (0.0, 2.0), (1.0, 3.0), (1.5, 1.7)]) == 4.0
    assert longest_s({"near": [(0.0, 1.0)], "far": [(0.0, 0.5), (2.0, 4.0)]}) == 2.5


def test_requests_about_no_component_are_no_vendors() -> None:
    """Health checks and the sandbox's clock are taly's own cost."""
    spans = startup.by_component([("backend", 0.1, 0.2), ("", 0.0, 9.0), ("backend", 0.4, 0.5)])
    assert spans == {"backend": [(0.1, 0.2), (0.4, 0.5)]}


@pytest.mark.parametrize(
    ("value", "facts", "status"),
    [
        (1.05, {"goal": 1.05}, "met"),
        (1.06, {"goal": 1.05}, "missed"),
        (2.9, {"goal": 3.0, "at_least": True}, "missed"),
        (3.0, {"goal": 3.0, "at_least": True}, "met"),
        (7.0, {}, "no goal"),
        (None, {}, "skipped"),
        (None, {"failed": True}, "failed"),
    ],
)
def test_a_figure_stands_to_its_goal(
    value: float | None, facts: dict[str, Any], status: str
) -> None:
    assert figure(value, **facts).status == status


def test_the_comparison_is_computed_from_measured_overheads() -> None:
    def row(wall_s: float, vendors_s: float, cpu_s: float) -> dict[str, float]:
        return {
            "wall_s": wall_s,
            "vendors_s": vendors_s,
            "overhead_s": overhead_s(wall_s, vendors_s),
            "cpu_s": cpu_s,
        }

    rows = {
        "sequence": [row(50.0, 5.0, 14.0)],
        "parallel": [row(12.0, 2.0, 20.0), row(13.0, 2.0, 22.0), row(99.0, 2.0, 99.0)],
        "taly": [row(4.0, 2.0, 2.0)],
    }
    found = clients.compare(rows, {"vercel": "vercel@1: no"})
    assert [one.value for one in found] == [5.5, 11.0, 22.5, 7.0]
    assert [one.n for one in found] == [3, 3, 1, 1]
    assert [one.status for one in found] == ["met", "met", "no goal", "no goal"]
    assert all("without vercel" in one.note for one in found)


def test_what_was_left_out_says_so() -> None:
    (left,) = clients.left_out("not measured with --no-clients")
    assert left.status == "skipped"
    assert left.note == "not measured with --no-clients"


def test_a_measurement_that_breaks_is_a_failure_and_a_missed_goal_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks() -> list[Figure]:
        raise OSError("no space left")

    output = tmp_path / "results.json"
    for measure, code in ((lambda: [figure(9.0, goal=1.0)], 0), (breaks, 1)):
        monkeypatch.setattr(command, "measurements", lambda options, m=measure: {"a": m})
        assert command.main(["--output", str(output)]) == code
    (row,) = json.loads(output.read_text())["figures"]
    assert row["status"] == "failed"
    assert "no space left" in row["note"]
    assert "no space left" in capsys.readouterr().out


def test_the_table_fits_80_columns() -> None:
    rows = [figure(1.04, goal=1.05, note="long " * 40), could_not("e", "x" * 60, "y", failed=False)]
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(report.table(rows, machine.facts()))
    text = captured.get()
    assert max(map(len, text.splitlines())) <= 80
    assert "1.040 ×" in text
    assert "skipped" in text


def test_the_page_gets_the_figures_of_a_result() -> None:
    said = report.body([figure(1.04, goal=1.05)], {"cores": 2}, quick=True)
    page = report.with_figures(f"before\n{report.BEGIN}old\n{report.END}after\n", said)
    assert page.startswith(f"before\n{report.BEGIN}| |")
    assert page.endswith(f"Machine: cores 2.\n{report.END}after\n")
    assert "| a | it | 1.040 × | ≤ 1.05 | **met** | 1 |" in page
    assert report.with_figures(page, said) == page


def test_figures_of_other_parts_stay_and_say_from_which_run_they_are() -> None:
    facts = {"at": "2026-11-01T10:00:00+00:00", "commit": "abc1234", "load_before": 0.1}
    rows = [figure(1.0, part=part) for part in "afhk"]
    earlier = report.body(rows, facts, quick=False)
    now = report.body([figure(2.0, part="f"), figure(3.0, part="h")], {"cores": 2}, quick=False)
    both = report.kept(now, earlier, "f")
    assert [(row["part"], row["value"], "of" in row) for row in both["figures"]] == [
        ("a", 1.0, True),
        ("f", 2.0, False),
        ("h", 3.0, False),
        ("k", 1.0, True),
    ]
    assert report.markdown(both).count("; of 2026-11-01, commit abc1234, load 0.1 |") == 2
    again = report.kept(report.body([], {"at": "later"}, quick=False), both, "h")
    assert again["figures"][0]["of"]["commit"] == "abc1234"


def test_the_documented_figures_have_their_place() -> None:
    page = report.PAGE.read_text("utf-8")
    assert page.count(report.BEGIN) == page.count(report.END) == 1


def test_what_a_command_and_its_children_take() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}], check=True)"
    took = processes.run([sys.executable, "-c", code], cwd=ROOT, environ=os.environ)
    assert took.cpu_s >= 0.3
    assert took.wall_s >= 0.3
    assert took.peak_mib is None or took.peak_mib > 5


def test_a_command_that_fails_is_not_measured() -> None:
    argv = [sys.executable, "-c", "import sys; sys.exit('it broke')"]
    with pytest.raises(processes.CommandFailed, match="exited 1: it broke"):
        processes.run(argv, cwd=ROOT, environ=os.environ)


def test_the_planner_is_given_what_the_figure_says() -> None:
    largest, grows = planner.measure(sizes=(5, 10, 20), deploys=30, n=1)
    parts = largest.measured["seconds"]["20"][0]
    assert largest.value == pytest.approx(sum(parts.values()))
    assert set(grows.measured["median_s"]) == {"5", "10", "20"}


def test_a_generated_rollback_waits_for_its_vendors_in_their_order() -> None:
    size = thousand.Size(components=9, speed=200.0)
    row = thousand.once(size)
    given = generated.latencies(generated.environment(9), size.low_s, size.high_s)
    ways = [sum(given[f"c{i + 3 * wave:04}"] for wave in range(3)) for i in range(3)]
    assert row["vendors_s"] == pytest.approx(max(ways) / size.speed, rel=0.1)
    assert row["ratio"] == pytest.approx(row["wall_s"] / row["vendors_s"])
    assert row["ratio"] > 1.0
    left = [thread.name for thread in threading.enumerate() if "dbos" in thread.name]
    assert left == [], "DBOS's queue uses `random`, also while a later test's Hypothesis draws"


def test_durability_is_what_the_same_plan_takes_more_with_it() -> None:
    a_step, share = durability.measure(9, n=1)
    (run,) = a_step.measured["runs"]
    more_s = run["durable_s"] - run["memory_s"]
    assert run["steps"] == 19
    assert a_step.value == pytest.approx(more_s / 19 * 1000)
    assert share.value == pytest.approx(100 * (more_s + run["launch_s"]) / run["vendors_s"])
    assert 180 < run["vendors_s"] < 360, "three waves of 60 to 120 s"


def test_a_quick_run_takes_every_measurement(tmp_path: Path) -> None:
    """As its user types it, with the processes and vendors that a full run has."""
    output = tmp_path / "results.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--output", str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(output.read_text())
    assert (said["format_version"], said["kind"], said["quick"]) == ("1.0", "bench", True)
    assert {"cores", "python", "commit", "load_before"} <= said["machine"].keys()
    rows = {row["part"]: row for row in said["figures"]}
    assert list(rows) == list("abcdefghijk")
    for part in "ab":
        (run,) = rows[part]["measured"]["runs"]
        assert rows[part]["value"] == pytest.approx(run["wall_s"] / run["vendors_s"])
        assert run["vendors_s"] > 0
    (run,) = rows["d"]["measured"]["runs"]
    assert rows["d"]["value"] == pytest.approx((run["wall_s"] - run["slowest_s"]) * 1000)
    assert rows["e"]["status"] == "skipped"
    assert rows["k"]["value"] == pytest.approx(3 / rows["k"]["measured"]["seconds"])
    assert max(map(len, done.stdout.splitlines())) <= 80
