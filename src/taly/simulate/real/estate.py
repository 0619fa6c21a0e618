"""The emulated vendors of one seed, in this process: no sockets, no threads, no children."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from random import Random
from typing import Any
from unittest.mock import patch

from taly.model.environment import Component, Environment
from taly.sandbox.apprunner import AppRunnerEmulator, fleet
from taly.sandbox.apprunner import emulator as apprunner_emulator
from taly.sandbox.emulator import Deploy, SandboxComponent
from taly.sandbox.netlify import NetlifyEmulator
from taly.sandbox.netlify import emulator as netlify_emulator
from taly.sandbox.serverless import ServerlessEmulator
from taly.sandbox.vercel import VercelEmulator
from taly.sandbox.vercel import emulator as vercel_emulator
from taly.sandbox.world import World
from taly.simulate.canaries import CANARY
from taly.simulate.platform import DAY_S
from taly.simulate.real import serverless
from taly.simulate.real.clock import EstateClock
from taly.simulate.real.part import RealPart
from taly.simulate.real.parts import Project, Service, Site
from taly.simulate.timeline import Timeline, instant
from taly.simulate.traits import Traits
from taly.simulate.world import PUSH, Operation, Part, Platform

TOKEN = "SANDBOXSECRETsimulated"
KINDS: Mapping[str, Any] = {
    "apprunner": Service, "netlify": Site, "vercel": Project, "serverless": serverless.Lambdas,
}  # fmt: skip
SETTLE_S = {"apprunner": 5.0, "netlify": 2.0, "vercel": 3.0, "serverless": 5.0}
LAG_S = {"apprunner": 4.0, "netlify": 1.6, "vercel": 2.6, "serverless": 4.0}
"""The worst lag of a read: less than the provider's settle time, with its requests' own time."""
TAKES_S = {"apprunner": 40.0, "vercel": 12.0}
TAKES = {"netlify": "restore_delay_s", "serverless": "update_s"}
"""The setting that says how long a change takes."""


class _Nowhere:
    """In the place of a listener: nobody asks the applications by HTTP here."""

    live: Any = None
    url = "http://127.0.0.1:9"

    def __init__(self, *_: Any) -> None:
        pass

    def start(self) -> "_Nowhere":
        return self

    def stop(self) -> None:
        pass


@contextmanager
def unserved() -> Iterator[None]:
    """For the block, emulators listen nowhere and run nothing, and updates are short."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(apprunner_emulator, "Front", _Nowhere))
        stack.enter_context(patch.object(netlify_emulator, "SiteServer", _Nowhere))
        stack.enter_context(patch.object(vercel_emulator, "SiteServer", _Nowhere))
        stack.enter_context(
            patch.multiple(
                fleet, SUCCESS_S=TAKES_S["apprunner"], REVERT_S=60.0, FAILURE_S=90.0, PULL_S=8.0
            )
        )
        stack.enter_context(patch.object(fleet.Fleet, "_run", lambda *_: None))
        yield


