"""Reads serverless.yml in a checkout, as far as it can be known without running the framework."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from taly.checkout import Found, Readers, relative, text, unusable
from taly.providers.serverless.yaml_file import yaml_value


def _serverless(path: Path, root: Path, stage: str) -> Iterator[Found]:
    where = relative(path, root)
    try:
        document = yaml_value(text(path))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:120]
        yield unusable(path.parent.name, "serverless", where, f"cannot be read: {reason}")
        return
    if not isinstance(document, dict) or not document:
        yield unusable(path.parent.name, "serverless", where, "the file is empty")
        return
    service = document.get("service")
    name = service.get("name") if isinstance(service, dict) else service
    if not isinstance(name, str) or not name:
        yield unusable(path.parent.name, "serverless", where, "it names no service")
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
    yield unusable(path.parent.name, "serverless", relative(path, root), reason)


READERS: Readers = {
    ("serverless.yml", ""): _serverless,
    ("serverless.yaml", ""): _serverless,
    ("serverless.json", ""): _serverless,
    ("serverless.ts", ""): _serverless_program,
    ("serverless.js", ""): _serverless_program,
}
