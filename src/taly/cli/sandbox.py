"""`taly sandbox`: an emulated platform on loopback, to try a rollback on."""

import json
import os
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from taly.cli.output import err, out, print_json
from taly.errors import StepFailed, UsageError
from taly.sandbox.running import (
    DATABASE_URL,
    Running,
    exports,
    extra_needed,
    find_directory,
    is_claimed,
    read_running,
)

END_S = 30.0
"""Real seconds that a sandbox gets to end all its processes."""

directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Its directory; else the present one if a sandbox runs there, else .taly/sandbox.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group()
def sandbox() -> None:
    """Run an emulated platform on this machine, to try a rollback on."""


@sandbox.command(short_help="Start the emulated platform.")
@click.option(
    "--scenario",
    default="taly",
    show_default=True,
    metavar="NAME|FILE",
    help="What to emulate; `taly sandbox scenarios` lists those that come with taly.",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True, max=100_000),
    metavar="N",
    help="Virtual seconds in a real one; else the scenario's own.",
)
@directory_option
@click.option(
    "--database-url",
    metavar="URL",
    envvar=DATABASE_URL,
    help=f"Use this PostgreSQL server instead of starting one. With a password: {DATABASE_URL}.",
)
@click.option("--detach", is_flag=True, help="Run in the background; returns when it is ready.")
@json_option
def up(
    scenario: str,
    speed: float | None,
    directory: Path | None,
    database_url: str | None,
    detach: bool,
    as_json: bool,
) -> int:
    """Start the emulated platform: real HTTP, real processes, a real PostgreSQL."""
    with extra_needed():
        from taly.sandbox.serve import Wish, serve, start_detached

    where = find_directory(directory)
    wish = Wish(scenario=scenario, directory=str(where), speed=speed, database_url=database_url)
    show: Callable[[Running], None] = _print_running_json if as_json else _print_running
    if detach:
        show(start_detached(wish))
        return 0

    def ready(running: Running) -> None:
        show(running)
        err().print("Ends with Ctrl-C.", style="quiet")

    return _ended(serve(wish, ready))


@sandbox.command()
@directory_option
def down(directory: Path | None) -> int:
    """End the sandbox and everything that it started."""
    where = find_directory(directory)
    running = _running(where)
    os.kill(running.pid, signal.SIGTERM)
    last = time.monotonic() + END_S
    while is_claimed(where):
        if time.monotonic() > last:
            raise StepFailed(
                f"process {running.pid} did not end within {END_S:.0f} seconds",
                reference="sandbox-stuck",
                hint=f"kill -9 {running.pid}",
            )
        time.sleep(0.02)
    err().print(f"The sandbox {running.scenario!r} has ended.")
    return 0


@sandbox.command(short_help="Let a deploy arrive, as a colleague's push would.")
@click.argument("commit")
@click.option(
    "--component", "components", multiple=True, metavar="NAME", help="Only there; else everywhere."
)
@click.option(
    "--outcome",
    type=click.Choice(["ok", "failed", "broken", "failed-late"]),
    help="How it turns out; else as that commit did before, or well.",
)
@directory_option
def push(
    commit: str, components: tuple[str, ...], outcome: str | None, directory: Path | None
) -> None:
    """Let a deploy of a commit arrive from CI, as a colleague's push would."""
    facts: dict[str, Any] = {"components": list(components)} if components else {}
    if outcome:
        facts["outcome"] = outcome
    reached = _client(find_directory(directory)).push(commit, **facts)
    err().print(f"{commit[:12]} arrives at {', '.join(reached)}.", markup=False)
    err().print("\nnext: [command]taly status[/]")


@sandbox.command(short_help="Let customers book, and count what came of it.")
@click.option(
    "--count",
    type=click.IntRange(0, 64),
    metavar="N",
    help="So many from now on; 0 ends it. Else it only shows what came of their requests.",
)
@directory_option
@json_option
def writers(count: int | None, directory: Path | None, as_json: bool) -> None:
    """Let customers keep booking, and count what the backend acknowledged."""
    client = _client(find_directory(directory))
    if count is not None:
        client.set_writers(count)
    said = client.send("GET", "/_sandbox/writers")
    if as_json:
        print_json("writers", {"count": said["count"], "requests": said["requests"]})
        return
    outcomes = Counter(one["outcome"] for one in said["requests"])
    people = "customer is" if said["count"] == 1 else "customers are"
    out().print(f"{said['count']} {people} booking.")
    for outcome in ("acknowledged", "declined", "failed"):
        out().print(f"  {outcome:12} {outcomes[outcome]:7,}", markup=False)
    err().print("\nnext: [command]taly status[/]")