class Estate(Platform):
    """The platform, its components kept by emulators."""

    parts: dict[str, Any]

    def __init__(self, timeline: Timeline, note: Callable[[str], None]) -> None:
        """No component yet."""
        super().__init__(timeline, [], note)
        self.clock = EstateClock(timeline)
        self.world = World(clock=self.clock, secrets={TOKEN})
        self.apps: dict[str, Any] = {}
        self.by_id_lags = False
        """Whether Netlify shows a build late to who asks for it by its id: nobody says."""

    def build(self, random: Random, environment: Environment) -> None:
        """Two or three releases lie behind it, the last of them bad, live for half an hour."""
        made: dict[str, Any] = {
            "apprunner": AppRunnerEmulator(self.world, {}),
            "netlify": NetlifyEmulator(self.world),
            "vercel": VercelEmulator(self.world),
        }
        if any(one.provider == "serverless" for one in environment.components):
            made["serverless"] = ServerlessEmulator(self.world)
        self.apps = {name: one.wsgi for name, one in made.items()}
        self.clock.seek(instant(-30 * DAY_S))
        settings = {}
        for one in environment.components:
            vendor: Any = one.provider
            settings[one.name] = _settings(random, one)
            made[one.provider].add(
                SandboxComponent(name=one.name, vendor=vendor, settings=settings[one.name])
            )
        self._deploy(random, environment, made)
        self.clock.seek(instant(0))
        self.clock.run()
        made["apprunner"]._fleet.live = True
        made["netlify"].start()
        made["vercel"].start()
        if "serverless" in made:
            made["serverless"].start()
        for one in environment.components:
            lag = LAG_S[one.provider] * random.choice((0.0, random.random(), 1.0))
            traits = Traits(
                name=one.provider, settle_s=SETTLE_S[one.provider], lag_s=lag,
                shows_operations=one.provider != "netlify",
            )  # fmt: skip
            part = KINDS[one.provider](
                one.name, traits, [], [], emulator=made[one.provider], clock=self.clock,
                lags=Random(f"{random.random()} {one.name}"),
                takes=TAKES_S.get(one.provider) or settings[one.name][TAKES[one.provider]],
            )  # fmt: skip
            self.parts[one.name] = part
            part.sync()
            part.past[0] = (-DAY_S, part.past[0][1])
            part.states[0] = (-DAY_S, part.states[0][1])
            part.foreign.clear()
            part.first = next(iter(part.commits))

    def _deploy(self, random: Random, environment: Environment, made: dict[str, Any]) -> None:
        count = random.choice((2, 3))
        for i in range(count):
            last = i == count - 1
            for one in environment.components:
                if i == 0 or random.random() < (0.9 if last else 0.6):
                    self.clock.seek(instant(-1800.0 if last else -(count - i) * DAY_S))
                    commit = f"{0xC0FFEE0000 + i:x}".ljust(40, "0")
                    if "serverless" in made:  # its code tells only the first seven
                        commit = f"{0xC0FFEE0 + i:x}".ljust(40, "0")
                    given = serverless.released(i) if one.provider == "serverless" else {}
                    made[one.provider].deploy(
                        Deploy(component=one.name, commit=commit, settings=given)
                    )

    def push(self, part: Part, number: int) -> bool:
        """Somebody pushes."""
        assert isinstance(part, RealPart), "every part here is an emulator's"
        kinds = ("apprunner", "vercel")
        held = not list(part.state.values())[-1] if part.traits.name in kinds else False
        self.note(f"a push to {part.name}")
        short = 0 if part.traits.name == "serverless" else 0xBAD0000000 - 0xBAD0000
        part.pushed(f"{0xBAD0000 + short + number:x}".ljust(40, "0"))
        return not held

    def by_hand(self, part: Part, target: str, kind: str, nth: int) -> bool:
        """Somebody else deploys by hand."""
        assert isinstance(part, RealPart), "every part here is an emulator's"
        if kind == "other-operation":
            others = [one for one in part.others() if one != target]
            target = others[nth % len(others)] if others else ""
        self.note(f"somebody deploys {target} to {part.name}")
        return bool(target) and part.hand(target)

    def expire(self, part: Part, target: str) -> bool:
        """The vendor keeps that deployment no longer."""
        assert isinstance(part, RealPart), "every part here is an emulator's"
        if not target or target == part.live:
            return False
        with suppress(LookupError, ValueError):
            with part.changed_by(PUSH):
                part.gone(target)
            return True
        return False

    def overtake(self, part: Part, operation: Operation) -> None:
        """As soon as what was asked for is done, somebody deploys something else."""
        assert isinstance(part, RealPart), "every part here is an emulator's"
        self.timeline.after(part.takes + 0.1, lambda: self._overtaken(part))

    def _overtaken(self, part: RealPart) -> None:
        self.by_hand(part, part.live, "other-operation", 0)


def _settings(random: Random, component: Component) -> dict[str, Any]:
    """Where nobody knows how a vendor behaves: one way or the other."""
    match component.provider:
        case "serverless":
            return {**component.settings, **serverless.settings(random)}
        case "netlify":
            return {
                "lock_follows": random.choice(("deploy", "site")),
                "restore_when_locked": random.choice(("allowed", "refused")),
                "restore_delay_s": random.choice((0.5, 4.0, 12.0)),
            }
        case "vercel":
            return {
                "already_current": random.choice((409, 422)),
                "assigned_moves": random.random() < 0.5,
                "alias_lag_s": random.choice((0.0, 2.0)),
                "rollback_body": random.random() < 0.5,
            }
        case _:
            return {
                "pushes_during_operation": random.choice(("dropped", "queued")),
                "env": {"API_PASSWORD": CANARY},
            }
