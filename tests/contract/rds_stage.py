"""An emulated RDS instance with a booking database; every reply is held against AWS's model."""

import itertools
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

import psycopg
from botocore.model import ListShape, Shape, StructureShape
from tests.contract.aws_shapes import operation_model
from tests.contract.checkpoint_stage import Stage
from tests.contract.restore_stage import Scene, scene_of

from taly.clock import ScaledClock
from taly.database.checkpoint.create import Order
from taly.database.checkpoint.manifest import Backup
from taly.database.checkpoint.on_rds import OnRds
from taly.sandbox.postgres import OnRds as Instance
from taly.sandbox.postgres import PostgresEmulator
from taly.sandbox.vendors import REGION, Vendors
from taly.sandbox.world import Call, Fault, VirtualClock, World

INSTANCE = "booking-production"
SPEED = 2000.0
COMMON = {"AccessDenied", "Throttling", "ServiceUnavailable", "InternalFailure"}
NAMES = itertools.count(1)
LABELS = itertools.count(1)


class ValidatedQuery:
    """A WSGI application around the emulator's: it notes what AWS's model forbids in a reply."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.problems: list[str] = []
        self.checked: set[str] = set()

    def __call__(self, environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = _Again(body)
        action = parse_qs(body.decode()).get("Action", [""])[0]
        reply = b"".join(self._app(environ, start_response))
        self.problems += _problems(action, ElementTree.fromstring(reply))
        self.checked.add(action)
        return [reply]


class _Again:
    """A request's body, to be read once more."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def read(self, size: int = -1) -> bytes:
        taken, self._body = self._body[:size], self._body[size:] if size >= 0 else b""
        return taken

    def readline(self, size: int = -1) -> bytes:
        return self.read(size)


def _problems(action: str, reply: ElementTree.Element) -> Iterator[str]:
    model = operation_model("rds", action)
    if _name(reply) == "ErrorResponse":
        code = next(one.text for one in reply.iter() if _name(one) == "Code")
        known = {shape.metadata["error"]["code"] for shape in model.error_shapes}
        if code not in known | COMMON:
            yield f"{action}: error {code} is not in the model"
        return
    result = next((one for one in reply if _name(one) == f"{action}Result"), None)
    if result is None:
        yield f"{action}: no result"
    else:
        yield from _unlike(model.output_shape, result, action)


def _unlike(shape: Shape, found: ElementTree.Element, where: str) -> Iterator[str]:
    if isinstance(shape, StructureShape):
        members = {
            member.serialization.get("name", name): member for name, member in shape.members.items()
        }
        for child in found:
            if _name(child) not in members:
                yield f"{where}.{_name(child)}: not in the model"
            else:
                yield from _unlike(members[_name(child)], child, f"{where}.{_name(child)}")
    elif isinstance(shape, ListShape):
        wanted = shape.member.serialization.get("name", "member")
        for child in found:
            if _name(child) not in (wanted, "member"):
                yield f"{where}: {_name(child)} is no {wanted}"
            else:
                yield from _unlike(shape.member, child, where)
    elif shape.type_name == "integer" and not (found.text or "").lstrip("-").isdigit():
        yield f"{where}: {found.text!r} is no integer"
    elif shape.type_name == "boolean" and found.text not in ("true", "false"):
        yield f"{where}: {found.text!r} is no boolean"


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


@dataclass
class RdsScene(Scene):
    """A booking database on the instance."""

    aws: dict[str, str] = field(default_factory=dict)
    ticking: ScaledClock | None = None

    @property
    def clock(self) -> Any:
        return self.ticking

    @property
    def environ(self) -> dict[str, str]:
        return {**self.aws, "DATABASE_URL": self.stage.url}

    @property
    def where(self) -> OnRds:
        assert self.ticking is not None
        return OnRds(
            instance=INSTANCE,
            component="database",
            region="",
            environ=self.aws,
            clock=self.ticking,
        )

    def order(self, backup: Backup, **changes: Any) -> Order:
        label = f"r{next(LABELS)}"
        return replace(self.stage.order(backup, on_rds=self.where, label=label), **changes)


@dataclass
class Account:
    """An AWS account with one instance, for a whole module."""

    world: World
    emulator: PostgresEmulator
    vendors: Vendors
    validated: ValidatedQuery

    @property
    def aws(self) -> dict[str, str]:
        return dict(self.vendors.environ)

    def clock(self) -> ScaledClock:
        return ScaledClock(origin=self.world.clock.now(), at_unix=time.time(), speed=SPEED)

    def state(self) -> dict[str, Any]:
        assert self.emulator.rds is not None
        return self.emulator.rds.state()

    def instances(self) -> set[str]:
        """Those that are there and not about to go."""
        found = self.state()["instances"].items()
        return {name for name, status in found if status != "deleting"}

    def snapshots(self) -> set[str]:
        return set(self.state()["snapshots"])

    def strike(self, kind: str) -> None:
        """Arm a fault, once."""
        self.world.faults.add(Fault(kind=kind, vendor="rds"))

    def writes(self) -> list[str]:
        """The operations that changed something, in order."""
        calls: list[Call] = self.world.journal.calls()
        return [call.target.removeprefix("RDS.") for call in calls if call.wrote]

    @contextmanager
    def played(self, folder: Path) -> Iterator[RdsScene]:
        """A database of its own for a test, with the old release in it."""
        name = f"booking{next(NAMES)}"
        url = self.emulator.database_url
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        stage = Stage(folder, urlunsplit(urlsplit(url)._replace(path=f"/{name}")))
        scene = scene_of(stage)
        yield RdsScene(scene.stage, aws=self.aws, ticking=self.clock())


@contextmanager
def account(folder: Path) -> Iterator[Account]:
    """Up; the clock runs."""
    world = World(clock=VirtualClock(SPEED))
    world.clock.run()
    on = Instance(identifier=INSTANCE, region=REGION, settings={"retention_days": 7})
    emulator = PostgresEmulator(world, folder, None, on)
    vendors = Vendors(emulators={"postgres": emulator}, environ={})
    try:
        _ = emulator.database_url
        assert emulator.rds is not None
        validated = ValidatedQuery(emulator.rds.wsgi)
        emulator.rds.wsgi = validated
        vendors.serve(world)
        yield Account(world, emulator, vendors, validated)
    finally:
        for listener in vendors.listeners:
            listener.stop()
        emulator.stop()
