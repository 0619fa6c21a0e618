"""(b) A rollback of a thousand components: all of taly but the vendors, whose times are given."""

import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.figures import Figure, critical_path_s, middle, ratio
from bench.generated import FakeVendor, environment, latencies
from taly.app.context import Context
from taly.app.plans import plan_rollback
from taly.app.runs import executor_of, start
from taly.clock import ScaledClock
from taly.config import Config
from taly.model.plan import Plan
from taly.planning.planner import PlanOptions

GOAL = 1.10


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large, and how fast the clock runs: operations of 60 to 120 s, in three waves."""

    components: int
    speed: float
    low_s: float = 60.0
    high_s: float = 120.0


def measure(size: Size, *, n: int) -> list[Figure]:
    """Planning included: from nothing known to everything verified."""
    runs = [once(size) for _ in range(n)]
    typical = {key: round(middle(one[key] for one in runs), 3) for key in runs[0]}
    note = (
        f"{typical['wall_s']:.1f} s for {typical['vendors_s']:.1f} s of vendors; "
        f"{typical['planning_s']:.1f} s until the first step; clock ×{size.speed:g}"
    )
    return [
        Figure(
            part="b",
            title=f"the same, {size.components:,} components",
            value=middle(one["ratio"] for one in runs),
            unit="×",
            goal=GOAL,
            n=n,
            note=note,
            measured={
                "components": size.components,
                "speed": size.speed,
                "runs": runs,
                "median": typical,
            },
        )
    ]


def once(size: Size) -> dict[str, float]:
    """One rollback in this process; everything in real seconds."""
    with tempfile.TemporaryDirectory(prefix="taly-bench-") as folder:
        env = environment(size.components)
        clock = ScaledClock(origin=datetime.now(UTC), at_unix=time.time(), speed=size.speed)
        vendor = FakeVendor(clock=clock, seconds=latencies(env, size.low_s, size.high_s))
        store = str(Path(folder) / "store.db")
        config = Config(path=Path(folder) / "taly.toml", environment=env, store=store)
        context = Context(config=config, clock=clock, environ={}, _providers={"fake": vendor})
        began, cpu = time.perf_counter(), time.process_time()
        planned = plan_rollback(context, "last-good", PlanOptions())
        between = time.perf_counter()
        if planned.refused:
            raise AssertionError(f"the plan was refused: {planned.findings[:3]}")
        engine, run_id = start(context, planned)
        with closing(executor_of(context, engine)) as executor:
            run = executor.execute(run_id)
            ended = time.perf_counter()
        if run.outcome != "succeeded" or len(vendor.took) != size.components:
            raise AssertionError(
                f"{run.outcome}: {len(vendor.took)} of {size.components} went back"
            )
    vendors_s = vendors_critical_s(planned.plan, vendor) / size.speed
    return {
        "wall_s": ended - began,
        "cpu_s": time.process_time() - cpu,
        "planning_s": between - began,
        "vendors_s": vendors_s,
        "ratio": ratio(ended - began, vendors_s),
    }


def vendors_critical_s(plan: Plan, vendor: FakeVendor) -> float:
    """The clock's seconds of the critical path, by what the vendor's operations really took."""
    seconds: dict[str, Any] = {f"roll-back:{name}": took for name, took in vendor.took.items()}
    return critical_path_s({step.id: step.needs for step in plan.steps}, seconds)
