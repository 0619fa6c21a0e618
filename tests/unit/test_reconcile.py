"""The six clauses, one by one and then all at once under random faults, in virtual time."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_world import NOON, FakeVendor, VirtualTime, plan, step

from taly.engine.reconcile import End, reconcile
from taly.engine.tasks import run_alone
from taly.errors import LeaseLost, UsageError, VendorRefused
from taly.model.events import (
    Event,
    Recorded,
    StepActed,
    StepDone,
    StepFailed,
    StepIntended,
    StepProgressed,
    StepUnknown,
)
from taly.model.ports import Attempt, Other
from taly.model.run import fold


class Crash(BaseException):
    """The process dies here."""


class NotebookPen:
    """A pen that writes into a list, dies when told, and can be frozen or taken away."""

    def __init__(self, clock: VirtualTime, events: list[Recorded] | None = None) -> None:
        self.clock = clock
        self.events = events if events is not None else []
        self.crash_before: int | None = None
        self.crash_after: int | None = None
        self.lost = False
        self.stale_times = 0

    def append(self, event: Event) -> Recorded:
        self.check()
        if self._count_down("crash_before"):
            raise Crash
        recorded = Recorded(seq=len(self.events) + 1, at=self.clock.now(), fence=1, event=event)
        self.events.append(recorded)
        if self._count_down("crash_after"):
            raise Crash
        return recorded

    def _count_down(self, name: str) -> bool:
        left = getattr(self, name)
        if left is not None:
            setattr(self, name, left - 1)
        return left == 0

    def check(self) -> None:
        if self.lost:
            raise LeaseLost

    told_to_stop = cancelled = False

    def tick(self) -> float:
        return 0.0

    def is_fresh(self, since: float) -> bool:
        self.stale_times -= 1
        return self.stale_times < 0

    def kinds(self) -> list[str]:
        return [one.event.kind for one in self.events]

    def last(self) -> Event:
        return self.events[-1].event


STEP = step(deadline_s=600)
RUN = "run-1"


def run(
    vendor: FakeVendor, pen: NotebookPen | None = None, *, past: Attempt | None = None
) -> tuple[End, NotebookPen]:
    assert isinstance(vendor.clock, VirtualTime)
    pen = pen or NotebookPen(vendor.clock)
    job = reconcile(STEP, run_id=RUN, provider=vendor, clock=vendor.clock, pen=pen, past=past)
    return run_alone(job, vendor.clock), pen


def vendor(**settings: Any) -> FakeVendor:
    return FakeVendor(clock=VirtualTime(), **settings)


def test_a_step_is_intended_acted_and_done() -> None:
    world = vendor(operation_s=30)
    end, pen = run(world)
    assert isinstance(end, StepDone)
    assert end.how == "acted"
    assert pen.kinds() == [
        "step-started",
        "step-intended",
        "step-acted",
        "step-progressed",
        "step-done",
    ]
    assert len(world.writes()) == 1
    assert world.writes()[0]["key"] == "run-1:roll-back:a"


def test_what_is_already_wanted_is_left_alone() -> None:
    end, pen = run(vendor(initial="good"))
    assert isinstance(end, StepDone)
    assert end.how == "already"
    assert "step-intended" not in pen.kinds()


def test_clause_1_a_lost_lease_stops_before_the_write_and_records_nothing() -> None:
    world = vendor()
    pen = NotebookPen(VirtualTime())
    pen.lost = True
    with pytest.raises(LeaseLost):
        run(world, pen)
    assert pen.events == []
    assert world.writes() == []


def test_clause_1_a_lease_lost_while_polling_records_no_end() -> None:
    world = vendor(operation_s=100)
    pen = NotebookPen(world.clock)
    job = reconcile(STEP, run_id=RUN, provider=world, clock=world.clock, pen=pen, past=None)
    world.clock.sleep(next(job))
    pen.lost = True
    with pytest.raises(LeaseLost):
        next(job)
    assert "step-done" not in pen.kinds()


def test_clause_2_an_earlier_intent_is_waited_out_before_reads_are_trusted() -> None:
    world = vendor(lag_s=4, settle_s=5)
    world.operate("a", "good", key="run-1:roll-back:a")  # applied; the process died at once
    end, _ = run(world, past=Attempt(key="run-1:roll-back:a", intended_at=NOON))
    assert isinstance(end, StepDone)
    assert len(world.writes()) == 1
    assert world.clock.monotonic() == pytest.approx(5)


@pytest.mark.parametrize("skew_s", [-60, 0, 60])
def test_clause_2_waits_in_full_whatever_the_other_machines_clock_says(skew_s: int) -> None:
    """Found by the simulator: a clock ahead of the dead process's skipped the wait."""
    world = vendor(lag_s=4, settle_s=5)
    world.operate("a", "good", key="run-1:roll-back:a")
    past = Attempt(key="run-1:roll-back:a", intended_at=NOON - timedelta(seconds=skew_s))
    end, _ = run(world, past=past)
    assert isinstance(end, StepDone)
    assert len(world.writes()) == 1
    assert world.clock.monotonic() == pytest.approx(5)


