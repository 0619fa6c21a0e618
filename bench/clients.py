"""(e) The same rollback by a shell script over the vendors' own command-line clients."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import Figure, could_not, critical_path_s, middle, overhead_s, ratio
from bench.platform import Box, last_run, sandbox, vendor_seconds, vendors_critical_s
from bench.tools import Client, install

SPEED = 200.0
"""So fast that the vendors' own time hides little of the tools'."""
SCRIPT = Path(__file__).with_name("rollback.sh")
WALL_GOAL, CPU_GOAL = 3.0, 10.0
TITLE = "shell script with the vendors' clients"
HEALTH = {"apprunner": "/health", "vercel": "/", "netlify": "/"}

Row = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One component of the platform, as the script needs it."""

    name: str
    vendor: str
    live: str
    target: str
    url: str


def left_out(why: str) -> list[Figure]:
    """The rows when it was not asked for."""
    return [could_not("e", TITLE, why, failed=False)]


def measure(runs: Mapping[str, int]) -> list[Figure]:
    """Sequence, parallel and taly, so many times each, every time on a fresh platform."""
    clients = install()
    missing = {one.vendor: f"{one.package}: {one.why}" for one in clients.values() if one.why}
    rows: dict[str, list[Row]] = {how: [] for how in runs}
    for turn in range(max(runs.values())):
        for how in [how for how, n in runs.items() if turn < n]:
            with sandbox(SPEED) as box:
                vendors = [one.vendor for one in clients.values() if one.command]
                parts = [part for part in parts_of(box) if part.vendor in vendors]
                if not parts:
                    return left_out(f"no client could be installed: {missing}")
                row = _taly(box, parts) if how == "taly" else _script(box, how, parts, clients)
                rows[how].append(row)
    return compare(rows, missing)


def compare(rows: Mapping[str, Sequence[Row]], missing: Mapping[str, str]) -> list[Figure]:
    """The ratios of the medians, with what they come from."""
    typical: dict[str, dict[str, float]] = {
        how: {key: middle(one[key] for one in found) for key in found[0]}
        for how, found in rows.items()
    }
    taly = typical["taly"]
    lacking = f"; without {', '.join(missing)}: no client" if missing else ""

    def figure(how: str, key: str, title: str, unit: str, goal: float | None) -> Figure:
        theirs, ours = typical[how][key], taly[key]
        return Figure(
            part="e",
            title=f"script in {how} ÷ taly: {title}",
            value=ratio(theirs, ours),
            unit="×",
            goal=goal,
            at_least=True,
            n=len(rows[how]),
            note=f"{theirs:.1f} {unit} against {ours:.1f} {unit}{lacking}",
            measured={"script": typical[how], "taly": taly, "runs": {how: list(rows[how])}},
        )

    found = [
        figure("parallel", "overhead_s", "wall beyond vendors", "s", WALL_GOAL),
        figure("parallel", "cpu_s", "processor time", "s", CPU_GOAL),
        figure("sequence", "overhead_s", "wall beyond vendors", "s", None),
        figure("sequence", "cpu_s", "processor time", "s", None),
    ]
    if "peak_mib" in taly:
        found.append(figure("parallel", "peak_mib", "peak memory", "MiB", None))
    return found


def parts_of(box: Box) -> list[Part]:
    """Every component with its live deployment and the last good release's: given to the script."""
    status = json.loads(box.taly("status", "--json").out)["components"]
    releases = json.loads(box.taly("releases", "--json").out)["releases"]
    good = next(one for one in releases if one["name"] == "R3")["members"]
    vendors = {name: one["vendor"] for name, one in box.control.state()["components"].items()}
    return [
        Part(
            name=name,
            vendor=vendors[name],
            live=one["deployment"],
            target=good[name],
            url=box.running.urls.get(name, ""),
        )
        for name, one in status.items()
        if vendors[name] != "postgres"
    ]


def _taly(box: Box, parts: Sequence[Part]) -> Row:
    only = [word for part in parts for word in ("--only", part.name)]
    took = box.taly("rollback", "--yes", "--json", *only)
    vendors_s = vendors_critical_s(last_run(box)["plan"], vendor_seconds(box)) / box.speed
    return _row(took, vendors_s)


