"""The demo's own count of bookings: one that is lost is missed, wherever it should have been."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from taly.cli.demo_bookings import account, told
from taly.database.rescue.bundle import Bundle, RescuedTable

TABLES = """
CREATE TABLE bookings (id int PRIMARY KEY, price_cents int, note text);
INSERT INTO bookings VALUES (1, 100, 'one'), (2, 200, 'two'), (3, 300, 'three');
"""


def request(number: int, kind: str, row: int, outcome: str = "acknowledged", **wrote: Any) -> Any:
    table = "refunds" if kind == "refund" else "bookings"
    return {
        **{"number": number, "kind": kind, "table": table, "id": row},
        **{"outcome": outcome, "wrote": wrote},
    }


@pytest.fixture
def database(postgres_url: str) -> str:
    with psycopg.connect(postgres_url) as connection:
        connection.execute(TABLES)
    return postgres_url


def rescued(base: Path, *, done: bool = True) -> None:
    bundle = Bundle.begin(
        base,
        run="run-1",
        step="restore:database",
        component="database",
        environment="production",
        place="here",
        now=datetime.now(UTC),
    )
    columns = ("id", "price_cents", "remarks")
    types = ("integer", "integer", "text")
    table = RescuedTable(
        schema="public", name="bookings", columns=columns, types=types, key=("id",)
    )
    bundle.table(table).add("row", ("9", "900", "nine"), why="status waitlisted")
    bundle.finish()
    if done:
        bundle.confirm()


def test_rows_are_counted_where_they_are(database: str, tmp_path: Path) -> None:
    rescued(tmp_path)
    rows = told(
        [
            request(1, "book", 1, note="one", price_cents=100),
            request(2, "book", 9, note="nine", price_cents=900, waitlist=True),
            request(3, "book", 4, outcome="failed", note="four", price_cents=400),
        ]
    )
    found = account(rows, database, tmp_path)
    assert (found.told, found.in_database, found.rescued, found.missing) == (2, 1, 1, [])
    assert found.whole
    assert str(found) == "of 2: 1 in the database, 1 in the rescue bundle"


@pytest.mark.parametrize(
    "lost",
    [
        request(1, "book", 7, note="seven", price_cents=700),
        request(1, "book", 1, note="another", price_cents=100),
        request(1, "book", 1, note="one", price_cents=101),
        request(1, "refund", 1, booking_id=1, cents=5),
        request(1, "book", 9, note="ninety", price_cents=900),
    ],
)
def test_what_is_gone_or_reads_otherwise_is_missing(
    database: str, tmp_path: Path, lost: Any
) -> None:
    rescued(tmp_path)
    found = account(told([lost]), database, tmp_path)
    assert not found.whole
    assert "1 MISSING" in str(found)


def test_a_bundle_of_a_change_that_was_not_made_holds_nothing(
    database: str, tmp_path: Path
) -> None:
    rescued(tmp_path, done=False)
    rows = told([request(1, "book", 9, note="nine", price_cents=900)])
    assert not account(rows, database, tmp_path).whole


def test_the_last_that_was_acknowledged_counts(database: str, tmp_path: Path) -> None:
    first = request(1, "book", 2, note="first", price_cents=200)
    second = request(2, "change", 2, note="two")
    assert account(told([first, second]), database, tmp_path).whole
    assert not account(told([first]), database, tmp_path).whole
    third = request(3, "change", 2, outcome="failed", note="three")
    assert account(told([first, third]), database, tmp_path).whole, "it may have been written"
    gone = request(4, "change", 8, outcome="declined", note="nobody's")
    assert len(told([first, second, gone])) == 1


def test_nothing_told_proves_nothing(database: str, tmp_path: Path) -> None:
    assert not account([], database, tmp_path).whole
