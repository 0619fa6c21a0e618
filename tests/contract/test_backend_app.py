"""The emulated backend image: it really listens, really reads, and old code really fails."""

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

TABLES = """
CREATE TYPE booking_status AS ENUM ('requested', 'confirmed', 'cancelled');
CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL);
CREATE TABLE bookings (id serial PRIMARY KEY, customer_id int NOT NULL, starts_at timestamp(3)
  NOT NULL, status booking_status NOT NULL DEFAULT 'requested', price_cents int NOT NULL);
INSERT INTO customers (name) VALUES ('Ada');
INSERT INTO bookings (customer_id, starts_at, price_cents) VALUES (1, now(), 4200);
"""
Ask = Callable[..., tuple[int, Any]]
Start = Callable[..., Ask]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def database(postgres_url: str) -> str:
    """A database with the tables of schema version 1."""
    with psycopg.connect(postgres_url) as connection:
        connection.execute(TABLES)
    return postgres_url


@pytest.fixture
def start(database: str) -> Iterator[Start]:
    """Starts the application with some arguments; gives the function that asks it."""
    processes: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, commit: str = "c0ffee1") -> Ask:
        port = free_port()
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "taly.sandbox.backend", "--port", str(port)),
                *("--commit", commit, "--until-stdin-closes", *arguments),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "DATABASE_URL": database},
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

        def ask(path: str, body: dict[str, Any] | None = None, method: str = "") -> tuple[int, Any]:
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}{path}", data, method=method or None
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as reply:
                    return reply.status, json.load(reply)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, json.load(error)

        return ask

    yield begin
    for process in processes:
        process.communicate(timeout=10)


def test_healthy_version_names_itself_and_its_database(start: Start) -> None:
    status, body = start("--outcome", "ok")("/health")
    assert (status, body) == (200, {"status": "ok", "version": "c0ffee1", "database": "ok"})


def test_bookings_are_read_and_written_in_the_real_database(start: Start, database: str) -> None:
    ask = start()
    assert [row["price_cents"] for row in ask("/bookings")[1]] == [4200]
    status, made = ask("/bookings", {"price_cents": 1900})
    assert (status, made["status"]) == (201, "requested")
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT price_cents FROM bookings ORDER BY id").fetchall()
    assert rows == [(4200,), (1900,)]


def test_broken_listens_and_fails(start: Start) -> None:
    ask = start("--outcome", "broken")
    assert ask("/health")[0] == 500
    assert ask("/health")[1]["status"] == "failing"
    assert ask("/bookings")[0] == 500
    assert ask("/bookings", {})[0] == 500
    assert ask("/")[0] == 200


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE bookings RENAME COLUMN starts_at TO begins_at",
        "ALTER TABLE bookings DROP COLUMN price_cents",
        "ALTER TABLE bookings RENAME TO appointments",
        "ALTER TABLE bookings ALTER price_cents TYPE text",
        "ALTER TYPE booking_status ADD VALUE 'no_show'; COMMIT;"
        " UPDATE bookings SET status = 'no_show'",
    ],
)
def test_old_code_on_an_incompatible_schema_fails(start: Start, database: str, change: str) -> None:
    ask = start()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(change)
    status, body = ask("/health")
    assert status == 500
    assert body["status"] == "failing"
    assert "SANDBOXSECRET" not in json.dumps(body)


def test_old_code_on_an_added_column_works(start: Start, database: str) -> None:
    ask = start()
    with psycopg.connect(database) as connection:
        connection.execute("ALTER TABLE bookings ADD COLUMN note text")
    assert ask("/health")[0] == 200


def test_new_code_needs_its_column(start: Start, database: str) -> None:
    ask = start("--schema-version", "2")
    assert ask("/health")[0] == 500
    with psycopg.connect(database) as connection:
        connection.execute("ALTER TABLE bookings ADD COLUMN note text")
    assert ask("/health")[0] == 200


def test_columns_can_be_named(start: Start) -> None:
    assert start("--columns", "id,begins_at")("/health")[0] == 500
    assert start("--columns", "id,starts_at")("/health")[0] == 200


def test_it_answers_while_the_database_is_gone(start: Start, database: str) -> None:
    ask = start()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER ROLE taly NOLOGIN")
        try:
            assert ask("/health")[0] == 500
        finally:
            connection.execute("ALTER ROLE taly LOGIN")
    assert ask("/health")[0] == 200


def test_unknown_paths_are_not_found(start: Start) -> None:
    ask = start()
    assert ask("/nothing")[0] == 404
    assert ask("/nothing", {})[0] == 404


WAITING_LIST = """
ALTER TYPE booking_status ADD VALUE 'waitlisted';
ALTER TABLE bookings RENAME COLUMN note TO remarks;
ALTER TABLE bookings DROP COLUMN channel;
CREATE TABLE refunds (id serial PRIMARY KEY, booking_id int NOT NULL REFERENCES bookings (id),
  cents int NOT NULL);
"""


@pytest.fixture
def waiting_list(database: str) -> Callable[[], None]:
    """Brings the schema from version 3 to version 5."""
    with psycopg.connect(database) as connection:
        connection.execute("ALTER TABLE bookings ADD COLUMN note text, ADD COLUMN channel text")

    def migrate() -> None:
        with psycopg.connect(database) as connection:
            connection.execute(WAITING_LIST)

    return migrate


def test_a_release_that_shows_no_bookings_still_takes_them(
    start: Start, waiting_list: Callable[[], None]
) -> None:
    waiting_list()
    ask = start("--outcome", "broken", "--fails", "lists", "--schema-version", "5")
    assert (ask("/health")[0], ask("/bookings")[0]) == (500, 500)
    status, made = ask("/bookings", {"note": "by the window", "waitlist": True})
    assert (status, made["remarks"], made["status"]) == (201, "by the window", "waitlisted")
    status, changed = ask(f"/bookings/{made['id']}", {"note": "outside"}, "PATCH")
    assert (status, changed["remarks"]) == (200, "outside")
    status, refund = ask("/refunds", {"booking_id": made["id"], "cents": 900})
    assert (status, refund["cents"]) == (201, 900)


def test_each_version_writes_its_own_columns(
    start: Start, waiting_list: Callable[[], None]
) -> None:
    ask = start("--schema-version", "3")
    status, made = ask("/bookings", {"note": "by the window", "waitlist": True})
    assert (status, made["note"], made["status"]) == (201, "by the window", "requested")
    assert ask("/refunds", {"booking_id": made["id"], "cents": 900})[0] == 404
    assert ask("/bookings/999999", {"note": "nobody's"}, "PATCH")[0] == 404
    status, _ = ask(f"/bookings/{made['id']}", {"status": "waitlisted"}, "PATCH")
    assert status == 500
    waiting_list()
    assert ask("/bookings", {"note": "by the window"})[0] == 500


def test_old_code_cannot_read_what_the_new_one_wrote(
    start: Start, waiting_list: Callable[[], None], database: str
) -> None:
    """A column that it reads is gone; and where it were back, a status that it does not know."""
    waiting_list()
    assert start("--schema-version", "5")("/bookings", {"waitlist": True})[0] == 201
    ask = start("--schema-version", "3")
    assert "note" in ask("/health")[1]["error"]
    with psycopg.connect(database) as connection:
        connection.execute("ALTER TABLE bookings RENAME COLUMN remarks TO note")
        connection.execute("ALTER TABLE bookings ADD COLUMN channel text")
    assert "waitlisted" in ask("/health")[1]["error"]
