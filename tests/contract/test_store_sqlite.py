"""The store on SQLite."""

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from store_contract import HERE, StoreContract, begin
from tests.engine_world import NOON

from taly.engine.store import open_store
from taly.errors import OutcomeUnknown, UsageError
from taly.model.events import StepStarted


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/state/taly.db"


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state" / "taly.db"
    store = open_store(path)
    begin(store)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file
    store.close()


def test_opening_it_twice_in_a_process_does_not_let_go_of_the_file(tmp_path: Path) -> None:
    """Another process that believes itself alone would remove the log under us."""
    path = tmp_path / "taly.db"
    first = open_store(path)
    begin(first)
    second = open_store(path)
    other = (
        f"import sqlite3; sqlite3.connect({str(path)!r}).execute('select * from run').fetchall()"
    )
    subprocess.run([sys.executable, "-c", other], check=True)
    assert path.with_name("taly.db-wal").exists()
    second.close()
    first.close()


def test_edge_14_we_set_wal_and_full_synchronisation(tmp_path: Path) -> None:
    store = open_store(tmp_path / "taly.db")
    ask = store._database._connection.execute
    assert ask("pragma journal_mode").fetchone()[0] == "wal"
    assert ask("pragma synchronous").fetchone()[0] == 2
    store.close()


def test_a_store_of_a_newer_taly_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "taly.db"
    open_store(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute("insert into schema_version values (99)")
    raw.close()
    with pytest.raises(UsageError) as refusal:
        open_store(path)
    assert refusal.value.reference == "store-too-new"


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "taly.db"
    path.write_text("hello " * 1000)
    with pytest.raises(OutcomeUnknown) as refusal:
        open_store(path)
    assert refusal.value.reference == "store-unreachable"


def test_a_full_disk_is_said_and_nothing_of_the_transaction_stands(tmp_path: Path) -> None:
    store = open_store(tmp_path / "taly.db")
    lease = begin(store)
    ask = store._database._connection.execute
    ask(f"pragma max_page_count = {ask('pragma page_count').fetchone()[0]}")
    events = [(NOON, StepStarted(step="a" * 300)) for _ in range(100)]
    with pytest.raises(OutcomeUnknown, match="disk is full") as refusal:
        store.append(lease, events, after=1)
    assert refusal.value.reference == "store-full"
    assert len(store.events(lease.run_id)) == 1
    ask("pragma max_page_count = 1000000")
    store.append(lease, events, after=1)
    store.close()


def test_a_file_that_somebody_keeps_locked_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taly.engine.store.sqlite.BUSY_TIMEOUT_S", 0.1)
    path = tmp_path / "taly.db"
    store = open_store(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(OutcomeUnknown, match="kept the store locked") as refusal:
        begin(store)
    assert refusal.value.reference == "store-locked"
    assert refusal.value.hint.startswith(f"fuser {path}")
    other.execute("rollback")
    begin(store)
    other.close()
    store.close()


def test_who_opens_a_new_file_waits_for_others_that_open_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself refuses at once to switch to a log while another is about to."""
    path = tmp_path / "taly.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            other.execute("commit")

    monkeypatch.setattr("taly.engine.store.sqlite.time.sleep", wait)
    store = open_store(path)
    assert len(waits) == 3
    assert store._database._connection.execute("pragma journal_mode").fetchone()[0] == "wal"
    other.close()
    store.close()


@pytest.mark.parametrize("locking", ["begin immediate", "begin; select * from sqlite_master"])
def test_who_keeps_a_new_file_for_ever_is_named(
    locking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taly.engine.store.sqlite.BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "taly.db"
    other = sqlite3.connect(path, isolation_level=None)
    for statement in locking.split("; "):
        other.execute(statement).fetchall()
    with pytest.raises(OutcomeUnknown) as refusal:
        open_store(path)
    assert refusal.value.reference == "store-locked"
    other.close()


def test_an_unknown_address_is_refused() -> None:
    with pytest.raises(UsageError) as refusal:
        open_store("mysql://host/db")
    assert refusal.value.reference == "store-unknown"


def test_reading_is_quick_and_imports_neither_psycopg_nor_dbos_nor_pydantic(tmp_path: Path) -> None:
    store = open_store(tmp_path / "taly.db")
    begin(store)
    store.close()
    code = (
        "import sys, pathlib\n"
        "from taly.engine.store import open_store\n"
        f"store = open_store(pathlib.Path({str(tmp_path / 'taly.db')!r}))\n"
        "assert store.runs() and store.release_names('production') == {}\n"
        "heavy = {'psycopg', 'dbos', 'sqlalchemy', 'pydantic', 'httpx2'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    best = min(_opening_s(tmp_path / "taly.db") for _ in range(10))
    assert best <= 0.005


def _opening_s(path: Path) -> float:
    began = time.perf_counter()
    store = open_store(path)
    store.runs()
    taken = time.perf_counter() - began
    store.close()
    return taken


def test_a_process_killed_while_writing_leaves_whole_transactions(tmp_path: Path) -> None:
    path = tmp_path / "taly.db"
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from tests.engine_world import NOON, plan, step\n"
        "from taly.engine.owner import Owner\n"
        "from taly.engine.store import open_store\n"
        "from taly.model.events import StepStarted\n"
        "store = open_store(sys.argv[1])\n"
        "lease = store.create_run(plan(step('a')), Owner.here(), at=NOON, version='1', lease_s=9)\n"
        "print(lease.run_id, flush=True)\n"
        "n = 1\n"
        "while True:\n"
        "    store.append(lease, [(NOON, StepStarted(step='a'))] * 3, after=n)\n"
        "    n += 3\n"
    )
    tests = str(Path(__file__).parents[2])
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(path), tests], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    run_id = writer.stdout.readline().strip()
    reader = open_store(path)
    while len(reader.events(run_id)) < 10:
        time.sleep(0.01)
    writer.kill()
    writer.wait()
    writer.stdout.close()
    events = reader.events(run_id)
    assert [one.seq for one in events] == list(range(1, len(events) + 1))
    assert len(events) % 3 == 1
    assert reader.take_lease(run_id, HERE, at=NOON, lease_s=20).fence == 2
    reader.close()
    assert path.exists()
