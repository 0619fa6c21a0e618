"""`taly init`: from a checkout and the vendors' own lists to a taly.toml that works."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from taly.app.checkout import scan
from taly.app.matching import LeftOut, Match, Matched, Question, answered, match
from taly.app.parallel import Raised, TimedOut, Value, fan_out
from taly.errors import TalyError
from taly.providers.inventory import INVENTORIES, Listed, NoCredentials
from taly.redaction import redact

HEALTH_PATHS = ("/health", "/healthz", "/api/health")
LIST_TIMEOUT_S = 60.0

Ask = Callable[[Question], Listed | None]
"""Puts a question to the user; None leaves the thing out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A taly.toml to be, and everything that the user should know of how it came about."""

    text: str
    components: tuple[Matched, ...]
    left_out: tuple[LeftOut, ...]
    unreachable: Mapping[str, str]
    """Vendor → why it could not be listed."""


def draft(
    root: Path, *, environ: Mapping[str, str], environment: str, stage: str, ask: Ask
) -> Draft:
    """Read the checkout, list the vendors, match both, and write the text; nothing is changed."""
    found = scan(root, stage=stage)
    listed, unreachable = list_vendors(environ)
    matched = match(found, listed, unreachable)
    _settle(matched, ask)
    healths = dict(
        zip(
            (component.name for component in matched.components),
            fan_out(_health, matched.components, timeout_s=15),
            strict=True,
        )
    )
    known = {
        name: result.value
        for name, result in healths.items()
        if isinstance(result, Value) and result.value
    }
    text = render(environment, matched.components, known, environ.get("TALY_SANDBOX", ""))
    return Draft(
        text=text,
        components=tuple(matched.components),
        left_out=tuple(matched.left_out),
        unreachable=unreachable,
    )


def list_vendors(environ: Mapping[str, str]) -> tuple[list[Listed], dict[str, str]]:
    """What every vendor has, and why some could not be asked."""
    names = list(INVENTORIES)
    results = fan_out(
        lambda name: list(INVENTORIES[name](environ)), names, timeout_s=LIST_TIMEOUT_S
    )
    listed: list[Listed] = []
    unreachable: dict[str, str] = {}
    for name, result in zip(names, results, strict=True):
        match result:
            case Value(entries):
                listed += entries
            case TimedOut(after_s):
                unreachable[name] = f"no answer within {after_s:.0f} s"
            case Raised(error) if isinstance(error, TalyError):
                unreachable[name] = error.message
            case Raised(error) if isinstance(error, NoCredentials):
                unreachable[name] = str(error)
            case Raised(error):
                unreachable[name] = redact(f"{type(error).__name__}: {error}")
    return listed, unreachable


def _settle(matched: Match, ask: Ask) -> None:
    for question in matched.questions:
        choice = ask(question)
        if choice is None:
            names = ", ".join(entry.name for entry in question.choices)
            why = f"could be any of {names}: say which in taly.toml"
            matched.left_out.append(LeftOut(what=question.found.path, why=why))
        else:
            matched.components.append(answered(question, choice))


def _health(component: Matched) -> dict[str, Any]:
    """The health check that this component's URL answers to; empty when none was found."""
    if not component.url:
        return {}
    if component.provider != "apprunner":
        return {"url": component.url}
    for path in HEALTH_PATHS:
        url = component.url.rstrip("/") + path
        status, body = _get(url)
        if status and status != 404:
            return {"url": url, "expect": _expectations(body)}
    return {"url": component.url}


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status, reply.read(65536).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read(65536).decode("utf-8", "replace")
    except OSError:
        return 0, ""


def _expectations(body: str) -> dict[str, str]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    if not isinstance(said, dict):
        return {}
    expect = {"status": "ok"} if "status" in said else {}
    for key in ("version", "commit", "sha"):
        if isinstance(said.get(key), str):
            expect[key] = "{commit}"
            break
    return expect


def render(
    environment: str,
    components: Sequence[Matched],
    healths: Mapping[str, Mapping[str, Any]],
    sandbox: str,
) -> str:
    """The text of taly.toml, with a comment for whatever its reader may wonder about."""
    document = tomlkit.document()
    document.add(
        tomlkit.comment("Written by `taly init`. Every setting: docs/reference/settings.md")
    )
    document.add(tomlkit.comment("Credentials stay in the environment; none belongs in this file."))
    document.add("environment", tomlkit.item(environment))
    if sandbox:
        document.add("sandbox", tomlkit.item({"control": sandbox}))
    policy = tomlkit.table()
    policy.add(tomlkit.comment("halt: stop where a step failed; undo: take back what was done"))
    policy.add("on_failure", "halt")
    document.add("policy", policy)
    tables = tomlkit.table(is_super_table=True)
    for component in components:
        tables.add(component.name, _table(component, healths.get(component.name, {})))
    document.add("components", tables)
    return tomlkit.dumps(document)


def _table(component: Matched, health: Mapping[str, Any]) -> tomlkit.items.Table:
    table = tomlkit.table()
    table.add(tomlkit.comment(component.why))
    table.add("provider", component.provider)
    for key, value in component.settings.items():
        table.add(key, value)
    if component.after:
        table.add("after", list(component.after))
    if health:
        inner = tomlkit.table()
        inner.add(tomlkit.comment("asked until it answers like this, three times in a row"))
        inner.add("url", health["url"])
        if health.get("expect"):
            expect = tomlkit.inline_table()
            expect.update(health["expect"])
            inner.add("expect", expect)
        table.add("health", inner)
    return table
