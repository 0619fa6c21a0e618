"""The engine: starts runs, works through their plans, takes over those that were left."""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

import httpx2
import structlog

import taly
from taly.engine.execution import Execution
from taly.engine.journal import Heartbeat, Journal, monotonic_s
from taly.engine.owner import Owner
from taly.engine.store.port import Lease, Store
from taly.engine.tasks import MAX_THREADS
from taly.errors import LeaseLost, TalyError, UsageError
from taly.model.events import CancelRequested, Recorded, RunFinished
from taly.model.plan import Plan, StepKind
from taly.model.ports import Actuator, Clock
from taly.model.run import Fold, Run

log = structlog.get_logger(__name__)

OnEvent = Callable[[Recorded], None]
WAKE_S = 0.5
"""How often the main thread looks up: a signal may be delivered to another thread."""
LEASE_S = 20.0


def nobody(_: Recorded) -> None:
    """Hears events and does nothing."""


class _Listener:
    """Keeps the fold up to date, and lets a display hear as well."""

    def __init__(self, fold: Fold, on_event: OnEvent) -> None:
        self.fold = fold
        self._on_event = on_event

    def hear(self, recorded: Recorded) -> None:
        """Take in an event. A display that breaks hears no more; the run goes on without it."""
        self.fold.apply(recorded)
        try:
            self._on_event(recorded)
        except Exception:
            log.exception("the display of events failed; the run goes on without it")
            self._on_event = nobody


