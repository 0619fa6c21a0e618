"""Reads a checkout: which deployable parts it holds, from the files that their tools leave."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from taly.app.yaml_file import yaml_value
from taly.hostile import json_value

SKIPPED = frozenset(
    {".git", "node_modules", "dist", "build", ".venv", "venv", ".next", ".serverless", ".taly"}
)
MAX_FILES = 200_000
MAX_BYTES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A deployable part that a file speaks of."""

    name: str
    """What to call it: the service's, the package's or the folder's name."""
    provider: str
    path: str
    """The file that says so, relative to the checkout."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What the file tells of taly.toml's settings."""
    unusable: str = ""
    """Why it cannot be used; empty = it can."""


def scan(root: Path, *, stage: str) -> list[Found]:
    """Every deployable part below `root`; `stage` stands for `${opt:stage}` in serverless.yml."""
    found: list[Found] = []
    for path in _files(root):
        reader = _reader(path)
        if reader is not None:
            found.extend(reader(path, root, stage))
    return sorted(found, key=lambda item: (item.provider, item.path))


def _files(root: Path) -> Iterator[Path]:
    folders, seen = [root], 0
    while folders:
        folder = folders.pop()
        for entry in sorted(folder.iterdir()):
            seen += 1
            if seen > MAX_FILES:
                return
            if entry.is_symlink():
                continue
            if entry.is_dir():
                if entry.name not in SKIPPED:
                    folders.append(entry)
            else:
                yield entry


Reader = Callable[[Path, Path, str], Iterator[Found]]


def _reader(path: Path) -> Reader | None:
    match path.name, path.parent.name:
        case (("serverless.yml" | "serverless.yaml" | "serverless.json"), _):
            return _serverless
        case (("serverless.ts" | "serverless.js"), _):
            return _serverless_program
        case "project.json", ".vercel":
            return _vercel_link
        case "vercel.json", _:
            return _vercel_config
        case "state.json", ".netlify":
            return _netlify_link
        case "netlify.toml", _:
            return _netlify_config
        case "schema.prisma", _:
            return _prisma
        case "Dockerfile", _:
            return _dockerfile
        case _:
            return None


def _text(path: Path) -> str:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES // 1000} kB")
    return path.read_text(encoding="utf-8")


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def package_name(folder: Path) -> str:
    """The name in package.json without its scope, else the folder's own name."""
    try:
        name = json_value(_text(folder / "package.json")).get("name", "")
    except (OSError, ValueError, AttributeError):
        name = ""
    return str(name).rpartition("/")[2] or folder.resolve().name


def _serverless(path: Path, root: Path, stage: str) -> Iterator[Found]:
    where = _relative(path, root)
    try:
        document = yaml_value(_text(path))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:120]
        yield _unusable(path.parent.name, "serverless", where, f"cannot be read: {reason}")
        return
    if not isinstance(document, dict) or not document:
        yield _unusable(path.parent.name, "serverless", where, "the file is empty")
        return
    service = document.get("service")
    name = service.get("name") if isinstance(service, dict) else service
    if not isinstance(name, str) or not name:
        yield _unusable(path.parent.name, "serverless", where, "it names no service")
        return
    yield Found(
        name=name, provider="serverless", path=where, settings=_service(name, document, stage)
    )


def _service(name: str, document: Mapping[str, Any], stage: str) -> dict[str, str]:
    provider = document.get("provider")
    provider = provider if isinstance(provider, dict) else {}
    bucket = provider.get("deploymentBucket", "")
    wanted = {
        "service": name,
        "stage": provider.get("stage", ""),
        "region": provider.get("region", ""),
        "stack": provider.get("stackName", ""),
        "bucket": bucket.get("name", "") if isinstance(bucket, dict) else bucket,
        "prefix": provider.get("deploymentPrefix", ""),
    }
    resolved = {key: resolve(str(value), document, stage) for key, value in wanted.items() if value}
    return {key: value for key, value in resolved.items() if value and "${" not in value}


VARIABLE = re.compile(r"\$\{([^${}]+)\}")


