"""An emulated S3 with one empty bucket, and locks on it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from taly.aws import AwsClients
from taly.engine.owner import Owner
from taly.engine.shared.holding import Holding
from taly.engine.shared.lock import EnvironmentLock
from taly.engine.shared.objects import Changed, Stored, unreachable
from taly.engine.shared.s3 import S3Objects
from taly.sandbox.http import Listener
from taly.sandbox.serverless import ServerlessEmulator
from taly.sandbox.world import Call, Fault, VirtualClock, World

BUCKET = "team"
URL = f"s3://{BUCKET}/taly"
LOCK = "PUT /team/taly/production/lock.json"
ELSEWHERE = Owner(by="ben", host="ci-runner-7", machine="another boot", pid=7, started="1")


@dataclass(kw_only=True)
class Stage:
    """The bucket, and how to reach it."""

    world: World
    environ: dict[str, str] = field(repr=False)

    def objects(self, **more: Any) -> S3Objects:
        """The shared place, as one more machine reaches it."""
        return S3Objects(self.environ, URL, timeout_s=more.pop("timeout_s", 5.0), **more)

    def lock(self, **more: Any) -> EnvironmentLock:
        """The lock of production, as one more machine sees it."""
        return EnvironmentLock(self.objects(), "production", **more)

    def fault(self, kind: str, *, call: str = LOCK, count: int = 1, **settings: Any) -> None:
        """Let something go wrong the next time."""
        top = {name: settings.pop(name) for name in ("status", "seconds") if name in settings}
        self.world.faults.add(Fault(kind=kind, call=call, count=count, settings=settings, **top))

    def calls(self, text: str = "") -> list[Call]:
        """What S3 was asked."""
        return [one for one in self.world.journal.calls() if text in one.target]


@contextmanager
def shared_stage() -> Iterator[Stage]:
    """Serve an S3 with the bucket."""
    world = World(clock=VirtualClock())
    world.clock.run()
    emulator = ServerlessEmulator(world)
    listener = Listener(emulator.wsgi).start()
    environ = {
        "AWS_ENDPOINT_URL": listener.url,
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "AKIASANDBOX",
        "AWS_SECRET_ACCESS_KEY": "SANDBOXSECRET",
    }
    AwsClients(environ).client("s3", "").create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    stage = Stage(world=world, environ=environ)
    try:
        yield stage
    finally:
        emptied(stage)  # a bucket's name is taken for all of this process
        AwsClients(environ).client("s3", "").delete_bucket(Bucket=BUCKET)
        listener.stop()


def holding(run: str = "run-000001", *, lease_s: float = 0.4, owner: Owner = ELSEWHERE) -> Holding:
    """What a run wants to write into the lock."""
    return replace(
        Holding(
            state="held",
            run=run,
            purpose="rollback",
            digest="d1",
            by="",
            host="",
            machine="",
            pid=0,
            started="",
            since="2026-01-01T12:00:00+00:00",
            lease_s=lease_s,
            fence=0,
            beat=0,
            nonce="",
        ),
        by=owner.by,
        host=owner.host,
        machine=owner.machine,
        pid=owner.pid,
        started=owner.started,
    )


def until(holds: Any, within_s: float = 10.0) -> None:
    """Return once it holds."""
    last = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < last, "not in time"
        time.sleep(0.01)


def emptied(stage: Stage) -> Stage:
    """The same, with nothing in the bucket and no fault armed."""
    stage.world.faults.clear()
    client = AwsClients(stage.environ).client("s3", "")
    for one in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        client.delete_object(Bucket=BUCKET, Key=one["Key"])
    return stage


class Memory:
    """A shared place without HTTP, for tests that ask it thousands of times."""

    place = "memory"

    def __init__(self) -> None:
        self._objects: dict[str, Stored] = {}
        self._mutex = threading.Lock()
        self._writes = 0
        self.down = False

    def get(self, key: str) -> Stored | None:
        with self._reached():
            return self._objects.get(key)

    def put(self, key: str, body: bytes, *, over: str | None) -> str:
        with self._reached():
            there = self._objects.get(key)
            if (there.tag if there else None) != over:
                raise Changed("PreconditionFailed")
            return self._write(key, body)

    def overwrite(self, key: str, body: bytes) -> None:
        with self._reached():
            self._write(key, body)

    def keys(self, prefix: str) -> list[str]:
        with self._reached():
            return sorted(key for key in self._objects if key.startswith(prefix))

    @contextmanager
    def _reached(self) -> Iterator[None]:
        if self.down:
            raise unreachable("memory does not answer")
        with self._mutex:
            yield

    def _write(self, key: str, body: bytes) -> str:
        self._writes += 1
        self._objects[key] = Stored(body, str(self._writes))
        return str(self._writes)


@pytest.fixture(scope="module")
def served() -> Iterator[Stage]:
    with shared_stage() as stage:
        yield stage


@pytest.fixture
def stage(served: Stage) -> Stage:
    return emptied(served)
