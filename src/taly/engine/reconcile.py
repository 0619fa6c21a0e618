"""The idempotency rule: how one step is done once, whatever dies in between.

For every step that writes, in this order:

1. Hold the fence. Lost: stop, record nothing.
2. If an earlier process left an intent, wait for the vendor's settle time.
3. Observe. Wanted: done. In flight toward the same target: adopt it. In flight toward another:
   wait for it, and fail at the deadline; never stack.
4. Only otherwise: durably append a fenced intent, then act at once, with the step's client token.
5. Do not trust reads for the settle time after acting; then poll until wanted.
6. Append a fenced end.

Where no look can ever tell whether our write did what was wanted, the end is "unknown", at once: a
person looks, and `taly resume` sends the write once more, which makes it certain.

Each clause was found necessary by killing processes at random: without 2 and 5, where reads lag,
a third of the steps wrote twice. docs/adr/0001 has the figures.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, Protocol, assert_never

from taly.engine.deadline import Certain, too_late
from taly.engine.tasks import Job
from taly.errors import Interrupted, TalyError, VendorError, VendorRefused, VendorUnavailable
from taly.model.events import (
    Event,
    Recorded,
    StepActed,
    StepDone,
    StepFailed,
    StepIntended,
    StepProgressed,
    StepStarted,
    StepUnknown,
)
from taly.model.plan import Step
from taly.model.ports import (
    Actuator,
    Attempt,
    Clock,
    Failed,
    InFlight,
    Other,
    Probe,
    Unclear,
    Wanted,
)

CANCELLED = "step-cancelled"
MAX_SENDS = 3
"""Writes sent for one step by one process, when the answers were lost and nothing came of them."""
POLL_MIN_S, POLL_MAX_S = 1.0, 5.0
"""At most five seconds: every second that the end is noticed late, users are without the service.
Ten components are then probed ten times in five seconds, two or three reads each;
a vendor that finds this too often cannot be asked just now, which is no failure."""
SAY_S = 1.0
"""A write that takes long tells durably how far it is this often, in real seconds."""
POLL_SHARE = 0.04
"""A poll waits for this share of the time waited already: it is late by 2 % on average."""

End = StepDone | StepFailed | StepUnknown


class Pen(Protocol):
    """How a step writes down what happens, under the run's lease."""

    def append(self, event: Event) -> Recorded:
        """Return once the event is durable; LeaseLost when another process has the run."""
        ...

    def check(self) -> None:
        """Raise LeaseLost when another process is known to have the run."""
        ...

    @property
    def told_to_stop(self) -> bool:
        """Whether the run was cancelled or interrupted: a write that takes long ends early."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether it was told to stop for good, not only to be resumed."""
        ...

    def tick(self) -> float:
        """Real seconds that go on while this process is frozen."""
        ...

    def is_fresh(self, since: float) -> bool:
        """Whether nobody can have taken over since an append begun at `tick()` = since."""
        ...


def reconcile(
    step: Step,
    *,
    run_id: str,
    provider: Actuator,
    clock: Clock,
    pen: Pen,
    past: Attempt | None,
    was_unknown: bool = False,
) -> Job[End]:
    """Bring the component to what the step wants; returns the event that ended it, appended.

    `past` is the write that an earlier process made, or may have made, for this step;
    `was_unknown`: an earlier process ended it as unknown, and somebody has resumed it since.
    """
    pen.append(StepStarted(step=step.id))
    work = _Reconciliation(step, f"{run_id}:{step.id}", provider, clock, pen, past, was_unknown)
    try:
        end = yield from work.run()
    except Interrupted as stop:
        pen.append(StepProgressed(step=step.id, note=stop.message))
        return StepUnknown(step=step.id, reason=stop.message)  # not appended: resume goes on
    except Exception as error:
        end = work.broken_by(error)  # when it was the pen that broke, the next line says so again
    pen.append(end)
    return end


