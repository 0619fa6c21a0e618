"""The Taly backend as an image holds it: a small real HTTP application at one version.

`python -m taly.sandbox.backend --port P --commit C --outcome ok|broken [--fails all|lists]
[--schema-version N | --columns a,b,c] [--until-stdin-closes]`, with DATABASE_URL in the
environment. It prints `ready` once it listens.

- `GET /health` → 200 `{"status": "ok", "version": C, "database": "ok"}`, else 500 with `failing`.
- `GET /bookings` → the twenty next bookings; `POST /bookings` (`customer_id`, `starts_at`,
  `price_cents`, `note`, `waitlist`, all optional) → 201 and the new row.
- `PATCH /bookings/ID` (`note`, `status`) → 200 and the row; `POST /refunds` (`booking_id`, `cents`)
  → 201, or 404 where this version has no refunds.
- `--outcome broken`: it listens, and all but `/` answers 500; with `--fails lists` only what reads
  bookings does (/health too), and bookings are still taken.
"""

import argparse
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg

from taly.sandbox.bookings import VERSIONS, ApplicationError, Bookings, NotThere, version_of


class Handler(BaseHTTPRequestHandler):
    """HTTP around one version of the code."""

    commit: str
    bookings: Bookings
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Serve /, /health and /bookings."""
        if self.path == "/health":
            self._answer(*self._health())
        elif self.path == "/bookings":
            self._run(200, self.bookings.listed)
        elif self.path == "/":
            self._answer(200, {"service": "taly-backend", "version": self.commit})
        else:
            self._answer(404, {"error": "not found"})

    def do_POST(self) -> None:
        """Take a booking or give a refund."""
        work = {"/bookings": self.bookings.book, "/refunds": self.bookings.refund}.get(self.path)
        self._write(201, work)

    def do_PATCH(self) -> None:
        """Change a booking."""
        found = re.fullmatch(r"/bookings/([0-9]{1,9})", self.path)
        work = (lambda asked: self.bookings.change(int(found[1]), asked)) if found else None
        self._write(200, work)

    def _write(self, status: int, work: Callable[[dict[str, Any]], Any] | None) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if work is None:
            self._answer(404, {"error": "not found"})
            return
        try:
            asked = json.loads(body or b"{}")
        except ValueError:
            self._answer(400, {"error": "the body is not JSON"})
            return
        self._run(status, lambda: work(asked))

    def _health(self) -> tuple[int, dict[str, Any]]:
        """Status and body, after a real read with this version's columns."""
        try:
            self.bookings.listed()
        except (psycopg.Error, ApplicationError) as error:
            database = "error" if isinstance(error, psycopg.Error) else "ok"
            body = {"status": "failing", "version": self.commit, "database": database}
            return 500, {**body, "error": _said(error)}
        return 200, {"status": "ok", "version": self.commit, "database": "ok"}

    def _run(self, status: int, work: Callable[[], Any]) -> None:
        try:
            answer = work()
        except NotThere as error:
            self._answer(404, {"error": _said(error)})
        except (psycopg.Error, ApplicationError) as error:
            self._answer(500, {"error": _said(error)})
        else:
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
    parser.add_argument("--fails", choices=("all", "lists"), default="all")
    parser.add_argument("--schema-version", type=int, choices=sorted(VERSIONS), default=1)
    parser.add_argument("--columns", help="comma-separated; instead of the version's own")
    parser.add_argument("--until-stdin-closes", action="store_true")
    options = parser.parse_args(arguments)
    columns = options.columns.split(",") if options.columns else ()
    Handler.commit = options.commit
    Handler.bookings = Bookings(
        version_of(options.schema_version, columns),
        os.environ.get("DATABASE_URL", ""),
        options.fails if options.outcome == "broken" else "",
    )
    server = Server(("127.0.0.1", options.port), Handler)
    if options.until_stdin_closes:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    print("ready", flush=True)
    server.serve_forever()


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
