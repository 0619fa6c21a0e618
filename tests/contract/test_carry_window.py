"""What the migration itself wrote is not taken for the users' work, nor lost."""

from tests.contract.carry_stage import Stage, side_url, stage

from taly.database.carry.judging import WINDOW

__all__ = ["side_url", "stage"]

PRICES = "CREATE TABLE t (id int PRIMARY KEY, name text, price numeric)"
ROWS = "INSERT INTO t SELECT i, 'n' || i, i FROM generate_series(1, 10) i"


def test_naive_1_prices_multiplied_by_the_migration_are_not_carried(stage: Stage) -> None:
    stage.both(f"{PRICES}; {ROWS}")
    before = stage.side("SELECT * FROM t ORDER BY id")
    stage.backed_up()
    stage.live("UPDATE t SET price = price * 10")
    stage.migrated()
    stage.live("UPDATE t SET name = 'user' WHERE id = 3")
    done = stage.run()
    after = stage.side("SELECT * FROM t ORDER BY id")
    assert [row for row in after if row[0] != 3] == [row for row in before if row[0] != 3]
    assert after[2] == (3, "user", 30)  # nobody can tell what it was: a transform would say
    assert done.reasons("t") == {WINDOW}
    assert [row["id"] for row in done.rows("t")] == ["1", "10", "2", "4", "5", "6", "7", "8", "9"]
    assert all(one.base and one.base["price"] == one.base["id"] for one in done.rescued["t"])


def test_without_a_window_all_of_it_is_the_users_work(stage: Stage) -> None:
    stage.both(f"{PRICES}; {ROWS}")
    stage.backed_up()
    stage.live("UPDATE t SET price = price * 10")
    done = stage.run()
    assert stage.side("SELECT sum(price) FROM t") == [(550,)]
    assert done.table("t").carried == 10


def test_a_row_that_is_new_in_the_window_is_carried(stage: Stage) -> None:
    stage.both(f"{PRICES}; {ROWS}")
    stage.backed_up()
    stage.live("INSERT INTO t VALUES (11, 'new', 1)")
    stage.migrated()
    stage.run()
    assert stage.side("SELECT name FROM t WHERE id = 11") == [("new",)]


def test_what_only_the_conversion_changed_stays_as_in_the_backup(stage: Stage) -> None:
    stage.both(f"{PRICES}; {ROWS}")
    stage.backed_up()
    stage.live("ALTER TABLE t ALTER price TYPE text USING 'EUR ' || price * 10")
    stage.live("UPDATE t SET name = 'odd' WHERE id = 2")
    stage.migrated()
    stage.live("UPDATE t SET name = 'user' WHERE id = 3")
    read_back = "(substr(s.price, 5)::numeric)::text"
    done = stage.run(stage.correspondence({("t", "price"): ("price", read_back)}))
    assert stage.side("SELECT * FROM t WHERE id = 1") == [(1, "n1", 1)]
    assert stage.side("SELECT * FROM t WHERE id = 3") == [(3, "user", 30)]
    assert [row["id"] for row in done.rows("t")] == ["2"]
    assert done.rows("t")[0]["price"] == "EUR 20"
    assert (done.table("t").left, done.table("t").carried) == (8, 1)
    # The value as the user saw it is not lost: it reads differently now.
    assert done.rows("t", "columns") == [{"id": "3", "price": "EUR 30"}]


def test_a_table_without_a_key_that_only_the_migration_wrote_to(stage: Stage) -> None:
    stage.both("CREATE TABLE t (x int, y text)")
    stage.both("INSERT INTO t SELECT i % 5, 'a' FROM generate_series(1, 20) i")
    before = stage.side("SELECT x, y FROM t ORDER BY 1, 2")
    stage.backed_up()
    stage.live("UPDATE t SET x = x * 100 WHERE x > 3")
    stage.migrated()
    done = stage.run()
    assert stage.side("SELECT x, y FROM t ORDER BY 1, 2") == before
    assert done.rows("t") == [{"x": "400", "y": "a"}] * 4
    stage.live("INSERT INTO t VALUES (7, 'user')")
    stage.run()
    query = "SELECT x, y FROM t ORDER BY 1, 2"
    assert stage.side(query) == stage.live(query)
