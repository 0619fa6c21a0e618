"""Whole databases on the same server: template copies, and scratch ones to prove a backup in."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.sql import SQL, Composable, Identifier, Literal

from taly.database.checkpoint.session import connected
from taly.database.connection import Target
from taly.errors import Refused, TalyError, VendorError

MAINTENANCE = ("postgres", "template1")
"""Databases from which another one can be copied: it must have no session at all."""
SCRATCH = "taly_scratch_"
MAX_NAME = 63

LIKE = """
SELECT pg_encoding_to_char(encoding), datcollate, datctype, to_jsonb(d)
FROM pg_database d WHERE datname = current_database()
"""
MAY_CREATE = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}


def template_name(database: str, stamp: str) -> str:
    """A name for a copy that tells of what and when; PostgreSQL cuts at 63 bytes."""
    tail = f"_taly_{stamp}"
    stem = database.encode()[: MAX_NAME - len(tail)].decode(errors="ignore")
    return stem + tail


def may_create(connection: psycopg.Connection) -> bool:
    """Whether the user may create databases."""
    row = connection.execute(MAY_CREATE).fetchone()
    return bool(row and row[0])


def exists(connection: psycopg.Connection, name: str) -> bool:
    """Whether the server has a database of that name."""
    row = connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone()
    return row is not None


def check_may_create(connection: psycopg.Connection, target: Target) -> None:
    """Refused when the user may not create databases."""
    if not may_create(connection):
        raise Refused(
            f"the user in {target.url_env} may not create databases, and a backup is only proved"
            " by restoring it",
            reference="database-no-createdb",
            hint=f"ALTER ROLE … CREATEDB, for the user in {target.url_env}",
        )


def copy_database(target: Target, source: str, name: str) -> None:
    """Copy a database that has no sessions, file by file; raises what the server says else."""
    options: list[Composable] = [
        SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(source))
    ]
    with _maintenance(target, without=source) as connection:
        if connection.info.server_version >= 150_000:
            options.append(SQL("STRATEGY FILE_COPY"))
        connection.execute(SQL(" ").join(options))


def seal_database(target: Target, name: str) -> None:
    """Let nobody in any more: what a template holds must stay as it is."""
    with _maintenance(target) as connection:
        connection.execute(
            SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(Identifier(name))
        )


def drop_database(target: Target, name: str) -> None:
    """Drop a copy, whoever is connected to it; nothing when it is not there."""
    with _maintenance(target) as connection:
        if exists(connection, name):
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@contextmanager
def scratch(target: Target, template: str = "") -> Iterator[str]:
    """A database for a while: a copy of `template`, else an empty one like the target's own."""
    name = SCRATCH + secrets.token_hex(6)
    try:
        if template:
            copy_database(target, template, name)
        else:
            create_empty(target, name)
        if template:
            with _maintenance(target) as connection:
                connection.execute(
                    SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(Identifier(name))
                )
        yield name
    finally:
        try:
            drop_database(target, name)
        except TalyError as error:
            raise VendorError(
                f"the scratch database {name} could not be dropped: {error.message}",
                reference="scratch-left-over",
                hint=f"dropdb --force {name}",
            ) from error


def create_empty(target: Target, name: str) -> None:
    """An empty database with the encoding and the locale of the target's own."""
    with connected(target, autocommit=True) as connection:
        row = connection.execute(LIKE).fetchone()
        assert row is not None, "we are connected to it"
        encoding, collate, ctype, all_facts = row
        parts: list[Composable] = [
            SQL("CREATE DATABASE {} TEMPLATE template0").format(Identifier(name)),
            SQL("ENCODING {} LC_COLLATE {} LC_CTYPE {}").format(
                Literal(encoding), Literal(collate), Literal(ctype)
            ),
        ]
        provider = PROVIDERS.get(all_facts.get("datlocprovider", ""), "")
        locale = all_facts.get("datlocale") or all_facts.get("daticulocale")
        if provider:
            parts.append(SQL("LOCALE_PROVIDER {}").format(Identifier(provider)))
        if locale and provider in ("icu", "builtin"):
            word = "ICU_LOCALE" if provider == "icu" else "BUILTIN_LOCALE"
            parts.append(SQL(word + " {}").format(Literal(locale)))
        connection.execute(SQL(" ").join(parts))


@contextmanager
def _maintenance(target: Target, without: str = "") -> Iterator[psycopg.Connection]:
    """A connection to another database of the same server."""
    refused: TalyError | None = None
    for database in (name for name in MAINTENANCE if name != without):
        try:
            with connected(target, database, autocommit=True) as connection:
                connection.execute("SELECT 1")
        except TalyError as error:
            refused = error
            continue
        with connected(target, database, autocommit=True) as connection:
            yield connection
        return
    assert refused is not None, "there is at least one to try"
    raise refused
