"""CloudFormation's stacks as records: status, template, events, change sets, and what is due."""

import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from taly.sandbox.serverless.query import iso
from taly.sandbox.serverless.resources import StackResources, Template

UPDATABLE = frozenset(
    {
        "CREATE_COMPLETE",
        "UPDATE_COMPLETE",
        "UPDATE_ROLLBACK_COMPLETE",
        "IMPORT_COMPLETE",
        "IMPORT_ROLLBACK_COMPLETE",
    }
)
Action = Callable[[datetime], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a change set or an update brings a stack to."""

    template: Template
    body: str
    """The template as it was sent."""
    parameters: dict[str, str]
    tags: dict[str, str] | None = None
    """None = as they are; empty = none any more."""
    topics: list[str] | None = None
    """NotificationARNs, with the same meaning of None and empty."""
    capabilities: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class ChangeSet:
    """One change set of a stack."""

    id: str
    name: str
    created: datetime
    ready_at: datetime
    """Until then it is being worked out: CREATE_IN_PROGRESS."""
    target: Target
    changes: list[dict[str, Any]]
    executed: bool = False
    obsolete: bool = False
    """The stack was updated since: it can be executed no more."""


@dataclass(slots=True, kw_only=True)
class Stack:
    """One stack."""

    id: str
    name: str
    component: str
    created: datetime
    resources: StackResources
    status: str = "CREATE_COMPLETE"
    reason: str = ""
    template: Template = field(default_factory=lambda: {"Resources": {}})
    body: str = ""
    submitted: str = ""
    """The template of an update under way."""
    parameters: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    topics: list[str] = field(default_factory=list)
    capabilities: tuple[str, ...] = ()
    updated: datetime | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    """Oldest first."""
    change_sets: dict[str, ChangeSet] = field(default_factory=dict)
    """By id."""
    tokens: dict[str, str] = field(default_factory=dict)
    """ClientRequestToken → the operation that it was used for."""
    due: list[tuple[datetime, Action]] = field(default_factory=list)
    """What happens to it at later instants, in order."""
    stuck_on: Target | None = None
    """While UPDATE_ROLLBACK_FAILED: what it failed to go back to."""

    def catch_up(self, now: datetime) -> None:
        """Let everything happen that was due by now, each thing at its own instant."""
        while self.due and self.due[0][0] <= now:
            at, action = self.due.pop(0)
            action(at)

    def plan(self, steps: Iterable[tuple[datetime, Action]]) -> None:
        """Have these happen at their instants."""
        self.due = sorted([*self.due, *steps], key=lambda step: step[0])

    def say(self, at: datetime, status: str, token: str, reason: str = "") -> None:
        """Take a status and record it as an event of the stack itself."""
        self.status, self.reason = status, reason
        self.events.append(
            self._event(at, self.name, self.id, "AWS::CloudFormation::Stack", status, token, reason)
            | {"EventId": str(uuid.uuid4())}
        )

    def say_resource(
        self,
        at: datetime,
        name: str,
        resource: dict[str, Any],
        status: str,
        token: str,
        reason: str,
    ) -> None:
        """Record an event of one resource, with the properties that it was given."""
        event = self._event(
            at, name, self.resources.physical_id(name), resource["Type"], status, token, reason
        )
        properties = self.resources.resolved(resource.get("Properties", {}))
        event["ResourceProperties"] = json.dumps(properties, default=str)
        self.events.append(event | {"EventId": f"{name}-{status}-{iso(at)}-{len(self.events)}"})

    def _event(
        self,
        at: datetime,
        logical: str,
        physical: str,
        kind: str,
        status: str,
        token: str,
        reason: str,
    ) -> dict[str, Any]:
        return {
            "StackId": self.id,
            "EventId": "",
            "StackName": self.name,
            "LogicalResourceId": logical,
            "PhysicalResourceId": physical,
            "ResourceType": kind,
            "Timestamp": at,
            "ResourceStatus": status,
            "ResourceStatusReason": reason or None,
            "ResourceProperties": None,
            "ClientRequestToken": token or None,
        }
