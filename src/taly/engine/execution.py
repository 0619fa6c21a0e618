"""One run under way in this process: which step starts when, and how the run ends."""

import queue
import threading
from collections.abc import Generator, Mapping
from contextlib import suppress

import httpx2

from taly.engine.journal import Journal
from taly.engine.reconcile import CANCELLED, End, reconcile
from taly.engine.tasks import Job, Spawner, Tasks
from taly.engine.verify import verify, verify_all
from taly.model.events import (
    CancelRequested,
    Outcome,
    RunFinished,
    StepDone,
)
from taly.model.plan import Plan, Step, StepKind
from taly.model.ports import Actuator, Clock
from taly.model.run import Fold, Run, StepPhase

Said = tuple[str, object]
"""About what (a step's id, or `cancel`, `interrupt`, `abandon`), and what is said of it."""


class Abandoned(BaseException):
    """The process was told twice to leave. Its lease stays, and runs out."""


class Execution:
    """Starts every step as soon as those it needs are done; constant work a step."""

    def __init__(
        self,
        *,
        plan: Plan,
        fold: Fold,
        journal: Journal,
        providers: Mapping[str, Actuator],
        clock: Clock,
        http: httpx2.Client,
        max_threads: int,
        cancel_by: str,
    ) -> None:
        """`fold` holds what earlier processes did, and is kept up by the journal's listener.

        `cancel_by` asked to stop before the work began here; empty = nobody.
        """
        self.journal = journal
        self.ended = threading.Event()
        self._plan, self._fold = plan, fold
        self._providers, self._clock, self._http = providers, clock, http
        self._max_threads = max_threads
        self._cancel_by = cancel_by
        self.said: queue.SimpleQueue[Said] = queue.SimpleQueue()
        """What `conduct` is to be told next."""
        self._steps = {step.id: step for step in plan.steps}
        self._dependents: dict[str, list[str]] = {step.id: [] for step in plan.steps}
        self._missing: dict[str, int] = {}
        self._under_way = 0
        self._halted = False
        self._interrupted = False
        self._error: BaseException | None = None

    # Said from other threads

    def cancel(self, by: str) -> None:
        """Start no new step and end the run as cancelled."""
        self.journal.stop(for_good=True)
        self.said.put(("cancel", by))

    def interrupt(self) -> None:
        """Start no new step and leave the run to be resumed."""
        self.journal.stop(for_good=False)
        self.said.put(("interrupt", None))

    def abandon(self) -> None:
        """Write down nothing more and end at once. What is in flight at a vendor goes on there."""
        self.journal.lose(Abandoned())
        self.said.put(("abandon", Abandoned()))

    def result(self) -> Run:
        """The run as it stands; raises what stopped the work, if anything did."""
        if self._error is not None:
            raise self._error
        return self._fold.run()

    def so_far(self) -> Run:
        """The run as its events have made it by now."""
        return self._fold.run()

    # The one thread that decides

    def work(self) -> None:
        """Work until no step is under way and none may start; sets `ended`."""
        conducting = self.conduct(Tasks(self._clock, self._max_threads))
        with suppress(StopIteration):
            next(conducting)
            while True:
                conducting.send(self.said.get())

    def conduct(self, tasks: Spawner) -> Generator[None, Said, None]:
        """The work: wants to be sent what was `said` wherever it pauses; sets `ended` at its end.

        Whoever drives it may let time pass as it likes meanwhile: `work` waits, in a thread.
        """
        try:
            if self._cancel_by:
                self._cancel(self._cancel_by)
            self._begin(tasks)
            while self._under_way:
                self._hear(tasks, *(yield))
            self._finish()
        except BaseException as error:
            self._error = error
        finally:
            tasks.close()
            self.ended.set()

    def _begin(self, tasks: Spawner) -> None:
        run = self._fold.run()
        phases = {step_id: step.phase for step_id, step in run.steps.items()}
        self._halted = run.cancel_requested or StepPhase.FAILED in phases.values()
        for step in self._plan.steps:
            missing = [need for need in step.needs if phases[need] is not StepPhase.DONE]
            self._missing[step.id] = len(missing)
            for need in missing:
                self._dependents[need].append(step.id)
        for step_id, phase in phases.items():
            if phase in (StepPhase.RUNNING, StepPhase.UNKNOWN):
                self._start(tasks, step_id)  # what was begun is brought to its end, whatever else
        for step_id, phase in phases.items():
            if phase is StepPhase.WAITING and not self._missing[step_id] and not self._halted:
                self._start(tasks, step_id)

    def _start(self, tasks: Spawner, step_id: str) -> None:
        self._under_way += 1
        job = self._job(self._steps[step_id], tasks)
        tasks.spawn(job, lambda end: self.said.put((step_id, end)))

    def _job(self, step: Step, tasks: Spawner) -> Job[End]:
        clock, http, pen = self._clock, self._http, self.journal
        if step.kind is StepKind.VERIFY_ALL:
            checks = [one for one in self._plan.steps if one.kind is StepKind.VERIFY]
            return verify_all(
                step,
                checks,
                providers=self._providers,
                clock=clock,
                http=http,
                pen=pen,
                tasks=tasks,
            )
        provider = self._providers[step.provider]
        if step.kind is StepKind.VERIFY:
            return verify(step, provider=provider, clock=clock, http=http, pen=pen)
        so_far = self._fold.step(step.id)
        return reconcile(
            step,
            run_id=self.journal.lease.run_id,
            provider=provider,
            clock=clock,
            pen=pen,
            past=so_far.attempt,
            was_unknown=so_far.phase is StepPhase.UNKNOWN,
        )

    def _hear(self, tasks: Spawner, about: str, said: object) -> None:
        if about == "cancel":
            self._cancel(str(said))
            return
        if about == "interrupt":
            self._halted = self._interrupted = True
            return
        if isinstance(said, BaseException):
            raise said
        self._under_way -= 1
        if not isinstance(said, StepDone):
            self._halted = True
            return
        for dependent in self._dependents[about]:
            self._missing[dependent] -= 1
            if not self._missing[dependent] and not self._halted:
                self._start(tasks, dependent)

    def _cancel(self, by: str) -> None:
        self._halted = True
        self.journal.stop(for_good=True)
        if not self._fold.run().cancel_requested:
            self.journal.append(CancelRequested(by=by))

    def _finish(self) -> None:
        outcome = self._outcome(self._fold.run())
        if outcome is not None:
            self.journal.append(RunFinished(outcome=outcome))

    def _outcome(self, run: Run) -> Outcome | None:
        """How the run ends; None = it does not: a step is unknown, or was left to be resumed."""
        phases = {step.phase for step in run.steps.values()}
        if phases & {StepPhase.UNKNOWN, StepPhase.RUNNING}:
            return None
        if phases <= {StepPhase.DONE}:
            return "succeeded"
        if StepPhase.FAILED in phases:
            ends = [step for step in run.steps.values() if step.phase is StepPhase.FAILED]
            if all(step.reference == CANCELLED for step in ends):
                return "cancelled"
            failed = [self._steps[step.step] for step in ends]
            only_checks = not any(step.writes for step in failed)
            return "verification-failed" if only_checks else "failed"
        return "cancelled" if run.cancel_requested else None