def test_clause_3_an_operation_toward_the_same_target_is_adopted() -> None:
    world = vendor()
    world.operate("a", "good", lasts_s=60)
    end, pen = run(world)
    assert isinstance(end, StepDone)
    assert end.how == "adopted"
    assert world.writes() == []
    assert "step-intended" not in pen.kinds()


def test_clause_3_an_operation_elsewhere_is_waited_for_then_acted_on() -> None:
    world = vendor(operation_s=10, lag_s=2, settle_s=3)
    world.operate("a", "worse", ago_s=10, lasts_s=60)
    end, _ = run(world)
    assert isinstance(end, StepDone)
    assert len(world.writes()) == 1
    assert world.writes()[0]["start"] >= NOON.timestamp() + 50


def test_clause_3_an_operation_elsewhere_that_does_not_end_is_never_stacked_upon() -> None:
    world = vendor()
    world.operate("a", "worse", lasts_s=10_000)
    end, _ = run(world)
    assert isinstance(end, StepFailed)
    assert end.reference == "operation-in-flight"
    assert world.writes() == []
    assert 600 <= world.clock.monotonic() < 620


def test_clause_3_an_adopted_operation_that_just_ended_is_not_taken_for_another_state() -> None:
    world = vendor(state_lag_s=4, settle_s=5)
    world.operate("a", "good", lasts_s=20)
    end, _ = run(world)
    assert isinstance(end, StepDone)
    assert end.how == "adopted"
    assert world.writes() == []


def test_clause_3_what_an_operation_elsewhere_just_changed_is_not_taken_for_wanted() -> None:
    world = vendor(state_lag_s=4, settle_s=5, initial="good")
    world.operate("a", "worse", ago_s=10, lasts_s=30)
    end, _ = run(world)
    assert isinstance(end, StepDone)
    assert end.how == "acted"
    assert world.value("a") == "good"


def test_clause_4_an_intent_that_grew_old_is_said_anew_before_the_write() -> None:
    world = vendor()
    pen = NotebookPen(world.clock)
    pen.stale_times = 2
    end, _ = run(world, pen)
    assert isinstance(end, StepDone)
    assert pen.kinds().count("step-intended") == 3
    assert len(world.writes()) == 1


def test_clause_5_a_lagging_read_after_the_write_is_not_trusted() -> None:
    world = vendor(lag_s=4, settle_s=5)
    end, _ = run(world)
    assert isinstance(end, StepDone)
    assert len(world.writes()) == 1


def test_a_lost_reply_is_not_sent_again() -> None:
    world = vendor(write_faults=["lose-reply"], operation_s=20, settle_s=2, lag_s=1)
    end, _ = run(world)
    assert isinstance(end, StepDone)
    assert len(world.writes()) == 1


