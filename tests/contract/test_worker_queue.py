"""Workers in one process, on both databases: who takes what, and how each gives it back."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tests.engine_world import NOON, FakeVendor, RealTime, plan, step
from tests.fleet_worker import ServedWorld, chain, served

from taly.engine.owner import Owner
from taly.engine.store import RunSummary, Store, open_store
from taly.engine.worker import Refusal, Said, Worker
from taly.errors import EnvironmentLocked, OutcomeUnknown, UsageError
from taly.model.events import StepIntended, StepStarted
from taly.model.plan import Plan

FAST = 0.02
FITS = {"a": "1"}
ANA = Owner.here("ana")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/taly.db"


@dataclass
class Hand:
    """A worker in a thread, and what it said."""

    worker: Worker
    served: ServedWorld
    thread: threading.Thread
    said: list[Said] = field(default_factory=list)

    def what(self) -> list[str]:
        return [one.what for one in self.said if one.what != "event"]


@dataclass
class Yard:
    """A queue, and workers on it."""

    url: str
    store: Store
    world: FakeVendor
    hands: list[Hand] = field(default_factory=list)
    opened: list[Store] = field(default_factory=list)

    def open(self) -> Store:
        self.opened.append(open_store(self.url))
        return self.opened[-1]

    def hire(self, called: str = "w", **more: Any) -> Hand:
        queue = more.pop("queue", None) or self.open()
        lease_s = more.pop("lease_s", 20.0)
        world = more.pop("world", self.world)
        on_event = more.pop("on_event", lambda _: None)
        said: list[Said] = []
        one = served(self.open(), world, called, lease_s, **more)

        def say(line: Said) -> None:
            said.append(line)
            if line.recorded is not None:
                on_event(line.recorded)

        worker = Worker(
            store=queue, served=[one], name=called, say=say, poll_s=FAST, beat_s=10 * FAST
        )
        thread = threading.Thread(target=worker.work, daemon=True)
        self.hands.append(Hand(worker=worker, served=one, thread=thread, said=said))
        thread.start()
        until(lambda: any(row.id == worker.id for row in self.store.workers()))
        return self.hands[-1]

    def submit(self, what: Plan | None = None, **fits: str) -> str:
        chosen = what or plan(step("a"), step("b"))
        return self.store.submit_run(chosen, ANA, at=NOON, version="1", fits=fits)

    def ended(self, run_id: str) -> RunSummary:
        until(lambda: self.store.run(run_id).outcome is not None)
        return self.store.run(run_id)

    def kinds(self, run_id: str) -> list[str]:
        return [one.event.kind for one in self.store.events(run_id)]


def until(holds: Callable[[], object]) -> None:
    last = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < last, "it did not come to that"
        time.sleep(0.01)


@pytest.fixture
def yard(url: str) -> Iterator[Yard]:
    made = Yard(url=url, store=open_store(url), world=FakeVendor(clock=RealTime()))
    yield made
    for hand in made.hands:
        hand.worker.drain()
    for hand in made.hands:
        hand.thread.join(20)
        assert not hand.thread.is_alive()
    for store in (made.store, *made.opened):
        store.close()


# Taking


def test_of_three_workers_one_takes_it_and_it_is_done_once(yard: Yard) -> None:
    run_id = yard.submit()
    for name in ("w1", "w2", "w3"):
        yard.hire(name)
    assert yard.ended(run_id).outcome == "succeeded"
    assert sorted(op["component"] for op in yard.world.writes()) == ["a", "b"]
    assert yard.kinds(run_id).count("lease-taken") == yard.kinds(run_id).count("run-finished") == 1
    assert sum("took" in hand.what() for hand in yard.hands) == 1


def test_a_submitted_run_waits_and_holds_its_environment(yard: Yard) -> None:
    run_id = yard.submit()
    run = yard.store.run(run_id)
    assert (run.waits, run.is_alive, run.outcome) == (True, False, None)
    assert [one.id for one in yard.store.waiting()] == [run_id]
    with pytest.raises(EnvironmentLocked) as refusal:
        yard.submit()
    assert "waits for a worker" in refusal.value.message
    assert f"taly cancel {run_id}" in refusal.value.hint


def test_the_oldest_comes_first(yard: Yard) -> None:
    runs = [yard.submit(plan(step("a"), environment=name)) for name in ("e1", "e2", "e3")]
    worlds = [served(yard.open(), yard.world, "w", 20, name=name) for name in ("e3", "e1", "e2")]
    took: list[str] = []
    worker = Worker(
        store=yard.open(),
        served=worlds,
        name="w",
        say=lambda said: took.append(said.run) if said.what == "took" else None,
        poll_s=FAST,
    )
    thread = threading.Thread(target=worker.work)
    thread.start()
    until(lambda: len(took) == 3)
    worker.drain()
    thread.join(20)
    assert took == runs


def test_of_many_at_once_one_gets_a_waiting_run(yard: Yard) -> None:
    run_id = yard.submit()
    gate, got = threading.Barrier(5), []

    def compete(number: int) -> None:
        mine = yard.open()
        gate.wait()
        owner = Owner.here(f"w{number}")
        got.append(mine.take_waiting(run_id, owner, at=NOON, lease_s=20))

    threads = [threading.Thread(target=compete, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(lease.fence for lease in got if lease) == [2]


def test_a_worker_takes_only_its_environments_and_what_is_set_up_as_there(yard: Yard) -> None:
    foreign = yard.submit(plan(step("a"), environment="staging"))
    other = yard.submit(a="2")
    hand = yard.hire("w", fits=FITS)
    until(lambda: "misfit" in hand.what())
    assert yard.store.run(foreign).waits
    assert yard.store.run(other).waits
    until(lambda: other in yard.store.workers()[0].says)
    assert "a set up otherwise" in yard.store.workers()[0].says
    same = yard.hire("same", fits={"a": "2", "b": "9"})
    assert yard.ended(other).outcome == "succeeded"
    assert "took" in same.what()


# Giving back


def test_drained_it_lets_the_run_go_at_a_step_boundary_and_another_finishes_it(yard: Yard) -> None:
    begun = threading.Event()
    first = yard.hire(
        "first", on_event=lambda one: isinstance(one.event, StepIntended) and begun.set()
    )
    run_id = yard.submit(chain(6))
    assert begun.wait(20)
    first.worker.drain()
    first.thread.join(20)
    assert first.what()[-2:] == ["let-go", "ended"]
    kinds = yard.kinds(run_id)
    assert kinds.count("step-done") == kinds.count("step-started") < 6, "a step was left half-done"
    assert yard.store.run(run_id).waits
    assert yard.store.workers() == [], "it says good-bye"
    yard.hire("second")
    assert yard.ended(run_id).outcome == "succeeded"
    assert len(yard.world.writes()) == 6


def test_a_refusal_before_the_first_step_ends_the_run_and_touches_nothing(yard: Yard) -> None:
    why = Refusal(reference="plan-stale", message="backend: it moved", hint="taly plan")
    yard.hire("w", refuses=lambda _: why)
    run_id = yard.submit()
    run = yard.ended(run_id)
    assert (run.outcome, Refusal.of_text(run.refused)) == ("cancelled", why)
    assert yard.world.writes() == []
    assert not any(kind.startswith("step") for kind in yard.kinds(run_id))


def test_what_one_worker_refuses_another_may_see_better(yard: Yard) -> None:
    why = Refusal(reference="vendor-unreachable", message="no answer")
    yard.hire("idle", name="elsewhere")
    blind = yard.hire("blind", refuses=lambda _: why)
    alone = yard.submit()
    assert yard.ended(alone).outcome == "cancelled", "who serves something else does not count"
    (idle, _) = yard.store.workers()
    yard.store.beat(replace(idle, id="w-other", environments={"production": {}}))
    run_id = yard.submit()
    until(lambda: yard.store.run(run_id).tried == (blind.worker.id,))
    until(lambda: yard.store.run(run_id).waits)
    yard.hire("seeing")
    assert yard.ended(run_id).outcome == "succeeded"
    assert blind.what().count("took") == 2


def test_no_secret_is_kept_or_logged_of_why_a_run_was_refused(yard: Yard) -> None:
    said = "no answer from postgresql://app:hunter2@db/app, token=hunter2"
    hand = yard.hire("w", refuses=lambda _: Refusal(reference="x", message=said, hint=said))
    run = yard.ended(yard.submit())
    until(lambda: "refused" in hand.what())
    assert "no answer from postgresql://" in run.refused
    kept = (run.refused, *(line.text for line in hand.said), *map(str, yard.store.events(run.id)))
    assert not [text for text in kept if "hunter2" in text]


def test_a_run_that_was_begun_is_not_checked_again(yard: Yard) -> None:
    run_id = yard.submit()
    lease = yard.store.take_waiting(run_id, ANA, at=NOON, lease_s=20)
    assert lease is not None
    begun = [StepStarted(step="roll-back:a"), StepIntended(step="roll-back:a", key="k")]
    yard.store.append(lease, [(NOON, event) for event in begun], after=2)
    yard.store.let_go(lease)
    yard.hire("w", refuses=lambda _: Refusal(reference="plan-stale", message="it moved"))
    assert yard.ended(run_id).outcome == "succeeded"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_what_one_worker_cannot_see_others_try_each_once(yard: Yard) -> None:
    blind = FakeVendor(clock=RealTime(), log=yard.world.log, read_faults=[True] * 10_000)
    first = yard.hire("first", world=blind)
    second = yard.hire("second", world=blind)
    hopeless = yard.submit(plan(step("a", deadline_s=0.2)))
    until(lambda: "unknown" in first.what() and "unknown" in second.what())
    until(lambda: not yard.store.run(hopeless).for_workers)
    run = yard.store.run(hopeless)
    assert (run.outcome, run.waits) == (None, False), "nobody may go on by itself"
    assert set(run.tried) == {first.worker.id, second.worker.id}
    third = yard.hire("third")
    yard.store.hand_over(hopeless, fits={})
    assert yard.store.run(hopeless).tried == ()
    until(lambda: third.what().count("took") or first.what().count("took") == 2)
    assert yard.ended(hopeless).outcome == "succeeded"


def test_what_breaks_a_worker_meets_no_other(yard: Yard) -> None:
    def break_(_: Plan) -> None:
        raise RuntimeError("a bug")

    hand = yard.hire("w", refuses=break_)
    run_id = yard.submit()
    until(lambda: "broke" in hand.what())
    until(lambda: not yard.store.run(run_id).for_workers)
    assert not yard.store.run(run_id).is_alive
    yard.store.hand_over(run_id, fits={})
    assert yard.store.run(run_id).for_workers, "taly resume --remote"


def test_asked_to_stop_while_it_waits_it_is_cancelled_by_who_takes_it(yard: Yard) -> None:
    run_id = yard.submit()
    yard.store.request_cancel(run_id, "ben")
    yard.hire("w", refuses=lambda _: Refusal(reference="plan-stale", message="not asked"))
    run = yard.ended(run_id)
    assert (run.outcome, run.refused) == ("cancelled", "")
    assert yard.world.writes() == []


def test_who_resumes_a_run_here_has_it_here(yard: Yard) -> None:
    run_id = yard.submit()
    lease = yard.store.take_lease(run_id, ANA, at=NOON, lease_s=20)
    yard.store.let_go(lease)
    assert not yard.store.run(run_id).waits, "a worker would take it from under Ctrl-C"
    again = yard.store.take_lease(run_id, ANA, at=NOON, lease_s=20)
    with pytest.raises(EnvironmentLocked):
        yard.store.hand_over(run_id, fits={})
    yard.store.let_go(again)
    yard.store.hand_over(run_id, fits={})
    yard.hire("w")
    assert yard.ended(run_id).outcome == "succeeded"
    with pytest.raises(UsageError, match="has ended"):
        yard.store.hand_over(run_id, fits={})


# The store goes away


class Flaky:
    """A connection that fails when it is told to."""

    def __init__(self, store: Store) -> None:
        self.store, self.away = store, False

    def __getattr__(self, name: str) -> Any:
        if self.away and name != "forget_worker":
            raise OutcomeUnknown("the store does not answer", reference="store-unreachable")
        return getattr(self.store, name)


def test_a_store_that_goes_away_is_waited_for_and_told_of(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taly.engine.worker.BACKOFF_MAX_S", 0.05)
    queue = Flaky(yard.open())
    hand = yard.hire("w", queue=queue)
    queue.away = True
    until(lambda: hand.what().count("store-lost") >= 3)
    run_id = yard.submit()
    queue.away = False
    assert yard.ended(run_id).outcome == "succeeded"
    assert "store-back" in hand.what()


def test_once_a_newer_taly_upgraded_the_store_it_ends_and_does_not_say_that_all_is_well(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = served(yard.open(), yard.world, "w", 20)
    worker = Worker(
        store=yard.open(), served=[one], name="w", say=lambda _: None, poll_s=FAST, beat_s=FAST
    )
    monkeypatch.setattr("taly.engine.store.database.SCHEMA_VERSION", 1)
    with pytest.raises(UsageError) as ended:
        worker.work()
    assert ended.value.reference == "store-too-new"


def test_the_silent_are_not_counted_on(yard: Yard) -> None:
    hand = yard.hire("w")
    (row,) = yard.store.workers()
    assert (row.name, row.run_id, row.is_alive, row.draining) == ("w", "", True, False)
    assert row.silent_s < 5
    assert hand.worker.id == row.id
