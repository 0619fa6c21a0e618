"""Vendors that answer anything: one reply of an observation is hostile, the others are good."""

import json
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2

from taly.engine.verify import ask
from taly.model.environment import Component, HealthCheck
from taly.model.ports import Provider
from taly.providers.netlify import NetlifyProvider
from taly.providers.vercel import VercelProvider
from taly.sandbox.emulator import Deploy, SandboxComponent
from taly.sandbox.netlify import NetlifyEmulator
from taly.sandbox.vercel import VercelEmulator
from taly.sandbox.world import VirtualClock, World
from tools.fuzz.documents import Reader
from tools.fuzz.still import Still

COMMITS = ("a" * 40, "b" * 40)
TOKENS = ("nfp_SANDBOXSECRET01", "SANDBOXSECRETtoken")
REAL = httpx2.Client


@dataclass
class Vendor:
    """One that was recorded once and is played back."""

    name: str
    provider: Callable[[], Provider]
    component: Component
    emulator: Any
    replies: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    hostile: tuple[str, bytes] = ("", b"")
    """Which reply is another, and what it is."""

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """The reply to a request."""
        key = f"{request.method} {request.url.raw_path.decode()}"
        headers = {"content-type": "application/json"}
        if key == self.hostile[0]:
            return httpx2.Response(200, content=self.hostile[1], headers=headers)
        if key not in self.replies:
            if self.hostile[0]:
                return httpx2.Response(404, json={"code": 404, "message": "no"}, headers=headers)
            with REAL(transport=httpx2.WSGITransport(app=self.emulator.wsgi)) as client:
                reply = client.send(request)
            self.replies[key] = (reply.status_code, reply.content)
        status, content = self.replies[key]
        return httpx2.Response(status, content=content, headers=headers)

    def observe(self) -> None:
        """What the provider makes of it."""
        with self._connected():
            provider = self.provider()
            try:
                repr(provider.observe(self.component))
            finally:
                getattr(provider, "close", bool)()

    @contextmanager
    def _connected(self) -> Any:
        def client(**given: Any) -> httpx2.Client:
            return REAL(**{**given, "transport": httpx2.MockTransport(self.answer)})

        with patch.object(httpx2, "Client", client):
            yield


def vendors() -> list[Reader]:
    """A reader for every reply that an observation asks for, and one for an application's."""
    found = [_health()]
    for vendor in (_netlify(), _vercel()):
        vendor.observe()
        vendor.emulator.stop()
        for key in tuple(vendor.replies):
            found.append(_reader(vendor, key))
    return found


def _reader(vendor: Vendor, key: str) -> Reader:
    def read(data: bytes, folder: Path) -> None:
        vendor.hostile = (key, data)
        vendor.observe()

    return Reader(f"{vendor.name} {key.partition('?')[0]}", [vendor.replies[key][1]], read)


def _health() -> Reader:
    check = HealthCheck(url="http://app.example/health", expect={"status": "ok", "a.0.b": "1"})

    def read(data: bytes, folder: Path) -> None:
        transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=data))
        with REAL(transport=transport) as client:
            ask(check, client).encode()

    body = json.dumps({"status": "ok", "a": [{"b": 1}]}).encode()
    return Reader("health-answer", [body], read)


def _seeded(emulator: Any, vendor: str, world: World) -> datetime:
    now = datetime.now(UTC).replace(microsecond=0)
    world.secrets.update(TOKENS)
    world.clock.seek(now - timedelta(days=30))
    emulator.add(SandboxComponent(name="web", vendor=vendor, settings={}))
    for days, commit in zip((3, 1), COMMITS, strict=True):
        world.clock.seek(now - timedelta(days=days))
        emulator.deploy(Deploy(component="web", commit=commit, outcome="ok"))
    world.clock.seek(now)
    return now


def _netlify() -> Vendor:
    world = World(clock=VirtualClock())
    emulator = NetlifyEmulator(world)
    now = _seeded(emulator, "netlify", world)
    environ = {"NETLIFY_API_URL": "http://127.0.0.1:9/api/v1", "NETLIFY_AUTH_TOKEN": TOKENS[0]}
    return Vendor(
        "netlify",
        lambda: NetlifyProvider(environ, Still(now)),
        Component(name="web", provider="netlify", settings=emulator.settings("web")),
        emulator,
    )


def _vercel() -> Vendor:
    world = World(clock=VirtualClock())
    emulator = VercelEmulator(world)
    now = _seeded(emulator, "vercel", world)
    environ = {"VERCEL_API_URL": "http://127.0.0.1:9", "VERCEL_TOKEN": TOKENS[1]}
    return Vendor(
        "vercel",
        lambda: VercelProvider(environ, Still(now)),
        Component(name="web", provider="vercel", settings=emulator.settings("web")),
        emulator,
    )
