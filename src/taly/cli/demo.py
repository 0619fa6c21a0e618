"""`taly demo`: a platform breaks, goes back with one command, and stays back."""

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import click
from rich.panel import Panel
from rich.text import Text

from taly.cli.demo_acts import play
from taly.cli.demo_stage import Claim, Stage, Stopped
from taly.cli.output import err, out, print_json
from taly.errors import ExitCode
from taly.sandbox.client import ControlClient
from taly.sandbox.running import read_running

__all__ = ["Claim", "Stage", "demo", "finish"]

SPEED = 50.0
"""Virtual seconds in a real one: an App Runner update of five minutes takes 6 seconds."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="End with the results as JSON on stdout.")
@click.option("--speed", default=SPEED, show_default=True, help="Virtual seconds in a real one.")
def demo(as_json: bool, speed: float) -> int:
    """Break an emulated platform, roll it back, and see that it holds: about a minute.

    Everything runs on this machine: emulated vendors over real HTTP, real processes, a real
    PostgreSQL, customers who book all the time. Exits 0 only if every claim that it prints held.
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
            running = read_running(stage.directory)
            assert running is not None
            stage.begin(ControlClient(running.control, running.token), dict(running.urls))
            with suppress(Stopped):  # its claim did not hold, which the summary says
                play(stage)
        finally:
            stage.say("The platform is taken down")
            stage.taly("sandbox", "down", "--dir", folder)
    stage.figures["seconds"] = round(time.monotonic() - started, 1)
    return finish(stage, as_json)


def finish(stage: Stage, as_json: bool) -> int:
    """The summary, and the exit code that it earns."""
    broken = [claim for claim in stage.claims if not claim.held]
    if as_json:
        claims = [{"says": c.says, "held": c.held, "seen": c.seen} for c in stage.claims]
        print_json("demo", {"held": not broken, "claims": claims, "figures": stage.figures})
    else:
        out().print()
        out().print(Panel(_summary(stage, len(broken)), expand=False))
        err().print("\nnext, by hand: [command]taly sandbox up --detach[/]")
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
