"""What may be sent where, and whom we trust: for every client of a vendor or a database.

Verification of certificates cannot be switched off here, and nothing else makes a TLS context.
"""

import atexit
import os
import ssl
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from taly.errors import Refused, UsageError

CA_FILE = "TALY_CA_FILE"
"""The variable with certificates (PEM) that are trusted besides the machine's own."""
SANDBOX_MARK = "SANDBOXSECRET"
"""Stands in every secret that a sandbox makes up, so that they are told from real ones."""
NOBODYS = frozenset({"test", "testing"})
"""What other emulators take for a key: nobody's real one."""


def is_loopback(host: str | None) -> bool:
    """Whether that name or address is this machine's own, whatever a resolver says."""
    name = (host or "").strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or bool(mapped and mapped.is_loopback)


def is_made_up(secret: str) -> bool:
    """Whether a sandbox made this credential up, or nobody could mean it."""
    return SANDBOX_MARK in secret or secret in NOBODYS


def check_endpoint(vendor: str, url: str, *, secret: str, variable: str, setting: str) -> None:
    """Refuse to send real credentials to an emulator, a sandbox's to a vendor, any in the clear.

    `variable` holds the credential, `setting` the endpoint. Nothing has been sent when this raises
    Refused; `secret` empty = a real one that somebody else keeps (AWS's own files).
    """
    parts = urlsplit(url)
    where = parts.hostname or "nowhere"
    if is_loopback(parts.hostname):
        if not is_made_up(secret):
            raise Refused(
                f"{vendor}: {setting} leads to this machine ({where}), and {variable} is none that"
                " a sandbox made up: real credentials are not sent to an emulator",
                reference="real-credentials-to-emulator",
                hint=f'unset {setting}   (for a sandbox: eval "$(taly sandbox env)")',
            )
    elif is_made_up(secret):
        raise Refused(
            f"{vendor}: {variable} was made up by a sandbox, and {where} is not on this machine",
            reference="emulator-credentials-to-vendor",
            hint=f"export {variable}=<your own>, in a new shell",
        )
    elif parts.scheme != "https":
        raise Refused(
            f"{vendor}: {setting} is {parts.scheme}://{where}, where everybody on the way reads"
            f" {variable}",
            reference="endpoint-not-encrypted",
            hint=f"export {setting}=https://…",
        )


ENDPOINTS = {
    "netlify": ("NETLIFY_API_URL", "NETLIFY_AUTH_TOKEN"),
    "vercel": ("VERCEL_API_URL", "VERCEL_TOKEN"),
    "apprunner": ("AWS_ENDPOINT_URL", "AWS_SECRET_ACCESS_KEY"),
    "serverless": ("AWS_ENDPOINT_URL", "AWS_SECRET_ACCESS_KEY"),
}
"""Provider → the variables with its vendor's address and its credential."""


def check_sandboxed(provider: str, environ: Mapping[str, str]) -> None:
    """Refuse to ask a real vendor about a sandbox's platform: its variables were not set here."""
    if provider not in ENDPOINTS:
        return
    setting, variable = ENDPOINTS[provider]
    secret = environ.get(variable, "")
    address = environ.get(setting, "")
    if secret and not is_made_up(secret) and not is_loopback(urlsplit(address).hostname):
        raise Refused(
            f"taly.toml belongs to a sandbox, and {variable} is a real one: it would go to the real"
            f" {provider}",
            reference="sandbox-with-real-credentials",
            hint='eval "$(taly sandbox env)"',
        )


_reading = threading.Lock()


def certificates(trust_env: bool = True, *, tls: bool = True, ca_file: str = "") -> ssl.SSLContext:
    """The certificates that this machine trusts, and `ca_file`'s, read once for all clients.

    httpx reads them anew for each client, which takes longer than most requests. Without `tls`,
    for a client that only ever speaks plain HTTP, none are read, and nobody would be trusted.
    """
    if not tls:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with _reading:
        return _certificates(trust_env, ca_file)


