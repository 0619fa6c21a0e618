"""CloudTrail's event history: who called what, newest first, ninety days back.

Emulates `LookupEvents` (CloudTrail API reference): one lookup attribute a call, at most 50 events
a page, environment variables and commands hidden.
"""

import copy
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from taly.sandbox.awsjson import AwsError, Result, epoch, page, without_none
from taly.sandbox.world import VirtualClock

KEPT = timedelta(days=90)
PAGE = 50
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
HIDDEN_KEYS = frozenset(
    {"runtimeEnvironmentVariables", "runtimeEnvironmentSecrets", "startCommand", "buildCommand"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailEvent:
    """One recorded call."""

    id: str
    at: datetime
    name: str
    source: str
    user: str
    resources: tuple[str, ...]
    record: str
    """The JSON text that `CloudTrailEvent` holds."""


class Trail:
    """The event history of one account in one region. The caller holds the lock."""

    def __init__(self, clock: VirtualClock, *, account: str, region: str) -> None:
        self._clock = clock
        self._account = account
        self._region = region
        self._events: list[TrailEvent] = []
        self.lag_s = 0.0
        """Virtual seconds until an event can be looked up (really up to a quarter of an hour)."""

    def record(
        self,
        name: str,
        *,
        source: str,
        at: datetime,
        request: Mapping[str, Any],
        response: Mapping[str, Any] | None,
        resources: tuple[str, ...],
        user: str = "ci",
    ) -> None:
        """Write down a call that changed something."""
        at = at.replace(microsecond=0)  # CloudTrail's eventTime has whole seconds
        event_id = str(uuid.uuid4())
        record = {
            "eventVersion": "1.08",
            "userIdentity": {"type": "IAMUser", "userName": user, "accountId": self._account},
            "eventTime": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "eventSource": source,
            "eventName": name,
            "awsRegion": self._region,
            "requestParameters": hidden(request),
            "responseElements": None if response is None else hidden(response),
            "eventID": event_id,
            "readOnly": False,
            "eventType": "AwsApiCall",
            "recipientAccountId": self._account,
        }
        self._events.append(
            TrailEvent(
                id=event_id,
                at=at,
                name=name,
                source=source,
                user=user,
                resources=resources,
                record=json.dumps(record, default=str),
            )
        )

    def lookup_events(self, body: Mapping[str, Any]) -> Result:
        """LookupEvents."""
        attributes = body.get("LookupAttributes", [])
        if len(attributes) > 1:
            raise AwsError(
                "InvalidLookupAttributesException", "You can specify only one lookup attribute."
            )
        size = body.get("MaxResults", PAGE)
        if not 1 <= size <= PAGE:
            raise AwsError("InvalidMaxResultsException", f"Max results must be 1 to {PAGE}.")
        found = [event for event in self._visible(body) if _fits(event, attributes)]
        found.sort(key=lambda event: event.at, reverse=True)
        events, token = page(
            found, size=size, token=body.get("NextToken"), bad_token="InvalidNextTokenException"
        )
        listed = [_listed(event) for event in events]
        return Result(body=without_none({"Events": listed, "NextToken": token}))

    def _visible(self, body: Mapping[str, Any]) -> list[TrailEvent]:
        now = self._clock.now()
        start = max(_instant(body.get("StartTime")) or now - KEPT, now - KEPT)
        end = min(_instant(body.get("EndTime")) or now, now - timedelta(seconds=self.lag_s))
        # newest first among equals: the list is in order of arrival
        return [event for event in reversed(self._events) if start <= event.at <= end]


def hidden(value: Any) -> Any:
    """A copy in which what CloudTrail keeps to itself is hidden."""
    if isinstance(value, Mapping):
        return {
            key: HIDDEN if key in HIDDEN_KEYS else hidden(inner) for key, inner in value.items()
        }
    if isinstance(value, list):
        return [hidden(inner) for inner in value]
    return copy.copy(value)


def _instant(value: Any) -> datetime | None:
    """A timestamp of a request: a number on the wire, as botocore sends it."""
    return datetime.fromtimestamp(value, UTC) if isinstance(value, (int, float)) else None


def _fits(event: TrailEvent, attributes: list[Mapping[str, str]]) -> bool:
    for attribute in attributes:
        value = attribute["AttributeValue"]
        facts = {
            "EventId": (event.id,),
            "EventName": (event.name,),
            "EventSource": (event.source,),
            "Username": (event.user,),
            "ReadOnly": ("false",),
            "ResourceName": event.resources,
        }
        if value not in facts.get(attribute["AttributeKey"], ()):
            return False
    return True


def _listed(event: TrailEvent) -> dict[str, Any]:
    return {
        "EventId": event.id,
        "EventName": event.name,
        "ReadOnly": "false",
        "EventTime": epoch(event.at),
        "EventSource": event.source,
        "Username": event.user,
        "Resources": [{"ResourceName": name} for name in event.resources],
        "CloudTrailEvent": event.record,
    }
