"""The swap alone: two databases, sessions that are in the way, and nothing written in between."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.contract.checkpoint_stage import Stage
from tests.contract.restore_stage import Scene, SteppingClock

from taly.database.restore import swap as swapping
from taly.database.restore.asides import aside_of
from taly.database.restore.fence import Fence
from taly.database.restore.job import Job, job_of
from taly.database.restore.names import Label
from taly.database.restore.swap import Exchange, swap
from taly.errors import VendorError, VendorRefused, VendorUnavailable

OID = "SELECT oid::bigint FROM pg_database WHERE datname = current_database()"


@dataclass
class Pair:
    """A live database with a table that is held locked, and another one to take its place."""

    scene: Scene
    environ: dict[str, str]
    said: list[str] = field(default_factory=list)
    stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        step = self.scene.step(("x",), checkpoint="none")
        clock = SteppingClock(datetime(2026, 11, 23, tzinfo=UTC))
        self.job: Job = job_of(step, "run-1aaaaa:restore", self.environ, clock, self.say)
        self.fence = Fence(self.job.target, self.job.session)
        self.stack.callback(self.fence.close)
        self.fence.take()
        self.fence.rows(f'CREATE DATABASE "{self.job.side}"'.encode())
        self.holder = psycopg.connect(
            self.job.target.url, application_name=self.job.session, autocommit=True
        )
        self.stack.callback(self.holder.close)

    def say(self, note: str, fraction: float | None = None) -> None:
        self.said.append(note)

    def hold(self) -> None:
        """The write pause."""
        self.holder.autocommit = False
        self.holder.execute("LOCK TABLE t IN SHARE ROW EXCLUSIVE MODE")

    def swap(self) -> None:
        incoming = self.fence.oid_of(self.job.side)
        label = Label(
            run=self.job.run,
            component="database",
            environment="production",
            of="taly",
            since=datetime(2026, 11, 23, tzinfo=UTC),
            checkpoint="one",
            oid=incoming,
            system_identifier="1",
            xid=1,
            snapshot="1:1:",
        )
        exchange = Exchange(
            live=self.fence.oid_of("taly"),
            incoming=self.job.side,
            incoming_oid=incoming,
            label=label,
            back=None,
            release=self.holder.close,
        )
        with self.fence.another(autocommit=False) as renamer:
            swap(self.job, self.fence, renamer, exchange)

    def live(self) -> int:
        """The OID of what is called `taly`."""
        return self.fence.oid_of("taly")


@pytest.fixture
def pair(tmp_path: Path, postgres_url: str) -> Iterator[Pair]:
    stage = Stage(tmp_path, postgres_url)
    stage.run("CREATE TABLE t (id SERIAL PRIMARY KEY, by INTEGER)")
    scene = Scene(stage)
    one = Pair(scene, scene.environ)
    try:
        yield one
    finally:
        one.stack.close()
        put_back(stage)
        scene.clear()


def put_back(stage: Stage) -> None:
    """The session's database again under its name, for the tests that follow."""
    with psycopg.connect(stage.url.rsplit("/", 1)[0] + "/postgres", autocommit=True) as connection:
        found = connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE 'taly\\_taly\\_before%'"
        ).fetchall()
        for (name,) in found:
            connection.execute("DROP DATABASE taly WITH (FORCE)")
            connection.execute(f'ALTER DATABASE "{name}" RENAME TO taly'.encode())
            connection.execute("ALTER DATABASE taly RESET default_transaction_read_only")
            connection.execute("COMMENT ON DATABASE taly IS NULL")


def test_eighty_busy_sessions_are_sent_away_and_the_swap_takes_moments(pair: Pair) -> None:
    old, url = pair.live(), pair.scene.stage.url
    with ExitStack() as stack:
        busy = [stack.enter_context(psycopg.connect(url)) for _ in range(80)]
        for number, session in enumerate(busy):
            if number % 2:
                session.pgconn.send_query(b"SELECT pg_sleep(60)")
            else:
                session.execute("INSERT INTO t (by) VALUES (1)")  # in a transaction, idle
                session.rollback()
                session.execute("SELECT 1")
        pair.hold()
        began = time.monotonic()
        pair.swap()
        took = time.monotonic() - began
        for session in busy:
            session.close()
    assert pair.live() != old
    assert took < 3, "80 sessions ended and both renamed"
    assert aside_of(pair.fence, pair.job.run, "taly") is not None


