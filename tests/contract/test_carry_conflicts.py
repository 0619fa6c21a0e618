"""Rows that do not fit are set aside one by one, and everything else fits together."""

import pytest
from tests.contract.carry_stage import Stage, side_url, stage

__all__ = ["side_url", "stage"]


def test_naive_4_enums_are_compared_by_label_not_by_oid(stage: Stage) -> None:
    stage.side("CREATE TYPE filler AS ENUM ('x')")  # other OIDs there
    stage.both("CREATE TYPE st AS ENUM ('a', 'b')")
    stage.both("CREATE TABLE t (id int, s st, l st[], PRIMARY KEY (id, s))")
    stage.both("INSERT INTO t SELECT i, 'a', '{a,b}' FROM generate_series(1, 50) i")
    stage.live("UPDATE t SET s = 'b' WHERE id = 7")
    done = stage.run(since=None)
    assert (done.first.changes, done.first.carried, done.first.deleted) == (2, 1, 1)
    assert stage.side("SELECT id FROM t WHERE s = 'b'") == [(7,)]


def test_an_unknown_label_is_rescued_with_its_reason_and_the_old_row_stays(stage: Stage) -> None:
    stage.both("CREATE TYPE st AS ENUM ('a', 'b')")
    stage.both("CREATE TABLE t (id int PRIMARY KEY, s st, v text)")
    stage.both("INSERT INTO t VALUES (1, 'a', 'old'), (2, 'a', 'old')")
    stage.backed_up()
    stage.live("ALTER TYPE st ADD VALUE 'c'")
    stage.live("UPDATE t SET s = 'c', v = 'new' WHERE id = 1; INSERT INTO t VALUES (3, 'c', 'x')")
    stage.live("UPDATE t SET v = 'new' WHERE id = 2")
    done = stage.run()
    assert stage.side("SELECT id, s::text, v FROM t ORDER BY 1") == [
        (1, "a", "old"),
        (2, "a", "new"),
    ]
    assert done.reasons("t") == {"column s: no value of its enum: c"}
    first, second = sorted(done.rescued["t"], key=lambda row: row.values[0] or "")
    assert first.row == {"id": "1", "s": "c", "v": "new"}
    assert first.base == {"id": "1", "s": "a", "v": "old"}
    assert (second.row["id"], second.base) == ("3", None)
    # With a hint they are carried, and the label that has no place is kept beside.
    hinted = stage.correspondence(
        {("t", "s"): ("s", "CASE s.s::text WHEN 'c' THEN 'b' ELSE s.s::text END")}
    )
    done = stage.run(hinted)
    assert stage.side("SELECT id, s::text FROM t ORDER BY 1") == [(1, "b"), (2, "a"), (3, "b")]
    assert done.rows("t", "columns") == [{"id": "1", "s": "c"}, {"id": "3", "s": "c"}]


def test_values_that_do_not_fit_are_found_among_many(stage: Stage) -> None:
    stage.side(
        "CREATE DOMAIN even AS int CHECK (VALUE % 2 = 0);"
        "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, c varchar(5), e even,"
        " k int CHECK (k <> 13))"
    )
    stage.live("CREATE TABLE t (id int PRIMARY KEY, n text, c text, e int, k int)")
    stage.backed_up()
    stage.live(
        "INSERT INTO t SELECT i, CASE i WHEN 7 THEN 'seven' WHEN 8 THEN NULL ELSE i::text END,"
        " CASE i WHEN 9 THEN 'too long' ELSE 'ok' END, CASE i WHEN 10 THEN 3 ELSE 2 END,"
        " CASE i WHEN 11 THEN 13 ELSE 1 END FROM generate_series(1, 500) i"
    )
    done = stage.run()
    assert [int(row["id"] or 0) for row in done.rows("t")] == [10, 11, 7, 8, 9]
    assert stage.side("SELECT count(*) FROM t") == [(495,)]
    assert done.table("t").rescued == 5
    assert done.table("t").live == 500


