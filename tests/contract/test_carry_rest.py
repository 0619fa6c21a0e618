"""What is no row of a table: sequences, large objects, materialised views. And the proof itself."""

import psycopg
import pytest
from tests.contract.carry_stage import Stage, finish, side_url, stage

from taly.database.carry import Carry, ProofFailed, can_carry
from taly.database.carry.earlier import Earlier
from taly.database.carry.scratch import NO_PLACE

__all__ = ["side_url", "stage"]


def test_naive_9_sequences_go_on_where_live_stands(stage: Stage) -> None:
    two = "id serial PRIMARY KEY, ident bigint GENERATED ALWAYS AS IDENTITY"
    stage.live(f"CREATE TABLE names ({two})")
    stage.side(f"CREATE TABLE old ({two})")
    stage.both(
        'CREATE SEQUENCE loose; CREATE SEQUENCE down INCREMENT -2; CREATE SEQUENCE "Un used"'
    )
    stage.backed_up()
    stage.live("INSERT INTO names DEFAULT VALUES; INSERT INTO names DEFAULT VALUES")
    stage.live("SELECT setval('loose', 77, false), nextval('down'), nextval('down')")
    done = stage.run(stage.correspondence(renamed={("public", "old"): ("public", "names")}))
    assert stage.side("SELECT last_value, is_called FROM old_id_seq") == [(2, True)]
    assert stage.side("SELECT last_value, is_called FROM loose") == [(77, False)]
    assert stage.side("SELECT nextval('down'), nextval('\"Un used\"')") == [(-5, 1)]
    assert stage.side("INSERT INTO old DEFAULT VALUES RETURNING id, ident") == [(3, 3)]
    assert done.proof.sequences == 4


@pytest.mark.parametrize("mode", ["transactions", "hashes"])
def test_naive_9_large_objects(stage: Stage, mode: str) -> None:
    for oid in (1001, 1002, 1003, 1005):
        stage.both(f"SELECT lo_from_bytea({oid}, 'as it was')")
    stage.backed_up()
    stage.live("SELECT lo_from_bytea(1004, decode(repeat('00ff', 1500000), 'hex'))")
    stage.live("SELECT lo_put(1002, 3, 'IT'), lo_unlink(1003)")
    with stage.carry(**({"since": None} if mode == "hashes" else {})) as (carry, bundle):
        first = carry.first_pass()
        stage.live("SELECT lo_put(1004, 2999999, 'more'), lo_unlink(1001), lo_from_bytea(1006, '')")
        stage.live(
            "BEGIN; SELECT lo_truncate(lo_open(1005, 131072), 2); COMMIT",
        )
        done = finish(carry, bundle, first)
    query = "SELECT oid::int, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY 1"
    assert stage.side(query) == stage.live(query)
    assert len(stage.side(query)) == 4
    assert done.proof.large_objects == 3 + 4


