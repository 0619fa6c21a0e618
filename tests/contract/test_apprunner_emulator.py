"""The emulated App Runner, ECR and CloudTrail, asked by boto3; every reply is held to the model.

`Stage.stop` fails a test in which any reply broke botocore's service model.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from apprunner_stage import BAD, NAME, NEXT, R1, R2, R3, SECRET, SERVICE, Stage, until
from aws_shapes import operation_model, problems
from botocore.exceptions import ClientError

from taly.sandbox.emulator import Deploy, SandboxComponent
from taly.sandbox.process import backend_command


@pytest.fixture
def stage() -> Iterator[Stage]:
    one = Stage().run()
    yield one
    one.stop()


@contextmanager
def staged(settings: dict[str, Any], **more: Any) -> Iterator[Stage]:
    one = Stage(settings, **more).run()
    yield one
    one.stop()


@pytest.fixture
def app_runner(stage: Stage) -> Any:
    return stage.client("apprunner")


@pytest.fixture
def ecr(stage: Stage) -> Any:
    return stage.client("ecr")


def described(stage: Stage) -> dict[str, Any]:
    service = stage.client("apprunner").describe_service(ServiceArn=stage.arn)["Service"]
    assert isinstance(service, dict)
    return service


def source_with(stage: Stage, identifier: str, **changes: Any) -> dict[str, Any]:
    source: dict[str, Any] = described(stage)["SourceConfiguration"]
    source["ImageRepository"]["ImageIdentifier"] = identifier
    return {**source, **changes}


def update(stage: Stage, commit: str, **changes: Any) -> str:
    identifier = f"{stage.uri}@{stage.digest(commit)}"
    client = stage.client("apprunner")
    source = source_with(stage, identifier, **changes)
    answer = client.update_service(ServiceArn=stage.arn, SourceConfiguration=source)
    return str(answer.get("OperationId", ""))


def operation(stage: Stage, operation_id: str) -> dict[str, Any]:
    listed = stage.service["operations"]
    found: dict[str, Any] = next(one for one in listed if one["Id"] == operation_id)
    return found


def refused(call: Any, **request: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**request)
    return str(caught.value.response["Error"]["Code"])


# The API's shape


def test_the_validator_sees_missing_unknown_and_mistyped_members() -> None:
    shape = operation_model("apprunner", "StartDeployment").output_shape
    good = "0f8fad5b-d9cb-469f-a165-70867728950e"
    assert list(problems(shape, {"OperationId": good}, "reply")) == []
    assert list(problems(shape, {}, "reply")) == ["reply.OperationId: missing"]
    assert list(problems(shape, {"OperationId": 5}, "reply"))
    assert list(problems(shape, {"OperationId": good, "Image": "x"}, "reply"))


def test_every_operation_answers_as_its_model_says(stage: Stage) -> None:
    app_runner, ecr, trail = (stage.client(one) for one in ("apprunner", "ecr", "cloudtrail"))
    stage.emulator.change(NAME, {"kind": "lifecycle", "days": 60})
    service = app_runner.list_services()["ServiceSummaryList"][0]["ServiceArn"]
    app_runner.describe_service(ServiceArn=service)
    app_runner.list_operations(ServiceArn=service, MaxResults=2)
    app_runner.list_tags_for_resource(ResourceArn=service)
    ecr.describe_repositories()
    ecr.describe_images(repositoryName=SERVICE)
    ecr.list_images(repositoryName=SERVICE)
    ecr.get_lifecycle_policy(repositoryName=SERVICE)
    ids = [{"imageTag": R2[:12]}, {"imageTag": "none"}, {"imageDigest": "sha256:00"}]
    image = ecr.batch_get_image(repositoryName=SERVICE, imageIds=ids)["images"][0]
    ecr.put_image(
        repositoryName=SERVICE, imageManifest=image["imageManifest"], imageTag="kept-by-hand"
    )
    trail.lookup_events()
    update(stage, R3)
    stage.rested()
    app_runner.start_deployment(ServiceArn=service)
    stage.rested()
    for switch in (app_runner.pause_service, app_runner.resume_service, app_runner.delete_service):
        switch(ServiceArn=service)
        stage.rested()
    assert {one.partition(":")[2] for one in stage.replies.checked} == {
        *("ListServices", "DescribeService", "ListOperations", "ListTagsForResource"),
        *("UpdateService", "StartDeployment", "PauseService", "ResumeService", "DeleteService"),
        *("DescribeRepositories", "DescribeImages", "ListImages", "GetLifecyclePolicy"),
        *("BatchGetImage", "PutImage", "LookupEvents"),
    }


def test_a_service_can_be_created_by_the_api(stage: Stage, app_runner: Any) -> None:
    image = {"ImageIdentifier": f"{stage.uri}:{R2[:12]}", "ImageRepositoryType": "ECR"}
    made = app_runner.create_service(
        ServiceName="another", SourceConfiguration={"ImageRepository": image}
    )
    arn = made["Service"]["ServiceArn"]
    assert made["Service"]["Status"] == "OPERATION_IN_PROGRESS"

    def status() -> str:
        return str(app_runner.describe_service(ServiceArn=arn)["Service"]["Status"])

    until(lambda: status() == "RUNNING")
    assert R2 in str(stage.emulator.state()["services"]["another"])


def test_errors_carry_their_type(stage: Stage, app_runner: Any, ecr: Any) -> None:
    missing = stage.arn.replace(SERVICE, "nothing")
    assert refused(app_runner.describe_service, ServiceArn=missing) == "ResourceNotFoundException"
    assert refused(app_runner.list_auto_scaling_configurations) == "UnknownOperationException"
    wrong = source_with(stage, "not an image")
    code = refused(app_runner.update_service, ServiceArn=stage.arn, SourceConfiguration=wrong)
    assert code == "InvalidRequestException"
    assert refused(ecr.describe_images, repositoryName="none") == "RepositoryNotFoundException"
    code = refused(ecr.get_lifecycle_policy, repositoryName=SERVICE)
    assert code == "LifecyclePolicyNotFoundException"
    code = refused(ecr.put_image, repositoryName=SERVICE, imageManifest="{}", imageTag="x")
    assert code == "LayersNotFoundException"


def test_operations_come_newest_first_in_pages_of_at_most_twenty(
    stage: Stage, app_runner: Any
) -> None:
    first = app_runner.list_operations(ServiceArn=stage.arn, MaxResults=3)
    second = app_runner.list_operations(
        ServiceArn=stage.arn, MaxResults=3, NextToken=first["NextToken"]
    )
    listed = [*first["OperationSummaryList"], *second["OperationSummaryList"]]
    starts = [one["StartedAt"] for one in listed]
    assert starts == sorted(starts, reverse=True)
    assert len(listed) == len({one["Id"] for one in listed}) == 4
    assert "NextToken" not in second
    code = refused(app_runner.list_operations, ServiceArn=stage.arn, NextToken="made-up")
    assert code == "InvalidRequestException"
    assert not any("Image" in key for one in listed for key in one)


# Operations in time


def test_an_update_shows_the_desired_image_while_the_old_one_serves(stage: Stage) -> None:
    with stage.still():
        operation_id = update(stage, R3)
        service = described(stage)
        assert service["Status"] == "OPERATION_IN_PROGRESS"
        image = service["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"]
        assert image.endswith(stage.digest(R3))
        assert stage.version() == BAD
    stage.rested()
    assert stage.version() == R3
    done = operation(stage, operation_id)
    assert done["Status"] == "SUCCEEDED"
    assert done["EndedAt"] - done["StartedAt"] >= 300


def test_any_change_during_an_operation_is_refused(stage: Stage, app_runner: Any) -> None:
    with stage.still():
        update(stage, R3)
        source = source_with(stage, f"{stage.uri}:x")
        calls: list[tuple[Any, dict[str, Any]]] = [
            (app_runner.update_service, {"SourceConfiguration": source}),
            (app_runner.start_deployment, {}),
            (app_runner.pause_service, {}),
            (app_runner.resume_service, {}),
            (app_runner.delete_service, {}),
        ]
        for call, request in calls:
            code = refused(call, ServiceArn=stage.arn, **request)
            assert code == "InvalidStateException"


def test_a_failed_update_takes_image_and_configuration_back(stage: Stage) -> None:
    stage.fault("health-fail")
    before = described(stage)["SourceConfiguration"]
    changed = source_with(stage, f"{stage.uri}@{stage.digest(R3)}", AutoDeploymentsEnabled=False)
    variables = changed["ImageRepository"]["ImageConfiguration"]["RuntimeEnvironmentVariables"]
    variables["NEW"] = "1"
    client = stage.client("apprunner")
    with stage.still():
        answer = client.update_service(ServiceArn=stage.arn, SourceConfiguration=changed)
        stage.world.clock.advance(700)
        reverting = operation(stage, answer["OperationId"])
        assert reverting["Status"] == "ROLLBACK_IN_PROGRESS"
    stage.rested()
    done = operation(stage, answer["OperationId"])
    assert done["Status"] == "ROLLBACK_SUCCEEDED"
    assert done["EndedAt"] - done["StartedAt"] == 900
    service = described(stage)
    assert service["Status"] == "RUNNING"
    assert service["SourceConfiguration"] == before
    assert stage.version() == BAD


def test_a_process_that_dies_is_a_failed_deployment(stage: Stage) -> None:
    stage.deploy("dead" * 10)
    stage.rested()
    assert stage.service["operations"][0]["Status"] == "ROLLBACK_SUCCEEDED"
    assert stage.version() == BAD


def test_a_broken_app_that_listens_passes_the_tcp_health_check(stage: Stage) -> None:
    stage.deploy(NEXT, "broken")
    stage.rested()
    assert stage.service["operations"][0]["Status"] == "SUCCEEDED"
    assert stage.page()[0] == 500


def test_a_broken_app_fails_an_http_health_check() -> None:
    check = {"Protocol": "HTTP", "Path": "/health"}
    with staged({"health_check": check}) as stage:
        assert stage.version() == R3, "the bad release was reverted while history was seeded"
        stage.deploy(NEXT, "broken")
        stage.rested()
        assert stage.service["operations"][0]["Status"] == "ROLLBACK_SUCCEEDED"
        assert stage.version() == R3


def test_a_late_failure_serves_for_a_while(stage: Stage) -> None:
    with stage.still():
        stage.deploy(NEXT, "failed-late")
        stage.world.clock.advance(400)
        until(lambda: stage.version() == NEXT)
        assert stage.service["status"] == "OPERATION_IN_PROGRESS"
    stage.rested()
    assert stage.version() == BAD


def test_pausing_stops_serving_and_resuming_starts_it(stage: Stage, app_runner: Any) -> None:
    app_runner.pause_service(ServiceArn=stage.arn)
    stage.rested()
    assert stage.service["status"] == "PAUSED"
    assert stage.page()[0] == 503
    source = source_with(stage, f"{stage.uri}:latest")
    code = refused(app_runner.update_service, ServiceArn=stage.arn, SourceConfiguration=source)
    assert code == "InvalidStateException"
    app_runner.resume_service(ServiceArn=stage.arn)
    stage.rested()
    assert stage.version() == BAD


# Tags, digests and pushes


def test_a_push_of_the_tracked_tag_deploys(stage: Stage) -> None:
    stage.deploy(NEXT)
    stage.rested()
    assert stage.service["operations"][0]["Type"] == "START_DEPLOYMENT"
    assert stage.version() == NEXT


def test_a_service_set_to_a_digest_ignores_pushes(stage: Stage) -> None:
    update(stage, R3)
    stage.rested()
    assert stage.service["auto_deploy"]
    operations = len(stage.service["operations"])
    stage.deploy(NEXT)
    assert len(stage.service["operations"]) == operations
    assert stage.version() == R3


def test_nothing_deploys_while_auto_deploy_is_off(stage: Stage) -> None:
    stage.emulator.change(NAME, {"kind": "auto-deploy", "enabled": False})
    stage.rested()
    operations = len(stage.service["operations"])
    stage.deploy(NEXT)
    assert len(stage.service["operations"]) == operations


@pytest.mark.parametrize(("switch", "served"), [("dropped", BAD), ("queued", NEXT)])
def test_a_push_during_an_operation(switch: str, served: str) -> None:
    with staged({"pushes_during_operation": switch}) as stage:
        with stage.still():
            stage.emulator.change(NAME, {"kind": "env", "set": {"A": "1"}})
            stage.world.clock.advance(65)  # the tag is resolved a minute after the start
            assert stage.service["operations"][0]["Status"] == "IN_PROGRESS"
            stage.deploy(NEXT)
        until(lambda: stage.rested().version() == served)
        count = len([one for one in stage.service["operations"] if one["Type"] != "CREATE_SERVICE"])
        assert count == (5 if switch == "queued" else 4)


def test_a_tag_is_resolved_when_the_image_is_pulled(stage: Stage) -> None:
    stage.fault("concurrent-push", call="UpdateService", settings={"commit": NEXT, "outcome": "ok"})
    source = source_with(stage, f"{stage.uri}:latest")
    stage.client("apprunner").update_service(ServiceArn=stage.arn, SourceConfiguration=source)
    stage.rested()
    assert stage.version() == NEXT


def test_moving_a_tag_leaves_the_old_image_untagged(stage: Stage, ecr: Any) -> None:
    before = stage.digest(R3)
    stage.deploy(R3)
    stage.rested()
    images = ecr.describe_images(repositoryName=SERVICE)["imageDetails"]
    old = next(one for one in images if one["imageDigest"] == before)
    assert "imageTags" not in old
    untagged = ecr.list_images(repositoryName=SERVICE, filter={"tagStatus": "UNTAGGED"})
    assert untagged["imageIds"] == [{"imageDigest": before}]


def test_a_missing_image_is_a_failure_entry_and_no_error(stage: Stage, ecr: Any) -> None:
    digest = stage.digest(R2)
    stage.emulator.change(NAME, {"kind": "expire-image", "commit": R2})
    answer = ecr.batch_get_image(repositoryName=SERVICE, imageIds=[{"imageDigest": digest}])
    assert answer["images"] == []
    assert answer["failures"][0]["failureCode"] == "ImageNotFound"
    code = refused(ecr.describe_images, repositoryName=SERVICE, imageIds=[{"imageDigest": digest}])
    assert code == "ImageNotFoundException"


def test_putting_a_tag_that_is_there_already_says_so(stage: Stage, ecr: Any) -> None:
    ids = [{"imageTag": R2[:12]}]
    image = ecr.batch_get_image(repositoryName=SERVICE, imageIds=ids)["images"][0]
    manifest = image["imageManifest"]
    ecr.put_image(repositoryName=SERVICE, imageManifest=manifest, imageTag="again")
    code = refused(ecr.put_image, repositoryName=SERVICE, imageManifest=manifest, imageTag="again")
    assert code == "ImageAlreadyExistsException"


def test_a_lifecycle_policy_expires_by_push_time(stage: Stage) -> None:
    stage.emulator.change(NAME, {"kind": "lifecycle", "days": 7})
    assert set(stage.images) == {R2, R3, BAD}
    stage.emulator.change(NAME, {"kind": "lifecycle", "days": 5, "tag_status": "untagged"})
    assert set(stage.images) == {R2, R3, BAD}


# Configuration


@pytest.mark.parametrize("switch", ["wiped", "kept"])
def test_an_omitted_image_configuration(switch: str) -> None:
    with staged({"image_configuration": switch}) as stage:
        image = {
            "ImageIdentifier": f"{stage.uri}@{stage.digest(R3)}",
            "ImageRepositoryType": "ECR",
        }
        stage.client("apprunner").update_service(
            ServiceArn=stage.arn, SourceConfiguration={"ImageRepository": image}
        )
        stage.rested()
        assert stage.service["operations"][0]["Status"] == "SUCCEEDED"
        assert ("STRIPE_KEY" in stage.page()[1]["env"]) == (switch == "kept")
        assert stage.service["auto_deploy"], "an omitted setting keeps its value"


def test_digest_identifiers_can_be_refused() -> None:
    with staged({"digest_identifiers": "refused"}) as stage:
        source = source_with(stage, f"{stage.uri}@{stage.digest(R3)}")
        code = refused(
            stage.client("apprunner").update_service,
            ServiceArn=stage.arn,
            SourceConfiguration=source,
        )
        assert code == "InvalidRequestException"


def test_console_changes_are_updates(stage: Stage) -> None:
    stage.emulator.change(NAME, {"kind": "env", "set": {"LOG": "debug"}, "unset": ["NODE_ENV"]})
    stage.rested()
    env = stage.page()[1]["env"]
    assert "LOG" in env
    assert "NODE_ENV" not in env
    stage.emulator.change(NAME, {"kind": "update", "commit": R2})
    stage.rested()
    assert stage.version() == R2


# CloudTrail


def events(stage: Stage, **request: Any) -> list[dict[str, Any]]:
    found = stage.client("cloudtrail").lookup_events(**request)["Events"]
    assert isinstance(found, list)
    return found


def named(name: str) -> list[dict[str, str]]:
    return [{"AttributeKey": "EventName", "AttributeValue": name}]


def test_the_trail_tells_pushes_with_tag_and_digest(stage: Stage) -> None:
    found = events(stage, LookupAttributes=named("PutImage"))
    assert [one["EventTime"] for one in found] == sorted(
        (one["EventTime"] for one in found), reverse=True
    )
    latest = json.loads(found[0]["CloudTrailEvent"])
    image = latest["responseElements"]["image"]["imageId"]
    assert image["imageDigest"] == stage.digest(BAD)
    assert image["imageTag"] in ("latest", BAD[:12])


def test_the_trail_tells_updates_and_hides_variables(stage: Stage) -> None:
    operation_id = update(stage, R3)
    record = json.loads(
        events(stage, LookupAttributes=named("UpdateService"))[0]["CloudTrailEvent"]
    )
    repository = record["requestParameters"]["sourceConfiguration"]["imageRepository"]
    assert repository["imageIdentifier"] == f"{stage.uri}@{stage.digest(R3)}"
    hidden = repository["imageConfiguration"]["runtimeEnvironmentVariables"]
    assert hidden == "HIDDEN_DUE_TO_SECURITY_REASONS"
    assert record["responseElements"]["operationId"] == operation_id
    assert record["eventSource"] == "apprunner.amazonaws.com"
    assert SECRET not in json.dumps(record)


def test_the_trail_takes_one_attribute_and_pages_of_at_most_fifty(stage: Stage) -> None:
    client = stage.client("cloudtrail")
    two = [*named("PutImage"), *named("UpdateService")]
    code = refused(client.lookup_events, LookupAttributes=two)
    assert code == "InvalidLookupAttributesException"
    first = client.lookup_events(MaxResults=5)
    assert len(first["Events"]) == 5
    second = client.lookup_events(MaxResults=5, NextToken=first["NextToken"])
    ids = {one["EventId"] for one in [*first["Events"], *second["Events"]]}
    assert len(ids) == 10


def test_the_trail_lags_when_told_to_and_forgets_after_ninety_days() -> None:
    with staged({"cloudtrail_lag_s": 1e9}) as stage:
        assert events(stage) == []
    one = Stage(seeds=((89.9, R1, "ok"),)).run()
    assert events(one)
    one.world.clock.advance(timedelta(days=1).total_seconds())
    assert events(one) == []
    one.stop()


# Faults, secrets, processes


def test_maintenance_puts_the_service_in_progress_without_an_operation(stage: Stage) -> None:
    with stage.still():
        stage.fault("maintenance", call="DescribeService", seconds=600)
        assert described(stage)["Status"] == "OPERATION_IN_PROGRESS"
        statuses = {one["Status"] for one in stage.service["operations"]}
        assert "IN_PROGRESS" not in statuses
    stage.rested()
    assert described(stage)["Status"] == "RUNNING"


def test_the_operation_id_can_be_lost(stage: Stage) -> None:
    stage.fault("lost-operation-id")
    stage.replies.forgiven.add("UpdateService.OperationId: missing")
    assert update(stage, R3) == ""
    stage.rested()
    assert stage.version() == R3


def test_a_false_success_still_serves_the_old_image(stage: Stage) -> None:
    stage.fault("false-success")
    operation_id = update(stage, R3)
    stage.rested()
    assert operation(stage, operation_id)["Status"] == "SUCCEEDED"
    assert stage.version() == BAD


def test_a_stuck_operation_stays_as_long_as_told(stage: Stage) -> None:
    stage.fault("operation-stuck", seconds=2000)
    with stage.still():
        operation_id = update(stage, R3)
        stage.world.clock.advance(2200)
        assert operation(stage, operation_id)["Status"] == "IN_PROGRESS"
        stage.world.clock.advance(200)
        until(lambda: operation(stage, operation_id)["Status"] == "ROLLBACK_SUCCEEDED")


def test_access_can_be_denied(stage: Stage, ecr: Any) -> None:
    stage.fault("access-denied", call="ECR.BatchGetImage")
    ids = [{"imageTag": "latest"}]
    code = refused(ecr.batch_get_image, repositoryName=SERVICE, imageIds=ids)
    assert code == "AccessDeniedException"


def test_the_journal_knows_writes_and_holds_no_secret(stage: Stage) -> None:
    update(stage, R3)
    wrote = [one.target for one in stage.calls() if one.wrote]
    assert wrote == ["AppRunner.UpdateService"]
    assert all(one.component == NAME for one in stage.calls("AppRunner.Update"))
    for text in (json.dumps([one.body for one in stage.calls()]), str(stage.emulator.state())):
        assert SECRET not in text


def test_unknown_settings_and_changes_are_mistakes(stage: Stage) -> None:
    with pytest.raises(ValueError, match="speling"):
        stage.emulator.add(SandboxComponent(name="x", vendor="apprunner", settings={"speling": 1}))
    with pytest.raises(ValueError, match="no console change"):
        stage.emulator.change(NAME, {"kind": "dance"})


def test_stopping_ends_every_child_process() -> None:
    with staged({}) as stage:
        with stage.still():
            update(stage, R3)
            stage.world.clock.advance(100)
            fleet = stage.emulator._fleet
            until(lambda: len(fleet.processes()) == 2)
            children = fleet.processes()
        stage.emulator.stop()
        assert all(child.ended for child in children)


def test_the_real_backend_runs_as_an_image(postgres_url: str) -> None:
    one = Stage({"env": {"DATABASE_URL": postgres_url}}, command=backend_command).run()
    status, body = one.page()
    assert (status, body["version"]) == (500, BAD)
    one.stop()


def test_a_failed_deploy_of_the_past_never_served() -> None:
    one = Stage(seeds=((3, R1, "ok"), (2, R2, "failed"))).run()
    assert one.version() == R1
    assert [op["Status"] for op in one.service["operations"]] == ["ROLLBACK_SUCCEEDED", "SUCCEEDED"]
    one.stop()


def test_a_first_deploy_that_fails_leaves_create_failed() -> None:
    one = Stage(seeds=((3, R1, "failed"),)).run()
    assert one.service["status"] == "CREATE_FAILED"
    one.emulator.deploy(Deploy(component=NAME, commit=R2))
    one.stop()
