"""The control API: what tests and rehearsals ask of the sandbox. Loopback only, with a token."""

import dataclasses
import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol, TypeVar
from wsgiref.types import StartResponse, WSGIEnvironment

import psycopg
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from werkzeug.wrappers import Request, Response

from taly.errors import TalyError
from taly.sandbox.awsjson import AwsError
from taly.sandbox.emulator import Emulator
from taly.sandbox.scenario import FaultEntry, PushEntry, Scenario, Vendor, fault_misfit
from taly.sandbox.scenario_file import mistakes_of
from taly.sandbox.world import Fault, World
from taly.sandbox.writers import Writers

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

OPEN = "/_sandbox/clock"
"""The one path that may be read without the token: taly keeps its clock in step with it."""

IMPOSSIBLE = (LookupError, ValueError, TypeError, StopIteration, psycopg.Error, AwsError)
"""What emulators raise when they are asked for something that cannot be."""


class Controlled(Protocol):
    """What the control API needs of the platform."""

    scenario: Scenario
    world: World
    token: str

    def environ(self) -> dict[str, str]:
        """See Platform."""
        ...

    def state(self) -> dict[str, Any]:
        """See Platform."""
        ...

    def push(self, entry: PushEntry) -> list[str]:
        """See Platform."""
        ...

    def emulator_of(self, component: str) -> Emulator:
        """See Platform."""
        ...

    @property
    def writers(self) -> Writers:
        """See Platform."""
        ...

    def restart(self, vendor: str, away_s: float) -> None:
        """See Platform."""
        ...


