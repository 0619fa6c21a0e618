"""Reading scenario files: the shipped ones by name, others by path; all mistakes at once."""

import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from taly.errors import UsageError
from taly.sandbox.scenario import Scenario, fault_misfit

DEFAULT = "taly"
HINT = "taly sandbox schema"


def shipped() -> list[str]:
    """The names of the scenarios that come with taly."""
    folder = files("taly.sandbox") / "scenarios"
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def load(which: str) -> Scenario:
    """The scenario of that name or in that file; UsageError with every mistake in it."""
    return parse(_text(which), where=which)


def parse(text: str, *, where: str) -> Scenario:
    """The scenario that this TOML describes; `where` names it in errors."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"{where} is no TOML: {error}", reference="scenario-invalid", hint=HINT
        ) from error
    mistakes = list(dict.fromkeys(_cross_check(raw)))
    scenario = None
    try:
        scenario = Scenario.model_validate(raw)
    except ValidationError as error:
        mistakes = [*mistakes_of(error), *mistakes]
    if scenario is None or mistakes:
        lines = "\n".join(f"  {mistake}" for mistake in mistakes)
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise UsageError(f"{where} has {count}:\n{lines}", reference="scenario-invalid", hint=HINT)
    return scenario


def _text(which: str) -> str:
    path = Path(which)
    if which in shipped():
        return (files("taly.sandbox") / "scenarios" / f"{which}.toml").read_text("utf-8")
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"there is no scenario {which!r}, neither shipped ({', '.join(shipped())}) nor a "
            f"readable file ({type(error).__name__})",
            reference="scenario-unknown",
            hint="taly sandbox scenarios",
        ) from error


def mistakes_of(error: ValidationError) -> list[str]:
    """What pydantic found, each with its key path."""
    return list(dict.fromkeys(_mistake(one) for one in error.errors()))


def _mistake(error: Any) -> str:
    words = {
        "extra_forbidden": "unknown key",
        "missing": "is missing",
    }
    said = words.get(error["type"], error["msg"].removeprefix("Value error, "))
    return f"{key_path(error['loc'])}: {said}"


def key_path(location: tuple[str | int, ...]) -> str:
    """`deploys[2].commit` from pydantic's location; its names of union members are left out."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier() or part.replace("-", "").isalnum():
            text += f".{part}" if text else part
    return text or "the file"


def _cross_check(raw: dict[str, Any]) -> Iterator[str]:
    """What a schema cannot say; on the raw data, so that it is reported beside the rest."""
    components = _tables(raw, "components")
    names = [str(entry.get("name", "")) for entry in components]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield f"components[{index}].name: {name!r} is there twice"
    known = set(names)
    yield from _unknown_references(raw, known)
    yield from _cycles(components)
    yield from _bound_to_one(components)
    yield from _nobody_to_book_at(raw, components)
    vendors = {str(entry.get("name")): str(entry.get("vendor", "")) for entry in components}
    for index, entry in enumerate(_tables(raw, "faults")):
        given = (entry.get("vendor", ""), vendors.get(str(entry.get("component")), ""))
        for vendor in given:
            if misfit := fault_misfit(str(entry.get("kind", "")), str(vendor)):
                yield f"faults[{index}].kind: {misfit}"


def _tables(raw: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = raw.get(key, [])
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _unknown_references(raw: dict[str, Any], known: set[str]) -> Iterator[str]:
    for key in ("components", "deploys", "changes", "in_flight", "pushes", "faults"):
        for index, entry in enumerate(_tables(raw, key)):
            for field, name in _references(key, entry):
                if name not in known:
                    yield f"{key}[{index}].{field}: there is no component {name!r}"


def _references(key: str, entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(field, component) for all places of an entry where a component is named."""
    listed = "after" if key == "components" else "components"
    value = entry.get(listed)
    if isinstance(value, list):
        yield from ((f"{listed}[{index}]", str(name)) for index, name in enumerate(value))
    if key in ("changes", "faults") and entry.get("component"):
        yield "component", str(entry["component"])
    if key in ("deploys", "pushes", "in_flight"):
        for field in ("settings", "outcomes"):
            if isinstance(entry.get(field), dict):
                yield from ((f"{field}.{name}", name) for name in entry[field])


def _cycles(components: list[dict[str, Any]]) -> Iterator[str]:
    waiting = {
        str(entry.get("name")): {name for _, name in _references("components", entry)}
        for entry in components
    }
    while free := [name for name, after in waiting.items() if not after & waiting.keys()]:
        for name in free:
            del waiting[name]
    if waiting:
        yield f"components: these wait for each other by `after`: {', '.join(waiting)}"


def _bound_to_one(components: list[dict[str, Any]]) -> Iterator[str]:
    databases = [entry for entry in components if entry.get("vendor") == "postgres"]
    if len(databases) > 1:
        yield "components: at most one of vendor 'postgres' (one server is emulated)"


def _nobody_to_book_at(raw: dict[str, Any], components: list[dict[str, Any]]) -> Iterator[str]:
    missing = {"apprunner", "postgres"} - {str(entry.get("vendor")) for entry in components}
    if raw.get("writers") and missing:
        yield f"writers: they need a component of vendor {' and one of '.join(sorted(missing))}"
