"""Where moto differs from AWS and a rollback would notice, the emulator is as AWS."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.session import get_session
from botocore.validate import ParamValidator
from serverless_rig import NAME, REGION, STACK, Rig, rig

from taly.model.ports import Wanted
from taly.sandbox.emulator import Deploy, SandboxComponent
from taly.sandbox.serverless import ServerlessEmulator
from taly.sandbox.world import VirtualClock, World


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def template(aws: Rig) -> dict[str, Any]:
    said = aws.boto("cloudformation").get_template(StackName=STACK)["TemplateBody"]
    return dict(json.loads(json.dumps(said)))


def statuses(aws: Rig) -> list[str]:
    """The stack's own events, oldest first."""
    pages = aws.boto("cloudformation").get_paginator("describe_stack_events")
    events = [e for page in pages.paginate(StackName=STACK) for e in page["StackEvents"]]
    return [e["ResourceStatus"] for e in reversed(events) if e["LogicalResourceId"] == STACK]


def change_set(aws: Rig, **more: Any) -> dict[str, Any]:
    given = {
        "StackName": STACK,
        "ChangeSetName": "mine",
        "ChangeSetType": "UPDATE",
        "TemplateBody": json.dumps({**template(aws), "Description": "changed"}),
        "Capabilities": ["CAPABILITY_NAMED_IAM"],
        **more,
    }
    return dict(aws.boto("cloudformation").create_change_set(**given))