def test_naive_5_two_users_exchange_their_unique_addresses(stage: Stage) -> None:
    stage.both("CREATE TABLE u (id int PRIMARY KEY, mail text UNIQUE)")
    stage.both("INSERT INTO u VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')")
    stage.backed_up()
    stage.live("UPDATE u SET mail = 'x' WHERE id = 1; UPDATE u SET mail = 'a' WHERE id = 2")
    stage.live("UPDATE u SET mail = 'b' WHERE id = 1")
    stage.live("DELETE FROM u WHERE id = 3; INSERT INTO u VALUES (30, 'c')")
    done = stage.run()
    assert stage.side("SELECT * FROM u ORDER BY 1") == [(1, "b"), (2, "a"), (4, "d"), (30, "c")]
    assert done.rescued == {}


def test_rows_that_a_dropped_unique_let_in(stage: Stage) -> None:
    stage.side("CREATE TABLE u (id int PRIMARY KEY, mail text UNIQUE)")
    stage.live("CREATE TABLE u (id int PRIMARY KEY, mail text)")
    stage.both("INSERT INTO u VALUES (1, 'a'), (2, 'b')")
    stage.backed_up()
    stage.live("INSERT INTO u VALUES (3, 'a'), (4, 'n'), (5, 'n')")
    done = stage.run()
    assert stage.side("SELECT * FROM u ORDER BY 1") == [(1, "a"), (2, "b"), (4, "n")]
    assert [row["id"] for row in done.rows("u")] == ["3", "5"]


def test_a_row_that_stays_wins_over_a_carried_one_that_took_its_value(stage: Stage) -> None:
    """A chain: 1 cannot be carried, so it keeps `a`; then 2 cannot have it, and keeps `b`; …"""
    stage.both("CREATE TYPE st AS ENUM ('x')")
    stage.both("CREATE TABLE u (id int PRIMARY KEY, mail text UNIQUE, s st)")
    stage.both("INSERT INTO u VALUES (1, 'a', 'x'), (2, 'b', 'x'), (3, 'c', 'x'), (9, 'z', 'x')")
    stage.backed_up()
    stage.live("ALTER TYPE st ADD VALUE 'y'")
    stage.live("UPDATE u SET mail = 'free', s = 'y' WHERE id = 1")
    stage.live("UPDATE u SET mail = 'a' WHERE id = 2; UPDATE u SET mail = 'b' WHERE id = 3")
    stage.live("UPDATE u SET mail = 'zz' WHERE id = 9; INSERT INTO u VALUES (4, 'c', 'x')")
    done = stage.run()
    assert stage.side("SELECT id, mail FROM u ORDER BY 1") == [
        (1, "a"),
        (2, "b"),
        (3, "c"),
        (9, "zz"),
    ]
    assert [row["id"] for row in done.rows("u")] == ["1", "2", "3", "4"]


def test_exclusion_constraints(stage: Stage) -> None:
    stage.side("CREATE TABLE b (id int PRIMARY KEY, r int4range, EXCLUDE USING gist (r WITH &&))")
    stage.live("CREATE TABLE b (id int PRIMARY KEY, r int4range)")
    stage.both("INSERT INTO b VALUES (1, '[1,5)'), (2, '[5,9)')")
    stage.backed_up()
    stage.live("INSERT INTO b VALUES (3, '[4,6)'), (4, '[20,30)')")
    stage.live("UPDATE b SET r = '[100,101)' WHERE id = 2")
    done = stage.run()
    assert stage.side("SELECT id FROM b ORDER BY 1") == [(1,), (2,), (4,)]
    assert [row["id"] for row in done.rows("b")] == ["3"]


CYCLE = """
CREATE TABLE team (id int PRIMARY KEY, lead int, s text);
CREATE TABLE member (id int PRIMARY KEY, team int NOT NULL REFERENCES team,
  boss int REFERENCES member);
ALTER TABLE team ADD FOREIGN KEY (lead) REFERENCES member DEFERRABLE INITIALLY DEFERRED;
INSERT INTO team VALUES (1, NULL, ''), (2, NULL, '');
INSERT INTO member VALUES (1, 1, NULL), (2, 2, 1);
UPDATE team SET lead = id;
"""