class _Reconciliation:
    """One step under way."""

    def __init__(
        self,
        step: Step,
        key: str,
        provider: Actuator,
        clock: Clock,
        pen: Pen,
        attempt: Attempt | None,
        was_unknown: bool,
    ) -> None:
        self._step, self._key, self._provider = step, key, provider
        self._clock, self._pen, self._attempt = clock, pen, attempt
        self._started = clock.monotonic()
        self._trusted_from = self._started
        """Reads before this may be old (clauses 2 and 5)."""
        self._flight: InFlight | None = None
        """What was in flight when last seen."""
        self._sends = 0
        self._answered = bool(attempt and attempt.receipt)
        """Whether the vendor said yes to our write: then it is never sent again."""
        self._was_unknown = was_unknown
        self._wrote = attempt is not None
        """Whether a write of ours may have been applied."""
        self._adopted = False
        self._refusal: VendorError | None = None
        self._refused: VendorError | None = None
        """The latest refusal, also when an operation in flight made us look again."""
        self._note = ""
        self._said_at = -SAY_S
        self._sure_at = 0.0  # by the pen's tick: when it was last certain that the run is ours

    def run(self) -> Job[End]:
        """Clauses 2 to 5."""
        self._settle_earlier()
        while True:
            while (left := self._trusted_from - self._clock.monotonic()) > 0:
                yield left
            self._pen.check()
            seen = self._look()
            if self._landed_just_now(seen):
                self._settle()
                continue
            end = self._judge_unclear(seen) if isinstance(seen, Unclear) else self._judge(seen)
            if end is not None:
                return end
            if self._may_act(seen):
                end = self._act()
                if end is not None:
                    return end
            else:
                yield self._pause()

    def _settle_earlier(self) -> None:
        """Clause 2, counted from now: whose clock the intent's time is from, nobody knows."""
        if self._attempt is not None:
            self._settle()

    def broken_by(self, error: Exception) -> StepFailed | StepUnknown:
        """The end when something broke that is no answer of the vendor's."""
        if isinstance(error, TalyError):
            failed = self._failed_by(error)
        else:
            reason = f"{self._provider.name} broke: {type(error).__name__}: {error}"
            failed = StepFailed(step=self._step.id, reason=reason, reference="provider-broken")
        if self._wrote:
            return StepUnknown(step=self._step.id, reason=failed.reason)
        return failed

    # Looking

    def _look(self) -> Probe | VendorError:
        """Where the component stands; a vendor that does not answer now may do so later."""
        try:
            return self._provider.probe(self._step, self._attempt)
        except (VendorUnavailable, VendorRefused) as error:
            return error

    def _judge(self, seen: Certain | VendorError) -> End | None:
        """The step's end, if this ends it."""
        match seen:
            case Wanted():
                return StepDone(
                    step=self._step.id, how=self._how(), state=seen.state, evidence=seen.evidence
                )
            case Failed():
                return StepFailed(
                    step=self._step.id,
                    reason=seen.reason,
                    reference="vendor-operation-failed",
                    hint=f"taly status, then taly show {self._run_id}",
                    evidence=seen.evidence,
                )
            case InFlight():
                self._note_in_flight(seen)
            case VendorRefused() if not self._wrote:
                # After a write even a refused read is no proof of what the write did.
                return self._failed_by(self._refusal or seen)
            case VendorError():
                if self._refusal is not None and not self._wrote:
                    return self._failed_by(self._refusal)
                self._progress(f"the vendor cannot be asked: {seen.message}")
            case Other():
                if self._refusal is not None:
                    return self._failed_by(self._refusal)
            case _:
                assert_never(seen)
        if self._late:
            return too_late(self._step, seen, answered=self._answered, wrote=self._wrote)
        return None

    @property
    def _late(self) -> bool:
        return self._clock.monotonic() - self._started >= self._step.deadline_s

    def _judge_unclear(self, seen: Unclear) -> End | None:
        """Before a write it is as good as elsewhere: the write makes it certain."""
        if self._refusal is not None and not self._wrote:
            return self._failed_by(self._refusal)
        if self._refusal is not None and self._was_unknown:
            failed = self._failed_by(self._refusal)
            return replace(failed, reason=f"{seen.why}. Sent once more: {failed.reason}")
        if self._may_act(seen):
            return None
        if self._late or (self._wrote and seen.for_good):
            again = "sends the change once more, which makes it certain"
            helps = f". `taly resume {self._run_id}` {again}" if seen.for_good else ""
            return StepUnknown(step=self._step.id, reason=seen.why + helps)
        self._progress(seen.why)
        return None

    def _landed_just_now(self, seen: Probe | VendorError) -> bool:
        """Whether an operation ended since the last look, so that its effect may not show yet.

        The end of an operation can be seen before its effect (clause 5 for other people's writes).
        What is wanted, after an operation that leads there, needs no second look.
        """
        before = self._flight
        match seen:
            case InFlight():
                self._flight = seen
                return False
            case VendorError():
                return False
            case Wanted() | Failed() if before is not None and before.same_target:
                return False
            case _:
                self._flight = None
                return before is not None

    @property
    def _run_id(self) -> str:
        return self._key.partition(":")[0]

    def _how(self) -> Literal["acted", "adopted", "already"]:
        if self._wrote:
            return "acted"
        return "adopted" if self._adopted else "already"

    def _note_in_flight(self, seen: InFlight) -> None:
        refused, self._refusal = self._refusal, None
        if seen.same_target:
            self._adopted = True
            if self._wrote and not refused and not self._answered:
                self._acted({"adopted": seen.operation})
            self._progress(seen.what or f"{seen.operation} is under way")
        else:
            self._progress(f"waits for another operation: {seen.what or seen.operation}")

    # Acting

    def _may_act(self, seen: Probe | VendorError) -> bool:
        """Clause 4: only when the component is at rest elsewhere, and no write was accepted.

        Where nobody can know what came of a write, somebody resumed the step for one more.
        """
        if isinstance(seen, Unclear):
            resumed = self._was_unknown and seen.for_good and self._sends == 0
            return not self._wrote or resumed
        return isinstance(seen, Other) and not self._answered

    def _act(self) -> StepFailed | None:
        if self._sends == MAX_SENDS and self._refused is not None and not self._wrote:
            return self._failed_by(self._refused)
        if self._sends == MAX_SENDS:
            return StepFailed(
                step=self._step.id,
                reason=f"the vendor answered none of {MAX_SENDS} requests, and did none of them",
                reference="vendor-silent",
                hint="taly status",
            )
        self._sends += 1
        self._intend()
        try:
            receipt = self._provider.act(self._step, self._key, self._say)
        except Interrupted as stop:
            if not self._pen.cancelled:
                raise
            return StepFailed(step=self._step.id, reason=stop.message, reference=CANCELLED)
        except VendorRefused as error:
            # Surely not applied; yet one more look: an earlier, unanswered write may be in flight.
            self._refusal = self._refused = error
        except VendorUnavailable as error:
            self._wrote = True
            self._progress(f"no answer to the change: {error.message}")
        except Exception:
            self._wrote = True
            raise
        else:
            self._wrote = True
            self._acted(receipt)
        self._settle()
        return None

    def _acted(self, receipt: Mapping[str, str]) -> None:
        """From here on our write is known to be under way: it is never sent again."""
        assert self._attempt is not None, "an intent stands before every act"
        self._answered = True
        receipt = receipt or {"answered": "yes"}  # empty means that no answer came
        self._attempt = replace(self._attempt, receipt=receipt)
        self._pen.append(StepActed(step=self._step.id, receipt=receipt))

    def _intend(self) -> None:
        """Say so durably, right before acting: a process that was frozen in between says it anew.

        Otherwise it might act for a run that another process took over while it slept.
        """
        while True:
            self._sure_at = self._pen.tick()
            recorded = self._pen.append(StepIntended(step=self._step.id, key=self._key))
            self._attempt = Attempt(key=self._key, intended_at=recorded.at)
            if self._pen.is_fresh(self._sure_at):
                return

    def _make_sure(self) -> None:
        """The same after what a provider had to read before it writes: that may have taken long."""
        self._pen.check()
        while not self._pen.is_fresh(self._sure_at):
            self._sure_at = self._pen.tick()
            self._pen.append(StepProgressed(step=self._step.id, note=self._note or "goes on"))

    def _settle(self) -> None:
        self._trusted_from = self._clock.monotonic() + self._provider.settle_s

    # Waiting and speaking

    def _pause(self) -> float:
        waited = self._clock.monotonic() - self._started
        return min(POLL_MAX_S, max(POLL_MIN_S, waited * POLL_SHARE))

    def _progress(self, note: str) -> None:
        if note != self._note:
            self._note = note
            self._pen.append(StepProgressed(step=self._step.id, note=note))

    def _say(self, note: str, fraction: float | None = None) -> None:
        if not note:
            self._make_sure()
            return
        self._pen.check()
        if self._pen.told_to_stop:
            raise Interrupted(
                "it was told to stop, and nothing was changed",
                reference=CANCELLED,
                hint=f"taly resume {self._run_id}",
            )
        now = self._pen.tick()
        if now - self._said_at >= SAY_S:
            self._said_at, self._note = now, note
            self._pen.append(StepProgressed(step=self._step.id, note=note, fraction=fraction))

    def _failed_by(self, error: TalyError) -> StepFailed:
        return StepFailed(
            step=self._step.id, reason=error.message, reference=error.reference, hint=error.hint
        )
