"""A platform in a process of its own, which outlives every `taly`, and what happened on it."""

import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import tomlkit

from taly.engine.store import open_store
from taly.errors import ExitCode
from taly.model.events import StepDone
from taly.sandbox.client import ControlClient
from tests.kills.table import Tally
from tests.kills.warm import CONTEXT, Ended, Taly, Tweak, Wish
from tests.scenario_parts import BACKEND

KEPT = ("PATH", "HOME", "LANG", "TMPDIR")
PREPARING = {"CloudFormation.CreateChangeSet", "CloudFormation.DeleteChangeSet"}
"""A change set changes nothing until it is executed; one that a dead process left is removed."""
PATIENT_S = 3600
"""Virtual seconds that an application gets to answer: a busy machine must not fail a verification
here, where 250 of them pass in one of its seconds."""
SCENARIO = (
    """
name = "kills"
description = "A backend whose updates take minutes, and two frontends."
speed = 250
"""
    + BACKEND
    + """
[[components]]
name = "dashboard"
vendor = "vercel"
after = ["backend"]

[[components]]
name = "payments"
vendor = "netlify"
after = ["backend"]

[[deploys]]
at = "-2d"
commit = "18a3d05c590ee5056a319b57a75e692b48d1fe51"
[deploys.settings.backend]
schema_version = 1

[[deploys]]
at = "-1d"
commit = "05a19a663601223f2e59a0fe5e9e33a5ee349ac6"
[deploys.settings.backend]
schema_version = 1
"""
)

RESUMES = 4
"""How often at most: a step may be unknown again, where its deadline passes while we are busy."""

Writes = Counter[tuple[str, str]]


def _platform(scenario: str, directory: Path, database_url: str, line: Connection) -> None:
    from taly.sandbox.files import write_all
    from taly.sandbox.platform import Platform
    from taly.sandbox.scenario_file import parse

    directory.mkdir(parents=True)
    platform = Platform(parse(scenario, where="kills"), directory, None, database_url)
    platform.up()
    write_all(platform)
    _make_patient(directory / "taly.toml")
    line.send((platform.control_url, platform.token, platform.environ()))
    with suppress(EOFError):  # the tests were killed
        line.recv()
    platform.down()


def _make_patient(config: Path) -> None:
    document = tomlkit.parse(config.read_text("utf-8")).unwrap()
    for component in document["components"].values():
        if "health" in component:
            component["health"]["deadline_s"] = PATIENT_S
    config.write_text(tomlkit.dumps(document), "utf-8")


class World:
    """The emulated vendors, in their own process."""

    def __init__(self, directory: Path, database_url: str) -> None:
        self.directory = directory
        self._line, its_end = CONTEXT.Pipe()
        self._process = CONTEXT.Process(
            target=_platform, args=(SCENARIO, directory, database_url, its_end)
        )
        self._process.start()
        its_end.close()
        assert self._line.poll(60), "the platform does not come up"
        url, token, environ = self._line.recv()
        self.control = ControlClient(url, token)
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        self.environ: Mapping[str, str] = {**kept, "NO_COLOR": "1", **environ}

    def last_call(self) -> int:
        """The number of the newest request that a vendor got."""
        return max((call["number"] for call in self.control.calls()), default=0)

    def writes(self, after: int) -> Writes:
        """(component, call) → how often it changed something since."""
        return Counter(
            (one["component"], one["target"])
            for one in self.control.writes(after)
            if one["target"] not in PREPARING
        )

    def end(self) -> None:
        """End the platform and all that it started."""
        self._line.send("end")
        self._process.join(30)
        assert self._process.exitcode == 0, self._process.exitcode


@dataclass(slots=True)
class Stage:
    """One world and one store: `taly` commands, and the check of what they did."""

    world: World
    store: str
    notes: Path
    """Where processes' output lies."""
    tally: Tally
    baseline: dict[bool, Writes] = field(default_factory=dict)
    """Whether it went back → the writes of a run that nothing disturbs."""
    went_back: bool = False
    last_run: str = ""
    _open: list[Taly] = field(default_factory=list)
    _numbers: Any = field(default_factory=itertools.count)

    def start(self, *arguments: str, waits: bool = False, tweak: Tweak | None = None) -> Taly:
        """A `taly` under way."""
        wish = Wish(
            arguments=arguments,
            directory=self.world.directory,
            environ={**self.world.environ, "TALY_STORE": self.store},
            said=self.notes / f"taly-{next(self._numbers)}",
            waits=waits,
            tweak=tweak,
        )
        self._open.append(Taly(wish))
        return self._open[-1]

    def taly(self, *arguments: str) -> Ended:
        """A `taly` that is left alone, at its end."""
        return self.start(*arguments).ended()

    def command(self) -> tuple[str, ...]:
        """What takes the platform to its other release: there, and back again."""
        if self.went_back:
            return ("undo", self.last_run, "--yes")
        return ("rollback", "--to", "R1", "--yes")

    def undisturbed(self) -> None:
        """One run there and one back, for the writes that they need."""
        for _ in range(2):
            before = self.world.last_call()
            done = self.taly(*self.command())
            assert done.code == 0, done
            self.baseline[self.went_back] = self.world.writes(before)
            assert set(self.baseline[self.went_back].values()) == {1}, self.baseline
            self._turn(named(done.err))

    def close(self, run: str, before: int) -> None:
        """Bring the run to its end, if it is not over, and check all that it did."""
        for _ in range(RESUMES):
            done = self.taly("resume", run)
            if "run-finished" in done.err or done.code == 0:
                break
            assert done.code == ExitCode.UNKNOWN, done
        writes, wanted = self.world.writes(before), self.baseline[self.went_back]
        self.tally.runs += 1
        self.tally.writes += writes.total()
        self.tally.duplicates += (writes - wanted).total()
        self.tally.lost += (wanted - writes).total()
        assert writes == wanted, (run, writes - wanted, wanted - writes)
        self._check_story(run)
        self._turn(run)
        self._check_live()

    def _turn(self, run: str) -> None:
        self.went_back, self.last_run = not self.went_back, run

    def _check_story(self, run: str) -> None:
        """The events: without a gap, one end for each step and for the run."""
        store = open_store(self.store)
        events, summary, plan = store.events(run), store.run(run), store.plan(run)
        store.close()
        assert summary.outcome == "succeeded", summary
        assert [one.seq for one in events] == list(range(1, len(events) + 1))
        done = [one.event.step for one in events if isinstance(one.event, StepDone)]
        assert sorted(done) == sorted(step.id for step in plan.steps)
        assert [one.event.kind for one in events].count("run-finished") == 1
        assert events[-1].event.kind == "run-finished"
        fences = [one.fence for one in events]
        assert fences == sorted(fences)

    def _check_live(self) -> None:
        status = json.loads(self.taly("status", "--json").out)
        assert status["live_release"] == ("R1" if self.went_back else "R2"), status
        for name, one in status["components"].items():
            assert one["in_release"], (name, one)
            assert not one["in_flight"], (name, one)

    def end(self) -> None:
        """No process is left, whatever a test did."""
        for process in self._open:
            process.close()


def named(said: str) -> str:
    """The run that a process named on its standard error."""
    found = re.search(r"run-\w{6}", said)
    assert found, said
    return found.group()
