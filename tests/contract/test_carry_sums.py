"""One scan of each side: sums in buckets find what differs, and prove the backup besides."""

from dataclasses import replace

import pytest
from tests.contract.carry_stage import Stage, side_url, stage

from taly.database.carry import comparing
from taly.database.carry.model import ProofFailed
from taly.database.checkpoint.contents import contents, tables
from taly.database.checkpoint.manifest import Sums
from taly.database.checkpoint.session import snapshot
from taly.errors import VendorUnavailable

__all__ = ["side_url", "stage"]

MANY = """
CREATE TABLE t (id uuid PRIMARY KEY, n int NOT NULL, note text);
INSERT INTO t SELECT md5('t' || i)::uuid, i, 'row ' || i FROM generate_series(1, 6000) i;
"""
KINDS = """
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE COLLATION odd (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE same (id bigint PRIMARY KEY, b bytea, d date, t timestamptz, v varchar(9), c char(7));
INSERT INTO same SELECT i, decode(md5(i::text), 'hex'), date '2025-01-01' + i, now(), i, i
  FROM generate_series(1, 40) i;
CREATE TABLE texts (id int PRIMARY KEY, n numeric, m mood, j jsonb, x json, o text COLLATE odd);
INSERT INTO texts VALUES (1, 1.0, 'sad', '{"a": 1.0}', '{}', 'Aa');
INSERT INTO texts VALUES (2, 'NaN', NULL, '1', '1', 'aA');
CREATE TABLE dropped (id int PRIMARY KEY, gone text, "se""cond" text);
INSERT INTO dropped SELECT i, 'g' || i, 's' || i FROM generate_series(1, 40) i;
CREATE TABLE empty (id int PRIMARY KEY, v text);
CREATE TABLE no_key (v text);
INSERT INTO no_key VALUES ('a'), ('a');
CREATE TABLE parent (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE part PARTITION OF parent FOR VALUES IN (1);
INSERT INTO parent SELECT i, 1 FROM generate_series(1, 9) i;
"""


@pytest.mark.parametrize("sums", ["mixed", "plain"])
def test_the_sums_of_the_first_pass_are_those_of_a_backup(stage: Stage, sums: Sums) -> None:
    """Of whatever types, with columns that the live table has no more, by either format."""
    stage.both(KINDS)
    stage.backed_up()
    stage.live("ALTER TABLE dropped DROP COLUMN gone")
    stage.live("UPDATE same SET v = 'x' WHERE id < 9; DELETE FROM dropped WHERE id = 3")
    with snapshot(stage.side_target) as connection:
        every = contents(connection, tables(connection), lambda what, done, whole: None, sums)
    expected = {
        (one.table_schema, one.name): (one.rows, one.checksum)
        for one in every
        if one.name not in ("no_key", "part")
    }
    with stage.carry(sums=sums) as (carry, _):
        assert carry.summed == expected.keys()
        carry.first_pass()
        assert carry.backup == expected
        assert stage.side("SELECT count(*) FROM dropped") == [(39,)]


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "compared"])
@pytest.mark.parametrize("gone", [3, 300], ids=["few", "many"])
def test_deletes_are_found_in_large_buckets_and_in_small_ones(
    stage: Stage, gone: int, recorded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    look_into = comparing._Comparison.look_into

    def looking(self: comparing._Comparison, level: comparing._Level) -> None:
        looked.append(level.name)
        look_into(self, level)

    monkeypatch.setattr(comparing._Comparison, "look_into", looking)
    stage.both(MANY)
    stage.backed_up()
    stage.live(f"DELETE FROM t WHERE n <= {gone}; UPDATE t SET note = 'new' WHERE n > 5990")
    done = stage.run(since=stage.since if recorded else None)
    assert (done.first.deleted, done.first.carried) == (gone, 10)
    assert looked == ["coarse" if gone == 3 else "fine"]
    query = "SELECT * FROM t ORDER BY id"
    assert stage.side(query) == stage.live(query)


def test_a_row_that_only_its_hash_tells_of_is_carried(stage: Stage) -> None:
    """Written behind the back of transaction ids: as many rows, all older than the backup."""
    stage.both(MANY)
    stage.live("UPDATE t SET note = 'another' WHERE n = 77")
    stage.backed_up()
    assert stage.since is not None
    assert stage.run(since=replace(stage.since)).first.carried == 1
    assert stage.side("SELECT note FROM t WHERE n = 77") == [("another",)]


@pytest.mark.parametrize(
    "behind",
    [
        "ALTER TABLE t DISABLE TRIGGER USER; UPDATE t SET note = 'unseen' WHERE n = 7;"
        "ALTER TABLE t ENABLE ALWAYS TRIGGER {0}_row; ALTER TABLE t ENABLE ALWAYS TRIGGER {0}_all",
        "UPDATE t SET note = 'unseen' WHERE n = 7; TRUNCATE {0}.change",
    ],
    ids=["switched off and on", "forgotten"],
)
def test_a_capture_that_was_not_there_all_the_time_proves_nothing(
    stage: Stage, behind: str
) -> None:
    """No count would tell: there are as many rows as before."""
    stage.both(MANY)
    stage.backed_up()
    with stage.carry() as (carry, _):
        carry.first_pass()
        stage.live(behind.format("taly_carry_test"))
        with carry.blocked(limit_s=5):
            carry.last_pass()
            with pytest.raises(VendorUnavailable, match="switched off") as caught:
                carry.finish()
        assert caught.value.reference == "database-changed"


def test_what_changed_is_counted_first_and_with_more_patience(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While writers wait: a table to which nobody has written since it was counted may be left."""
    stage.both(MANY + "CREATE TABLE calm (id int PRIMARY KEY); INSERT INTO calm VALUES (1)")
    stage.backed_up()
    monkeypatch.setattr("taly.database.carry.carry.REST_BUDGET_S", -1.0)
    with stage.carry() as (carry, _):
        carry.first_pass()
        stage.live("UPDATE t SET note = 'late' WHERE n = 7")
        with carry.blocked(limit_s=5):
            carry.last_pass()
            proof = carry.finish()
    assert proof.notes == ("public.calm: counted in the pass before",)


def test_whether_another_open_pass_is_worth_it_is_told_by_what_was_noted(stage: Stage) -> None:
    """Not by what the last pass found: that may have been everything since the backup."""
    stage.both(MANY)
    stage.backed_up()
    stage.live("UPDATE t SET note = 'before' WHERE n <= 50")
    with stage.carry() as (carry, _):
        assert carry.first_pass().changes == 50
        assert carry.is_calm(5)
        stage.live("UPDATE t SET note = 'late' WHERE n <= 5")
        assert carry.is_calm(5)
        stage.live("UPDATE t SET note = 'late' WHERE n = 6")
        assert not carry.is_calm(5)
        carry.next_pass()
        assert carry.is_calm(0)
        stage.live("TRUNCATE t")
        assert not carry.is_calm(5)


def test_a_row_that_somebody_else_wrote_there_is_found(stage: Stage) -> None:
    stage.both(MANY)
    stage.backed_up()
    with stage.carry() as (carry, _):
        carry.first_pass()
        stage.side("INSERT INTO t VALUES (md5('x')::uuid, 0, 'not ours')")
        stage.live("UPDATE t SET note = 'late' WHERE n = 7")
        with carry.blocked(limit_s=5):
            carry.last_pass()
            with pytest.raises(ProofFailed, match="somebody else wrote 1 rows"):
                carry.finish()
