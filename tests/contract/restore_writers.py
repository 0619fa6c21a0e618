"""Users who go on booking while the database is changed under them, and remember every yes."""

import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psycopg

from taly.database.rescue.bundle import bundles

INSERT = 'INSERT INTO "Booking" ("id", "guest", "price") VALUES (%(id)s, %(guest)s, %(price)s)'
UPDATE = 'UPDATE "Booking" SET "price" = %(price)s WHERE "id" = %(id)s'
REFUND = """UPDATE "Booking" SET "price" = %(price)s, "status" = 'refunded' WHERE "id" = %(id)s"""
DELETE = 'DELETE FROM "Booking" WHERE "id" = %(id)s'
GONE = "gone"


@dataclass
class Writer:
    """One user; nobody else writes the bookings that it made."""

    url: str
    number: int
    stop: threading.Event
    known: dict[str, str] = field(default_factory=dict)
    """Booking → its price, or `gone`, as the database said yes to it."""
    unsure: dict[str, set[str]] = field(default_factory=dict)
    """Booking → what it may be as well: the connection was lost while it was written."""
    said_yes: int = 0
    slowest_s: float = 0.0

    def run(self) -> None:
        random = Random(self.number)
        connection = None
        while not self.stop.is_set():
            if connection is None or connection.closed:
                with suppress(psycopg.OperationalError):
                    connection = psycopg.connect(self.url, autocommit=True, connect_timeout=10)
                if connection is None or connection.closed:
                    self.stop.wait(0.01)
                    continue
            self._write(connection, random)
            self.stop.wait(0.01)
        if connection is not None:
            connection.close()

    def _write(self, connection: psycopg.Connection, random: Random) -> None:
        mine = [
            one for one, price in self.known.items() if price != GONE and one not in self.unsure
        ]
        price = f"{random.randrange(1, 10**6) / 100:.2f}"
        which = random.random()
        if which < 0.5 or not mine:
            booking, statement, becomes = str(uuid.UUID(int=random.getrandbits(128))), INSERT, price
        else:
            booking = random.choice(mine)
            statement, becomes = (
                (UPDATE, price)
                if which < 0.75
                else (REFUND, price)
                if which < 0.9
                else (DELETE, GONE)
            )
        given: Mapping[str, Any] = {
            "id": booking,
            "guest": random.randrange(1, 300),
            "price": price,
        }
        try:
            changed = connection.execute(statement.encode(), given).rowcount
        except psycopg.OperationalError:
            self.unsure.setdefault(booking, {self.known.get(booking, GONE)}).add(becomes)
            connection.close()
        except psycopg.Error:
            pass  # the database said no: the old schema does not know a refund
        else:
            if changed:  # else it is not there any more: the old schema had no place for it
                self.known[booking] = becomes
                self.said_yes += 1


@dataclass
class Writers:
    """Several of them."""

    each: list[Writer]

    @property
    def said_yes(self) -> int:
        return sum(one.said_yes for one in self.each)

    def wait_for(self, more: int) -> None:
        """Return when that many more writes were acknowledged."""
        goal = self.said_yes + more
        while self.said_yes < goal:
            threading.Event().wait(0.005)

    def missing(self, url: str, rescue: Path) -> list[str]:
        """Acknowledged writes that are neither in the database nor in a rescue bundle."""
        with psycopg.connect(url) as connection:
            rows = connection.execute('SELECT "id"::text, "price"::text FROM "Booking"')
            now = {str(booking): str(price) for booking, price in rows.fetchall()}
        kept = rescued(rescue)
        return [
            f"{booking}: {price} was acknowledged, {now.get(booking, GONE)} is there, rescued"
            f" {sorted(kept.get(booking, ()))}"
            for writer in self.each
            for booking, price in writer.known.items()
            if not ({price, *writer.unsure.get(booking, ())} & {now.get(booking, GONE)})
            and price not in kept.get(booking, ())
        ]


@contextmanager
def writing(url: str, count: int = 4, seed: int = 0) -> Iterator[Writers]:
    """Let them write until the block ends."""
    stop = threading.Event()
    writers = [Writer(url, seed * 100 + number, stop) for number in range(count)]
    threads = [threading.Thread(target=one.run) for one in writers]
    for thread in threads:
        thread.start()
    try:
        yield Writers(writers)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def rescued(base: Path) -> dict[str, set[str]]:
    """Booking → prices in the rescue bundles of all runs; `gone` where a deletion was kept."""
    found: dict[str, set[str]] = {}
    for run in sorted(base.iterdir()) if base.is_dir() else []:
        for bundle in bundles(base, run.name):
            for table in bundle.tables:
                if table.name != "Booking":
                    continue
                for row in bundle.rows(table):
                    values = dict(zip(row.columns, row.values, strict=True))
                    price = GONE if row.kind == "deleted" else values.get("price")
                    found.setdefault(str(values["id"]), set()).add(str(price))
    return found
