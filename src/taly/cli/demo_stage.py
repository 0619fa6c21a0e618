"""The demo's stage: the platform, the viewer's terminal, and what was found out so far."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from taly.cli.output import err, out
from taly.sandbox.client import ControlClient


class Stopped(Exception):
    """An act went so wrong that the next ones would show nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Something that the demo promises, and what was really seen."""

    says: str
    held: bool
    seen: str


@dataclass(slots=True, kw_only=True)
class Stage:
    """Where the acts are played."""

    directory: Path
    quiet: bool
    """Print nothing on stdout but the JSON at the end."""
    environ: dict[str, str] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    """Component → where users reach it."""
    _control: ControlClient | None = None

    @property
    def console(self) -> Console:
        """Where the viewer reads."""
        return err() if self.quiet else out()

    @property
    def control(self) -> ControlClient:
        """The sandbox's control API."""
        assert self._control is not None, "the platform is up"
        return self._control

    def begin(self, control: ControlClient, urls: dict[str, str]) -> None:
        """The platform is up."""
        self._control = control
        self.urls = urls
        self.environ |= control.environ()

    def say(self, text: str) -> None:
        """Narrate."""
        self.console.print()
        self.console.print(Text(f"▌ {text}", style="name"))

    def note(self, text: str) -> None:
        """Tell what was measured and promises nothing."""
        self.console.print(Text(f"  · {text}", style="quiet"))

    def taly(self, *arguments: str) -> int:
        """Type a taly command for the viewer; its exit code."""
        self.console.print(Text(f"$ taly {' '.join(arguments)}", style="command"))
        sys.stdout.flush()
        return subprocess.run(
            [sys.executable, "-m", "taly", *arguments],
            cwd=self.directory,
            env=self.environ,
            stdout=sys.stderr if self.quiet else None,
            check=False,
        ).returncode

    def ask(self, *arguments: str) -> dict[str, Any]:
        """The JSON that a taly command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "taly", *arguments, "--json"],
            cwd=self.directory,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        answer: dict[str, Any] = json.loads(done.stdout or "{}")
        return answer

    def claim(self, says: str, held: bool, seen: str) -> None:
        """Note whether a promise held."""
        self.claims.append(Claim(says=says, held=held, seen=seen))
        sign = Text("  ✓ " if held else "  × ", style="good" if held else "bad")
        self.console.print(sign.append(says, style="").append(f"  ({seen})", style="quiet"))


def wait_for(condition: Callable[[], bool], timeout_s: float) -> None:
    """Return once the condition holds, or after that many real seconds."""
    last = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < last:
        time.sleep(0.2)


def fetch(url: str) -> tuple[int, str]:
    """A user's request: status and body; status 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return reply.status, reply.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode("utf-8", "replace")
    except OSError:
        return 0, ""