def test_whoever_connects_meanwhile_waits_and_never_writes_to_the_old_one(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New sessions stand at the database's lock until the renames are committed."""
    url, found = pair.scene.stage.url, []
    inside = threading.Event()
    end_sessions = Fence.end_sessions

    def connect() -> None:
        inside.wait(10)
        try:
            with psycopg.connect(url, autocommit=True) as session:
                found.append(session.execute(OID).fetchone())
        except psycopg.OperationalError as error:
            found.append(str(error))

    threads = [threading.Thread(target=connect) for _ in range(5)]
    for thread in threads:
        thread.start()
    seen: list[int] = []

    def slowly(fence: Fence, oid: int, spared: Any = ()) -> None:
        if oid == old and not inside.is_set():
            inside.set()
            while len(waiting := fence.rows(WAITING)) < 5:
                time.sleep(0.01)
            seen.append(len(waiting))
            assert not found, "nobody has come in while the database is locked"
        end_sessions(fence, oid, spared)

    monkeypatch.setattr(Fence, "end_sessions", slowly)
    old = pair.live()
    pair.hold()
    pair.swap()
    for thread in threads:
        thread.join()
    assert seen == [5]
    assert len(found) == 5
    for one in found:
        assert one == (pair.live(),) or "does not exist" in str(one)


WAITING = """
SELECT pid FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_database'::regclass
  AND NOT granted
"""


def test_a_lock_of_ours_that_somebody_ended_stops_the_swap(pair: Pair) -> None:
    """Without it somebody could have written after the last pass, and nobody would know."""
    old = pair.live()
    pair.hold()
    end = pair.holder.info.backend_pid
    real = swapping._wait_for_lock

    def then(*given: Any) -> None:
        real(*given)
        pair.fence.rows(f"SELECT pg_terminate_backend({end}, 5000)".encode())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(swapping, "_wait_for_lock", then)
        with pytest.raises(VendorUnavailable, match="was ended by somebody"):
            pair.swap()
    assert pair.live() == old
    assert pair.scene.stage.run("SELECT count(*) FROM t") == [(0,)], "it lets people in again"


def test_a_database_that_is_not_free_in_time_is_tried_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody holds a lock on the database itself; our lock on the tables holds meanwhile."""
    old = pair.live()
    monkeypatch.setattr(swapping, "LOCK_WAIT_MS", 100)
    pair.hold()
    with psycopg.connect(pair.scene.stage.url.rsplit("/", 1)[0] + "/postgres") as other:
        other.execute("COMMENT ON DATABASE taly IS 'busy'")

        def say(note: str, fraction: float | None = None) -> None:
            pair.say(note)
            if note == "swap, try 2":
                other.rollback()

        object.__setattr__(pair.job, "say", say)
        pair.swap()
    assert pair.said == ["the databases change places", "swap, try 2"]
    assert pair.live() != old


def test_a_database_that_never_gets_free_is_left_alone(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = pair.live()
    monkeypatch.setattr(swapping, "LOCK_WAIT_MS", 50)
    pair.hold()
    with psycopg.connect(pair.scene.stage.url.rsplit("/", 1)[0] + "/postgres") as other:
        other.execute("COMMENT ON DATABASE taly IS 'busy'")
        with pytest.raises(VendorUnavailable) as caught:
            pair.swap()
        other.rollback()
    assert caught.value.reference == "restore-sessions-stay"
    assert pair.live() == old
    assert pair.fence.oid_of(pair.job.side) != 0


def test_somebody_elses_session_that_we_may_not_end_is_named(pair: Pair) -> None:
    stage = pair.scene.stage
    stage.run("DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN CREATEDB PASSWORD 'p'")
    stage.run("ALTER DATABASE taly OWNER TO plain; ALTER TABLE t OWNER TO plain")
    stage.run("GRANT USAGE ON SCHEMA public TO plain")
    pair.fence.drop(pair.job.side)
    pair.stack.close()
    mine = Pair(pair.scene, {"DATABASE_URL": stage.url_as("plain", "p")})
    old = mine.live()
    try:
        with psycopg.connect(stage.url, application_name="reports") as other:
            other.execute("SELECT 1")
            mine.hold()
            with pytest.raises(VendorRefused, match="user taly is connected") as caught:
                mine.swap()
            assert caught.value.reference == "restore-sessions-of-others"
            assert mine.live() == old
            mine.holder.rollback()
            other.execute("INSERT INTO t (by) VALUES (2)")
    finally:
        mine.fence.drop(mine.job.side)
        mine.stack.close()
        stage.run("ALTER DATABASE taly OWNER TO taly; ALTER TABLE t OWNER TO taly")
        stage.run("DROP OWNED BY plain; DROP ROLE plain")


def test_a_lost_answer_to_the_commit_is_settled_by_looking(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks after the server has committed: that is done, not failed."""
    real = swapping._commit

    def then(renamer: psycopg.Connection) -> None:
        real(renamer)
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(swapping, "_commit", then)
    old = pair.live()
    pair.hold()
    pair.swap()
    assert pair.live() != old


@pytest.mark.parametrize("when", ["_wait_for_lock", "_check_still_locked"])
def test_a_connection_lost_inside_the_swap_changes_nothing(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    real = getattr(swapping, when)

    def lose(*given: Any) -> None:
        real(*given)
        pair.fence.rows(
            b"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            b" WHERE query LIKE '%RENAME TO%' AND pid <> pg_backend_pid()"
        )

    monkeypatch.setattr(swapping, when, lose)
    old = pair.live()
    pair.hold()
    with pytest.raises(VendorError):
        pair.swap()
    assert pair.live() == old
    assert pair.fence.oid_of(pair.job.side) != 0
    pair.holder.close()
    pair.scene.stage.run("INSERT INTO t (by) VALUES (3)")
