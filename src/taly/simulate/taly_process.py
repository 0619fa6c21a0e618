"""One simulated taly: the real engine, its jobs and heart beats put into the timeline."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, cast

import httpx2

from taly.engine.execution import Execution
from taly.engine.journal import Heartbeat
from taly.engine.owner import Owner
from taly.engine.runner import Engine
from taly.engine.store.port import Store
from taly.engine.tasks import Job, Result
from taly.errors import LeaseLost
from taly.model.events import Recorded, StepDone, StepFailed, StepStarted, StepUnknown
from taly.model.plan import Plan, Step, StepKind
from taly.model.ports import Provider
from taly.model.run import Run
from taly.simulate.canaries import CANARY
from taly.simulate.strikes import Strikes
from taly.simulate.timeline import Killed, Process, SimClock, Timeline
from taly.simulate.world import Platform


class Taly:
    """A process that executes runs."""

    def __init__(
        self,
        process: Process,
        clock: SimClock,
        strikes: Strikes,
        store: Store,
        providers: Mapping[str, Provider],
        platform: Platform,
        lease_s: float,
    ) -> None:
        """It does nothing yet."""
        self.process, self.heard = process, list[Recorded]()
        self.execution: Execution | None = None
        self.run: Run | None = None
        self.error: BaseException | None = None
        self.run_id = ""
        self._timeline, self._strikes, self._store = strikes.timeline, strikes, store
        self._platform, self._steps = platform, dict[str, Step]()
        applications = cast(httpx2.Client, Applications(platform, strikes))
        self.engine = Engine(
            store=store, providers=providers, clock=clock, owner=owner_of(process),
            http=applications, lease_s=lease_s, tick=lambda: self._timeline.now,
        )  # fmt: skip

    @property
    def busy(self) -> bool:
        """Whether it lives and has something to do."""
        begun = self.execution is not None
        return self.process.alive and begun and self.run is None and self.error is None

    def call(self, do: Callable[[], Any]) -> Any:
        """Do something as this process, now; None if it dies of it."""
        before, self._timeline.current = self._timeline.current, self.process
        try:
            return do()
        except Killed:
            return None
        finally:
            self._timeline.current = before

    def work(self, run_id: str, plan: Plan) -> None:
        """Execute a run that it has started or taken over; goes on as time passes."""
        self._steps = {step.id: step for step in plan.steps}
        self.run_id = run_id
        self.execution = self.engine.prepare(run_id, self._hear)
        journal = self.execution.journal
        heart = Heartbeat(store=self._store, journal=journal, on_cancel=self._cancel)
        self._beats = heart.beats()
        self._later(next(self._beats), self._beat)
        self._conducting = self.execution.conduct(
            SimTasks(self._timeline, self.process, self._pump)
        )
        self._drive(lambda: next(self._conducting))
        self._pump()

    def live_run(self) -> Run:
        """The run as its events have made it here."""
        assert self.execution is not None
        return self.execution.so_far()

    def pump_later(self) -> None:
        """Hear soon what was just said to its execution."""
        self._later(0.0, self._pump)

    def close(self) -> None:
        """Its connection is closed, as the operating system does."""
        self._store.close()

    def _hear(self, recorded: Recorded) -> None:
        self.heard.append(recorded)
        event = recorded.event
        if recorded.fence != self._fence():
            return  # an earlier process's
        self._platform.note(f"{self.process.name} stored {recorded.seq} {_short(event)}")
        if isinstance(event, StepStarted | StepDone | StepFailed | StepUnknown):
            step = self._steps[event.step]
            if step.kind is StepKind.VERIFY_ALL:
                self._strikes.together = isinstance(event, StepStarted)
        if isinstance(event, StepDone | StepFailed):
            step = self._steps[event.step]
            self._strikes.witness.hears(self.process, self.run_id, step, event)

    def _fence(self) -> int:
        return self.execution.journal.lease.fence if self.execution else 0

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        self._timeline.after(seconds, do, self.process)

    def _cancel(self, by: str) -> None:
        assert self.execution is not None
        self.execution.cancel(by)

    def _beat(self) -> None:
        if not self.busy:
            return
        try:
            pause_s = next(self._beats)
        except (StopIteration, Killed):
            return
        self._later(pause_s, self._beat)
        self._pump()

    def _pump(self) -> None:
        """Tell the execution what was said."""
        assert self.execution is not None
        while self.busy and not self.execution.ended.is_set() and not self.execution.said.empty():
            said = self.execution.said.get()
            self._drive(partial(self._conducting.send, said))

    def _drive(self, on: Callable[[], None]) -> None:
        assert self.execution is not None
        with suppress(StopIteration):
            on()
        if self.execution.ended.is_set() and self.process.alive:
            try:
                self.run = self.engine.conclude(self.execution)
            except Killed:
                return
            except (Exception, LeaseLost) as error:
                self.error = error
            self._strikes.witness.let_go(self.run_id, self.process)


class SimTasks:
    """Runs jobs in virtual time, in place of threads."""

    def __init__(self, timeline: Timeline, process: Process, pump: Callable[[], None]) -> None:
        """`pump` is called after each bit of work."""
        self._timeline, self._process, self._pump = timeline, process, pump
        self._closed = False

    def spawn(self, job: Job[Result], then: Callable[[Result | BaseException], None]) -> None:
        """Begin a job."""
        self._timeline.after(0.0, lambda: self._advance(job, then), self._process)

    def close(self) -> None:
        """Begin nothing more."""
        self._closed = True

    def _advance(self, job: Job[Result], then: Callable[[Result | BaseException], None]) -> None:
        if self._closed:
            return
        try:
            pause_s = next(job)
        except StopIteration as end:
            then(end.value)
        except Killed:
            return
        except BaseException as error:
            then(error)
        else:
            self._timeline.after(pause_s, lambda: self._advance(job, then), self._process)
        if self._process.alive:
            self._pump()


class Applications:
    """What the applications answer: in the place of an HTTP client."""

    def __init__(self, platform: Platform, strikes: Strikes) -> None:
        """They answer as the platform truly is."""
        self._platform, self._strikes = platform, strikes
        self.cookies = httpx2.Cookies()

    @contextmanager
    def stream(self, method: str, url: str, timeout: float) -> Iterator[httpx2.Response]:
        """One answer of the application at http://<component>.app/."""
        part = self._platform.parts[url.removeprefix("http://").partition(".")[0]]
        fault = self._strikes.at_ask()
        if fault == "application-500":
            yield httpx2.Response(500, text=f"password={CANARY} https://u:{CANARY}@db/ boom")
            return
        commit = part.commit(old=fault == "application-old")
        yield httpx2.Response(200, text=json.dumps({"commit": commit}))


def owner_of(process: Process) -> Owner:
    """The process as the store knows it."""
    return Owner(
        by=f"user{process.pid}", host=process.machine, machine=process.machine, pid=process.pid,
        started=f"start-{process.pid}",
    )  # fmt: skip


def _short(event: object) -> str:
    kind = getattr(event, "kind", "")
    words = [str(getattr(event, name, "")) for name in ("step", "how", "note", "reason", "outcome")]
    return " ".join([kind, *(word for word in words if word)])
