"""A run that ends every worker that takes it is parked, and a person goes on with it."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.engine_world import NOON, FakeVendor, RealTime, plan, step
from tests.fleet_worker import served

from taly.app.runs import load_run, parked
from taly.cli.main import run as command
from taly.engine.owner import Owner
from taly.engine.runner import Engine
from taly.engine.store import Store, open_store
from taly.engine.worker import TRIES, Said, Worker
from taly.errors import EnvironmentLocked
from taly.model.events import Event, StepDone, StepIntended, StepProgressed, StepStarted

DEAD = Owner(by="worker w", host="gone", machine="another", pid=1, started="1")
A = "roll-back:a"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "taly.db")
    yield opened
    opened.close()


@pytest.fixture
def vendor() -> FakeVendor:
    return FakeVendor(clock=RealTime())


def submitted(store: Store) -> str:
    two = plan(step("a"), step("b", needs=(A,)))
    return store.submit_run(two, Owner.here("ana"), at=NOON, version="1", fits={})


def killed(store: Store, run_id: str, *events: Event) -> None:
    """A worker takes the run, does this, and dies without a word."""
    lease = store.take_waiting(run_id, DEAD, at=NOON, lease_s=0.0)
    assert lease is not None
    last = store.events(run_id)[-1].seq
    store.append(lease, [(NOON, event) for event in events], after=last)
    store._database.run(  # its lease runs out
        lambda tx: tx.rows("let_go", id=run_id, fence=lease.fence), again=False
    )


BEGINS = (StepStarted(step=A), StepIntended(step=A, key="k"), StepProgressed(step=A, note="on"))


def one_look(store: Store, vendor: FakeVendor) -> list[Said]:
    """What a worker says that looks into the queue once."""
    said: list[Said] = []
    one = served(store, vendor, "w", 20)
    worker = Worker(store=store, served=[one], name="w", say=said.append, poll_s=0.01)
    worker._look()
    return [line for line in said if line.what != "event"]


def test_what_killed_five_workers_kills_no_sixth(store: Store, vendor: FakeVendor) -> None:
    run_id = submitted(store)
    for _ in range(TRIES):
        assert store.run(run_id).waits
        killed(store, run_id, *BEGINS)
    lines = one_look(store, vendor)
    assert [line.what for line in lines] == ["took", "parked"]
    assert f"taly resume {run_id}" in lines[1].text
    assert vendor.writes() == []
    run = store.run(run_id)
    assert (run.outcome, run.for_workers, run.waits, run.is_alive) == (None, False, False, False)
    assert one_look(store, vendor) == [], "nobody takes it any more"
    with pytest.raises(EnvironmentLocked) as locked:
        submitted(store)
    assert run_id in locked.value.message
    assert f"taly resume {run_id}" in locked.value.hint


def test_a_step_that_ends_between_two_deaths_starts_the_count_anew(
    store: Store, vendor: FakeVendor
) -> None:
    run_id = submitted(store)
    for _ in range(TRIES - 1):
        killed(store, run_id, *BEGINS)
    killed(store, run_id, *BEGINS, StepDone(step=A, how="acted"))
    killed(store, run_id, StepStarted(step="roll-back:b"))
    assert [line.what for line in one_look(store, vendor)] == ["took", "finished"]


def test_a_person_goes_on_with_it_or_hands_it_over_for_as_many_tries_again(
    store: Store, vendor: FakeVendor
) -> None:
    run_id = submitted(store)
    for _ in range(TRIES):
        killed(store, run_id, *BEGINS)
    one_look(store, vendor)
    store.hand_over(run_id, fits={})
    for _ in range(TRIES):
        killed(store, run_id, *BEGINS)
    assert [line.what for line in one_look(store, vendor)] == ["took", "parked"]
    engine = Engine(store=store, providers={"fake": vendor}, clock=vendor.clock)
    assert engine.resume(run_id).outcome == "succeeded"


def test_show_and_runs_say_that_it_is_parked(
    store: Store, vendor: FakeVendor, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run_id = submitted(store)
    for _ in range(TRIES):
        killed(store, run_id, *BEGINS)
    environment = SimpleNamespace(name="production")
    context: Any = SimpleNamespace(store=store, environment=environment, clock=RealTime())
    assert parked(context, load_run(context, run_id)) == "", "a worker will look"
    one_look(store, vendor)
    monkeypatch.setattr("taly.cli.runs.opened", lambda *_: context)
    assert command(["runs"]) == command(["show", run_id]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "parked" in said.partition(run_id)[2].partition("ana")[0]
    assert f"5 workers took {run_id} one after another, and none brought a step to its end" in said
