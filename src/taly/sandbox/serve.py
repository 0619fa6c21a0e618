"""Runs a platform until it is told to end: in the foreground, or as a background process."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from taly.errors import TalyError, UsageError
from taly.sandbox.files import clear, forget, write_all
from taly.sandbox.platform import Platform
from taly.sandbox.running import DATABASE_URL, LOG, Running, claim
from taly.sandbox.scenario_file import load

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
START_S = 120.0
"""Real seconds that a background process gets to become ready; it usually takes three."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What sandbox to run, and where."""

    scenario: str
    """A shipped scenario's name, or a file."""
    directory: str
    speed: float | None = None
    database_url: str | None = None


def serve(wish: Wish, ready: Callable[[Running], None]) -> list[str]:
    """Run the sandbox until a signal ends it; `ready` is called once every address answers.

    Returns what could not be ended, in words. Must be called from the main thread.
    """
    directory = Path(wish.directory).absolute()
    scenario = load(wish.scenario)
    lock = claim(directory)
    told = told_by_signals()
    try:
        forget(directory)
        platform = Platform(scenario, directory, wish.speed, wish.database_url)
        try:
            platform.up(told)
            if not told.is_set():
                ready(write_all(platform))
            told.wait()
        finally:
            problems = platform.down()
            clear(directory)
    except BaseException:
        os.close(lock)
        raise
    return problems


def told_by_signals() -> threading.Event:
    """An event that any of SIGNALS sets, however many come; call it from the main thread.

    A signal is only noted: raising could lose a server that has just been started, and a second ^C
    changes nothing, so it cannot leave half of the platform running. It is noted through a pipe,
    because a handler that sets an event itself waits for ever when another signal interrupts it.
    """
    told = threading.Event()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def listen() -> None:
        os.read(reading, 1)
        told.set()

    threading.Thread(target=listen, daemon=True).start()
    return told


def start_detached(
    wish: Wish, popen: "Callable[..., subprocess.Popen[bytes]]" = subprocess.Popen
) -> Running:
    """Start a background process, with `popen`, and return once it is ready.

    Raises the error for which it could not start, or UsageError with the end of its log.
    """
    directory = Path(wish.directory).absolute()
    os.close(claim(directory))  # fail before a process is started
    reading, writing = os.pipe()
    log = directory / LOG
    told = asdict(wish)
    # Its password is nobody's who looks at the processes.
    secret = {DATABASE_URL: told.pop("database_url") or ""}
    with log.open("wb") as output:
        child = popen(
            [sys.executable, "-m", "taly.sandbox.serve", json.dumps(told), str(writing)],
            env={**os.environ, **secret},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(writing,),
            start_new_session=True,
        )
    os.close(writing)
    try:
        with os.fdopen(reading, encoding="utf-8") as pipe:
            if not select.select([pipe], [], [], START_S)[0]:
                raise UsageError(
                    f"the sandbox was not ready within {START_S:.0f} seconds",
                    reference="sandbox-start",
                    hint=f"less {log}",
                )
            line = pipe.readline()
    except BaseException:  # nobody would know of it: ^C, or it takes too long
        child.terminate()
        child.wait()
        raise
    return _outcome(line, child, log)


def _outcome(line: str, child: "subprocess.Popen[bytes]", log: Path) -> Running:
    if not line:
        code = child.wait()
        end = "\n".join(f"  {text}" for text in log.read_text("utf-8", "replace").splitlines()[-8:])
        raise UsageError(
            f"the sandbox ended with status {code} while it started; its log ends with:\n{end}",
            reference="sandbox-start",
            hint=f"less {log}",
        )
    said = json.loads(line)
    if "error" in said:
        child.wait()
        raise UsageError(**said["error"])
    # The child is meant to outlive us: nobody waits for it, and it is no leak.
    child.returncode = 0
    return Running(**said["ready"])


def main(argument: str, writing: int) -> int:
    """The background process: tells through the pipe `writing` how starting went."""
    with os.fdopen(writing, "w", encoding="utf-8") as pipe:

        def tell(key: str, value: object) -> None:
            pipe.write(json.dumps({key: value}) + "\n")
            pipe.close()

        try:
            url = os.environ.pop(DATABASE_URL, "") or None
            wish = Wish(**json.loads(argument), database_url=url)
            problems = serve(wish, lambda running: tell("ready", asdict(running)))
        except TalyError as error:
            facts = {"message": error.message, "reference": error.reference, "hint": error.hint}
            tell("error", facts)
            return int(error.exit_code)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
