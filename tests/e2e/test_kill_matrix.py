"""The kill matrix: real processes, on SQLite and on PostgreSQL, each test with its count.

`make kills ROUNDS=n` plays the random part n times. TALY_TEST_SEED=<the number that a failure
prints> repeats its moments.
"""

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from taly.engine.store import open_store
from taly.errors import ExitCode
from taly.sandbox.server import Server
from tests.cluster import find_copied
from tests.e2e.conftest import until
from tests.kills import servers
from tests.kills.matrix import Cell, killed_at_each_boundary, killed_at_random
from tests.kills.proxy import Proxy
from tests.kills.stage import Stage, World, named
from tests.kills.table import Tally, noted
from tests.kills.warm import HastyStore, ShortLease, SmallFiles, Taly

SEED = int(os.environ.get("TALY_TEST_SEED") or random.SystemRandom().randrange(10**6))
ROUNDS = int(os.environ.get("TALY_KILL_ROUNDS") or 1)
KILLS = 8
KILLS_A_RUN = 4
LEASE_S = 0.6
SQLITE, POSTGRES = (
    pytest.param(store, marks=pytest.mark.xdist_group(f"kills-{store}"))
    for store in ("sqlite", "postgres")
)
on_both = pytest.mark.parametrize("kind", [SQLITE, POSTGRES], indirect=True, scope="module")
on_sqlite = pytest.mark.parametrize("kind", [SQLITE], indirect=True, scope="module")
on_postgres = pytest.mark.parametrize("kind", [POSTGRES], indirect=True, scope="module")
STEP_EVENTS = ("step-started", "step-intended", "step-acted", "step-done")
Begun = Callable[[str], Stage]


