"""Read-only connections to a Prisma application's database, and what their failures mean."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import psycopg

from taly.errors import Refused, UsageError, VendorRefused, VendorUnavailable
from taly.transport import (
    CA_FILE,
    SANDBOX_MARK,
    UNTRUSTED,
    UNTRUSTED_HINT,
    host_of,
    with_ca,
)

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_MS = 10_000

# libpq refuses a URL with a parameter that it does not know, and Prisma's URLs have many of their
# own (https://www.prisma.io/docs/orm/overview/databases/postgresql#arguments).
LIBPQ = frozenset(
    {"sslmode", "sslrootcert", "application_name", "connect_timeout", "host", "options"}
)
FINAL = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "is not permitted to log in",
    "permission denied",
)

UNPROVEN = (
    "certificate verify failed",
    "server certificate for",
    "root certificate file",
    "server does not support SSL",
)
"""What libpq says where a certificate is wanted, and none or a wrong one is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a database is; never printed with its password."""

    url_env: str
    """The environment variable that holds the URL."""
    url: str
    """What libpq is given."""
    schema: str
    place: str
    """host:port/name, for people."""
    pooled: bool
    """Whether the URL says that it leads through a pooler in transaction mode."""

    def __repr__(self) -> str:
        return f"Target(url_env={self.url_env!r}, place={self.place!r}, schema={self.schema!r})"


def target_of(settings: Mapping[str, str], environ: Mapping[str, str]) -> Target:
    """The database that a component's settings name; UsageError when the URL is missing or odd."""
    url_env = settings.get("url_env") or "DATABASE_URL"
    given = environ.get(url_env, "")
    if not given:
        raise UsageError(
            f"the environment variable {url_env} is not set: it holds the database's URL",
            reference="database-url-missing",
            hint=f"export {url_env}=postgresql://…",
        )
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    # A slash in a password that is not escaped makes the rest of it, up to the @, a path.
    name = parts.path.strip("/")
    if parts.scheme not in ("postgres", "postgresql") or not name or "@" in name:
        # The text itself may hold a password: it is not repeated.
        raise UsageError(
            f"{url_env} does not hold a URL of the form postgresql://user:password@host:5432/name",
            reference="database-url-invalid",
            hint=f"export {url_env}=postgresql://…",
        )
    query = dict(parse_qsl(parts.query))
    kept = {name: value for name, value in query.items() if name in LIBPQ}
    url = urlunsplit(parts._replace(query=urlencode(kept, quote_via=quote)))
    host = kept.get("host") or parts.hostname or "localhost"
    if SANDBOX_MARK in (parts.password or "") and host_of(url):
        raise Refused(
            f"{url_env}: its password was made up by a sandbox, and {host} is not on this machine",
            reference="emulator-credentials-to-vendor",
            hint=f"export {url_env}=postgresql://…, in a new shell",
        )
    return Target(
        url_env=url_env,
        url=with_ca(url, environ.get(CA_FILE, ""), environ),
        schema=settings.get("schema") or query.get("schema") or "public",
        place=f"{host}:{port or 5432}{unquote(parts.path)}",
        pooled=query.get("pgbouncer") == "true" or port == 6543,
    )


@contextmanager
def reading(target: Target) -> Iterator[psycopg.Connection]:
    """One read-only snapshot of the database.

    Raises VendorUnavailable when it may work later, VendorRefused when it will not.
    """
    try:
        with psycopg.connect(
            target.url,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="taly",
            prepare_threshold=None,  # a pooler in transaction mode knows no prepared statements
            # A network that goes silent in the middle of an answer is noticed by nobody else.
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=10_000,
        ) as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            # Not as start-up options: pgbouncer refuses those.
            connection.execute(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}".encode())
            yield connection
    except psycopg.Error as error:
        raise meaning(target, error) from None  # libpq's own text may hold parts of the URL


def meaning(target: Target, error: psycopg.Error) -> VendorUnavailable | VendorRefused:
    """What a failed read means, in words that hold no secret."""
    said = _said(target, error)
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return VendorRefused(
            f"database {target.place}: {said}",
            reference="ledger-forbidden",
            hint=f"grant SELECT on {target.schema}._prisma_migrations to the user in"
            f" {target.url_env}",
        )
    if not isinstance(error, psycopg.OperationalError):
        return VendorRefused(
            f"database {target.place}: {said}",
            reference="ledger-unreadable",
            hint=f"prisma migrate status, with {target.url_env}",
        )
    if any(text in said for text in UNPROVEN):
        return VendorRefused(
            f"database {target.place} does not prove who it is: {said}",
            reference=UNTRUSTED,
            hint=UNTRUSTED_HINT,
        )
    if any(text in said for text in FINAL):
        return VendorRefused(
            f"database {target.place} does not let us in: {said}",
            reference="database-refused",
            hint=f"check the user, password and name in {target.url_env}",
        )
    return VendorUnavailable(
        f"database {target.place} does not answer: {said}",
        reference="database-unreachable",
        hint="taly status",
    )


def _said(target: Target, error: psycopg.Error) -> str:
    said = without_password(target, error.diag.message_primary or " ".join(str(error).split()))
    return said[-160:] or type(error).__name__


def without_password(target: Target, text: str) -> str:
    """The text with the URL's password starred out, however it is written there."""
    password = urlsplit(target.url).password
    for secret in (password, unquote(password or "")):
        if secret:
            text = text.replace(secret, "***")
    return text
