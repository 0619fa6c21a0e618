"""Other databases of the same server, by URL, and our sessions with them by name."""

from dataclasses import replace
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from taly.database.connection import Target

WRITABLE = "-c default_transaction_read_only=off"
"""A database that was put aside lets nobody write by default; we may."""


def database_of(target: Target) -> str:
    """The name of the database that a target leads to."""
    return unquote(urlsplit(target.url).path.strip("/"))


def at(target: Target, database: str, *, session: str) -> Target:
    """Another database of the same server, to be written, under a session's name."""
    parts = urlsplit(target.url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    query["application_name"] = session
    query["options"] = f"{query.get('options', '')} {WRITABLE}".strip()
    url = parts._replace(
        path="/" + quote(database, safe=""), query=urlencode(query, quote_via=quote)
    )
    server = target.place.rpartition("/")[0]
    return replace(target, url=urlunsplit(url), place=f"{server}/{database}")


def server_of(target: Target) -> str:
    """host:port, for people."""
    return target.place.rpartition("/")[0] or target.place


def is_local(target: Target) -> bool:
    """Whether the server runs on this machine, so that its disk is one that we can look at."""
    parts = urlsplit(target.url)
    host = dict(parse_qsl(parts.query)).get("host") or parts.hostname or ""
    return host in ("", "localhost", "127.0.0.1", "::1") or host.startswith("/")
