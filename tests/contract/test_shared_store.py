"""Two machines, each with a store of its own, and one shared place between them."""

import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from shared_machines import CHAIN, Machine, anna, machine, place, runner
from shared_stage import Memory, until
from tests.engine_world import NOON, FakeVendor, RealTime, plan, rollback, step

from taly.app.runs import finished_runs
from taly.clock import ScaledClock
from taly.engine.owner import Owner
from taly.engine.shared.runs import Mirror
from taly.engine.store import names as run_ids
from taly.errors import EnvironmentLocked, LeaseLost, OutcomeUnknown, UsageError
from taly.model.events import CancelRequested, RunFinished, RunStarted, StepStarted

__all__ = ["anna", "machine", "place", "runner"]


def quick(speed: float = 200, **more: Any) -> FakeVendor:
    return FakeVendor(
        clock=ScaledClock(origin=RealTime().now(), at_unix=time.time(), speed=speed), **more
    )


# The lock


def test_a_run_on_one_machine_holds_off_the_other_and_names_it(
    anna: Machine, runner: Machine
) -> None:
    lease = anna.begin(lease_s=1.5)
    with pytest.raises(EnvironmentLocked) as refusal:
        runner.begin()
    assert f"{lease.run_id} (rollback, since 2026-01-01 12:00:00 UTC)" in refusal.value.message
    assert "anna-laptop on anna-laptop (process 1)" in refusal.value.message
    holder = runner.store.unfinished("production")
    assert holder is not None
    assert (holder.id, holder.is_alive) == (lease.run_id, True)
    anna.finish(lease)
    assert runner.store.unfinished("production") is None
    assert runner.begin().run_id > lease.run_id


def test_other_environments_are_free(anna: Machine, runner: Machine) -> None:
    anna.begin()
    runner.begin(plan(step("a"), environment="staging"))


def test_of_many_machines_at_once_one_gets_the_environment(
    machine: Callable[[str], Machine],
) -> None:
    machines = [machine(f"m{number}") for number in range(6)]
    gate = threading.Barrier(6)

    def compete(one: Machine) -> str:
        gate.wait()
        try:
            return str(one.begin(lease_s=1.5).run_id)
        except EnvironmentLocked:
            return ""

    with ThreadPoolExecutor(6) as pool:
        won = [run_id for run_id in pool.map(compete, machines) if run_id]
    assert len(won) == 1


