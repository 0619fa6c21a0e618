"""AWS that answers anything: botocore reads one hostile reply of an observation of App Runner."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2
from botocore.awsrequest import AWSResponse
from botocore.httpsession import URLLib3Session

from taly.model.environment import Component
from taly.providers.apprunner import AppRunnerProvider
from taly.sandbox.apprunner import AppRunnerEmulator
from taly.sandbox.emulator import Deploy, SandboxComponent
from taly.sandbox.world import VirtualClock, World
from tools.fuzz.documents import Reader
from tools.fuzz.still import Still

ENVIRON = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "AKIASANDBOX000000000",
    "AWS_SECRET_ACCESS_KEY": "SANDBOXSECRET03",
    "AWS_REGION": "eu-central-1",
}
COMMITS = ("a" * 40, "b" * 40)


class _Raw:
    """A body as botocore wants to read it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self._body


@dataclass
class Amazon:
    """AWS as it was recorded once, by operation."""

    emulator: AppRunnerEmulator
    provider: AppRunnerProvider
    component: Component
    replies: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    hostile: tuple[str, bytes] = ("", b"")

    def send(self, request: Any) -> AWSResponse:
        """The reply to a request."""
        body = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
        headers = {name: _text(value) for name, value in request.headers.items()}
        key = f"{headers.get('X-Amz-Target', '')} {body.decode()}"
        if key not in self.replies:
            with httpx2.Client(transport=httpx2.WSGITransport(app=self.emulator.wsgi)) as client:
                reply = client.request(request.method, request.url, headers=headers, content=body)
            self.replies[key] = (reply.status_code, dict(reply.headers), reply.content)
        status, given, content = self.replies[key]
        if self.hostile[0] and key.startswith(self.hostile[0]):
            content = self.hostile[1]
        return AWSResponse(request.url, status, given, _Raw(content))

    def observe(self) -> None:
        """What the provider makes of it."""
        with self._connected():
            repr(self.provider.observe(self.component))

    @contextmanager
    def _connected(self) -> Iterator[None]:
        with patch.object(URLLib3Session, "send", lambda _, request: self.send(request)):
            yield


def amazon() -> list[Reader]:
    """A reader for each operation that an observation calls."""
    world = World(clock=VirtualClock())
    emulator = AppRunnerEmulator(world, {})
    now = datetime.now(UTC).replace(microsecond=0)
    world.clock.seek(now - timedelta(days=30))
    emulator.add(SandboxComponent(name="web", vendor="apprunner", settings={"service": "web"}))
    for days, commit in zip((3, 1), COMMITS, strict=True):
        world.clock.seek(now - timedelta(days=days))
        emulator.deploy(Deploy(component="web", commit=commit, outcome="ok"))
    world.clock.seek(now)
    component = Component(name="web", provider="apprunner", settings=emulator.settings("web"))
    one = Amazon(emulator, AppRunnerProvider(ENVIRON, Still(now)), component)
    one.observe()
    emulator.stop()
    first = {key.partition(" ")[0]: reply[2] for key, reply in reversed(one.replies.items())}
    return [_reader(one, operation, content) for operation, content in first.items()]


def _reader(one: Amazon, operation: str, content: bytes) -> Reader:
    def read(data: bytes, folder: Path) -> None:
        one.hostile = (operation, data)
        one.observe()

    return Reader(f"aws {operation.rpartition('.')[2]}", [content], read)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