@pytest.fixture(scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(
    kind: str, tmp_path_factory: pytest.TempPathFactory, prepared_cluster: None
) -> Iterator[Server | None]:
    """The store's own server: it is restarted while the vendors' database lives on."""
    if kind == "sqlite":
        yield None
        return
    server = find_copied(tmp_path_factory.mktemp("store"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def stage_of_module(
    kind: str,
    server: Server | None,
    postgres_server: Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    place = tmp_path_factory.mktemp("kills")
    world = World(place / "world", postgres_server.create_database(f"kills_{kind}"))
    store = server.url() if server else f"sqlite:///{place}/taly.db"
    stage = Stage(world=world, store=store, notes=place, tally=Tally(what="", store=kind))
    try:
        stage.undisturbed()
        yield stage
    finally:
        stage.end()
        world.end()


@pytest.fixture
def begun(stage_of_module: Stage, record_property: Callable[[str, Any], None]) -> Iterator[Begun]:
    """`begun("what is tried")` → the stage, with a count of its own for this test."""
    stage, store = stage_of_module, stage_of_module.store

    def begin(what: str) -> Stage:
        print(f"TALY_TEST_SEED={SEED}")
        stage.tally = Tally(what=what, store=stage.tally.store)
        return stage

    yield begin
    record_property(*noted(stage.tally))
    stage.store = store
    stage.end()


# Killed


@on_both
def test_killed_at_each_boundary_of_each_event_of_each_step(begun: Begun) -> None:
    stage, struck = begun("kill -9 at each event boundary"), set[Cell]()
    killed_at_each_boundary(stage, struck)
    killed_at_each_boundary(stage, struck)
    kinds = {(side, event.split()[0]) for side, event in struck}
    for side in ("before", "within", "after"):
        assert {(side, kind) for kind in (*STEP_EVENTS, "run-finished")} <= kinds
    assert {("within", "run-started"), ("within", "lease-taken")} <= kinds
    assert stage.tally.kills >= len(struck) / 2


@on_both
@pytest.mark.parametrize("turn", range(ROUNDS))
def test_killed_at_random_moments_within_steps(begun: Begun, turn: int) -> None:
    stage, dice = begun("kill -9 at random"), random.Random(f"{SEED} {turn}")
    while stage.tally.kills < KILLS:
        killed_at_random(stage, dice, KILLS_A_RUN)
        assert stage.tally.runs <= KILLS, "the runs are quicker than the axe"


# Frozen


@on_both
@pytest.mark.parametrize(
    "place", ["step-intended roll-back:backend", "step-acted roll-back:backend"]
)
def test_frozen_past_its_lease_it_wakes_to_nothing_and_says_so(begun: Begun, place: str) -> None:
    """SIGSTOP, another process takes over and finishes, SIGCONT: exit 6, and not one write."""
    stage = begun(f"frozen after {place.split()[0]}")
    before, store = stage.world.last_call(), open_store(stage.store)
    sleeper = stage.start(*stage.command(), waits=True, tweak=ShortLease(LEASE_S))
    run = _led_to(sleeper, place)
    sleeper.signal(signal.SIGSTOP)
    until(lambda: not store.run(run).is_alive, what="the lease lapses")
    store.close()
    stage.close(run, before)
    since = stage.world.last_call()
    sleeper.go_on()  # not earlier: a signal takes a moment to stop every thread
    sleeper.signal(signal.SIGCONT)
    while sleeper.boundary():
        sleeper.go_on()
    said = sleeper.ended()
    assert said.code == ExitCode.LOCKED, said
    assert "lease-lost" in said.err
    assert f"another process has taken over {run}" in " ".join(said.err.split())
    assert not stage.world.writes(since)
    stage.tally.frozen += 1


def _led_to(process: Taly, place: str) -> str:
    """Let it go on until it stands behind that event; the run."""
    while boundary := process.boundary():
        side, events, run = boundary
        if side == "after" and place in events:
            return run
        process.go_on()
    raise AssertionError(f"it never came to {place}: {process.ended()}")


# The store goes away


@on_postgres
def test_the_stores_connections_are_cut_and_it_is_restarted_under_the_run(
    begun: Begun, server: Server
) -> None:
    stage, dice = begun("store: cut, restarted"), random.Random(SEED)
    for how in (None, servers.FAST, servers.IMMEDIATE):
        before = stage.world.last_call()
        process = stage.start(*stage.command())
        run = _led_through(process, "step-intended roll-back:backend")
        for _ in range(3 if how is None else 1):
            time.sleep(dice.uniform(0, 0.1))
            if how is None:
                until(partial(_cut, stage.store, process), what="it is connected, and cut off")
            else:
                servers.stopped(server, how)
                servers.started(server)
            stage.tally.outages += 1
        assert process.ended().code == 0, process.ended()
        stage.close(run, before)


def _cut(store: str, process: Taly) -> bool:
    """Whether it was cut off now, or is over: between two cuts it connects anew."""
    return servers.cut(store) > 0 or not process.is_alive


def _led_through(process: Taly, place: str) -> str:
    """Listen, without holding it up, until it has come through that event; the run."""
    while boundary := process.boundary():
        if boundary[0] == "after" and place in boundary[1]:
            return boundary[2]
    raise AssertionError(f"it never came to {place}: {process.ended()}")


@on_postgres
def test_a_store_that_swallows_everything_is_given_up_and_what_is_unknown_is_said(
    begun: Begun,
) -> None:
    """The network stalls under the run, and then lets nobody in; once it is back, resume."""
    stage = begun("store: stalled, then out of reach")
    direct, proxy = stage.store, Proxy(stage.store)
    for away in (proxy.stall, proxy.refuse):
        before, stage.store = stage.world.last_call(), proxy.url
        process = stage.start(*stage.command(), waits=True, tweak=HastyStore(0.6, 0.4))
        run = _led_to(process, "step-acted roll-back:backend")
        away()
        process.go_on()
        while process.boundary():
            process.go_on()
        said, stage.store = process.ended(), direct
        assert said.code == ExitCode.UNKNOWN, said
        _says_what_is_unknown(said.err, run, "store-unreachable")
        assert "roll-back:backend: sent, and accepted" in said.err
        proxy.flow()
        stage.tally.outages += 1
        until(partial(_is_free, direct, run), what="its lease lapses")
        stage.close(run, before)
    proxy.close()


def _says_what_is_unknown(said: str, run: str, reference: str) -> None:
    assert f"error: {reference}" in said
    assert "nothing is done that cannot be written down there first" in " ".join(said.split())
    assert f"hint: taly resume {run}" in said


def _is_free(url: str, run: str) -> bool:
    store = open_store(url)
    alive = store.run(run).is_alive
    store.close()
    return not alive


@on_sqlite
def test_a_disk_that_is_full_stops_the_run_before_the_write(begun: Begun) -> None:
    """No file may grow beyond a limit, each time a little higher, until a run gets through."""
    stage = begun("store: disk full")
    journal = Path(stage.store.removeprefix("sqlite:///") + "-wal")
    stopped = 0
    for more_kib in (8, 150, 400, 650, 5000):
        before = stage.world.last_call()
        limit = journal.stat().st_size + more_kib * 1024
        said = stage.start(*stage.command(), tweak=SmallFiles(limit)).ended()
        if said.code == 0:
            stage.close(named(said.err), before)
            break
        assert said.code == ExitCode.UNKNOWN, said
        assert "error: store-full" in said.err, said
        stage.tally.outages += 1
        if "hint: taly resume" in said.err:
            run = named(said.err)
            _says_what_is_unknown(said.err, run, "store-full")
            stopped += 1
            stage.close(run, before)
        else:
            assert not stage.world.writes(before), said
    assert stopped >= 2, "the disk was never full in the midst of a run"


# The vendors go away


@on_sqlite
@pytest.mark.parametrize(
    ("vendor", "address", "place"),
    [
        ("apprunner", "AWS_ENDPOINT_URL", "step-intended roll-back:backend"),
        ("vercel", "VERCEL_API_URL", "step-acted roll-back:dashboard"),
        ("netlify", "NETLIFY_API_URL", "step-intended roll-back:payments"),
    ],
)
def test_a_vendor_is_restarted_under_the_run(
    begun: Begun, vendor: str, address: str, place: str
) -> None:
    """It refuses connections when the write is sent, or when it is asked what became of it."""
    stage = begun(f"{vendor} restarted")
    before = stage.world.last_call()
    process = stage.start(*stage.command(), waits=True)
    run = _led_to(process, place)
    away = threading.Thread(target=stage.world.control.restart, args=(vendor, 0.4))
    away.start()
    until(partial(_refuses, stage.world.environ[address]), what="it is away")
    process.go_on()
    while process.boundary():
        process.go_on()
    away.join()
    said = process.ended()
    stage.tally.outages += 1
    if said.code == ExitCode.UNKNOWN:
        assert "?" in said.out
        assert f"next: taly resume {run}" in said.err
    else:
        assert said.code == 0, said
    stage.close(run, before)


def _refuses(address: str) -> bool:
    parts = urlsplit(address)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), 1).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it is just going
        return False
    return False