def test_materialised_views_show_the_new_rows(stage: Stage) -> None:
    stage.both("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    stage.both("CREATE MATERIALIZED VIEW one AS SELECT count(*) AS n FROM t")
    stage.both("CREATE MATERIALIZED VIEW two AS SELECT n + 1 AS m FROM one")
    stage.both("CREATE MATERIALIZED VIEW bad AS SELECT 1 / (2 - id) AS x FROM t")
    stage.backed_up()
    stage.live("INSERT INTO t VALUES (2)")
    done = stage.run()
    assert stage.side("SELECT n, m FROM one, two") == [(2, 3)]
    assert done.proof.stale_views == (("public", "bad"),)


def test_a_table_that_only_live_has_goes_to_the_bundle_whole(stage: Stage) -> None:
    stage.both("CREATE TABLE t (id int PRIMARY KEY)")
    stage.backed_up()
    stage.live(
        "CREATE TABLE fresh (id int PRIMARY KEY, v text, g int GENERATED ALWAYS AS (1) STORED)"
    )
    stage.live("CREATE TABLE bare (v text); INSERT INTO bare VALUES ('a'), ('a'), (NULL)")
    stage.live("INSERT INTO fresh VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    with stage.carry() as (carry, bundle):
        first = carry.first_pass()
        stage.live("UPDATE fresh SET v = 'new' WHERE id = 1; DELETE FROM fresh WHERE id = 2")
        stage.live("INSERT INTO bare VALUES ('late')")
        done = finish(carry, bundle, first)
    assert done.rows("fresh") == [{"id": "1", "v": "new"}, {"id": "3", "v": "c"}]
    assert len(done.rows("bare")) == 4
    assert done.reasons("fresh") == {NO_PLACE}
    assert (done.table("fresh").live, done.table("fresh").rescued) == (2, 2)


def test_values_of_a_column_that_only_live_has(stage: Stage) -> None:
    stage.both("CREATE TABLE t (id int PRIMARY KEY, v text)")
    stage.both("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 20) i")
    stage.backed_up()
    stage.live("ALTER TABLE t ADD level int DEFAULT 1, ADD note json")
    stage.live("ALTER TABLE t ALTER level SET DEFAULT 2")
    stage.migrated()
    stage.live(
        "UPDATE t SET level = 7, v = 'w' WHERE id = 3; UPDATE t SET note = '{}' WHERE id = 4"
    )
    stage.live("INSERT INTO t VALUES (21, 'x', NULL, '[1]')")
    with stage.carry() as (carry, bundle):
        first = carry.first_pass()
        stage.live("UPDATE t SET note = NULL WHERE id = 4; UPDATE t SET level = 8 WHERE id = 3")
        done = finish(carry, bundle, first)
    found = {row["id"]: row for row in done.rows("t", "columns")}
    assert found["3"] == {"id": "3", "level": "8"}
    assert found["21"] == {"id": "21", "level": None, "note": "[1]"}
    # Theirs is the default of the time when the column came: it is not the one of now.
    assert found["5"] == {"id": "5", "level": "1"}
    assert stage.side("SELECT v FROM t WHERE id IN (3, 21) ORDER BY id") == [("w",), ("x",)]


@pytest.mark.parametrize("mode", ["transactions", "hashes"])
def test_values_without_a_place_in_rows_that_otherwise_read_the_same(
    stage: Stage, mode: str
) -> None:
    """Found by the property test: sums over what has a place do not tell of what has none."""
    stage.both("CREATE TYPE st AS ENUM ('a', 'b'); CREATE TABLE t (id int PRIMARY KEY, s st)")
    stage.both("CREATE TABLE bag (x int)")
    stage.both("INSERT INTO t VALUES (1, 'b'), (2, 'b'); INSERT INTO bag VALUES (1), (2)")
    stage.backed_up()
    stage.live("ALTER TYPE st ADD VALUE 'c'; ALTER TABLE t ADD n int; ALTER TABLE bag ADD n int")
    stage.migrated()
    stage.live("UPDATE t SET n = 7 WHERE id = 1; UPDATE t SET s = 'c' WHERE id = 2")
    stage.live("UPDATE bag SET n = 8 WHERE x = 1")
    hinted = stage.correspondence(
        {("t", "s"): ("s", "CASE s.s::text WHEN 'c' THEN 'b' ELSE s.s::text END")}
    )
    with stage.carry(hinted, **({"since": None} if mode == "hashes" else {})) as (carry, bundle):
        first = carry.first_pass()
        stage.live("UPDATE bag SET n = 9 WHERE x = 2")
        done = finish(carry, bundle, first)
    assert done.rows("t", "columns") == [{"id": "1", "n": "7"}, {"id": "2", "s": "c"}]
    found = done.rows("bag", "columns")
    assert found == [{"x": "1", "n": "8"}, {"x": "2", "n": "9"}]
    assert stage.side("SELECT id, s::text FROM t ORDER BY 1") == [(1, "b"), (2, "b")]


TAMPERED = (
    ("UPDATE t SET v = 'tampered' WHERE id = 3", "somebody else wrote 1 rows"),
    ("UPDATE t SET v = 'tampered' WHERE id = 9", "somebody else wrote 1 rows"),
    ("DELETE FROM t WHERE id = 9", "live has 21 rows, and 20 are accounted for"),
    ("INSERT INTO t VALUES (99, 'tampered')", "somebody else wrote 1 rows"),
)


@pytest.mark.parametrize(("sql", "what"), TAMPERED)
@pytest.mark.parametrize("when", ["open", "blocked"])
def test_the_proof_fails_when_the_target_was_tampered_with(
    stage: Stage, sql: str, what: str, when: str
) -> None:
    stage.both("CREATE TABLE t (id int PRIMARY KEY, v text)")
    stage.both("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 20) i")
    stage.backed_up()
    stage.live("UPDATE t SET v = 'w' WHERE id = 3; INSERT INTO t VALUES (21, 'x')")

    def go_on(carry: Carry) -> None:
        if when == "open":
            carry.next_pass()
        with carry.blocked(limit_s=5):
            carry.last_pass()
            carry.finish()

    with stage.carry() as (carry, _):
        carry.first_pass()
        stage.side(sql)
        with pytest.raises(ProofFailed, match=what) as failed:
            go_on(carry)
    assert failed.value.reference == "carry-proof-failed"
    assert failed.value.table == "public.t"


@pytest.mark.parametrize(
    ("function", "lie"),
    [
        ("insert_0", "UPDATE t SET v = v || '!' WHERE id > 20"),
        ("convert_0", "UPDATE {v} SET c1 = 'wrong' WHERE i = 1"),
    ],
)
def test_the_proof_fails_when_our_own_sql_spoils_a_row(
    stage: Stage, function: str, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taly.database.carry import scratch as scratch_module

    stage.both("CREATE TABLE t (id int PRIMARY KEY, v text)")
    stage.backed_up()
    stage.live("INSERT INTO t VALUES (21, 'x')")
    each = scratch_module.Scratch.each

    def spoiled(self, connection, name, work):
        each(self, connection, name, work)
        if f"{name}_{work.n}" == function:
            connection.execute(lie.format(v=self.at("v", work)).encode())

    monkeypatch.setattr(scratch_module.Scratch, "each", spoiled)
    with stage.carry() as (carry, _), pytest.raises(ProofFailed):
        carry.first_pass()
    assert stage.side("SELECT * FROM t") == []


def test_who_may_not_quieten_triggers_is_told_before(stage: Stage) -> None:
    stage.live("DROP ROLE IF EXISTS taly_weak; CREATE ROLE taly_weak")
    try:
        with psycopg.connect(stage.live_url) as connection:
            assert can_carry(connection) == ""
            connection.execute("SET ROLE taly_weak")
            assert "GRANT CREATE ON DATABASE" in can_carry(connection)
            connection.execute("RESET ROLE; GRANT CREATE ON DATABASE taly TO taly_weak")
            connection.execute("SET ROLE taly_weak")
            assert "GRANT SET ON PARAMETER session_replication_role" in can_carry(connection)
    finally:
        stage.live("DROP OWNED BY taly_weak; DROP ROLE taly_weak")


def test_the_other_direction_brings_back_what_was_written_since(stage: Stage) -> None:
    stage.both("CREATE TABLE t (id int PRIMARY KEY, v text, s text)")
    stage.both("INSERT INTO t SELECT i, 'v', 's' FROM generate_series(1, 20) i")
    stage.backed_up()
    stage.live("ALTER TABLE t RENAME v TO word; ALTER TABLE t DROP s; ALTER TABLE t ADD n int")
    stage.side("ALTER TABLE t ADD CHECK (v <> 'bad')")
    stage.live(
        "UPDATE t SET word = 'user', n = 5 WHERE id = 1; INSERT INTO t VALUES (30, 'bad', 1)"
    )
    there = {("t", "v"): ("word", "")}
    done = stage.run(stage.correspondence(there))
    assert stage.side("SELECT * FROM t WHERE id IN (1, 30)") == [(1, "user", "s")]
    # Now the old schema is live; somebody works on, and then the rollback is undone.
    undo = stage.undone()
    undo.backed_up()
    undo.live("UPDATE t SET v = 'later', s = 'only here' WHERE id = 1; DELETE FROM t WHERE id = 2")
    undo.live("INSERT INTO t VALUES (31, 'late', NULL)")
    absent = [
        (("public", "t"), (row.row["id"] or "",))
        for row in done.rescued["t"]
        if row.kind == "row" and row.base is None
    ]
    back = undo.correspondence({("t", "word"): ("v", "")})
    done = undo.run(back, earlier=Earlier(absent=absent))
    assert undo.side("SELECT * FROM t WHERE id IN (1, 2, 30, 31) ORDER BY id") == [
        (1, "later", 5),
        (30, "bad", 1),
        (31, "late", None),
    ]
    assert undo.side("SELECT count(*) FROM t") == [(21,)]
    found = {row["id"]: row["s"] for row in done.rows("t", "columns")}
    assert found["1"] == "only here"
    assert len(found) == 19
