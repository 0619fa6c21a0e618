"""A running emulated AWS with one service, and the provider that talks to it over real HTTP."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from taly.aws import AwsClients
from taly.clock import ScaledClock
from taly.model.environment import Component
from taly.model.plan import Step, StepKind
from taly.model.ports import Attempt, InFlight, Probe, StepOptions
from taly.model.release import Deployment, Observed
from taly.providers.serverless import ServerlessProvider
from taly.sandbox.emulator import Deploy, SandboxComponent
from taly.sandbox.http import Listener
from taly.sandbox.serverless import ServerlessEmulator
from taly.sandbox.world import Call, Fault, VirtualClock, World

SPEED = 200.0
PATIENCE_S = 30.0
"""Real seconds after which a wait has failed."""
NAME = "taly-send-email"
STACK = "taly-send-email-production"
REGION = "eu-central-1"
DEPLOYS = ("1111111", "2222222", "3333333", "4444444")


@dataclass(kw_only=True)
class Rig:
    """One service, four past deploys a day apart, and the provider beside it."""

    world: World
    emulator: ServerlessEmulator
    provider: ServerlessProvider
    component: Component
    environ: Mapping[str, str]
    clock: ScaledClock
    started: list[Attempt] = field(default_factory=list)

    def observe(self) -> Observed:
        seen = self.provider.observe(self.component)
        assert isinstance(seen, Observed)
        return seen

    def target(self, back: int = 1) -> Deployment:
        """The deployment that many uploads before the live one."""
        history = sorted(self.observe().history, key=lambda one: one.id)
        live = next(number for number, one in enumerate(history) if one.is_live)
        return history[live - back]

    def plan(self, target: Deployment | None = None, *, allow: bool = False) -> Step:
        """The roll-back step."""
        seen = self.observe()
        options = StepOptions(allow_removals=allow)
        return self.provider.steps(seen, target or self.target(), options)[-1]

    def run(self, step: Step, key: str = "run1:step") -> Probe:
        """Act, then poll until the probe is no longer in flight."""
        intended = self.clock.now()
        receipt = self.provider.act(step, key)
        attempt = Attempt(key=key, intended_at=intended, receipt=receipt)
        self.started.append(attempt)
        return self.settled(step, attempt)

    def settled(self, step: Step, attempt: Attempt | None) -> Probe:
        """Poll until the probe is no longer in flight."""
        deadline = time.monotonic() + PATIENCE_S
        while isinstance(probe := self.provider.probe(step, attempt), InFlight):
            assert time.monotonic() < deadline, probe
            self.clock.sleep(4)
        return probe

    def wait_for(self, *statuses: str) -> None:
        """Wait until the stack has one of these statuses."""
        deadline = time.monotonic() + PATIENCE_S
        while self.state()["stack"] not in statuses:
            assert time.monotonic() < deadline, self.state()["stack"]
            self.clock.sleep(2)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.emulator.state()[NAME]
        return found

    def commit(self) -> str:
        """The commit whose code Lambda holds."""
        return str(self.state()["functions"]["send"]["commit"])

    def deploy(self, commit: str, *, outcome: Any = "ok", **settings: Any) -> None:
        self.emulator.deploy(
            Deploy(component=NAME, commit=commit, outcome=outcome, settings=settings)
        )

    def change(self, **change: Any) -> None:
        self.emulator.change(NAME, change)

    def fault(self, kind: str, **more: Any) -> None:
        self.world.faults.add(Fault(kind=kind, component=NAME, **more))

    def calls(self, text: str = "") -> list[Call]:
        return [call for call in self.world.journal.calls() if text in call.target]

    def writes(self) -> list[str]:
        """The operations that changed something, in order."""
        return [call.target for call in self.world.journal.calls() if call.wrote]

    def boto(self, service: str) -> Any:
        """A plain boto3 client, as anyone would use."""
        return front().clients.client(service, REGION)

    def undo(self, step: Step) -> Step:
        return replace(step, before=step.wanted, wanted=step.before)

    def verification(self, step: Step) -> Step:
        return replace(step, id=f"verify:{NAME}", kind=StepKind.VERIFY)


class Front:
    """One listener and one set of boto3 clients for all rigs: loading their models is slow."""

    def __init__(self) -> None:
        self.app: Any = None
        listener = Listener(self.serve).start()
        self.environ = {
            "AWS_ENDPOINT_URL": listener.url,
            "AWS_ACCESS_KEY_ID": "AKIATEST",
            "AWS_SECRET_ACCESS_KEY": "SANDBOXSECRETrig",
            "AWS_REGION": REGION,
        }
        self.clients = AwsClients(self.environ)

    def serve(self, environ: Any, start: Any) -> Any:
        """Hand a request to the emulator of the present rig."""
        return self.app(environ, start)


@cache
def front() -> Front:
    """The one front of this process."""
    return Front()


@contextmanager
def rig(
    deploys: tuple[Mapping[str, Any], ...] = tuple({"commit": commit} for commit in DEPLOYS),
    *,
    speed: float = SPEED,
    settings: Mapping[str, Any] | None = None,
    component: Mapping[str, str] | None = None,
) -> Iterator[Rig]:
    """A rig whose past deploys are these, a day apart, the last one a day ago."""
    world = World(clock=VirtualClock(speed))
    emulator = ServerlessEmulator(world)
    given = {"functions": ["send", "retry"], **(settings or {})}
    emulator.add(SandboxComponent(name=NAME, vendor="serverless", settings=given))
    now = datetime.now(UTC)
    for number, deploy in enumerate(deploys):
        world.clock.seek(now - timedelta(days=len(deploys) - number))
        outcome, commit = deploy.get("outcome", "ok"), deploy["commit"]
        rest = {key: value for key, value in deploy.items() if key not in ("outcome", "commit")}
        emulator.deploy(Deploy(component=NAME, commit=commit, outcome=outcome, settings=rest))
    world.clock.seek(now)
    emulator.start()
    world.clock.run()
    front().app = emulator.wsgi
    clock = ScaledClock.in_step(world.clock.describe())
    provider = ServerlessProvider(front().environ, clock)
    provider._clients = front().clients
    try:
        yield Rig(
            world=world,
            emulator=emulator,
            provider=provider,
            component=Component(
                name=NAME,
                provider="serverless",
                settings={**emulator.settings(NAME), **(component or {})},
            ),
            environ=front().environ,
            clock=clock,
        )
    finally:
        emulator.stop()