def resolve(text: str, document: Mapping[str, Any], stage: str, depth: int = 8) -> str:
    """Fill in the Serverless Framework's variables that can be known without running it.

    `${opt:stage}`, `${sls:stage}` and `${self:…}` are known, and so is any literal fallback; what
    is not stays as it is.
    """
    while depth and (match := VARIABLE.search(text)):
        depth -= 1
        value = _variable(match.group(1), document, stage)
        if value is None:
            break
        text = text[: match.start()] + value + text[match.end() :]
    return text


def _variable(expression: str, document: Mapping[str, Any], stage: str) -> str | None:
    for option in (part.strip() for part in expression.split(",")):
        if option in ("opt:stage", "sls:stage"):
            if stage:
                return stage
        elif option.startswith("self:"):
            value = _dig(document, option.removeprefix("self:"))
            if isinstance(value, str | int | float) and f"${{{option}" not in str(value):
                return str(value)
        elif option[:1] in "'\"" and option[-1:] == option[:1]:
            return option[1:-1]
        elif ":" not in option:
            return option
    return None


def _dig(document: Mapping[str, Any], dotted: str) -> Any:
    value: Any = document
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _serverless_program(path: Path, root: Path, stage: str) -> Iterator[Found]:
    reason = "a program, which taly does not run: add the service by hand"
    yield _unusable(path.parent.name, "serverless", _relative(path, root), reason)


def _json_object(path: Path) -> dict[str, Any]:
    document = json_value(_text(path))
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    return document


def _vercel_link(path: Path, root: Path, stage: str) -> Iterator[Found]:
    folder, where = path.parent.parent, _relative(path, root)
    try:
        link = _json_object(path)
        project, team = str(link["projectId"]), str(link.get("orgId", ""))
    except (OSError, ValueError, KeyError) as error:
        yield _unusable(package_name(folder), "vercel", where, f"cannot be read: {error!r}")
        return
    settings = {"project": project}
    if team.startswith("team_"):
        settings["team"] = team
    yield Found(name=package_name(folder), provider="vercel", path=where, settings=settings)


def _vercel_config(path: Path, root: Path, stage: str) -> Iterator[Found]:
    if (path.parent / ".vercel" / "project.json").exists():
        return
    yield Found(name=package_name(path.parent), provider="vercel", path=_relative(path, root))


def _netlify_link(path: Path, root: Path, stage: str) -> Iterator[Found]:
    folder, where = path.parent.parent, _relative(path, root)
    try:
        site = str(_json_object(path)["siteId"])
    except (OSError, ValueError, KeyError) as error:
        yield _unusable(package_name(folder), "netlify", where, f"cannot be read: {error!r}")
        return
    yield Found(name=package_name(folder), provider="netlify", path=where, settings={"site": site})


def _netlify_config(path: Path, root: Path, stage: str) -> Iterator[Found]:
    if (path.parent / ".netlify" / "state.json").exists():
        return
    where = _relative(path, root)
    try:
        tomllib.loads(_text(path))
    except (OSError, ValueError, RecursionError) as error:
        yield _unusable(package_name(path.parent), "netlify", where, f"cannot be read: {error}")
        return
    yield Found(name=package_name(path.parent), provider="netlify", path=where)


URL_VARIABLE = re.compile(r"""\burl\s*=\s*env\(\s*["'](\w+)["']\s*\)""")


def _prisma(path: Path, root: Path, stage: str) -> Iterator[Found]:
    where, migrations = _relative(path, root), path.parent / "migrations"
    if not migrations.is_dir():
        reason = "there is no migrations folder beside it"
        yield _unusable("database", "postgres", where, reason)
        return
    variable = URL_VARIABLE.search(_text(path))
    yield Found(
        name="database",
        provider="postgres",
        path=where,
        settings={
            "url_env": variable.group(1) if variable else "DATABASE_URL",
            "migrations": _relative(migrations, root),
        },
    )


def _dockerfile(path: Path, root: Path, stage: str) -> Iterator[Found]:
    yield Found(name=package_name(path.parent), provider="apprunner", path=_relative(path, root))


def _unusable(name: str, provider: str, where: str, reason: str) -> Found:
    return Found(name=name, provider=provider, path=where, unusable=reason)
