"""`taly demo`: a platform breaks, goes back with one command, and stays back."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.panel import Panel
from rich.text import Text

from taly.cli.output import err, out, print_json
from taly.errors import ExitCode
from taly.sandbox.client import ControlClient
from taly.sandbox.running import read_running

SPEED = 40.0
"""Virtual seconds in a real one: an App Runner update of five minutes takes 7.5 seconds."""
PREPARES = "CloudFormation.CreateChangeSet"
"""Lists what an update would do; it changes nothing until it is executed."""
BOOKINGS = 5
SETTLED_S = 900.0
"""Virtual seconds within which any deploy that was pushed has gone live, or never will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Something that the demo promises, and what was really seen."""

    says: str
    held: bool
    seen: str


@dataclass(slots=True, kw_only=True)
class Stage:
    """The demo's platform and what was found out so far."""

    directory: Path
    quiet: bool
    """Print nothing on stdout but the JSON at the end."""
    environ: dict[str, str] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """Narrate."""
        console = err() if self.quiet else out()
        console.print()
        console.print(Text(f"▌ {text}", style="name"))

    def taly(self, *arguments: str) -> int:
        """Type a taly command for the viewer; its exit code."""
        console = err() if self.quiet else out()
        console.print(Text(f"$ taly {' '.join(arguments)}", style="command"))
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
        console = err() if self.quiet else out()
        sign = Text("  ✓ " if held else "  × ", style="good" if held else "bad")
        console.print(sign.append(says, style="").append(f"  ({seen})", style="quiet"))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="End with the results as JSON on stdout.")
