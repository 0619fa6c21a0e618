"""A simulation in which the real providers talk to the emulated vendors."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from datetime import datetime
from random import Random
from typing import Any
from unittest.mock import patch

import botocore.endpoint
import botocore.parsers
import stamina
import tenacity.nap
from botocore.retries.quota import RetryQuota

from taly.aws import AwsClients
from taly.model.environment import Component, Environment, HealthCheck
from taly.model.plan import Plan, Step
from taly.model.ports import Attempt, Probe, Provider, Say, silent
from taly.model.run import Run
from taly.providers.apprunner import AppRunnerProvider
from taly.providers.http import VendorHttp
from taly.providers.netlify import NetlifyProvider
from taly.providers.serverless import ServerlessProvider, aws_reads, observing
from taly.providers.vercel import VercelProvider
from taly.sandbox.vendors import APP_RUNNER_SERVICES
from taly.simulate.faults import Fault, Faults
from taly.simulate.platform import draw_order
from taly.simulate.real.estate import KINDS, TOKEN, Estate, unserved
from taly.simulate.real.wire import Door, WireStrikes, aws_door
from taly.simulate.story import LEASE_S, Simulation, random_of
from taly.simulate.strikes import Strikes
from taly.simulate.timeline import Process, SimClock
from taly.simulate.world import Platform

CLASSES: Mapping[str, Callable[..., Any]] = {
    "apprunner": AppRunnerProvider,
    "netlify": NetlifyProvider,
    "serverless": ServerlessProvider,
    "vercel": VercelProvider,
}
ENVIRON = {
    "NETLIFY_API_URL": "http://netlify.localhost/api/v1",
    "NETLIFY_AUTH_TOKEN": TOKEN,
    "VERCEL_API_URL": "http://vercel.localhost",
    "VERCEL_TOKEN": TOKEN,
    "AWS_ENDPOINT_URL": "http://aws.localhost",
    "AWS_ACCESS_KEY_ID": "AKIASANDBOX000000000",
    "AWS_SECRET_ACCESS_KEY": TOKEN,
    "AWS_REGION": "eu-central-1",
}
UNSEEN = frozenset(
    {"netlify-forbidden", "vercel-scope", "aws-access-denied-exception", "aws-access-denied"}
)
WAIT_S = 0.5
"""Virtual seconds between two tries of a read, in place of the clients' own random pauses."""
_playing: list["RealSimulation"] = []
_clients: dict[tuple[Any, ...], Any] = {}


class PlayedProvider:
    """A real provider, its requests told apart by step."""

    def __init__(self, real: Provider, strikes: WireStrikes) -> None:
        self._real, self._strikes = real, strikes
        self.name, self.settle_s = real.name, real.settle_s
        self.observe, self.differences = real.observe, real.differences
        self.steps, self.check = real.steps, real.check

    def probe(self, step: Step, attempt: Attempt | None) -> Probe:
        """The real one's."""
        part = self._strikes.estate.parts[step.component]
        now = part.clock.timeline.now
        part.sync()
        self._strikes.looked(step, part.stacked(now, now - part.traits.lag_s))
        with self._strikes.about(step, ""):
            return self._real.probe(step, attempt)

    def act(self, step: Step, key: str, say: Say = silent) -> Mapping[str, str]:
        """The real one's."""
        with self._strikes.about(step, key):
            return self._real.act(step, key, say)


