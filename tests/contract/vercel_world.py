"""An emulated Vercel on loopback and a provider that talks to it, for the Vercel suites."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from taly.errors import VendorError
from taly.model.environment import Component
from taly.model.plan import Step, StepKind
from taly.model.ports import Attempt, Probe, StepOptions
from taly.model.release import Deployment, Observed
from taly.providers.vercel import VercelProvider
from taly.sandbox.emulator import Deploy, SandboxComponent
from taly.sandbox.http import Listener
from taly.sandbox.vercel import VercelEmulator
from taly.sandbox.world import Call, Fault, VirtualClock, World

HTTP = httpx2.Client(trust_env=False)
"""One for all: making a client costs more than a request."""
OLDER, GOOD, BAD, PUSHED = "a" * 40, "b" * 40, "c" * 40, "d" * 40
NAME = "web"


class SteppedClock:
    """The sandbox's clock as taly's own: it moves only when someone sleeps, so tests never race."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.ahead_s = 0.0
        """By how much it is wrong."""

    def now(self) -> datetime:
        """The present instant, as this machine has it."""
        return self._clock.now() + timedelta(seconds=self.ahead_s)

    def monotonic(self) -> float:
        """The same, in seconds."""
        return self._clock.now().timestamp()

    def sleep(self, seconds: float) -> None:
        """Move the clock of the whole sandbox on."""
        self._clock.advance(seconds)


