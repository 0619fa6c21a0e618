"""Putting a rescue bundle back, against a real PostgreSQL: nothing newer is overwritten."""

from pathlib import Path

import psycopg
import pytest
from tests.contract.rescue_stage import NOW, Stage, lines, table

from taly.database.rescue.merge import merge

PETS = table("pets", {"id": "integer", "name": "text", "age": "integer"}, "id")


@pytest.fixture
def stage(tmp_path: Path, postgres_url: str) -> Stage:
    return Stage(base=tmp_path / "rescue", url=postgres_url)


@pytest.fixture
def pets(stage: Stage) -> Stage:
    stage.run("CREATE TABLE pets (id integer PRIMARY KEY, name text, age integer)")
    return stage


def row(*values: str | None, **more: object) -> dict[str, object]:
    return {"values": values, **more}


def test_a_row_that_is_not_there_is_inserted(pets: Stage) -> None:
    outcome = pets.one(pets.bundle((PETS, [row("1", "Rex", None), row("2", "", "3")])))
    assert pets.run("SELECT * FROM pets ORDER BY id") == [(1, "Rex", None), (2, "", 3)]
    assert outcome.fates["inserted"] == 2


def test_a_row_that_was_there_after_the_rollback_and_is_gone_stays_deleted(pets: Stage) -> None:
    base = {"id": "1", "name": "Old", "age": None}
    merged = pets.merge(pets.bundle((PETS, [row("1", "Rex", "3", base=base)])))
    assert pets.run("SELECT * FROM pets") == []
    assert merged.tables[0].fates == {"gone": 1}
    assert merged.report is not None
    [line] = lines(merged.report)
    assert line["what"] == "gone"
    assert line["row"] == {"id": "1", "name": "Rex", "age": "3"}


def test_each_column_is_merged_by_itself(pets: Stage) -> None:
    """name was written since: it stays; age was not: the rescued value comes back."""
    pets.run("INSERT INTO pets VALUES (1, 'Newer', 1)")
    base = {"id": "1", "name": "Old", "age": "1"}
    merged = pets.merge(pets.bundle((PETS, [row("1", "Rex", "3", base=base)])))
    assert pets.run("SELECT * FROM pets") == [(1, "Newer", 3)]
    assert merged.tables[0].values == merged.tables[0].newer_values == 1
    [newer] = merged.examples
    assert (newer.key, newer.column) == ({"id": "1"}, "name")
    assert (newer.rescued, newer.now) == ("Rex", "Newer")
    assert merged.report is not None
    assert lines(merged.report)[0]["now"] == "Newer"


def test_a_row_that_somebody_made_since_is_left_alone(pets: Stage) -> None:
    pets.run("INSERT INTO pets VALUES (1, NULL, 7)")
    outcome = pets.one(pets.bundle((PETS, [row("1", "Rex", "3")])))
    assert pets.run("SELECT * FROM pets") == [(1, None, 7)]
    assert outcome.newer_values == 2


def test_a_column_that_had_no_place_fills_what_nobody_wrote(stage: Stage) -> None:
    stage.run("CREATE TABLE pets (id integer PRIMARY KEY)")
    stage.run("INSERT INTO pets SELECT generate_series(1, 5)")
    stage.run(
        "ALTER TABLE pets ADD chip text, ADD tag text DEFAULT 'none',"
        " ADD seen timestamptz DEFAULT now()"
    )
    stage.run("UPDATE pets SET chip = 'new', tag = 'new', seen = 'epoch' WHERE id = 2")
    stage.run("UPDATE pets SET chip = 'c3', tag = 't3', seen = '2026-01-01Z' WHERE id = 3")
    stage.run("DELETE FROM pets WHERE id = 4")
    rescued = table(
        "pets",
        {"id": "integer", "chip": "text", "tag": "text", "seen": "timestamp with time zone"},
        "id",
    )
    rows = [
        row(str(i), f"c{i}", f"t{i}", "2026-01-01 00:00:00+00", kind="columns")
        for i in (1, 2, 3, 4)
    ]
    outcome = stage.one(stage.bundle((rescued, rows)))
    then = "2026-01-01 00:00:00+00"
    assert stage.run(
        "SELECT id, chip, tag, (seen AT TIME ZONE 'UTC') || '+00' FROM pets WHERE id < 5 ORDER BY 1"
    ) == [
        (1, "c1", "t1", then),
        (2, "new", "new", "1970-01-01 00:00:00+00"),
        (3, "c3", "t3", then),
    ]
    assert outcome.fates == {"updated": 1, "newer": 1, "nothing": 1, "gone": 1}


