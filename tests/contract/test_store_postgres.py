"""The store on PostgreSQL."""

import threading

import psycopg
import pytest
from store_contract import StoreContract, begin, failed_at_once
from tests.engine_world import NOON

from taly.engine.store import open_store
from taly.engine.store.database import Transaction
from taly.engine.store.postgres import PostgresDatabase
from taly.errors import OutcomeUnknown
from taly.model.events import StepStarted


class TestPostgresStore(StoreContract):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url


def _cut_connections(url: str) -> None:
    """What a server's restart does to a client."""
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'taly'"
        )


def test_a_cut_connection_is_made_anew(postgres_url: str) -> None:
    store = open_store(postgres_url)
    lease = begin(store)
    for number in range(1, 4):
        _cut_connections(postgres_url)
        store.append(lease, [(NOON, StepStarted(step="a"))], after=number)
    _cut_connections(postgres_url)
    assert len(store.events(lease.run_id)) == 4
    _cut_connections(postgres_url)
    begin(store, environment="staging")  # cut before it began: safe to do again
    store.close()


def test_everything_stands_in_a_schema_of_its_own(postgres_url: str) -> None:
    open_store(postgres_url).close()
    with psycopg.connect(postgres_url) as other:
        found = other.execute(
            "select distinct schemaname from pg_tables where tablename in ('run', 'event', 'mark')"
        ).fetchall()
    assert found == [("taly",)]


def test_two_first_processes_make_the_schema_once(postgres_url: str) -> None:
    assert failed_at_once(lambda: open_store(postgres_url).close()) == []


def test_a_server_out_of_reach_says_so_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("taly.engine.store.postgres.RETRY_S", 0.3)
    with pytest.raises(OutcomeUnknown) as refusal:
        open_store("postgresql://ana:hunter2@127.0.0.1:1/db")
    assert refusal.value.reference == "store-unreachable"
    assert "hunter2" not in str(refusal.value)


def test_a_frozen_process_keeps_nobody_out(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sleeps within a transaction, as a closed laptop does, and goes on afterwards."""
    monkeypatch.setattr("taly.engine.store.postgres.IDLE_S", 1)
    store, frozen = open_store(postgres_url), PostgresDatabase(postgres_url)
    run_id = begin(store).run_id
    asleep, awake, said = threading.Event(), threading.Event(), []

    def work(tx: Transaction) -> object:
        tx.rows("lock_run", id=run_id)
        asleep.set()
        assert awake.wait(20), "the others waited for the sleeper"
        return tx.rows("cancel_by", id=run_id)[0]["cancel_by"]

    sleeper = threading.Thread(target=lambda: said.append(frozen.run(work, again=True)))
    sleeper.start()
    asleep.wait(20)
    store.request_cancel(run_id, "ben")  # needs the row that the sleeper has locked
    awake.set()
    sleeper.join(20)
    assert said == ["ben"]
    frozen.close()
    store.close()


def test_frozen_right_behind_its_events_it_keeps_nobody_out_either(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """psycopg's executemany left the server's clock for idle transactions off (found by a cut)."""
    monkeypatch.setattr("taly.engine.store.postgres.IDLE_S", 1)
    store, frozen = open_store(postgres_url), PostgresDatabase(postgres_url)
    lease = begin(store)
    asleep, awake = threading.Event(), threading.Event()
    store.append(lease, [(NOON, StepStarted(step="a"))], after=1)
    names = [
        {"environment": "e", "number": number, "content_id": f"c{number}", "members": ""}
        for number in range(3)
    ]

    def work(tx: Transaction) -> None:
        tx.rows("lock_run", id=lease.run_id)
        tx.many("insert_release_name", names)
        asleep.set()
        assert awake.wait(20), "the others waited for the sleeper"

    sleeper = threading.Thread(target=lambda: frozen.run(work, again=True))
    sleeper.start()
    assert asleep.wait(20)
    asleep.clear()
    store.request_cancel(lease.run_id, "ben")
    awake.set()
    sleeper.join(20)
    assert not sleeper.is_alive()
    frozen.close()
    store.close()