def test_a_lost_request_is_sent_again_with_a_new_intent_once_reads_show_nothing() -> None:
    world = vendor(write_faults=["lose-request"], settle_s=2)
    end, pen = run(world)
    assert isinstance(end, StepDone)
    assert pen.kinds().count("step-intended") == 2


def test_a_vendor_that_never_answers_is_asked_three_times() -> None:
    end, pen = run(vendor(write_faults=["lose-request"] * 9))
    assert isinstance(end, StepFailed)
    assert end.reference == "vendor-silent"
    assert pen.kinds().count("step-intended") == 3


def test_a_refusal_fails_the_step_with_the_vendors_reference() -> None:
    end, pen = run(vendor(write_faults=["refuse"]))
    assert isinstance(end, StepFailed)
    assert end.reference == "fake-409"
    assert pen.kinds().count("step-intended") == 1


def test_a_refusal_after_a_lost_reply_does_not_hide_that_the_first_write_worked() -> None:
    world = vendor(write_faults=["lose-reply", "refuse"], lag_s=1.5, settle_s=1, operation_s=9)
    end, _ = run(world)  # reads lag more than the provider says
    assert isinstance(end, StepDone)
    assert len(world.writes()) == 1


def test_false_success_ends_as_not_as_wanted_and_is_never_sent_again() -> None:
    end, pen = run(vendor(write_faults=["lie"]))
    assert isinstance(end, StepFailed)
    assert end.reference == "not-as-wanted"
    assert pen.kinds().count("step-intended") == 1


def test_false_success_seen_by_a_successor_is_not_sent_again_either() -> None:
    world = vendor()
    past = Attempt(key="k", intended_at=NOON, receipt={"accepted": "k"})
    end, _ = run(world, past=past)
    assert isinstance(end, StepFailed)
    assert world.writes() == []


def test_an_operation_that_failed_at_the_vendor_fails_the_step() -> None:
    world = vendor(write_faults=["fail"], operation_s=20)
    end, _ = run(world)
    assert isinstance(end, StepFailed)
    assert end.reference == "vendor-operation-failed"
    assert len(world.writes()) == 1


def test_a_lost_reply_whose_operation_was_seen_is_not_repeated_by_a_successor() -> None:
    world = vendor(write_faults=["lose-reply"], operation_s=20)
    _, pen = run(world)
    acted = [one.event for one in pen.events if isinstance(one.event, StepActed)]
    assert len(acted) == 1
    assert acted[0].receipt["adopted"].startswith("op-")


def test_still_in_flight_at_the_deadline_is_unknown() -> None:
    end, _ = run(vendor(operation_s=10_000))
    assert isinstance(end, StepUnknown)


def test_a_vendor_out_of_reach_is_tolerated_and_unknown_at_the_deadline() -> None:
    assert isinstance(run(vendor(read_faults=[True] * 5))[0], StepDone)
    end, pen = run(vendor(read_faults=[True] * 9_999))
    assert isinstance(end, StepUnknown)
    progressed = [one for one in pen.events if isinstance(one.event, StepProgressed)]
    assert len(progressed) == 1, "the same news is told once"


def test_a_read_that_is_refused_after_the_write_proves_nothing() -> None:
    class Forgetful(FakeVendor):
        def probe(self, step: Any, attempt: Any) -> Any:
            if attempt:
                raise VendorRefused("who are you", reference="fake-403")
            return super().probe(step, attempt)

    assert isinstance(run(Forgetful(clock=VirtualTime()))[0], StepUnknown)
    end, _ = run(Forgetful(clock=VirtualTime(), write_faults=["refuse"]))
    assert isinstance(end, StepFailed)
    assert end.reference == "fake-409"


