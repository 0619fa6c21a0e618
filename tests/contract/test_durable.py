"""DBOS around the engine, and both under SIGKILL and SIGSTOP as real processes."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.engine_worker import LOST, chain, vendor
from tests.engine_world import FakeVendor, RealTime, plan, step
from tests.forked import Forked

from taly.engine.durable import PROTOCOL_VERSION, DurableExecutor, _system_url
from taly.engine.runner import Engine
from taly.engine.store import Store, open_store
from taly.errors import EnvironmentLocked
from taly.model.events import Recorded

ROOT = Path(__file__).parents[2]


_workers: list[subprocess.Popen[str]] = []


def worker(*arguments: str) -> subprocess.Popen[str]:
    process: subprocess.Popen[str] = Forked(
        [sys.executable, "-m", "tests.engine_worker", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _workers.append(process)
    return process


@pytest.fixture(autouse=True)
def _no_worker_is_left() -> Iterator[None]:
    """A failed test leaves no frozen process behind."""
    yield
    while _workers:
        process = _workers.pop()
        if process.poll() is None:
            process.kill()
            process.communicate()


def run_id_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        _, err = process.communicate()
        raise AssertionError(f"the worker died: {err}")
    return line


def reap(process: subprocess.Popen[str]) -> int:
    _, err = process.communicate(timeout=60)
    assert process.returncode in (0, LOST, -signal.SIGKILL), err
    return process.returncode


# Killed


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/taly.db"


@pytest.mark.parametrize(
    ("url", "how"),
    [("sqlite", "plain"), ("sqlite", "durable"), ("postgres", "durable")],
    indirect=["url"],
)
def test_killed_at_random_moments_it_always_finishes_and_writes_nothing_twice(
    url: str, how: str, tmp_path: Path
) -> None:
    dice = random.Random(f"{how} {url.partition(':')[0]}")
    log = tmp_path / "vendor.jsonl"
    process = worker(url, str(log), how, "new", "30")
    run_id, kills = run_id_of(process), 0
    while kills < 7:
        time.sleep(dice.uniform(0.0, 0.25))
        process.kill()
        assert reap(process) == -signal.SIGKILL, "it was quicker than the axe: a longer chain"
        kills += 1
        process = worker(url, str(log), how, run_id, "30")
        assert run_id_of(process) == run_id
    assert reap(process) == 0
    store = open_store(url)
    world = vendor(log)
    assert store.run(run_id).outcome == "succeeded"
    written = [op["component"] for op in world.writes()]
    assert sorted(written) == sorted(one.component for one in chain().steps)
    assert all(world.value(one.component) == "good" for one in chain().steps)
    events = store.events(run_id)
    assert [one.seq for one in events] == list(range(1, len(events) + 1))
    assert sum(one.event.kind == "lease-taken" for one in events) == kills
    store.close()


# Frozen


def test_frozen_past_its_lease_between_intent_and_write_it_wakes_to_nothing(
    url: str, tmp_path: Path
) -> None:
    log = tmp_path / "vendor.jsonl"
    sleeper = worker(url, str(log), "plain", "new", "0.5", "freeze")
    run_id = run_id_of(sleeper)
    store = open_store(url)
    while store.events(run_id)[-1].event.kind != "step-intended" or store.run(run_id).is_alive:
        time.sleep(0.02)
    assert vendor(log).writes() == []
    successor = worker(url, str(log), "plain", run_id, "30")
    run_id_of(successor)
    assert reap(successor) == 0
    os.kill(sleeper.pid, signal.SIGCONT)
    assert reap(sleeper) == LOST
    assert len(vendor(log).writes()) == len(chain().steps)
    fences = {one.fence for one in store.events(run_id)}
    assert fences == {1, 2}
    store.close()


# DBOS in this process


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = open_store(url)
    yield store
    store.close()


class Skipping(RealTime):
    """The machine's clock, which a test may put on."""

    def __init__(self) -> None:
        self.skipped_s = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.skipped_s)

    def monotonic(self) -> float:
        return super().monotonic() + self.skipped_s


@pytest.fixture
def clock() -> Skipping:
    return Skipping()


@pytest.fixture
def world(clock: Skipping) -> FakeVendor:
    return FakeVendor(clock=clock)


