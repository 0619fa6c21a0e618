"""A way down, tried out: on an empty copy of the schema, which is gone afterwards.

The copy is a database of its own on the same server. Nothing of the live database is touched; its
rows are not copied, so what a way down does to rows is not proved here.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from postgast import PgQueryError, split
from psycopg.sql import SQL, Identifier

from taly.database.checkpoint.copies import may_create, scratch
from taly.database.checkpoint.session import connected
from taly.database.connection import Target
from taly.database.programs import Programs, client_environment
from taly.database.snapshot import read_catalog
from taly.errors import Refused
from taly.model.catalog import Catalog
from taly.planning.catalog_diff import differences
from taly.planning.down import Down

COPY_TIMEOUT_S = 120
STATEMENT_TIMEOUT_S = 60

STALE = """
SELECT datname FROM pg_database d WHERE datname LIKE 'taly\\_scratch\\_%'
  AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """Up and down again on an empty copy, the catalog was as before."""

    before: Catalog
    after: Catalog
    """As the migration made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotProven:
    """It was not."""

    reason: str
    left: tuple[str, ...] = ()
    """What was not as before, one line each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Make the copy by running every earlier migration, in order."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSchema:
    """Make the copy from the live database as it is now, with pg_dump: before a migration."""

    programs: Programs


Source = Replay | LiveSchema


def prove(target: Target, source: Source, up: str, down: Down) -> Proven | NotProven:
    """Run `up` and then `down` on an empty copy of the schema and compare the catalogs.

    Raises Refused `database-no-createdb` when the role may not create a database, VendorUnavailable
    when the server does not answer.
    """
    if down.gaps and not down.sql:
        return NotProven(reason=f"there is nothing to try: {down.gaps[0]}")
    with _scratch(target) as name:
        try:
            _build(target, source, name)
        except _CopyFailed as error:
            return NotProven(reason=f"no copy of the schema can be made: {_first_line(error)}")
        with _session(target, name) as connection:
            return _tried(connection, up, down)


def _tried(connection: psycopg.Connection, up: str, down: Down) -> Proven | NotProven:
    before = read_catalog(connection)
    try:
        _run(connection, up)
    except psycopg.Error as error:
        return NotProven(reason=f"the migration itself fails: {_first_line(error)}")
    after = read_catalog(connection)
    try:
        _take(connection, down)
    except psycopg.Error as error:
        return NotProven(reason=f"the way down fails: {_first_line(error)}")
    left = tuple(one.text for one in differences(before, read_catalog(connection)))
    if left:
        return NotProven(reason=f"the schema is not as before: {left[0]}", left=left)
    return Proven(before=before, after=after)


def replayed(target: Target, texts: Sequence[str]) -> tuple[Catalog, ...]:
    """The catalogs before the first, between and after these migrations, on an empty copy.

    It ends before a migration that fails. Raises as `prove`.
    """
    with _scratch(target) as name, _session(target, name) as connection:
        found = [read_catalog(connection)]
        for text in texts:
            try:
                _run(connection, text)
            except psycopg.Error:
                break
            found.append(read_catalog(connection))
        return tuple(found)


def left_behind(target: Target) -> tuple[str, ...]:
    """Scratch databases that nobody uses: of a process that was killed."""
    with connected(target) as connection:
        return tuple(row[0] for row in connection.execute(STALE.encode()).fetchall())


@contextmanager
def _scratch(target: Target) -> Iterator[str]:
    """The name of a new, empty database on the same server; it is dropped whatever happens."""
    with connected(target) as connection:
        if not may_create(connection):
            raise Refused(
                f"the user in {target.url_env} may not create databases, and a way down is only"
                " proved by taking it on a copy of the schema",
                reference="database-no-createdb",
                hint=f"ALTER ROLE … CREATEDB, for the user in {target.url_env}",
            )
    with scratch(target) as name:
        yield name


@contextmanager
def _session(target: Target, database: str) -> Iterator["psycopg.Connection"]:
    """A session as Prisma's: names without a schema lie in the given one."""
    with connected(target, database, autocommit=True) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        _settle(connection, target.schema)
        yield connection


def _settle(connection: psycopg.Connection, schema: str) -> None:
    connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(schema)))
    connection.execute(SQL("SET search_path TO {}").format(Identifier(schema)))
    connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT_S}s'".encode())


def _run(connection: psycopg.Connection, text: str) -> None:
    """Statement by statement: CONCURRENTLY refuses to be one of several."""
    try:
        statements = split(text)
    except PgQueryError:
        statements = [text]
    for statement in statements:
        connection.execute(statement.encode())


def _take(connection: psycopg.Connection, down: Down) -> None:
    if not down.transactional:
        for statement in down.sql:
            _run(connection, statement)
        return
    if down.source == "team":  # it may hold a transaction of its own
        _run(connection, down.sql[0])
        return
    with connection.transaction():
        for statement in down.sql:
            connection.execute(statement.encode())


class _CopyFailed(Exception):
    """An earlier migration, pg_dump or pg_restore did not do it."""


def _build(target: Target, source: Source, database: str) -> None:
    if isinstance(source, Replay):
        with _session(target, database) as connection:
            try:
                for text in source.texts:
                    _run(connection, text)
            except psycopg.Error as error:
                raise _CopyFailed(_first_line(error)) from None
        return
    programs = source.programs
    dump = _piece([programs.path("pg_dump"), "--schema-only", "--format=custom"], target)
    # template0 has a schema `public` of its own, which the dump would make again.
    restore = [programs.path("pg_restore"), "--no-owner", "--no-privileges", "--exit-on-error"]
    _piece([*restore, "--clean", "--if-exists", "--dbname", database], target, database, data=dump)


def _piece(
    command: Sequence[str], target: Target, database: str = "", data: bytes | None = None
) -> bytes:
    """Run one of PostgreSQL's programs; what it writes."""
    try:
        done = subprocess.run(
            command,
            input=data,
            capture_output=True,
            timeout=COPY_TIMEOUT_S,
            check=False,
            env=client_environment(target.url, database),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _CopyFailed(f"{command[0]}: {error}") from None
    if done.returncode:
        raise _CopyFailed(done.stderr.decode(errors="replace").strip())
    return done.stdout


def _first_line(error: Exception) -> str:
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return error.diag.message_primary
    return (str(error).splitlines() or [type(error).__name__])[0]