def test_run_ids_grow_over_all_machines_whatever_their_clocks(
    anna: Machine, runner: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = anna.begin()
    anna.finish(lease)
    an_hour_ago = time.time() - 3600
    monkeypatch.setattr(run_ids.time, "time", lambda: an_hour_ago)
    assert runner.begin().run_id > lease.run_id


def test_a_run_that_was_left_is_succeeded_at_once_and_can_never_go_on(
    anna: Machine, runner: Machine
) -> None:
    left = anna.begin()
    anna.store.append(left, [(NOON, StepStarted(step="roll-back:a"))], after=1)
    anna.store.let_go(left)
    began = time.monotonic()
    lease = runner.begin()
    assert time.monotonic() - began < 5, "nobody waits for a lease of 20 s"
    runner.finish(lease)
    with pytest.raises(UsageError) as refusal:
        anna.store.take_lease(left.run_id, anna.owner, at=NOON, lease_s=20)
    assert refusal.value.reference == "run-superseded"
    assert f"{lease.run_id} (rollback" in refusal.value.message
    assert "ci-runner-7" in refusal.value.message
    *_, cancelled, finished = [one.event for one in anna.store.events(left.run_id)]
    assert finished == RunFinished(outcome="cancelled")
    assert isinstance(cancelled, CancelRequested)
    assert "ci-runner-7" in cancelled.by
    anna.finish(anna.begin())


def test_a_machine_whose_run_was_superseded_begins_a_new_one_without_ado(
    anna: Machine, runner: Machine
) -> None:
    left = anna.begin()
    anna.store.let_go(left)
    runner.finish(runner.begin())
    anna.finish(anna.begin())
    assert anna.store.run(left.run_id).outcome == "cancelled"
    assert any("is over" in one for one in anna.notices)


def test_a_run_that_was_left_goes_on_where_it_was_started(anna: Machine) -> None:
    left = anna.begin()
    anna.store.let_go(left)
    taken = anna.store.take_lease(left.run_id, anna.owner, at=NOON, lease_s=20)
    assert taken.fence == 2
    anna.finish(taken, after=2)


def test_a_run_of_another_machine_is_not_resumed_here(anna: Machine, runner: Machine) -> None:
    lease = anna.begin()
    anna.store.let_go(lease)
    with pytest.raises(UsageError) as refusal:
        runner.store.take_lease(lease.run_id, runner.owner, at=NOON, lease_s=20)
    assert refusal.value.reference == "run-elsewhere"
    assert "anna-laptop" in refusal.value.message


def test_a_killed_process_is_succeeded_after_its_lease(anna: Machine, runner: Machine) -> None:
    lease = anna.begin(lease_s=0.4)
    anna.store._held[lease.run_id].stop()  # as a kill would: nothing is renewed, nothing said
    began = time.monotonic()
    taken = runner.begin(lease_s=0.4)
    assert time.monotonic() - began >= 0.35
    assert any("watching whether it lives" in one for one in runner.notices)
    with pytest.raises(LeaseLost):
        anna.store.append(lease, [(NOON, StepStarted(step="roll-back:a"))], after=1)
    with pytest.raises(LeaseLost):
        anna.store.renew(lease)
    runner.finish(taken)


def test_this_machine_s_own_dead_process_is_not_watched(anna: Machine, runner: Machine) -> None:
    """Two checkouts on one machine: what died here is known to be dead."""
    here = Owner.here("anna")
    anna.owner = dataclasses.replace(here, pid=2**22 - 1, started="1")
    runner.owner = here
    anna.store._held[anna.begin().run_id].stop()
    began = time.monotonic()
    runner.begin()
    assert time.monotonic() - began < 5


# The engine under it


class Stalled(FakeVendor):
    """A vendor at whose first write something happens."""

    happens: Callable[[], None] = staticmethod(lambda: None)

    def act(self, step: Any, key: str, say: Any = None) -> Any:
        self.happens()
        return super().act(step, key)


def test_a_rollback_runs_to_its_end_and_everybody_sees_it(anna: Machine, runner: Machine) -> None:
    vendor = quick(operation_s=1)
    engine = anna.engine(vendor)
    run_id = engine.start(rollback(2))
    assert engine.execute(run_id).outcome == "succeeded"
    (seen,) = runner.store.runs("production")
    assert (seen.id, seen.outcome, seen.owner.host) == (run_id, "succeeded", "anna-laptop")
    assert runner.store.plan(run_id) == rollback(2)
    assert runner.store.events(run_id) == anna.store.events(run_id)
    assert runner.store.events(run_id, after=3) == anna.store.events(run_id)[3:]
    assert runner.store.run(run_id).outcome == "succeeded"
    with pytest.raises(UsageError) as refusal:
        runner.store.request_cancel(run_id, "ben")
    assert refusal.value.reference == "run-finished"
    (again,) = runner.store.runs("production")
    assert again == seen


def test_a_frozen_process_that_thaws_writes_nothing_more(anna: Machine, runner: Machine) -> None:
    vendor = quick()
    engine = anna.engine(vendor, lease_s=0.3)
    run_id = engine.start(CHAIN)
    anna.store._held[run_id].stop()  # frozen: its threads do nothing
    taken = runner.begin(lease_s=5)
    with pytest.raises(LeaseLost):
        engine.execute(run_id)
    assert vendor.writes() == []
    runner.finish(taken)


def test_without_the_shared_place_no_run_begins(anna: Machine, place: Memory) -> None:
    place.down = True
    with pytest.raises(OutcomeUnknown) as refusal:
        anna.engine(quick(), lease_s=1).start(CHAIN)
    assert refusal.value.reference == "shared-unreachable"
    place.down = False
    assert anna.store.unfinished("production") is None
    assert anna.store.runs("production") == []


def test_a_run_under_way_stops_within_its_lease_and_is_resumed(
    anna: Machine, place: Memory
) -> None:
    vendor = Stalled(
        clock=ScaledClock(origin=RealTime().now(), at_unix=time.time(), speed=20), operation_s=14
    )

    def cut() -> None:
        place.down = True

    vendor.happens = cut
    engine = anna.engine(vendor, lease_s=0.6)
    run_id = engine.start(CHAIN)
    with pytest.raises(OutcomeUnknown) as stopped:
        engine.execute(run_id)
    assert stopped.value.reference == "shared-unreachable"
    assert [one["component"] for one in vendor.writes()] == ["a"]
    place.down = False
    vendor.happens = lambda: None
    until(lambda: not anna.store.run(run_id).is_alive)
    again = anna.engine(vendor, lease_s=5)
    again.take_over(run_id)
    assert again.execute(run_id).outcome == "succeeded"
    assert [one["component"] for one in vendor.writes()] == ["a", "b", "c"]


def test_a_blip_shorter_than_the_lease_is_not_noticed(anna: Machine, place: Memory) -> None:
    vendor = Stalled(
        clock=ScaledClock(origin=RealTime().now(), at_unix=time.time(), speed=20), operation_s=10
    )

    def cut() -> None:
        place.down = True
        threading.Timer(0.3, lambda: setattr(place, "down", False)).start()

    vendor.happens = cut
    engine = anna.engine(vendor, lease_s=1.5)
    assert engine.execute(engine.start(plan(step("a"), step("b")))).outcome == "succeeded"


def test_an_end_that_could_not_be_shared_is_shared_by_the_next_command(
    anna: Machine, runner: Machine, place: Memory
) -> None:
    lease = anna.begin()
    place.down = True
    anna.finish(lease)
    assert any("could not be told" in one for one in anna.notices)
    place.down = False
    assert [one.id for one in anna.store.runs("production")] == [lease.run_id]
    assert runner.store.run(lease.run_id).outcome == "succeeded"
    anna.finish(anna.begin())  # its own lock, of a run that it knows is over, is not watched


# What others see, and may ask


def test_a_run_under_way_is_seen_elsewhere_as_far_as_it_is(
    anna: Machine, runner: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mirror.__init__, "__kwdefaults__", {"every_s": 0.05})
    lease = anna.begin()
    anna.store.append(lease, [(NOON, StepStarted(step="roll-back:a"))], after=1)
    until(lambda: len(runner.store.events(lease.run_id)) == 2)
    (seen,) = runner.store.runs("production")
    assert (seen.id, seen.outcome, seen.is_alive) == (lease.run_id, None, True)
    assert runner.store.plan(lease.run_id) == CHAIN
    anna.store.let_go(lease)
    (left,) = runner.store.runs("production")
    assert not left.is_alive


def test_a_run_is_cancelled_from_another_machine(anna: Machine, runner: Machine) -> None:
    lease = anna.begin(lease_s=1.5)

    def asks_and_is_seen() -> bool:  # a lock that no engine asks about is not kept
        assert not anna.store.cancel_requested_by(lease.run_id)
        return bool(runner.store.runs("production"))

    until(asks_and_is_seen)
    runner.store.request_cancel(lease.run_id, "ben")
    until(lambda: anna.store.cancel_requested_by(lease.run_id) == "ben")


def test_what_every_machine_did_stands_in_one_list(anna: Machine, runner: Machine) -> None:
    ids = []
    for one in (anna, runner, anna):
        lease = one.begin()
        one.finish(lease)
        ids.append(lease.run_id)
    for one in (anna, runner):
        until(lambda one=one: len(one.store.runs("production")) == 3)
        assert [run.id for run in one.store.runs("production")] == ids[::-1]
        assert [run.id for run in one.store.runs("production", limit=2)] == ids[:0:-1]


def test_other_machines_runs_are_still_shown_without_the_shared_place(
    anna: Machine, runner: Machine, place: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = anna.begin()
    anna.finish(lease)
    assert len(runner.store.runs("production")) == 1
    monkeypatch.setattr("taly.engine.shared.runs.FRESH_S", -1.0)
    place.down = True
    assert [one.outcome for one in runner.store.runs("production")] == ["succeeded"]
    assert runner.store.events(lease.run_id)[0].event.kind == "run-started"
    assert any("out of reach" in one for one in runner.notices)


def test_the_queue_for_workers_is_refused(anna: Machine) -> None:
    with pytest.raises(UsageError) as refusal:
        anna.store.submit_run(CHAIN, anna.owner, at=NOON, version="1", fits={})
    assert refusal.value.reference == "store-local"


def test_the_first_event_is_shared_with_who_acts(anna: Machine, runner: Machine) -> None:
    lease = anna.begin()
    anna.finish(lease)
    first = runner.store.events(lease.run_id)[0].event
    assert isinstance(first, RunStarted)
    assert first.by == "anna-laptop"


def test_what_a_dead_machine_had_frozen_is_known_to_whoever_unfreezes(
    anna: Machine, runner: Machine
) -> None:
    """Its run never ended, and its successor found auto-deploys held already."""
    dead = anna.begin()
    anna.store.append(dead, [(NOON, StepStarted(step="roll-back:a"))], after=1)
    anna.store.let_go(dead)
    context: Any = SimpleNamespace(
        store=runner.store,
        environment=SimpleNamespace(name="production"),
        config=SimpleNamespace(shared="s3://team"),
    )
    assert [one.id for one in finished_runs(context)] == [dead.run_id]
    later = runner.begin(lease_s=1.5)
    assert [one.id for one in finished_runs(context)] == [dead.run_id]
    runner.finish(later)
    assert [one.id for one in finished_runs(context)] == [dead.run_id, later.run_id]
