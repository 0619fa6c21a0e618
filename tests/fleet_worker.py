"""A worker process on the small vendor of tests.engine_world, for tests that kill, freeze and cut.

python -m tests.fleet_worker STORE VENDOR_LOG NAME LEASE_S [HOST:PORT]

The vendor is only reached while something answers at HOST:PORT. One JSON document a line on stdout.
"""

import json
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from taly.clock import ScaledClock
from taly.engine.owner import Owner
from taly.engine.runner import Engine
from taly.engine.store import Store, open_store, postgres
from taly.engine.worker import Refusal, Said, Worker
from taly.errors import VendorUnavailable
from taly.model.plan import Plan, Step
from taly.model.ports import Attempt, Probe, Say, silent
from taly.model.run import Run
from tests.engine_world import FakeVendor, SharedFile, plan, step

SPEED = 30
DEADLINE_S = 75.0
"""On the vendor's clock: a step that cannot be seen for that long is unknown."""
KNOCK_S = 0.3


def chain(length: int, environment: str = "production") -> Plan:
    """Steps one after the other: about a fifth of a real second each."""
    steps = [step("c0", deadline_s=DEADLINE_S)]
    for number in range(1, length):
        steps.append(step(f"c{number}", needs=(steps[-1].id,), deadline_s=DEADLINE_S))
    return plan(*steps, environment=environment)


@dataclass
class DoorVendor(FakeVendor):
    """A vendor behind a network."""

    door: tuple[str, int] | None = None

    def _knock(self) -> None:
        if self.door is None:
            return
        try:
            with socket.create_connection(self.door, timeout=KNOCK_S) as there:
                there.settimeout(KNOCK_S)
                if there.recv(1):
                    return
        except OSError as error:
            raise VendorUnavailable(f"{error}", reference="fake-unreachable") from error
        raise VendorUnavailable("nobody answers", reference="fake-unreachable")

    def act(self, step: Step, key: str, say: Say = silent) -> Mapping[str, str]:
        self._knock()
        return super().act(step, key, say)

    def probe(self, step: Step, attempt: Attempt | None) -> Probe:
        self._knock()
        return super().probe(step, attempt)


def vendor(log: Path, door: tuple[str, int] | None = None) -> DoorVendor:
    """Operations last, reads lag, and the vendor outlives every worker."""
    clock = ScaledClock(origin=datetime(1970, 1, 1, tzinfo=UTC), at_unix=0, speed=SPEED)
    return DoorVendor(
        clock=clock, log=SharedFile(log), lag_s=1.5, operation_s=1.2, settle_s=2, door=door
    )


@dataclass
class ServedWorld:
    """One environment of the small vendor."""

    engine: Engine
    store: Store
    clock: Any
    lease_s: float = 20.0
    name: str = "production"
    fits: Mapping[str, str] = field(default_factory=dict)
    refuses: Callable[[Plan], Refusal | None] = lambda _: None
    after: Callable[[Run], str] = lambda _: ""

    def refusal(self, plan: Plan) -> Refusal | None:
        return self.refuses(plan)

    def concluded(self, run: Run) -> str:
        return self.after(run)


def served(
    store: Store, world: FakeVendor, worker: str, lease_s: float, **more: Any
) -> ServedWorld:
    """What one worker needs of its own."""
    engine = Engine(
        store=store,
        providers={"fake": world},
        clock=world.clock,
        owner=Owner.here(f"worker {worker}"),
        lease_s=lease_s,
    )
    return ServedWorld(engine=engine, store=store, clock=world.clock, lease_s=lease_s, **more)


def tell(said: Said) -> None:
    """One line a thing."""
    event = said.recorded.event.kind if said.recorded else ""
    line = {"what": said.what, "run": said.run, "text": said.text, "event": event}
    print(json.dumps(line), flush=True)


def main() -> None:
    """Work until SIGTERM."""
    url, log, name, lease_s, *more = sys.argv[1:]
    # As a lease is shorter here than anybody's, so is what the server lets a silent one lock.
    postgres.IDLE_S = 1
    door = None
    if more:
        host, _, port = more[0].rpartition(":")
        door = (host, int(port))
    one = served(open_store(url), vendor(Path(log), door), name, float(lease_s))
    worker = Worker(store=open_store(url), served=[one], name=name, say=tell, poll_s=0.05)
    signal.signal(signal.SIGTERM, lambda *_: worker.drain())
    worker.work()


if __name__ == "__main__":
    main()
