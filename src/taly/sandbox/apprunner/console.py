"""What a person does in the AWS console, as scenario files and `change()` say it.

Kinds: `env` (set: name → value, unset: names), `pause`, `resume`, `delete`, `auto-deploy`
(enabled), `update` (commit or identifier), `deploy` (the Deploy button), `expire-image` (commit),
`lifecycle` (days, tag_status), `maintenance` (seconds).
"""

import copy
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from taly.sandbox.apprunner.api import AppRunnerApi
from taly.sandbox.apprunner.fleet import Fleet
from taly.sandbox.apprunner.service import Service
from taly.sandbox.ecr import lifecycle_policy

USER = "console"
SWITCHED = {"pause": "PAUSE_SERVICE", "resume": "RESUME_SERVICE", "delete": "DELETE_SERVICE"}


def change_service(
    api: AppRunnerApi, fleet: Fleet, service: Service, change: Mapping[str, Any], now: datetime
) -> None:
    """Do it; ValueError for a kind that there is not, AwsError where the vendor refuses."""
    match change.get("kind"):
        case "env":
            api.update(service, _env(service, change), now, USER)
        case "auto-deploy":
            api.update(service, _auto_deploy(service, bool(change["enabled"])), now, USER)
        case "update":
            api.update(service, _identifier(service, change), now, USER)
        case "deploy":
            api.deploy(service, now, USER)
        case "pause" | "resume" | "delete" as kind:
            api.switch(service, SWITCHED[kind], now, USER)
        case "expire-image":
            fleet.expire(service, str(change["commit"]))
        case "lifecycle":
            days, status = int(change["days"]), str(change.get("tag_status", "any"))
            service.repository.lifecycle = lifecycle_policy(days, status)
        case "maintenance":
            fleet.maintain(service, float(change.get("seconds", 0)))
        case other:
            raise ValueError(f"App Runner has no console change of kind {other!r}")


def _env(service: Service, change: Mapping[str, Any]) -> dict[str, Any]:
    source = copy.deepcopy(service.source)
    image = source["ImageRepository"].setdefault("ImageConfiguration", {})
    variables = {**image.get("RuntimeEnvironmentVariables", {}), **change.get("set", {})}
    for name in change.get("unset", ()):
        variables.pop(name, None)
    image["RuntimeEnvironmentVariables"] = variables
    return {"SourceConfiguration": source}


def _auto_deploy(service: Service, enabled: bool) -> dict[str, Any]:
    return {"SourceConfiguration": {**service.source, "AutoDeploymentsEnabled": enabled}}


def _identifier(service: Service, change: Mapping[str, Any]) -> dict[str, Any]:
    source = copy.deepcopy(service.source)
    commit = str(change.get("commit", ""))[:12]
    identifier = str(change.get("identifier") or f"{service.repository.uri}:{commit}")
    source["ImageRepository"]["ImageIdentifier"] = identifier
    return {"SourceConfiguration": source}
