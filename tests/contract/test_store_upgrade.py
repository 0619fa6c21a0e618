"""Stores that an earlier taly made: brought up to date, and what was begun there is finished.

tests/contract/stores/version_N.sql was written by the taly whose schema was N, killed in a run.
"""

import hashlib
import re
import sqlite3
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg
import pytest
from store_contract import failed_at_once
from tests.engine_world import FakeVendor, RealTime

from taly.engine.owner import Owner
from taly.engine.runner import Engine
from taly.engine.store import Store, open_store
from taly.engine.store.database import SCHEMA_VERSION
from taly.engine.store.upgrading import STEPS
from taly.errors import UsageError
from taly.model.release import Mark

STORES = Path(__file__).parent / "stores"
VERSIONS = [1, 2]
FROZEN = {
    "1": "f65246e453ca8993",
    "2": "d231e60c49119006",
    "3": "c088f1089614d5f9",
    "4": "f8af64d51b2f7467",
}
"""sha256 of the blocks of schema.sql that stores in use were made by: no block is ever changed."""


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, version: int, tmp_path: Path) -> str:
    """A store of that version."""
    sql = (STORES / f"version_{version}.sql").read_text("utf-8")
    if request.param == "postgres":
        address = str(request.getfixturevalue("postgres_url"))
        with psycopg.connect(address) as connection:
            connection.execute("create schema taly")
            connection.execute("set search_path to taly")
            connection.execute(sql.encode())
        return address
    file = tmp_path / "taly.db"
    made = sqlite3.connect(file)
    made.executescript(sql)
    made.close()
    return f"sqlite:///{file}"


def ask(url: str, sql: str) -> list[tuple[Any, ...]]:
    """What stands in the store, read by none of its own code."""
    if url.startswith("postgresql"):
        with psycopg.connect(url) as connection:
            connection.execute("set search_path to taly")
            return list(connection.execute(sql.encode()).fetchall())
    file = sqlite3.connect(url.removeprefix("sqlite:///"))
    found = list(file.execute(sql).fetchall())
    file.close()
    return found


EVENTS = "select run_id, seq, at, fence, body from event order by run_id, seq"
VERSION = "select max(version) from schema_version"


def half_done(store: Store) -> str:
    run = store.unfinished("production")
    assert run is not None
    return run.id


def world_as_it_was() -> FakeVendor:
    """Two of four steps were written; the third was only intended."""
    world = FakeVendor(clock=RealTime())
    for component in ("a", "b"):
        world.operate(component, "good")
    return world


def test_a_run_that_an_earlier_version_began_is_finished_and_nothing_is_done_twice(
    url: str,
) -> None:
    before = ask(url, EVENTS)
    store, world = open_store(url), world_as_it_was()
    run_id = half_done(store)
    engine = Engine(store=store, providers={"fake": world}, clock=world.clock)
    run = engine.resume(run_id)
    assert run.outcome == "succeeded"
    assert {one.how for one in run.steps.values()} == {"acted"}
    assert sorted(op["component"] for op in world.writes()) == ["c", "d"]
    after = ask(url, EVENTS)
    assert [one for one in after if one in before] == before, "what was written stays as it was"
    ours = [one for one in after if one[0] == run_id]
    assert [one[1] for one in ours] == list(range(1, len(ours) + 1))
    assert {one[3] for one in ours} == {1, 2}
    assert run.by == "ana@laptop"
    store.close()


def test_a_worker_can_finish_it_too(url: str) -> None:
    store, world = open_store(url), world_as_it_was()
    run_id = half_done(store)
    assert store.waiting() == [], "an earlier version knew no workers"
    store.hand_over(run_id, fits={})
    owner = Owner.here("worker w")
    lease = store.take_waiting(run_id, owner, at=world.clock.now(), lease_s=20)
    assert lease is not None
    engine = Engine(store=store, providers={"fake": world}, clock=world.clock, owner=owner)
    engine.adopt(lease)
    assert engine.execute(run_id).outcome == "succeeded"
    assert sorted(op["component"] for op in world.writes()) == ["c", "d"]
    store.close()


def test_all_else_that_it_kept_is_there(url: str) -> None:
    store = open_store(url)
    assert ask(url, VERSION) == [(SCHEMA_VERSION,)]
    assert [run.outcome for run in store.runs()] == [None, "succeeded"]
    (ended,) = store.runs("staging")
    assert [one.event.kind for one in store.events(ended.id)][-1] == "run-finished"
    assert store.release_names("production") == {"c1": "R1", "c2": "R2"}
    assert store.marks("production")["c2"].mark is Mark.BAD
    assert store.marks("production")["c2"].why == "it's slow; very"
    (recorded,) = store.recorded_releases("production")
    assert (recorded.label, recorded.members) == ("v2", {"a": "1"})
    store.close()
    again = open_store(url)
    assert len(again.runs()) == 2
    again.close()


def test_many_that_open_it_at_once_upgrade_it_once(url: str) -> None:
    assert failed_at_once(lambda: open_store(url).close()) == []
    assert ask(url, "select version from schema_version order by version") == [
        (number,) for number in range(1, SCHEMA_VERSION + 1)
    ]


def test_an_upgrade_that_fails_midway_leaves_the_store_as_it_was(
    url: str, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ask(url, EVENTS)

    def fail(_: object) -> None:
        raise RuntimeError("killed here")

    with monkeypatch.context() as broken:
        broken.setitem(STEPS, SCHEMA_VERSION, fail)
        with pytest.raises(RuntimeError, match="killed here"):
            open_store(url)
    assert ask(url, VERSION) == [(version,)]
    assert ask(url, EVENTS) == before
    open_store(url).close()
    assert ask(url, VERSION) == [(SCHEMA_VERSION,)]


def test_there_is_no_way_back(url: str, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier taly says of a store that a newer one upgraded."""
    open_store(url).close()
    for module in ("database", "sqlite"):
        monkeypatch.setattr(f"taly.engine.store.{module}.SCHEMA_VERSION", version)
    with pytest.raises(UsageError) as refusal:
        open_store(url)
    assert refusal.value.reference == "store-too-new"


def test_no_version_s_statements_were_changed_since() -> None:
    text = files("taly.engine.store").joinpath("schema.sql").read_text("utf-8")
    parts = re.split(r"^-- version: (\w+)\n", text, flags=re.MULTILINE)[1:]
    blocks = dict(zip(parts[::2], parts[1::2], strict=True))
    hashes = {
        number: hashlib.sha256(block.strip().encode()).hexdigest()[:16]
        for number, block in blocks.items()
    }
    assert hashes == FROZEN, "a new version is a new block, with its hash here"
    assert list(hashes) == [str(number) for number in range(1, SCHEMA_VERSION + 1)]
