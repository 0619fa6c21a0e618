"""A stack's events, folded into the operations they were part of. Pure.

DescribeStackEvents keeps 90 days. Events are matched by ClientRequestToken, because an earlier
UPDATE_COMPLETE would otherwise read as the success of a later update.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from taly.aws import without_values
from taly.model.release import LivePeriod
from taly.providers.serverless.directories import Directory
from taly.providers.serverless.template import FUNCTION

Outcome = Literal["running", "succeeded", "rolled-back", "stuck", "failed"]
CLEANING = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
SUCCEEDED = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"})
ENDS: Mapping[str, Outcome] = {
    **dict.fromkeys(SUCCEEDED, "succeeded"),
    "UPDATE_ROLLBACK_COMPLETE": "rolled-back",
    "IMPORT_ROLLBACK_COMPLETE": "rolled-back",
    "UPDATE_ROLLBACK_FAILED": "stuck",
    "ROLLBACK_COMPLETE": "failed",
    "ROLLBACK_FAILED": "failed",
    "CREATE_FAILED": "failed",
    "UPDATE_FAILED": "failed",
}
STARTS = frozenset({"CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "IMPORT_IN_PROGRESS"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOperation:
    """One create, update or recovery of a stack."""

    started: datetime
    token: str
    status: str
    """The stack's latest status in it."""
    outcome: Outcome = "running"
    live_at: datetime | None = None
    """When its result began to serve; None = it never did."""
    ended: datetime | None = None
    keys: frozenset[str] = frozenset()
    """S3 keys of the code that it gave to functions."""
    reasons: tuple[str, ...] = field(default=())
    """Why resources failed, first one first."""


def operations(events: Iterable[Mapping[str, Any]]) -> tuple[StackOperation, ...]:
    """The operations that these events (newest first, as AWS gives them) tell of, oldest first."""
    found: list[StackOperation] = []
    for event in reversed(list(events)):
        status, is_own = str(event["ResourceStatus"]), _is_own(event)
        if is_own and (status in STARTS or not found or _reopens(found[-1], status)):
            if status in ENDS or status == "REVIEW_IN_PROGRESS":
                continue  # the end of what began before the oldest event
            token = str(event.get("ClientRequestToken") or "")
            found.append(StackOperation(started=event["Timestamp"], token=token, status=status))
        elif found and is_own:
            found[-1] = _advanced(found[-1], status, event)
        elif found and found[-1].outcome == "running":
            found[-1] = _with_resource(found[-1], status, event)
    return tuple(found)


def live_periods(
    found: Iterable[StackOperation], directories: Iterable[Directory], prefix: str
) -> dict[str, tuple[LivePeriod, ...]]:
    """Directory → when it served: from one successful update to the next.

    The update's own events name the code it gave to the functions; where they do not, it is the
    newest upload before the update.
    """
    known = list(directories)
    marks: list[tuple[datetime, str]] = []
    for operation in found:
        name = _directory(operation, known, prefix)
        if operation.live_at and name:
            marks.append((operation.live_at, name))
    periods: dict[str, tuple[LivePeriod, ...]] = {}
    for index, (start, name) in enumerate(marks):
        end = marks[index + 1][0] if index + 1 < len(marks) else None
        before = periods.get(name, ())
        if before and before[-1].end == start:  # deployed again without a change of directory
            periods[name] = (*before[:-1], replace(before[-1], end=end))
        else:
            periods[name] = (*before, LivePeriod(start=start, end=end))
    return periods


def durations(found: Iterable[StackOperation]) -> tuple[float, ...]:
    """How long the successful updates took, newest first, in seconds."""
    spans = [
        (one.ended - one.started).total_seconds()
        for one in found
        if one.ended and one.outcome == "succeeded" and one.keys
    ]
    return tuple(reversed(spans))


def _is_own(event: Mapping[str, Any]) -> bool:
    return bool(event.get("PhysicalResourceId") == event["StackId"])


def _reopens(last: StackOperation, status: str) -> bool:
    """ContinueUpdateRollback goes on where an ended operation got stuck."""
    return last.outcome != "running" and status == "UPDATE_ROLLBACK_IN_PROGRESS"


def _advanced(operation: StackOperation, status: str, event: Mapping[str, Any]) -> StackOperation:
    at = event["Timestamp"]
    if status == CLEANING:
        return replace(operation, status=status, live_at=operation.live_at or at)
    outcome = ENDS.get(status)
    if outcome is None:
        return replace(operation, status=status)
    live_at = (operation.live_at or at) if outcome == "succeeded" else None
    return replace(operation, status=status, outcome=outcome, live_at=live_at, ended=at)


def _with_resource(
    operation: StackOperation, status: str, event: Mapping[str, Any]
) -> StackOperation:
    if status.endswith("_FAILED"):
        reason = str(event.get("ResourceStatusReason") or status)
        said = f"{event['LogicalResourceId']}: {without_values(reason)}"
        if "cancelled" not in reason:
            operation = replace(operation, reasons=(*operation.reasons, said))
    if event["ResourceType"] == FUNCTION:
        key = _key(event.get("ResourceProperties"))
        operation = replace(operation, keys=operation.keys | ({key} if key else set()))
    return operation


def _key(properties: Any) -> str:
    """Code.S3Key of a function's properties; nothing else of them is looked at (secrets)."""
    try:
        return str(json.loads(properties or "{}").get("Code", {}).get("S3Key", ""))
    except (ValueError, AttributeError):
        return ""


def _directory(operation: StackOperation, known: list[Directory], prefix: str) -> str:
    named = {
        key.removeprefix(prefix).split("/")[0] for key in operation.keys if key.startswith(prefix)
    }
    if named:
        return max(named)
    earlier = [one.name for one in known if one.at <= operation.started]
    return earlier[-1] if earlier and operation.status not in ("CREATE_COMPLETE",) else ""


def directory_of(operation: StackOperation, prefix: str) -> str:
    """The directory that the operation leads to; empty when its events do not say."""
    return _directory(operation, [], prefix)
