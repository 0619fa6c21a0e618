"""What a look at the service means for a step, on looks that no emulator needs to make."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import MagicMock

import pytest

from taly.aws import AwsClients, aws_errors
from taly.clock import SystemClock
from taly.errors import VendorRefused
from taly.model.plan import Step, StepKind
from taly.model.ports import Attempt, Failed
from taly.providers.apprunner import judging
from taly.providers.apprunner.facts import Look, Operation
from taly.providers.apprunner.reading import Reader
from taly.providers.apprunner.writing import require_running

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
REPO = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/backend"
A, B = (f"sha256:{letter * 64}" for letter in "ab")
STEP = Step(
    id="roll-back:backend",
    kind=StepKind.ROLL_BACK,
    component="backend",
    provider="apprunner",
    title="",
    wanted={"image": f"{REPO}@{A}", "identifier": f"{REPO}@{A}", "auto_deploy": False},
)


def operation(minutes: float, status: str, kind: str = "UPDATE_SERVICE") -> Operation:
    started = NOON + timedelta(minutes=minutes)
    ended = None if "PROGRESS" in status or status == "PENDING" else started + timedelta(minutes=15)
    return Operation(
        id=f"op-{minutes:g}", type=kind, status=status, started_at=started, ended_at=ended
    )


def look(*operations: Operation, identifier: str = f"{REPO}@{A}", **facts: Any) -> Look:
    source = {
        "ImageRepository": {"ImageIdentifier": identifier, "ImageConfiguration": {"Port": "1"}},
        "AutoDeploymentsEnabled": False,
    }
    service = {"ServiceArn": "arn", "Status": "RUNNING", "SourceConfiguration": source, **facts}
    return Look(at=NOON, service=service, operations=operations)


def test_our_operation_is_found_by_its_id_wherever_it_stands() -> None:
    seen = look(operation(9, "SUCCEEDED"), operation(3, "FAILED"), operation(0, "SUCCEEDED"))
    attempt = Attempt(key="k", intended_at=NOON, receipt={"operation": "op-3"})
    assert judging.own_operation(seen, attempt) == operation(3, "FAILED")


def test_without_an_id_it_is_the_first_update_since_the_intent() -> None:
    deployment = operation(1, "SUCCEEDED", "START_DEPLOYMENT")
    seen = look(
        operation(9, "FAILED"), operation(2, "SUCCEEDED"), deployment, operation(-5, "FAILED")
    )
    attempt = Attempt(key="k", intended_at=NOON)
    assert judging.own_operation(seen, attempt) == operation(2, "SUCCEEDED")
    later = replace(attempt, intended_at=NOON + timedelta(minutes=30))
    assert judging.own_operation(seen, later) is None
    assert judging.own_operation(seen, None) is None


@pytest.mark.parametrize("status", ["FAILED", "ROLLBACK_FAILED", "ROLLBACK_SUCCEEDED", "MYSTERY"])
def test_every_end_but_succeeded_is_a_failure(status: str) -> None:
    own = operation(0, status)
    failed = judging.ended_badly(own, look(own))
    assert isinstance(failed, Failed)
    assert status in failed.reason


@pytest.mark.parametrize("status", ["SUCCEEDED", "PENDING", "IN_PROGRESS", "ROLLBACK_IN_PROGRESS"])
def test_no_failure_is_told_before_its_end(status: str) -> None:
    own = operation(0, status)
    assert judging.ended_badly(own, look(own)) is None


@pytest.mark.parametrize(
    ("status", "kind", "identifier", "auto", "same"),
    [
        ("IN_PROGRESS", "UPDATE_SERVICE", f"{REPO}@{A}", False, True),
        ("PENDING", "UPDATE_SERVICE", f"{REPO}:tag", False, True),
        ("IN_PROGRESS", "UPDATE_SERVICE", f"{REPO}@{B}", False, False),
        ("IN_PROGRESS", "UPDATE_SERVICE", f"{REPO}@{A}", True, False),
        ("IN_PROGRESS", "START_DEPLOYMENT", f"{REPO}@{A}", False, False),
        ("ROLLBACK_IN_PROGRESS", "UPDATE_SERVICE", f"{REPO}@{A}", False, False),
    ],
)
def test_what_is_under_way_has_our_target_or_not(
    status: str, kind: str, identifier: str, auto: bool, same: bool
) -> None:
    seen = look(operation(0, status, kind), identifier=identifier, Status="OPERATION_IN_PROGRESS")
    source = {**seen.source, "AutoDeploymentsEnabled": auto}
    seen = replace(seen, service={**seen.service, "SourceConfiguration": source})
    tagged = A if identifier.endswith(":tag") else ""
    flight = judging.under_way(STEP, seen, None, tagged)
    assert flight is not None
    assert flight.same_target is same


def test_our_own_update_that_is_being_reverted_is_no_longer_on_its_way_there() -> None:
    own = operation(0, "ROLLBACK_IN_PROGRESS")
    flight = judging.under_way(STEP, look(own), own, "")
    assert flight is not None
    assert not flight.same_target
    assert "reverting" in flight.what


@pytest.mark.parametrize(
    ("described", "wanted", "tagged", "same"),
    [
        (f"{REPO}:latest", f"{REPO}:latest", A, True),
        (f"{REPO}@{A}", f"{REPO}:latest", B, True),
        (f"{REPO}@{A}", f"{REPO}:latest", A, False),
        (f"{REPO}:other", f"{REPO}:latest", B, False),
        (f"{REPO}:taly-rollback-{'a' * 12}", f"{REPO}@{A}", "", True),
        (f"{REPO}:taly-rollback-{'b' * 12}", f"{REPO}@{A}", "", False),
    ],
)
def test_an_identifier_is_as_wanted_also_by_digest_once_the_tag_has_moved(
    described: str, wanted: str, tagged: str, same: bool
) -> None:
    assert judging.same_identifier(described, wanted, A, tagged) is same


@pytest.mark.parametrize(
    ("status", "reference"),
    [
        ("PAUSED", "service-paused"),
        ("OPERATION_IN_PROGRESS", "operation-in-flight"),
        ("CREATE_FAILED", "service-not-running"),
        ("HIBERNATING", "service-not-running"),
    ],
)
def test_nothing_is_sent_unless_it_runs(status: str, reference: str) -> None:
    require_running(look())
    with pytest.raises(VendorRefused) as caught:
        require_running(look(Status=status))
    assert caught.value.reference == reference
    assert "nothing was sent" in caught.value.message


def test_a_request_that_botocore_refuses_was_surely_not_sent() -> None:
    from botocore.exceptions import ParamValidationError

    with pytest.raises(VendorRefused), aws_errors("x:Y"):
        raise ParamValidationError(report="missing")


def test_a_deployment_that_could_not_be_reverted_leaves_nothing_that_is_known_to_serve() -> None:
    """The service is RUNNING then, set to the image that failed."""
    before = operation(-60, "SUCCEEDED")
    half_way = look(operation(0, "ROLLBACK_FAILED"), before)
    failed = judging.left_half_way(half_way)
    assert failed is not None
    assert "ROLLBACK_FAILED" in failed.reason
    assert judging.left_half_way(look(operation(0, "ROLLBACK_SUCCEEDED"), before)) is None
    assert judging.left_half_way(look(operation(30, "SUCCEEDED"), *half_way.operations)) is None
    paused = operation(30, "SUCCEEDED", "PAUSE_SERVICE")
    assert judging.left_half_way(look(paused, *half_way.operations)) is not None


def test_a_deleted_service_is_not_the_one_that_has_its_name_now() -> None:
    class Asked(Reader):
        def ask(self, service: str, operation: str, **request: Any) -> dict[str, Any]:
            names = {"gone": "DELETED", "here": "RUNNING"}
            return {
                "ServiceSummaryList": [
                    {"ServiceName": "backend", "ServiceArn": arn, "Status": status}
                    for arn, status in names.items()
                ]
            }

    assert Asked(AwsClients({}), "eu-central-1", SystemClock()).find("backend") == "here"


def test_cloudtrail_is_asked_more_patiently_than_the_others() -> None:
    """Three services looked at together would otherwise be unobserved for its rate limit."""
    made: dict[str, int] = {}

    class Clients(AwsClients):
        def client(self, service: str, region: str, *, attempts: int = 4) -> Any:
            made[service] = attempts
            return MagicMock()

    reader = Reader(Clients({}), "eu-central-1", SystemClock())
    reader.may_read_trail()
    reader.ask("ecr", "describe_images")
    assert made == {"cloudtrail": 7, "ecr": 4}
