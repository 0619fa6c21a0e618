"""taly.toml → Environment; every mistake at once, each with its key path."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from taly.config.settings import SETTINGS, CheckpointSettings, File, HealthSettings, SecretSettings
from taly.errors import UsageError
from taly.model.environment import Component, Environment, HealthCheck, Policy
from taly.model.secrets import FromCommand, FromFile, FromVariable, SecretSource

MAX_BYTES = 2**20
"""Of a taly.toml; a thousand components take 200 kB."""
FILE_NAME = "taly.toml"
STATE_DIRECTORY = ".taly"
PATHS = ("migrations", "checkpoints", "rescue")
"""Settings of a database that are folders."""
SHARED = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()=-]+)*"
"""A bucket and a prefix, by S3's rules for names that need no escaping."""

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A taly.toml that holds no mistake."""

    path: Path
    environment: Environment
    store: str = field(repr=False)
    """URL or path of the store of runs; empty where `store_source` says where its URL is."""
    store_source: SecretSource | None = None
    secrets: Mapping[str, SecretSource] = field(default_factory=dict)
    """Variable → where its value is kept."""
    ca_file: str = ""
    """Certificates that are trusted besides the machine's own; absolute, empty = none."""
    shared: str = ""
    """s3://bucket/prefix of what a team shares; empty = nothing."""
    shared_region: str = ""
    """AWS region of the bucket; empty = AWS's own settings say it."""
    sandbox_control: str = ""
    """Base URL of the sandbox's control API; empty outside a sandbox."""
    checkpoints: CheckpointSettings = field(default_factory=CheckpointSettings)
    notes: tuple[str, ...] = field(default=())


def is_postgres(store: str) -> bool:
    """Whether a store's address is that of a PostgreSQL, which all of a team reach."""
    return store.startswith(("postgres://", "postgresql://"))


def find_config(start: Path) -> Path:
    """The taly.toml in `start` or the nearest folder above it; UsageError if there is none."""
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise UsageError(
        f"there is no {FILE_NAME} in {start} or above it",
        reference="config-missing",
        hint="taly init   (or try it all on an emulated platform: taly sandbox up --detach)",
    )


