"""Many seeds at once: one process a core, each with a share of the seeds."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import count, islice
from multiprocessing import get_context

from taly.simulate.faults import Coverage
from taly.simulate.planted import planted
from taly.simulate.runner import one
from taly.simulate.store import remove_stores

SHARE = 50
"""Seeds given to a process at a time."""
REAL_SHARE = 10
"""The same where real providers are played, which takes longer."""


@dataclass(slots=True)
class Summary:
    """What came of many seeds."""

    seeds: int = 0
    events: int = 0
    seconds: float = 0.0
    failing: dict[int, str] = field(default_factory=dict)
    """Seed → the first invariant that did not hold in it."""
    outcomes: Counter[str] = field(default_factory=Counter)
    coverage: Coverage = field(default_factory=Coverage)

    def add(self, other: "Summary") -> None:
        """Count another's too."""
        self.seeds += other.seeds
        self.events += other.events
        self.failing.update(other.failing)
        self.outcomes.update(other.outcomes)
        self.coverage.add(other.coverage)


def simulate(
    seeds: Iterable[int], *, jobs: int, seconds: float = 0.0, plant: str = "", real: bool = False
) -> Summary:
    """Play the seeds in `jobs` processes; after `seconds`, if not 0, no new ones are begun."""
    began, total = time.monotonic(), Summary()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = []
        for share in _shares(seeds, REAL_SHARE if real else SHARE):
            waiting.append(pool.submit(_played, share, plant, real))
            while len(waiting) >= 2 * jobs:
                total.add(waiting.pop(0).result())
            if seconds and time.monotonic() - began >= seconds:
                break
        for future in waiting:
            total.add(future.result())
        for gone in [pool.submit(remove_stores) for _ in range(4 * jobs)]:
            gone.result()
    total.seconds = time.monotonic() - began
    return total


def fixed_and_fresh(first: int) -> Iterator[int]:
    """Without end: ten seeds from 0 on, which are always the same, ten from `first` on, and so on.

    Ten are what a process gets at a time where real providers are played.
    """
    for start in count(0, REAL_SHARE):
        yield from range(start, start + REAL_SHARE)
        yield from range(first + start, first + start + REAL_SHARE)


def found_after(name: str, seeds: Iterable[int], *, real: bool = False) -> tuple[int, str] | None:
    """How many seeds it takes until this planted bug is found, and by what; None = never."""
    with planted(name):
        for played, seed in enumerate(seeds, 1):
            verdict = one(seed, real=real)
            if verdict.violations:
                return played, verdict.violations[0]
    return None


def _shares(seeds: Iterable[int], size: int) -> Iterator[Sequence[int]]:
    left = iter(seeds)
    while share := list(islice(left, size)):
        yield share


def _played(seeds: Sequence[int], plant: str, real: bool) -> Summary:
    summary = Summary()
    with planted(plant) if plant else nullcontext():
        for seed in seeds:
            verdict = one(seed, real=real)
            summary.seeds += 1
            summary.events += verdict.events
            summary.outcomes.update(verdict.outcomes)
            summary.coverage.add(verdict.coverage)
            if verdict.violations:
                summary.failing[seed] = verdict.violations[0]
    return summary
