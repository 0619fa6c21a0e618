"""`taly worker` and `taly workers`: who takes runs from the queue."""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

import click
from rich.markup import escape

from taly.cli.controls import visible
from taly.cli.options import environment_options, json_option, opened
from taly.cli.output import FORMAT_VERSION, ago, err, out, print_json
from taly.errors import ExitCode

if TYPE_CHECKING:
    from taly.engine.store import WorkerRow
    from taly.engine.worker import Said
    from taly.model.plan import Plan


@click.command()
@click.option(
    "--config",
    "configs",
    metavar="FILE",
    multiple=True,
    help="taly.toml of an environment to serve; may be given several times.",
)
@click.option(
    "--store",
    metavar="URL",
    default="",
    envvar="TALY_STORE",
    help="The team's store, postgresql://…; else taly.toml's.",
)
@click.option("--name", default="", help="What it is called; else host and process number.")
@click.option("--json", "as_json", is_flag=True, help="Log one JSON document a line.")
def worker(configs: tuple[str, ...], store: str, name: str, as_json: bool) -> int:
    """Take runs from the store's queue, one at a time, until SIGTERM.

    Any number of them, on any machines, share one queue. At SIGTERM (or Ctrl-C) the steps under
    way are brought to their end, another worker goes on with the run, and this one exits 0. At the
    second it leaves at once, which is safe too.
    """
    from taly.app.workers import serve
    from taly.cli.sinks import log_to_stderr
    from taly.engine.worker import Worker

    log_to_stderr()
    name = name or f"{socket.gethostname()}-{os.getpid()}"
    given = configs or tuple(filter(None, [os.environ.get("TALY_CONFIG", "")]))
    queue, served = serve(given, store, name=name)
    tell = teller(as_json, served[0].store.plan)
    one = Worker(store=queue, served=served, name=name, say=tell)
    heed_signals(one)
    one.work()
    return int(ExitCode.OK)


class Drains(Protocol):
    """What can be told to end in good order."""

    def drain(self) -> None:
        """Take no more runs."""
        ...


def heed_signals(one: Drains) -> None:
    """At the first SIGTERM or Ctrl-C drain; at the second leave at once."""
    told: list[int] = []

    def heed(number: int, _: FrameType | None) -> None:
        told.append(number)
        if len(told) > 1:
            os._exit(ExitCode.INTERRUPTED)  # as safe as kill -9, which every worker survives
        one.drain()

    signal.signal(signal.SIGTERM, heed)
    signal.signal(signal.SIGINT, heed)


def teller(as_json: bool, plan_of: Callable[[str], "Plan"]) -> Callable[["Said"], None]:
    """What prints a line for each thing that a worker says, on stdout: its log is its data."""
    names: dict[str, dict[str, str]] = {}

    def step_names(run_id: str) -> dict[str, str]:
        from taly.cli.plan_view import step_name

        if run_id not in names:
            names.clear()
            names[run_id] = {one.id: step_name(one) for one in plan_of(run_id).steps}
        return names[run_id]

    def tell(said: "Said") -> None:
        text = said.text
        if said.recorded is not None:
            from taly.cli.run_view import line_of

            step = getattr(said.recorded.event, "step", "")
            line = line_of(said.recorded)
            if line is None or said.recorded.event.kind in ("step-progressed", "lease-taken"):
                return
            text = f"{step_names(said.run)[step]}: {line}" if step else line
        sys.stdout.write(_line(said, text, as_json) + "\n")
        sys.stdout.flush()

    return tell


def _line(said: "Said", text: str, as_json: bool) -> str:
    if as_json:
        body = {"format_version": FORMAT_VERSION, "kind": "worker-log", "at": said.at.isoformat()}
        return json.dumps({**body, "what": said.what, "run": said.run, "text": text})
    at = said.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return visible(f"{at}  {said.run}  {text}" if said.run else f"{at}  {text}")


@click.command()
@environment_options
@json_option
def workers(config_path: str, store: str, as_json: bool) -> None:
    """List the workers that take runs from this store's queue, and what they do."""
    context = opened(config_path, store)
    found = context.store.workers()
    if as_json:
        print_json("workers", {"workers": [_body(one) for one in found]})
        return
    _print_table(found)
    waiting = [one.id for one in context.store.waiting()]
    if waiting:
        out().print(f"\nwaiting for a worker: {', '.join(waiting)}", style="warn")
    then = f"taly follow {waiting[0]}" if waiting else "taly runs" if found else "taly worker"
    err().print(f"\nnext: [command]{then}[/]")


def _body(one: "WorkerRow") -> dict[str, Any]:
    return {
        "name": one.name,
        "host": one.owner.host,
        "pid": one.owner.pid,
        "version": one.version,
        "since": one.since,
        "environments": sorted(one.environments),
        "run": one.run_id or None,
        "alive": one.is_alive,
        "draining": one.draining,
        "silent_s": round(one.silent_s, 1),
        "says": one.says,
    }


def _print_table(found: list["WorkerRow"]) -> None:
    from rich.table import Table

    if not found:
        out().print("There are no workers.")
        return
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="quiet")
    for title in ("worker", "process", "since", "serves", "does", "version"):
        table.add_column(title, no_wrap=title != "serves")
    for one in found:
        serves, process = ", ".join(sorted(one.environments)), f"{one.owner.host}:{one.owner.pid}"
        since = ago(one.since, datetime.now(UTC))
        cells = (escape(one.name), escape(process), since, escape(serves), _does(one), one.version)
        table.add_row(*cells)
    out().print(table)
    for one in found:
        if one.says:
            out().print(f"{one.name} {one.says}", style="warn", markup=False)


def _does(one: "WorkerRow") -> str:
    if not one.is_alive:
        return f"[bad]silent for {one.silent_s:.0f} s[/]"
    if one.run_id:
        return f"[command]{one.run_id}[/]{' (draining)' if one.draining else ''}"
    return "[warn]draining[/]" if one.draining else "[good]waits[/]"
