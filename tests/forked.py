"""Real processes of taly's that start in 20 ms: forked from one that has imported everything.

Python's imports take half a second of processor time whenever `python -m taly …` starts, and the
tests start it hundreds of times. `Forked` is a `subprocess.Popen` whose child is forked instead: a
process with its own number, signals, files, environment and exit code; only its imports were made
beforehand. That taly imports by itself what it needs is shown where `subprocess` is used:
test_real_start.py, test_tutorial.py, test_sandbox_cli.py.

`python -m tests.forked SOCKET MODULE` is the parent of them all. It has one thread.
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
LENGTH, NUMBER = struct.Struct("!I"), struct.Struct("!i")
MOST_FILES = 16
CLIENTS = (
    *("boto3", "botocore.client", "botocore.httpsession", "botocore.parsers", "botocore.endpoint"),
    *("httpx2", "httpcore2", "dateutil.parser", "psycopg"),
)
IMPORTS: Mapping[str, Sequence[str]] = {
    "taly": (
        *("taly.cli.rollback", "taly.cli.discover", "taly.cli.plan", "taly.cli.runs"),
        *("taly.cli.history", "taly.cli.checkpoint", "taly.cli.database", "taly.cli.rescue"),
        *("taly.cli.report", "taly.cli.plan_view", "taly.cli.run_view", "taly.cli.run_summary"),
        *("taly.app.plans", "taly.app.runs", "taly.engine.durable", "taly.engine.store.postgres"),
        *("taly.providers.apprunner", "taly.providers.netlify", "taly.providers.serverless"),
        *("taly.providers.vercel", "taly.database.provider", "taly.database.outlook"),
        *("taly.database.restore", "taly.database.revert", "postgast", "dbos", *CLIENTS),
    ),
    "taly.sandbox.serve": (
        "tests.copying",
        *("taly.sandbox.platform", "taly.sandbox.files", "taly.sandbox.scenario_file"),
        *("taly.sandbox.postgres", "taly.sandbox.serverless", "taly.sandbox.apprunner"),
        *("taly.sandbox.vercel", "taly.sandbox.netlify", *CLIENTS),
    ),
    "tests.engine_worker": (
        *("taly.engine.durable", "taly.engine.store.postgres", "tests.engine_world"),
        *("dbos", "dbos._sys_db_postgres", "dbos._sys_db_sqlite", "psycopg", "sqlalchemy"),
    ),
}
"""Module that is run → what is imported for it beforehand; never that module itself."""


class _Forked(subprocess.Popen[Any]):
    """As `Popen([sys.executable, "-m", MODULE, …], …)`, for a MODULE in IMPORTS."""

    def __init__(
        self, command: Sequence[str], *, start_new_session: bool = False, **more: Any
    ) -> None:
        self._session = start_new_session
        super().__init__(command, **more)

    # What Popen does by itself with fork and waitpid: those are the parent's, here.

    def _execute_child(self, command: Sequence[str], *more: Any) -> None:
        _, _, _, pass_fds, cwd, env, _, _, _, *pipes = more
        pipes = pipes[:6]
        its_in, _, _, its_out, _, its_err = pipes
        python, dash_m, module, *arguments = command
        assert (python, dash_m) == (sys.executable, "-m"), command
        files = {0: its_in, 1: its_out, 2: its_err} | {fd: fd for fd in pass_fds}
        wish = {
            "module": module,
            "arguments": arguments,
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
            "session": self._session,
            "files": list(files),
        }
        self._status, its_status = os.pipe()
        given = [number if fd == -1 else fd for number, fd in files.items()]
        self.pid = _parent(module).fork(wish, [its_status, *given])
        self._child_created = True
        os.close(its_status)
        self._close_pipe_fds(*pipes)

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        patience = 0 if wait_flags & os.WNOHANG else None
        if not select.select([self._status], [], [], patience)[0]:
            return 0, 0
        told = os.read(self._status, NUMBER.size)
        os.close(self._status)
        assert told, f"the parent of process {self.pid} has gone"
        return self.pid, int(NUMBER.unpack(told)[0])

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        with self._waitpid_lock:
            if self.returncode is None:
                pid, status = self._try_wait(os.WNOHANG)
                if pid:
                    self._handle_exitstatus(status)
        return self.returncode


Forked: Callable[..., Any] = _Forked if sys.platform == "linux" else subprocess.Popen


def run(command: Sequence[str], *, timeout_s: float, **more: Any) -> Any:
    """As `subprocess.run`: nothing on its standard input, its output as text."""
    with Forked(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@dataclass
class _Parent:
    """The process from which the others are forked, as seen from the tests."""

    line: socket.socket
    process: subprocess.Popen[bytes]
    lock: Lock = field(default_factory=Lock)

    def fork(self, wish: Mapping[str, Any], files: Sequence[int]) -> int:
        """The number of a new process; the first of the files is where its end is told."""
        text = json.dumps(wish).encode()
        with self.lock:
            socket.send_fds(self.line, [LENGTH.pack(len(text))], files)
            self.line.sendall(text)
            told = self.line.recv(NUMBER.size)
        assert told, "the parent of taly's processes has gone"
        return int(NUMBER.unpack(told)[0])

    def end(self) -> None:
        self.line.close()
        self.process.wait()


@cache
def _parent(module: str) -> _Parent:
    ours, its = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.forked", str(its.fileno()), module],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        pass_fds=(its.fileno(),),
    )
    its.close()
    parent = _Parent(ours, process)
    atexit.register(parent.end)
    return parent


# The parent's own side


@dataclass
class _Wish:
    """What a child is to be."""

    module: str
    arguments: list[str]
    cwd: str
    env: dict[str, str]
    session: bool
    files: list[int]
    """Under which numbers it gets `given`."""
    given: list[int]


def _serve(line: socket.socket) -> _Wish:
    """Fork whenever it is asked for, and tell of each end; returns in the children alone."""
    told_of_ends, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    children: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([line, told_of_ends], [], [])
        if told_of_ends in ready:
            os.read(told_of_ends, 4096)
            _tell_of_ends(children)
        if line not in ready:
            continue
        asked = _asked(line)
        if asked is None:
            os._exit(0)  # the tests have ended
        status, wish = asked
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            for fd in (status, told_of_ends, writing, line.detach(), *children.values()):
                os.close(fd)
            return wish
        children[pid] = status
        for fd in wish.given:
            os.close(fd)
        line.sendall(NUMBER.pack(pid))


def _tell_of_ends(children: dict[int, int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        fd = children.pop(pid)
        with suppress(BrokenPipeError):  # nobody waits for it
            os.write(fd, NUMBER.pack(status))
        os.close(fd)


def _asked(line: socket.socket) -> tuple[int, _Wish] | None:
    head, given, _, _ = socket.recv_fds(line, LENGTH.size, MOST_FILES)
    if not head:
        return None
    text, length = b"", LENGTH.unpack(head)[0]
    while len(text) < length:
        text += line.recv(length - len(text))
    status, *files = given
    return status, _Wish(given=files, **json.loads(text))


def _become(wish: _Wish) -> None:
    """Give this process all that the wish says, as the kernel gives it to a new program."""
    if wish.session:
        os.setsid()
    high = 1 + max(*wish.files, *wish.given)
    for number, fd in enumerate(wish.given):
        os.dup2(fd, high + number)
        os.close(fd)
    for number, wanted in enumerate(wish.files):
        os.dup2(high + number, wanted)
        os.close(high + number)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=stream is sys.stderr or stream.isatty())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(wish.cwd)
    os.environ.clear()
    os.environ.update(wish.env)
    sys.path[0] = wish.cwd
    sys.argv = [wish.module, *wish.arguments]


def _exit_code(module: str) -> int:
    """Run it as `python -m` does."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _end(code: int) -> NoReturn:
    """What Python does at its end, but for taking thousands of modules to pieces (50 ms)."""
    try:
        threading._shutdown()  # waits for its threads
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code & 0xFF)


if __name__ == "__main__":
    for name in IMPORTS[sys.argv[2]]:
        import_module(name)
    gc.collect()
    gc.freeze()  # what was imported is garbage in no child: none looks through it
    with socket.socket(fileno=int(sys.argv[1])) as its_line:
        wished = _serve(its_line)
    _become(wished)
    _end(_exit_code(wished.module))
