"""DBOS's sharp edges that a whole run does not show: what exactly it is asked."""

import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from taly.engine.durable import DurableExecutor


class Enough(Exception):
    """Nothing that comes after is of interest here."""


class Asked:
    """Stands where DBOS stands, and notes what it is asked for."""

    def __init__(self, status: str) -> None:
        self._status = status
        self.queues: list[str] = []
        self.resumed: list[tuple[str, str]] = []

    def get_workflow_status(self, run_id: str) -> Any:
        return SimpleNamespace(status=self._status)

    def register_queue(self, name: str, **_: Any) -> None:
        self.queues.append(name)

    def resume_workflow(self, run_id: str, *, queue_name: str) -> None:
        self.resumed.append((run_id, queue_name))
        raise Enough


@pytest.mark.parametrize("status", ["PENDING", "ENQUEUED", "CANCELLED"])
def test_edge_4_a_resumed_run_goes_to_a_queue_that_only_this_process_serves(
    status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = SimpleNamespace(take_over=lambda run_id: None)
    used = []
    for _ in range(2):
        dbos = Asked(status)
        monkeypatch.setattr(DurableExecutor, "_launched", lambda _, dbos=dbos: dbos)
        with pytest.raises(Enough):
            DurableExecutor(engine, tmp_path / "taly.db").resume("run-1")
        assert dbos.resumed == [("run-1", dbos.queues[0])]
        used += dbos.queues
    assert len(set(used)) == 2, "from a queue that both serve a bystander would take it"


def test_a_successors_queue_is_known_before_dbos_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DBOS looks for new queues once a second: registered afterwards, it is found too late."""
    engine: Any = SimpleNamespace(holds=lambda _: True, is_successor=lambda _: True)
    first = DurableExecutor(engine, tmp_path / "taly.db")
    first._launched()
    first.close()
    dbos, known = Asked("PENDING"), list[str]()

    def launched(_: DurableExecutor) -> Asked:
        tables = sqlite3.connect(tmp_path / "taly.db.dbos")
        known.extend(name for (name,) in tables.execute("SELECT name FROM queues"))
        tables.close()
        return dbos

    monkeypatch.setattr(DurableExecutor, "_launched", launched)
    with pytest.raises(Enough):
        DurableExecutor(engine, tmp_path / "taly.db").execute("run-1")
    assert known == dbos.queues