def _script(box: Box, how: str, parts: Sequence[Part], clients: Mapping[str, Client]) -> Row:
    work = box.directory / "script"
    work.mkdir()
    (work / "targets").write_text("".join(lines(box, parts)), "utf-8")
    took = box.run("sh", str(SCRIPT), how, **_environ(work, parts, clients))
    _check(box, parts)
    seconds = vendor_seconds(box)
    names = {part.name: part.vendor for part in parts}
    if how == "sequence":
        vendors_s = sum(seconds[name] for name in names)
    else:
        frontends = [name for name, vendor in names.items() if vendor in ("vercel", "netlify")]
        needs = {name: () for name, vendor in names.items() if vendor != "apprunner"}
        last = {name: frontends for name, vendor in names.items() if vendor == "apprunner"}
        vendors_s = critical_path_s({**needs, **last}, seconds)
    return _row(took, vendors_s / box.speed)


def _row(took: Any, vendors_s: float) -> Row:
    row = {
        "wall_s": took.wall_s,
        "vendors_s": vendors_s,
        "overhead_s": overhead_s(took.wall_s, vendors_s),
        "cpu_s": took.cpu_s,
    }
    return row if took.peak_mib is None else {**row, "peak_mib": took.peak_mib}


def lines(box: Box, parts: Sequence[Part]) -> list[str]:
    """What the script reads: kind, and one or two ids."""
    state = box.control.state()["vendors"]
    found = []
    for part in parts:
        match part.vendor:
            case "vercel":
                found.append(f"vercel {part.target} -\n")
            case "netlify":
                found.append(f"netlify {state['netlify'][part.name]['id']} {part.target}\n")
            case "serverless":
                found.append(f"function {part.name} {part.target.partition('-')[0]}\n")
            case "apprunner":
                service = state["apprunner"]["services"][part.name]
                registry = service["identifier"].partition("/")[0]
                repository = service["identifier"].partition("/")[2].partition(":")[0]
                image = f"{registry}/{repository.partition('@')[0]}@{part.target}"
                found.append(f"backend {service['arn']} {image}\n")
        if part.vendor in HEALTH:
            found.append(f"health {part.url}{HEALTH[part.vendor]} -\n")
    return found


def _environ(work: Path, parts: Sequence[Part], clients: Mapping[str, Client]) -> dict[str, str]:
    """What the clients need; none may ask its maker for anything, or read the user's own files."""
    services = work / "services"
    for part in parts:
        if part.vendor == "serverless":
            folder = services / part.name
            folder.mkdir(parents=True)
            (folder / "serverless.yml").write_text(
                f"service: {part.name}\n"
                "provider:\n  name: aws\n  runtime: nodejs20.x\n  stage: production\n"
                "  region: eu-central-1\n"
                "functions:\n  handler:\n    handler: index.handler\n"
            )
    settings = work / "home" / ".config" / "netlify"
    settings.mkdir(parents=True)
    (settings / "config.json").write_text('{"telemetryDisabled": true}')
    names = {"vercel": "VERCEL", "netlify": "NETLIFY", "serverless": "OSLS", "apprunner": "AWS"}
    commands = {names[one.vendor]: str(one.command) for one in clients.values() if one.command}
    return {
        **commands,
        "WORK": str(work),
        "SERVICES": str(services),
        "HOME": str(work / "home"),
        "CI": "1",
        "SLS_TELEMETRY_DISABLED": "1",
        "SLS_NOTIFICATIONS_MODE": "off",
        "VERCEL_TELEMETRY_DISABLED": "1",
        "NO_UPDATE_NOTIFIER": "1",
        "AWS_PAGER": "",
    }


def _check(box: Box, parts: Sequence[Part]) -> None:
    """A script that did not do the work is not compared with anything."""
    live = json.loads(box.taly("status", "--json").out)["components"]
    wrong = [part.name for part in parts if live[part.name]["deployment"] != part.target]
    if wrong:
        raise AssertionError(f"the script left {', '.join(wrong)} where it was")
