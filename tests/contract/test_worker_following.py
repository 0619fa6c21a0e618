"""A run that others carry, followed to every end; on a store alone, with no vendor to be asked."""

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.worker_stage import (
    ANA,
    WEB,
    context,
    folder,
    row,
    said,
    store,
    submitted,
    taken,
)
from tests.engine_world import NOON, FakeVendor, RealTime
from tests.fleet_worker import ServedWorld

from taly.app import remote, workers
from taly.app.context import Context, open_context
from taly.app.plans import Planned
from taly.app.runs import load_run
from taly.engine.owner import Owner
from taly.engine.runner import Engine
from taly.engine.store import Store, open_store
from taly.engine.worker import Refusal, Worker
from taly.errors import ExitCode
from taly.model.events import (
    CancelRequested,
    Event,
    Outcome,
    RunFinished,
    StepFailed,
    StepStarted,
    StepUnknown,
)
from taly.planning.digest import sealed

__all__ = ["context", "folder", "store"]

# Following


ENDS: list[tuple[tuple[Event, ...], Outcome | None, ExitCode]] = [
    ((), "succeeded", ExitCode.OK),
    ((StepFailed(step="roll-back:web", reason="no", reference="x"),), "failed", ExitCode(4)),
    ((), "verification-failed", ExitCode.VERIFICATION_FAILED),
    ((CancelRequested(by="ben"),), "cancelled", ExitCode.INTERRUPTED),
    ((StepUnknown(step="roll-back:web", reason="no answer"),), None, ExitCode.UNKNOWN),
]


@pytest.mark.parametrize(("events", "outcome", "code"), ENDS)
def test_who_follows_to_the_end_exits_as_the_run_does(
    store: Store,
    capsys: pytest.CaptureFixture[str],
    events: tuple[Event, ...],
    outcome: Outcome | None,
    code: ExitCode,
) -> None:
    run_id = submitted(store)
    over = (RunFinished(outcome=outcome),) if outcome else ()
    lease = taken(store, run_id, StepStarted(step="roll-back:web"), *events, *over)
    if outcome is None:
        store.could_not_tell(lease, "w-1", for_workers=False)
        store.let_go(lease)
    body = json.loads(said(capsys, code, "follow", run_id, "--json").partition("\nrun-")[0])
    assert (body["run"], body["outcome"], body["exit_code"]) == (run_id, outcome, int(code))


def test_who_follows_a_run_that_was_refused_exits_as_if_refused_here(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submitted(store)
    lease = taken(store, run_id)
    why = Refusal(reference="plan-stale", message="web: it moved", hint="taly plan --to R1")
    store.refuse(lease, why.as_text())
    store.append(lease, [(NOON, RunFinished(outcome="cancelled"))], after=2)
    told = said(capsys, ExitCode.REFUSED, "follow", run_id)
    assert "plan-stale" in told
    assert "touched nothing" in told
    assert "taly plan --to R1" in told
    assert "web: it moved" in said(capsys, ExitCode.OK, "show", run_id)


def test_what_a_run_waits_for_is_said(context: Context, store: Store) -> None:
    run_id = submitted(store, web="1")
    heard: list[str] = []

    def hear(text: str) -> None:
        heard.append(text)
        if len(heard) == 1:
            says = f"does not take {run_id}: web set up otherwise here"
            differs = row(says=says, environments={"production": {"web": "2"}})
            store.beat(differs)
        elif len(heard) == 2:
            store.beat(row("ready", environments={"production": {"web": "1"}}))
        else:
            store.append(taken(store, run_id), [(NOON, RunFinished(outcome="succeeded"))], after=2)

    run = remote.follow(context, run_id, lambda _: None, hear)
    assert run.outcome == "succeeded"
    assert "no worker takes it: start one with taly worker" in heard[0]
    assert "ops1 does not take" in heard[1]
    assert "1 could take it" in heard[2]


def test_what_the_policy_takes_back_is_queued_and_followed(
    context: Context, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = sealed(replace(WEB, on_failure="undo"))
    run_id = submitted(store, failing)
    failed = StepFailed(step="roll-back:web", reason="no", reference="x")
    taken(store, run_id, failed, RunFinished(outcome="failed"))
    run = load_run(context, run_id)
    assert remote.taken_back_by(context, run) == "", "no worker sees to it"
    undo = sealed(replace(WEB, purpose="undo", to_release=run_id))
    monkeypatch.setattr(workers, "plan_undo", lambda *_: Planned(plan=undo, findings=()))
    monkeypatch.setattr(workers, "recheck_plan", lambda _, one: Planned(plan=one, findings=()))
    engine = workers.engine_of(context)
    served = workers.ServedEnvironment(context=context, engine=engine, fits={})
    did = served.concluded(run)
    (waiting,) = store.waiting()
    assert did == f"taken back by {waiting.id}"
    assert waiting.by == "ana", "as whoever began the run"
    assert remote.taken_back_by(context, run) == waiting.id


def test_a_run_that_was_left_is_handed_to_a_worker_and_followed(
    folder: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, as whoever types it."""
    monkeypatch.setenv("TALY_STORE", postgres_url)
    store, queue, runs = (open_store(postgres_url) for _ in range(3))
    left = store.create_run(WEB, ANA, at=NOON, version="1", lease_s=20)
    store.let_go(left)
    world, owner = FakeVendor(clock=RealTime()), Owner.here("worker w")
    providers = {"netlify": world}
    engine = Engine(store=runs, providers=providers, clock=world.clock, owner=owner)
    fits = workers.fits_of(open_context(environ={}))
    one = ServedWorld(engine=engine, store=runs, clock=world.clock, fits=fits)
    worker = Worker(store=queue, served=[one], name="w", say=lambda _: None, poll_s=0.02)
    thread = threading.Thread(target=worker.work)
    thread.start()
    try:
        while not store.workers():
            time.sleep(0.01)
        done = subprocess.run(
            [sys.executable, "-m", "taly", "resume", left.run_id, "--remote"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        worker.drain()
        thread.join(20)
        for opened in (store, queue, runs):
            opened.close()
    assert done.returncode == ExitCode.OK, done.stderr
    assert "continued by worker w" in done.stderr
    assert [op["component"] for op in world.writes()] == ["web"]
