"""The whole emulated platform: makes the vendors, seeds their past, lets the clock run."""

import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from taly.errors import TalyError, UsageError
from taly.sandbox.control import IMPOSSIBLE, ControlApi
from taly.sandbox.emulator import Emulator
from taly.sandbox.files import write_config
from taly.sandbox.http import Listener
from taly.sandbox.later import Later
from taly.sandbox.scenario import PushEntry, Scenario
from taly.sandbox.timeline import Happening, deploys, past, to_come, under_way
from taly.sandbox.vendors import Vendors, made_up_secret, make_vendors, stop_all
from taly.sandbox.world import Fault, VirtualClock, World
from taly.sandbox.writers import FILE as WRITERS_LOG
from taly.sandbox.writers import Writers


class Platform:
    """One running copy of the platform that a scenario describes, on loopback."""

    def __init__(
        self,
        scenario: Scenario,
        directory: Path,
        speed: float | None = None,
        database_url: str | None = None,
    ) -> None:
        """Prepare; nothing runs yet.

        `speed`: virtual seconds in a real one, instead of the scenario's own. `database_url`: a
        PostgreSQL server to use instead of starting one.
        """
        self.scenario = scenario
        self.directory = directory
        self.world = World(clock=VirtualClock(speed or scenario.speed))
        self.token = made_up_secret()
        self.world.secrets.add(self.token)
        self._database_url = database_url
        if database_url and (password := urlsplit(database_url).password):
            self.world.secrets.add(password)
        self._vendors = Vendors(emulators={}, environ={})
        self._later = Later(self.world.clock)
        self._control: Listener | None = None
        self._writers: Writers | None = None
        self._lock = threading.Lock()
        self._down = False

    def up(self, told_to_end: threading.Event | None = None) -> None:
        """Start everything; returns when every address answers. Undoes itself when it fails.

        Stops half-way, for `down` to clear up, once `told_to_end` is set.
        """
        try:
            self._vendors = make_vendors(
                self.world,
                self.scenario.vendors,
                directory=self.directory,
                database_url=self._database_url,
                database=self._database_settings(),
            )
            self._vendors.serve(self.world)
            # Before the past: CI's taly of then keeps its clock in step with ours.
            self._control = Listener(ControlApi(self)).start()
            self._seed(told_to_end or threading.Event())
            self._writers = self._make_writers()
        except BaseException:
            self.down()
            raise

    def _database_settings(self) -> dict[str, Any]:
        of = (one.settings for one in self.scenario.components if one.vendor == "postgres")
        return next(of, {})

    def down(self) -> list[str]:
        """End everything that was started; what could not be ended, in words."""
        with self._lock:
            if self._down:
                return []
            self._down = True
        self._later.stop()
        if self._writers is not None:
            self._writers.stop()
        listeners = [self._control] if self._control else []
        for listener in [*listeners, *self._vendors.listeners]:
            with suppress(OSError):
                listener.stop()
        problems = stop_all(reversed(list(self._vendors.emulators.values())))
        return [f"{type(error).__name__}: {error}" for error in problems]

    @property
    def emulators(self) -> dict[str, Emulator]:
        """The emulated vendors, by name."""
        return self._vendors.emulators

    @property
    def control_url(self) -> str:
        """Where the control API listens."""
        if self._control is None:
            raise RuntimeError("the platform is not up")
        return self._control.url

    def environ(self) -> dict[str, str]:
        """What a client needs in its environment to reach this platform instead of the real one."""
        return {**self._vendors.environ, "TALY_SANDBOX": self.control_url}

    def emulator_of(self, component: str) -> Emulator:
        """The vendor of that component; KeyError if the scenario has no such component."""
        return self.emulators[self.scenario.component(component).vendor]

    def url(self, component: str) -> str:
        """Where users reach that component; empty = nowhere."""
        return self.emulator_of(component).url(component)

    def push(self, entry: PushEntry) -> list[str]:
        """A deploy arrives now; the components that it went to."""
        entry = self._as_before(entry)
        now = self.world.clock.now()
        arriving = list(deploys(self.scenario, self.emulators, entry, now, timedelta(0)))
        for happening in arriving:
            happening.do()
        return [happening.component for happening in arriving]

    def _as_before(self, entry: PushEntry) -> PushEntry:
        """A commit that the scenario deployed already is the same code when it comes again."""
        for known in self.scenario.deploys:
            if known.commit.startswith(entry.commit) or entry.commit.startswith(known.commit):
                said = entry.model_dump(exclude_unset=True)
                same = known.model_dump(include={"message", "outcome", "outcomes", "settings"})
                return PushEntry.model_validate({**same, **said, "commit": known.commit})
        return entry

    def restart(self, vendor: str, away_s: float) -> None:
        """Let that vendor's API be away for so many real seconds; what it holds is kept.

        LookupError if it has none here.
        """
        self._vendors.restart(vendor, away_s)

    @property
    def writers(self) -> Writers:
        """The customers; UsageError where they have no backend to book at."""
        if self._writers is None:
            raise UsageError(
                "writers need a backend at App Runner and its database, and a sandbox that is up",
                reference="no-writers",
                hint="taly sandbox up --scenario taly",
            )
        return self._writers

    def _make_writers(self) -> Writers | None:
        if not {"apprunner", "postgres"} <= self.emulators.keys():
            return None
        backends = [one.name for one in self.scenario.components if one.vendor == "apprunner"]
        log, clock = self.directory / WRITERS_LOG, self.world.clock
        writers = Writers(self.url(backends[0]), log, clock.now)
        writers.start(self.scenario.writers)
        return writers

    def state(self) -> dict[str, Any]:
        """All that the emulated vendors hold, and what is still to come."""
        return {
            "scenario": self.scenario.name,
            "clock": self.world.clock.describe() | {"now": self.world.clock.now()},
            "components": {
                entry.name: {"vendor": entry.vendor, "url": self.url(entry.name)}
                for entry in self.scenario.components
            },
            "vendors": {name: emulator.state() for name, emulator in self.emulators.items()},
            "faults": self.world.faults.armed(),
            "to_come": [{"at": one.at, "what": one.what} for one in self._later.waiting()],
            "problems": self._later.problems(),
        }

    def _seed(self, told_to_end: threading.Event) -> None:
        """Replay the past with the clock standing still, then let it run from the present."""
        clock, emulators = self.world.clock, self.emulators
        ready = datetime.now(UTC).replace(microsecond=0)
        history = past(self.scenario, emulators, ready)
        clock.seek(history[0].at - timedelta(hours=1) if history else ready)
        for component in self.scenario.sandbox_components():
            emulators[component.vendor].add(component)
        write_config(self)
        for happening in history:
            if told_to_end.is_set():
                return
            clock.seek(happening.at)
            _do(happening)
        begun = under_way(self.scenario, emulators, ready)
        clock.seek(begun[0].at if begun else ready)
        for emulator in emulators.values():
            emulator.start()
        clock.run()
        for happening in begun:
            self._advance_to(happening.at)
            _do(happening)
        self._advance_to(ready)
        self._arm()
        self._later.start(to_come(self.scenario, emulators, clock.now()))

    def _advance_to(self, instant: datetime) -> None:
        left_s = (instant - self.world.clock.now()).total_seconds()
        if left_s > 0:
            self.world.clock.advance(left_s)

    def _arm(self) -> None:
        for entry in self.scenario.faults:
            self.world.faults.add(Fault(**entry.model_dump()))


def _do(happening: Happening) -> None:
    """Let it happen; a mistake of the scenario's author is reported as one."""
    try:
        happening.do()
    except TalyError:
        raise
    except IMPOSSIBLE as error:
        raise UsageError(
            f"the scenario asks for something that cannot be: {happening.what}: "
            f"{type(error).__name__}: {error}",
            reference="scenario-impossible",
            hint="taly sandbox schema",
        ) from error
