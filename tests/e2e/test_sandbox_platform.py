"""The supervisor itself, in this process: what it starts it ends, whatever goes wrong."""

import os
import subprocess
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest

from taly.errors import UsageError
from taly.sandbox.platform import Platform
from taly.sandbox.scenario_file import parse
from taly.sandbox.vendors import CLASSES, MARK
from tests.scenario_parts import BACKEND

SCENARIO = (
    """
name = "two"
description = "A backend and its database."
speed = 100
"""
    + BACKEND
    + """
[[deploys]]
at = "-1d"
commit = "1111111"
"""
)


def children() -> set[int]:
    """The processes that this one started and that still run."""
    listed = subprocess.run(
        ["ps", "-axo", "pid=,ppid=,stat=,comm="],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split(maxsplit=3) for line in listed.stdout.splitlines()]
    return {
        int(pid)
        for pid, parent, state, name in rows
        if int(parent) == os.getpid() and not state.startswith("Z") and name != "ps"
    }


def test_down_ends_every_process_that_up_started_while_we_live_on(tmp_path: Path) -> None:
    before = children()
    platform = Platform(parse(SCENARIO, where="test"), tmp_path)
    platform.up()
    assert len(children() - before) >= 2, "the server and the backend"
    address = platform.url("backend")
    assert platform.down() == []
    assert children() - before == set()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address, timeout=5)
    assert platform.down() == [], "a second time is harmless"


def test_an_emulator_that_cannot_stop_is_said_and_keeps_no_other_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = children()
    platform = Platform(parse(SCENARIO, where="test"), tmp_path)
    platform.up()
    backend = platform.emulators["apprunner"]
    really_stop = backend.stop

    def stop() -> None:
        really_stop()
        raise RuntimeError("the backend clings to life")

    monkeypatch.setattr(backend, "stop", stop)
    assert platform.down() == ["RuntimeError: the backend clings to life"]
    assert children() - before == set()


def test_a_vendor_that_cannot_be_made_leaves_none_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = children()
    broken = {**CLASSES, "apprunner": "taly.sandbox.vendors:NoSuchEmulator"}
    monkeypatch.setattr("taly.sandbox.vendors.CLASSES", broken)
    platform = Platform(parse(SCENARIO, where="test"), tmp_path)
    with pytest.raises(AttributeError):
        platform.up()
    assert children() - before == set()


def test_a_past_that_cannot_be_leaves_nothing_running(tmp_path: Path) -> None:
    before = children()
    bad = '[[changes]]\nat = "-1h"\ncomponent = "database"\nchange = { kind = "sql", sql = "x" }\n'
    platform = Platform(parse(SCENARIO + bad, where="test"), tmp_path)
    with pytest.raises(UsageError) as caught:
        platform.up()
    assert caught.value.reference == "scenario-impossible"
    assert children() - before == set()


def test_every_secret_that_is_handed_out_is_one_that_the_journal_redacts(
    tmp_path: Path, postgres_url: str
) -> None:
    platform = Platform(parse(SCENARIO, where="test"), tmp_path, database_url=postgres_url)
    platform.up()
    try:
        marked = [value for value in platform.environ().values() if MARK in value]
        assert marked
        for value in marked:
            assert any(secret in value for secret in platform.world.secrets)
        assert platform.token in platform.world.secrets
    finally:
        platform.down()


def test_the_clock_is_at_the_present_when_the_sandbox_is_ready(tmp_path: Path) -> None:
    text = SCENARIO.replace("speed = 100", "speed = 1").split("[[deploys]]")[0]
    platform = Platform(parse(text, where="test"), tmp_path)
    platform.up()
    try:
        passed_s = (datetime.now(UTC) - platform.world.clock.now()).total_seconds()
        assert 0 <= passed_s < 30
    finally:
        platform.down()