@pytest.fixture
def durable(url: str, store: Store, world: FakeVendor) -> Iterator[DurableExecutor]:
    engine = Engine(store=store, providers={"fake": world}, clock=world.clock)
    durable = DurableExecutor(engine, url)
    yield durable
    durable.close()


def test_a_run_is_carried_told_and_recorded_by_dbos_as_plain_json(
    durable: DurableExecutor, store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    heard: list[Recorded] = []
    run_id = durable._engine.start(plan(step("a")))
    run = durable.execute(run_id, heard.append)
    assert run.outcome == "succeeded"
    assert heard == store.events(run_id)
    from dbos import DBOS

    status = DBOS.get_workflow_status(run_id)
    assert status is not None
    assert status.status == "SUCCESS"
    assert status.output == {"outcome": "succeeded"}
    assert status.app_version == PROTOCOL_VERSION, "edge 5: pinned"
    assert status.executor_id != "local", "edge 1: our own"
    assert _serialised() == {"portable_json"}, "edge 11: never pickle"
    assert capfd.readouterr() == ("", ""), "edge 13: silent"


def _serialised() -> set[str]:
    from dbos._dbos import _get_dbos_instance
    from sqlalchemy import text

    with _get_dbos_instance()._sys_db.engine.connect() as connection:
        where = "taly_dbos." if connection.dialect.name == "postgresql" else ""
        found = connection.execute(text(f"select serialization from {where}workflow_status"))
        return {row[0] for row in found}


def test_an_unfinished_run_is_continued_under_the_same_name(
    durable: DurableExecutor, world: FakeVendor, clock: Skipping
) -> None:
    world.operation_s = 600
    run_id = durable._engine.start(plan(step("a", deadline_s=0.1)))
    assert durable.execute(run_id).outcome is None
    clock.skipped_s = 600
    assert durable.resume(run_id).outcome == "succeeded"
    assert len(world.writes()) == 1


def test_a_run_that_was_taken_over_before_it_is_executed_is_continued_too(
    durable: DurableExecutor, world: FakeVendor, clock: Skipping
) -> None:
    """As `taly resume` does it; DBOS, told to start what it knows, would wait for ever."""
    world.operation_s = 600
    run_id = durable._engine.start(plan(step("a", deadline_s=0.1)))
    assert durable.execute(run_id).outcome is None
    clock.skipped_s = 600
    durable._engine.take_over(run_id)
    assert durable.execute(run_id).outcome == "succeeded"
    assert len(world.writes()) == 1


def test_a_second_executor_in_the_same_process_takes_the_place_of_the_first(
    durable: DurableExecutor, world: FakeVendor, url: str
) -> None:
    """A failed run that the policy takes back is followed by its undo."""
    engine = durable._engine
    assert durable.execute(engine.start(plan(step("a")))).outcome == "succeeded"
    second = DurableExecutor(engine, url)
    assert second.execute(engine.start(plan(step("b")))).outcome == "succeeded"
    assert len(world.writes()) == 2
    second.close()


def test_edge_8_the_lock_is_ours_not_dbos(durable: DurableExecutor, store: Store) -> None:
    run_id = durable._engine.start(plan(step("a")))
    with pytest.raises(EnvironmentLocked, match=run_id):
        durable.resume(run_id)
    assert durable.execute(run_id).outcome == "succeeded"


def test_an_interrupt_reaches_the_run_through_dbos(
    durable: DurableExecutor, world: FakeVendor, store: Store
) -> None:
    world.operation_s = 0.5
    run_id = durable._engine.start(plan(step("a"), step("b", needs=("roll-back:a",))))

    def interrupt_once_written(recorded: Recorded) -> None:
        if recorded.event.kind == "step-acted":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        durable.execute(run_id, interrupt_once_written)
    assert [one["component"] for one in world.writes()] == ["a"]
    assert durable.resume(run_id).outcome == "succeeded"


def test_who_makes_dbos_file_waits_for_another_that_makes_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs begin at the same time, of two environments of a store that is new."""
    other = sqlite3.connect(tmp_path / "taly.db.dbos", isolation_level=None)
    other.execute("begin immediate")
    monkeypatch.setattr(
        "taly.engine.store.sqlite.time.sleep", lambda seconds: other.execute("commit")
    )
    assert _system_url(f"{tmp_path}/taly.db") == f"sqlite:///{tmp_path}/taly.db.dbos"
    assert other.execute("pragma journal_mode").fetchone()[0] == "wal"
    other.close()
