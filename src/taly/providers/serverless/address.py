"""How AWS finds a service: stack, region, bucket and prefix."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from taly.errors import UsageError
from taly.model.environment import Component

DEFAULT_PREFIX = "serverless"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where one service in one stage is."""

    service: str
    stage: str
    region: str
    stack: str
    bucket: str
    """Empty until it was found."""
    prefix: str
    """Key prefix of the service's directories, with its trailing slash."""

    def as_mapping(self) -> Mapping[str, str]:
        """For `Observed.address` and `Step.address`."""
        return asdict(self)


def of_component(component: Component, default_region: str) -> Address:
    """From the component's settings; UsageError names what is missing."""
    given = {"region": default_region, **component.settings}
    missing = [name for name in ("service", "stage", "region") if not given.get(name)]
    if missing:
        raise UsageError(
            f"component {component.name}: missing settings {', '.join(missing)}",
            reference="setting-missing",
            hint="taly status",
        )
    service, stage = given["service"], given["stage"]
    prefix = given.get("prefix") or DEFAULT_PREFIX
    return Address(
        service=service,
        stage=stage,
        region=given["region"],
        stack=given.get("stack") or f"{service}-{stage}",
        bucket=given.get("bucket", ""),
        prefix=f"{prefix.strip('/')}/{service}/{stage}/",
    )


def of_mapping(address: Mapping[str, str]) -> Address:
    """From a step's address."""
    return Address(
        service=address["service"],
        stage=address["stage"],
        region=address["region"],
        stack=address["stack"],
        bucket=address["bucket"],
        prefix=address["prefix"],
    )
