"""What a change set needs time for, and what may happen meanwhile."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from serverless_rig import REGION, STACK, Rig, rig

from taly.errors import LeaseLost
from taly.model.ports import Failed, Wanted
from taly.providers.serverless.changeset import ChangeSets
from taly.sandbox.serverless.query import AwsError


def unseen(aws: Rig, monkeypatch: pytest.MonkeyPatch, times: int) -> list[Any]:
    """DescribeChangeSet finds nothing so many times; returns what it was asked for."""
    cloud, asked = aws.emulator._clouds[REGION], list[Any]()
    real = cloud.describe_change_set

    def describe(params: Any) -> Any:
        asked.append(params["ChangeSetName"])
        if len(asked) <= times:
            raise AwsError("ChangeSetNotFound", "ChangeSet [x] does not exist", 404)
        return real(params)

    monkeypatch.setattr(cloud, "describe_change_set", describe)
    return asked


def test_serverless_change_set_that_is_not_seen_yet_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with rig() as aws:
        asked = unseen(aws, monkeypatch, 2)
        assert isinstance(aws.run(aws.plan()), Wanted)
        assert len(asked) > 2
        assert all(one.startswith("arn:") for one in asked)  # never an older one of that name


def test_serverless_run_that_is_another_process_s_executes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may have been frozen while the change set was worked out, or right after it was read."""
    looked: list[bool] = []
    monkeypatch.setattr(ChangeSets, "_demand_consent", lambda *_: looked.append(True))

    def say(note: str, fraction: float | None = None) -> None:
        if looked:
            raise LeaseLost

    with rig() as aws:
        with pytest.raises(LeaseLost):
            aws.provider.act(aws.plan(), "run1:step", say)
        assert aws.writes() == ["CloudFormation.CreateChangeSet"]


def test_serverless_change_set_of_before_a_deploy_cannot_be_executed() -> None:
    """CloudFormation calls it OBSOLETE (DescribeChangeSet, ExecutionStatus)."""
    with rig() as aws:
        client = aws.boto("cloudformation")
        template = json.loads(json.dumps(aws.emulator._clouds[REGION].stacks[STACK].template))
        template["Description"] = "other"
        for one in template["Resources"].values():
            if one["Type"] == "AWS::Lambda::Function":
                one["Properties"]["MemorySize"] = 512
        client.create_change_set(
            StackName=STACK, ChangeSetName="old", TemplateBody=json.dumps(template),
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )  # fmt: skip
        aws.clock.sleep(6)
        aws.deploy("5555555")
        aws.wait_for("UPDATE_COMPLETE")
        said = client.describe_change_set(StackName=STACK, ChangeSetName="old")
        assert said["ExecutionStatus"] == "OBSOLETE"
        with pytest.raises(ClientError, match="InvalidChangeSetStatus"):
            client.execute_change_set(StackName=STACK, ChangeSetName="old")


def test_serverless_one_function_with_other_code_is_no_success() -> None:
    with rig() as aws:
        aws.fault("half-success")
        probe = aws.run(aws.plan())
        assert isinstance(probe, Failed)
        assert "other code" in probe.reason
        assert aws.commit() == "3333333"  # the first function's
