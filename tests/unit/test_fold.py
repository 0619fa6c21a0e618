"""A run is what its events fold to."""

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.engine_world import NOON, plan, rollback, step

from taly.model.events import (
    CancelRequested,
    Event,
    LeaseTaken,
    Recorded,
    RunFinished,
    RunStarted,
    StepActed,
    StepDone,
    StepFailed,
    StepIntended,
    StepProgressed,
    StepStarted,
    StepUnknown,
)
from taly.model.run import Fold, StepPhase, fold

PLAN = plan(step("a"), step("b"), step("c"))
IDS = [one.id for one in PLAN.steps]


def record(events: list[Event]) -> list[Recorded]:
    return [Recorded(seq=n, at=NOON, fence=1, event=event) for n, event in enumerate(events, 1)]


def of_a_step(step_id: str) -> st.SearchStrategy[Any]:
    return st.sampled_from(
        [
            StepStarted(step=step_id),
            StepIntended(step=step_id, key="k"),
            StepActed(step=step_id, receipt={"operation": "1"}),
            StepProgressed(step=step_id, note="half", fraction=0.5),
            StepDone(step=step_id, how="acted", state={"value": 1}),
            StepFailed(step=step_id, reason="no", reference="r"),
            StepUnknown(step=step_id, reason="dark"),
        ]
    )


any_event = st.one_of(
    st.sampled_from(IDS).flatmap(of_a_step),
    st.just(RunStarted(plan_digest="d", by="ana", host="h", version="1")),
    st.just(LeaseTaken(owner="ben")),
    st.just(CancelRequested(by="ben")),
    st.just(RunFinished(outcome="failed")),
)


@given(st.lists(any_event, max_size=30), st.data())
def test_any_prefix_folds_and_one_by_one_is_the_same_as_at_once(
    events: list[Event], data: st.DataObject
) -> None:
    prefix = record(events)[: data.draw(st.integers(0, len(events)))]
    growing = Fold("run-1", PLAN)
    for recorded in prefix:
        growing.apply(recorded)
    run = fold("run-1", PLAN, prefix)
    assert growing.run() == run
    assert list(run.steps) == IDS


@given(st.lists(any_event, max_size=20), st.lists(any_event, max_size=20))
def test_what_is_done_failed_or_finished_stays_so(first: list[Event], more: list[Event]) -> None:
    before = fold("run-1", PLAN, record(first))
    after = fold("run-1", PLAN, record([*first, *more]))
    for step_id, was in before.steps.items():
        if was.phase in (StepPhase.DONE, StepPhase.FAILED):
            assert after.steps[step_id] == was
    if before.outcome is not None:
        assert after == before


@given(st.lists(any_event, max_size=20))
def test_an_end_said_twice_changes_nothing(events: list[Event]) -> None:
    done: list[Event] = [StepDone(step=IDS[0], how="acted")]
    once = fold("run-1", PLAN, record([*events, *done]))
    assert fold("run-1", PLAN, record([*events, *done, *done])) == once


def test_the_latest_intent_is_the_attempt_and_the_answer_is_kept_with_it() -> None:
    intended = [StepStarted(step=IDS[0]), StepIntended(step=IDS[0], key="k")]
    lost = fold("run-1", PLAN, record(intended)).steps[IDS[0]]
    assert lost.attempt is not None
    assert (lost.attempt.key, lost.attempt.intended_at, lost.attempt.receipt) == ("k", NOON, {})
    acted = record([*intended, StepActed(step=IDS[0], receipt={"o": "1"})])
    known = fold("run-1", PLAN, acted).steps[IDS[0]].attempt
    assert known is not None
    assert known.receipt == {"o": "1"}


def test_an_unknown_step_that_is_taken_up_again_runs() -> None:
    events = [StepUnknown(step=IDS[0], reason="dark"), StepStarted(step=IDS[0])]
    run = fold("run-1", PLAN, record(events))
    assert run.steps[IDS[0]].phase is StepPhase.RUNNING
    assert not run.has_unknown


def test_twenty_thousand_events_of_three_thousand_steps_fold_within_a_second() -> None:
    big = rollback(1000)
    events: list[Event] = []
    for one in big.steps:
        events += [
            StepStarted(step=one.id),
            StepIntended(step=one.id, key="k"),
            StepActed(step=one.id),
            *[StepProgressed(step=one.id, note=str(n)) for n in range(3)],
            StepDone(step=one.id, how="acted"),
        ]
    recorded = record(events)
    began = time.perf_counter()
    run = fold("run-1", big, recorded)
    assert time.perf_counter() - began < 1
    assert all(one.phase is StepPhase.DONE for one in run.steps.values())