class Problem(Exception):
    """A request that cannot be done, with its HTTP status."""

    def __init__(self, status: int, reference: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reference, self.message = status, reference, message


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PushBody(_Body):
    """`POST /_sandbox/push`."""

    commit: str = Field(pattern=r"^[0-9a-f]{7,40}$")
    components: str | list[str] = "all"
    vendors: list[Vendor] = []
    """Instead of components: all of these vendors'."""
    outcome: str = "ok"
    outcomes: dict[str, str] = {}
    message: str = ""
    settings: dict[str, dict[str, Any]] = {}


class ChangeBody(_Body):
    """`POST /_sandbox/change`."""

    component: str
    change: dict[str, Any]


class ClockBody(_Body):
    """`POST /_sandbox/clock`."""

    advance_s: float | None = Field(default=None, ge=0)
    speed: float | None = Field(default=None, gt=0, le=100_000)


class WritersBody(_Body):
    """`POST /_sandbox/writers`."""

    count: int = Field(ge=0, le=64)


class RestartBody(_Body):
    """`POST /_sandbox/restart`."""

    vendor: Vendor
    away_s: float = Field(default=2.0, ge=0, le=60)


class ControlApi:
    """A WSGI application over one platform."""

    def __init__(self, platform: Controlled) -> None:
        self._platform = platform
        self.routes: Mapping[tuple[str, str], Callable[[Request], Any]] = {
            ("GET", "/_sandbox/clock"): self._read_clock,
            ("POST", "/_sandbox/clock"): self._set_clock,
            ("GET", "/_sandbox/calls"): self._calls,
            ("GET", "/_sandbox/state"): lambda request: platform.state(),
            ("GET", "/_sandbox/env"): lambda request: platform.environ(),
            ("POST", "/_sandbox/push"): self._push,
            ("POST", "/_sandbox/change"): self._change,
            ("GET", "/_sandbox/faults"): lambda request: self._armed(),
            ("POST", "/_sandbox/faults"): self._add_faults,
            ("DELETE", "/_sandbox/faults"): self._clear_faults,
            ("GET", "/_sandbox/writers"): self._read_writers,
            ("POST", "/_sandbox/writers"): self._set_writers,
            ("POST", "/_sandbox/restart"): self._restart,
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        request.get_data(cache=True)
        try:
            response = _answer(self._handle(request), 200)
        except Problem as problem:
            error = {"reference": problem.reference, "message": problem.message}
            response = _answer({"error": error}, problem.status)
        except TalyError as error_:
            said = {"reference": error_.reference, "message": error_.message}
            response = _answer({"error": said}, 422)
        return response(environ, start_response)

    def _handle(self, request: Request) -> Any:
        host = request.host.rpartition(":")[0] or request.host
        if host not in ("127.0.0.1", "localhost"):
            # A web page can make a browser send requests here under a name of its own.
            raise Problem(403, "not-loopback", f"{host} is not a name of the loopback interface")
        methods = [method for method, path in self.routes if path == request.path]
        if not methods:
            known = ", ".join(sorted({path for _, path in self.routes}))
            raise Problem(404, "no-such-path", f"there is no {request.path}; known: {known}")
        if request.method not in methods:
            raise Problem(405, "no-such-method", f"{request.path} takes {', '.join(methods)}")
        if (request.method, request.path) != ("GET", OPEN):
            self._check_token(request)
        return self.routes[request.method, request.path](request)

    def _check_token(self, request: Request) -> None:
        given = request.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {self._platform.token}".encode()):
            raise Problem(
                401, "wrong-token", "send `Authorization: Bearer TOKEN`; it is in sandbox.json"
            )

    def _read_clock(self, request: Request) -> Any:
        clock = self._platform.world.clock
        return clock.describe() | {"now": clock.now()}

    def _set_clock(self, request: Request) -> Any:
        body = _body(request, ClockBody)
        clock = self._platform.world.clock
        if body.speed is not None:
            clock.set_speed(body.speed)
        if body.advance_s is not None:
            clock.advance(body.advance_s)
        return self._read_clock(request)

    def _calls(self, request: Request) -> Any:
        return {"calls": self._platform.world.journal.calls(_after(request))}

    def _read_writers(self, request: Request) -> Any:
        writers = self._platform.writers
        return {"count": writers.count, "requests": writers.requests(_after(request))}

    def _set_writers(self, request: Request) -> Any:
        writers = self._platform.writers
        writers.start(_body(request, WritersBody).count)
        return {"count": writers.count}

    def _restart(self, request: Request) -> Any:
        body = _body(request, RestartBody)
        try:
            self._platform.restart(body.vendor, body.away_s)
        except LookupError:
            raise Problem(
                422, "no-such-vendor", f"{body.vendor} has no HTTP interface in this sandbox"
            ) from None
        return {"vendor": body.vendor, "away_s": body.away_s}

    def _push(self, request: Request) -> Any:
        body = _body(request, PushBody)
        scenario = self._platform.scenario
        facts = body.model_dump(exclude={"vendors"}, exclude_unset=True)
        if body.vendors:
            facts["components"] = [
                entry.name for entry in scenario.components if entry.vendor in body.vendors
            ]
        entry = _valid(PushEntry, {**facts, "after": "0s"})
        listed = [] if entry.components == "all" else entry.components
        self._known(*listed, *entry.outcomes, *entry.settings)
        return {"components": _possible(lambda: self._platform.push(entry))}

    def _change(self, request: Request) -> Any:
        body = _body(request, ChangeBody)
        self._known(body.component)
        emulator = self._platform.emulator_of(body.component)
        _possible(lambda: emulator.change(body.component, body.change))
        return {"component": body.component}

    def _armed(self) -> Any:
        return {"faults": self._platform.world.faults.armed()}

    def _add_faults(self, request: Request) -> Any:
        given = _json(request)
        entries = [
            _valid(FaultEntry, one) for one in (given if isinstance(given, list) else [given])
        ]
        self._known(*(entry.component for entry in entries if entry.component))
        for entry in entries:
            vendors = {entry.vendor}
            if entry.component:
                vendors.add(self._platform.scenario.component(entry.component).vendor)
            for misfit in filter(None, (fault_misfit(entry.kind, one) for one in vendors)):
                raise Problem(422, "invalid", misfit)
        for entry in entries:
            self._platform.world.faults.add(Fault(**entry.model_dump()))
        return self._armed()

    def _clear_faults(self, request: Request) -> Any:
        self._platform.world.faults.clear()
        return self._armed()

    def _known(self, *components: str) -> None:
        names = [entry.name for entry in self._platform.scenario.components]
        if unknown := [name for name in components if name not in names]:
            raise Problem(
                422,
                "no-such-component",
                f"there is no component {', '.join(unknown)}; known: {', '.join(names)}",
            )


def _after(request: Request) -> int:
    after = request.args.get("after", "0")
    if not after.isdigit():
        raise Problem(422, "invalid", "after: a whole number, the last one already seen")
    return int(after)


def _possible(do: Callable[[], T]) -> T:
    """What an emulator makes of it; its complaint about the request as a Problem."""
    try:
        return do()
    except IMPOSSIBLE as error:
        raise Problem(422, "invalid", f"{type(error).__name__}: {error}") from error


def _json(request: Request) -> Any:
    try:
        return json.loads(request.get_data() or b"{}")
    except ValueError as error:
        raise Problem(400, "not-json", f"the body is no JSON: {error}") from error


def _body(request: Request, model: type[M]) -> M:
    return _valid(model, _json(request))


def _valid(model: type[M], value: Any) -> M:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise Problem(422, "invalid", "; ".join(mistakes_of(error))) from error


def _answer(value: Any, status: int) -> Response:
    body = json.dumps(value, default=_plain, indent=1) + "\n"
    return Response(body, status=status, mimetype="application/json")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)
