"""HTTP for vendors that have no official Python client: time-outs, retried reads, clear errors."""

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx2
import stamina

from taly.errors import VendorError, VendorRefused, VendorUnavailable
from taly.hostile import json_value
from taly.model.ports import Clock
from taly.transport import UNTRUSTED, UNTRUSTED_HINT, certificates, is_loopback, untrusted

log = logging.getLogger(__name__)

TIMEOUT_S = 20.0
MAX_REPLY_S = 60.0
"""Real seconds for one answer: TIMEOUT_S is for each piece, and they may come drop by drop."""
ADDRESS = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[^/\\?#\x00-\x20\x7f]{0,500})+")
"""A path without a way up and with nothing unprintable: its ids come from taly.toml or a vendor."""
MAX_REPLY_BYTES = 32 * 2**20
"""Of one answer, unpacked; a page of a hundred deployments takes 300 kB."""
PASSING = frozenset({408, 425, 429})
"""Besides all of 5xx: proxies have their own (520 to 527), and none says what became of a write."""
PAUSES = 3
"""How often one read waits for a rate limit to pass."""
PAUSE_MAX_S = 90.0
"""The longest such wait, on the clock that was handed in."""

Pause = Callable[[Mapping[str, str], datetime], float | None]
"""A vendor's rate-limit convention: (headers of a 429 or 503 in lower case, now) → seconds to
wait, or None when they say nothing. Conventions differ: never share one between vendors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a vendor's status code means to a tired person."""

    reference: str
    """Kebab-case, e.g. `netlify-token-invalid`."""
    hint: str
    """A command that helps."""


class Throttled(VendorUnavailable):
    """The vendor's rate limit: it says itself when to come back."""

    wait_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A vendor's answer of status 2xx."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Any
    """Parsed JSON; None where the body was empty or not JSON (204, an empty 201)."""


class VendorHttp:
    """One vendor's API under one base URL. Safe to use from many threads."""

    transport: httpx2.BaseTransport | None = None
    """What carries the requests; None = the network. The simulator has a world of its own."""

    def __init__(
        self,
        *,
        vendor: str,
        base_url: str,
        token: str,
        timeout_s: float = TIMEOUT_S,
        read_attempts: int = 4,
        clock: Clock | None = None,
        pause: Pause | None = None,
        refusals: Mapping[int, Refusal] | None = None,
        ca_file: str = "",
    ) -> None:
        """Prepare a client; nothing is sent yet.

        `token` goes into the Authorization header and nowhere else. With `clock` and `pause`,
        reads wait out the vendor's rate limit. `refusals` names status codes; others become
        `<vendor>-<status>`. The certificates of `ca_file` are trusted besides the machine's.
        """
        self.vendor = vendor
        self._attempts = read_attempts
        self._clock = clock
        self._pause = pause
        self._refusals = refusals or {}
        # A proxy that the machine is set up for cannot reach this machine's own sandbox.
        url = httpx2.URL(base_url)
        trust_env = not is_loopback(url.host)
        self._client = httpx2.Client(
            base_url=base_url,
            verify=certificates(trust_env, tls=url.scheme != "http", ca_file=ca_file),
            # A secret store's line end is no part of the token.
            headers={"Authorization": f"Bearer {token.strip()}", "Accept": "application/json"},
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=trust_env,
            transport=self.transport,
            limits=httpx2.Limits(max_connections=64, max_keepalive_connections=32),
        )

    def read(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        """GET, tried again on passing failures (a read changes nothing).

        Raises VendorUnavailable, VendorRefused.
        """
        for _ in range(PAUSES):
            try:
                return self._retried(path, params)
            except Throttled as error:
                if self._clock is None or error.wait_s > PAUSE_MAX_S:
                    raise
                self._clock.sleep(error.wait_s)
        return self._retried(path, params)

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def _retried(self, path: str, params: Mapping[str, str] | None) -> Answer:
        retrying = stamina.retry_context(
            on=_passes_soon,
            attempts=self._attempts,
            wait_initial=0.2,
            wait_max=4.0,
            timeout=30,
        )
        for attempt in retrying:
            with attempt:
                return self._send("GET", path, params, None)
        raise AssertionError("unreachable: the retry context raises")

    def write(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        json: object | None = None,
    ) -> Answer:
        """Send a request that may change something: exactly once, never tried again.

        Raises VendorUnavailable when it is not known whether it was applied, VendorRefused when
        it surely was not.
        """
        return self._send(method, path, params, json)

    def _send(
        self, method: str, path: str, params: Mapping[str, str] | None, json: object | None
    ) -> Answer:
        call = f"{method} {path}"
        if not ADDRESS.fullmatch(path):
            raise VendorRefused(
                f"{self.vendor}: {call[:200]!r} is no address: an id in it is none",
                reference=f"{self.vendor}-odd-address",
                hint="taly status",
            )
        begun = time.monotonic()
        try:
            reply = self._bounded(method, path, params, json)
            took = time.monotonic() - begun
            log.debug("%s %s: %d in %.2f s", self.vendor, call, reply.status_code, took)
        except httpx2.HTTPError as error:
            log.debug("%s %s: %s", self.vendor, call, type(error).__name__)
            if why := untrusted(error):
                raise VendorRefused(
                    f"{self.vendor}: its certificate is not trusted ({why}): nothing was sent",
                    reference=UNTRUSTED,
                    hint=UNTRUSTED_HINT,
                ) from error
            raise VendorUnavailable(
                f"{self.vendor}: no answer to {call} ({type(error).__name__})",
                reference=f"{self.vendor}-unreachable",
                hint="taly status",
            ) from error
        body = _json_or_none(reply)
        headers = {name.lower(): value for name, value in reply.headers.items()}
        if reply.status_code < 300:
            return Answer(status=reply.status_code, headers=headers, body=body)
        failure = self._error(call, reply.status_code, body, reply.text)
        wait_s = self._wait_s(reply.status_code, headers)
        if wait_s is None:
            raise failure
        throttled = Throttled(failure.message, reference=failure.reference, hint=failure.hint)
        throttled.wait_s = max(0.0, wait_s)
        raise throttled

    def _bounded(
        self, method: str, path: str, params: Mapping[str, str] | None, json: object | None
    ) -> httpx2.Response:
        """The reply, unpacked: a few bytes may unpack to more than this machine has."""
        with self._client.stream(method, path, params=params, json=json) as reply:
            parts, size, until = [], 0, time.monotonic() + MAX_REPLY_S
            for part in reply.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > MAX_REPLY_BYTES or time.monotonic() > until:
                    raise httpx2.ReadError("the answer has no end")
        headers = [
            (name, value)
            for name, value in reply.headers.multi_items()
            if name.lower() not in ("content-encoding", "content-length", "transfer-encoding")
        ]
        return httpx2.Response(reply.status_code, headers=headers, content=b"".join(parts))

    def _wait_s(self, status: int, headers: Mapping[str, str]) -> float | None:
        if status not in (429, 503) or self._pause is None or self._clock is None:
            return None
        return self._pause(headers, self._clock.now())

    def _error(
        self, call: str, status: int, body: Any, text: str
    ) -> VendorUnavailable | VendorRefused:
        said = _message(body) or " ".join(text.split())[:120] or "no reason given"
        kind = VendorUnavailable if status in PASSING or status >= 500 else VendorRefused
        named = self._refusals.get(status)
        return kind(
            f"{self.vendor}: {call} answered {status}: {said}",
            reference=named.reference if named else f"{self.vendor}-{status}",
            hint=named.hint if named else "taly status",
        )


def told_whose(error: VendorRefused, owner: Callable[[], str]) -> VendorRefused:
    """The refusal of a read with the name of the token's owner, asked for by a harmless read.

    A token of the wrong account is the usual reason why a vendor knows nothing of a thing.
    """
    try:
        name = owner()
    except (VendorError, AttributeError):
        return error
    said = f"{error.message}; the token is {name}'s" if name else error.message
    return VendorRefused(said, reference=error.reference, hint=error.hint)


def _passes_soon(error: Exception) -> bool:
    return isinstance(error, VendorUnavailable) and not isinstance(error, Throttled)


def _json_or_none(reply: httpx2.Response) -> Any:
    if "json" not in reply.headers.get("content-type", ""):
        return None
    try:
        return json_value(reply.content, limit=MAX_REPLY_BYTES)
    except ValueError:
        return None


def _message(body: Any) -> str:
    """The vendor's own words: Netlify says `{code, message}`, Vercel `{error: {code, message}}`."""
    if not isinstance(body, dict):
        return ""
    inner = body.get("error")
    where = inner if isinstance(inner, dict) else body
    code, message = where.get("code", ""), where.get("message", "")
    return f"{code}: {message}" if isinstance(code, str) and code else str(message)
