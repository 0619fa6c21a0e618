"""What going to another directory changes besides the code. Pure: all was read before."""

from collections.abc import Iterator

from taly.model.plan import ConfigChange, ConfigChangeKind
from taly.model.ports import Differences
from taly.model.release import Deployment, Observed
from taly.providers.serverless.history import SEPARATOR

KEPT = 5
"""The framework's default `maxPreviousDeploymentArtifacts`, newest included."""


def differences(before: Observed, target: Deployment) -> Differences:
    """Configuration, removals and notes on the way from live to target."""
    removals = str(target.details.get("removals", ""))
    config = tuple(_config(before.live, target))
    return Differences(
        config=config,
        removals=tuple(removals.split(SEPARATOR)) if removals else (),
        notes=tuple(_notes(before, target, bool(config))),
    )


def _config(live: Deployment, target: Deployment) -> Iterator[ConfigChange]:
    for name in sorted({*live.config, *target.config}):
        if name not in live.config:
            yield ConfigChange(name=name, kind=ConfigChangeKind.ADDED)
        elif name not in target.config:
            yield ConfigChange(name=name, kind=ConfigChangeKind.REMOVED)
        elif live.config[name] != target.config[name]:
            yield ConfigChange(name=name, kind=ConfigChangeKind.CHANGED)


def _notes(before: Observed, target: Deployment, config_differs: bool) -> Iterator[str]:
    if config_differs:
        yield (
            "Environment values are part of the template: the old ones come back,"
            " rotated secrets included."
        )
    yield (
        "To deploy the same code again later, use `serverless deploy --force`: without it the"
        " deploy is skipped, because it is compared with the newest upload, not with what is live."
    )
    newer = [one for one in before.history if one.id > target.id and _in_bucket(one)]
    if len(newer) >= KEPT - 1:
        yield (
            f"The next deploy prunes uploads by age ({KEPT} kept by default) and may delete"
            f" {target.id}, the good one, and keep the bad one."
        )
    yield (
        "Not rolled back by anyone: custom-domain mappings, files synced to S3, CloudFront"
        " invalidations, settings of a REST API's stage. Lambda numbers a new version."
    )


def _in_bucket(deployment: Deployment) -> bool:
    return deployment.restorable.kind == "restorable"
