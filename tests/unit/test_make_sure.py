"""Right before a write a provider makes sure that the run is still this process's."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from tests.engine_world import FakeVendor, VirtualTime, step
from tests.unit.test_reconcile import NotebookPen

from taly.engine.reconcile import reconcile
from taly.engine.tasks import run_alone
from taly.errors import LeaseLost
from taly.model.plan import Step
from taly.model.ports import Say, silent


class Napping(NotebookPen):
    """Nothing is fresh any more once the provider has read what it must; told to stop as well."""

    told_to_stop = cancelled = True
    napped = False

    def is_fresh(self, since: float) -> bool:
        fresh, self.napped = not self.napped, False
        return fresh


@dataclass
class Reading(FakeVendor):
    """It reads before it writes, and meanwhile this happens."""

    pen: Napping | None = None
    taken_over: bool = False
    slow: bool = True

    def act(self, step: Step, key: str, say: Say = silent) -> Mapping[str, str]:
        assert self.pen is not None
        self.pen.napped, self.pen.lost = self.slow, self.taken_over
        say("")
        return super().act(step, key, say)


def play(*, slow: bool) -> tuple[Reading, Napping]:
    clock = VirtualTime()
    pen = Napping(clock)
    world = Reading(clock=clock, pen=pen, slow=slow)
    job = reconcile(step(), run_id="r", provider=world, clock=clock, pen=pen, past=None)
    run_alone(job, clock)
    return world, pen


def test_after_a_nap_it_is_said_anew_under_the_fence_and_then_written() -> None:
    world, pen = play(slow=True)
    assert pen.kinds()[1:4] == ["step-intended", "step-progressed", "step-acted"]
    assert len(world.writes()) == 1


def test_a_read_that_was_quick_costs_no_event_and_a_cancel_is_not_heard_there() -> None:
    world, pen = play(slow=False)
    assert pen.kinds()[1:3] == ["step-intended", "step-acted"]
    assert len(world.writes()) == 1


def test_a_run_that_was_taken_over_meanwhile_is_not_written_for() -> None:
    clock = VirtualTime()
    pen = Napping(clock)
    world = Reading(clock=clock, pen=pen, taken_over=True)
    job = reconcile(step(), run_id="r", provider=world, clock=clock, pen=pen, past=None)
    with pytest.raises(LeaseLost):
        run_alone(job, clock)
    assert world.writes() == []
