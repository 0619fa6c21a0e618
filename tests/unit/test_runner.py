"""The engine on the fake vendor: order, parallelism, halting, cancelling, taking over."""

import dataclasses
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.engine_world import FakeVendor, RealTime, plan, rollback, step

from taly.clock import ScaledClock
from taly.engine.owner import Owner
from taly.engine.runner import Engine
from taly.engine.store import Store, open_store
from taly.errors import EnvironmentLocked, LeaseLost, OutcomeUnknown, UsageError
from taly.model.environment import HealthCheck
from taly.model.events import CancelRequested, Recorded, StepIntended, StepProgressed, StepStarted
from taly.model.plan import Plan, StepKind
from taly.model.ports import Attempt
from taly.model.run import StepPhase, fold

HERE = Owner.here("ana")
DEAD = dataclasses.replace(HERE, by="ben", pid=2**22 - 1, started="1")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "taly.db")
    yield store
    store.close()


def scaled(speed: float = 200) -> ScaledClock:
    clock = ScaledClock(origin=RealTime().now(), at_unix=time.time(), speed=speed)
    clock.MIN_SLEEP_S = 0.001
    return clock


def engine(store: Store, vendor: FakeVendor, **more: Any) -> Engine:
    return Engine(store=store, providers={"fake": vendor}, clock=vendor.clock, **more)


def test_a_plan_is_worked_through_in_its_order(store: Store) -> None:
    vendor = FakeVendor(clock=scaled(), operation_s=2)
    heard: list[Recorded] = []
    one = engine(store, vendor)
    run_id = one.start(rollback(3))
    run = one.execute(run_id, heard.append)
    assert run.outcome == "succeeded"
    assert [step.phase for step in run.steps.values()] == [StepPhase.DONE] * 10
    assert heard == store.events(run_id), "every event, once, in order"
    assert fold(run_id, rollback(3), heard) == run
    assert len(vendor.writes()) == 6
    done: set[str] = set()
    for recorded in heard:
        event = recorded.event
        if isinstance(event, StepStarted):
            assert set(run.plan.step(event.step).needs) <= done
        if event.kind == "step-done":
            done.add(event.step)
    assert store.unfinished("production") is None


def test_many_components_wait_at_the_same_time(store: Store) -> None:
    def wall_s(components: int) -> float:
        vendor = FakeVendor(clock=RealTime(), operation_s=0.2, settle_s=0.2)
        vendor.read_faults = []
        one = engine(store, Fast(vendor))
        run_id = one.start(rollback(components))
        began = time.perf_counter()
        assert one.execute(run_id).outcome == "succeeded"
        return time.perf_counter() - began

    class Fast:
        """The same, without a log that is searched from its beginning."""

        def __init__(self, vendor: FakeVendor) -> None:
            self._vendors: dict[str, FakeVendor] = {}
            self.clock, self.settle_s, self.name = vendor.clock, vendor.settle_s, "fake"

        def _of(self, component: str) -> FakeVendor:
            return self._vendors.setdefault(
                component, FakeVendor(clock=self.clock, operation_s=0.2)
            )

        def act(self, step: Any, key: str, say: Any = None) -> Any:
            return self._of(step.component).act(step, key)

        def probe(self, step: Any, attempt: Attempt | None) -> Any:
            return self._of(step.component).probe(step, attempt)

    assert wall_s(200) < 25, "160 s of waiting, if it were one after the other"


def test_steps_run_at_the_same_time_unless_the_plan_says_otherwise(store: Store) -> None:
    vendor = FakeVendor(clock=scaled(100), operation_s=60)
    one = engine(store, vendor)
    began = vendor.clock.monotonic()
    one.execute(one.start(plan(*[step(f"c{n}") for n in range(40)])))
    assert vendor.clock.monotonic() - began < 60 * 3, "forty minutes if one after the other"


def test_more_steps_wait_than_there_are_threads(store: Store) -> None:
    vendor = FakeVendor(clock=scaled(100), operation_s=60)
    one = engine(store, vendor, max_threads=2)
    began = vendor.clock.monotonic()
    assert one.execute(one.start(plan(*[step(f"c{n}") for n in range(40)]))).outcome == "succeeded"
    assert vendor.clock.monotonic() - began < 60 * 5


