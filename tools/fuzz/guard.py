"""What a reader must not do: break, take long, take much, or touch anything but its own folder."""

import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from taly.errors import TalyError

SECONDS = 5
"""For one input. The largest is some hundred kilobytes; none takes a second on a quiet machine."""
MEMORY = 3 * 2**30
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FORBIDDEN = ("os.remove", "os.rename", "os.system", "subprocess.Popen", "socket.connect", "os.exec",
             "os.mkdir", "os.rmdir", "os.chmod", "os.symlink", "os.link", "shutil.rmtree",
             "pickle.find_class", "code.__new__")  # fmt: skip


class TooSlow(BaseException):
    """The alarm went off; no handler for ordinary failures swallows it."""


class Guard:
    """Watches over a process that reads hostile input."""

    def __init__(self) -> None:
        """Limit memory, and listen to what Python does."""
        self._watching = False
        self._said: list[str] = []
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.RLIM_INFINITY))
        signal.signal(signal.SIGALRM, self._late)
        sys.addaudithook(self._hear)

    def judge(self, read: Callable[[], None]) -> str:
        """What went wrong when it was read; empty = nothing."""
        self._said.clear()
        self._watching = True
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            read()
        except TalyError as error:
            found = _unspeakable(error)
        except TooSlow:
            found = f"it took more than {SECONDS} s"
        except BaseException as error:
            found = _told(error)
        else:
            found = ""
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._watching = False
        return found or "; ".join(self._said)

    def _late(self, number: int, frame: FrameType | None) -> None:
        if self._watching:
            raise TooSlow

    def _hear(self, event: str, given: tuple[Any, ...]) -> None:
        if not self._watching:
            return
        if event == "open":
            path, mode, flags = given
            by_mode = isinstance(mode, str) and set(mode) & set("wax+")
            if by_mode or (isinstance(flags, int) and flags & WRITES):
                self._said.append(f"it wrote to {path!r}")
            elif "passwd" in str(path):
                self._said.append(f"it read {path!r}")
        elif event in FORBIDDEN:
            self._said.append(f"it did {event} {given!r:.200}")


def _unspeakable(error: TalyError) -> str:
    """An error must be possible to print, of a length that somebody reads, and have a reference."""
    try:
        f"{error.message}{error.hint}".encode()
    except UnicodeEncodeError:
        return "its error cannot be printed"
    if len(error.message) > 20_000:
        return f"its error has {len(error.message)} characters"
    return "" if error.reference else "its error has no reference"


def _told(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [one for one in frames if "taly" in Path(one.filename).parts] or frames[-1:]
    last = ours[-1]
    where = f"{Path(last.filename).name}:{last.lineno} in {last.name}"
    return f"{type(error).__name__} at {where}: {error!s:.200}"
