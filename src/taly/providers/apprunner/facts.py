"""What AWS said about one service, as plain data for the rules in `history` and `judging`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from taly.providers.apprunner.identifiers import Identifier, parse_identifier

DEPLOYING = frozenset({"CREATE_SERVICE", "UPDATE_SERVICE", "START_DEPLOYMENT"})
ENDED = frozenset({"FAILED", "SUCCEEDED", "ROLLBACK_FAILED", "ROLLBACK_SUCCEEDED"})
IN_PROGRESS = "OPERATION_IN_PROGRESS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An OperationSummary. It holds no image."""

    id: str
    type: str
    status: str
    """May be one that taly does not know yet."""
    started_at: datetime
    ended_at: datetime | None

    @property
    def unfinished(self) -> bool:
        """Whether it is under way; an unknown status with an end is not."""
        return self.status not in ENDED and self.ended_at is None

    @property
    def deployed(self) -> bool:
        """Whether it made an image live. A rolled-back one did not."""
        return self.type in DEPLOYING and self.status == "SUCCEEDED" and self.ended_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """A CreateService or UpdateService in CloudTrail."""

    at: datetime
    """Whole seconds."""
    operation_id: str
    identifier: str
    """Empty when the call left the image alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A PutImage in CloudTrail: from then on the tag meant that digest."""

    at: datetime
    tag: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that ECR has."""

    digest: str
    tags: tuple[str, ...]
    pushed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A service and its operations, at one instant."""

    at: datetime
    service: Mapping[str, Any] = field(repr=False)
    """DescribeService's answer. Holds plain-text variables: never stored, never shown."""
    operations: tuple[Operation, ...]
    """Newest first."""

    @property
    def status(self) -> str:
        """The service's status."""
        return str(self.service["Status"])

    @property
    def source(self) -> Mapping[str, Any]:
        """The SourceConfiguration: while an operation runs, the desired one."""
        source: Mapping[str, Any] = self.service["SourceConfiguration"]
        return source

    @property
    def identifier(self) -> Identifier:
        """The described image identifier, taken apart."""
        return parse_identifier(self.identifier_text)

    @property
    def identifier_text(self) -> str:
        """The described image identifier; empty for a service built from source code."""
        return str(self.source.get("ImageRepository", {}).get("ImageIdentifier", ""))

    @property
    def auto_deploy(self) -> bool:
        """Whether a push of the tag deploys."""
        return bool(self.source.get("AutoDeploymentsEnabled", False))

    @property
    def in_flight(self) -> Operation | None:
        """The operation under way, as far as one is listed."""
        return next((one for one in self.operations if one.unfinished), None)

    @property
    def at_rest(self) -> bool:
        """Whether nothing is under way, listed or not (AWS maintenance lists nothing)."""
        return self.status != IN_PROGRESS and self.in_flight is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What is known besides: CloudTrail's events and ECR's images of the service's repository."""

    updates: tuple[Update, ...] = ()
    """Oldest first."""
    pushes: tuple[Push, ...] = ()
    """Oldest first."""
    images: Mapping[str, Image] = field(default_factory=dict)
    """By digest."""
    notes: tuple[str, ...] = ()
    """What could not be asked, and what follows."""
