"""A bundle that a worker wrote on its machine is named on a laptop: where it is, and what to do."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.contract.worker_stage import context, folder, store
from tests.engine_world import NOON, plan, step

from taly.cli.main import run
from taly.engine.owner import Owner
from taly.engine.store import Store
from taly.errors import OutcomeUnknown
from taly.model.events import StepActed, StepIntended, StepStarted

__all__ = ["context", "folder", "store"]

STEP = "roll-back:database"
THERE = "/srv/taly/rescue/{run}/roll-back-database"
WORKER = Owner(by="worker w1", host="runner-7", machine="another", pid=7, started="1")


@pytest.fixture
def rescued(store: Store) -> str:
    """A run that a worker carried, and of which it set 12 rows aside."""
    ana = Owner.here("ana")
    made = plan(step("database"))
    run_id = store.submit_run(made, ana, at=NOON, version="1", fits={})
    lease = store.take_waiting(run_id, WORKER, at=NOON, lease_s=20)
    assert lease is not None
    receipt = {"bundle": THERE.format(run=run_id), "rescued": "12"}
    done = (
        StepStarted(step=STEP),
        StepIntended(step=STEP, key="k"),
        StepActed(step=STEP, receipt=receipt),
    )
    store.append(lease, [(NOON, event) for event in done], after=2)
    return run_id


def test_the_list_names_who_wrote_it_and_where(
    rescued: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rescue", "list"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{rescued}, {STEP}: 12 rows, not on this machine" in said
    assert f"worker w1 on runner-7 (process 7) wrote {THERE.format(run=rescued)}" in said
    assert "There are no" not in said
    assert run(["rescue", "list", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["elsewhere"]
    assert (one["run"], one["rows"], one["path"]) == (rescued, 12, THERE.format(run=rescued))


@pytest.mark.parametrize("command", [["show"], ["replay", "--yes"]])
def test_show_and_replay_say_where_it_is(
    command: list[str], rescued: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rescue", command[0], rescued, *command[1:], "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["reference"] == "rescue-elsewhere"
    assert "worker w1 on runner-7 (process 7)" in said["message"]
    wanted = f"copy /srv/taly/rescue/{rescued} to {folder}/.taly/rescue/{rescued}"
    assert wanted in said["hint"]


def test_a_run_that_set_nothing_aside_has_no_bundle_anywhere(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = store.submit_run(
        plan(step("database")), Owner.here("ana"), at=NOON, version="1", fits={}
    )
    assert run(["rescue", "show", run_id]) == 2
    assert "rescue-unknown" in capsys.readouterr().err
    assert run(["rescue", "list"]) == 0
    assert "There are no rescue bundles" in capsys.readouterr().out


def test_a_store_that_does_not_answer_is_not_taken_for_none(
    rescued: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(*_: Any) -> Any:
        raise OutcomeUnknown("no answer", reference="store-unreachable")

    monkeypatch.setattr("taly.app.rescues.elsewhere", away)
    assert run(["rescue", "list"]) == 0
    said = capsys.readouterr()
    assert "There are no" not in said.out
    assert "Other machines' bundles are not known: no answer" in " ".join(said.err.split())
    assert run(["rescue", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["elsewhere"] is None
