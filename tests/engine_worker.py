"""A process of its own that executes a run, so that tests can kill or freeze it.

python -m tests.engine_worker STORE VENDOR_LOG plain|durable RUN|new LEASE_S [freeze]
"""

import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from taly.clock import ScaledClock
from taly.engine.durable import DurableExecutor, Executor
from taly.engine.journal import monotonic_s
from taly.engine.runner import Engine
from taly.engine.store import open_store
from taly.errors import LeaseLost
from taly.model.events import Recorded, StepIntended
from taly.model.plan import Plan
from tests.engine_world import FakeVendor, SharedFile, plan, step

LOST = 75


def chain(length: int = 16) -> Plan:
    """Steps one after the other, so that there is always one to be killed in."""
    steps = [step("c0")]
    for number in range(1, length):
        steps.append(step(f"c{number}", needs=(steps[-1].id,)))
    return plan(*steps)


def vendor(log: Path) -> FakeVendor:
    """Operations last, reads lag, and the vendor outlives us."""
    clock = ScaledClock(origin=datetime(1970, 1, 1, tzinfo=UTC), at_unix=0, speed=30)
    return FakeVendor(clock=clock, log=SharedFile(log), lag_s=1.5, operation_s=1.2, settle_s=2)


def freeze() -> None:
    """Stop here, and nowhere else: this thread may run on for a moment after the signal is sent."""
    asked = monotonic_s()
    os.kill(os.getpid(), signal.SIGSTOP)
    while monotonic_s() - asked < 0.3:
        time.sleep(0.005)


def main() -> int:
    """Execute; 75 when the lease was lost."""
    url, log, how, run_id, lease_s, *more = sys.argv[1:]
    world = vendor(Path(log))
    engine = Engine(
        store=open_store(url), providers={"fake": world}, clock=world.clock, lease_s=float(lease_s)
    )
    executor: Executor = DurableExecutor(engine, url) if how == "durable" else engine

    def heard(recorded: Recorded) -> None:
        if more == ["freeze"] and isinstance(recorded.event, StepIntended):
            freeze()  # durable, and not yet sent

    if run_id == "new":
        run_id = engine.start(chain())
    else:
        engine.take_over(run_id)
    print(run_id, flush=True)
    try:
        run = executor.execute(run_id, heard)
    except LeaseLost:
        return LOST
    return 0 if run.outcome == "succeeded" else 1


if __name__ == "__main__":
    sys.exit(main())