class RealSimulation(Simulation):
    """One seed, with real providers."""

    platform: Estate

    def __init__(self, seed: int, faults: Sequence[Fault] | None = None) -> None:
        """As the generic one."""
        self._wires: dict[int, WireStrikes] = {}
        self._ids = random_of(seed, "ids")
        with self._patches():
            super().__init__(seed, faults)
        self.witness.unseen = UNSEEN

    def _draw(self, world: Random) -> Platform:
        others = tuple(KINDS)[:3]
        vendors = ("serverless", *KINDS) if self.seed % 8 == 7 else others
        self.environment: Environment = draw_order(world, vendors, _component)
        estate = Estate(self.timeline, self.note)
        estate.build(world, self.environment)
        estate.by_id_lags = random_of(self.seed, "by id").random() < 0.5
        return estate

    def _strikes(self, process: Process, faults: Faults) -> Strikes:
        wire = WireStrikes(self.timeline, process, faults, self.witness, LEASE_S)
        wire.estate = self.platform
        self._wires[process.pid] = wire
        return wire

    def _vendors(self, clock: SimClock, strikes: Strikes) -> Mapping[str, Provider]:
        assert isinstance(strikes, WireStrikes), "as made above"
        used = {one.provider for one in self.environment.components}
        return {
            name: PlayedProvider(CLASSES[name](ENVIRON, clock), strikes) for name in sorted(used)
        }

    def _patched(self) -> ExitStack:
        stack = super()._patched()
        stack.enter_context(self._patches())
        return stack

    @contextmanager
    def _patches(self) -> Iterator[None]:
        _playing.append(self)
        stamina.instrumentation.set_on_retry_hooks(())  # theirs would log to stdout
        try:
            with ExitStack() as stack:
                for one in (
                    unserved(),
                    patch.object(uuid, "uuid4", self._uuid),
                    patch.object(botocore.endpoint, "time", _Sleeper()),
                    patch.object(botocore.parsers, "DEFAULT_TIMESTAMP_PARSER", _instant),
                    patch.object(tenacity.nap, "time", _Sleeper()),
                    patch.object(RetryQuota, "acquire", lambda *_: True),
                    patch.object(VendorHttp, "transport", Door(_wire)),
                    patch.object(AwsClients, "client", _client),
                    patch.object(aws_reads, "ThreadPoolExecutor", InOrder),
                    patch.object(observing, "ThreadPoolExecutor", InOrder),
                ):
                    stack.enter_context(one)
                yield
        finally:
            _playing.pop()

    def _over(self, run_id: str, plan: Plan) -> Run:
        for part in self.platform.parts.values():
            part.sync()
            for one in part.unannounced(plan):
                self.witness.wrong("iv", f"{run_id} deleted {one}, which its plan does not say")
        return super()._over(run_id, plan)

    def _uuid(self) -> uuid.UUID:
        return uuid.UUID(int=self._ids.getrandbits(128), version=4)

    def wire(self) -> WireStrikes:
        """Of the process that runs; the world's own when none does."""
        current = self.timeline.current
        return self._wires[current.pid if current else 0]


class InOrder:
    """In the place of threads: what is to be done is done at once."""

    def __init__(self, **_: Any) -> None:
        pass

    def __enter__(self) -> "InOrder":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, do: Callable[..., Any], *given: Any) -> "Future[Any]":
        """Its result is there already."""
        done: Future[Any] = Future()
        done.set_result(do(*given))
        return done

    def map(self, do: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """One after the other."""
        return map(do, items)


def _instant(said: Any) -> datetime:
    """botocore's reading of a time tries every form that there is, for a tenth of a seed's time."""
    if isinstance(said, str) and said.endswith("Z"):
        return datetime.fromisoformat(said)
    return _parsed_instant(said)


class _Sleeper:
    """In the place of the module `time` where a client waits between two tries."""

    def sleep(self, _: float) -> None:
        """Let virtual time pass."""
        _playing[-1].timeline.block(WAIT_S)


def _wire() -> WireStrikes:
    return _playing[-1].wire()


_make = AwsClients._make
_parsed_instant: Callable[[Any], datetime] = botocore.parsers.DEFAULT_TIMESTAMP_PARSER


def _client(
    self: AwsClients, service: str, region: str, *, attempts: int = 4, read_timeout_s: float = 20.0
) -> Any:
    """One client for all seeds: making one takes as long as playing one."""
    key = (service, region, attempts)
    if key not in _clients:
        vendor = "apprunner" if service in APP_RUNNER_SERVICES else "serverless"
        _clients[key] = _make(self, service, region, attempts, read_timeout_s)
        _clients[key].meta.events.register("before-send", aws_door(_wire, vendor))
    return _clients[key]


def _component(name: str, vendor: str, after: tuple[str, ...]) -> Component:
    settings = {
        "apprunner": "service", "netlify": "site", "vercel": "project", "serverless": "service",
    }  # fmt: skip
    given = {settings[vendor]: f"taly-{name}" if vendor == "apprunner" else name}
    if vendor == "vercel":
        given["team"] = "taly"
    if vendor == "serverless":
        given |= {"stage": "production", "region": ENVIRON["AWS_REGION"]}
    health = HealthCheck(
        url=f"http://{name}.app/", expect={"commit": "{commit}"}, successes=2, deadline_s=60.0
    )
    return Component(name=name, provider=vendor, settings=given, health=health, after=after)
