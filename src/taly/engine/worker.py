"""A worker: takes runs from the store's queue, one at a time, until it is told to end.

The store is the truth here too: a run that waits is one that nobody holds a lease of, and taking it
is taking its lease. Workers know nothing of each other (docs/adr/0031-workers.md).
"""

import json
import queue
import random
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

import taly
from taly.engine.execution import Execution
from taly.engine.journal import Heartbeat
from taly.engine.owner import Owner
from taly.engine.redaction import without_secrets
from taly.engine.runner import Engine
from taly.engine.store.port import Lease, RunSummary, Store, WorkerRow
from taly.errors import LeaseLost, OutcomeUnknown, TalyError, UsageError
from taly.model.events import CancelRequested, Recorded, RunFinished
from taly.model.plan import Plan
from taly.model.ports import Clock
from taly.model.run import Run, StepPhase

POLL_S = 0.5
"""Real seconds between two looks into an empty queue."""
BEAT_S = 2.0
TRIES = 5
"""Workers that may take a run over one after another without one step's end; the next one parks it,
as something in it may be what kills them."""
BACKOFF_MAX_S = 30.0
"""Real seconds between two tries to reach a store that does not answer, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a run was not begun; its follower ends as if its own checks had refused."""

    reference: str
    message: str
    hint: str = ""

    def as_text(self) -> str:
        """For the run's row: vendors repeat what they were given, secrets too."""
        said = {"reference": self.reference, "message": self.message, "hint": self.hint}
        clean = {name: without_secrets(text) for name, text in said.items()}
        return json.dumps(clean, ensure_ascii=False)

    @classmethod
    def of_text(cls, text: str) -> "Refusal":
        """As the run's row has it."""
        found = json.loads(text)
        names = ("reference", "message", "hint")
        return cls(**{name: str(found.get(name, "")) for name in names})


class Served(Protocol):
    """One environment, as this worker can serve it."""

    @property
    def name(self) -> str:
        """The environment's."""
        ...

    @property
    def fits(self) -> Mapping[str, str]:
        """Component → digest of its settings here."""
        ...

    @property
    def engine(self) -> Engine:
        """What executes its runs."""
        ...

    @property
    def store(self) -> Store:
        """The connection that its runs use."""
        ...

    @property
    def clock(self) -> Clock:
        """Its time."""
        ...

    @property
    def lease_s(self) -> float:
        """Real seconds of silence after which others take its run over."""
        ...

    def refusal(self, plan: Plan) -> Refusal | None:
        """What speaks against beginning this plan, seen from here; touches nothing."""
        ...

    def concluded(self, run: Run) -> str:
        """What is to be done when a run has ended; what was done, in words, or empty."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One line of a worker's log."""

    at: datetime
    what: str
    """A stable word: started, took, finished, lost, …"""
    text: str
    run: str = ""
    recorded: Recorded | None = field(default=None, repr=False)
    """The event of the run that the line tells, if it tells one."""


