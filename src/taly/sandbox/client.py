"""A client of the control API, for the command line, the demo, tests and rehearsals."""

import json
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError, URLError

from taly.errors import UsageError


class ControlClient:
    """One sandbox's control API."""

    def __init__(self, url: str, token: str, *, timeout_s: float = 30.0) -> None:
        """`url` and `token` are those in sandbox.json."""
        self._url = url
        self._token = token
        self._timeout_s = timeout_s
        # No proxy of the environment's: this is loopback.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def calls(self, after: int = 0) -> list[dict[str, Any]]:
        """The requests that the vendors got, those numbered above `after`."""
        calls: list[dict[str, Any]] = self.send("GET", f"/_sandbox/calls?after={after}")["calls"]
        return calls

    def writes(self, after: int = 0) -> list[dict[str, Any]]:
        """Those of the calls that changed something."""
        return [call for call in self.calls(after) if call["wrote"]]

    def state(self) -> dict[str, Any]:
        """All that the emulated vendors hold."""
        state: dict[str, Any] = self.send("GET", "/_sandbox/state")
        return state

    def environ(self) -> dict[str, str]:
        """The variables with which clients reach this platform."""
        environ: dict[str, str] = self.send("GET", "/_sandbox/env")
        return environ

    def clock(
        self, *, advance_s: float | None = None, speed: float | None = None
    ) -> dict[str, Any]:
        """The virtual clock, after it was changed if anything is given."""
        given = {"advance_s": advance_s, "speed": speed}
        body = {name: value for name, value in given.items() if value is not None}
        method = "POST" if body else "GET"
        clock: dict[str, Any] = self.send(method, "/_sandbox/clock", body or None)
        return clock

    def push(self, commit: str, **facts: Any) -> list[str]:
        """A deploy arrives now; the components that it went to. `facts`: see the reference."""
        answer = self.send("POST", "/_sandbox/push", {"commit": commit, **facts})
        components: list[str] = answer["components"]
        return components

    def change(self, component: str, **change: Any) -> None:
        """Somebody changes something in the vendor's console now."""
        self.send("POST", "/_sandbox/change", {"component": component, "change": change})

    def faults(self, *faults: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Arm these faults; all that are armed then."""
        method, body = ("POST", [dict(fault) for fault in faults]) if faults else ("GET", None)
        armed: list[dict[str, Any]] = self.send(method, "/_sandbox/faults", body)["faults"]
        return armed

    def clear_faults(self) -> None:
        """Disarm all faults."""
        self.send("DELETE", "/_sandbox/faults")

    def writers(self, after: int = 0) -> list[dict[str, Any]]:
        """The customers' requests, those numbered above `after`, in the order of their ends."""
        answer = self.send("GET", f"/_sandbox/writers?after={after}")
        requests: list[dict[str, Any]] = answer["requests"]
        return requests

    def set_writers(self, count: int) -> int:
        """So many customers keep booking from now on; 0 ends it, once all have their answers."""
        return int(self.send("POST", "/_sandbox/writers", {"count": count})["count"])

    def restart(self, vendor: str, away_s: float) -> None:
        """Let a vendor's API be away for so many real seconds; returns when it is back."""
        self.send("POST", "/_sandbox/restart", {"vendor": vendor, "away_s": away_s})

    def send(self, method: str, path: str, body: object = None) -> Any:
        """One request; UsageError when it is refused or nobody answers."""
        request = urllib.request.Request(
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
            },
        )
        try:
            with self._opener.open(request, timeout=self._timeout_s) as reply:
                return json.load(reply)
        except HTTPError as error:
            with error:
                raise _refused(error) from error
        except (URLError, OSError) as error:
            raise UsageError(
                f"the sandbox at {self._url} does not answer ({type(error).__name__})",
                reference="sandbox-silent",
                hint="taly sandbox status",
            ) from error


def _refused(error: HTTPError) -> UsageError:
    try:
        said = json.load(error)["error"]
        message, reference = said["message"], said["reference"]
    except (ValueError, KeyError, TypeError):
        message, reference = f"status {error.code}", "unreadable"
    return UsageError(
        f"the sandbox refused: {message}",
        reference=f"sandbox-{reference}",
        hint="see docs/reference/sandbox-control.md",
    )
