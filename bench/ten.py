"""(a) A rollback of ten components over real HTTP, against what its emulated vendors took."""

from collections.abc import Mapping
from typing import Any

from bench.figures import Figure, middle, ratio
from bench.platform import Box, last_run, sandbox, vendor_seconds, vendors_critical_s

GOAL = 1.05


def measure(runs: Mapping[float, int], scenario: str = "taly-kept") -> list[Figure]:
    """One figure a clock's speed, from so many runs.

    At a slower clock taly's own real seconds weigh less; real life has the slowest of all.
    """
    return [_at(speed, n, scenario) for speed, n in runs.items()]


def _at(speed: float, n: int, scenario: str) -> Figure:
    runs = []
    for _ in range(n):
        with sandbox(speed, scenario) as box:
            runs.append(once(box))
    typical = {key: round(middle(one[key] for one in runs), 3) for key in runs[0]}
    parts = (
        f"{typical['wall_s']:.1f} s for {typical['vendors_s']:.1f} s of vendors; "
        f"{typical['before_s']:.1f} s until the first step, "
        f"{typical['verifying_s']:.1f} s verifying at the end"
    )
    clock = "real time" if speed == 1 else f"clock ×{speed:g}"
    return Figure(
        part="a",
        title=f"rollback ÷ vendors' critical path, {clock}",
        value=middle(one["ratio"] for one in runs),
        unit="×",
        goal=GOAL,
        n=n,
        note=parts,
        measured={"speed": speed, "runs": runs, "median": typical},
    )


def once(box: Box) -> dict[str, float]:
    """One rollback as a process; everything in real seconds."""
    took = box.taly("rollback", "--yes", "--json")
    run: dict[str, Any] = last_run(box)
    vendors_s = vendors_critical_s(run["plan"], vendor_seconds(box)) / box.speed
    run_s = run["run_s"] / box.speed
    return {
        "wall_s": took.wall_s,
        "cpu_s": took.cpu_s,
        "vendors_s": vendors_s,
        "ratio": ratio(took.wall_s, vendors_s),
        "before_s": took.wall_s - run_s,
        "verifying_s": run["verifying_s"] / box.speed,
    }
