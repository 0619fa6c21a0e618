"""An undo: what the way back had put into the live database is nobody's work, and is left there."""

from dataclasses import replace

import pytest
from tests.contract.carry_stage import Done, Stage, side_url, stage

__all__ = ["side_url", "stage"]


def undone(stage: Stage, *, leaves: bool) -> Done:
    """All that is in the live database was written before the swap."""
    stage.backed_up()
    stage.migrated()
    assert stage.since is not None
    return stage.run(since=replace(stage.since, leaves=leaves))


@pytest.mark.parametrize("leaves", [True, False], ids=["undo", "way back"])
def test_a_row_that_reads_otherwise_stays_as_it_comes_back(stage: Stage, leaves: bool) -> None:
    stage.live("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'backup')")
    stage.side("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'newer')")
    done = undone(stage, leaves=leaves)
    assert stage.side("SELECT v FROM t") == [("newer",)]
    assert len(done.rows("t")) == (0 if leaves else 1)


@pytest.mark.parametrize("leaves", [True, False], ids=["undo", "way back"])
@pytest.mark.parametrize("theirs", ["same", "other"], ids=["reads the same", "reads otherwise"])
def test_a_value_without_a_place_is_no_users_either(
    stage: Stage, leaves: bool, theirs: str
) -> None:
    """Whether its row is looked at because of something else or not."""
    stage.live("CREATE TABLE t (id int PRIMARY KEY, v text, gone text)")
    stage.live("INSERT INTO t VALUES (1, 'same', 'put there by the way back')")
    stage.side("CREATE TABLE t (id int PRIMARY KEY, v text)")
    stage.side(f"INSERT INTO t VALUES (1, '{theirs}')")
    done = undone(stage, leaves=leaves)
    rescued = done.rows("t", "columns") + done.rows("t")
    assert [row["gone"] for row in rescued] == ([] if leaves else ["put there by the way back"])


def test_what_a_user_wrote_after_the_swap_is_carried_and_rescued(stage: Stage) -> None:
    stage.live("CREATE TABLE t (id int PRIMARY KEY, v text, gone text)")
    stage.live("INSERT INTO t VALUES (1, 'old', NULL), (2, 'old', 'there before')")
    stage.side("CREATE TABLE t (id int PRIMARY KEY, v text)")
    stage.side("INSERT INTO t VALUES (1, 'newer'), (2, 'newer')")
    stage.backed_up()
    stage.migrated()
    stage.live("UPDATE t SET v = 'user', gone = 'user' WHERE id = 1")
    assert stage.since is not None
    done = stage.run(since=replace(stage.since, leaves=True))
    assert stage.side("SELECT v FROM t ORDER BY id") == [("user",), ("newer",)]
    assert [row["gone"] for row in done.rows("t", "columns")] == ["user"]
