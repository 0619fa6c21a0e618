"""Real `taly` processes that start in 30 ms: forked from one that has imported everything.

The parent never makes a thread, a connection or a file of the store; what is forked is a fresh
`taly` in all that counts, with an own process number, and dies of SIGKILL like any other.
"""

import faulthandler
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.kills import boundaries

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "tests.kills.warm",
        "taly.cli.main",
        "taly.cli.rollback",
        "taly.cli.runs",
        "taly.cli.discover",
        "taly.cli.run_view",
        "taly.cli.run_summary",
        "taly.cli.plan_view",
        "taly.app.plans",
        "taly.app.runs",
        "taly.engine.durable",
        "taly.engine.store.postgres",
        "taly.providers.apprunner",
        "taly.providers.netlify",
        "taly.providers.serverless",
        "taly.providers.vercel",
        "boto3",
        "dbos",
    ]
)
PATIENCE_S = 25.0
"""Real seconds after which a process that says nothing more has hung."""
Tweak = Callable[[], None]
"""What is changed in the process before `taly` runs there, e.g. a shorter lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended."""

    code: int
    """Negative: the signal that ended it."""
    out: str
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A command line, and where it is typed."""

    arguments: tuple[str, ...]
    directory: Path
    environ: Mapping[str, str]
    said: Path
    """Its standard output goes to `<said>.out`, its standard error to `<said>.err`."""
    waits: bool = False
    """Whether it waits at each boundary until it is told to go on."""
    tweak: Tweak | None = None


class Taly:
    """One running `taly`, and the line on which it tells where it stands."""

    def __init__(self, wish: Wish) -> None:
        self._said = wish.said
        self.line, its_end = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=_taly, args=(wish, its_end), daemon=False)
        self._process.start()
        its_end.close()

    @property
    def pid(self) -> int:
        """Its process number."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.is_alive()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def boundary(self) -> boundaries.Boundary | None:
        """The next boundary that it reaches; None when it has ended. It waits there."""
        if not self.line.poll(PATIENCE_S):
            self.signal(signal.SIGUSR1)
            self._process.join(1)
            self.kill()
            raise AssertionError(f"it hung: {self.ended()}")
        try:
            boundary: boundaries.Boundary = self.line.recv()
        except (EOFError, ConnectionError):
            return None
        return boundary

    def go_on(self) -> None:
        """From the boundary at which it waits."""
        try:
            self.line.send(True)
        except (BrokenPipeError, ConnectionError):
            return

    def kill(self) -> bool:
        """kill -9; whether it was still alive."""
        self._process.kill()
        self._process.join()
        return self._process.exitcode == -signal.SIGKILL

    def ended(self, within_s: float = PATIENCE_S) -> Ended:
        """Wait for its end."""
        self._process.join(within_s)
        code = self._process.exitcode
        if code is None:
            self.kill()
        ended = Ended(code=code or 0, out=self._text("out"), err=self._text("err"))
        assert code is not None, f"it does not end: {ended}"
        return ended

    def close(self) -> None:
        """End it, if it has not."""
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.line.close()

    def _text(self, which: str) -> str:
        return Path(f"{self._said}.{which}").read_text("utf-8")


def _taly(wish: Wish, line: Connection) -> None:
    """In the forked process: be `taly`."""
    from taly.cli.main import run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(wish.directory)
    os.environ.clear()
    os.environ.update(wish.environ)
    for number, which in ((1, "out"), (2, "err")):
        path = f"{wish.said}.{which}"
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), number)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    _hasten_queues()
    boundaries.announce(line, waits=wish.waits)
    if wish.tweak is not None:
        wish.tweak()
    sys.exit(run(list(wish.arguments)))


def _hasten_queues() -> None:
    """DBOS looks for new queues once a second, and a resumed run waits for that: 100 s in all."""
    from dbos import _dbos

    look = _dbos.queue_thread

    class Impatient(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            return super().wait(None if timeout is None else min(timeout, 0.05))

    def looking(told: threading.Event, dbos: Any) -> None:
        impatient = Impatient()
        threading.Thread(target=lambda: told.wait() and impatient.set(), daemon=True).start()
        look(impatient, dbos)

    _dbos.queue_thread = looking


@dataclass(frozen=True, slots=True)
class SmallFiles:
    """A tweak: no file may grow beyond so many bytes, as on a disk that is full."""

    limit: int

    def __call__(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, self.limit))


@dataclass(frozen=True, slots=True)
class ShortLease:
    """A tweak: a lease of so few seconds as no taly.toml may ask for."""

    lease_s: float

    def __call__(self) -> None:
        from taly.app import runs
        from taly.engine.runner import Engine

        lease_s = self.lease_s

        class Hurried(Engine):
            def __init__(self, **given: Any) -> None:
                super().__init__(**{**given, "lease_s": lease_s})

        runs.Engine = Hurried


@dataclass(frozen=True, slots=True)
class HastyStore:
    """A tweak: a store that does not answer is given up after so few seconds."""

    answer_s: float
    retry_s: float

    def __call__(self) -> None:
        from taly.engine.store import postgres

        postgres.ANSWER_S, postgres.RETRY_S = self.answer_s, self.retry_s


def without_dbos() -> None:
    """A tweak: the engine alone. DBOS appends no events, and its start takes longer than a step."""
    from taly.app import runs

    runs.executor_of = lambda context, engine: engine
    runs.warm_up = lambda: None
