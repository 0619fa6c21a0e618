"""A service on the emulated App Runner with four releases, the last one bad, and a provider."""

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
from aws_shapes import Validated
from botocore.config import Config
from botocore.session import Session

from taly.clock import ScaledClock
from taly.model.environment import Component
from taly.providers.apprunner import AppRunnerProvider
from taly.sandbox.apprunner import AppRunnerEmulator
from taly.sandbox.ecr import Build
from taly.sandbox.emulator import Deploy, SandboxComponent
from taly.sandbox.http import Listener
from taly.sandbox.world import Call, Fault, VirtualClock, World

SERVICE = "taly-backend"
NAME = "backend"
REGION = "eu-central-1"
R1, R2, R3, BAD = ("1a" * 20, "2b" * 20, "3c" * 20, "4d" * 20)
NEXT = "5e" * 20
SECRET = "sk_live_SANDBOXSECRET01"
SPEED = 2000.0
STANDIN = str(Path(__file__).with_name("standin_app.py"))
SEEDS = ((9, R1, "ok"), (6, R2, "ok"), (3, R3, "ok"), (1, BAD, "broken"))

AWS = Session()
SESSION = boto3.Session(
    aws_access_key_id="a", aws_secret_access_key="b", region_name=REGION, botocore_session=AWS
)


def standin(build: Build, port: int) -> list[str]:
    """The command line of the stand-in."""
    outcome = build.outcome if build.outcome == "broken" else "ok"
    if build.commit.startswith("dead"):
        outcome = "dies"
    return [sys.executable, "-S", STANDIN, str(port), build.commit, outcome]


class Stage:
    """One service, seeded and running once `run` was called."""

    def __init__(
        self,
        settings: Mapping[str, Any] | None = None,
        *,
        seeds: tuple[tuple[float, str, Any], ...] = SEEDS,
        speed: float = SPEED,
        command: Callable[[Build, int], list[str]] = standin,
    ) -> None:
        self.world = World(clock=VirtualClock(speed))
        self.emulator = AppRunnerEmulator(
            self.world, {"DATABASE_URL": "postgresql://taly:SANDBOXSECRET02@h/db"}, command=command
        )
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.world.clock.seek(self.now - timedelta(days=80))
        env = {"NODE_ENV": "production", "STRIPE_KEY": SECRET, "DATABASE_URL": "postgresql://x"}
        self.emulator.add(
            SandboxComponent(
                name=NAME,
                vendor="apprunner",
                settings={"service": SERVICE, "env": env, **(settings or {})},
            )
        )
        for days, commit, outcome in seeds:
            self.seed(days, commit, outcome)
        self._clients: dict[str, Any] = {}
        self.replies = Validated(self.emulator.wsgi)
        self.listener = Listener(self.replies)
        self.component = Component(
            name=NAME, provider="apprunner", settings=self.emulator.settings(NAME)
        )
        self.environ = {
            "AWS_ENDPOINT_URL": self.listener.url,
            "AWS_ACCESS_KEY_ID": "AKIASANDBOX000000000",
            "AWS_SECRET_ACCESS_KEY": "SANDBOXSECRET03",
            "AWS_REGION": REGION,
        }

    def at(self, days_ago: float) -> None:
        self.world.clock.seek(self.now - timedelta(days=days_ago))

    def seed(self, days_ago: float, commit: str, outcome: Any = "ok", **settings: Any) -> None:
        self.at(days_ago)
        self.deploy(commit, outcome, **settings)

    def deploy(self, commit: str, outcome: Any = "ok", **settings: Any) -> None:
        self.emulator.deploy(
            Deploy(component=NAME, commit=commit, outcome=outcome, settings=settings)
        )

    def push(self, commit: str) -> None:
        self.deploy(commit, "broken")

    def run(self) -> "Stage":
        self.world.clock.seek(self.now)
        self.emulator.start()
        self.listener.start()
        self.world.clock.run()
        self.clock = ScaledClock.in_step(self.world.clock.describe())
        self.provider = self.make_provider()
        return self

    @contextmanager
    def still(self) -> Iterator[None]:
        """The vendor's time stands still: what is under way stays so, however slow the machine."""
        clock = self.world.clock
        clock.seek(clock.now())
        yield
        clock.seek(max(clock.now(), self.clock.now()))
        clock.run()

    def stop(self) -> None:
        """End it; no reply of the whole test may have broken botocore's model."""
        self.emulator.stop()
        self.listener.stop()
        assert self.replies.problems == []

    def make_provider(self) -> AppRunnerProvider:
        made = AppRunnerProvider(self.environ, self.clock)
        made._clients._session = AWS  # AWS's files are read once for all tests
        return made

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = SESSION.client(
                service,
                endpoint_url=self.listener.url,
                config=Config(retries={"total_max_attempts": 1}),
            )
        return self._clients[service]

    def fault(self, kind: str, **facts: Any) -> None:
        self.world.faults.add(Fault(kind=kind, **facts))

    @property
    def arn(self) -> str:
        return str(self.service["arn"])

    @property
    def service(self) -> dict[str, Any]:
        """The emulator's own knowledge, processes included."""
        found: dict[str, Any] = self.emulator.state()["services"][NAME]
        return found

    @property
    def images(self) -> dict[str, dict[str, Any]]:
        """By commit; the newest build of it."""
        images = self.emulator.state()["repositories"][NAME]
        return {image["commit"]: image for image in images}

    def digest(self, commit: str) -> str:
        return str(self.images[commit]["digest"])

    @property
    def uri(self) -> str:
        return f"123456789012.dkr.ecr.{REGION}.amazonaws.com/{SERVICE}"

    def page(self) -> tuple[int, dict[str, Any]]:
        """What users get."""
        try:
            with urllib.request.urlopen(self.emulator.url(NAME) + "/health", timeout=5) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def version(self) -> str:
        """The commit that answers."""
        return str(self.page()[1].get("version", ""))

    def rested(self) -> "Stage":
        """Wait until nothing is under way."""
        until(lambda: self.service["status"] != "OPERATION_IN_PROGRESS")
        return self

    def calls(self, target: str = "", after: int = 0) -> list[Call]:
        return [one for one in self.world.journal.calls(after) if target in one.target]


def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait for a condition."""
    last = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < last, "it did not come to that"
        time.sleep(0.01)
