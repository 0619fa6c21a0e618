"""A site on the emulated Netlify with four releases, the last one bad, and a provider for it."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from taly.clock import ScaledClock
from taly.errors import VendorUnavailable
from taly.model.environment import Component
from taly.model.plan import Step, StepKind
from taly.model.ports import Attempt, Failed, InFlight, Other, Probe, StepOptions, Wanted
from taly.model.release import Deployment, Observed
from taly.planning.inverse import INVERSE_KINDS, inverses
from taly.providers.netlify import NetlifyProvider
from taly.sandbox.emulator import Deploy, SandboxComponent
from taly.sandbox.http import Listener
from taly.sandbox.netlify import NetlifyEmulator
from taly.sandbox.world import Call, Fault, VirtualClock, World

SITE = "booking"
TOKEN = "nfp_SANDBOXSECRET01"
R1, R2, R3, R4 = ("1" * 40, "2" * 40, "3" * 40, "4" * 40)
BAD = "5" * 40
SPEED = 1500.0


class Stage:
    """One site, seeded and running."""

    def __init__(
        self,
        switches: Mapping[str, Any] | None = None,
        *,
        speed: float = SPEED,
        first_days_ago: float = 9,
    ) -> None:
        self.world = World(clock=VirtualClock(speed))
        self.world.secrets.add(TOKEN)
        self.emulator = NetlifyEmulator(self.world)
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.world.clock.seek(self.now - timedelta(days=100))
        self.emulator.add(SandboxComponent(name=SITE, vendor="netlify", settings=switches or {}))
        for days, commit in ((first_days_ago, R1), (6, R2), (3, R3)):
            self.seed(days, commit)
        self.seed(1, R4, "broken")
        self.listener = Listener(self.emulator.wsgi)
        self.component = Component(
            name=SITE, provider="netlify", settings=self.emulator.settings(SITE)
        )
        self.environ = {
            "NETLIFY_API_URL": self.listener.url + "/api/v1",
            "NETLIFY_AUTH_TOKEN": TOKEN,
        }
        self.http = httpx2.Client(
            base_url=self.environ["NETLIFY_API_URL"],
            headers={"Authorization": f"Bearer {TOKEN}"},
            trust_env=False,
        )
        self._providers: list[NetlifyProvider] = []

    def seed(self, days_ago: float, commit: str, outcome: Any = "ok", **settings: Any) -> None:
        self.world.clock.seek(self.now - timedelta(days=days_ago))
        self.push(commit, outcome, **settings)

    def push(self, commit: str, outcome: Any = "ok", **settings: Any) -> None:
        self.emulator.deploy(
            Deploy(component=SITE, commit=commit, outcome=outcome, settings=settings)
        )

    def run(self) -> "Stage":
        self.world.clock.seek(self.now)
        self.emulator.start()
        self.listener.start()
        self.world.clock.run()
        self.clock = ScaledClock.in_step(self.world.clock.describe())
        self.provider = self.make_provider()
        return self

    def make_provider(self, **environ: str) -> NetlifyProvider:
        provider = NetlifyProvider(self.environ | environ, self.clock)
        self._providers.append(provider)
        return provider

    def stop(self) -> None:
        for provider in self._providers:
            provider.close()
        self.http.close()
        self.emulator.stop()
        self.listener.stop()

    def fault(self, kind: str, **facts: Any) -> None:
        self.world.faults.add(Fault(kind=kind, vendor="netlify", **facts))

    def observe(self) -> Observed:
        seen = self.provider.observe(self.component)
        assert isinstance(seen, Observed)
        return seen

    def deploy_id(self, commit: str) -> str:
        deploys = self.emulator.state()[SITE]["deploys"]
        return str(next(one["id"] for one in deploys if one["commit"] == commit))

    def site_id(self) -> str:
        return self.emulator.settings(SITE)["site"]

    def get(self, path: str, **params: Any) -> httpx2.Response:
        return self.http.get(path, params=params)

    def post(self, path: str) -> httpx2.Response:
        return self.http.post(path)

    def published(self) -> str:
        return str(self.emulator.state()[SITE]["published"])

    def locked(self) -> bool:
        return bool(self.emulator.state()[SITE]["locked"])

    def page(self) -> httpx2.Response:
        """What users get."""
        return httpx2.get(self.emulator.url(SITE), trust_env=False)

    def writes(self) -> list[Call]:
        return [call for call in self.world.journal.calls() if call.wrote]

    def plan(self, commit: str) -> tuple[Step, ...]:
        return self.steps_to(self.target(commit))

    def target(self, commit: str) -> Deployment:
        return next(one for one in self.observe().history if one.commit == commit)

    def steps_to(self, target: Deployment) -> tuple[Step, ...]:
        return self.provider.steps(self.observe(), target, StepOptions())

    def wait(self, virtual_s: float) -> None:
        self.world.clock.wait_until(self.world.clock.now() + timedelta(seconds=virtual_s))

    def jump(self, virtual_s: float) -> None:
        """Let that much pass at the vendor at once; taly's own clock then lags behind."""
        self.world.clock.advance(virtual_s)

    def stand_still(self) -> None:
        """The vendor's time passes by `jump` alone from here on."""
        self.world.clock.seek(self.world.clock.now())

    def do(self, step: Step) -> str:
        """One step by the engine's rule in short; `acted` or `already`, AssertionError if not."""
        attempt: Attempt | None = None
        give_up = time.monotonic() + 20
        while time.monotonic() < give_up:
            seen = self.provider.probe(step, attempt)
            match seen:
                case Wanted():
                    return "acted" if attempt else "already"
                case Failed(reason=reason):
                    raise StepDidFail(reason)
                case Other() if not (attempt and attempt.receipt):
                    attempt = self._act(step)
                case Other() | InFlight():
                    self.clock.sleep(2)
        raise AssertionError(f"{step.id} did not end: {seen}")

    def _act(self, step: Step) -> Attempt:
        attempt = Attempt(key=f"run:{step.id}", intended_at=self.clock.now())
        try:
            receipt = self.provider.act(step, attempt.key)
        except VendorUnavailable:
            receipt = {}
        self.clock.sleep(self.provider.settle_s)
        return Attempt(key=attempt.key, intended_at=attempt.intended_at, receipt=receipt)

    def verify(self, steps: tuple[Step, ...]) -> Probe:
        """The VERIFY step's probe: its wanted state is that of all steps together."""
        return self.provider.probe(verification(steps), None)


class StepDidFail(Exception):
    """A probe said Failed."""


def verification(steps: tuple[Step, ...]) -> Step:
    wanted = {key: value for step in steps for key, value in step.wanted.items()}
    return Step(
        id=f"verify:{SITE}",
        kind=StepKind.VERIFY,
        component=SITE,
        provider="netlify",
        title="verify",
        address=steps[0].address,
        wanted=wanted,
    )


def undone(steps: tuple[Step, ...], state: Mapping[str, Any]) -> tuple[Step, ...]:
    """The steps' inverses, by the planner's own rule, from the state as it is now."""
    return inverses(steps, [step for step in steps if step.kind in INVERSE_KINDS], {SITE: state})


MakeStage = Callable[..., Stage]


@pytest.fixture
def make_stage() -> Iterator[MakeStage]:
    made: list[Stage] = []

    def make(switches: dict[str, Any] | None = None, **facts: Any) -> Stage:
        made.append(Stage(switches, **facts))
        return made[-1]

    yield make
    for stage in made:
        stage.stop()


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    return make_stage().run()
