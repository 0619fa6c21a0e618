"""HTTP for vendors that have no official Python client: time-outs, retried reads, clear errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import stamina

from taly.errors import VendorRefused, VendorUnavailable

TIMEOUT_S = 20.0
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


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

    def __init__(
        self,
        *,
        vendor: str,
        base_url: str,
        token: str,
        timeout_s: float = TIMEOUT_S,
        read_attempts: int = 4,
    ) -> None:
        """Prepare a client; nothing is sent yet.

        `token` goes into the Authorization header and nowhere else.
        """
        self.vendor = vendor
        self._attempts = read_attempts
        self._client = httpx2.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            timeout=timeout_s,
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=64, max_keepalive_connections=32),
        )

    def read(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        """GET, tried again on passing failures (a read changes nothing).

        Raises VendorUnavailable, VendorRefused.
        """
        retrying = stamina.retry_context(
            on=VendorUnavailable,
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
        try:
            reply = self._client.request(method, path, params=params, json=json)
        except httpx2.HTTPError as error:
            raise VendorUnavailable(
                f"{self.vendor}: no answer to {call} ({type(error).__name__})",
                reference=f"{self.vendor}-unreachable",
                hint="taly status",
            ) from error
        body = _json_or_none(reply)
        if reply.status_code < 300:
            headers = {name.lower(): value for name, value in reply.headers.items()}
            return Answer(status=reply.status_code, headers=headers, body=body)
        raise self._error(call, reply.status_code, body, reply.text)

    def _error(
        self, call: str, status: int, body: Any, text: str
    ) -> VendorUnavailable | VendorRefused:
        said = _message(body) or " ".join(text.split())[:120] or "no reason given"
        kind = VendorUnavailable if status in PASSING else VendorRefused
        return kind(
            f"{self.vendor}: {call} answered {status}: {said}",
            reference=f"{self.vendor}-{status}",
            hint="taly status",
        )


def _json_or_none(reply: httpx2.Response) -> Any:
    if "json" not in reply.headers.get("content-type", ""):
        return None
    try:
        return reply.json()
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