def test_a_column_with_a_known_base_is_compared_with_that_and_not_with_null(pets: Stage) -> None:
    """NULL was written on purpose: it is newer than the base."""
    pets.run("INSERT INTO pets VALUES (1, NULL, 5)")
    base = {"id": "1", "name": "base", "age": "5"}
    some = row("1", "Rex", "6", kind="columns", base=base)
    pets.merge(pets.bundle((PETS, [some])))
    assert pets.run("SELECT name, age FROM pets") == [(None, 6)]


def test_what_live_had_deleted_is_deleted_again_only_when_asked(pets: Stage) -> None:
    pets.run("INSERT INTO pets VALUES (1, 'Rex', 3), (2, 'Mia', 4)")
    rows = [
        row("1", "Rex", "3", kind="deleted"),
        row("2", "Mia", "3", kind="deleted", base={"id": "2", "name": "Mia", "age": "3"}),
    ]
    reader = pets.bundle((PETS, rows))
    assert pets.one(reader, dry_run=True).fates == {"kept": 1, "newer": 1}
    assert pets.one(reader, dry_run=True, deletes=True).fates == {"deleted": 1, "newer": 1}
    pets.one(reader, deletes=True)
    assert pets.run("SELECT id FROM pets") == [(2,)]


def test_a_row_to_which_others_refer_now_is_not_deleted_again(pets: Stage) -> None:
    pets.run("INSERT INTO pets VALUES (1, 'Rex', 3)")
    pets.run("CREATE TABLE toys (pet integer REFERENCES pets ON DELETE CASCADE)")
    pets.run("INSERT INTO toys VALUES (1)")
    outcome = pets.one(pets.bundle((PETS, [row("1", "Rex", "3", kind="deleted")])), deletes=True)
    assert outcome.left == {"rows refer to it now": 1}
    assert pets.run("SELECT * FROM toys") == [(1,)]


def test_a_table_without_a_key_gets_as_many_rows_as_are_missing(stage: Stage) -> None:
    stage.run("CREATE TABLE log (x integer, doc json)")
    stage.run("""INSERT INTO log VALUES (1, '{"a":  1}'), (1, '{"a": 1}'), (2, NULL)""")
    log = table("log", {"x": "integer", "doc": "json"})
    rows = [row("1", '{"a":  1}')] * 3 + [row("2", None), row("3", "{}")]
    reader = stage.bundle((log, rows))
    assert stage.one(reader).fates == {"inserted": 3, "nothing": 2}
    assert stage.run("SELECT x, doc::text, count(*) FROM log GROUP BY 1, 2 ORDER BY 1, 2") == [
        (1, '{"a":  1}', 3),
        (1, '{"a": 1}', 1),
        (2, None, 1),
        (3, "{}", 1),
    ]
    assert stage.one(reader).fates == {}


def test_a_table_or_column_that_is_not_there_is_told_and_comes_back_later(stage: Stage) -> None:
    stage.run("CREATE TABLE pets (id integer PRIMARY KEY, age integer)")
    stage.run("INSERT INTO pets VALUES (3)")
    toys = table("toys", {"id": "integer"}, "id")
    rows = [row("1", "Rex", "1"), row("2", None, "2"), row("3", "Mia", "3", kind="columns")]
    reader = stage.bundle((PETS, rows), (toys, [row("1")]))
    pets, missing = stage.merge(reader).tables
    assert stage.run("SELECT * FROM pets ORDER BY id") == [(2, 2), (3, 3)]
    assert pets.left == {"columns are not there: name": 1}
    assert pets.missing == {"name": 1}
    assert missing.left == {"the table is not there": 1}

    stage.run("ALTER TABLE pets ADD name text; CREATE TABLE toys (id integer PRIMARY KEY)")
    stage.run("UPDATE pets SET age = NULL WHERE id = 3; DELETE FROM pets WHERE id = 2")
    pets, found = stage.merge(reader).tables
    assert stage.run("SELECT id, age, name FROM pets ORDER BY id") == [
        (1, 1, "Rex"),
        (3, None, "Mia"),
    ]
    assert pets.already == 1
    assert found.fates == {"inserted": 1}


