"""Rows written since, on a real PostgreSQL: by xmin, of one moment, within a time limit."""

from collections.abc import Callable

import psycopg
import pytest
from tests.contract.test_outlook_ways import DROP, LABEL, RENAME, Scene, count, scene

from taly.database import counts as counting
from taly.database.connection import reading
from taly.database.counts import Question, counts
from taly.database.misfits import Misfit

__all__ = ["scene"]
"""A fixture that is used by its name."""

WIDEN = """
ALTER TABLE bookings ADD COLUMN channel TEXT NOT NULL DEFAULT 'web';
ALTER TABLE bookings ADD COLUMN note TEXT;
ALTER TABLE bookings ALTER COLUMN price_cents TYPE NUMERIC(10, 2);
CREATE TABLE refunds (id SERIAL PRIMARY KEY, cents INTEGER);
"""


def asked(made: Scene, **question: object) -> dict[str, tuple[int, bool]]:
    with reading(made.stage.target) as connection:
        found = counts(connection, Question(misfits={}, known=True, **question))
    return {one.table: (one.written, one.exact) for one in found}


def xid(made: Scene) -> int:
    """The transaction that begins now."""
    return int(made.stage.run("SELECT pg_current_xact_id()::text::bigint")[0][0])


def test_what_the_migration_wrote_itself_is_nobodys_work(scene: Callable[..., Scene]) -> None:
    made = scene()
    made.stage.migration("20260102000000_all", f"{RENAME} UPDATE bookings SET room = 'x'; {DROP}")
    made.stage.checkpoint("none")
    made.deploy()
    whole = count(made.outlook(), "bookings")
    assert whole is not None
    assert whole.written == 100, "without the end of the window all look written"
    made.stage.after()
    assert count(made.outlook(), "bookings") is None
    made.stage.run("UPDATE bookings SET price_minor = 1 WHERE id <= 3")
    said = count(made.outlook(), "bookings")
    assert said is not None
    assert (said.written, said.exact) == (3, True)


def test_without_a_checkpoint_the_ledger_tells_when_the_migration_was_finished(
    scene: Callable[..., Scene],
) -> None:
    made = scene()
    made.migrate("20260102000000_rename", f"{RENAME} UPDATE bookings SET room = 'x';")
    assert made.outlook().counts == ()
    made.stage.run("INSERT INTO customers (name) VALUES ('Ada'), ('Ben')")
    said = count(made.outlook(), "customers")
    assert said is not None
    assert (said.written, said.rescued) == (2, None)


def test_what_has_no_place_is_counted_with_its_reason(scene: Callable[..., Scene]) -> None:
    made = scene()
    made.stage.migration("20260102000000_widen", WIDEN)
    made.stage.checkpoint("template")
    made.deploy()
    made.stage.after()
    made.stage.run("UPDATE bookings SET price_cents = 5 WHERE id <= 10")
    made.stage.run("UPDATE bookings SET note = 'x', channel = 'app' WHERE id <= 4")
    made.stage.run("UPDATE bookings SET price_cents = 1.5 WHERE id IN (9, 10)")
    made.stage.run("INSERT INTO refunds (cents) VALUES (1), (2), (3)")
    found = made.outlook()
    bookings, refunds = count(found, "bookings"), count(found, "refunds")
    assert bookings is not None
    assert refunds is not None
    assert (bookings.written, bookings.rescued) == (10, 6), "a default and a whole price fit"
    assert "channel, note" in bookings.why
    assert "price_cents" in bookings.why
    assert (refunds.written, refunds.rescued) == (3, 3)
    assert "no such table" in refunds.why


def test_values_that_a_migration_computed_anew_need_a_yes_or_a_hint(
    scene: Callable[..., Scene],
) -> None:
    made = scene()
    made.stage.migration("20260102000000_x10", "UPDATE bookings SET price_cents = price_cents * 10")
    made.stage.checkpoint("none")
    made.deploy()
    (said,) = made.outlook().conversions
    assert "price_cents" in said
    hint = '{"bookings.price_cents": {"transform": "price_cents / 10"}}'
    assert Scene(made.stage, hints=hint).outlook().conversions == ()


@pytest.mark.parametrize("hint", ["no json", '{"bookings.room": {"wat": 1}}'])
def test_a_hint_that_is_none_is_said_and_not_passed_over(
    scene: Callable[..., Scene], hint: str
) -> None:
    made = scene()
    made.stage.migration("20260102000000_label", LABEL)
    made.stage.checkpoint("none")
    made.deploy()
    with pytest.raises(Exception, match="hint"):
        Scene(made.stage, hints=hint).outlook()


def test_transaction_ids_are_compared_on_their_circle(scene: Callable[..., Scene]) -> None:
    """Plain >= takes what was written before the wrap for new, and what came after for old."""
    made = scene()
    now = xid(made)
    made.stage.run("UPDATE customers SET name = 'x' WHERE id <= 5")
    assert asked(made, since=now) == {"public.customers": (5, True)}
    for circles in (1, 7):
        assert asked(made, since=now + circles * 2**32) == {"public.customers": (5, True)}
    assert asked(made, since=now + 2**31 - 1000) == {}, "those would be from the future"
    just_before_the_wrap = asked(made, since=2**32 - 10)
    assert just_before_the_wrap["public.customers"] == (50, True), "all came after it"


def test_a_table_that_there_is_no_time_for_is_estimated(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene()
    now = xid(made)
    made.stage.run("UPDATE customers SET name = 'x' WHERE id <= 5")
    made.stage.run("ANALYZE")
    monkeypatch.setattr(counting, "LIMIT_S", 0.0)
    found = asked(made, since=now)
    assert found
    assert not any(exact for _, exact in found.values())
    assert all(rows <= 200 for rows, _ in found.values()), "at most what there is"


def test_a_slow_count_is_stopped_and_the_others_go_on(scene: Callable[..., Scene]) -> None:
    made = scene()
    now = xid(made)
    made.stage.run("UPDATE customers SET name = 'x'; UPDATE bookings SET room = 'x'")
    slow = Misfit(condition="(SELECT pg_sleep(60)) IS NOT NULL", why="")
    with reading(made.stage.target) as connection:
        question = Question(since=now, misfits={("public", "bookings"): slow}, known=True)
        found = {one.table: one.exact for one in counts(connection, question)}
    assert found["public.customers"]
    assert found.get("public.bookings", False) is False


def test_an_expression_that_fails_costs_only_its_own_count(scene: Callable[..., Scene]) -> None:
    made = scene()
    now = xid(made)
    made.stage.run("UPDATE customers SET name = 'x' WHERE id <= 5")
    broken = Misfit(condition="1 / (s.id - 1) = 1", why="")
    with reading(made.stage.target) as connection:
        question = Question(since=now, misfits={("public", "customers"): broken}, known=True)
        (one,) = counts(connection, question)
    assert (one.written, one.exact, one.rescued) == (5, True, None)


def test_all_counts_are_of_one_moment(scene: Callable[..., Scene]) -> None:
    made = scene()
    now = xid(made)
    made.stage.run("UPDATE bookings SET room = 'x' WHERE id <= 5")
    with reading(made.stage.target) as connection:
        connection.execute("SELECT 1")
        with psycopg.connect(made.stage.url, autocommit=True) as other:
            other.execute("UPDATE bookings SET room = 'y'; DELETE FROM customers")
        (one,) = counts(connection, Question(since=now, misfits={}, known=True))
    assert (one.table, one.written) == ("public.bookings", 5)
