"""A whole emulated platform for a test: started as its own process, ended by its id."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from taly.sandbox.client import ControlClient
from taly.sandbox.running import Running, is_claimed
from taly.sandbox.serve import Wish, start_detached
from tests.forked import Forked, run

KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "COVERAGE_PROCESS_START")
END_S = 30.0


def until(holds: Callable[[], object], *, within_s: float = 30.0, what: str = "") -> None:
    """Return once it holds; AssertionError when it does not in that many real seconds."""
    last = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < last, f"not within {within_s:g} s: {what or holds}"
        time.sleep(0.02)


@dataclass(slots=True, kw_only=True)
class Sandbox:
    """A sandbox that is up, as a test uses it."""

    running: Running
    control: ControlClient
    environ: dict[str, str] = field(repr=False)

    @property
    def directory(self) -> Path:
        """Where taly.toml lies."""
        return Path(self.running.directory)

    def url(self, component: str) -> str:
        """Where users reach the component."""
        return self.running.urls[component]

    def environment(self, **more: str) -> dict[str, str]:
        """A scrubbed process environment in which only this sandbox can be reached."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        return {**kept, "NO_COLOR": "1", **self.environ, **more}

    def taly(
        self, *arguments: str, timeout_s: float = 120.0, **more_environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run taly as a user does, in the sandbox's directory, with no terminal."""
        return run(
            [sys.executable, "-m", "taly", *arguments],
            cwd=self.directory,
            env=self.environment(**more_environment),
            timeout_s=timeout_s,
        )

    def real_taly(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """The same in a process that imports for itself all that it needs."""
        return subprocess.run(
            [sys.executable, "-m", "taly", *arguments],
            cwd=self.directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120.0,
            check=False,
        )

    def start_taly(self, *arguments: str) -> "subprocess.Popen[str]":
        """The same without waiting: for tests that kill it or run two at once."""
        return Forked(
            [sys.executable, "-m", "taly", *arguments],
            cwd=self.directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def tell_to_end(self) -> None:
        """Ask it to end, by its id."""
        with suppress(ProcessLookupError):
            os.kill(self.running.pid, signal.SIGTERM)

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        if is_claimed(self.directory):
            self.tell_to_end()
        until(lambda: not is_claimed(self.directory), within_s=END_S, what="the sandbox ends")
        with suppress(ChildProcessError):
            os.waitpid(self.running.pid, 0)


SandboxFactory = Callable[..., Sandbox]


def bring_up(directory: Path, scenario: str, speed: float | None) -> Sandbox:
    """Start a sandbox there; `scenario` is a shipped one's name, a file, or TOML text."""
    directory.mkdir(parents=True)
    if "\n" in scenario:
        file = directory.with_suffix(".toml")
        file.write_text(scenario, "utf-8")
        scenario = str(file)
    wish = Wish(scenario=scenario, directory=str(directory), speed=speed)
    running = start_detached(wish, popen=Forked)
    control = ControlClient(running.control, running.token)
    return Sandbox(running=running, control=control, environ=control.environ())


@pytest.fixture
def eventually() -> Callable[..., None]:
    """`eventually(condition, within_s=30.0, what="")`: waits for it, fails if it does not come."""
    return until


@pytest.fixture(scope="session")
def _shared_sandboxes(
    tmp_path_factory: pytest.TempPathFactory, prepared_cluster: None
) -> Iterator[Callable[[str, float | None], Sandbox]]:
    kept: dict[tuple[str, float | None], Sandbox] = {}

    def get(scenario: str, speed: float | None) -> Sandbox:
        if (scenario, speed) not in kept:
            directory = tmp_path_factory.mktemp("shared") / "sandbox"
            kept[scenario, speed] = bring_up(directory, scenario, speed)
        return kept[scenario, speed]

    yield get
    for one in kept.values():
        one.tell_to_end()
    for one in kept.values():
        one.stop()


@pytest.fixture
def sandbox(
    tmp_path: Path, _shared_sandboxes: Callable[[str, float | None], Sandbox]
) -> Iterator[SandboxFactory]:
    """`sandbox(scenario="taly-small", speed=None, shared=False)` → a Sandbox.

    A shared one lives as long as the session and serves every test that asks for the same
    scenario and speed: such tests must not change what others look at. Its customers stop booking
    when the test ends: they would take the processor from everybody else.
    """
    mine: list[Sandbox] = []
    shared_ones: list[Sandbox] = []

    def make(
        scenario: str = "taly-small", speed: float | None = None, *, shared: bool = False
    ) -> Sandbox:
        if shared:
            shared_ones.append(_shared_sandboxes(scenario, speed))
            return shared_ones[-1]
        mine.append(bring_up(tmp_path / f"sandbox-{len(mine)}", scenario, speed))
        return mine[-1]

    yield make
    for one in shared_ones:
        one.control.set_writers(0)
    for one in mine:
        one.stop()