def test_with_partly_rows_come_back_without_columns_that_are_gone(stage: Stage) -> None:
    stage.run("CREATE TABLE pets (id integer PRIMARY KEY, age integer)")
    reader = stage.bundle((PETS, [row("1", "Rex", "1")]))
    assert stage.one(reader, partly=True).missing == {"name": 1}
    assert stage.run("SELECT * FROM pets") == [(1, 1)]
    stage.run("ALTER TABLE pets ADD name text; UPDATE pets SET age = 9")
    assert stage.one(reader).fates == {"updated": 1}
    assert stage.run("SELECT * FROM pets") == [(1, 9, "Rex")]


def test_a_second_replay_changes_nothing_even_where_rows_were_deleted_since(pets: Stage) -> None:
    reader = pets.bundle((PETS, [row("1", "Rex", "1"), row("2", "Mia", "2")]))
    pets.merge(reader)
    pets.run("DELETE FROM pets WHERE id = 1; UPDATE pets SET name = NULL")
    outcome = pets.one(reader)
    assert outcome.already == 2
    assert pets.run("SELECT * FROM pets") == [(2, None, 2)]


def test_a_replay_that_was_not_committed_does_not_count(pets: Stage) -> None:
    reader = pets.bundle((PETS, [row("1", "Rex", "1")]))

    with pets.connected() as connection:
        merge(connection, reader, now=NOW, place="here")
        connection.rollback()
    assert pets.run("SELECT * FROM pets") == []
    assert pets.one(reader).fates == {"inserted": 1}


def test_a_replay_that_was_committed_and_not_confirmed_counts(pets: Stage) -> None:
    reader = pets.bundle((PETS, [row("1", "Rex", "1")]))

    with pets.connected() as connection:
        merge(connection, reader, now=NOW, place="here")
    pets.run("DELETE FROM pets")
    assert pets.one(reader).already == 1


def test_a_dry_run_changes_nothing_and_says_the_same(pets: Stage) -> None:
    pets.run("CREATE SEQUENCE s; ALTER TABLE pets ALTER id SET DEFAULT nextval('s')")
    reader = pets.bundle((PETS, [row("7", "Rex", "1"), row("8", "Mia", "x")]))
    before = sorted(path.name for path in reader.path.iterdir())
    dry = pets.one(reader, dry_run=True)
    assert pets.run("SELECT * FROM pets") == []
    assert pets.run("SELECT nextval('s')") == [(1,)]
    after = sorted(path.name for path in reader.path.iterdir())
    assert [name for name in after if "dry-run" not in name] == before
    real = pets.one(reader)
    assert dry == real
    assert real.fates == {"inserted": 1, "left": 1}


def test_new_rows_do_not_collide_with_keys_that_came_back(stage: Stage) -> None:
    stage.run("CREATE TABLE a (id serial PRIMARY KEY, x text)")
    stage.run("CREATE TABLE b (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, x text)")
    a, b = (
        table(name, {"id": kind, "x": "text"}, "id")
        for name, kind in (("a", "integer"), ("b", "bigint"))
    )
    stage.merge(stage.bundle((a, [row("7", "x")]), (b, [row("900000", "x")])))
    assert stage.run("INSERT INTO a (x) VALUES ('y') RETURNING id") == [(8,)]
    assert stage.run("INSERT INTO b (x) VALUES ('y') RETURNING id") == [(900001,)]


def test_rows_come_back_before_those_that_refer_to_them(stage: Stage) -> None:
    stage.run("CREATE TABLE z (id integer PRIMARY KEY)")
    stage.run("CREATE TABLE a (id integer PRIMARY KEY, z integer NOT NULL REFERENCES z)")
    z = table("z", {"id": "integer"}, "id")
    a = table("a", {"id": "integer", "z": "integer"}, "id")
    rows = [row(str(i), str(i)) for i in range(1200)]
    merged = stage.merge(
        stage.bundle((a, [*rows, row("9999", "9999")]), (z, [row(str(i)) for i in range(1200)]))
    )
    assert merged.tables[0].fates == {"inserted": 1200, "left": 1}
    assert merged.tables[0].left == {"it refers to a row that is not there, of public.z": 1}


def test_cycles_of_references_come_back_though_none_can_be_first(stage: Stage) -> None:
    stage.run("CREATE TABLE a (id integer PRIMARY KEY, b integer NOT NULL)")
    stage.run("CREATE TABLE b (id integer PRIMARY KEY, a integer NOT NULL REFERENCES a)")
    stage.run("ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b")
    a = table("a", {"id": "integer", "b": "integer"}, "id")
    b = table("b", {"id": "integer", "a": "integer"}, "id")
    of_a, of_b = [row("1", "1"), row("2", "9")], [row("1", "1"), row("2", "2")]
    first, second = stage.merge(stage.bundle((a, of_a), (b, of_b))).tables
    assert stage.run("SELECT * FROM a, b") == [(1, 1, 1, 1)]
    assert first.fates == second.fates == {"inserted": 1, "left": 1}


