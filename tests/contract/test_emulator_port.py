"""What every emulated vendor must do, whichever it is: the port `taly.sandbox.emulator`."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from taly.config.settings import SETTINGS
from taly.errors import TalyError
from taly.sandbox.control import IMPOSSIBLE
from taly.sandbox.emulator import Deploy, Emulator, SandboxComponent
from taly.sandbox.vendors import CLASSES, Vendors, made_up_secret, make_vendors
from taly.sandbox.world import VirtualClock, World

FIRST, SECOND, THIRD = "1" * 40, "2" * 40, "3" * 40
NAME = "taly-thing"
SERVED = ("apprunner", "vercel", "netlify")
"""Those that users reach directly."""
SPEED = 2000.0


class Stage:
    """One emulator in a world of its own."""

    def __init__(self, vendor: str, directory: Path, database_url: str) -> None:
        self.world = World(clock=VirtualClock(SPEED))
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.world.clock.seek(self.now - timedelta(days=7))
        needed = {vendor, "postgres"} if vendor == "apprunner" else {vendor}
        self.vendors: Vendors = make_vendors(
            self.world, needed, directory=directory, database_url=database_url
        )
        self.vendor = vendor
        self.emulator: Emulator = self.vendors.emulators[vendor]
        self.add(NAME)
        if vendor == "apprunner":
            self._prepare_database()

    def add(self, name: str) -> None:
        vendor: Any = self.vendor
        self.emulator.add(SandboxComponent(name=name, vendor=vendor))

    def _prepare_database(self) -> None:
        database = self.vendors.emulators["postgres"]
        database.add(SandboxComponent(name="database", vendor="postgres"))
        database.deploy(Deploy(component="database", commit=FIRST))

    def seed(self, days_ago: float, commit: str, outcome: Any = "ok") -> None:
        self.world.clock.seek(self.now - timedelta(days=days_ago))
        self.deploy(commit, outcome)

    def deploy(self, commit: str, outcome: Any = "ok") -> None:
        settings: Mapping[str, Any] = {}
        if self.vendor == "postgres":
            sql = f'CREATE TABLE "t{commit[0]}" ("id" INTEGER);'
            settings = {"migration": {"name": f"2026010{commit[0]}000000_t", "sql": sql}}
        self.emulator.deploy(
            Deploy(component=NAME, commit=commit, outcome=outcome, settings=settings)
        )

    def run(self) -> None:
        self.world.clock.seek(self.now)
        self.emulator.start()
        self.world.clock.run()

    def stop(self) -> None:
        for emulator in reversed(list(self.vendors.emulators.values())):
            emulator.stop()

    def page(self) -> tuple[int, str]:
        """Status and body of what users get."""
        url = self.emulator.url(NAME) + ("/health" if self.vendor == "apprunner" else "/")
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


def until(holds: Callable[[], bool], within_s: float = 30.0) -> None:
    last = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < last, "it did not come to that"
        time.sleep(0.02)


@pytest.fixture(params=list(CLASSES))
def vendor(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def stage(vendor: str, tmp_path: Path, postgres_url: str) -> Iterator[Stage]:
    one = Stage(vendor, tmp_path, postgres_url)
    yield one
    one.stop()


def test_its_name_is_the_one_it_is_registered_under(stage: Stage) -> None:
    assert stage.emulator.vendor == stage.vendor


def test_its_settings_are_what_taly_toml_takes(stage: Stage) -> None:
    stage.seed(3, FIRST)
    stage.run()
    SETTINGS[stage.vendor].model_validate(stage.emulator.settings(NAME))


def test_its_state_is_json_and_shows_the_newest_deploy(stage: Stage) -> None:
    stage.seed(3, FIRST)
    stage.seed(1, SECOND)
    stage.run()
    text = json.dumps(stage.emulator.state())
    assert NAME in text
    assert SECOND[:7] in text


def test_its_state_holds_no_secret(stage: Stage) -> None:
    secret = made_up_secret()
    stage.world.secrets.add(secret)
    stage.seed(3, FIRST)
    stage.run()
    text = json.dumps(stage.emulator.state())
    assert not [one for one in stage.world.secrets if one in text]


def test_seeding_takes_no_time_and_moves_no_clock(stage: Stage) -> None:
    began = time.monotonic()
    for day in (6, 5, 4):
        stage.seed(day, str(day) * 40)
        assert stage.world.clock.now() == stage.now - timedelta(days=day)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("vendor", SERVED, indirect=True)
def test_the_newest_good_deploy_is_what_users_get(stage: Stage) -> None:
    stage.seed(3, FIRST)
    stage.seed(1, SECOND)
    stage.run()
    status, body = stage.page()
    assert status == 200
    assert SECOND in body


@pytest.mark.parametrize("vendor", SERVED, indirect=True)
def test_a_failed_deploy_never_serves(stage: Stage) -> None:
    stage.seed(3, FIRST)
    stage.seed(1, SECOND, "failed")
    stage.run()
    status, body = stage.page()
    assert status == 200
    assert FIRST in body


@pytest.mark.parametrize("vendor", SERVED, indirect=True)
def test_a_broken_deploy_serves_and_fails(stage: Stage) -> None:
    stage.seed(3, FIRST)
    stage.seed(1, SECOND, "broken")
    stage.run()
    status, body = stage.page()
    assert status == 500
    assert SECOND in body


@pytest.mark.parametrize("vendor", SERVED, indirect=True)
def test_a_deploy_that_arrives_while_the_clock_runs_goes_live_after_a_while(stage: Stage) -> None:
    stage.seed(3, FIRST)
    stage.run()
    stage.deploy(SECOND)
    assert FIRST in stage.page()[1]
    until(lambda: SECOND in stage.page()[1])


def test_it_takes_a_deploy_while_the_clock_runs(stage: Stage) -> None:
    stage.seed(3, FIRST)
    stage.run()
    began = time.monotonic()
    stage.deploy(SECOND)
    assert time.monotonic() - began < 5, "a deploy must not block whoever pushed"
    until(lambda: SECOND[:7] in json.dumps(stage.emulator.state()))


def test_a_change_of_unknown_kind_is_refused(stage: Stage) -> None:
    stage.seed(3, FIRST)
    with pytest.raises((*IMPOSSIBLE, TalyError)):
        stage.emulator.change(NAME, {"kind": "no-such-kind"})


def test_a_deploy_of_an_unknown_component_is_refused(stage: Stage) -> None:
    if stage.vendor == "postgres":
        with pytest.raises(TalyError):
            stage.add("another")  # it has one component: a second is what cannot be
        return
    with pytest.raises((*IMPOSSIBLE, TalyError)):
        stage.emulator.deploy(Deploy(component="nobody", commit=FIRST))


def test_it_can_be_stopped_before_it_was_started_and_twice(stage: Stage) -> None:
    stage.seed(3, FIRST)
    stage.emulator.stop()
    stage.emulator.stop()


@pytest.mark.parametrize("vendor", SERVED, indirect=True)
def test_nobody_answers_once_it_is_stopped(stage: Stage) -> None:
    stage.seed(3, FIRST)
    stage.run()
    stage.page()
    stage.emulator.stop()
    with pytest.raises((urllib.error.URLError, ConnectionError)) as gone:
        stage.page()
    why = gone.value.reason if isinstance(gone.value, urllib.error.URLError) else gone.value
    assert isinstance(why, ConnectionError), "refused or reset, as the system likes; never a wait"