def test_after_a_failed_step_nothing_new_starts_and_the_rest_is_drained(store: Store) -> None:
    vendor = FakeVendor(clock=scaled(), operation_s=60)
    vendor.operate("slow", "good", lasts_s=60)
    vendor.write_faults = ["refuse"]
    one = engine(store, vendor)
    bad, slow = step("bad"), step("slow")
    late = step("late", needs=("roll-back:slow",))
    run = one.execute(one.start(plan(slow, bad, late)))
    assert run.outcome == "failed"
    phases = [one.phase for one in run.steps.values()]
    assert phases == [StepPhase.DONE, StepPhase.FAILED, StepPhase.WAITING]
    assert store.unfinished("production") is None


def test_a_step_that_cannot_be_seen_keeps_the_environment_until_it_is_settled(
    store: Store,
) -> None:
    vendor = FakeVendor(clock=scaled(), operation_s=100)
    one = engine(store, vendor)
    run_id = one.start(plan(step("a", deadline_s=20)))
    run = one.execute(run_id)
    assert run.outcome is None
    assert run.has_unknown
    with pytest.raises(EnvironmentLocked) as refusal:
        one.start(plan(step("b")))
    assert f"taly resume {run_id}" in refusal.value.hint
    vendor.clock.sleep(100)
    run = engine(store, vendor, owner=Owner.here("ben")).resume(run_id)
    assert run.outcome == "succeeded"
    assert len(vendor.writes()) == 1


def test_a_failed_step_beside_an_unknown_one_does_not_end_the_run_before_it_is_settled(
    store: Store,
) -> None:
    vendor = FakeVendor(clock=scaled(), operation_s=100)
    vendor.operate("slow", "good", lasts_s=100)
    vendor.write_faults = ["refuse"]
    one = engine(store, vendor)
    run_id = one.start(plan(step("slow", deadline_s=20), step("bad")))
    assert one.execute(run_id).outcome is None
    vendor.clock.sleep(100)
    run = one.resume(run_id)
    assert run.outcome == "failed"
    assert run.steps["roll-back:slow"].phase is StepPhase.DONE


def test_two_engines_on_one_environment_one_runs_the_other_is_told_who(store: Store) -> None:
    vendor = FakeVendor(clock=scaled(), operation_s=30)
    run_id = engine(store, vendor, owner=HERE).start(plan(step("a")))
    other = engine(store, vendor, owner=Owner.here("ben"))
    with pytest.raises(EnvironmentLocked, match=run_id):
        other.start(plan(step("a")))
    with pytest.raises(EnvironmentLocked, match=run_id):
        other.resume(run_id)
    assert vendor.writes() == []


def test_cancel_drains_and_ends_as_cancelled(store: Store) -> None:
    vendor = FakeVendor(clock=scaled(100), operation_s=200)
    one = engine(store, vendor)
    run_id = one.start(plan(step("a"), step("b", needs=("roll-back:a",))))

    def cancel_once_written(recorded: Recorded) -> None:
        if recorded.event.kind == "step-acted":
            threading.Thread(target=store.request_cancel, args=(run_id, "ben")).start()

    run = one.execute(run_id, cancel_once_written)
    assert run.outcome == "cancelled"
    assert [one.phase for one in run.steps.values()] == [StepPhase.DONE, StepPhase.WAITING]
    assert CancelRequested(by="ben") in [one.event for one in store.events(run_id)]
    assert store.unfinished("production") is None


def test_a_cancelled_run_whose_process_died_settles_what_it_began(store: Store) -> None:
    vendor = FakeVendor(clock=scaled(), operation_s=10)
    run_id = engine(store, vendor, owner=DEAD).start(
        plan(step("a"), step("b", needs=("roll-back:a",)))
    )
    lease = store.take_lease(run_id, DEAD, at=vendor.clock.now(), lease_s=20)
    begun = [StepStarted(step="roll-back:a"), StepIntended(step="roll-back:a", key="k")]
    now = vendor.clock.now()
    store.append(lease, [(now, event) for event in begun], after=2)
    store.request_cancel(run_id, "cyd")
    run = engine(store, vendor).resume(run_id)
    assert run.steps["roll-back:a"].phase is StepPhase.DONE
    assert run.steps["roll-back:b"].phase is StepPhase.WAITING
    assert run.outcome == "cancelled"


