"""An image as a real process, and the service URL in front of whichever process is live."""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Literal
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug.wrappers import Request, Response

from taly.sandbox.ecr import Build
from taly.sandbox.http import Listener

Command = Callable[[Build, int], list[str]]
"""The command line that runs a build on a port; it prints `ready` once it listens."""

KEPT_ENV = ("PATH", "HOME", "LANG", "PYTHONPATH", "VIRTUAL_ENV", "SYSTEMROOT", "TMPDIR")
FORWARD_TIMEOUT_S = 10.0
HOP_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "host", "content-length"})


def backend_command(build: Build, port: int) -> list[str]:
    """The sandbox's own backend at that build."""
    outcome = "broken" if build.outcome == "broken" else "ok"
    return [
        *(sys.executable, "-m", "taly.sandbox.backend", "--port", str(port)),
        *("--commit", build.commit, "--outcome", outcome),
        *("--schema-version", str(build.schema_version), "--fails", build.fails),
        "--until-stdin-closes",
    ]


class AppProcess:
    """One image running: a child process of the sandbox, ended by its id."""

    def __init__(
        self, command: Command, build: Build, env: Mapping[str, str], *, health_path: str = ""
    ) -> None:
        """Start it; `health_path` is asked once it listens (empty = listening is enough)."""
        self.port = _free_port()
        self.state: Literal["starting", "ready", "dead"] = "starting"
        self.settled = threading.Event()
        self._health_path = health_path
        kept = {name: os.environ[name] for name in KEPT_ENV if name in os.environ}
        self._process = subprocess.Popen(
            command(build, self.port),
            env={**kept, **env, "PORT": str(self.port)},
            stdin=subprocess.PIPE,  # its end tells the child that the sandbox is gone
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the child is gone."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """Ask it to end; `join` waits for that."""
        self.state = "dead"
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def join(self, timeout_s: float = 3.0) -> None:
        """Wait until it has ended; kill it when it does not."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._watcher.join(timeout_s)

    def _watch(self) -> None:
        """Read its output: `ready`, and the end."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip() == "ready" and self.state == "starting":
                self.state = "ready" if self._healthy() else "dead"
                self.settled.set()
        self.state = "dead"
        self.settled.set()
        self._process.wait()
        self._process.stdout.close()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _healthy(self) -> bool:
        if not self._health_path:
            return True
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self._health_path)
            return connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class Front:
    """A service's URL on loopback: forwards to the live process, answers 503 when there is none."""

    def __init__(self) -> None:
        self.live: AppProcess | None = None
        self._listener = Listener(self._app)

    @property
    def url(self) -> str:
        """Where users reach the service."""
        return self._listener.url

    def start(self) -> None:
        """Begin to listen."""
        self._listener.start()

    def stop(self) -> None:
        """Stop listening."""
        self._listener.stop()

    def _app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        live = self.live
        response = _unavailable() if live is None else _forward(request, live.port)
        return response(environ, start_response)


def _forward(request: Request, port: int) -> Response:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=FORWARD_TIMEOUT_S)
    headers = {name: value for name, value in request.headers if name.lower() not in HOP_HEADERS}
    try:
        path = request.environ.get("REQUEST_URI") or request.path
        connection.request(request.method, path, request.get_data() or None, headers)
        reply = connection.getresponse()
        body = reply.read()
    except (OSError, http.client.HTTPException):
        return _unavailable()
    finally:
        connection.close()
    kept = [(name, value) for name, value in reply.getheaders() if name.lower() not in HOP_HEADERS]
    return Response(body, status=reply.status, headers=kept)


def _unavailable() -> Response:
    return Response('{"message": "no healthy instance"}', status=503, mimetype="application/json")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
