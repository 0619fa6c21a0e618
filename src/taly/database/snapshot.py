"""The catalog of a live database, read in one snapshot, and that snapshot's place in time."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import psycopg
from psycopg.rows import dict_row

from taly.database import snapshot_sql as sql
from taly.errors import UsageError
from taly.model.catalog import (
    Catalog,
    Column,
    Constraint,
    Enum,
    Extension,
    Function,
    Index,
    Instant,
    Other,
    Table,
    Trigger,
    View,
)
from taly.model.catalog import Sequence as CatalogSequence

LEDGERS = ("_prisma_migrations",)
"""Tables that say what was migrated: they differ whenever the rest is equal."""

Rows = list[dict[str, Any]]


def read_catalog(
    connection: psycopg.Connection, schemas: Sequence[str] = (), *, without: Sequence[str] = LEDGERS
) -> Catalog:
    """The catalog of these schemas (all that are not PostgreSQL's own when none is named).

    Everything is of one instant: the connection must be in a REPEATABLE READ transaction or begin
    one, as `reading` does. Raises UsageError otherwise. Takes no lock that stops anybody.
    """
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        _check_isolation(connection)
        # With an empty path every name in a definition is qualified.
        path = connection.execute("SHOW search_path").fetchone()
        cursor.execute("SELECT set_config('search_path', '', true)")
        given = {"schemas": list(schemas), "without": list(without)}

        def rows(query: str) -> Rows:
            return cursor.execute(query.encode(), given).fetchall()

        instant = _instant(connection)
        parts = {name: _by_table(rows(query)) for name, query in sql.PARTS.items()}
        found = Catalog(
            schemas=tuple(row["name"] for row in rows(sql.SCHEMAS)),
            tables=tuple(_table(row, parts) for row in rows(sql.TABLES)),
            enums=tuple(Enum(**{**row, "labels": tuple(row["labels"])}) for row in rows(sql.ENUMS)),
            views=tuple(_view(row, parts["indexes"]) for row in rows(sql.VIEWS)),
            functions=tuple(Function(**row) for row in rows(sql.FUNCTIONS)),
            sequences=tuple(CatalogSequence(**row) for row in rows(sql.SEQUENCES)),
            extensions=tuple(Extension(**row) for row in rows(sql.EXTENSIONS)),
            others=tuple(Other(**row) for query in sql.OTHERS for row in rows(query)),
            instant=instant,
        )
        # The caller may go on in the same transaction.
        cursor.execute("SELECT set_config('search_path', %s, true)", path)
        return found


def _check_isolation(connection: psycopg.Connection) -> None:
    row = connection.execute("SHOW transaction_isolation").fetchone()
    if row is None or row[0] not in ("repeatable read", "serializable"):
        raise UsageError(
            "a catalog is read in one REPEATABLE READ transaction, or it is of no one instant",
            reference="catalog-not-one-instant",
        )


def _instant(connection: psycopg.Connection) -> Instant:
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(sql.INSTANT).fetchone()
        assert row is not None, "SELECT without FROM gives a row"
        lsn = system = ""
        for query, name in ((sql.LSN, "lsn"), (sql.SYSTEM, "system")):
            try:
                with connection.transaction():
                    found = cursor.execute(query).fetchone()
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction):
                continue  # a managed server may keep these to itself
            if name == "lsn":
                lsn = str(found["value"]) if found else ""
            else:
                system = str(found["value"]) if found else ""
    return Instant(**row, lsn=lsn, system_identifier=system)


def _by_table(rows: Rows) -> dict[int, Rows]:
    return {oid: list(found) for oid, found in groupby(rows, key=lambda row: row.pop("of"))}


def _table(row: dict[str, Any], parts: dict[str, dict[int, Rows]]) -> Table:
    def of(name: str) -> Iterable[dict[str, Any]]:
        return parts[name].get(row["oid"], [])

    return Table(
        **{**row, "parents": tuple(row["parents"])},
        columns=tuple(Column(**one) for one in of("columns")),
        constraints=tuple(Constraint(**one) for one in of("constraints")),
        indexes=tuple(Index(**one) for one in of("indexes")),
        triggers=tuple(Trigger(**one) for one in of("triggers")),
    )


def _view(row: dict[str, Any], indexes: dict[int, Rows]) -> View:
    return View(**row, indexes=tuple(Index(**one) for one in indexes.get(row["oid"], [])))
