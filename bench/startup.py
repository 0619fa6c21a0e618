"""(d) What `taly status` costs beyond the slowest vendor's answers."""

import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.figures import Figure, longest_s, middle, overhead_s
from bench.platform import Box, sandbox

GOAL_MS = 150.0
DISTANT_S = 0.1
"""What a request to a real vendor takes at least, from another continent or not."""
ROOT = Path(__file__).parents[1]

Spans = Mapping[str, Sequence[tuple[float, float]]]


def measure(*, n: int, scenario: str = "taly-kept") -> list[Figure]:
    """With vendors as far away as real ones, and on loopback, where nothing hides behind them."""
    with sandbox(60.0, scenario) as box:
        near = [once(box) for _ in range(n + 1)][1:]  # the first one reads from a cold disk
        fault = {"kind": "delay", "seconds": DISTANT_S, "count": 1_000_000}
        box.control.faults(fault)
        far = [once(box) for _ in range(n)]
    return [
        _figure(far, f"vendors {DISTANT_S * 1000:.0f} ms away", goal=GOAL_MS),
        _figure(near, "vendors on loopback", goal=GOAL_MS),
    ]


def _figure(runs: Sequence[Mapping[str, float]], where: str, goal: float) -> Figure:
    typical = {key: middle(one[key] for one in runs) for key in runs[0]}
    note = (
        f"{typical['wall_s'] * 1000:.0f} ms in all, slowest component's answers "
        f"{typical['slowest_s'] * 1000:.0f} ms, first request at "
        f"{typical['first_request_s'] * 1000:.0f} ms; {typical['cpu_s'] * 1000:.0f} ms of CPU"
    )
    return Figure(
        part="d",
        title=f"taly status − slowest vendor, {where}",
        value=middle(one["cost_s"] for one in runs) * 1000,
        unit="ms",
        goal=goal,
        n=len(runs),
        note=note,
        measured={"runs": list(runs), "median": typical},
    )


def once(box: Box) -> dict[str, float]:
    """One `taly status`, its wall time against its own requests."""
    file = box.directory / "trace.json"
    took = box.run(
        sys.executable, "-m", "bench.traced", str(file), "status", "--json", PYTHONPATH=str(ROOT)
    )
    trace: dict[str, Any] = json.loads(file.read_text("utf-8"))
    slowest_s = longest_s(by_component(trace["requests"]))
    return {
        "wall_s": took.wall_s,
        "cpu_s": took.cpu_s,
        "slowest_s": slowest_s,
        "cost_s": overhead_s(took.wall_s, slowest_s),
        "first_request_s": min(start for _, start, _ in trace["requests"]),
        "requests": len(trace["requests"]),
    }


def by_component(requests: Sequence[tuple[str, float, float]]) -> Spans:
    """Component → when requests about it were under way; those about none are left out."""
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for about, start, end in requests:
        if about:
            spans[about].append((start, end))
    return spans
