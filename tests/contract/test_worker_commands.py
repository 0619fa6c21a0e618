"""The commands about workers, on a store alone: no vendor is there to be asked."""

import json
import signal
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
    write,
)
from tests.e2e.test_json_docs import check
from tests.engine_world import NOON, plan, step

from taly.app import remote, workers
from taly.app.context import Context, open_context
from taly.app.plans import Planned
from taly.cli import main
from taly.cli import worker as cli_worker
from taly.engine.store import Store
from taly.engine.worker import Refusal, Said
from taly.errors import ExitCode, Refused, UsageError
from taly.model.check import Finding, Severity
from taly.model.events import (
    Event,
    Recorded,
    RunFinished,
    StepFailed,
    StepProgressed,
    StepStarted,
)
from taly.model.plan import Plan, StepKind
from taly.planning.digest import sealed

__all__ = ["context", "folder", "store"]

# Where there is nobody


@pytest.mark.parametrize(
    "command", [("rollback",), ("undo", "run-1"), ("unfreeze",), ("resume", "run-1")]
)
def test_a_local_store_has_no_workers_and_no_vendor_is_asked(
    folder: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    told = said(capsys, ExitCode.USAGE, *command, "--remote")
    assert "store-local" in told
    assert f"taly {command[0]} --remote --store postgresql://" in told
    assert "store-local" in said(capsys, ExitCode.USAGE, "worker")


def test_without_a_worker_nothing_is_locked_and_one_is_named(context: Context) -> None:
    with pytest.raises(Refused) as refusal:
        remote.ready_workers(context, WEB)
    assert refusal.value.reference == "no-worker"
    assert "taly worker --store" in refusal.value.hint
    for useless in (
        row("draining", draining=True),
        row("elsewhere", environments={"staging": {}}),
        row("dead", owner=replace(ANA, pid=2**22 - 1, started="1")),
    ):
        context.store.beat(useless)
    with pytest.raises(Refused, match="1 serve other environments"):
        remote.ready_workers(context, WEB)


def test_a_worker_that_is_set_up_otherwise_is_none(context: Context) -> None:
    context.store.beat(row(environments={"production": {"web": "another"}}))
    with pytest.raises(Refused) as refusal:
        remote.ready_workers(context, WEB)
    assert refusal.value.reference == "workers-differ"
    assert "have web set up otherwise" in refusal.value.message
    same = {"production": dict(workers.fits_of(context))}
    context.store.beat(row("same", environments=same))
    assert [one.name for one in remote.ready_workers(context, WEB)] == ["same"]


def test_two_files_of_one_environment_or_of_two_stores_are_no_worker(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write(folder / "other")
    told = said(capsys, ExitCode.USAGE, "worker", "--config", "taly.toml", "--config", str(other))
    assert "worker-configs" in told


# The process


class Drained:
    drains = 0

    def drain(self) -> None:
        self.drains += 1


def test_told_once_it_drains_and_told_twice_it_leaves_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left: list[int] = []
    monkeypatch.setattr(cli_worker.os, "_exit", left.append)
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT)}
    one = Drained()
    try:
        cli_worker.heed_signals(one)
        signal.raise_signal(signal.SIGTERM)
        assert (one.drains, left) == (1, [])
        signal.raise_signal(signal.SIGINT)
        assert left == [ExitCode.INTERRUPTED]
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def test_it_logs_a_line_a_thing(capsys: pytest.CaptureFixture[str]) -> None:
    def heard(event: Event) -> Said:
        recorded = Recorded(seq=3, at=NOON, fence=2, event=event)
        return Said(at=NOON, what="event", text="", run="run-1", recorded=recorded)

    lines = [
        Said(at=NOON, what="started", text="ops1 serves production"),
        heard(StepStarted(step="roll-back:web")),
        heard(StepProgressed(step="roll-back:web", note="half")),
        heard(StepFailed(step="roll-back:web", reason="no", reference="x")),
        heard(RunFinished(outcome="failed")),
        Said(at=NOON, what="finished", text="failed", run="run-1"),
    ]
    for as_json in (False, True):
        tell = cli_worker.teller(as_json, lambda _: WEB)
        for line in lines:
            tell(line)
    plain, documents = [], []
    for printed in capsys.readouterr().out.splitlines():
        (documents if printed.startswith("{") else plain).append(printed)
    assert plain == [
        "2026-01-01T12:00:00Z  ops1 serves production",
        "2026-01-01T12:00:00Z  run-1  roll back web: started",
        "2026-01-01T12:00:00Z  run-1  roll back web: FAILED: no",
        "2026-01-01T12:00:00Z  run-1  failed",
    ]
    read = [json.loads(one) for one in documents]
    check("worker-log", *read)
    assert [one["what"] for one in read] == ["started", "event", "event", "finished"]


# What a worker takes over of a taly.toml, and what it does not


def test_folders_may_differ_from_machine_to_machine_and_settings_may_not(folder: Path) -> None:
    here = open_context(config_path=str(folder / "taly.toml"), environ={})
    moved = write(folder / "there", more='rescue = "/mnt/rescue"\ncheckpoints = "c"')
    there = open_context(config_path=str(moved), environ={})
    assert workers.fits_of(there) == workers.fits_of(here)
    changed = write(folder / "changed", site="another", more='url_env = "OTHER_URL"')
    other = workers.fits_of(open_context(config_path=str(changed), environ={}))
    assert other.keys() == workers.fits_of(here).keys() == {"web", "database"}
    assert all(other[name] != digest for name, digest in workers.fits_of(here).items())
    assert set(workers.fits_for(here, WEB)) == {"web"}, "only what the plan has steps for"