def test_polls_start_at_a_second_and_grow_to_five() -> None:
    world = vendor(operation_s=500)
    job = reconcile(
        STEP, run_id=RUN, provider=world, clock=world.clock,
        pen=NotebookPen(world.clock), past=None,
    )  # fmt: skip
    pauses = []
    for pause in job:
        pauses.append(pause)
        world.clock.sleep(pause)
    assert pauses[0] == 1
    assert pauses == sorted(pauses)
    assert pauses[-1] == 5


def test_a_provider_that_breaks_before_the_write_fails_after_it_is_unknown() -> None:
    class Broken(FakeVendor):
        def act(self, step: Any, key: str, say: Any = None) -> Any:
            raise ValueError("oh")

    class Careless(FakeVendor):
        def probe(self, step: Any, attempt: Any) -> Any:
            raise UsageError("no token", reference="token-missing")

    end, _ = run(Broken(clock=VirtualTime()))
    assert isinstance(end, StepUnknown)
    end, _ = run(Careless(clock=VirtualTime()))
    assert isinstance(end, StepFailed)
    assert end.reference == "token-missing"


faults = st.sampled_from(["ok", "lose-request", "lose-reply", "refuse", "lie", "fail"])


@settings(max_examples=400, deadline=None)
@given(
    writes=st.lists(faults, max_size=4),
    reads=st.lists(st.booleans(), max_size=12),
    lag_s=st.floats(0, 5),
    operation_s=st.sampled_from([0.0, 0.5, 3.0, 90.0, 590.0, 700.0]),
    other=st.sampled_from(["", "good", "worse"]),
    other_s=st.sampled_from([1.0, 40.0, 1000.0]),
    crashes=st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.floats(0, 30)), max_size=6),
)
def test_whatever_fails_or_dies_no_write_is_doubled_and_the_end_is_true(
    writes: list[str],
    reads: list[bool],
    lag_s: float,
    operation_s: float,
    other: str,
    other_s: float,
    crashes: list[tuple[bool, int, float]],
) -> None:
    clock = VirtualTime()
    world = FakeVendor(
        clock=clock, lag_s=lag_s, settle_s=lag_s + 0.1, operation_s=operation_s,
        write_faults=list(writes), read_faults=list(reads),
    )  # fmt: skip
    if other:
        world.operate("a", other, ago_s=lag_s + 1, lasts_s=other_s + lag_s + 1)
    events: list[Recorded] = []
    end: End | None = None
    for before, count, gap_s in [*crashes, (False, 9_999, 0.0)]:
        pen = NotebookPen(clock, events)
        setattr(pen, "crash_before" if before else "crash_after", count)
        past = fold(RUN, plan(STEP), events).steps[STEP.id].attempt
        try:
            end, _ = run(world, pen, past=past)
            break
        except Crash:
            clock.sleep(gap_s)
            if isinstance(events[-1].event if events else None, StepDone | StepFailed):
                end = events[-1].event
                break
    assert end is not None
    started = world.writes()
    assert len(started) <= 1, "no two writes that took effect"
    for op in started:
        log = world.log.log
        stacked = [o for o in log if o is not op and o["start"] <= op["start"] < o["ends"]]
        assert not stacked, "never on top of another operation"
    intents = [one for one in events if isinstance(one.event, StepIntended)]
    assert len(intents) >= len(started)
    if isinstance(end, StepDone):
        assert world.value("a") == "good"
    elif isinstance(end, StepFailed):
        assert world.value("a") != "good"


def test_the_fake_vendor_answers_as_a_provider_should() -> None:
    world = vendor(operation_s=10, lag_s=1)
    assert isinstance(world.probe(STEP, None), Other)
    world.act(STEP, "k")
    assert isinstance(world.probe(STEP, None), Other), "reads lag"
    world.clock.sleep(2)
    assert world.probe(STEP, None).kind == "in-flight"
    world.clock.sleep(10)
    assert world.probe(STEP, None).kind == "wanted"