class VercelWorld:
    """One project with three days of history: OLDER, GOOD, and BAD live (broken)."""

    def __init__(self, **settings: Any) -> None:
        self.world = World(clock=VirtualClock())
        self.clock = SteppedClock(self.world.clock)
        self.emulator = VercelEmulator(self.world)
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.world.clock.seek(self.now - timedelta(days=30))
        self.emulator.add(SandboxComponent(name=NAME, vendor="vercel", settings=settings))
        self.listener = Listener(self.emulator.wsgi).start()
        taken = {"team": self.emulator.settings(NAME).get("team", "")}
        self.component = Component(
            name=NAME, provider="vercel", settings={"project": NAME, **taken}
        )
        self.scope = {"slug": taken["team"]} if taken["team"] else {}

    def seed(self, days_ago: float, commit: str, outcome: Any = "ok", **settings: Any) -> None:
        """A deploy of the past."""
        self.world.clock.seek(self.now - timedelta(days=days_ago))
        self.push(commit, outcome, **settings)

    def history(self) -> "VercelWorld":
        """The usual three deployments, and the clock runs."""
        self.seed(3, OLDER)
        self.seed(2, GOOD)
        self.seed(1, BAD, "broken")
        return self.run()

    def run(self) -> "VercelWorld":
        """From here on deploys take their time."""
        self.world.clock.seek(self.now)
        self.emulator.start()
        self.provider = self.make_provider()
        return self

    def make_provider(self, **environ: str) -> VercelProvider:
        """A provider of its own, as a second process would have."""
        usual = {"VERCEL_API_URL": self.listener.url, "VERCEL_TOKEN": "SANDBOXSECRETtoken"}
        return VercelProvider({**usual, **environ}, self.clock)

    def close(self) -> None:
        """End listeners."""
        self.listener.stop()
        self.emulator.stop()

    def push(self, commit: str, outcome: Any = "ok", **settings: Any) -> None:
        """A deploy arrives now."""
        self.emulator.deploy(
            Deploy(component=NAME, commit=commit, outcome=outcome, settings=settings)
        )

    def change(self, kind: str, **what: Any) -> None:
        """Someone does something in the console."""
        self.emulator.change(NAME, {"kind": kind, **what})

    def fault(self, kind: str, **what: Any) -> None:
        """Something will go wrong."""
        self.world.faults.add(Fault(kind=kind, **what))

    @property
    def data(self) -> dict[str, Any]:
        """The emulator's own view of the project."""
        found: dict[str, Any] = self.emulator.state()[NAME]
        return found

    def id_of(self, commit: str) -> str:
        """The id of the newest deployment of that commit."""
        return next(b["id"] for b in reversed(self.data["builds"]) if b["commit"] == commit)

    def wait(self, condition: Callable[[], bool], virtual_s: float = 900.0) -> None:
        """Poll until it holds; AssertionError after that much virtual time."""
        deadline = self.world.clock.now() + timedelta(seconds=virtual_s)
        while not condition():
            assert self.world.clock.now() < deadline, "it did not come true in time"
            self.clock.sleep(2.0)

    # The provider, as the engine uses it -------------------------------------------------

    def observe(self) -> Observed:
        """What the provider sees; AssertionError if it sees nothing."""
        seen = self.provider.observe(self.component)
        assert isinstance(seen, Observed), seen
        return seen

    def deployment(self, commit: str, seen: Observed | None = None) -> Deployment:
        """The observed deployment of that commit."""
        found = (seen or self.observe()).history
        return next(one for one in found if one.commit == commit)

    def plan(self, commit: str = GOOD) -> tuple[Step, ...]:
        """The provider's steps toward that commit."""
        seen = self.observe()
        return self.provider.steps(seen, self.deployment(commit, seen), StepOptions())

    def step(self, kind: StepKind = StepKind.ROLL_BACK, commit: str = GOOD) -> Step:
        """One step of the plan toward that commit."""
        return next(step for step in self.plan(commit) if step.kind is kind)

    def do(self, step: Step) -> Attempt:
        """Act once; the answer may be lost."""
        intended = self.clock.now()
        try:
            receipt: Mapping[str, str] = self.provider.act(step, f"run-1:{step.id}")
        except VendorError:
            receipt = {}
        return Attempt(key=f"run-1:{step.id}", intended_at=intended, receipt=receipt)

    def settled(self, step: Step, attempt: Attempt | None, virtual_s: float = 400.0) -> Probe:
        """Poll as the engine does, until the probe is no longer in flight."""
        found: list[Probe] = []

        def rests() -> bool:
            found.append(self.provider.probe(step, attempt))
            return found[-1].kind != "in-flight"

        self.wait(rests, virtual_s)
        return found[-1]

    def run_steps(self, *steps: Step) -> list[Probe]:
        """Each step as the engine takes it: probe, act if need be, poll."""
        ends = []
        for step in steps:
            seen = self.settled(step, None)
            attempt = None
            if seen.kind == "other":
                attempt = self.do(step)
            ends.append(self.settled(step, attempt))
        return ends

    def verify(self, *steps: Step) -> Probe:
        """The planner's verification of these steps."""
        wanted = {key: value for step in steps for key, value in step.wanted.items()}
        last = steps[-1]
        verify = replace(last, id="verify:web", kind=StepKind.VERIFY, wanted=wanted, before={})
        return self.provider.probe(verify, None)

    # What others see ---------------------------------------------------------------------

    def get(self, path: str, **params: str) -> httpx2.Response:
        """A request to the API within the project's scope."""
        return self.request("GET", path, **params)

    def request(self, method: str, path: str, **params: str) -> httpx2.Response:
        """A request to the API within the project's scope."""
        return HTTP.request(
            method,
            self.listener.url + path,
            params={**self.scope, **params},
            headers={"Authorization": "Bearer SANDBOXSECRETtoken"},
        )

    def page(self, host: str = "") -> httpx2.Response:
        """What a user gets."""
        headers = {"Host": host} if host else {}
        return HTTP.get(self.emulator.url(NAME), headers=headers)

    def writes(self) -> list[Call]:
        """The journal's calls that changed something."""
        return [call for call in self.world.journal.calls() if call.wrote]


def undone(step: Step) -> Step:
    """The step's inverse, as `planning.undo` makes it."""
    return replace(step, before=step.wanted, wanted=step.before)


@pytest.fixture
def make() -> Iterator[Any]:
    worlds: list[VercelWorld] = []

    def made(**settings: Any) -> VercelWorld:
        worlds.append(VercelWorld(**settings))
        return worlds[-1]

    yield made
    for world in worlds:
        world.close()


@pytest.fixture
def vercel(make: Any) -> VercelWorld:
    world: VercelWorld = make()
    return world.history()