@cache
def _certificates(trust_env: bool, ca_file: str) -> ssl.SSLContext:
    import httpx2  # only those who speak HTTP pay for it

    context = httpx2.create_ssl_context(trust_env=trust_env)
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise _unreadable(ca_file, error) from None
    return context


@cache
def bundle(ca_file: str, base: str) -> str:
    """A file with the certificates of both, for libraries that take one file; gone at the end.

    UsageError when one cannot be read.
    """
    try:
        ssl.create_default_context(cafile=ca_file)
        both = f"{Path(base).read_text('utf-8')}\n{Path(ca_file).read_text('utf-8')}"
    except (OSError, ssl.SSLError, UnicodeDecodeError) as error:
        raise _unreadable(ca_file, error) from None
    handle, name = tempfile.mkstemp(prefix="taly-ca-", suffix=".pem")
    atexit.register(_remove, name)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(both)
    return name


def _remove(name: str) -> None:
    with suppress(OSError):
        Path(name).unlink()


def _unreadable(ca_file: str, error: Exception) -> UsageError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else "no certificates"
    return UsageError(
        f"network.ca_file: {ca_file} cannot be read: {why}",
        reference="ca-file-unreadable",
        hint=f"openssl x509 -in {ca_file} -noout -subject",
    )


UNTRUSTED = "certificate-untrusted"
UNTRUSTED_HINT = "set `ca_file` under [network] in taly.toml, if the authority is your own"


def untrusted(error: BaseException) -> str:
    """Why a certificate was not believed, in OpenSSL's words; empty when that is not what failed.

    Then nothing was sent: the handshake comes first.
    """
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            break
        if isinstance(seen, ssl.SSLCertVerificationError):
            return seen.verify_message or "it cannot be verified"
        seen = seen.__cause__ or seen.__context__
    return ""


def with_ca(url: str, ca_file: str, environ: Mapping[str, str]) -> str:
    """A PostgreSQL URL that trusts `ca_file`, where it says nothing of its own.

    A URL without `sslmode` then demands TLS and the right name. One that leads to this machine, or
    that names its certificates or `sslmode=disable|allow|prefer`, stays as it is. So does any other
    string, and one whose `sslmode` or certificates libpq's variables give.
    """
    parts = urlsplit(url)
    if not ca_file or parts.scheme not in ("postgres", "postgresql"):
        return url
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    mode = query.get("sslmode") or environ.get("PGSSLMODE", "")
    if host_of(url) == "" or "sslrootcert" in query or environ.get("PGSSLROOTCERT"):
        return url
    if mode not in ("", "require", "verify-ca", "verify-full"):
        return url
    query |= {"sslmode": mode or "verify-full", "sslrootcert": ca_file}
    return urlunsplit(parts._replace(query=urlencode(query, quote_via=quote)))


def host_of(url: str) -> str:
    """The host of a PostgreSQL URL; empty when that is this machine, or a socket on it."""
    parts = urlsplit(url)
    host = dict(parse_qsl(parts.query)).get("host") or parts.hostname or ""
    return "" if is_loopback(host) or host.startswith("/") else host


def tls_mode(url: str, environ: Mapping[str, str]) -> str:
    """How far the server of a PostgreSQL URL proves who it is: `verified`, `unverified`, `off`.

    libpq verifies the chain wherever it has a root certificate; PGSSLMODE counts as it does for
    libpq. A server on this machine counts as verified.
    """
    query = dict(parse_qsl(urlsplit(url).query))
    mode = query.get("sslmode") or environ.get("PGSSLMODE") or "prefer"
    if host_of(url) == "" or mode in ("verify-ca", "verify-full"):
        return "verified"
    if mode == "require" and (query.get("sslrootcert") or environ.get("PGSSLROOTCERT")):
        return "verified"
    return "off" if mode in ("disable", "allow") else "unverified"
