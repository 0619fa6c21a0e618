"""(j) What durability costs: one plan with the real store and DBOS, and without either.

The vendor answers at once, so that nothing hides behind waiting: an upper bound.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from bench.figures import Figure, middle, ratio
from bench.generated import FakeVendor, environment, latencies
from bench.thousand import vendors_critical_s
from taly.app.context import Context
from taly.app.plans import plan_rollback
from taly.clock import ScaledClock
from taly.config import Config
from taly.engine.durable import DurableExecutor, Executor
from taly.engine.owner import Owner
from taly.engine.runner import Engine
from taly.engine.store import Store
from taly.engine.store.open import open_store
from taly.engine.store.port import Lease
from taly.model.events import Event, Recorded, RunStarted
from taly.model.plan import Plan
from taly.planning.planner import PlanOptions

SPEED = 10_000.0
"""The clock's: the engine's own waits are none."""
LOW_S, HIGH_S = 60.0, 120.0
"""How long an operation takes in the run that the share is told of."""


class MemoryStore:
    """What the engine asks of a store, for one process and as long as it lives."""

    def __init__(self) -> None:
        self._plans: dict[str, Plan] = {}
        self._events: defaultdict[str, list[Recorded]] = defaultdict(list)

    def create_run(
        self, plan: Plan, owner: Owner, *, at: datetime, version: str, lease_s: float
    ) -> Lease:
        """Keep the plan."""
        lease = Lease(run_id=f"run-{len(self._plans):06}", fence=1, lease_s=lease_s)
        self._plans[lease.run_id] = plan
        started = RunStarted(plan_digest=plan.digest, by=owner.by, host=owner.host, version=version)
        self.append(lease, [(at, started)], after=0)
        return lease

    def append(
        self, lease: Lease, events: Sequence[tuple[datetime, Event]], *, after: int
    ) -> list[Recorded]:
        """Number them."""
        added = [
            Recorded(seq=seq, at=at, fence=lease.fence, event=event)
            for seq, (at, event) in enumerate(events, after + 1)
        ]
        self._events[lease.run_id] += added
        return added

    def events(self, run_id: str, *, after: int = 0) -> list[Recorded]:
        """Those above `after`."""
        return self._events[run_id][after:]

    def plan(self, run_id: str) -> Plan:
        """As it was given."""
        return self._plans[run_id]

    def cancel_requested_by(self, run_id: str) -> str:
        """Nobody."""
        return ""

    def renew(self, lease: Lease) -> None:
        """Nobody else is there to take it."""

    def let_go(self, lease: Lease) -> None:
        """The same."""


def measure(components: int, *, n: int) -> list[Figure]:
    """In turns, so that a machine that is slower for a while is so for both."""
    runs = [once(components) for _ in range(n)]
    typical = {key: middle(one[key] for one in runs) for key in runs[0]}
    more_s, steps = typical["durable_s"] - typical["memory_s"], typical["steps"]
    measured: dict[str, Any] = {"components": components, "runs": runs, "median": typical}
    return [
        Figure(
            part="j",
            title="durability (store + DBOS) for one step",
            value=more_s / steps * 1000,
            unit="ms/step",
            n=n,
            note=f"{steps:.0f} steps: {typical['durable_s']:.2f} s with it, "
            f"{typical['memory_s']:.2f} s without; its start {typical['launch_s']:.2f} s",
            measured=measured,
        ),
        Figure(
            part="j",
            title="the same as a share of the run in real time",
            value=ratio(100 * (more_s + typical["launch_s"]), typical["vendors_s"]),
            unit="%",
            n=n,
            note=f"of {typical['vendors_s']:.0f} s that its vendors take, start included",
            measured=measured,
        ),
    ]


def once(components: int) -> dict[str, float]:
    """One plan, executed both ways; seconds."""
    clock = ScaledClock(origin=datetime.now(UTC), at_unix=time.time(), speed=SPEED)
    with tempfile.TemporaryDirectory(prefix="taly-bench-") as folder:
        file = Path(folder) / "store.db"
        small, plan = (_plan(size, clock, Path(folder)) for size in (3, components))
        env = environment(components)
        vendor = FakeVendor(clock=clock, seconds=dict.fromkeys(_names(env), 0.0), read_s=0.0)
        with _durable(_engine(open_store(file), vendor, clock), file) as (engine, executor):
            launch_s = _executed(engine, executor, small)
            durable_s = _executed(engine, executor, plan)
        engine = _engine(cast(Store, MemoryStore()), vendor, clock)
        small_s = _executed(engine, engine, small)
        memory_s = _executed(engine, engine, plan)
    vendor.took = latencies(env, LOW_S, HIGH_S)
    return {
        "durable_s": durable_s,
        "memory_s": memory_s,
        "launch_s": max(0.0, launch_s - small_s),
        "steps": float(len(plan.steps)),
        "vendors_s": vendors_critical_s(plan, vendor),
    }


def _names(env: Any) -> list[str]:
    return [one.name for one in env.components]


def _plan(components: int, clock: ScaledClock, folder: Path) -> Plan:
    env = environment(components)
    vendor = FakeVendor(clock=clock, seconds={}, read_s=0.0)
    config = Config(
        path=folder / "taly.toml", environment=env, store=str(folder / f"plan-{components}.db")
    )
    context = Context(config=config, clock=clock, environ={}, _providers={"fake": vendor})
    return plan_rollback(context, "last-good", PlanOptions()).plan


def _engine(store: Store, vendor: FakeVendor, clock: ScaledClock) -> Engine:
    return Engine(store=store, providers={"fake": vendor}, clock=clock)


@contextmanager
def _durable(engine: Engine, file: Path) -> Iterator[tuple[Engine, DurableExecutor]]:
    executor = DurableExecutor(engine, file)
    try:
        yield engine, executor
    finally:
        executor.close()


def _executed(engine: Engine, executor: Executor, plan: Plan) -> float:
    began = time.perf_counter()
    run = executor.execute(engine.start(plan))
    seconds = time.perf_counter() - began
    if run.outcome != "succeeded":
        raise AssertionError(f"the run {run.outcome}")
    return seconds
