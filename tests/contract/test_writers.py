"""The sandbox's customers: what they write down is what they were really told."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from taly.sandbox import writers as module
from taly.sandbox.writers import Request, Writers, digest


def until(holds: Callable[[], object], *, what: str, within_s: float = 20.0) -> None:
    """Return once it holds."""
    last = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < last, f"not within {within_s:g} s: {what}"
        time.sleep(0.01)


class Shop(ThreadingHTTPServer):
    """A backend that keeps every booking, and answers as it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        self.kept: dict[int, dict[str, Any]] = {}
        self.manner = "well"
        super().__init__(("127.0.0.1", 0), Desk)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A cut connection is what the test wants."""


class Desk(BaseHTTPRequestHandler):
    """One request: it is kept first, and answered then, if at all."""

    server: Shop

    def do_POST(self) -> None:
        """Keep it."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = len(self.server.kept) + 1
        if self.server.manner != "refuses":
            self.server.kept[number] = asked
        if self.server.manner == "cuts":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status = {"well": 201, "half": 201, "refuses": 500, "lacks": 404}[self.server.manner]
        body = json.dumps({"id": number, **asked}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: 8 if self.server.manner == "half" else None])

    def do_PATCH(self) -> None:
        """The same."""
        self.do_POST()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def shop() -> Iterator[Shop]:
    made = Shop()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def customers(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writers]:
    monkeypatch.setattr(module, "PAUSE_S", 0.005)
    url = f"http://127.0.0.1:{shop.server_port}"
    made = Writers(url, tmp_path / "writers.jsonl", lambda: datetime.now(UTC))
    yield made
    made.stop()


def made(customers: Writers, outcome: str) -> list[Request]:
    return [one for one in customers.requests() if one.outcome == outcome]


def test_an_acknowledged_booking_is_there_and_names_what_was_written(
    customers: Writers, shop: Shop, tmp_path: Path
) -> None:
    customers.start(4)
    assert customers.count == 4
    until(lambda: len(made(customers, "acknowledged")) >= 40, what="forty bookings")
    customers.stop()
    requests = customers.requests()
    assert {one.outcome for one in requests} == {"acknowledged"}
    assert {one.writer for one in requests} == {1, 2, 3, 4}
    assert {one.kind for one in requests} == {"book", "change", "refund"}
    for one in requests:
        if one.kind == "book":
            assert shop.kept[one.id] == one.wrote
        assert one.sha256 == digest(one.table, one.id, one.wrote)
    logged = (tmp_path / "writers.jsonl").read_text().splitlines()
    assert [json.loads(line)["sha256"] for line in logged] == [one.sha256 for one in requests]
    assert [one.number for one in requests] == list(range(1, len(requests) + 1))


@pytest.mark.parametrize("manner", ["cuts", "half"])
def test_a_write_whose_answer_is_lost_is_not_acknowledged(
    customers: Writers, shop: Shop, manner: str
) -> None:
    """It was written, and nobody can know: to count it as lost or as kept would be wrong."""
    shop.manner = manner
    customers.start(1)
    until(lambda: len(customers.requests()) >= 3, what="three requests")
    customers.stop()
    assert len(shop.kept) >= 3
    assert {(one.outcome, one.status, one.id) for one in customers.requests()} == {("failed", 0, 0)}


@pytest.mark.parametrize(("manner", "outcome"), [("refuses", "failed"), ("lacks", "declined")])
def test_a_refusal_is_no_acknowledgement(
    customers: Writers, shop: Shop, manner: str, outcome: str
) -> None:
    shop.manner = manner
    customers.start(1)
    until(lambda: len(customers.requests()) >= 3, what="three requests")
    customers.stop()
    assert {one.outcome for one in customers.requests()} == {outcome}


def test_nobody_there_is_a_failure_and_they_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.005)
    with socket.socket() as bound:  # bound and not listening: whoever connects is refused
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        customers = Writers(url, tmp_path / "writers.jsonl", lambda: datetime.now(UTC))
        customers.start(2)
        until(lambda: len(made(customers, "failed")) >= 6, what="failures")
        assert customers.count == 2
        customers.stop()
    assert made(customers, "acknowledged") == []


def test_they_can_be_ended_and_begin_again(customers: Writers) -> None:
    customers.start(2)
    until(customers.requests, what="a request")
    customers.start(0)
    assert customers.count == 0
    seen = len(customers.requests())
    customers.start(1)
    until(lambda: len(customers.requests()) > seen + 2, what="more requests")
    customers.stop()
    later = customers.requests(after=seen)
    assert [one.number for one in later][:3] == [seen + 1, seen + 2, seen + 3]
    assert {one.writer for one in later} == {1}
