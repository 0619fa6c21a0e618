"""What nobody can tell: the step's end is unknown, soon; whoever resumes it makes it certain."""

from dataclasses import dataclass
from typing import Any

import pytest
from tests.engine_world import NOON, FakeVendor, VirtualTime, step
from tests.unit.test_reconcile import NotebookPen

from taly.engine.reconcile import End, reconcile
from taly.engine.tasks import run_alone
from taly.engine.verify import _vendor_says_no
from taly.model.events import StepDone, StepFailed, StepProgressed, StepUnknown
from taly.model.plan import Step, StepKind
from taly.model.ports import Attempt, Probe, Unclear, Wanted

STEP = step(deadline_s=2700)
WHY = "it is not known which image serves"


@dataclass
class Blurred(FakeVendor):
    """After so many writes it can be seen what came of them, and not before."""

    clear_after: int = 1
    for_good: bool = True
    clear_at: float = float("inf")
    """From this second on a record tells it, after all."""
    blurred: bool = False
    """Whether it is so before any write, too."""

    def probe(self, step: Step, attempt: Attempt | None) -> Probe:
        seen = super().probe(step, attempt)
        if isinstance(seen, Wanted) or (self.blurred and seen.kind == "other"):
            late = self.clock.monotonic() >= self.clear_at
            if len(self.writes()) < self.clear_after and not late:
                return Unclear(state={}, why=WHY, for_good=self.for_good, evidence=seen.evidence)
        return seen


def play(
    world: Blurred, *, past: Attempt | None = None, was_unknown: bool = False
) -> tuple[End, NotebookPen]:
    assert isinstance(world.clock, VirtualTime)
    pen = NotebookPen(world.clock)
    job = reconcile(
        STEP, run_id="run-1", provider=world, clock=world.clock, pen=pen, past=past,
        was_unknown=was_unknown,
    )  # fmt: skip
    return run_alone(job, world.clock), pen


def vendor(**settings: Any) -> Blurred:
    return Blurred(clock=VirtualTime(), operation_s=300, settle_s=5, **settings)


def past(pen: NotebookPen) -> Attempt:
    intended = next(one for one in pen.events if one.event.kind == "step-intended")
    return Attempt(key="run-1:roll-back:a", intended_at=intended.at, receipt={"accepted": "yes"})


def test_what_no_look_can_ever_tell_is_said_soon_and_once_resumed_made_certain() -> None:
    world = vendor(clear_after=2)
    end, pen = play(world)
    assert isinstance(end, StepUnknown)
    assert end.reason.startswith(WHY)
    assert "taly resume run-1" in end.reason
    assert world.clock.monotonic() < 330, "the operation, and two settle times"
    assert len(world.writes()) == 1

    end, _ = play(world, past=past(pen), was_unknown=True)
    assert isinstance(end, StepDone)
    assert end.how == "acted"
    assert len(world.writes()) == 2


def test_a_successor_that_nobody_asked_sends_nothing_again() -> None:
    """It took over from a process that died: that is no word of anybody's."""
    world = vendor(clear_after=2)
    _, pen = play(world)
    end, _ = play(world, past=past(pen))
    assert isinstance(end, StepUnknown)
    assert len(world.writes()) == 1


def test_it_is_sent_once_a_resume_and_not_again_and_again() -> None:
    world = vendor(clear_after=99)
    _, pen = play(world)
    end, _ = play(world, past=past(pen), was_unknown=True)
    assert isinstance(end, StepUnknown)
    assert len(world.writes()) == 2


def test_a_record_that_may_still_come_is_waited_for() -> None:
    world = vendor(clear_after=9, for_good=False, clear_at=900.0)
    end, pen = play(world)
    assert isinstance(end, StepDone)
    assert world.clock.monotonic() == pytest.approx(900, abs=40)
    assert StepProgressed(step=STEP.id, note=WHY) in [one.event for one in pen.events]
    assert len(world.writes()) == 1


def test_at_the_deadline_it_is_unknown_and_not_failed() -> None:
    world = vendor(clear_after=9, for_good=False)
    end, _ = play(world)
    assert end == StepUnknown(step=STEP.id, reason=WHY)
    assert world.clock.monotonic() >= 2700


def test_before_any_write_it_is_no_reason_to_wait() -> None:
    world = vendor(clear_after=1, blurred=True)
    end, _ = play(world)
    assert isinstance(end, StepDone)
    assert len(world.writes()) == 1


@pytest.mark.parametrize("resumed", [False, True])
def test_a_refusal_ends_it_as_failed_and_says_what_is_not_known(resumed: bool) -> None:
    world = vendor(clear_after=9, blurred=True, write_faults=["refuse"])
    before = Attempt(key="run-1:roll-back:a", intended_at=NOON, receipt={"accepted": "yes"})
    end, _ = play(world, past=before if resumed else None, was_unknown=resumed)
    assert isinstance(end, StepFailed)
    assert end.reference == "fake-409"
    assert (WHY in end.reason) is resumed


def test_a_verification_says_what_is_not_known() -> None:
    seen = Unclear(state={}, why=WHY, for_good=True, evidence=())
    end = _vendor_says_no(step(kind=StepKind.VERIFY), seen)
    assert isinstance(end, StepFailed)
    assert end.reason == WHY