def test_a_table_that_refers_to_itself_comes_back_in_any_order(stage: Stage) -> None:
    stage.run("CREATE TABLE t (id integer PRIMARY KEY, up integer REFERENCES t)")
    t = table("t", {"id": "integer", "up": "integer"}, "id")
    rows = [row(str(i), str(i + 1)) for i in range(1500)] + [row("1500", "0"), row("1501", "8888")]
    outcome = stage.one(stage.bundle((t, rows)))
    assert outcome.fates == {"inserted": 1501, "left": 1}


def test_a_row_that_does_not_fit_is_left_and_the_others_come_back(stage: Stage) -> None:
    stage.run(
        "CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE t (id integer PRIMARY KEY, u text UNIQUE,"
        " m mood, n integer CHECK (n > 0), w varchar(3) NOT NULL DEFAULT '')"
    )
    stage.run("INSERT INTO t VALUES (1, 'taken')")
    t = table(
        "t",
        {"id": "integer", "u": "text", "m": "mood", "n": "integer", "w": "character varying(9)"},
        "id",
    )
    rows = [row(str(i), f"u{i}", "ok", "1", "abc") for i in range(10, 40)]
    rows[3] = row("13", "taken", "ok", "1", "")
    rows[5] = row("15", "u15", "great", "1", "")
    rows[7] = row("17", "u17", "ok", "0", "")
    rows[9] = row("19", "u19", "ok", "1", "abcd")
    rows[11] = row("21", "u21", "ok", "1", None)
    outcome = stage.one(stage.bundle((t, rows)))
    assert outcome.fates == {"inserted": 25, "left": 5}
    assert outcome.left["another row has a value of it that must be unique"] == 1
    assert outcome.left["a check refuses it: t_n_check"] == 1
    assert stage.run("SELECT count(*) FROM t WHERE id IN (13, 15, 17, 19, 21)") == [(0,)]


def test_triggers_of_the_application_do_not_fire_and_are_on_again(pets: Stage) -> None:
    pets.run(
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN NEW.name := upper(NEW.name); RETURN NEW; END$$"
    )
    pets.run(
        "CREATE TRIGGER loud BEFORE INSERT OR UPDATE ON pets FOR EACH ROW EXECUTE FUNCTION shout()"
    )
    pets.run("CREATE TRIGGER off BEFORE INSERT ON pets FOR EACH ROW EXECUTE FUNCTION shout()")
    pets.run("ALTER TABLE pets DISABLE TRIGGER off")
    pets.merge(pets.bundle((PETS, [row("1", "Rex", "1")])))
    assert pets.run("SELECT name FROM pets") == [("Rex",)]
    assert pets.run("SELECT tgname, tgenabled FROM pg_trigger ORDER BY 1") == [
        ("loud", "O"),
        ("off", "D"),
    ]


def test_values_are_compared_as_the_present_type_has_them(stage: Stage) -> None:
    """The column is numeric(6,2) now: 5 is still the value of then, and 1.125 does not fit."""
    stage.run("CREATE TABLE t (id bigint PRIMARY KEY, price numeric(6,2))")
    stage.run("INSERT INTO t VALUES (1, 5), (2, 5)")
    t = table("t", {"id": "integer", "price": "numeric"}, "id")
    rows = [
        row("1", "7.5", base={"id": "1", "price": "5"}),
        row("2", "1.125", base={"id": "2", "price": "5"}),
    ]
    outcome = stage.one(stage.bundle((t, rows)))
    assert stage.run("SELECT id, price::text FROM t ORDER BY 1") == [(1, "7.50"), (2, "5.00")]
    assert outcome.left == {"the type of price would round it": 1}


def test_computed_columns_are_computed(stage: Stage) -> None:
    stage.run(
        "CREATE TABLE t (id integer PRIMARY KEY, twice integer GENERATED ALWAYS AS (id * 2) STORED)"
    )
    t = table("t", {"id": "integer", "twice": "integer"}, "id")
    assert stage.one(stage.bundle((t, [row("4", "8")]))).fates == {"inserted": 1}
    assert stage.run("SELECT * FROM t") == [(4, 8)]


