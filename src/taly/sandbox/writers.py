"""Customers who keep booking, whatever happens: each answer that they got is written down."""

import hashlib
import http.client
import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

FILE = "writers.jsonl"
PAUSE_S = 0.4
"""Real seconds between a customer's answer and the next request."""
TIMEOUT_S = 15.0

Kind = Literal["book", "change", "refund"]
Outcome = Literal["acknowledged", "declined", "failed"]
"""acknowledged: the backend said that it is written. declined: 404, this version has no such thing,
or no such booking. failed: anything else; whether it was written is then not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A request that a customer is about to make."""

    kind: Kind
    body: Mapping[str, Any]
    booking: int = 0
    """The one to change; 0 = none."""

    @property
    def method(self) -> str:
        """Of HTTP."""
        return "PATCH" if self.kind == "change" else "POST"

    @property
    def path(self) -> str:
        """Where the backend takes it."""
        paths = {"book": "/bookings", "change": f"/bookings/{self.booking}", "refund": "/refunds"}
        return paths[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of a customer's, and what came of it."""

    number: int
    """1, 2, 3… in the order in which they ended."""
    writer: int
    kind: Kind
    outcome: Outcome
    at: str
    """When it began, on the sandbox's clock."""
    at_unix: float
    """When it began, in real seconds."""
    seconds: float
    """Real seconds until the answer."""
    status: int = 0
    """Of HTTP; 0 = no whole answer came."""
    said: str = ""
    """Why it failed."""
    table: str = ""
    id: int = 0
    """Of the row that was made or changed; 0 where it is not known."""
    wrote: Mapping[str, Any] = field(default_factory=dict)
    """What was asked to be written, by the names that the backend's HTTP has for it."""
    sha256: str = ""
    """Over table, id and what was written, as `digest` makes it."""


class Writers:
    """Some customers in threads; `start` and `stop` may be called again and again."""

    def __init__(self, url: str, log: Path, now: Callable[[], datetime]) -> None:
        """`url`: the backend's. `log`: gets a line a request. `now`: the sandbox's."""
        self._address = urlsplit(url)
        self._log = log
        self._now = now
        self._requests: list[Request] = []
        self._lock = threading.Lock()
        self._told = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def count(self) -> int:
        """How many are at it."""
        return sum(thread.is_alive() for thread in self._threads)

    def start(self, count: int) -> None:
        """So many customers from now on, instead of those that there were."""
        self.stop()
        self._told = threading.Event()
        self._threads = [
            threading.Thread(target=self._live, args=(number, self._told), daemon=True)
            for number in range(1, count + 1)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No new requests; returns when those under way have ended."""
        self._told.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S + 5)
        self._threads = []

    def requests(self, after: int = 0) -> list[Request]:
        """Those numbered above `after`, in the order in which they ended."""
        with self._lock:
            return self._requests[after:]

    def _live(self, writer: int, told: threading.Event) -> None:
        chance = random.Random(writer)  # not a secret: the same wishes every time
        mine: deque[int] = deque(maxlen=10)
        turn = 0
        while not told.is_set():
            turn += 1
            made = self._make(writer, wish_of(writer, turn, mine, chance))
            if (made.kind, made.outcome) == ("book", "acknowledged"):
                mine.append(made.id)
            told.wait(PAUSE_S)

    def _make(self, writer: int, wish: Wish) -> Request:
        at, at_unix, began = self._now(), time.time(), time.monotonic()
        status, said, row = self._ask(wish)
        seconds = round(time.monotonic() - began, 4)
        table = "refunds" if wish.kind == "refund" else "bookings"
        with self._lock:
            request = Request(
                number=len(self._requests) + 1,
                writer=writer,
                kind=wish.kind,
                outcome=outcome_of(status),
                at=at.isoformat(),
                at_unix=at_unix,
                seconds=seconds,
                status=status,
                said=said,
                table=table,
                id=row or wish.booking,
                wrote=dict(wish.body),
                sha256=digest(table, row or wish.booking, wish.body),
            )
            # To the operating system before it counts: it survives us, as what was said must.
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(request)) + "\n")
            self._requests.append(request)
        return request

    def _ask(self, wish: Wish) -> tuple[int, str, int]:
        """(status, why it failed, the row's id); status 0 = no whole answer came."""
        address = self._address
        connection = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=TIMEOUT_S
        )
        try:
            headers = {"Content-Type": "application/json"}
            connection.request(wish.method, wish.path, json.dumps(wish.body), headers)
            reply = connection.getresponse()
            answer = json.loads(reply.read())
            if 200 <= reply.status < 300:
                return reply.status, "", int(answer["id"])  # without it nothing is acknowledged
            return reply.status, " ".join(str(answer).split())[:200], 0
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            return 0, type(error).__name__, 0
        finally:
            connection.close()


def wish_of(writer: int, turn: int, mine: Sequence[int], chance: random.Random) -> Wish:
    """What a customer wants next: mostly to book, at times to change a booking or money back."""
    note = f"writer {writer}, wish {turn}, {chance.randrange(16**8):08x}"
    if mine and turn % 5 == 0:
        return Wish(kind="change", booking=chance.choice(mine), body={"note": note})
    if mine and turn % 7 == 0:
        body = {"booking_id": chance.choice(mine), "cents": chance.randrange(50, 900)}
        return Wish(kind="refund", body=body)
    price: dict[str, Any] = {"note": note, "price_cents": chance.randrange(1500, 12000, 50)}
    return Wish(kind="book", body=price | ({"waitlist": True} if turn % 6 == 0 else {}))


def outcome_of(status: int) -> Outcome:
    """What a status means: only a whole answer of success is an acknowledgement."""
    if 200 <= status < 300:
        return "acknowledged"
    return "declined" if status == 404 else "failed"


def digest(table: str, row: int, wrote: Mapping[str, Any]) -> str:
    """Names the content of a write."""
    text = json.dumps([table, row, dict(wrote)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