@sandbox.command(short_help="Cut a vendor's API off for a while.")
@click.argument(
    "vendor", type=click.Choice(["apprunner", "netlify", "serverless", "vercel"]), metavar="VENDOR"
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, 60),
    default=2.0,
    show_default=True,
    help="Real seconds without an answer.",
)
@directory_option
def restart(vendor: str, seconds: float, directory: Path | None) -> None:
    """Cut a vendor's API off for a while, as its outage would.

    VENDOR: apprunner, netlify, serverless, vercel (the two of AWS have one API). It forgets
    nothing: what it was asked to do goes on meanwhile.
    """
    _client(find_directory(directory)).restart(vendor, seconds)
    err().print(f"{vendor} is back after {seconds:g} s.", markup=False)
    err().print("\nnext: [command]taly status[/]")


@sandbox.command(short_help="Print what to export to reach the sandbox.")
@directory_option
@json_option
def env(directory: Path | None, as_json: bool) -> None:
    """Print what to export, so that taly and the vendors' own clients reach the sandbox."""
    environ = _client(find_directory(directory)).environ()
    if as_json:
        sys.stdout.write(json.dumps(environ, indent=2) + "\n")
    else:
        sys.stdout.write(exports(environ))


@sandbox.command()
@directory_option
@json_option
def status(directory: Path | None, as_json: bool) -> None:
    """Show whether a sandbox runs, and where everything is."""
    where = find_directory(directory)
    clock = _client(where).clock()
    running = replace(_running(where), speed=clock["speed"])
    if as_json:
        _print_running_json(running)
    else:
        _print_running(running)


@sandbox.command()
def scenarios() -> None:
    """List the scenarios that come with taly."""
    from taly.sandbox.scenario_file import load, shipped

    for name in shipped():
        out().print(f"{name:20}", style="name", end="")
        out().print(load(name).description, style="quiet")
    err().print("\nnext: [command]taly sandbox up --detach --scenario NAME[/]")


@sandbox.command()
def schema() -> None:
    """Print the JSON schema of a scenario file."""
    from taly.sandbox.scenario import schema as scenario_schema

    sys.stdout.write(json.dumps(scenario_schema(), indent=2) + "\n")


def _running(directory: Path) -> Running:
    running = read_running(directory)
    if running is not None:
        return running
    if is_claimed(directory):
        raise UsageError(
            f"the sandbox in {directory} is not ready yet, or is just ending",
            reference="sandbox-not-ready",
            hint="taly sandbox status",
        )
    raise UsageError(
        f"no sandbox runs in {directory}",
        reference="sandbox-not-running",
        hint="taly sandbox up --detach",
    )


def _client(directory: Path) -> Any:
    from taly.sandbox.client import ControlClient

    running = _running(directory)
    return ControlClient(running.control, running.token)


def _ended(problems: list[str]) -> int:
    for problem in problems:
        err().print(problem, style="bad", markup=False)
    if problems:
        raise StepFailed(
            "the sandbox ended, and could not end everything that it had started",
            reference="sandbox-left-over",
            hint="taly sandbox status",
        )
    err().print("The sandbox has ended.")
    return 0


def _print_running(running: Running) -> None:
    say = out().print
    say(running.scenario, style="name", end="  ")
    say(running.description, style="quiet", markup=False)
    say(f"  speed      {running.speed:g} virtual seconds a second", markup=False)
    say(f"  process    {running.pid}", markup=False)
    # Addresses and paths are copied by hand: never wrap them.
    click.echo(f"  directory  {running.directory}")
    click.echo(f"  control    {running.control}  (its token is in sandbox.json)")
    width = max([10, *map(len, running.urls)])
    for name, url in running.urls.items():
        click.echo(f"  {name:{width}} {url}")
    say()
    say("next:", style="quiet")
    here = Path(running.directory) == Path.cwd()
    there = [] if here else [f"cd {shlex.quote(_shortest(running.directory))}"]
    for command in (*there, ". ./sandbox.env", "taly status"):
        say(f"  {command}", style="command", markup=False, soft_wrap=True)


def _shortest(directory: str) -> str:
    """The directory as one would type it from here."""
    path, here = Path(directory), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else directory


def _print_running_json(running: Running) -> None:
    print_json(
        "sandbox",
        {
            "pid": running.pid,
            "scenario": running.scenario,
            "speed": running.speed,
            "directory": running.directory,
            "control": running.control,
            "environ_file": running.environ_file,
            "urls": dict(running.urls),
        },
    )