def test_a_resumed_run_does_not_do_again_what_is_done(store: Store) -> None:
    vendor = FakeVendor(clock=scaled(), operation_s=1)
    run_id = engine(store, vendor, owner=DEAD).start(plan(step("a"), step("b")))
    vendor.operate("a", "good", key="first")
    heard: list[Recorded] = []
    run = engine(store, vendor).resume(run_id, heard.append)
    assert run.outcome == "succeeded"
    assert run.steps["roll-back:a"].how in ("already", "adopted")
    assert heard[0].event.kind == "run-started"
    assert [one.seq for one in heard] == list(range(1, len(heard) + 1))


def test_interrupted_it_drains_and_can_be_resumed(store: Store) -> None:
    vendor = FakeVendor(clock=scaled(100), operation_s=60)
    one = engine(store, vendor)
    run_id = one.start(plan(step("a"), step("b", needs=("roll-back:a",))))

    def interrupt_once_written(recorded: Recorded) -> None:
        if recorded.event.kind == "step-acted":
            one.interrupt(run_id)

    run = one.execute(run_id, interrupt_once_written)
    assert run.outcome is None
    assert run.steps["roll-back:a"].phase is StepPhase.DONE
    assert run.steps["roll-back:b"].phase is StepPhase.WAITING
    assert engine(store, vendor).resume(run_id).outcome == "succeeded"


def test_a_lease_taken_by_another_stops_the_run_before_its_next_write(store: Store) -> None:
    vendor = FakeVendor(clock=scaled(50), operation_s=100)
    one = engine(store, vendor, owner=HERE, lease_s=0.5)
    run_id = one.start(plan(step("a"), step("b", needs=("roll-back:a",))))

    def taken(recorded: Recorded) -> None:
        if recorded.event.kind == "step-acted":
            lease = store._database
            threading.Thread(
                target=lambda: lease.run(
                    lambda tx: tx.rows(
                        "take_lease", id=run_id, lease_s=20, owner_by="x", owner_host="x",
                        owner_machine="x", owner_pid=1, owner_started="x", for_workers=0,
                    ),
                    again=True,
                )
            ).start()  # fmt: skip

    with pytest.raises(LeaseLost):
        one.execute(run_id, taken)
    assert [one["component"] for one in vendor.writes()] == ["a"]
    assert "step-done" not in [one.event.kind for one in store.events(run_id)]


def test_a_store_out_of_reach_stops_the_run_before_the_write(store: Store) -> None:
    vendor = FakeVendor(clock=scaled())
    one = engine(store, vendor)
    run_id = one.start(plan(step("a")))

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def append(self, lease: Any, events: Any, *, after: int) -> Any:
            if isinstance(events[0][1], StepIntended):
                raise OutcomeUnknown("no disk", reference="store-unreachable")
            return store.append(lease, events, after=after)

    one._store = Failing()
    with pytest.raises(OutcomeUnknown):
        one.execute(run_id)
    assert vendor.writes() == []


def test_a_display_that_breaks_does_not_stop_the_run(store: Store) -> None:
    vendor = FakeVendor(clock=scaled())
    one = engine(store, vendor)

    def broken(_: Recorded) -> None:
        raise ValueError("no terminal")

    assert one.execute(one.start(plan(step("a"))), broken).outcome == "succeeded"


def test_a_plan_for_a_vendor_that_is_not_set_up_is_refused_before_the_lock(store: Store) -> None:
    with pytest.raises(UsageError) as refusal:
        Engine(store=store, providers={}, clock=RealTime()).start(plan(step("a")))
    assert refusal.value.reference == "provider-unknown"
    assert store.runs() == []


# Verification within a run


def checked(health: HealthCheck | None) -> Plan:
    verify = step("a", kind=StepKind.VERIFY, needs=("roll-back:a",), health=health)
    return plan(step("a"), verify, step("", kind=StepKind.VERIFY_ALL, needs=("verify:a",)))


