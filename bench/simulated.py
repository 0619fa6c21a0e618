"""(k) How many simulated incidents are played in a second, on all cores."""

import os
import time

from bench.figures import Figure, ratio
from taly.simulate.batch import simulate
from taly.simulate.runner import one


def measure(seconds: float) -> list[Figure]:
    """Fresh processes on all cores, their start included."""
    jobs = os.cpu_count() or 1
    found = simulate(range(1_000_000), jobs=jobs, seconds=seconds)
    return [_figure(found.seeds, found.seconds, found.events, len(found.failing), jobs)]


def measure_here(seeds: int) -> list[Figure]:
    """So many in this process."""
    began = time.perf_counter()
    verdicts = [one(seed) for seed in range(seeds)]
    seconds = time.perf_counter() - began
    failing = sum(bool(verdict.violations) for verdict in verdicts)
    return [_figure(seeds, seconds, sum(verdict.events for verdict in verdicts), failing, 1)]


def _figure(seeds: int, seconds: float, events: int, failing: int, jobs: int) -> Figure:
    return Figure(
        part="k",
        title="simulated incidents (seeds) a second",
        value=ratio(seeds, seconds),
        unit="/s",
        note=f"{seeds:,} seeds in {seconds:.1f} s on {jobs} cores, {events:,} events stored; "
        f"{failing} broke an invariant",
        measured={"seeds": seeds, "seconds": seconds, "events": events, "jobs": jobs},
    )