class Engine:
    """Executes plans on one store with these providers."""

    def __init__(
        self,
        *,
        store: Store,
        providers: Mapping[str, Actuator],
        clock: Clock,
        owner: Owner | None = None,
        http: httpx2.Client | None = None,
        lease_s: float = LEASE_S,
        max_threads: int = MAX_THREADS,
        tick: Callable[[], float] = monotonic_s,
        anchored: Callable[[Plan], Plan] = lambda plan: plan,
    ) -> None:
        """`lease_s` counts real seconds, whatever the clock, as `tick` does.

        `http` asks the applications. `anchored` gives a plan from another machine the folders of
        this one.
        """
        self._store, self._providers, self._clock = store, providers, clock
        self._owner = owner or Owner.here()
        self._http = http or httpx2.Client(follow_redirects=False)
        self._lease_s, self._max_threads, self._tick = lease_s, max_threads, tick
        self._anchored = anchored
        self._leases: dict[str, Lease] = {}
        self._under_way: dict[str, Execution] = {}

    def start(self, plan: Plan) -> str:
        """Lock the environment for this plan; the new run's id. Nothing is done yet.

        Raises EnvironmentLocked, which names the run that holds it.
        """
        self._check_providers(plan)
        lease = self._store.create_run(
            plan,
            self._owner,
            at=self._clock.now(),
            version=taly.__version__,
            lease_s=self._lease_s,
        )
        self._leases[lease.run_id] = lease
        return lease.run_id

    def resume(self, run_id: str, on_event: OnEvent = nobody) -> Run:
        """Go on with a run that nobody works on; as `execute`.

        Raises EnvironmentLocked while its process lives, UsageError `run-unknown`, `run-finished`.
        """
        self.take_over(run_id)
        return self.execute(run_id, on_event)

    def take_over(self, run_id: str) -> None:
        """Take the lease of a run that nobody works on; raises as `resume`."""
        self._check_providers(self._store.plan(run_id))
        self._leases[run_id] = self._store.take_lease(
            run_id, self._owner, at=self._clock.now(), lease_s=self._lease_s
        )

    def adopt(self, lease: Lease) -> None:
        """Work under a lease that was taken elsewhere in this process."""
        self._check_providers(self._store.plan(lease.run_id))
        self._leases[lease.run_id] = lease

    def execute(self, run_id: str, on_event: OnEvent = nobody) -> Run:
        """Work through a run that was started or taken over here, and return it as it then stands.

        Its outcome is None when a step is unknown: the run keeps the environment, `resume` settles
        it. `on_event` hears every event, those of earlier processes too, in order, from one thread
        at a time. On the first KeyboardInterrupt no new step starts, those under way are waited
        for, and it is raised again unless the run came to its end; on the second all is left at
        once, to be resumed. Raises LeaseLost when another process took the run over,
        OutcomeUnknown when the store is out of reach.
        """
        return self.carry_out(self.prepare(run_id, on_event))

    def carry_out(self, execution: Execution) -> Run:
        """Work through what was prepared; as `execute`."""
        run_id = execution.journal.lease.run_id
        self._under_way[run_id] = execution
        try:
            return self._wait_for(execution)
        finally:
            del self._under_way[run_id]

    def prepare(self, run_id: str, on_event: OnEvent = nobody) -> Execution:
        """The execution of a run that was started or taken over here, with nothing done yet."""
        if run_id not in self._leases:
            self.take_over(run_id)
        return self._execution(self._leases.pop(run_id), on_event)

    def conclude(self, execution: Execution) -> Run:
        """The run as its ended execution leaves it; one that is not over may be taken at once."""
        run = execution.result()
        if run.outcome is None:
            self._store.let_go(execution.journal.lease)
        return run

    def check_first(self, run_id: str, check: Callable[[], None]) -> None:
        """Make a check of a run that was just started here, and keep its lease meanwhile.

        What the check raises ends the run as cancelled, with nothing done, and is raised.
        """
        lease = self._leases.pop(run_id)
        execution = self._execution(lease, nobody)
        pen = execution.journal
        try:
            with Heartbeat(store=self._store, journal=pen, on_cancel=execution.cancel):
                check()
            pen.check()
        except BaseException as error:
            why = error.reference if isinstance(error, TalyError) else type(error).__name__
            with suppress(TalyError, LeaseLost):
                pen.append(CancelRequested(by=f"{self._owner}: {why}"))
                pen.append(RunFinished(outcome="cancelled"))
            raise
        self._leases[run_id] = lease

    def holds(self, run_id: str) -> bool:
        """Whether the run was started or taken over here, and waits to be executed."""
        return run_id in self._leases

    def is_successor(self, run_id: str) -> bool:
        """Whether somebody had the lease of this run before we took it."""
        return self._leases[run_id].fence > 1

    def interrupt(self, run_id: str) -> None:
        """Start no new step of a run that is executed in this process; leave it to be resumed."""
        if run_id in self._under_way:
            self._under_way[run_id].interrupt()

    def abandon(self, run_id: str) -> None:
        """Stop working on a run of this process where it stands; leave it to be resumed."""
        if run_id in self._under_way:
            self._under_way[run_id].abandon()

    def _execution(self, lease: Lease, on_event: OnEvent) -> Execution:
        plan = self._anchored(self._store.plan(lease.run_id))
        listener, last = _Listener(Fold(lease.run_id, plan), on_event), 0
        for recorded in self._store.events(lease.run_id):
            listener.hear(recorded)
            last = recorded.seq
        journal = Journal(
            store=self._store,
            lease=lease,
            clock=self._clock,
            after=last,
            on_event=listener.hear,
            tick=self._tick,
        )
        return Execution(
            plan=plan,
            fold=listener.fold,
            journal=journal,
            providers=self._providers,
            clock=self._clock,
            http=self._http,
            max_threads=self._max_threads,
            cancel_by=self._store.cancel_requested_by(lease.run_id),
        )

    def _wait_for(self, execution: Execution) -> Run:
        """Wait in this thread, which gets the signals, while others work."""
        interrupted = False
        with Heartbeat(store=self._store, journal=execution.journal, on_cancel=execution.cancel):
            worker = threading.Thread(target=execution.work, daemon=True, name="taly-run")
            worker.start()
            while not execution.ended.is_set():
                try:
                    execution.ended.wait(WAKE_S)
                except KeyboardInterrupt:
                    if interrupted:
                        execution.abandon()
                        raise
                    interrupted = True
                    execution.interrupt()
        run = self.conclude(execution)
        if run.outcome is None and interrupted:
            raise KeyboardInterrupt
        return run

    def _check_providers(self, plan: Plan) -> None:
        for step in plan.steps:
            if step.kind is not StepKind.VERIFY_ALL and step.provider not in self._providers:
                raise UsageError(
                    f"step {step.id} needs the provider {step.provider!r}, which is not set up",
                    reference="provider-unknown",
                    hint="taly status",
                )
