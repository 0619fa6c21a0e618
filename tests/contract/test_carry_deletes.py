"""Deletes are carried over, but not blindly."""

import pytest
from tests.contract.carry_stage import Stage, finish, side_url, stage

from taly.database.carry.judging import MASS

__all__ = ["side_url", "stage"]

MANY = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' FROM {} i"


@pytest.mark.parametrize("mode", ["transactions", "hashes"])
def test_naive_7_deletes_are_not_forgotten(stage: Stage, mode: str) -> None:
    stage.both(MANY.format("generate_series(1, 5000)"))
    stage.backed_up()
    stage.live("DELETE FROM t WHERE id % 100 = 0; INSERT INTO t VALUES (6000, 'new')")
    done = stage.run(**({"since": None} if mode == "hashes" else {}))
    assert stage.side("SELECT count(*), max(id) FROM t") == [(4951, 6000)]
    assert done.first.deleted == 50
    assert done.rescued == {}


def test_naive_7_mass_deletes_are_kept_and_reported(stage: Stage) -> None:
    stage.both(MANY.format("generate_series(1, 5000)"))
    stage.both("CREATE TABLE small (id int PRIMARY KEY); INSERT INTO small VALUES (1), (2)")
    stage.backed_up()
    stage.live(
        "DELETE FROM t WHERE id > 3000; DELETE FROM small; UPDATE t SET v = 'w' WHERE id = 1"
    )
    done = stage.run()
    assert stage.side("SELECT count(*) FROM t") == [(5000,)]
    assert stage.side("SELECT count(*) FROM small") == [(0,)]
    assert stage.side("SELECT v FROM t WHERE id = 1") == [("w",)]
    deleted = done.rescued["t"]
    assert len(deleted) == 2000
    assert {(row.kind, row.why) for row in deleted} == {("deleted", MASS)}
    assert deleted[0].base == {"id": deleted[0].row["id"], "v": "v"}
    assert (done.table("t").kept, done.table("t").live, done.table("t").rows) == (2000, 3000, 5000)


def test_mass_deletes_without_a_key_are_kept_too(stage: Stage) -> None:
    stage.both("CREATE TABLE t (v int); INSERT INTO t SELECT i FROM generate_series(1, 5000) i")
    stage.backed_up()
    stage.live("DELETE FROM t WHERE v > 3000; INSERT INTO t VALUES (-1)")
    done = stage.run()
    assert stage.side("SELECT count(*), min(v) FROM t") == [(5001, -1)]
    assert len(done.rows("t", "deleted")) == 2000


def test_deletes_after_the_first_pass(stage: Stage) -> None:
    stage.both(MANY.format("generate_series(1, 100)"))
    stage.backed_up()
    with stage.carry() as (carry, bundle):
        first = carry.first_pass()
        stage.live("DELETE FROM t WHERE id = 5; INSERT INTO t VALUES (200, 'x')")
        assert carry.next_pass().deleted == 1
        stage.live("DELETE FROM t WHERE id IN (6, 200); INSERT INTO t VALUES (5, 'again')")
        done = finish(carry, bundle, first)
    assert done.last.deleted == 2
    assert stage.side("SELECT id FROM t WHERE id IN (5, 6, 200)") == [(5,)]
    assert done.table("t").deleted == 2


def test_a_truncated_table_and_one_emptied_by_its_partition(stage: Stage) -> None:
    stage.both("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
    stage.both(
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);"
        "CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (20) TO (30);"
        "INSERT INTO p VALUES (1), (11), (21)"
    )
    stage.backed_up()
    with stage.carry() as (carry, bundle):
        first = carry.first_pass()
        stage.live("TRUNCATE t; INSERT INTO t VALUES (2), (3); TRUNCATE p1; DROP TABLE p2")
        stage.live("INSERT INTO p3 VALUES (22)")
        done = finish(carry, bundle, first)
    assert stage.side("SELECT id FROM t ORDER BY 1") == [(2,), (3,)]
    assert stage.side("SELECT id FROM p ORDER BY 1") == [(21,), (22,)]
    assert done.last.deleted == 3
