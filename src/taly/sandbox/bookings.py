"""The Taly backend's own work, at one version of its code: bookings, and later refunds.

Like a generated Prisma client, each version reads and writes exactly the columns that it was built
with, by name and type, and throws on an enum value that it does not know: old code on a new schema
really fails.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg.sql import SQL, Composed, Identifier, Placeholder

BASE_COLUMNS = ("id", "customer_id", "starts_at", "status", "price_cents")
BASE_STATUSES = frozenset({"requested", "confirmed", "cancelled"})
TYPES = {"id": int, "customer_id": int, "starts_at": datetime, "price_cents": int}
TEXTS = ("remarks", "note")
"""The columns that hold what a customer wrote, the newer name first."""
BUG = "cannot read properties of undefined (reading 'total')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What code of one version of the schema reads and writes."""

    columns: tuple[str, ...] = BASE_COLUMNS
    """Of `bookings`."""
    statuses: frozenset[str] = BASE_STATUSES
    refunds: bool = False
    """Whether it knows the table `refunds`."""

    @property
    def text(self) -> str:
        """The column for what a customer wrote; empty = it keeps no such thing."""
        return next((name for name in TEXTS if name in self.columns), "")


VERSIONS: Mapping[int, Version] = {
    1: Version(),
    2: Version(columns=(*BASE_COLUMNS, "note")),
    3: Version(columns=(*BASE_COLUMNS, "note", "channel")),
    4: Version(columns=(*BASE_COLUMNS, "note", "channel", "currency")),
    5: Version(
        columns=(*BASE_COLUMNS, "remarks"),
        statuses=BASE_STATUSES | {"waitlisted"},
        refunds=True,
    ),
}


def version_of(number: int, columns: Sequence[str] = ()) -> Version:
    """The version of that number; `columns` replaces those that it reads."""
    known = VERSIONS[number]
    return replace(known, columns=tuple(columns)) if columns else known


class ApplicationError(Exception):
    """The code itself fails: a bug of this version, or a value that its client cannot read."""


class NotThere(Exception):
    """What was asked for does not exist: the row, or in this version the whole feature."""


class Bookings:
    """What one version does with the database; raises psycopg.Error and ApplicationError."""

    def __init__(self, version: Version, url: str, fails: str = "") -> None:
        """`fails`: `all`, or `lists`: what customers see is broken, and bookings are taken."""
        self._version = version
        self._url = url
        self._fails = fails

    def listed(self) -> list[DictRow]:
        """The twenty next bookings."""
        if self._fails:
            raise ApplicationError(BUG)
        query = SQL("SELECT {} FROM bookings ORDER BY id DESC LIMIT 20").format(self._names())
        with self._connected() as connection:
            return [self._decoded(row) for row in connection.execute(query)]

    def book(self, asked: Mapping[str, Any]) -> DictRow:
        """Take a booking: `customer_id`, `starts_at`, `price_cents`, `note`, `waitlist`."""
        more = self._written(asked)
        if asked.get("waitlist") and "waitlisted" in self._version.statuses:
            more["status"] = "waitlisted"
        query = SQL(
            "INSERT INTO bookings (customer_id, starts_at, price_cents{}) VALUES"
            " (COALESCE(%(customer_id)s, (SELECT min(id) FROM customers)),"
            " COALESCE(%(starts_at)s::timestamp, now()), %(price_cents)s{}) RETURNING {}"
        ).format(
            SQL("").join(SQL(", {}").format(Identifier(name)) for name in more),
            SQL("").join(SQL(", {}").format(Placeholder(name)) for name in more),
            self._names(),
        )
        values = {
            "customer_id": asked.get("customer_id"),
            "starts_at": asked.get("starts_at"),
            "price_cents": asked.get("price_cents", 0),
        }
        return self._one(query, {**values, **more})

    def change(self, booking: int, asked: Mapping[str, Any]) -> DictRow:
        """Change a booking's `note` or `status`; NotThere without such a booking."""
        changes = self._written(asked)
        if status := asked.get("status"):
            if status not in self._version.statuses:
                raise ApplicationError(f"value {status!r} not found in enum 'booking_status'")
            changes["status"] = status
        if not changes:
            raise NotThere("nothing that this version can change was named")
        query = SQL("UPDATE bookings SET {} WHERE id = %(id)s RETURNING {}").format(
            SQL(", ").join(
                SQL("{} = {}").format(Identifier(name), Placeholder(name)) for name in changes
            ),
            self._names(),
        )
        return self._one(query, {"id": booking, **changes})

    def refund(self, asked: Mapping[str, Any]) -> DictRow:
        """Give `cents` of `booking_id` back; NotThere where this version has no refunds."""
        if not self._version.refunds:
            raise NotThere("this version has no refunds")
        query = SQL(
            "INSERT INTO refunds (booking_id, cents) VALUES (%(booking_id)s, %(cents)s)"
            " RETURNING id, booking_id, cents"
        )
        return self._one(query, {name: asked.get(name) for name in ("booking_id", "cents")})

    def _written(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        text = self._version.text
        return {text: asked["note"]} if text and "note" in asked else {}

    def _one(self, query: Composed | SQL, values: Mapping[str, Any]) -> DictRow:
        if self._fails == "all":
            raise ApplicationError(BUG)
        with self._connected() as connection:
            row = connection.execute(query, values).fetchone()
        if row is None:
            raise NotThere("there is no such booking")
        return self._decoded(row)

    def _connected(self) -> psycopg.Connection[DictRow]:
        return psycopg.connect(self._url, connect_timeout=5, row_factory=dict_row)

    def _names(self) -> Composed:
        return SQL(", ").join(map(Identifier, self._version.columns))

    def _decoded(self, row: DictRow) -> DictRow:
        """The row, if a client generated for this version can read it."""
        for name, value in row.items():
            if name in TYPES and not isinstance(value, TYPES[name]):
                raise ApplicationError(f"inconsistent column data: {name} holds {value!r}")
        status = row.get("status")
        if status is not None and status not in self._version.statuses:
            raise ApplicationError(f"value {status!r} not found in enum 'booking_status'")
        return row