def test_naive_6_foreign_keys_in_a_cycle_and_to_itself(stage: Stage) -> None:
    stage.both(CYCLE)
    stage.backed_up()
    stage.live(
        "BEGIN; INSERT INTO team VALUES (3, 3, ''), (4, 4, '');"
        "INSERT INTO member VALUES (3, 3, NULL), (4, 4, 3), (5, 3, 4);"
        "UPDATE member SET boss = 5 WHERE id = 3; COMMIT;"
        "UPDATE team SET lead = 1 WHERE id = 2; DELETE FROM member WHERE id = 2"
    )
    done = stage.run()
    for table in ("team", "member"):
        query = f"SELECT * FROM {table} ORDER BY id"
        assert stage.side(query) == stage.live(query)
    assert done.rescued == {}


def test_orphans_go_with_their_parent_to_a_fixpoint(stage: Stage) -> None:
    stage.both(CYCLE)
    stage.side("ALTER TABLE team ADD CHECK (s <> 'bad')")
    stage.backed_up()
    stage.live(
        "BEGIN; INSERT INTO team VALUES (3, NULL, 'bad'), (4, 3, '');"
        "INSERT INTO member VALUES (3, 3, NULL), (4, 4, 3), (5, 1, NULL);"
        "UPDATE member SET boss = 4 WHERE id = 1; COMMIT"
    )
    done = stage.run()
    # 3 is rejected; member 3 is its orphan; team 4 and member 4 refer to that one; member 1 to 4.
    assert stage.side("SELECT id, lead FROM team ORDER BY 1") == [(1, 1), (2, 2)]
    assert stage.side("SELECT id, boss FROM member ORDER BY 1") == [(1, None), (2, 1), (5, None)]
    assert [row["id"] for row in done.rows("team")] == ["3", "4"]
    assert [row["id"] for row in done.rows("member")] == ["1", "3", "4"]


def test_a_parent_that_a_row_needs_is_not_deleted(stage: Stage) -> None:
    stage.both(
        "CREATE TYPE st AS ENUM ('x'); CREATE TABLE p (id int PRIMARY KEY, v text UNIQUE);"
        "CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p, s st);"
        "INSERT INTO p VALUES (1, 'a'), (2, 'b'); INSERT INTO c VALUES (1, 1, 'x'), (2, 2, 'x')"
    )
    stage.backed_up()
    stage.live("ALTER TYPE st ADD VALUE 'y'")
    # Its update cannot be carried, so c 1 stays as it was, and refers to p 1.
    stage.live("UPDATE c SET p = NULL, s = 'y' WHERE id = 1; DELETE FROM p WHERE id = 1")
    stage.live("DELETE FROM c WHERE id = 2; DELETE FROM p WHERE id = 2")
    stage.live("INSERT INTO p VALUES (3, 'a'), (4, 'b')")
    done = stage.run()
    assert stage.side("SELECT id FROM p ORDER BY 1") == [(1,), (4,)]
    assert stage.side("SELECT id, p FROM c ORDER BY 1") == [(1, 1)]
    assert done.rows("p", "deleted") == [{"id": "1"}]
    assert [row["id"] for row in done.rows("p")] == ["3"]  # `a` is taken by the one that stays
    assert (done.table("p").kept, done.table("p").deleted) == (1, 1)


@pytest.mark.parametrize("column", ["kept int NOT NULL", "kept int NOT NULL DEFAULT 5"])
def test_a_column_that_live_has_no_more_and_that_must_be_filled(stage: Stage, column: str) -> None:
    stage.side(f"CREATE TABLE t (id int PRIMARY KEY, v text, {column})")
    stage.live("CREATE TABLE t (id int PRIMARY KEY, v text)")
    stage.side("INSERT INTO t VALUES (1, 'a', 9)")
    stage.live("INSERT INTO t VALUES (1, 'a')")
    stage.backed_up()
    stage.live("UPDATE t SET v = 'b'; INSERT INTO t VALUES (2, 'new')")
    done = stage.run()
    if "DEFAULT" in column:
        assert stage.side("SELECT * FROM t ORDER BY 1") == [(1, "b", 9), (2, "new", 5)]
    else:
        assert stage.side("SELECT * FROM t ORDER BY 1") == [(1, "b", 9)]
        assert done.rows("t") == [{"id": "2", "v": "new"}]
