"""Two rows that exchange a value: as many rows, the same values in each column, and not the same.

PostgreSQL's hash of a record is a polynomial of its columns' hashes, so that plain sums of such
hashes are equal for two rows out of three that exchange something. Each test sees to it that its
rows are such ones.
"""

import pytest
from tests.contract.carry_stage import Stage, side_url, stage

from taly.database.carry.comparing import COARSE
from taly.database.checkpoint.contents import contents, tables
from taly.database.checkpoint.manifest import Sums, TableContent
from taly.database.checkpoint.session import snapshot

__all__ = ["side_url", "stage"]

TABLE = """
CREATE TABLE t (id int {}, email text);
INSERT INTO t SELECT i, 'user' || i || '@example.com' FROM generate_series(1, 1000) i;
"""
PAIR = """
SELECT a.id, b.id FROM t a JOIN t b ON a.id < b.id
  AND hash_record_extended(ROW(a.id), 0) & {0} = hash_record_extended(ROW(b.id), 0) & {0}
WHERE hash_record_extended(ROW(a.id, a.email), 0)::numeric
    + hash_record_extended(ROW(b.id, b.email), 0)
  = hash_record_extended(ROW(a.id, b.email), 0)::numeric
    + hash_record_extended(ROW(b.id, a.email), 0)
ORDER BY 1, 2 LIMIT 1
"""
EXCHANGE = """
UPDATE t SET email = o.email FROM t o WHERE (t.id, o.id) IN (({0}, {1}), ({1}, {0}))
"""
QUERY = "SELECT * FROM t ORDER BY id"


def exchanged(stage: Stage, key: str, mask: int) -> None:
    """A table on both sides; on the live one two rows of a bucket have exchanged their values."""
    stage.both(TABLE.format(key))
    stage.backed_up()
    [(one, other)] = stage.live(PAIR.format(mask))
    stage.live(EXCHANGE.format(one, other))


def test_rows_of_one_bucket_that_exchanged_values_are_carried(stage: Stage) -> None:
    exchanged(stage, "PRIMARY KEY", COARSE - 1)
    assert stage.run(since=None).first.carried == 2
    assert stage.side(QUERY) == stage.live(QUERY)


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "compared"])
def test_rows_without_a_key_that_exchanged_values_are_carried(stage: Stage, recorded: bool) -> None:
    exchanged(stage, "", 0)
    stage.run(since=stage.since if recorded else None)
    assert stage.side(QUERY) == stage.live(QUERY)


def test_a_backup_in_which_rows_exchanged_values_is_not_the_one_that_was_made(
    stage: Stage,
) -> None:
    exchanged(stage, "", 0)
    assert summed(stage, "plain", live=True) == summed(stage, "plain", live=False)
    assert summed(stage, "mixed", live=True) != summed(stage, "mixed", live=False)


def summed(stage: Stage, sums: Sums, *, live: bool) -> tuple[TableContent, ...]:
    with snapshot(stage.live_target if live else stage.side_target) as connection:
        return contents(connection, tables(connection), lambda what, done, whole: None, sums)
