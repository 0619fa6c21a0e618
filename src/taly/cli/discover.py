"""`taly status` and `taly releases`: what is live, and what there is to go back to."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from taly.cli.options import environment_options, json_option, opened
from taly.cli.output import WIDTH, ago, err, fit, local, out, print_json, zone
from taly.model.release import Mark, Observation, Observed, Release, Restorable, Unobserved

if TYPE_CHECKING:
    from rich.table import Table

    from taly.app.context import Context
    from taly.app.discover import Health
    from taly.app.history import History

SAID = 14
"""Characters of what an application answered; the first clause of what is longer."""


@click.command()
@click.option("--watch", is_flag=True, help="Look again every few seconds, until Ctrl-C.")
@environment_options
@json_option
def status(config_path: str, store: str, as_json: bool, watch: bool) -> None:
    """Show what is live now, on every vendor, and whether it answers."""
    if watch and as_json:
        raise click.UsageError("--watch draws on a terminal; it does not go with --json")
    context = opened(config_path, store)
    if watch:
        _watch(context)
        return
    history, health = _look(context)
    if as_json:
        print_json("status", status_body(history, health))
    else:
        _print_status(context, history, health)
        err().print("\nnext: [command]taly releases[/]")


def _look(context: "Context") -> "tuple[History, Mapping[str, Health]]":
    from taly.app.discover import ask_health
    from taly.app.history import load_history

    history = load_history(context)
    return history, ask_health(context, history.snapshot)


def _watch(context: "Context", every_s: float = 5.0) -> None:
    console = out()
    while True:
        history, health = _look(context)
        if console.is_terminal:
            console.clear()
        _print_status(context, history, health)
        time.sleep(every_s)


def status_body(history: "History", health: "Mapping[str, Health]") -> dict[str, Any]:
    """The JSON of `taly status`."""
    live = history.releases.live
    members = {**live.members, **live.kept} if live else {}
    snapshot = history.snapshot
    return {
        "environment": snapshot.environment,
        "taken_at": snapshot.taken_at,
        "live_release": live.name if live else None,
        "mixed": live.mixed if live else None,
        "kept": dict(live.kept) if live else {},
        "components": {
            name: _component_body(observation, health.get(name), members.get(name))
            for name, observation in snapshot.components.items()
        },
    }


def _component_body(
    observation: Observation, health: "Health | None", member: str | None
) -> dict[str, Any]:
    if isinstance(observation, Unobserved):
        return {
            "observed": False,
            "reason": observation.reason,
            "reference": observation.reference,
        }
    live = observation.live
    return {
        "observed": True,
        "deployment": live.id,
        "label": live.label,
        "commit": live.commit,
        "since": live.live[-1].start if live.live else None,
        "in_release": live.id == member,
        "auto_deploy": observation.auto_deploy,
        "in_flight": [
            {"id": op.id, "what": op.what, "since": op.started_at} for op in observation.in_flight
        ],
        "blocked": observation.blocked,
        "url": observation.url,
        "healthy": health.healthy if health else None,
        "health": health.says if health else "",
        "candidates": list(live.candidates),
        "notes": list(observation.notes),
        "evidence": [
            {"call": e.call, "at": e.at, "says": e.says, "confidence": e.confidence.value}
            for e in live.evidence
        ],
    }


def _print_status(context: "Context", history: "History", health: "Mapping[str, Health]") -> None:
    console, snapshot = out(), history.snapshot
    live = history.releases.live
    where = f"sandbox, clock ×{context.speed:g}" if context.config.sandbox_control else ""
    console.print(f"[name]{snapshot.environment}[/]  [quiet]{where}[/]")
    if live is not None:
        since = ago(live.live[-1].start, snapshot.taken_at)
        console.print(f"live: {_headline(live)}, since {since}", markup=False)
    console.print()
    console.print(_status_table(history, health))
    for observation in snapshot.components.values():
        for line in _remarks(observation):
            console.print(f"  {observation.component}: {line}", style="quiet", markup=False)


def _headline(release: Release) -> str:
    extra = [part for part in (release.commit[:10], release.label) if part]
    extra += [f"its {component} kept as it is" for component in release.kept]
    if release.mark is not Mark.NONE:
        extra.append(f"marked {release.mark.value}: {release.mark_why}")
    return f"{release.name} ({', '.join(extra)})" if extra else release.name


def _status_table(history: "History", health: "Mapping[str, Health]") -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), header_style="quiet")
    lacking = max(0, WIDTH - out().width) // 2
    most = {"": 1, "component": max(8, 22 - lacking), "live now": max(8, 22 - lacking)}
    for title in ("", "component", "live now", "since", "auto-deploy", "answers"):
        table.add_column(title, no_wrap=True, max_width=most.get(title))
    for name, observation in history.snapshot.components.items():
        table.add_row(*_status_row(observation, health.get(name), history.snapshot.taken_at))
    return table


def _status_row(
    observation: Observation, health: "Health | None", now: datetime
) -> tuple[str, str, str, str, str, str]:
    name = escape(fit(observation.component, 22))
    if isinstance(observation, Unobserved):
        return "[bad]?[/]", name, "[bad]unknown[/]", "", "", ""
    live = observation.live
    sign = "[good]●[/]"
    if observation.blocked or (health and not health.healthy):
        sign = "[bad]●[/]"
    elif observation.in_flight:
        sign = "[command]▸[/]"
    since = ago(live.live[-1].start, now) if live.live else ""
    auto = {None: "[quiet]–[/]", True: "on", False: "[warn]held[/]"}[observation.auto_deploy]
    return sign, name, _label(observation), since, auto, _answer(health)


def _label(observation: Observed) -> str:
    live = observation.live
    mark = " [warn]?[/]" if live.candidates else ""
    return escape(fit(live.label, 20)) + mark


def _answer(health: "Health | None") -> str:
    if health is None:
        return "[quiet]–[/]"
    first = health.says if len(health.says) <= SAID else health.says.partition(",")[0]
    said = escape(fit(first, SAID))
    return f"[good]{said}[/]" if health.healthy else f"[bad]{said}[/]"


def _remarks(observation: Observation) -> list[str]:
    if isinstance(observation, Unobserved):
        return [observation.reason]
    remarks = [f"under way: {operation.what}" for operation in observation.in_flight]
    if observation.blocked:
        remarks.append(observation.blocked)
    if observation.live.candidates:
        remarks.append("ambiguous, could be " + " or ".join(observation.live.candidates))
    return remarks


@click.command()
@click.option("--all", "show_all", is_flag=True, help="Show more than the newest fifteen.")
@environment_options
@json_option
def releases(config_path: str, store: str, as_json: bool, show_all: bool) -> None:
    """Show the releases there were, newest first, and which of them can be gone back to."""
    from taly.app.history import load_history

    context = opened(config_path, store)
    history = load_history(context)
    if as_json:
        print_json("releases", releases_body(context, history))
        return
    _print_releases(context, history, None if show_all else 15)


def releases_body(context: "Context", history: "History") -> dict[str, Any]:
    """The JSON of `taly releases`, oldest first."""
    good = _last_good(context, history)
    return {
        "environment": history.snapshot.environment,
        "last_good": good[0],
        "last_good_why": good[1],
        "unobserved": list(history.releases.unobserved),
        "releases": [
            {
                "name": release.name,
                "content_id": release.content_id,
                "commit": release.commit,
                "label": release.label,
                "live": [{"start": period.start, "end": period.end} for period in release.live],
                "is_live": release.is_live,
                "recorded": release.recorded,
                "mixed": release.mixed,
                "ambiguous": list(release.ambiguous),
                "mark": release.mark.value,
                "mark_why": release.mark_why,
                "not_restorable": lost(history, release),
                "members": dict(release.members),
            }
            for release in history.releases
        ],
    }


def _last_good(context: "Context", history: "History") -> tuple[str | None, str]:
    from taly.app.targets import LAST_GOOD, choose_release
    from taly.errors import Refused

    try:
        choice = choose_release(context, history, LAST_GOOD)
    except Refused as error:
        return None, error.message
    return choice.release.name, choice.why


def lost(history: "History", release: Release) -> dict[str, str]:
    """Component → why it cannot go to this release."""
    reasons = {}
    for name, member in release.members.items():
        observation = history.snapshot.components.get(name)
        if not isinstance(observation, Observed):
            reasons[name] = "it could not be observed"
            continue
        known = {deployment.id: deployment for deployment in observation.history}
        deployment = known.get(member)
        if deployment is None:
            reasons[name] = "its vendor no longer lists it"
        elif not isinstance(deployment.restorable, Restorable):
            reasons[name] = deployment.restorable.reason
    return reasons


def _print_releases(context: "Context", history: "History", most: int | None) -> None:
    from rich.table import Table

    console = out()
    newest = list(history.releases)[::-1]
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="quiet")
    for title in ("", "release", "live from", "to", "commit", "restorable"):
        table.add_column(title, no_wrap=True)
    for release in newest[:most]:
        table.add_row(*_release_row(history, release))
    console.print(table)
    console.print(f"  {zone()}", style="quiet")
    for release in newest[:most]:
        if said := _remark(release):
            console.print(f"  {release.name}: {said}", style="quiet")
    if most is not None and len(newest) > most:
        console.print(f"… {len(newest) - most} older: taly releases --all", style="quiet")
    name, why = _last_good(context, history)
    console.print()
    console.print(f"last good: {name or 'none'}", style="name")
    console.print(why, style="quiet", markup=False)
    live = history.releases.live
    then = f"taly plan --to {name}" if name and live and name != live.name else "taly status"
    err().print(f"\nnext: [command]{then}[/]")


def _release_row(history: "History", release: Release) -> tuple[str, ...]:
    sign = "[good]●[/]" if release.is_live else " "
    missing = lost(history, release)
    total = len(release.members)
    able = f"[good]{total} of {total}[/]"
    if missing:
        able = f"[bad]{total - len(missing)} of {total}[/]"
    short = len("Mon ") if out().width < WIDTH - 10 else 0
    start = local(release.live[-1].start)[short:] if release.live else ""
    end = local(release.live[-1].end)[short:] if release.live and release.live[-1].end else "now"
    return sign, release.name, start, end, escape(release.commit[:8]), able


def _remark(release: Release) -> str:
    """What there is to say of a release beside its figures, as markup."""
    said = [escape(release.label)] if release.label else []
    said += [f"its {escape(component)} was kept as it is" for component in release.kept]
    if release.mark is not Mark.NONE:
        style = "bad" if release.mark is Mark.BAD else "good"
        said.append(f"[{style}]marked {release.mark.value}[/]: {escape(release.mark_why)}")
    if release.ambiguous:
        said.append(f"[warn]ambiguous[/]: {escape(', '.join(release.ambiguous))}")
    return "; ".join(said)
