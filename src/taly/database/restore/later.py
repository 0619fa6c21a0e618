"""The ledger of the database that takes the live one's place: old set applied, later ones noted."""

import psycopg
from psycopg.sql import SQL, Composed, Identifier

from taly.database.checkpoint.session import connected
from taly.database.history import state_of
from taly.database.ledger import read_ledger
from taly.database.restore.job import Job
from taly.errors import VendorRefused

COLUMNS = (
    *("id", "checksum", "finished_at", "migration_name", "logs", "rolled_back_at"),
    *("started_at", "applied_steps_count"),
)
# As prisma-engines makes it (flavour/postgres: create_migrations_table).
TABLE = """
CREATE TABLE IF NOT EXISTS {} (
    id VARCHAR(36) PRIMARY KEY NOT NULL, checksum VARCHAR(64) NOT NULL, finished_at TIMESTAMPTZ,
    migration_name VARCHAR(255) NOT NULL, logs TEXT, rolled_back_at TIMESTAMPTZ,
    started_at TIMESTAMPTZ NOT NULL DEFAULT now(), applied_steps_count INTEGER NOT NULL DEFAULT 0
)
"""
INSERT = """
INSERT INTO {} ({}) VALUES (%s, %s, %s, %s, %s, coalesce(%s, %s), %s, %s)
ON CONFLICT (id) DO NOTHING
"""


def note_later(job: Job, live: psycopg.Connection, incoming: str) -> None:
    """Bring the live ledger's later rows over, as rolled back now; the others stay as they are.

    Raises VendorRefused when the set that is applied then is not the one that the step wants.
    """
    table = Identifier(job.target.schema, "_prisma_migrations")
    columns = SQL(", ").join(map(Identifier, COLUMNS))
    rows = live.execute(SQL("SELECT {} FROM {}").format(columns, table)).fetchall()
    now = job.now()
    place = job.place(incoming)
    with connected(place) as connection:
        connection.execute(SQL(TABLE).format(table))
        insert: Composed = SQL(INSERT).format(table, columns)
        for row in rows:
            head, rolled_back_at, tail = row[:5], row[5], row[6:]
            connection.execute(insert, (*head, rolled_back_at, now, *tail))
        found = state_of(read_ledger(connection, place))["migrations"]
        if found != job.wanted:
            raise VendorRefused(
                f"with the backup in its place {job.target.place} would have another set of"
                f" migrations ({found}) than is wanted ({job.wanted})",
                reference="restore-ledger-differs",
                hint="taly plan",
            )
        connection.commit()
