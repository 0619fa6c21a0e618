"""A way down, tried out: on an empty copy of the schema, which is gone afterwards.

The copy is a database of its own on the same server. Nothing of the live database is touched; its
rows are not copied, so what a way down does to rows is not proved here.
"""

import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

import psycopg
from postgast import PgQueryError, split
from psycopg.sql import SQL, Identifier

from taly.database.connection import CONNECT_TIMEOUT_S, Target
from taly.database.snapshot import read_catalog
from taly.database.tools import Tools
from taly.errors import VendorRefused, VendorUnavailable
from taly.model.catalog import Catalog
from taly.planning.catalog_diff import differences
from taly.planning.down import Down

PREFIX = "taly_scratch_"
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

    tools: Tools


Source = Replay | LiveSchema


def prove(target: Target, source: Source, up: str, down: Down) -> Proven | NotProven:
    """Run `up` and then `down` on an empty copy of the schema and compare the catalogs.

    Raises VendorRefused `scratch-forbidden` when the role may not create a database,
    VendorUnavailable when the server does not answer.
    """
    if down.gaps and not down.sql:
        return NotProven(reason=f"there is nothing to try: {down.gaps[0]}")
    with scratch_database(target) as url:
        try:
            _build(target, source, url)
        except (psycopg.Error, _CopyFailed) as error:
            return NotProven(reason=f"no copy of the schema can be made: {_first_line(error)}")
        try:
            return _tried(url, target.schema, up, down)
        except psycopg.OperationalError as error:
            raise _unavailable(target, error) from None


def _tried(url: str, schema: str, up: str, down: Down) -> Proven | NotProven:
    with _session(url, schema) as connection:
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


def replayed(target: Target, texts: Sequence[str]) -> Catalog:
    """The catalog that these migrations make, on an empty copy.

    Raises as `prove`; psycopg's own error when one of them fails.
    """
    with scratch_database(target) as url, _session(url, target.schema) as connection:
        for text in texts:
            _run(connection, text)
        return read_catalog(connection)


@contextmanager
def scratch_database(target: Target) -> Iterator[str]:
    """The URL of a new, empty database on the same server; it is dropped whatever happens."""
    name = PREFIX + secrets.token_hex(6)
    with _administering(target) as connection:
        try:
            connection.execute(
                SQL("CREATE DATABASE {} TEMPLATE template0").format(Identifier(name))
            )
        except psycopg.errors.InsufficientPrivilege:
            raise VendorRefused(
                f"the role in {target.url_env} may not create a database on {target.place}:"
                " ways down cannot be tried out",
                reference="scratch-forbidden",
                hint=f"ALTER ROLE … CREATEDB, for the role in {target.url_env}",
            ) from None
        except psycopg.Error as error:
            raise _unavailable(target, error) from None
        try:
            yield _with_database(target.url, name)
        finally:
            drop = SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name))
            if connection.closed or connection.broken:
                with _administering(target) as again:
                    again.execute(drop)
            else:
                connection.execute(drop)


def left_behind(target: Target) -> tuple[str, ...]:
    """Scratch databases that nobody uses: of a process that was killed."""
    with _administering(target) as connection:
        return tuple(row[0] for row in connection.execute(STALE.encode()).fetchall())


@contextmanager
def _administering(target: Target) -> Iterator["psycopg.Connection"]:
    try:
        connection = psycopg.connect(
            target.url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="taly",
            prepare_threshold=None,
        )
    except psycopg.Error as error:
        raise _unavailable(target, error) from None
    with connection:
        yield connection


def _unavailable(target: Target, error: psycopg.Error) -> VendorUnavailable:
    said = _first_line(error)
    password = unquote(urlsplit(target.url).password or "")
    said = said.replace(password, "***") if password else said
    return VendorUnavailable(
        f"no scratch database on {target.place}: {said}",
        reference="scratch-unavailable",
        hint="taly database status",
    )


@contextmanager
def _session(url: str, schema: str) -> Iterator["psycopg.Connection"]:
    """A session as Prisma's: names without a schema lie in the given one."""
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        _settle(connection, schema)
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
    """pg_dump or pg_restore did not do it."""


def _build(target: Target, source: Source, url: str) -> None:
    if isinstance(source, Replay):
        with _session(url, target.schema) as connection:
            for text in source.texts:
                _run(connection, text)
        return
    dump = _piece(source.tools.pg_dump, "--schema-only", "--format=custom", url=target.url)
    _piece(
        source.tools.pg_restore,
        "--no-owner",
        "--no-privileges",
        "--exit-on-error",
        "--clean",
        "--if-exists",
        url=url,
        data=dump,
    )


def _piece(program: str, *arguments: str, url: str, data: bytes | None = None) -> bytes:
    """Run one of PostgreSQL's tools; the URL, which holds a password, is never an argument."""
    try:
        done = subprocess.run(
            [program, *arguments, "--dbname", _without_password(url)],
            input=data,
            capture_output=True,
            timeout=COPY_TIMEOUT_S,
            check=False,
            env=_environment(url),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _CopyFailed(f"{program}: {error}") from None
    if done.returncode:
        raise _CopyFailed(done.stderr.decode(errors="replace").strip())
    return done.stdout


def _environment(url: str) -> Mapping[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "PGPASSWORD": unquote(urlsplit(url).password or "")}


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    name = user.partition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{name}@{host}" if name else host))


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def _first_line(error: Exception) -> str:
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return error.diag.message_primary
    return (str(error).splitlines() or [type(error).__name__])[0]