def test_serverless_moto_past_deploys_keep_their_times() -> None:
    with rig() as aws:
        seeded = datetime.now(UTC) - timedelta(days=1)
        function = aws.boto("lambda").get_function_configuration(FunctionName=f"{STACK}-send")
        modified = datetime.fromisoformat(function["LastModified"])
        assert abs(modified - seeded) < timedelta(minutes=5)
        listed = aws.boto("s3").list_objects_v2(Bucket=aws.state()["bucket"])["Contents"]
        newest = max(one["LastModified"] for one in listed)
        assert abs(newest - seeded) < timedelta(minutes=5)
        described = aws.boto("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
        assert abs(described["LastUpdatedTime"] - seeded) < timedelta(minutes=5)


def test_serverless_moto_last_modified_moves_with_an_update() -> None:
    with rig() as aws:
        aws.run(aws.plan())
        function = aws.boto("lambda").get_function_configuration(FunctionName=f"{STACK}-send")
        modified = datetime.fromisoformat(function["LastModified"])
        assert timedelta(0) <= aws.world.clock.now() - modified < timedelta(minutes=10)


def test_serverless_moto_unknown_change_set_is_deleted_without_an_error() -> None:
    with rig() as aws:
        client = aws.boto("cloudformation")
        client.delete_change_set(StackName=STACK, ChangeSetName="no-such-set")
        assert not aws.calls("DeleteChangeSet")[0].wrote


def test_serverless_moto_unchanged_template_is_refused() -> None:
    with rig() as aws:
        with pytest.raises(ClientError) as refused:
            aws.boto("cloudformation").update_stack(
                StackName=STACK,
                TemplateBody=json.dumps(template(aws)),
                Capabilities=["CAPABILITY_NAMED_IAM"],
            )
        assert code(refused) == "ValidationError"
        assert "No updates are to be performed" in str(refused.value)


def test_serverless_moto_change_set_without_changes_fails() -> None:
    with rig() as aws:
        change_set(aws, TemplateBody=json.dumps(template(aws)))
        aws.world.clock.advance(10)
        said = aws.boto("cloudformation").describe_change_set(StackName=STACK, ChangeSetName="mine")
        assert said["Status"] == "FAILED"
        assert "didn't contain changes" in said["StatusReason"]


@pytest.mark.parametrize(
    ("more", "needed"),
    [({}, "CAPABILITY_NAMED_IAM"), ({"Transform": "X"}, "CAPABILITY_AUTO_EXPAND")],
)
def test_serverless_moto_capabilities_are_checked(more: dict[str, str], needed: str) -> None:
    given = [] if needed.endswith("IAM") else ["CAPABILITY_NAMED_IAM"]
    with rig() as aws:
        body = json.dumps({**template(aws), **more})
        with pytest.raises(ClientError) as refused:
            change_set(aws, TemplateBody=body, Capabilities=given)
        assert code(refused) == "InsufficientCapabilitiesException"
        assert needed in str(refused.value)


def test_serverless_moto_update_takes_its_time_and_code_changes_at_its_end() -> None:
    with rig() as aws:
        aws.world.clock.set_speed(0.001)
        aws.deploy("5555555")
        assert (aws.state()["stack"], aws.commit()) == ("UPDATE_IN_PROGRESS", "4444444")
        aws.world.clock.advance(40)
        assert aws.state()["stack"] == "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
        assert aws.commit() == "5555555"
        aws.world.clock.advance(10)
        assert statuses(aws)[-3:] == [
            "UPDATE_IN_PROGRESS",
            "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
            "UPDATE_COMPLETE",
        ]


def test_serverless_moto_failed_update_is_rolled_back() -> None:
    with rig() as aws:
        aws.deploy("5555555", outcome="failed")
        aws.wait_for("UPDATE_ROLLBACK_COMPLETE")
        assert statuses(aws)[-4:] == [
            "UPDATE_IN_PROGRESS",
            "UPDATE_ROLLBACK_IN_PROGRESS",
            "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
            "UPDATE_ROLLBACK_COMPLETE",
        ]
        assert aws.commit() == "4444444"


def test_serverless_moto_changes_during_an_update_are_refused() -> None:
    with rig() as aws:
        aws.world.clock.set_speed(0.001)
        aws.deploy("5555555")
        with pytest.raises(ClientError) as refused:
            change_set(aws)
        assert code(refused) == "ValidationError"
        assert "UPDATE_IN_PROGRESS" in str(refused.value)


def test_serverless_moto_client_token_is_honoured_and_shown() -> None:
    with rig() as aws:
        client = aws.boto("cloudformation")
        new = {**template(aws), "Resources": {**template(aws)["Resources"], "Q": queue("q")}}
        change_set(aws, TemplateBody=json.dumps(new))
        aws.world.clock.advance(10)
        for _ in range(2):
            client.execute_change_set(
                StackName=STACK, ChangeSetName="mine", ClientRequestToken="token-1"
            )
        assert [one.wrote for one in aws.calls("ExecuteChangeSet")] == [True, False]
        events = client.describe_stack_events(StackName=STACK)["StackEvents"]
        assert events[0]["ClientRequestToken"] == "token-1"


def queue(name: str) -> dict[str, Any]:
    return {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": name}}


def test_serverless_moto_resource_that_comes_back_is_made_again() -> None:
    deploys = (
        {"commit": "1111111", "tables": ["AuditTable"], "functions": ["send", "retry"]},
        {"commit": "2222222", "resources": {"AuditTable": None}, "functions": ["send"]},
    )
    with rig(deploys) as aws:
        name = f"{STACK}-retry"
        with pytest.raises(ClientError):
            aws.boto("lambda").get_function_configuration(FunctionName=name)
        assert isinstance(aws.run(aws.plan()), Wanted)
        aws.wait_for("UPDATE_COMPLETE")
        assert aws.boto("lambda").get_function_configuration(FunctionName=name)
        assert aws.boto("dynamodb").list_tables()["TableNames"] == [f"{STACK}-AuditTable"]


def test_serverless_redeploy_of_the_bad_code_after_a_rollback_is_skipped() -> None:
    with rig() as aws:
        aws.run(aws.plan())
        aws.wait_for("UPDATE_COMPLETE")
        before = aws.state()["directories"]
        aws.deploy("4444444" + "0" * 33, outcome="broken")
        assert aws.state()["last_deploy"] == "no changes to deploy"
        assert aws.state()["directories"] == before
        assert aws.commit() == "3333333"


def test_serverless_redeploy_after_a_failed_deploy_is_not_skipped() -> None:
    with rig(({"commit": "1111111"}, {"commit": "2222222", "outcome": "failed"})) as aws:
        aws.deploy("2222222")
        assert aws.state()["last_deploy"] == "deploying"


def test_serverless_pruning_goes_by_age_and_only_after_a_success() -> None:
    deploys = tuple({"commit": str(number) * 7} for number in range(1, 8))
    with rig(deploys) as aws:
        assert len(aws.state()["directories"]) == 5
        aws.deploy("8888888", outcome="failed")
        aws.wait_for("UPDATE_ROLLBACK_COMPLETE")
        assert len(aws.state()["directories"]) == 6


def test_serverless_next_deploy_may_prune_the_good_artifact() -> None:
    deploys = tuple({"commit": str(number) * 7} for number in range(1, 6))
    with rig(deploys) as aws:
        good = aws.target(4)
        aws.run(aws.plan(good))
        aws.wait_for("UPDATE_COMPLETE")
        aws.deploy("9999999")
        aws.world.clock.advance(60)
        aws.wait_for("UPDATE_COMPLETE")
        assert good.id not in aws.state()["directories"]


def test_serverless_failed_late_serves_before_it_is_taken_back() -> None:
    with rig() as aws:
        aws.world.clock.set_speed(0.001)
        aws.deploy("5555555", outcome="failed-late")
        aws.world.clock.advance(50)
        assert (aws.state()["stack"], aws.commit()) == ("UPDATE_IN_PROGRESS", "5555555")
        aws.world.clock.advance(120)
        assert (aws.state()["stack"], aws.commit()) == ("UPDATE_ROLLBACK_COMPLETE", "4444444")


def test_serverless_replies_are_valid_by_botocores_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model = get_session().get_service_model("cloudformation")
    checked: set[str] = set()
    operate = ServerlessEmulator._operate

    def checking(self: Any, cloud: Any, name: str, given: Any) -> Any:
        result, wrote = operate(self, cloud, name, given)
        shape = model.operation_model(name).output_shape
        if shape is not None:
            report = ParamValidator().validate(_without_none(result), shape)
            assert not report.has_errors(), (name, report.generate_report())
        checked.add(name)
        return result, wrote

    monkeypatch.setattr(ServerlessEmulator, "_operate", checking)
    with rig() as aws:
        aws.fault("rollback-fails")
        aws.run(aws.plan())
        client = aws.boto("cloudformation")
        client.describe_stack_resource(
            StackName=STACK, LogicalResourceId="ServerlessDeploymentBucket"
        )
        client.describe_stack_resources(StackName=STACK)
        client.list_stacks()
        client.validate_template(TemplateBody="{}")
        client.continue_update_rollback(StackName=STACK)
        aws.wait_for("UPDATE_ROLLBACK_COMPLETE")
        new = {**template(aws), "Resources": {**template(aws)["Resources"], "Q": queue("q2")}}
        change_set(aws, TemplateBody=json.dumps(new))
        client.describe_change_set(StackName=STACK, ChangeSetName="mine")
        client.list_change_sets(StackName=STACK)
        client.delete_change_set(StackName=STACK, ChangeSetName="mine")
        client.update_stack(
            StackName=STACK, TemplateBody=json.dumps(new), Capabilities=["CAPABILITY_NAMED_IAM"]
        )
    assert len(checked) == 15


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_none(inner) for inner in value]
    return value


def test_serverless_journal_names_operations_components_and_writes() -> None:
    with rig() as aws:
        bucket = aws.state()["bucket"]
        aws.boto("s3").put_object(Bucket=bucket, Key="note", Body=b"x")
        aws.boto("s3").get_object(Bucket=bucket, Key="note")
        aws.boto("lambda").get_function(FunctionName=f"{STACK}-send")
        aws.boto("ssm").put_parameter(Name="a", Value="SECRET", Type="String")
        calls = aws.calls()
        assert [(one.target.split("?")[0], one.component, one.wrote) for one in calls] == [
            (f"S3.PUT /{bucket}/note", NAME, True),
            (f"S3.GET /{bucket}/note", NAME, False),
            ("Lambda.GetFunction", NAME, False),
            ("SSM.PutParameter", "", True),
        ]


def test_serverless_seeding_five_services_four_times_is_quick() -> None:
    world = World(clock=VirtualClock(60))
    emulator = ServerlessEmulator(world)
    names = [f"{NAME}-{number}" for number in range(5)]
    world.clock.seek(datetime.now(UTC) - timedelta(days=4))
    started = time.process_time()
    for name in names:
        emulator.add(SandboxComponent(name=name, vendor="serverless"))
    for number in range(4):
        for name in names:
            world.clock.advance(600)
            emulator.deploy(Deploy(component=name, commit=f"{number}" * 7))
    assert time.process_time() - started < 1.5
    assert {one["stack"] for one in emulator.state().values()} == {"UPDATE_COMPLETE"}
    assert emulator.settings(names[0])["region"] == REGION
    assert emulator.url(names[0]) == ""
