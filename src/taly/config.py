"""taly.toml → Environment; every mistake at once, each with its key path."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

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
COLUMN = r"^([^.]+\.)?[^.]+\.[^.]+$"
"""`table.column` or `schema.table.column`."""

M = TypeVar("M", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AppRunnerSettings(_Strict):
    """Where an App Runner service is."""

    service: str = Field(description="Name or ARN of the service.")
    region: str = Field(default="", description="AWS region; else AWS_REGION.")


class NetlifySettings(_Strict):
    """Where a Netlify site is."""

    site: str = Field(description="Site id, or its netlify.app name.")


class VercelSettings(_Strict):
    """Where a Vercel project is."""

    project: str = Field(description="Project id or name.")
    team: str = Field(default="", description="Team id; needed when a team owns the project.")


class ServerlessSettings(_Strict):
    """Where a Serverless Framework service is."""

    service: str = Field(description="`service` of serverless.yml.")
    stage: str = Field(default="dev", description="The stage that was deployed.")
    region: str = Field(default="", description="AWS region; else AWS_REGION.")
    stack: str = Field(default="", description="`provider.stackName`, where it is set.")
    bucket: str = Field(default="", description="`provider.deploymentBucket`, where it is set.")
    prefix: str = Field(default="", description="`provider.deploymentPrefix`, where it is set.")


class ColumnHint(_Strict):
    """How a column's values read back, where the old schema cannot tell."""

    enum_map: dict[str, str] = Field(
        default_factory=dict, description="Label only the new schema has → label for the old one."
    )
    fill: str = Field(
        default="", description="SQL for a value that the new schema has no more; may use columns."
    )
    transform: str = Field(
        default="", description="SQL over the new columns that gives the old value."
    )


class PostgresSettings(_Strict):
    """Where a PostgreSQL with Prisma migrations is."""

    url_env: str = Field(default="DATABASE_URL", description="Variable that holds the URL.")
    migrations: str = Field(
        default="prisma/migrations", description="Directory, relative to taly.toml."
    )
    schema_: str = Field(default="public", alias="schema", description="Schema of the ledger.")
    checkpoints: str = Field(
        default=".taly/checkpoints", description="Folder of checkpoints, relative to taly.toml."
    )
    rescue: str = Field(
        default=".taly/rescue", description="Folder of rescue bundles, relative to taly.toml."
    )
    rds: str = Field(default="", description="Identifier of its RDS instance, where it is one.")
    region: str = Field(default="", description="AWS region of that; else AWS_REGION.")
    columns: dict[Annotated[str, Field(pattern=COLUMN)], ColumnHint] = Field(
        default_factory=dict, description="Hints for columns, by their old names; see below."
    )


SETTINGS: Mapping[str, type[_Strict]] = {
    "apprunner": AppRunnerSettings,
    "netlify": NetlifySettings,
    "vercel": VercelSettings,
    "serverless": ServerlessSettings,
    "postgres": PostgresSettings,
}


class HealthSettings(_Strict):
    """How to ask the application itself whether, and as which version, it works."""

    url: str = Field(pattern=r"^https?://", description="Fetched with GET.")
    status: int = Field(default=200, ge=100, le=599, description="Status that means healthy.")
    expect: dict[str, str] = Field(
        default_factory=dict,
        description="Dotted JSON path → text; {commit} and {deployment} stand for the target's.",
    )
    header: dict[str, str] = Field(default_factory=dict, description="Response header → text.")
    contains: str = Field(default="", description="Text that the body must hold.")
    successes: int = Field(default=3, ge=1, le=100, description="Good answers in a row.")
    interval_s: float = Field(default=2.0, gt=0, le=300, description="Seconds between requests.")
    deadline_s: float = Field(default=180.0, gt=0, le=7200, description="Seconds to succeed in.")


class PolicySettings(_Strict):
    """What the team allows and wants of a rollback."""

    on_failure: Literal["halt", "undo"] = Field(
        default="halt", description="What happens when a step fails."
    )
    confirm: str = Field(default="", description="Text that --confirm must give.")
    grouping_window_s: float = Field(
        default=3600.0, gt=0, description="Deploys closer in time belong to one release."
    )
    lease_s: float = Field(
        default=20.0, ge=5, le=600, description="Silence after which a run may be taken over."
    )


class SandboxSettings(_Strict):
    """Only in a sandbox: taly keeps its clock in step with it."""

    control: str = Field(pattern=r"^http://127\.0\.0\.1:\d+$", description="The control API.")


class SecretSettings(_Strict):
    """Where a secret is kept: one of these, and never the secret itself."""

    env: str = Field(default="", description="Name of the variable that holds it.")
    file: str = Field(default="", description="File that holds it, relative to taly.toml.")
    command: tuple[str, ...] = Field(
        default=(), description="Program and arguments that print it, run without a shell."
    )

    @model_validator(mode="after")
    def _one(self) -> "SecretSettings":
        if sum(map(bool, (self.env, self.file, self.command))) != 1:
            raise ValueError("give exactly one of env, file and command")
        return self


class NetworkSettings(_Strict):
    """How vendors, applications and databases are reached."""

    ca_file: str = Field(
        default="",
        description="Certificates (PEM) that are trusted besides the machine's own, relative to"
        " taly.toml; else TALY_CA_FILE.",
    )


class _File(_Strict):
    environment: str = Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    store: str = Field(default="", description="postgresql://… for a team; else a local file.")
    shared: str = Field(default="", description="s3://bucket/prefix for a team without that.")
    shared_region: str = Field(default="", description="AWS region of that bucket.")
    sandbox: SandboxSettings | None = None
    policy: PolicySettings = PolicySettings()
    network: NetworkSettings = NetworkSettings()
    secrets: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], SecretSettings] = {}
    components: dict[str, dict[str, Any]] = Field(min_length=1)


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
    file = _checked(_File, raw, "", mistakes)
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