@click.option("--speed", default=SPEED, show_default=True, help="Virtual seconds in a real one.")
def demo(as_json: bool, speed: float) -> int:
    """Break an emulated platform, roll it back, and see that it holds: about two minutes.

    Everything runs on this machine: emulated vendors over real HTTP, real processes, a real
    PostgreSQL. Exits 0 only if every claim that it prints really held.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="taly-demo-") as folder:
        stage = Stage(directory=Path(folder), quiet=as_json)
        stage.say("A booking platform on five vendors starts: ten components, four releases")
        stage.environ = {**os.environ, "TALY_CONFIG": "", "TALY_STORE": ""}
        try:
            code = stage.taly("sandbox", "up", "--detach", "--dir", folder, "--speed", f"{speed:g}")
            if code:
                return code
            play(stage)
        finally:
            stage.say("The platform is taken down")
            stage.taly("sandbox", "down", "--dir", folder)
    stage.figures["seconds"] = round(time.monotonic() - started, 1)
    return finish(stage, as_json)


def play(stage: Stage) -> None:
    """The acts, in order."""
    running = read_running(stage.directory)
    assert running is not None
    control = ControlClient(running.control, running.token)
    stage.environ |= control.environ()
    urls = dict(running.urls)
    good, bad = _commits(stage)
    _act_broken(stage, urls)
    before = _ids(stage)
    run_id = _act_rollback(stage, control, urls, good)
    booked = [book(urls["backend"]) for _ in range(BOOKINGS)]
    _act_push(stage, control, urls, good, bad)
    _act_undo(stage, urls, run_id, before, bad)
    _act_again(stage, urls, good)
    kept = sum(is_kept(stage.environ["DATABASE_URL"], booking) for booking in booked)
    stage.claim("no booking was lost on the way", kept == BOOKINGS, f"{kept} of {BOOKINGS}")


def _commits(stage: Stage) -> tuple[str, str]:
    """The commits of the last good release and of the live one."""
    releases = {release["name"]: release for release in stage.ask("releases")["releases"]}
    return releases["R3"]["commit"], releases["R4"]["commit"]


def _act_broken(stage: Stage, urls: dict[str, str]) -> None:
    stage.say("R4 went out forty minutes ago, and customers cannot book")
    status, _ = fetch(f"{urls['backend']}/bookings")
    stage.claim("the bad release fails for users", status >= 500, f"GET /bookings: {status}")
    stage.taly("status")
    stage.taly("releases")


def _act_rollback(stage: Stage, control: ControlClient, urls: dict[str, str], good: str) -> str:
    stage.say("What would going back do? Nothing is touched by asking")
    stage.taly("plan")
    stage.say("One command")
    writes_before = len(control.calls())
    began = time.monotonic()
    code = stage.taly("rollback", "--yes")
    stage.figures["rollback_seconds"] = round(time.monotonic() - began, 1)
    run = stage.ask("runs")["runs"][0]
    _claim_live(stage, "R3", code)
    steps = stage.ask("show", run["id"])["steps"]
    acted = sum(step["how"] == "acted" for step in steps)
    writes = [call for call in control.writes(writes_before) if call["target"] != PREPARES]
    stage.claim("one write for each change", len(writes) == acted, f"{len(writes)} for {acted}")
    _claim_users(stage, urls, good, "again")
    return str(run["id"])


def _claim_live(stage: Stage, release: str, code: int) -> None:
    status = stage.ask("status")
    components = status["components"]
    there = sum(component["in_release"] for component in components.values())
    held = code == 0 and status["live_release"] == release and there == len(components)
    stage.claim(
        f"every component is at {release}", held, f"{there} of {len(components)}, exit {code}"
    )


def _claim_users(stage: Stage, urls: dict[str, str], commit: str, when: str) -> None:
    answers = {
        name: fetch(url if name != "backend" else f"{url}/health") for name, url in urls.items()
    }
    served = sum(status == 200 and commit[:7] in body for status, body in answers.values())
    status, _ = fetch(f"{urls['backend']}/bookings")
    held = served == len(urls) and status == 200
    stage.claim(
        f"users are served {commit[:7]} {when}",
        held,
        f"{served} of {len(urls)} sites, bookings {status}",
    )


def _act_push(
    stage: Stage, control: ControlClient, urls: dict[str, str], good: str, bad: str
) -> None:
    stage.say("Somebody's late push of the bad version arrives at every vendor")
    control.push(bad, outcome="broken", message="retry the deploy")
    control.clock(advance_s=SETTLED_S)
    wait_for(lambda: not in_flight(stage), 60)
    _claim_users(stage, urls, good, "whatever is pushed")


def _act_undo(
    stage: Stage, urls: dict[str, str], run_id: str, before: dict[str, str], bad: str
) -> None:
    stage.say("It was a false alarm? The whole rollback can be undone")
    code = stage.taly("undo", run_id, "--yes")
    now = _ids(stage)
    same = sum(now[name] == before[name] for name in before)
    stage.claim(
        "undo brings back exactly what was",
        code == 0 and same == len(before),
        f"{same} of {len(before)}, exit {code}",
    )
    status, _ = fetch(f"{urls['backend']}/health")
    stage.claim("the bad version is back, as asked", status >= 500, f"GET /health: {status}")


def _act_again(stage: Stage, urls: dict[str, str], good: str) -> None:
    stage.say("It was no false alarm: once more")
    code = stage.taly("rollback", "--to", "R3", "--yes")
    _claim_live(stage, "R3", code)
    _claim_users(stage, urls, good, "once more")


def _ids(stage: Stage) -> dict[str, str]:
    components = stage.ask("status")["components"]
    return {
        name: f"{component['deployment']} auto-deploy {component['auto_deploy']}"
        for name, component in components.items()
    }


def in_flight(stage: Stage) -> bool:
    """Whether any vendor is still busy."""
    return any(component["in_flight"] for component in stage.ask("status")["components"].values())


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


def book(backend: str) -> int:
    """A customer's booking: its id; 0 when it was refused."""
    request = urllib.request.Request(f"{backend}/bookings", data=b"{}", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return int(json.load(reply)["id"])
    except (OSError, ValueError, KeyError):
        return 0


def is_kept(database_url: str, booking: int) -> bool:
    """Whether the database still has that booking."""
    import psycopg

    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT 1 FROM bookings WHERE id = %s", (booking,)).fetchone()
    return found is not None


def finish(stage: Stage, as_json: bool) -> int:
    """The summary, and the exit code that it earns."""
    broken = [claim for claim in stage.claims if not claim.held]
    if as_json:
        claims = [{"says": c.says, "held": c.held, "seen": c.seen} for c in stage.claims]
        print_json("demo", {"held": not broken, "claims": claims, "figures": stage.figures})
    else:
        out().print()
        out().print(Panel(_summary(stage, len(broken)), expand=False))
    return int(ExitCode.VERIFICATION_FAILED if broken else ExitCode.OK)


def _summary(stage: Stage, broken: int) -> Text:
    text = Text()
    for claim in stage.claims:
        text.append("✓ " if claim.held else "× ", style="good" if claim.held else "bad")
        text.append(f"{claim.says}\n").append(f"    {claim.seen}\n", style="quiet")
    verdict = "every claim held" if not broken else f"{broken} claims did NOT hold"
    text.append(
        f"{verdict}, in {stage.figures['seconds']:.0f} s", style="bad" if broken else "good"
    )
    return text
