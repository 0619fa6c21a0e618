"""Passes while the application goes on writing; what it was told is there in the end."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from tests.contract.carry_stage import Stage, finish, side_url, stage

from taly.database.carry import Carry, left_behind, rowsql, take_away
from taly.database.carry import passing as passing_module
from taly.database.carry.model import newer
from taly.errors import Interrupted, VendorUnavailable

__all__ = ["side_url", "stage"]

BOOKINGS = """
CREATE TABLE person (id serial PRIMARY KEY, mail text UNIQUE);
CREATE TABLE booking (id bigserial PRIMARY KEY, person int REFERENCES person, seats int, note text);
CREATE TABLE log (line text);
INSERT INTO person (mail) SELECT 'p' || i FROM generate_series(1, 50) i;
INSERT INTO booking (person, seats) SELECT 1 + i % 50, i FROM generate_series(1, 500) i;
"""
TABLES = ("person", "booking", "log")


class Writer(threading.Thread):
    """Writes all the time, and remembers what was acknowledged."""

    def __init__(self, url: str, number: int) -> None:
        super().__init__(daemon=True)
        self.stopping = threading.Event()
        self.booked: dict[int, int] = {}
        self.deleted: set[int] = set()
        self.lines = 0
        self.failure: Exception | None = None
        self._url, self._number = url, number

    def run(self) -> None:
        try:
            with psycopg.connect(self._url, autocommit=True) as connection:
                turn = 0
                while not self.stopping.is_set():
                    turn += 1
                    self._turn(connection, turn)
        except Exception as error:
            self.failure = error

    def _turn(self, connection: psycopg.Connection, turn: int) -> None:
        row = connection.execute(
            "INSERT INTO booking (person, seats) VALUES (1 + %s, 1) RETURNING id", (turn % 50,)
        ).fetchone()
        assert row is not None
        self.booked[row[0]] = 1
        some = next(iter(self.booked))
        connection.execute("UPDATE booking SET seats = %s WHERE id = %s", (turn, some))
        self.booked[some] = turn
        if turn % 5 == 0:
            gone, _ = self.booked.popitem()
            connection.execute("DELETE FROM booking WHERE id = %s", (gone,))
            self.deleted.add(gone)
        with connection.transaction():
            mails = "SELECT mail FROM person WHERE id = {}"
            one, two = 1 + self._number, 10 + self._number
            connection.execute(
                f"UPDATE person SET mail = 'x{one}' || mail WHERE id = {one}".encode()
            )
            swap = f"mail = substr(({mails.format(one)}), 3) || '!'"
            connection.execute(f"UPDATE person SET {swap} WHERE id = {two}".encode())
            connection.execute(
                f"UPDATE person SET mail = 'm{self._number}-{turn}' WHERE id = {one}".encode()
            )
        connection.execute("INSERT INTO log VALUES ('line')")
        self.lines += 1


@contextmanager
def writing(stage: Stage) -> Iterator[list[Writer]]:
    writers = [Writer(stage.live_url, number) for number in range(3)]
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.stopping.set()
        for writer in writers:
            writer.join(30)
        assert [writer.failure for writer in writers] == [None] * 3


def test_naive_2_every_acknowledged_write_of_concurrent_writers_is_there(stage: Stage) -> None:
    stage.both(BOOKINGS)
    stage.backed_up()
    with stage.carry() as (carry, bundle), writing(stage) as writers:
        first = carry.first_pass()
        passes = [carry.next_pass() for _ in range(3)]
        with carry.blocked(limit_s=20):
            carry.last_pass()
            proof = carry.finish()
            for table in TABLES:  # nobody can have written since
                query = (
                    f"SELECT * FROM {table} ORDER BY 1, 2"
                    if table != "log"
                    else ("SELECT count(*) FROM log")
                )
                assert stage.side(query) == stage.live(query), table
            acknowledged = [dict(writer.booked) for writer in writers]
            gone = set().union(*(writer.deleted for writer in writers))
            carry.release()
    assert sum(one.changes for one in [first, *passes]) > 0
    side = dict(stage.side("SELECT id, seats FROM booking"))
    for booked in acknowledged:
        # The last turn may have been under way when writers were made to wait.
        lost = {id_: n for id_, n in booked.items() if side.get(id_) != n}
        assert len(lost) <= 1, lost
    assert not gone & side.keys() or len(gone & side.keys()) <= 3
    assert proof.rescued == 0
    assert not bundle.rows


def test_a_later_pass_costs_what_changed_not_what_is_there(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.both(BOOKINGS)
    stage.backed_up()
    compared: list[str] = []
    monkeypatch.setattr(
        passing_module.Move, "compare", lambda self, work: compared.append(work.label)
    )
    with stage.carry() as (carry, _):
        monkeypatch.undo()
        carry.first_pass()
        monkeypatch.setattr(
            passing_module.Move, "compare", lambda self, work: compared.append(work.label)
        )
        stage.live(
            "UPDATE booking SET note = 'x' WHERE id = 7; UPDATE booking SET id = -1 WHERE id=8"
        )
        passed = carry.next_pass()
        assert (passed.changes, passed.carried, passed.deleted) == (3, 2, 1)
        assert carry.next_pass().changes == 0
    assert compared == []
    assert stage.side("SELECT id FROM booking WHERE id IN (8, -1)") == [(-1,)]


def test_naive_8_triggers_do_not_fire_in_the_target(stage: Stage) -> None:
    stage.both(
        "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE fired (x text);"
        "INSERT INTO t VALUES (1, 'a');"
        "CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN INSERT INTO public.fired VALUES (TG_NAME); NEW.v = 'spoiled'; RETURN NEW; END $$"
    )
    stage.backed_up()
    stage.live("UPDATE t SET v = 'b'; INSERT INTO t VALUES (2, 'c')")
    stage.side(
        "CREATE TRIGGER one BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION fire()"
    )
    for name, how in (("always", "ALWAYS"), ("replica", "REPLICA")):
        stage.side(
            f"CREATE TRIGGER {name} BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION fire();"
            f"ALTER TABLE t ENABLE {how} TRIGGER {name}"
        )
    query = "SELECT tgname, tgenabled::text FROM pg_trigger ORDER BY 1"
    before = stage.side(query)
    stage.run()
    assert stage.side("SELECT * FROM t ORDER BY 1") == [(1, "b"), (2, "c")]
    assert stage.side("SELECT * FROM fired") == []
    assert stage.side(query) == before


def test_writers_as_replicas_and_as_other_roles_are_captured(stage: Stage) -> None:
    stage.both("CREATE TABLE t (id timestamptz PRIMARY KEY, v text)")
    stage.backed_up()
    stage.live(
        "DROP ROLE IF EXISTS taly_app; CREATE ROLE taly_app; GRANT ALL ON t TO taly_app;"
        "GRANT USAGE ON SCHEMA public TO taly_app"
    )
    try:
        with stage.carry() as (carry, bundle):
            first = carry.first_pass()
            stage.live(
                "SET session_replication_role = replica; INSERT INTO t VALUES ('2024-01-01', 'a');"
                "RESET session_replication_role; SET ROLE taly_app; SET timezone = 'Asia/Tokyo';"
                "SET datestyle = 'German'; INSERT INTO t VALUES ('infinity', 'b'), ('now', 'c')"
            )
            done = finish(carry, bundle, first)
        assert done.last.carried == 3
        query = "SELECT * FROM t ORDER BY 1"
        assert stage.side(query.replace("*", "id::text, v")) == stage.live(
            query.replace("*", "id::text, v")
        )
    finally:
        stage.live("DROP OWNED BY taly_app; DROP ROLE taly_app")


def test_a_rescued_row_that_fits_later_is_carried_after_all(stage: Stage) -> None:
    stage.side("CREATE TABLE u (id int PRIMARY KEY, mail text UNIQUE CHECK (mail <> 'bad'))")
    stage.live("CREATE TABLE u (id int PRIMARY KEY, mail text)")
    stage.both("INSERT INTO u VALUES (1, 'a')")
    stage.backed_up()
    stage.live("INSERT INTO u VALUES (2, 'a'), (3, 'bad'), (4, 'ok'), (5, 'bad')")
    with stage.carry() as (carry, bundle):
        first = carry.first_pass()
        assert first.rescued == 3
        stage.live(
            "UPDATE u SET mail = 'free' WHERE id = 1"
        )  # now 2 fits, though nobody touched it
        stage.live(
            "UPDATE u SET mail = 'good' WHERE id = 3; UPDATE u SET mail = 'bad' WHERE id = 4"
        )
        stage.live("DELETE FROM u WHERE id = 5")
        done = finish(carry, bundle, first)
    assert stage.side("SELECT * FROM u ORDER BY 1") == [
        (1, "free"),
        (2, "a"),
        (3, "good"),
        (4, "ok"),
    ]
    assert done.rows("u") == [{"id": "4", "mail": "bad"}]
    assert done.rescued["u"][0].base == {"id": "4", "mail": "ok"}


def test_who_holds_a_lock_is_waited_for_but_not_for_ever(stage: Stage) -> None:
    stage.both("CREATE TABLE t (id int PRIMARY KEY)")
    stage.backed_up()
    with stage.carry() as (carry, _), psycopg.connect(stage.live_url) as other:
        carry.first_pass()
        other.execute("INSERT INTO t VALUES (1)")
        with (
            pytest.raises(VendorUnavailable, match="could not be locked") as failed,
            carry.blocked(limit_s=0.1),
        ):
            raise AssertionError("not reached")
        assert failed.value.reference == "carry-locked"
        other.commit()
        with carry.blocked(limit_s=5):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("SET lock_timeout = 50; INSERT INTO t VALUES (2)")
            other.rollback()
            assert other.execute("SELECT count(*) FROM t").fetchall() == [(1,)]
            assert carry.last_pass().carried == 1


def test_a_lost_connection_is_an_error_and_leaves_nothing(stage: Stage) -> None:
    stage.both("CREATE TABLE t (id int PRIMARY KEY)")
    stage.backed_up()
    with stage.carry() as (carry, _):
        carry.first_pass()
        stage.live("INSERT INTO t VALUES (1)")
        stage.live(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'taly-carry%'"
        )
        with pytest.raises(VendorUnavailable) as failed:
            carry.next_pass()
        assert failed.value.reference == "carry-connection-lost"
    assert stage.side("SELECT * FROM t") == []
    for run in (stage.live, stage.side):
        assert run("SELECT nspname FROM pg_namespace WHERE nspname ~ 'taly'") == []


def test_a_pause_whose_lock_was_lost_is_no_pause(stage: Stage) -> None:
    stage.both("CREATE TABLE t (id int PRIMARY KEY)")
    stage.backed_up()
    with stage.carry() as (carry, _):
        carry.first_pass()
        with carry.blocked(limit_s=5):
            carry.last_pass()
            stage.live(
                "SELECT pg_terminate_backend(pid) FROM pg_locks"
                " WHERE relation = 't'::regclass AND mode = 'ShareLock'"
            )
            with pytest.raises(VendorUnavailable, match="connection"):
                carry.finish()


def test_the_schema_must_stay_as_it_is(stage: Stage) -> None:
    stage.both("CREATE TABLE t (id int PRIMARY KEY)")
    stage.backed_up()
    with stage.carry() as (carry, _):
        carry.first_pass()
        stage.live("CREATE TABLE unheard_of (id int)")
        with pytest.raises(VendorUnavailable, match="schema was changed"):
            carry.next_pass()


def test_told_to_stop_it_leaves_everything_as_it_was(stage: Stage) -> None:
    stage.both(BOOKINGS)
    stage.backed_up()
    stage.live("UPDATE booking SET note = 'x'")

    def say(note: str, fraction: float | None = None) -> None:
        if "applies" in note:
            raise Interrupted("stop", reference="run-cancelled")

    stage.say = say
    before = stage.side("SELECT * FROM booking ORDER BY id")
    with stage.carry() as (carry, _), pytest.raises(Interrupted):
        carry.first_pass()
    assert stage.side("SELECT * FROM booking ORDER BY id") == before
    assert stage.live("SELECT nspname FROM pg_namespace WHERE nspname ~ 'taly'") == []


def test_what_a_killed_process_left_can_be_found_and_taken_away(stage: Stage) -> None:
    stage.both("CREATE TABLE t (id int PRIMARY KEY)")
    with stage.carry(since=None) as (carry, _):
        carry.first_pass()
        carry.release()  # as when the process ends here
        with psycopg.connect(stage.live_url) as connection:
            assert left_behind(connection) == ("taly_carry_test",)
        take_away(stage.live_target, "test")
        take_away(stage.live_target, "test")
        stage.live("INSERT INTO t VALUES (1)")
        with psycopg.connect(stage.live_url) as connection:
            assert left_behind(connection) == ()
    assert isinstance(carry, Carry)


def test_tables_on_which_we_may_not_note_changes_are_compared_in_the_pause(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.both(BOOKINGS)
    stage.backed_up()

    def refused(*_: object) -> None:
        raise psycopg.errors.InsufficientPrivilege

    monkeypatch.setattr("taly.database.carry.capture.patiently", refused)
    told: list[str] = []
    stage.say = lambda note, fraction=None: told.append(note)
    with stage.carry() as (carry, bundle):
        first = carry.first_pass()
        stage.live("UPDATE booking SET note = 'x' WHERE id = 7; DELETE FROM booking WHERE id = 8")
        stage.live("INSERT INTO log VALUES ('line')")
        done = finish(carry, bundle, first)
    assert any("public.booking: changes cannot be noted" in note for note in told)
    assert done.last.changes == 3
    for table in TABLES:
        query = f"SELECT * FROM {table} ORDER BY 1"
        assert stage.side(query) == stage.live(query)


@pytest.mark.parametrize("xid", [5, 2**31 + 7, 2**32 - 1])
def test_naive_3_the_server_compares_transactions_as_we_do(stage: Stage, xid: int) -> None:
    """What `newer` says, PostgreSQL's `age` says too."""
    now = stage.xid()
    for since in (now - 50, now - 1, now):
        condition = rowsql.since(since).replace("s.xmin", f"'{xid}'::xid")
        told = stage.live(
            f"SELECT {condition}, pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
        )
        assert told[0][0] == newer(xid, since, told[0][1])
