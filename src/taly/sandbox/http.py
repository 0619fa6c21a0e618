"""The HTTP side of every emulated vendor: a threaded loopback server, the journal, the faults."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug.exceptions import ClientDisconnected
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from taly.sandbox.world import HTTP_FAULTS, Fault, World

POLL_S = 0.05
"""Real seconds that `Listener.stop` waits at most for the accept loop to notice."""
REDACTED = "[redacted]"
SECRET_KEYS = ("password", "secret", "token", "credential", "environmentvariables", "authorization")


@dataclass(slots=True, kw_only=True)
class Reply:
    """What an emulated vendor answers, and what the journal says of the call."""

    response: Response
    target: str
    """The operation, as `Call.target`."""
    component: str = ""
    wrote: bool = False
    body: Any = field(default=None)
    """The parsed request body, for the journal."""


Handler = Callable[[Request], Reply]
Targeted = Callable[[Request], tuple[str, str]]
"""(target, component) of a request, known before it is handled, so that faults can hit it."""

Refused = Callable[[Request, Fault], Response]
"""The refusal that this fault asks for, in the vendor's own form."""


class VendorApp:
    """A WSGI application: one emulated vendor's handler, its faults and its journal."""

    def __init__(
        self,
        *,
        world: World,
        vendor: str,
        handler: Handler,
        targeted: Targeted,
        refused: Refused | None = None,
    ) -> None:
        """`refused` words an injected refusal as the vendor would; None = vendor-neutral JSON."""
        self._refused = refused
        self._world = world
        self._vendor = vendor
        self._handler = handler
        self._targeted = targeted

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        try:
            request.get_data(cache=True)
        except ClientDisconnected as gone:  # a client that was killed while it spoke
            raise ConnectionError("the client is gone") from gone
        at = self._world.clock.now()
        target, component = self._targeted(request)
        fault = self._world.faults.take(
            vendor=self._vendor, component=component, call=target, kinds=HTTP_FAULTS
        )
        if fault and fault.kind == "delay":
            time.sleep(fault.seconds)
        if fault and fault.kind in ("refuse", "lose-request"):
            answer = self._refused(request, fault) if self._refused else refusal(fault)
            reply = Reply(response=answer, target=target, component=component)
        else:
            reply = self._handler(request)
        self._world.journal.add(
            at=at,
            vendor=self._vendor,
            method=request.method,
            target=reply.target,
            component=reply.component,
            body=redacted(reply.body, self._world.secrets),
            status=reply.response.status_code,
            wrote=reply.wrote,
            fault=fault.kind if fault else "",
        )
        if fault and fault.kind in ("lose-request", "lose-reply"):
            drop_connection(environ)
        return reply.response(environ, start_response)


def refusal(fault: Fault) -> Response:
    """A vendor-neutral refusal; Retry-After is what both frontends' vendors send."""
    body = json.dumps({"error": {"code": "fault", "message": "injected by the sandbox"}})
    return Response(
        body,
        status=fault.status,
        mimetype="application/json",
        headers={"Retry-After": "1"} if fault.status in (429, 503) else None,
    )


def drop_connection(environ: WSGIEnvironment) -> None:
    """Close the client's connection without an answer."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionError("the sandbox dropped this connection on purpose")


def redacted(value: Any, secrets: set[str]) -> Any:
    """A copy of parsed JSON without secrets, by key name and by known value."""
    if isinstance(value, dict):
        return {
            key: REDACTED if _is_secret_key(key) else redacted(inner, secrets)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [redacted(inner, secrets) for inner in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, REDACTED)
    return value


def _is_secret_key(key: str) -> bool:
    return any(word in key.lower() for word in SECRET_KEYS)


class _QuietHandler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        """The journal is our log."""

    def send_response(self, code: int, message: str | None = None) -> None:
        """No `Server`, and no `Date` of the machine's: where one is sent, it is the vendor's."""
        self.send_response_only(code, message)


class Listener:
    """A WSGI application served on a loopback port, from threads of this process."""

    def __init__(self, app: Any, *, port: int = 0) -> None:
        self._app = app
        self._open: set[socket.socket] = set()
        self._make(port)

    def _make(self, port: int) -> None:
        self._server: BaseWSGIServer = make_server(
            "127.0.0.1", port, self._app, threaded=True, request_handler=_handler(self._open)
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_S,), daemon=True
        )

    @property
    def url(self) -> str:
        """Where it listens, without a trailing slash."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> "Listener":
        """Begin to serve."""
        self._thread.start()
        return self

    def restart(self, away_s: float) -> None:
        """Cut every connection, answer nobody for so many real seconds, and serve again there.

        What a request under way was doing is done to its end; its answer reaches nobody.
        """
        port = self._server.server_port
        self.stop()
        with socket.socket() as held:  # bound and not listening: ours, and connections are refused
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("127.0.0.1", port))
            for connection in tuple(self._open):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            time.sleep(away_s)
            self._make(port)
        self.start()

    def stop(self) -> None:
        """End the server and wait for its thread; one that never started is only closed."""
        if self._thread.ident is not None:
            self._server.shutdown()
            self._thread.join(timeout=5)
        self._server.server_close()


def _handler(open_: set[socket.socket]) -> type[_QuietHandler]:
    """A handler of connections that notes which are open."""

    class Noting(_QuietHandler):
        def setup(self) -> None:
            super().setup()
            open_.add(self.connection)

        def finish(self) -> None:
            open_.discard(self.connection)
            super().finish()

    return Noting
