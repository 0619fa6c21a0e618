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
    path = file_of(text)
    if path is not None:
        return _sqlite(path)
    scheme = text.partition("://")[0]
    if scheme in ("postgresql", "postgres"):
        from taly.engine.store.postgres import PostgresDatabase  # only a team needs psycopg

        return SqlStore(PostgresDatabase(text))
    raise UsageError(
        f"{scheme}:// is no store that taly knows",
        reference="store-unknown",
        hint="taly runs --store FILE, or --store postgresql://…",
    )


def file_of(url: str) -> Path | None:
    """The file that a local store is; None when it is none."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return Path(url).expanduser()
    if scheme == "sqlite":
        return Path(rest.removeprefix("/") if rest.startswith("//") else rest).expanduser()
    return None


def _sqlite(path: Path) -> Store:
    from taly.engine.store.sqlite import SqliteDatabase

    return SqlStore(SqliteDatabase(path))