def test_a_plan_is_executed_with_the_folders_of_the_machine_that_does_it(folder: Path) -> None:
    address = {"directory": "/home/ana/m", "rescue": "/home/ana/r", "checkpoints": "/home/ana/c"}
    database = replace(
        step("database", kind=StepKind.RESTORE),
        provider="postgres",
        address={**address, "schema": "public"},
    )
    made = sealed(plan(*WEB.steps, database))
    context = open_context(environ={})
    here = workers.anchored(context, made)
    assert here.steps[0] == made.steps[0]
    assert here.steps[1].address == {
        "directory": str(folder / "prisma" / "migrations"),
        "rescue": str(folder / ".taly" / "rescue"),
        "checkpoints": str(folder / ".taly" / "checkpoints"),
        "schema": "public",
    }


def test_the_checks_are_those_of_the_plan_but_for_its_own_lock(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Finding] = []

    def recheck(_: Context, asked: Plan) -> Planned:
        return Planned(plan=asked, findings=tuple(found))

    monkeypatch.setattr(workers, "recheck_plan", recheck)
    engine = workers.engine_of(context)
    served = workers.ServedEnvironment(context=context, engine=engine, fits={})
    lock = Finding(
        code="environment-locked", severity=Severity.ERROR, component="", text="held by this run"
    )
    found[:] = [lock, replace(lock, code="was-broken-before", severity=Severity.WARNING)]
    assert served.refusal(WEB) is None
    stale = replace(lock, code="plan-stale", component="web", text="it moved", hint="taly plan")
    found.append(stale)
    why = Refusal(reference="plan-stale", message="web: it moved", hint="taly plan")
    assert served.refusal(WEB) == why
    tampered = served.refusal(replace(WEB, to_release="R9"))
    assert tampered is not None
    assert tampered.reference == "plan-altered"

    def unreachable(*_: object) -> Planned:
        raise UsageError("NETLIFY_AUTH_TOKEN is not set", reference="netlify-token-missing")

    monkeypatch.setattr(workers, "recheck_plan", unreachable)
    missing = served.refusal(WEB)
    assert missing is not None
    assert missing.reference == "netlify-token-missing"


def test_files_that_are_only_where_the_worker_is_refuse_nothing_here() -> None:
    gone = Finding(
        code="restore-bundle-gone",
        severity=Severity.ERROR,
        component="database",
        text="there is none in /home/ana/rescue",
        hint="taly rescue list",
    )
    planned = remote.left_to_worker(Planned(plan=WEB, findings=(gone,)))
    assert not planned.refused
    assert "the worker looks where it is" in planned.findings[0].text
    moved = replace(gone, code="plan-stale")
    assert remote.left_to_worker(Planned(plan=WEB, findings=(gone, moved))).refused


# Asking and stopping


def test_a_waiting_run_is_shown_as_such(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = submitted(store)
    assert "waiting for a worker" in said(capsys, ExitCode.OK, "runs")
    main.run(["runs", "--json"])
    body = json.loads(capsys.readouterr().out)
    assert [(one["waiting"], one["alive"]) for one in body["runs"]] == [(True, False)]
    assert run_id in said(capsys, ExitCode.OK, "workers")


def test_cancelled_before_anybody_took_it_it_is_over(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submitted(store)
    assert "had not begun and is cancelled" in said(capsys, ExitCode.OK, "cancel", run_id)
    assert store.run(run_id).outcome == "cancelled"
    assert store.unfinished("production") is None
    assert store.events(run_id)[-2].event.kind == "cancel-requested"


def test_cancelled_while_a_begun_run_waits_a_worker_ends_it(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submitted(store)
    store.let_go(taken(store, run_id, StepStarted(step="roll-back:web")))
    told = said(capsys, ExitCode.OK, "cancel", run_id)
    assert f"Nobody works on {run_id}" in told, "no worker lives"
    store.beat(row())
    assert "waits for a worker" in said(capsys, ExitCode.OK, "cancel", run_id)
    assert store.run(run_id).outcome is None
    assert store.run(run_id).waits


def test_cancelled_while_a_worker_has_it_it_stops(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submitted(store)
    taken(store, run_id)
    assert "stops after the steps" in said(capsys, ExitCode.OK, "cancel", run_id)


def test_workers_are_listed_with_what_they_do(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "There are no workers" in said(capsys, ExitCode.OK, "workers")
    store.beat(row())
    store.beat(row("busy", run_id="run-123456"))
    store.beat(row("dead", owner=replace(ANA, pid=2**22 - 1, started="1"), says="is odd"))
    told = said(capsys, ExitCode.OK, "workers")
    assert "run-123456" in told
    assert "silent for 0 s" in told
    assert "dead is odd" in told
    main.run(["workers", "--json"])
    body = json.loads(capsys.readouterr().out)
    check("workers", body)
    assert [(one["name"], one["alive"]) for one in body["workers"]] == [
        ("busy", True),
        ("dead", False),
        ("ops1", True),
    ]
