"""The Taly backend as an image holds it: a small real HTTP application at one version.

`python -m taly.sandbox.backend --port P --commit C --outcome ok|broken [--schema-version N |
--columns a,b,c] [--until-stdin-closes]`, with DATABASE_URL in the environment. It prints `ready`
once it listens.

- `GET /health` → 200 `{"status": "ok", "version": C, "database": "ok"}`, else 500 with `failing`.
- `GET /bookings` → the twenty next bookings; `POST /bookings` (`customer_id`, `starts_at`,
  `price_cents`, all optional) → 201 and the new row.
- `--outcome broken`: it listens, and /health and /bookings answer 500.

Like a generated Prisma client, each version reads exactly the columns it was built with, by name
and type, and throws on an enum value that it does not know: old code on a new schema really fails.
"""

import argparse
import json
import os
import sys
import threading
from collections.abc import Sequence
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg.sql import SQL, Composed, Identifier

BASE_COLUMNS = ("id", "customer_id", "starts_at", "status", "price_cents")
COLUMNS_OF = {
    1: BASE_COLUMNS,
    2: (*BASE_COLUMNS, "note"),
    3: (*BASE_COLUMNS, "note", "channel"),
    4: (*BASE_COLUMNS, "note", "channel", "currency"),
}
"""Schema version → the columns of `bookings` that code of that version reads."""
TYPES = {"id": int, "customer_id": int, "starts_at": datetime, "price_cents": int}
STATUSES = frozenset({"requested", "confirmed", "cancelled"})


class Application:
    """One version of the backend: what it is called, what it reads, whether it works."""

    def __init__(self, *, commit: str, columns: Sequence[str], broken: bool, url: str) -> None:
        self.commit = commit
        self._columns = tuple(columns)
        self._broken = broken
        self._url = url

    def health(self) -> tuple[int, dict[str, Any]]:
        """Status and body for GET /health, after a real read with this version's columns."""
        try:
            self.bookings()
        except (psycopg.Error, ApplicationError) as error:
            said = " ".join(str(error).split())[:200]
            database = "error" if isinstance(error, psycopg.Error) else "ok"
            body = {"status": "failing", "version": self.commit, "database": database}
            return 500, {**body, "error": said}
        return 200, {"status": "ok", "version": self.commit, "database": "ok"}

    def bookings(self) -> list[DictRow]:
        """The twenty next bookings; raises psycopg.Error, ApplicationError."""
        if self._broken:
            raise ApplicationError("cannot read properties of undefined (reading 'total')")
        query = SQL("SELECT {} FROM bookings ORDER BY id DESC LIMIT 20").format(self._names())
        with psycopg.connect(self._url, connect_timeout=5, row_factory=dict_row) as connection:
            return [decoded(row) for row in connection.execute(query)]

    def book(self, asked: dict[str, Any]) -> DictRow:
        """Create a booking and return it; raises psycopg.Error, ApplicationError."""
        if self._broken:
            raise ApplicationError("cannot read properties of undefined (reading 'total')")
        query = SQL(
            "INSERT INTO bookings (customer_id, starts_at, price_cents) VALUES"
            " (COALESCE(%s, (SELECT min(id) FROM customers)), COALESCE(%s::timestamp, now()), %s)"
            " RETURNING {}"
        ).format(self._names())
        values = (asked.get("customer_id"), asked.get("starts_at"), asked.get("price_cents", 0))
        with psycopg.connect(self._url, connect_timeout=5, row_factory=dict_row) as connection:
            row = connection.execute(query, values).fetchone()
        assert row is not None, "RETURNING gives one row"
        return decoded(row)

    def _names(self) -> Composed:
        return SQL(", ").join(map(Identifier, self._columns))


class ApplicationError(Exception):
    """The code itself fails: a bug of this version, or a value that its client cannot read."""


def decoded(row: DictRow) -> DictRow:
    """The row, if a client generated for these columns can read it; ApplicationError if not."""
    for name, value in row.items():
        if name in TYPES and not isinstance(value, TYPES[name]):
            raise ApplicationError(f"inconsistent column data: {name} holds {value!r}")
    status = row.get("status")
    if status is not None and status not in STATUSES:
        raise ApplicationError(f"value {status!r} not found in enum 'booking_status'")
    return row


class Handler(BaseHTTPRequestHandler):
    """HTTP around one Application."""

    application: Application
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Serve /, /health and /bookings."""
        if self.path == "/health":
            self._answer(*self.application.health())
        elif self.path == "/bookings":
            self._run(200, self.application.bookings)
        elif self.path == "/":
            self._answer(200, {"service": "taly-backend", "version": self.application.commit})
        else:
            self._answer(404, {"error": "not found"})

    def do_POST(self) -> None:
        """Create a booking."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/bookings":
            self._answer(404, {"error": "not found"})
            return
        try:
            asked = json.loads(body or b"{}")
        except ValueError:
            self._answer(400, {"error": "the body is not JSON"})
            return
        self._run(201, lambda: self.application.book(asked))

    def _run(self, status: int, work: Any) -> None:
        try:
            answer = work()
        except (psycopg.Error, ApplicationError) as error:
            self._answer(500, {"error": " ".join(str(error).split())[:200]})
            return
        self._answer(status, answer)

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body, default=str).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the vendor keeps the access log."""


class Server(ThreadingHTTPServer):
    """Answers each request in a thread that does not keep the process alive."""

    daemon_threads = True
    request_queue_size = 64


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m taly.sandbox.backend")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--commit", required=True)
    parser.add_argument("--outcome", choices=("ok", "broken"), default="ok")
    parser.add_argument("--schema-version", type=int, choices=sorted(COLUMNS_OF), default=1)
    parser.add_argument("--columns", help="comma-separated; instead of the version's own")
    parser.add_argument("--until-stdin-closes", action="store_true")
    options = parser.parse_args(arguments)
    columns = options.columns.split(",") if options.columns else COLUMNS_OF[options.schema_version]
    Handler.application = Application(
        commit=options.commit,
        columns=columns,
        broken=options.outcome == "broken",
        url=os.environ.get("DATABASE_URL", ""),
    )
    server = Server(("127.0.0.1", options.port), Handler)
    if options.until_stdin_closes:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    print("ready", flush=True)
    server.serve_forever()


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
