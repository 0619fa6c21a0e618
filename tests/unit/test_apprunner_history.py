"""The rule that says which image was live when, on operations that name none."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taly.model.release import Barred, Confidence, Gone, LivePeriod, Restorable
from taly.providers.apprunner.facts import Image, Look, Operation, Push, Records, Update
from taly.providers.apprunner.history import served
from taly.providers.apprunner.identifiers import (
    by_digest,
    canonical,
    commit_of,
    own_tag,
    parse_identifier,
)
from taly.providers.apprunner.lifecycle import expires_at
from taly.providers.apprunner.observing import Histories, blocked_by
from taly.sandbox.ecr import lifecycle_policy

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
REPO = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/backend"
A, B, C = (f"sha256:{letter * 64}" for letter in "abc")


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def operation(
    minutes: float, kind: str = "START_DEPLOYMENT", status: str = "SUCCEEDED", took: float = 5
) -> Operation:
    ended = None if status in ("IN_PROGRESS", "PENDING") else at(minutes + took)
    return Operation(
        id=f"op-{minutes:g}", type=kind, status=status, started_at=at(minutes), ended_at=ended
    )


def look(*operations: Operation, identifier: str = f"{REPO}:latest", **facts: Any) -> Look:
    """The service as it is described after these operations, given oldest first."""
    busy = any(one.unfinished for one in operations)
    source = {
        "ImageRepository": {"ImageIdentifier": identifier, "ImageRepositoryType": "ECR"},
        "AutoDeploymentsEnabled": True,
    }
    service = {
        "ServiceArn": "arn:service",
        "Status": "OPERATION_IN_PROGRESS" if busy else "RUNNING",
        "CreatedAt": at(-1000),
        "SourceConfiguration": source,
        **facts,
    }
    return Look(at=at(10000), service=service, operations=tuple(reversed(operations)))


def push(minutes: float, digest: str, tag: str = "latest") -> Push:
    return Push(at=at(minutes), tag=tag, digest=digest)


def update(minutes: float, identifier: str, operation_id: str = "") -> Update:
    return Update(at=at(minutes), operation_id=operation_id, identifier=identifier)


def digests(seen: Look, records: Records) -> list[str]:
    return [one.digest for one in served(seen, records)]


def test_a_tag_means_what_it_meant_when_the_operation_started() -> None:
    created = update(0, f"{REPO}:latest")
    records = Records(pushes=(push(0, A), push(60, B), push(120, C)), updates=(created,))
    seen = look(operation(0.1), operation(60.1))
    found = served(seen, records)
    assert [one.digest for one in found] == [A, B]
    assert {one.confidence for one in found} == {Confidence.EXACT}
    assert found[0].start == at(5.1)


def test_a_digest_is_final_whatever_the_tags_did() -> None:
    records = Records(
        pushes=(push(0, A), push(60, B)), updates=(update(30, by_digest(REPO, C), "op-30"),)
    )
    seen = look(operation(0), operation(30, "UPDATE_SERVICE"), operation(60))
    assert digests(seen, records)[:2] == [A, C]


@pytest.mark.parametrize("status", ["FAILED", "ROLLBACK_SUCCEEDED", "ROLLBACK_FAILED", "MYSTERY"])
def test_only_what_succeeded_was_a_deployment(status: str) -> None:
    records = Records(pushes=(push(0, A), push(60, B)))
    assert digests(look(operation(0), operation(60, status=status)), records) == [A]


@pytest.mark.parametrize("kind", ["PAUSE_SERVICE", "RESUME_SERVICE", "DELETE_SERVICE", "MYSTERY"])
def test_only_deploying_operations_count(kind: str) -> None:
    records = Records(pushes=(push(0, A), push(60, B)))
    assert digests(look(operation(0), operation(60, kind)), records) == [A]


def test_an_update_that_was_rolled_back_does_not_name_the_next_deployment() -> None:
    records = Records(
        pushes=(push(0, A), push(90, B)),
        updates=(update(0, f"{REPO}:latest", "op-0"), update(60, by_digest(REPO, C), "op-60")),
    )
    failed = operation(60, "UPDATE_SERVICE", "ROLLBACK_SUCCEEDED", took=15)
    seen = look(operation(0, "CREATE_SERVICE"), failed, operation(90), operation(200))
    assert digests(seen, records) == [A, B, B]


def test_a_tag_that_moves_while_the_operation_runs_is_ambiguous() -> None:
    found = served(look(operation(0.1)), Records(pushes=(push(0, A), push(3, B))))[0]
    assert found.confidence is Confidence.AMBIGUOUS
    assert found.candidates == (A, B)


def test_events_without_an_operation_id_are_matched_by_time() -> None:
    records = Records(updates=(update(0, by_digest(REPO, A)), update(30.5, by_digest(REPO, B))))
    seen = look(operation(0, "CREATE_SERVICE"), operation(30, "UPDATE_SERVICE"), operation(50))
    assert digests(seen, records)[:2] == [A, B]


def test_the_described_identifier_beats_a_trail_that_lags() -> None:
    records = Records(pushes=(push(0, A),), updates=(update(0, f"{REPO}:latest", "op-0"),))
    seen = look(
        operation(0, "CREATE_SERVICE"), operation(60, "UPDATE_SERVICE"), identifier=f"{REPO}@{B}"
    )
    assert digests(seen, records) == [A, B]


def test_while_an_operation_runs_the_described_identifier_is_only_desired() -> None:
    records = Records(pushes=(push(0, A),), updates=(update(0, f"{REPO}:latest", "op-0"),))
    under_way = operation(60, "UPDATE_SERVICE", "IN_PROGRESS")
    seen = look(operation(0, "CREATE_SERVICE"), under_way, identifier=f"{REPO}@{B}")
    assert digests(seen, records) == [A]


def test_without_a_push_on_record_the_tag_s_present_image_is_inferred() -> None:
    images = {A: Image(digest=A, tags=("latest",), pushed_at=at(-9))}
    found = served(look(operation(0)), Records(images=images))[0]
    assert (found.digest, found.confidence) == (A, Confidence.INFERRED)


def test_an_image_pushed_after_the_deployment_cannot_be_what_it_deployed() -> None:
    images = {
        A: Image(digest=A, tags=(), pushed_at=at(-9)),
        B: Image(digest=B, tags=("latest",), pushed_at=at(60)),
    }
    found = served(look(operation(0)), Records(images=images))[0]
    assert (found.digest, found.confidence) == (A, Confidence.AMBIGUOUS)


def test_nothing_known_is_said_to_be_unknown() -> None:
    histories = Histories("backend", look(operation(0)), Records())
    live, _ = histories.deployments({}, "")
    assert live.restorable == Gone(reason="nothing says which image it was")
    assert histories.newest.confidence is Confidence.AMBIGUOUS


def test_an_image_that_comes_back_has_two_periods_and_an_update_in_between_ends_none() -> None:
    records = Records(pushes=(push(0, A), push(60, B), push(120, A)))
    seen = look(operation(0), operation(60), operation(120), operation(180))
    live, history = Histories("backend", seen, records).deployments({}, "")
    assert live.id == A
    assert live.live == (
        LivePeriod(start=at(5), end=at(65)),
        LivePeriod(start=at(125), end=None),
    )
    assert [one.id for one in history] == [A, B]


def test_an_image_of_another_repository_is_barred() -> None:
    other = REPO.replace("backend", "old")
    records = Records(updates=(update(0, by_digest(other, A), "op-0"),))
    seen = look(
        operation(0, "CREATE_SERVICE"), operation(60, "UPDATE_SERVICE"), identifier=f"{REPO}@{B}"
    )
    _, history = Histories("backend", seen, records).deployments({}, "")
    old = next(one for one in history if one.id == A)
    assert isinstance(old.restorable, Barred)


def test_unknown_words_of_the_vendor_are_tolerated() -> None:
    unknown = operation(60, "TELEPORT_SERVICE", "MYSTERY")
    assert not unknown.unfinished, "it has an end"
    assert Operation(id="x", type="X", status="MYSTERY", started_at=at(0), ended_at=None).unfinished
    assert "does not know" in blocked_by(look(operation(0), Status="HIBERNATING"))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"Status": "PAUSED"}, "paused"),
        ({"Status": "CREATE_FAILED"}, "never created"),
        ({"SourceConfiguration": {"CodeRepository": {}}}, "source code"),
    ],
)
def test_what_cannot_be_changed_is_blocked(facts: dict[str, Any], said: str) -> None:
    assert said in blocked_by(look(operation(0), **facts))


@pytest.mark.parametrize(
    ("text", "tag", "digest"),
    [
        (f"{REPO}:v1.2_3", "v1.2_3", ""),
        (f"{REPO}@{A}", "", A),
        (f"{REPO}:v1@{A}", "", A),
        (REPO, "latest", ""),
        ("public.ecr.aws/x/y/z:1", "1", ""),
    ],
)
def test_identifiers_are_taken_apart(text: str, tag: str, digest: str) -> None:
    parsed = parse_identifier(text)
    assert (parsed.tag, parsed.digest) == (tag, digest)
    assert parsed.repository in (REPO, "public.ecr.aws/x/y/z")


def test_our_own_tag_stands_for_its_digest_only() -> None:
    mine = f"{REPO}:{own_tag(A)}"
    assert canonical(mine, A) == f"{REPO}@{A}"
    assert canonical(mine, B) == mine
    assert canonical(f"{REPO}:latest", A) == f"{REPO}:latest"


@pytest.mark.parametrize(
    ("tags", "commit"),
    [
        (["latest", "7d31f0c"], "7d31f0c"),
        (["7d31f0c", "7d31f0c41a2b"], "7d31f0c41a2b"),
        (["main-7d31f0c", "v2"], "7d31f0c"),
        (["20260501", "20260501123000"], ""),
        (["latest", "v1.2.3", "deadbee-fix"], ""),
    ],
)
def test_a_commit_is_read_from_the_tags(tags: list[str], commit: str) -> None:
    assert commit_of(tags) == commit


def test_lifecycle_rules_count_from_the_push() -> None:
    image = Image(digest=A, tags=("latest",), pushed_at=NOON)
    assert expires_at(lifecycle_policy(14), image) == NOON + timedelta(days=14)
    assert expires_at(lifecycle_policy(14, "untagged"), image) is None
    assert expires_at("", image) is None
    assert expires_at("not json", image) is None


def test_an_image_is_only_matched_by_its_first_rule() -> None:
    policy = """{"rules": [
        {"rulePriority": 2, "selection": {"tagStatus": "any", "countType": "sinceImagePushed",
         "countUnit": "days", "countNumber": 3}, "action": {"type": "expire"}},
        {"rulePriority": 1, "selection": {"tagStatus": "tagged", "tagPrefixList": ["rel-"],
         "countType": "imageCountMoreThan", "countNumber": 9}, "action": {"type": "expire"}}]}"""
    release = Image(digest=A, tags=("rel-1",), pushed_at=NOON)
    other = Image(digest=B, tags=("pr-1",), pushed_at=NOON)
    assert expires_at(policy, release) is None
    assert expires_at(policy, other) == NOON + timedelta(days=3)


def test_a_restorable_image_says_until_when() -> None:
    records = Records(
        pushes=(push(0, A),), images={A: Image(digest=A, tags=("latest",), pushed_at=at(0))}
    )
    live, _ = Histories("backend", look(operation(0)), records).deployments({}, lifecycle_policy(2))
    assert live.restorable == Restorable(until=at(0) + timedelta(days=2))
