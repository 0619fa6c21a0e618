"""When what a vendor shows counts, where an operation led elsewhere; and when waiting ends."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from taly.database.sources.waiting import until
from taly.engine.verify import _vendor
from taly.errors import VendorUnavailable
from taly.model.plan import Step, StepKind
from taly.model.ports import InFlight, Other, Probe, Wanted

STEP = Step(
    id="verify:backend",
    kind=StepKind.VERIFY,
    component="backend",
    provider="apprunner",
    title="verify",
    wanted={"image": "good"},
)
SEEN = Wanted(state={"image": "good"}, evidence=())
ELSEWHERE = InFlight(operation="op-1", same_target=False, evidence=())
DOWN = VendorUnavailable("no answer", reference="vendor-down", hint="taly status")


def looked(*answers: Probe | VendorUnavailable) -> tuple[Any, list[float]]:
    """What `_vendor` says when a vendor gives these answers, and how long it waited between."""
    left, clock = list(answers), SimpleNamespace(now_s=0.0)

    def probe(step: Step, attempt: None) -> Probe:
        found = left.pop(0)
        if isinstance(found, VendorUnavailable):
            raise found
        return found

    provider: Any = SimpleNamespace(probe=probe, settle_s=7.0)
    watch: Any = SimpleNamespace(monotonic=lambda: clock.now_s)
    job, waits = _vendor(STEP, provider, watch), []
    try:
        while True:
            pause = next(job)
            assert isinstance(pause, float)
            waits.append(pause)
            clock.now_s += pause
    except StopIteration as end:
        assert left == [], "every answer was looked at"
        return end.value, waits


def test_after_an_operation_that_led_elsewhere_only_a_look_after_the_settle_time_counts() -> None:
    """Its end can be seen before its effect: the first `wanted` may be what was before it."""
    other = Other(state={"image": "bad"}, evidence=())
    assert looked(ELSEWHERE, SEEN, SEEN)[0] is SEEN
    assert 7.0 in looked(ELSEWHERE, SEEN, SEEN)[1]
    late = Wanted(state={"image": "good"}, evidence=())
    assert looked(ELSEWHERE, SEEN, other, late)[0] is late


def test_an_operation_of_our_own_needs_no_second_look() -> None:
    found, waits = looked(replace(ELSEWHERE, same_target=True), SEEN)
    assert found is SEEN
    assert 7.0 not in waits


def test_no_answer_is_not_the_end_of_what_led_elsewhere() -> None:
    found, waits = looked(ELSEWHERE, DOWN, SEEN, SEEN)
    assert found is SEEN
    assert waits.count(7.0) == 1


def test_who_waited_too_long_is_told_a_command_that_runs_as_it_stands() -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    clock: Any = SimpleNamespace(now=lambda: now)
    with pytest.raises(VendorUnavailable) as caught:
        until(lambda: None, clock=clock, tell=lambda: None, limit_s=0, what="the snapshot")
    assert (caught.value.reference, caught.value.hint) == ("rds-too-slow", "taly status")
