"""App Runner's things as the emulator keeps them, and as the API shows them."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from taly.sandbox.awsjson import epoch, without_none
from taly.sandbox.ecr import Build, Repository
from taly.sandbox.process import AppProcess, Front

DEPLOYING = frozenset({"CREATE_SERVICE", "UPDATE_SERVICE", "START_DEPLOYMENT"})
UNFINISHED = frozenset({"PENDING", "IN_PROGRESS", "ROLLBACK_IN_PROGRESS"})
BLOCKS = (
    "SourceConfiguration",
    "InstanceConfiguration",
    "HealthCheckConfiguration",
    "NetworkConfiguration",
    "ObservabilityConfiguration",
)
DEFAULTS: Mapping[str, Any] = {
    "InstanceConfiguration": {"Cpu": "1024", "Memory": "2048"},
    "HealthCheckConfiguration": {
        "Protocol": "TCP",
        "Path": "/",
        "Interval": 5,
        "Timeout": 2,
        "HealthyThreshold": 1,
        "UnhealthyThreshold": 5,
    },
    "NetworkConfiguration": {
        "EgressConfiguration": {"EgressType": "DEFAULT"},
        "IngressConfiguration": {"IsPubliclyAccessible": True},
        "IpAddressType": "IPV4",
    },
    "ObservabilityConfiguration": {"ObservabilityEnabled": False},
}
"""What App Runner fills in for blocks that CreateService leaves out."""

Fate = Literal["ok", "failed", "failed-late", "stuck", "false-success"]
Blocks = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Operation:
    """One asynchronous operation on a service."""

    type: str
    started_at: datetime
    before: Blocks
    """The configuration to which a failed deployment goes back."""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "IN_PROGRESS"
    updated_at: datetime | None = None
    ended_at: datetime | None = None
    fate: Fate = "ok"
    stuck_s: float = 0.0
    """Virtual seconds a stuck operation stays; 0 = for ever."""
    pulled: bool = False
    digest: str = ""
    """What the identifier meant at pull time."""
    process: AppProcess | None = None
    waited: bool = False
    """Whether the real process took longer to start than the virtual operation."""

    @property
    def unfinished(self) -> bool:
        """Whether it is still under way."""
        return self.status in UNFINISHED

    def described(self, service: "Service") -> dict[str, Any]:
        """As an OperationSummary."""
        return without_none(
            {
                "Id": self.id,
                "Type": self.type,
                "Status": self.status,
                "TargetArn": service.arn,
                "StartedAt": epoch(self.started_at),
                "EndedAt": epoch(self.ended_at),
                "UpdatedAt": epoch(self.updated_at or self.started_at),
            }
        )


@dataclass(slots=True, kw_only=True)
class Switches:
    """Where nobody knows how App Runner behaves, or where it depends: one way or the other."""

    track: Literal["latest", "update"] = "latest"
    """How CI deploys: it pushes `latest` and App Runner deploys, or it calls UpdateService."""
    image_configuration: Literal["kept", "wiped"] = "wiped"
    """What an UpdateService without ImageConfiguration does to it (undocumented)."""
    digest_identifiers: Literal["accepted", "refused"] = "accepted"
    """Whether `repo@sha256:…` may be deployed (the model allows it; no public example)."""
    pushes_during_operation: Literal["dropped", "queued"] = "dropped"
    """What becomes of a push that would deploy while an operation runs (aws/apprunner-roadmap
    #232 says dropped, for source code)."""


@dataclass(slots=True, kw_only=True)
class Service:
    """One App Runner service."""

    component: str
    name: str
    arn: str
    id: str
    front: Front
    repository: Repository
    switches: Switches
    created_at: datetime
    updated_at: datetime
    blocks: Blocks
    """The desired configuration: what Describe shows, also while the old one still serves."""
    tags: list[dict[str, str]] = field(default_factory=list)
    status: str = "OPERATION_IN_PROGRESS"
    deleted_at: datetime | None = None
    operations: list[Operation] = field(default_factory=list)
    """Oldest first."""
    serving: str = ""
    """The digest of the image that really serves; empty = none."""
    serving_env: dict[str, str] = field(default_factory=dict)
    pulled: dict[str, Build] = field(default_factory=dict)
    """Every image that it ever pulled: it goes on serving one that ECR has no more."""
    process: AppProcess | None = None
    maintenance_until: datetime | None = None
    queued_push: bool = False

    @property
    def source(self) -> dict[str, Any]:
        """The desired SourceConfiguration."""
        source: dict[str, Any] = self.blocks["SourceConfiguration"]
        return source

    @property
    def identifier(self) -> str:
        """The desired image identifier."""
        return str(self.source["ImageRepository"]["ImageIdentifier"])

    @property
    def auto_deploy(self) -> bool:
        """Whether a push of the tracked tag deploys."""
        return bool(self.source.get("AutoDeploymentsEnabled"))

    @property
    def in_flight(self) -> Operation | None:
        """The operation under way."""
        return next((one for one in reversed(self.operations) if one.unfinished), None)

    @property
    def environment(self) -> dict[str, str]:
        """The plain-text variables of the desired configuration."""
        image = self.source["ImageRepository"].get("ImageConfiguration", {})
        return dict(image.get("RuntimeEnvironmentVariables", {}))

    @property
    def health_path(self) -> str:
        """The path that an HTTP health check asks; empty for a TCP one."""
        check = self.blocks["HealthCheckConfiguration"]
        return str(check["Path"]) if check["Protocol"] == "HTTP" else ""

    def summary(self) -> dict[str, Any]:
        """As a ServiceSummary."""
        return {
            "ServiceName": self.name,
            "ServiceId": self.id,
            "ServiceArn": self.arn,
            "ServiceUrl": self.front.url.removeprefix("http://"),
            "CreatedAt": epoch(self.created_at),
            "UpdatedAt": epoch(self.updated_at),
            "Status": self.status,
        }

    def described(self) -> dict[str, Any]:
        """As a Service."""
        region_account = ":".join(self.arn.split(":")[3:5])
        scaling = (
            f"arn:aws:apprunner:{region_account}:autoscalingconfiguration/DefaultConfiguration"
        )
        return without_none(
            {
                **self.summary(),
                "DeletedAt": epoch(self.deleted_at),
                **self.blocks,
                "AutoScalingConfigurationSummary": {
                    "AutoScalingConfigurationArn": f"{scaling}/1/{'0' * 31}1",
                    "AutoScalingConfigurationName": "DefaultConfiguration",
                    "AutoScalingConfigurationRevision": 1,
                },
            }
        )


def split_identifier(identifier: str) -> tuple[str, str, str]:
    """(repository, tag, digest) of `repo:tag`, `repo@sha256:…` or `repo:tag@sha256:…`."""
    rest, _, digest = identifier.partition("@")
    match = re.fullmatch(r"(.+?)(?::([^/:]+))?", rest)
    assert match is not None, "an identifier is not empty"
    return match[1], match[2] or ("" if digest else "latest"), digest