class Worker:
    """Works in the thread that calls `work`; `drain` may be called from a signal's handler."""

    def __init__(
        self,
        *,
        store: Store,
        served: Sequence[Served],
        name: str,
        say: Callable[[Said], None],
        owner: Owner | None = None,
        poll_s: float = POLL_S,
        beat_s: float = BEAT_S,
    ) -> None:
        """`store` is a connection of its own, so that a heartbeat never waits for a run."""
        self.id = f"w{uuid.uuid4().hex[:10]}"
        self._store, self._say_line = store, say
        self._served = {one.name: one for one in served}
        self._owner = owner or Owner.here(f"worker {name}")
        self._poll_s, self._beat_s = poll_s, beat_s
        self._told: queue.SimpleQueue[None] = queue.SimpleQueue()
        """Wakes the idle loop. A SimpleQueue, as a signal may come amid one of its own calls."""
        self._draining = False
        self._outdated: UsageError | None = None
        self._lost_for = 0
        """How often in a row the store did not answer."""
        self._current: tuple[Served, str] | None = None
        self._ended = threading.Event()
        self._row = WorkerRow(
            id=self.id,
            name=name,
            owner=self._owner,
            version=taly.__version__,
            environments={one.name: one.fits for one in served},
            since=datetime.now(UTC),
        )

    # Told from elsewhere

    def drain(self) -> None:
        """Take no more runs; let the present one go when its steps under way have ended."""
        self._draining = True
        self._told.put(None)
        self._pass_on()

    def _pass_on(self) -> None:
        current = self._current
        if current is not None:
            current[0].engine.interrupt(current[1])

    # The loop

    def work(self) -> None:
        """Work until told to end; UsageError once a newer taly has upgraded the store."""
        self._say("started", f"{self._row.name} serves {', '.join(sorted(self._served))}")
        beats = threading.Thread(target=self._beat, daemon=True, name="taly-worker")
        beats.start()
        try:
            while not self._draining:
                self._look()
        finally:
            self._ended.set()
            beats.join(self._beat_s)  # else it might say that we live after we said good-bye
            with suppress(OutcomeUnknown):
                self._store.forget_worker(self.id)
        if self._outdated is not None:
            raise self._outdated
        self._say("ended", "told to end; no run is left in this process")

    def _look(self) -> None:
        """Take the oldest run that waits, or wait a little."""
        try:
            found = self._take()
        except OutcomeUnknown as error:
            self._rest(self._store_lost(error))
            return
        if self._lost_for:
            self._say("store-back", "the store answers again")
            self._lost_for = 0
        if found is None:
            self._rest(self._poll_s)
        else:
            self._run(*found)

    def _rest(self, seconds: float) -> None:
        with suppress(queue.Empty):
            self._told.get(timeout=seconds)

    def _store_lost(self, error: TalyError) -> float:
        """Real seconds until the next try: longer each time, and not all workers at once."""
        pause_s = min(BACKOFF_MAX_S, 2.0**self._lost_for) * random.uniform(0.5, 1.0)
        self._lost_for = min(self._lost_for + 1, 10)
        self._say("store-lost", f"{error.message}; tried again in {pause_s:.0f} s")
        return pause_s

    def _take(self) -> tuple[Served, RunSummary, Lease] | None:
        says = ""
        for run in self._store.waiting():
            served = self._served.get(run.environment)
            if served is None or self.id in run.tried:
                continue
            if other := misfits(run.fits, served.fits):
                says = f"does not take {run.id}: {', '.join(other)} set up otherwise here"
                continue
            lease = self._store.take_waiting(
                run.id, self._owner, at=served.clock.now(), lease_s=served.lease_s
            )
            if lease is not None:
                return served, run, lease
        if says and says != self._row.says:
            self._say("misfit", says)
        self._row = replace(self._row, says=says)
        return None

    # One run

    def _run(self, served: Served, was: RunSummary, lease: Lease) -> None:
        self._row = replace(self._row, run_id=lease.run_id, says="")
        self._current = (served, lease.run_id)
        begun_by = "took it" if lease.fence == 2 else f"took it over from {was.owner}"
        self._say("took", f"{begun_by}: {was.purpose} of {was.environment}", run=lease.run_id)
        try:
            self._tell_store()
            self._work_on(served, lease)
        except LeaseLost:
            self._say("lost", "another process has taken it over; stopped", run=lease.run_id)
        except OutcomeUnknown as error:
            self._say("stopped", f"stopped: {error.message}", run=lease.run_id)
        except Exception as error:  # a bug, or a plug-in's: no other worker shall meet it as well
            self._say("broke", f"{type(error).__name__}: {error}", run=lease.run_id)
            self._give_up(served, lease, for_workers=False)
        finally:
            self._current = None
            self._row = replace(self._row, run_id="")
            with suppress(OutcomeUnknown):
                self._tell_store()

    def _work_on(self, served: Served, lease: Lease) -> None:
        engine = served.engine
        engine.adopt(lease)
        execution = engine.prepare(lease.run_id, self._teller(lease))
        if is_poison(execution.so_far()):
            self._park(served, lease)
            return
        refused = self._checked(served, execution)
        if refused is not None:
            self._refuse(served, execution, refused)
            return
        if self._draining:
            served.store.let_go(lease)
            return
        self._after(served, lease, engine.carry_out(execution))

    def _checked(self, served: Served, execution: Execution) -> Refusal | None:
        """Look once more before the first step: it waited, and the credentials are ours."""
        run, pen = execution.so_far(), execution.journal
        begun = any(step.phase is not StepPhase.WAITING for step in run.steps.values())
        if begun or self._store.cancel_requested_by(run.id):
            return None
        with Heartbeat(store=served.store, journal=pen, on_cancel=execution.cancel):
            refused = served.refusal(served.store.plan(run.id))
        pen.check()
        return refused

    def _refuse(self, served: Served, execution: Execution, why: Refusal) -> None:
        """End a run that was not begun, or leave it to a worker that may see better."""
        lease, pen = execution.journal.lease, execution.journal
        if self._others(served, lease.run_id):
            self._say("refused", f"left to others: {why.message}", run=lease.run_id)
            self._give_up(served, lease, for_workers=True)
            return
        served.store.refuse(lease, why.as_text())
        pen.append(CancelRequested(by=f"{self._owner}: {why.reference}"))
        pen.append(RunFinished(outcome="cancelled"))
        self._say("refused", f"refused, nothing was touched: {why.message}", run=lease.run_id)

    def _park(self, served: Served, lease: Lease) -> None:
        """Leave the run to a person. It keeps the environment: what it began is not at its end."""
        self._say(
            "parked",
            f"parked: {TRIES} workers took it one after another, and none brought a step to its "
            f"end; next: taly show {lease.run_id}, then taly resume {lease.run_id}",
            run=lease.run_id,
        )
        self._give_up(served, lease, for_workers=False)

    def _after(self, served: Served, lease: Lease, run: Run) -> None:
        if run.outcome is not None:
            did = served.concluded(run)
            self._say("finished", f"{run.outcome}{did and f'; {did}'}", run=run.id)
        elif run.has_unknown:
            others = self._others(served, run.id)
            then = "left to another worker" if others else f"next: taly resume {run.id} --remote"
            self._say("unknown", f"its outcome cannot be seen from here; {then}", run=run.id)
            self._give_up(served, lease, for_workers=others)
        else:
            self._say("let-go", "let go after the steps under way", run=run.id)

    def _others(self, served: Served, run_id: str) -> bool:
        """Whether another worker lives that could take the run and has not tried yet."""
        run = served.store.run(run_id)
        return any(
            one.id not in (self.id, *run.tried) and can_take(one, run.environment, run.fits)
            for one in served.store.workers()
        )

    def _give_up(self, served: Served, lease: Lease, *, for_workers: bool) -> None:
        with suppress(OutcomeUnknown):
            served.store.could_not_tell(lease, self.id, for_workers=for_workers)
            served.store.let_go(lease)

    def _teller(self, lease: Lease) -> Callable[[Recorded], None]:
        def heard(recorded: Recorded) -> None:
            if recorded.fence == lease.fence:
                said = Said(
                    at=datetime.now(UTC), what="event", text="", run=lease.run_id, recorded=recorded
                )
                self._say_line(said)

        return heard

    # Heartbeats

    def _beat(self) -> None:
        """Say that we live; the store may be away, which the loop tells. Repeats a `drain`.

        A drain that came between two lines of `_run` has met no execution yet.
        """
        while not self._ended.is_set():
            if self._draining:
                self._pass_on()
            with suppress(OutcomeUnknown):
                self._tell_store()
            self._ended.wait(self._beat_s)

    def _tell_store(self) -> None:
        try:
            self._store.beat(replace(self._row, draining=self._draining))
        except UsageError as newer:  # what we append might not be what it expects
            self._outdated = newer
            self.drain()

    def _say(self, what: str, text: str, *, run: str = "") -> None:
        clean = without_secrets(text)
        self._say_line(Said(at=datetime.now(UTC), what=what, text=clean, run=run))


def misfits(run: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """The run's components that this worker does not have, or has set up otherwise."""
    return sorted(name for name, digest in run.items() if here.get(name) != digest)


def is_poison(run: Run) -> bool:
    """Whether this taking of it is one too many. Who hands it over again has as many anew."""
    return run.takeovers > 0 and run.takeovers % (TRIES + 1) == 0


def can_take(worker: WorkerRow, environment: str, fits: Mapping[str, str]) -> bool:
    """Whether that worker lives, takes runs of the environment, and has it set up like this."""
    serves = worker.environments.get(environment)
    alive = worker.is_alive and not worker.draining
    return alive and serves is not None and not misfits(fits, serves)
