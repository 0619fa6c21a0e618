"""The one sandbox of a directory: who has it, where it listens, what its clients need."""

import fcntl
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from taly.errors import UsageError

STATUS = "sandbox.json"
DATABASE_URL = "TALY_SANDBOX_DATABASE_URL"
"""The variable with the URL of a server that the sandbox is to use."""
ENVIRON = "sandbox.env"
LOG = "sandbox.log"
LOCK = "sandbox.lock"
DEFAULT_DIRECTORY = Path(".taly") / "sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A sandbox that is up, as sandbox.json describes it."""

    pid: int
    scenario: str
    description: str
    speed: float
    directory: str
    control: str
    token: str
    environ_file: str
    urls: Mapping[str, str]
    """Component → where users reach it; components that have no address are left out."""


@contextmanager
def extra_needed() -> Iterator[None]:
    """Say how to install what the sandbox needs, where it is not: the core install is light."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "taly":
            raise
        raise UsageError(
            f"the sandbox needs {error.name}, which is not installed",
            reference="sandbox-extra-missing",
            hint="pip install 'taly-rollback[sandbox]'",
        ) from error


def find_directory(given: Path | None) -> Path:
    """The directory asked for; else the present one if a sandbox lives there, else the usual."""
    if given is not None:
        return given.absolute()
    here = Path.cwd()
    return here if (here / STATUS).is_file() else here / DEFAULT_DIRECTORY


def claim(directory: Path) -> int:
    """Become the directory's one sandbox; returns the file descriptor that holds the claim.

    It is best never closed: the operating system frees the claim when the process has ended,
    however it ends, and nobody takes the directory for free any earlier. UsageError when another
    process has it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _refuse_a_strangers(directory)
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UsageError(
            f"{directory} cannot be used: {error.strerror}",
            reference="sandbox-directory",
            hint="taly sandbox up --dir DIR",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise already_running(directory) from None
    return lock


def _refuse_a_strangers(directory: Path) -> None:
    """A sandbox overwrites taly.toml and prisma/: it must not do so in somebody's checkout."""
    if not (directory / LOCK).exists() and any(directory.iterdir()):
        raise UsageError(
            f"{directory} holds files that no sandbox wrote",
            reference="sandbox-directory",
            hint="taly sandbox up --dir DIR   (a directory that is new, empty or a sandbox's)",
        )


def is_claimed(directory: Path) -> bool:
    """Whether a process is a sandbox in that directory now, be it ready or not."""
    try:
        with (directory / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def already_running(directory: Path) -> UsageError:
    """The error that names the sandbox which has the directory."""
    running = read_running(directory)
    which = (
        f"{running.scenario!r} (process {running.pid}, {running.control})"
        if running
        else "one that is still starting"
    )
    return UsageError(
        f"a sandbox runs in {directory} already: {which}",
        reference="sandbox-running",
        hint=f"taly sandbox down --dir {shlex.quote(str(directory))}",
    )


def read_running(directory: Path) -> Running | None:
    """The sandbox that is ready in that directory; None when there is none."""
    if not is_claimed(directory):
        return None
    try:
        return Running(**json.loads((directory / STATUS).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def exports(environ: Mapping[str, str]) -> str:
    """Lines for a POSIX shell."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environ.items())
