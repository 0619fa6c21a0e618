"""Workers on machines of their own: one is cut off from the store, the next from the vendor.

With network namespaces and veth links where the machine allows them, else with proxies on loopback
that stall; TALY_TEST_PROXY=1 has these in any case.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.cuttable import Place, namespaces_allowed, place
from tests.engine_world import NOON
from tests.fleet_worker import chain, vendor

from taly.engine.owner import Owner
from taly.engine.store import Store, open_store

ROOT = Path(__file__).parents[2]
LEASE_S = 1.5
LENGTH = 12
REAL = not os.environ.get("TALY_TEST_PROXY") and namespaces_allowed()


class Process:
    """A worker process and what it said so far."""

    def __init__(self, name: str, url: str, log: Path, where: Place) -> None:
        door = ":".join(map(str, where.lines["vendor"].address))
        command = [sys.executable, "-m", "tests.fleet_worker"]
        self.name, self.where = name, where
        self.process = subprocess.Popen(
            [*where.prefix, *command, _through(url, where), str(log), name, str(LEASE_S), door],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said: list[dict[str, str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.said.append(json.loads(line) if line.startswith("{") else {"what": line})

    def has(self, what: str, event: str = "") -> bool:
        return any(one["what"] == what and one.get("event", "") == event for one in self.said)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(5)
        if self.process.stdout:
            self.process.stdout.close()


def _through(url: str, where: Place) -> str:
    host, port = where.lines["store"].address
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.username}:{parts.password}@{host}:{port}").geturl()


def until(holds: Callable[[], object], *workers: Process, within_s: float = 30) -> None:
    last = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < last, [(one.name, one.said[-6:]) for one in workers]
        time.sleep(0.02)


@pytest.fixture
def door() -> Iterator[tuple[str, int]]:
    """What a vendor answers before anything else: one byte."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)

        def answer() -> None:
            while not ended.is_set():
                try:
                    with listener.accept()[0] as one:
                        one.sendall(b"!")
                except TimeoutError:
                    continue

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listener.getsockname()[:2]
        ended.set()
        thread.join(5)


def test_cut_off_from_the_store_or_from_the_vendor_another_goes_on_and_nothing_is_done_twice(
    postgres_url: str, door: tuple[str, int], tmp_path: Path
) -> None:
    parts = urlsplit(postgres_url)
    assert parts.hostname
    assert parts.port
    services = {"store": (parts.hostname, parts.port), "vendor": door}
    log, store = tmp_path / "vendor.jsonl", open_store(postgres_url)
    world = vendor(log)
    with ExitStack() as stack:
        stack.callback(store.close)

        def hire(name: str) -> Process:
            where = stack.enter_context(place(services, namespace=REAL))
            one = Process(name, postgres_url, log, where)
            stack.callback(one.end)
            until(lambda: name in [row.name for row in store.workers()], one)
            return one

        ana = hire("ana")
        run_id = store.submit_run(chain(LENGTH), Owner.here("dev"), at=NOON, version="1", fits={})
        until(lambda: len(world.writes()) >= 2, ana)
        ben = hire("ben")
        ana.where.lines["store"].cut()
        until(lambda: ben.has("took"), ana, ben)
        assert not store.run(run_id).outcome
        cyd = hire("cyd")
        so_far = len(world.writes())
        until(lambda: len(world.writes()) > so_far, ben)
        ben.where.lines["vendor"].cut()
        until(lambda: ben.has("unknown"), ben)
        until(lambda: store.run(run_id).outcome, ben, cyd)
        ana.where.lines["store"].mend()
        ben.where.lines["vendor"].mend()
        until(lambda: ana.has("lost"), ana)
        _finished_once(store, run_id)
        written = [op["component"] for op in world.writes()]
        assert sorted(written) == sorted(one.component for one in chain(LENGTH).steps)
        until(lambda: all(row.is_alive for row in store.workers()), ana, ben, cyd)
        assert len(store.workers()) == 3, "who was cut off takes runs again"


def _finished_once(store: Store, run_id: str) -> None:
    events = store.events(run_id)
    kinds = [one.event.kind for one in events]
    assert store.run(run_id).outcome == "succeeded"
    assert kinds.count("run-finished") == 1
    assert kinds.count("lease-taken") == 3, "ana, ben, cyd"
    assert [one.seq for one in events] == list(range(1, len(events) + 1))
    fences = [one.fence for one in events]
    assert fences == sorted(fences), "who lost the run wrote nothing more"
