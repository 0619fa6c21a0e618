"""Which database a store's address means."""

from pathlib import Path

from taly.engine.store.port import Store
from taly.engine.store.sql import SqlStore
from taly.errors import UsageError


def open_store(url: str | Path) -> Store:
    """The store at `postgresql://…`, `sqlite:///path` or a plain path; made where it is new.

    Raises UsageError `store-unknown` for any other address, OutcomeUnknown when it does not answer.
    """
    text = str(url)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _sqlite(Path(text))
    if scheme == "sqlite":
        return _sqlite(Path(rest.removeprefix("/") if rest.startswith("//") else rest))
    if scheme in ("postgresql", "postgres"):
        from taly.engine.store.postgres import PostgresDatabase  # only a team needs psycopg

        return SqlStore(PostgresDatabase(text))
    raise UsageError(
        f"{scheme}:// is no store that taly knows",
        reference="store-unknown",
        hint="taly runs --store FILE, or --store postgresql://…",
    )


def _sqlite(path: Path) -> Store:
    from taly.engine.store.sqlite import SqliteDatabase

    return SqlStore(SqliteDatabase(path.expanduser()))