def test_a_deletion_is_no_failure_where_nothing_can_be_deleted(stage: Stage) -> None:
    stage.run("CREATE TABLE log (x integer); INSERT INTO log VALUES (1)")
    gone = table("gone", {"x": "integer"}, "x")
    log = table("log", {"x": "integer"})
    deleted = [row("1", kind="deleted")]
    merged = stage.merge(stage.bundle((gone, deleted), (log, deleted)))
    assert not merged.left
    assert [dict(one.fates) for one in merged.tables] == [{"nothing": 1}, {"kept": 1}]


def test_settings_of_the_callers_transaction_are_as_they_were(pets: Stage) -> None:
    reader = pets.bundle((PETS, [row("1", "Rex", "1")]))
    with pets.connected() as connection:
        connection.execute("SET LOCAL search_path = public; SET LOCAL datestyle = 'German, DMY'")
        merge(connection, reader, now=NOW, place="here")
        shown = connection.execute("SELECT current_setting('search_path'), name FROM pets")
        assert shown.fetchall() == [("public", "Rex")]
        assert connection.execute("SHOW datestyle").fetchone() == ("German, DMY",)


def test_it_never_commits_and_wants_a_transaction(pets: Stage) -> None:
    reader = pets.bundle((PETS, [row("1", "Rex", "1")]))
    with pets.connected() as connection:
        connection.autocommit = True
        with pytest.raises(ValueError, match="in a transaction"):
            merge(connection, reader, now=NOW, place="here")
    assert pets.run("SELECT * FROM pets") == []


def test_others_who_write_the_same_rows_wait_and_lose_nothing(pets: Stage) -> None:
    """Between looking at a row and writing it nobody else can change it."""
    pets.run("INSERT INTO pets VALUES (1, 'Old', 1)")
    base = {"id": "1", "name": "Old", "age": "1"}
    reader = pets.bundle((PETS, [row("1", "Rex", "3", base=base)]))
    with pets.connected() as connection:
        merge(connection, reader, now=NOW, place="here")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            pets.run("SET lock_timeout = 100; UPDATE pets SET name = 'Newest' WHERE id = 1")
    pets.run("UPDATE pets SET name = 'Newest' WHERE id = 1")
    assert pets.run("SELECT * FROM pets") == [(1, "Newest", 3)]


def test_values_that_a_cast_to_text_spells_otherwise_are_the_same_values(stage: Stage) -> None:
    """true and t, 10.0.0.1/32 and 10.0.0.1, a char(4) without its spaces."""
    columns = {"id": "integer", "b": "boolean", "i": "inet", "c": "character(4)", "x": "text"}
    stage.run("CREATE DOMAIN yes AS boolean")
    stage.run("CREATE TABLE t (id integer PRIMARY KEY, b yes, i inet, c char(4), x text)")
    stage.run("INSERT INTO t VALUES (1, true, '10.0.0.1', 'ab', 'o'), (2, false, NULL, '', 'o')")
    then = {"b": "false", "i": None, "c": "", "x": "o"}
    rows = [
        row("1", "true", "10.0.0.1/32", "ab", "new", base={"x": "o", "b": "true"}),
        row("2", "true", "10.0.0.2/32", "cd", "o", base=then),
        row("3", "true", "10.0.0.3/32", "too long", "o"),
    ]
    outcome = stage.one(stage.bundle((table("t", columns, "id"), rows)))
    assert outcome.newer_values == 0
    assert stage.run("SELECT id, b, host(i), c, x FROM t ORDER BY 1") == [
        (1, True, "10.0.0.1", "ab  ", "new"),
        (2, True, "10.0.0.2", "cd  ", "o"),
    ]
    assert outcome.fates == {"updated": 2, "left": 1}


def test_a_base_that_the_present_type_does_not_know_is_no_obstacle(stage: Stage) -> None:
    stage.run("CREATE TYPE mood AS ENUM ('good', 'better')")
    stage.run("CREATE TABLE t (id integer PRIMARY KEY, m mood)")
    stage.run("INSERT INTO t VALUES (1, 'good'), (2, 'good')")
    columns = {"id": "integer", "m": "text"}
    rows = [row("1", "better", base={"m": "gone"}), row("2", "better", base={"m": "good"})]
    outcome = stage.one(stage.bundle((table("t", columns, "id"), rows)))
    assert stage.run("SELECT m::text FROM t ORDER BY id") == [("good",), ("better",)]
    assert outcome.fates == {"newer": 1, "updated": 1}
