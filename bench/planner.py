"""(c) From histories to a plan: how long for a thousand components, and how that grows."""

import gc
import time
from collections.abc import Sequence
from datetime import timedelta

from bench.figures import Figure, growth, middle
from bench.generated import EPOCH, SPACING, environment, observed, steps_of
from taly.cli.main import GARBAGE_AFTER
from taly.model.release import Snapshot
from taly.planning.planner import PlanOptions, make_plan
from taly.planning.releases import build_releases
from taly.planning.target import choose

GOAL_S = 1.0
GOAL_GROWTH = 1.15
"""The exponent that still counts as linear: noise and caches give a little."""


def measure(*, sizes: Sequence[int], deploys: int, n: int) -> list[Figure]:
    """Seconds at the largest size, and the exponent over all of them."""
    gc.set_threshold(GARBAGE_AFTER)  # as `taly` itself runs
    rows = {size: [once(size, deploys) for _ in range(n)] for size in sizes}
    medians = {size: middle(sum(one.values()) for one in runs) for size, runs in rows.items()}
    largest = max(sizes)
    parts = {key: middle(one[key] for one in rows[largest]) for key in rows[largest][0]}
    return [
        Figure(
            part="c",
            title=f"planner, {largest:,} components × {deploys:,} deployments",
            value=medians[largest],
            unit="s",
            goal=GOAL_S,
            n=n,
            note=", ".join(f"{name} {seconds:.2f} s" for name, seconds in parts.items()),
            measured={"seconds": {str(size): rows[size] for size in sizes}},
        ),
        Figure(
            part="c",
            title="its growth: exponent of the number of components",
            value=growth(list(medians), list(medians.values())),
            unit="",
            goal=GOAL_GROWTH,
            n=n,
            note=", ".join(f"{size:,}: {seconds:.2f} s" for size, seconds in medians.items()),
            measured={"median_s": {str(size): seconds for size, seconds in medians.items()}},
        ),
    ]


def once(components: int, deploys: int) -> dict[str, float]:
    """Seconds of each part, for a platform whose every release deploys every component."""
    env = environment(components)
    seen = {one.name: observed(one.name, deploys, i) for i, one in enumerate(env.components)}
    now = EPOCH + deploys * SPACING + timedelta(hours=1)
    snapshot = Snapshot(environment=env.name, taken_at=now, components=seen)
    began = time.perf_counter()
    releases = build_releases(env, seen, (), {}, {}, env.policy.grouping_window_s)
    built = time.perf_counter()
    choice = choose("last-good", releases, seen, now)
    chosen = time.perf_counter()
    plan = make_plan(
        env,
        snapshot,
        choice.release,
        releases.live,
        choice.why,
        steps_of,
        {},
        PlanOptions(),
        releases=releases.all,
    )
    ended = time.perf_counter()
    if len(plan.steps) != 2 * components + 1 or len(releases) != deploys:
        raise AssertionError(f"{len(plan.steps)} steps, {len(releases)} releases: no such platform")
    return {"releases": built - began, "target": chosen - built, "plan": ended - chosen}
