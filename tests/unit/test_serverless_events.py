"""Stack events folded into operations and into times when a directory was live."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from taly.providers.serverless.directories import grouped
from taly.providers.serverless.events import durations, live_periods, operations

PREFIX = "serverless/mail/production/"
STACK = "arn:stack"
START = datetime(2026, 11, 19, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def name(minutes: float) -> str:
    instant = at(minutes)
    text = instant.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return f"{int(instant.timestamp() * 1000)}-{text}"


def own(minutes: float, status: str, token: str = "") -> dict[str, Any]:
    return {
        "StackId": STACK,
        "PhysicalResourceId": STACK,
        "LogicalResourceId": "mail-production",
        "ResourceType": "AWS::CloudFormation::Stack",
        "Timestamp": at(minutes),
        "ResourceStatus": status,
        "ClientRequestToken": token,
    }


def code(minutes: float, directory: str, status: str = "UPDATE_IN_PROGRESS") -> dict[str, Any]:
    properties = {"Code": {"S3Key": f"{PREFIX}{directory}/mail.zip"}}
    return {
        **own(minutes, status),
        "PhysicalResourceId": "mail-production-send",
        "LogicalResourceId": "SendLambdaFunction",
        "ResourceType": "AWS::Lambda::Function",
        "ResourceProperties": json.dumps(properties),
        "ResourceStatusReason": "NoSuchKey" if status.endswith("FAILED") else None,
    }


def update(minutes: float, directory: str, token: str = "") -> list[dict[str, Any]]:
    return [
        own(minutes, "UPDATE_IN_PROGRESS", token),
        code(minutes + 0.1, directory),
        own(minutes + 0.5, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", token),
        own(minutes + 1, "UPDATE_COMPLETE", token),
    ]


def failed(minutes: float, directory: str) -> list[dict[str, Any]]:
    return [
        own(minutes, "UPDATE_IN_PROGRESS"),
        code(minutes + 0.1, directory, "UPDATE_FAILED"),
        own(minutes + 0.2, "UPDATE_ROLLBACK_IN_PROGRESS"),
        own(minutes + 1, "UPDATE_ROLLBACK_COMPLETE"),
    ]


def directories(*minutes: float) -> Any:
    return grouped(PREFIX, [f"{PREFIX}{name(one)}/mail.zip" for one in minutes])


def test_serverless_failed_upload_was_never_live() -> None:
    events = [*update(1, name(0)), *failed(11, name(10)), *update(21, name(20))]
    found = operations(reversed(events))
    periods = live_periods(found, directories(0, 10, 20), PREFIX)
    assert name(10) not in periods
    assert [span.end for span in periods[name(0)]] == [at(21.5)]
    assert periods[name(20)][-1].end is None
    assert found[1].reasons == ("SendLambdaFunction: NoSuchKey",)


def test_serverless_directory_is_live_again_after_a_rollback() -> None:
    events = [*update(1, name(0)), *update(11, name(10)), *update(21, name(0))]
    periods = live_periods(operations(reversed(events)), directories(0, 10), PREFIX)
    assert [(span.start, span.end) for span in periods[name(0)]] == [
        (at(1.5), at(11.5)),
        (at(21.5), None),
    ]


def test_serverless_cleanup_in_progress_is_live_already() -> None:
    found = operations(reversed(update(1, name(0))[:-1]))
    assert found[-1].outcome == "running"
    assert live_periods(found, directories(0), PREFIX)[name(0)][0].start == at(1.5)


def test_serverless_events_without_properties_are_matched_by_time() -> None:
    events = [one for one in update(11, name(10)) if "ResourceProperties" not in one]
    periods = live_periods(operations(reversed(events)), directories(0, 10, 20), PREFIX)
    assert list(periods) == [name(10)]


def test_serverless_oldest_events_cut_off_are_no_operation() -> None:
    events = [own(0, "UPDATE_COMPLETE"), *update(1, name(0))]
    assert len(operations(reversed(events))) == 1


def test_serverless_continued_rollback_is_an_operation_of_its_own() -> None:
    events = [
        own(0, "UPDATE_IN_PROGRESS", "theirs"),
        own(1, "UPDATE_ROLLBACK_IN_PROGRESS", "theirs"),
        own(2, "UPDATE_ROLLBACK_FAILED", "theirs"),
        own(3, "UPDATE_ROLLBACK_IN_PROGRESS", "ours"),
        own(4, "UPDATE_ROLLBACK_COMPLETE", "ours"),
    ]
    found = operations(reversed(events))
    assert [(one.token, one.outcome) for one in found] == [
        ("theirs", "stuck"),
        ("ours", "rolled-back"),
    ]


def test_serverless_durations_are_of_successful_updates_newest_first() -> None:
    events = [*update(1, name(0)), *failed(11, name(10)), *update(21, name(20))]
    assert durations(operations(reversed(events))) == (60.0, 60.0)