def load_config(path: Path) -> Config:
    """Read and check a taly.toml; UsageError that lists every mistake, and nothing is touched."""
    try:
        raw = tomllib.loads(_bounded(path))
    except FileNotFoundError:
        raise UsageError(
            f"{path} does not exist", reference="config-missing", hint="taly init"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UsageError(
            f"{path} cannot be read: {why}", reference="config-unreadable", hint="taly init"
        ) from error
    mistakes: list[str] = []
    kept = None
    if isinstance(raw.get("store"), dict):
        kept = _checked(SecretSettings, raw.pop("store"), "store", mistakes)
    file = _checked(File, raw, "", mistakes)
    components = tuple(_components(raw.get("components"), mistakes)) if raw else ()
    if file is not None and file.shared:
        if not re.fullmatch(SHARED, file.shared):
            mistakes.append("shared: s3://bucket or s3://bucket/prefix")
        if kept or is_postgres(file.store):
            mistakes.append("shared: all of the team reach `store` already; give one of the two")
    if file is None or mistakes:
        listed = "\n".join(f"  {mistake}" for mistake in mistakes)
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise UsageError(
            f"{path} has {count}:\n{listed}",
            reference="config-invalid",
            hint=f"edit {path} (every setting: docs/reference/settings.md)",
        )
    folder = path.resolve().parent
    return Config(
        path=path.resolve(),
        environment=Environment(
            name=file.environment,
            components=tuple(
                _anchored(component, folder, file.environment) for component in components
            ),
            policy=Policy(**file.policy.model_dump()),
        ),
        store=file.store or ("" if kept else str(folder / STATE_DIRECTORY / "store.db")),
        store_source=_source(kept, folder) if kept else None,
        secrets={name: _source(one, folder) for name, one in file.secrets.items()},
        ca_file=_path(folder, file.network.ca_file),
        shared=file.shared,
        shared_region=file.shared_region,
        sandbox_control=file.sandbox.control if file.sandbox else "",
        checkpoints=file.checkpoints,
    )


def _source(settings: SecretSettings, folder: Path) -> SecretSource:
    if settings.env:
        return FromVariable(env=settings.env)
    if settings.file:
        return FromFile(file=_path(folder, settings.file))
    return FromCommand(command=settings.command)


def _path(folder: Path, given: str) -> str:
    """A path that taly.toml names, from its own folder; empty where none is named."""
    return str(folder / Path(given).expanduser()) if given else ""


def _components(raw: Any, mistakes: list[str]) -> Iterator[Component]:
    if not isinstance(raw, dict):
        return
    for name, table in raw.items():
        if isinstance(table, dict):
            component = _component(name, table, set(raw), mistakes)
            if component:
                yield component
    _check_cycles(raw, mistakes)


def _component(
    name: str, table: Mapping[str, Any], names: set[str], mistakes: list[str]
) -> Component | None:
    where = f"components.{name}"
    settings = {k: v for k, v in table.items() if k not in ("provider", "after", "health")}
    provider = table.get("provider")
    if not isinstance(provider, str):
        mistakes.append(f"{where}.provider: missing; one of {', '.join(sorted(SETTINGS))}")
        return None
    after = table.get("after", [])
    if not isinstance(after, list) or not all(isinstance(item, str) for item in after):
        mistakes.append(f"{where}.after: a list of component names")
        return None
    mistakes.extend(
        f"{where}.after: there is no component {other!r}" for other in after if other not in names
    )
    health = None
    if "health" in table:
        health = _checked(HealthSettings, table["health"], f"{where}.health", mistakes)
    return Component(
        name=name,
        provider=provider,
        settings=_provider_settings(provider, settings, where, mistakes),
        health=HealthCheck(**health.model_dump()) if health else None,
        after=tuple(after),
    )


def _provider_settings(
    provider: str, settings: Mapping[str, Any], where: str, mistakes: list[str]
) -> dict[str, str]:
    model = SETTINGS.get(provider)
    if model is None:  # a plug-in checks its own
        return {key: str(value) for key, value in settings.items()}
    checked = _checked(model, settings, where, mistakes)
    if checked is None:
        return {}
    found = checked.model_dump(by_alias=True)
    if "columns" in found:
        hints = found.pop("columns")
        found["hints"] = json.dumps(hints, sort_keys=True) if hints else ""
    return found


def _check_cycles(raw: Mapping[str, Any], mistakes: list[str]) -> None:
    after = {
        name: [other for other in table.get("after", []) if other in raw]
        for name, table in raw.items()
        if isinstance(table, dict) and isinstance(table.get("after", []), list)
    }
    done: set[str] = set()
    while ready := [n for n, needs in after.items() if n not in done and done.issuperset(needs)]:
        done.update(ready)
    if stuck := sorted(set(after) - done):
        mistakes.append(f"components.*.after: a circle between {', '.join(stuck)}")


def _bounded(path: Path) -> str:
    """The file's text; ValueError when it is far longer than a taly.toml, or no text."""
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 2**20} MB")
    return raw.decode("utf-8")


def _anchored(component: Component, folder: Path, environment: str) -> Component:
    """A component whose relative paths start at the folder of taly.toml.

    A database's knows the environment too: what is kept of it says whose it is.
    """
    if component.provider != "postgres":
        return component
    folders = {name: str(folder / component.settings[name]) for name in PATHS}
    settings = {**component.settings, **folders, "environment": environment}
    return replace(component, settings=settings)


def _checked(model: type[M], raw: Any, where: str, mistakes: list[str]) -> M | None:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            path = ".".join(str(part) for part in (where, *detail["loc"]) if part != "")
            mistakes.append(f"{path}: {_plain(detail)}")
        return None


def _plain(detail: Any) -> str:
    match detail["type"]:
        case "missing":
            return "missing"
        case "extra_forbidden":
            return "there is no such setting"
        case "value_error":
            return str(detail["ctx"]["error"])
        case _:
            return str(detail["msg"])