def answering(*answers: httpx2.Response) -> httpx2.Client:
    left = list(answers)
    handler = httpx2.MockTransport(lambda _: left.pop(0) if len(left) > 1 else left[0])
    return httpx2.Client(transport=handler)


def test_an_application_that_never_gets_well_is_a_verification_failure(store: Store) -> None:
    vendor = FakeVendor(clock=scaled())
    http = answering(httpx2.Response(500, text="password=hunter2 boom"))
    health = HealthCheck(url="http://app/health", deadline_s=20)
    one = engine(store, vendor, http=http)
    run = one.execute(one.start(checked(health)))
    assert run.outcome == "verification-failed"
    failed = run.steps["verify:a"]
    assert failed.reference == "verification-failed"
    assert "HTTP 500" in failed.reason
    assert "hunter2" not in failed.reason
    assert run.steps["verify-all:"].phase is StepPhase.WAITING


def test_a_vendors_succeeded_alone_is_no_success(store: Store) -> None:
    """The step before says done; what the verification sees is another state."""
    vendor = FakeVendor(clock=scaled())
    vendor.initial = "good"
    one = engine(store, vendor)
    run_id = one.start(checked(None))

    def moved_back(recorded: Recorded) -> None:
        if recorded.event.kind == "step-done" and recorded.event.step == "roll-back:a":
            vendor.operate("a", "old")

    run = one.execute(run_id, moved_back)
    assert run.outcome == "verification-failed"
    assert "'old', not 'good'" in run.steps["verify:a"].reason


def test_verify_all_asks_everyone_again(store: Store) -> None:
    vendor = FakeVendor(clock=scaled())
    one = engine(store, vendor)
    run_id = one.start(checked(None))

    def moved_back(recorded: Recorded) -> None:
        if recorded.event.kind == "step-done" and recorded.event.step == "verify:a":
            vendor.operate("a", "old")

    run = one.execute(run_id, moved_back)
    assert run.outcome == "verification-failed"
    assert "1 of 1 components" in run.steps["verify-all:"].reason


def test_an_application_that_flaps_is_not_well(store: Store) -> None:
    vendor = FakeVendor(clock=scaled())
    well, ill = httpx2.Response(200), httpx2.Response(503)
    heard: list[Recorded] = []
    http = answering(well, well, ill, well, well, well)
    one = engine(store, vendor, http=http)
    run = one.execute(one.start(checked(HealthCheck(url="http://app/"))), heard.append)
    assert run.outcome == "succeeded"
    notes = [e.event.note for e in heard if isinstance(e.event, StepProgressed)]
    assert any("HTTP 503" in note for note in notes)


def test_an_application_that_flaps_once_all_are_there_is_a_verification_failure(
    store: Store,
) -> None:
    """Well on its own three times; beside what came last only every other time."""
    vendor = FakeVendor(clock=scaled())
    well, ill = httpx2.Response(200), httpx2.Response(503)
    one = engine(store, vendor, http=answering(well, well, well, *[ill, well] * 1000))
    run = one.execute(one.start(checked(HealthCheck(url="http://app/"))))
    assert run.outcome == "verification-failed"
    assert run.steps["verify:a"].how == "verified"
    assert "1 of 1 components" in run.steps["verify-all:"].reason


def test_an_application_that_flaps_for_ever_is_a_verification_failure(store: Store) -> None:
    vendor = FakeVendor(clock=scaled())
    answers = [httpx2.Response(200), httpx2.Response(503)] * 50
    one = engine(store, vendor, http=answering(*answers))
    health = HealthCheck(url="http://app/", deadline_s=30)
    assert one.execute(one.start(checked(health))).outcome == "verification-failed"


def test_a_verification_that_cannot_ask_the_vendor_is_unknown(store: Store) -> None:
    vendor = FakeVendor(clock=scaled())
    vendor.initial = "good"
    one = engine(store, vendor)
    run_id = one.start(plan(step("a", kind=StepKind.VERIFY)))
    vendor.read_faults = [True] * 9999
    run = one.execute(run_id)
    assert run.outcome is None
    vendor.read_faults = []
    vendor.clock.sleep(timedelta(seconds=1).total_seconds())
    assert one.resume(run_id).outcome == "succeeded"
