"""What a checkpoint notes of the moment: the database, the instant, the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg

from taly.database.checkpoint.manifest import Database, Instant, LedgerRow
from taly.database.connection import Target
from taly.database.ledger import Ledger, read_ledger
from taly.database.snapshot import read_catalog
from taly.errors import VendorRefused
from taly.model.catalog import Catalog

DATABASE = "SELECT current_database(), pg_database_size(current_database()), version()"
NO_LEDGER = Ledger(rows=(), running=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One instant of a database."""

    catalog: Catalog
    instant: Instant
    database: Database


def moment(connection: psycopg.Connection, target: Target, *, exported: str = "") -> Moment:
    """The catalog and everything that places it in time; the transaction must be a snapshot's."""
    catalog = read_catalog(connection)
    seen = catalog.instant
    assert seen is not None, "it was read, not thought out"
    row = connection.execute(DATABASE).fetchone()
    assert row is not None, "we are connected to it"
    name, size, version = row
    return Moment(
        catalog=catalog,
        instant=Instant(
            at=seen.at, snapshot=seen.snapshot, xmin=seen.xmin, lsn=seen.lsn, exported=exported
        ),
        database=Database(
            place=target.place,
            name=name,
            oid=seen.database_oid,
            system_identifier=seen.system_identifier,
            server_version=" ".join(str(version).split()[:2]),
            bytes=size,
        ),
    )


def ledger_of(connection: psycopg.Connection, target: Target) -> tuple[Ledger, bool]:
    """The ledger and whether there is one: before the very first deploy there is none."""
    try:
        return read_ledger(connection, target), True
    except VendorRefused as error:
        if error.reference != "ledger-missing":
            raise
        return NO_LEDGER, False


def ledger_rows(ledger: Ledger) -> tuple[LedgerRow, ...]:
    """The ledger's rows as a checkpoint keeps them."""
    return tuple(
        LedgerRow(
            name=row.name,
            checksum=row.checksum,
            started_at=row.started_at,
            finished_at=row.finished_at,
            rolled_back_at=row.rolled_back_at,
        )
        for row in ledger.rows
    )


def same_database(one: Database, other: Database) -> Mapping[str, tuple[str, str]]:
    """What tells two databases apart, word → (one, other); empty when nothing does.

    What a managed server does not tell is not compared.
    """
    pairs = {
        "system identifier": (one.system_identifier, other.system_identifier),
        "database OID": (str(one.oid), str(other.oid)),
    }
    return {word: pair for word, pair in pairs.items() if all(pair) and pair[0] != pair[1]}
