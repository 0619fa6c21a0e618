"""The write: nothing is removed unannounced, nothing is written twice, nothing is believed."""

import json
from dataclasses import replace
from typing import Any

import pytest
from serverless_rig import DEPLOYS, NAME, STACK, Rig, rig

from taly.errors import VendorRefused, VendorUnavailable
from taly.model.plan import ConfigChange, ConfigChangeKind, StepKind
from taly.model.ports import Attempt, InFlight, Other, StepOptions, Wanted
from taly.providers.serverless.changeset import ALLOW, token_of

TABLE = f"{STACK}-AuditTable"
WITH_TABLE = ({"commit": "1111111"}, {"commit": "2222222", "tables": ["AuditTable"]})


def put_row(aws: Rig) -> None:
    item = {"id": {"S": "1"}}
    aws.boto("dynamodb").put_item(TableName=TABLE, Item=item)


def tables(aws: Rig) -> list[str]:
    names: list[str] = aws.boto("dynamodb").list_tables()["TableNames"]
    return names


def edit_target(aws: Rig, step: Any, **more: Any) -> Any:
    """Rewrite the target's stored template, and the step's idea of it."""
    bucket = aws.state()["bucket"]
    target = step.wanted["directory"]
    key = f"serverless/{NAME}/production/{target}/compiled-cloudformation-template.json"
    body = aws.boto("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    aws.change(kind="put-object", key=key, body=json.dumps({**json.loads(body), **more}))
    return aws.plan(next(one for one in aws.observe().history if one.id == target), allow=True)


def test_serverless_removal_is_announced_and_needs_consent() -> None:
    with rig(WITH_TABLE) as aws:
        put_row(aws)
        step, seen = aws.plan(), aws.observe()
        told = aws.provider.differences(seen, aws.target())
        assert told.removals == ("AWS::DynamoDB::Table AuditTable",)
        assert [one.code for one in aws.provider.check(step)] == ["removals-need-consent"]
        with pytest.raises(VendorRefused) as refused:
            aws.provider.act(step, "run:step")
        assert refused.value.reference == "removals-need-consent"
        assert aws.boto("dynamodb").scan(TableName=TABLE)["Count"] == 1
        assert aws.boto("cloudformation").list_change_sets(StackName=STACK)["Summaries"] == []
        assert not aws.calls("ExecuteChangeSet")


def test_serverless_agreed_removal_really_deletes_the_table() -> None:
    with rig(WITH_TABLE) as aws:
        put_row(aws)
        step = aws.plan(allow=True)
        assert aws.provider.check(step) == ()
        assert isinstance(aws.run(step), Wanted)
        aws.wait_for("UPDATE_COMPLETE")
        assert tables(aws) == []


def test_serverless_retained_table_is_no_removal_and_survives() -> None:
    kept = {
        "Type": "AWS::DynamoDB::Table",
        "DeletionPolicy": "Retain",
        "Properties": {
            "TableName": TABLE,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        },
    }
    deploys = ({"commit": "1111111"}, {"commit": "2222222", "resources": {"AuditTable": kept}})
    with rig(deploys) as aws:
        put_row(aws)
        assert isinstance(aws.run(aws.plan()), Wanted)
        aws.wait_for("UPDATE_COMPLETE")
        assert tables(aws) == [TABLE]


def test_serverless_removal_that_the_plan_did_not_announce_is_refused() -> None:
    with rig(WITH_TABLE) as aws:
        step = aws.plan(allow=True)
        silent = {key: "" for key in step.address if key.startswith("removes ")}
        step = replace(step, address={**step.address, **silent})
        with pytest.raises(VendorRefused) as refused:
            aws.provider.act(step, "run:step")
        assert refused.value.reference == "removal-unannounced"
        assert tables(aws) == [TABLE]
        assert not aws.calls("ExecuteChangeSet")


def test_serverless_undo_announces_its_own_removals() -> None:
    deploys = (
        {"commit": "1111111", "tables": ["AuditTable"]},
        {"commit": "2222222", "resources": {"AuditTable": None}},
    )
    with rig(deploys) as aws:
        step = aws.plan()
        assert aws.provider.check(step) == ()
        assert isinstance(aws.run(step), Wanted)
        aws.wait_for("UPDATE_COMPLETE")
        undo = aws.undo(step)
        assert [one.code for one in aws.provider.check(undo)] == ["removals-need-consent"]
        undo = replace(undo, address={**undo.address, ALLOW: "yes"})
        assert isinstance(aws.run(undo, "run2:step"), Wanted)


def test_serverless_only_one_write_changes_the_running_stack() -> None:
    with rig() as aws:
        aws.run(aws.plan())
        assert aws.writes() == ["CloudFormation.CreateChangeSet", "CloudFormation.ExecuteChangeSet"]


def test_serverless_change_set_has_a_name_and_token_of_our_own() -> None:
    with rig() as aws:
        aws.run(aws.plan(), "run1:roll-back:mail")
        sent = aws.calls("ExecuteChangeSet")[0].body
        token = token_of("run1:roll-back:mail")
        assert f":changeSet/{token}/" in sent["ChangeSetName"]
        assert sent["ChangeSetName"] != f"{STACK}-change-set"
        events = aws.boto("cloudformation").describe_stack_events(StackName=STACK)["StackEvents"]
        assert events[0]["ClientRequestToken"] == token


def test_serverless_tags_and_topics_of_the_stack_survive() -> None:
    with rig() as aws:
        describe = aws.boto("cloudformation").describe_stacks
        before = describe(StackName=STACK)["Stacks"][0]["Tags"]
        aws.run(aws.plan())
        assert before == [{"Key": "STAGE", "Value": "production"}]
        assert describe(StackName=STACK)["Stacks"][0]["Tags"] == before
        sent = aws.calls("CreateChangeSet")[0].body
        assert not {"Tags", "RoleARN", "NotificationARNs"} & set(sent)


def test_serverless_parameters_keep_their_previous_values() -> None:
    with rig() as aws:
        stack = aws.emulator._cloud("eu-central-1").stacks[STACK]
        stack.parameters = {"Level": "set-by-hand", "Other": "x"}
        step = aws.plan()
        declared = {"Level": {"Type": "String", "Default": "no"}}
        step = edit_target(aws, step, Parameters=declared)
        aws.run(step)
        said = aws.boto("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
        assert said["Parameters"] == [{"ParameterKey": "Level", "ParameterValue": "set-by-hand"}]


def test_serverless_template_with_a_transform_gets_auto_expand() -> None:
    with rig() as aws:
        step = edit_target(aws, aws.plan(), Transform="AWS::Serverless-2016-10-31")
        aws.run(step)
        assert "CAPABILITY_AUTO_EXPAND" in aws.calls("CreateChangeSet")[0].body["Capabilities"]


def test_serverless_old_environment_values_come_back_and_are_shown_by_name() -> None:
    deploys = (
        {"commit": "1111111", "environment": {"LEVEL": "debug", "OLD": "1"}},
        {"commit": "2222222", "environment": {"LEVEL": "info", "OLD": None, "NEW": "1"}},
    )
    with rig(deploys, settings={"functions": ["send"]}) as aws:
        told = aws.provider.differences(aws.observe(), aws.target())
        assert told.config == (
            ConfigChange(name="send.LEVEL", kind=ConfigChangeKind.CHANGED),
            ConfigChange(name="send.NEW", kind=ConfigChangeKind.REMOVED),
            ConfigChange(name="send.OLD", kind=ConfigChangeKind.ADDED),
        )
        aws.run(aws.plan())
        said = aws.boto("lambda").get_function_configuration(FunctionName=f"{STACK}-send")
        assert said["Environment"]["Variables"] == {"LEVEL": "debug", "OLD": "1"}


def test_serverless_letters_beyond_ascii_are_no_difference() -> None:
    """GetTemplate tells them as `?`, whatever runs."""
    deploys = tuple(
        {"commit": commit, "environment": {"GREETING": f"Grüße von {commit} ✓"}}
        for commit in DEPLOYS[:2]
    )
    with rig(deploys, settings={"functions": ["send"]}) as aws:
        assert not any("console" in note for note in aws.observe().notes)
        step = aws.plan()
        assert isinstance(aws.run(step), Wanted)
        said = aws.boto("lambda").get_function_configuration(FunctionName=f"{STACK}-send")
        assert said["Environment"]["Variables"] == {"GREETING": "Grüße von 1111111 ✓"}


def test_serverless_dropped_environment_is_reset() -> None:
    deploys = ({"commit": "1111111"}, {"commit": "2222222", "environment": {"LEVEL": "info"}})
    with rig(deploys) as aws:
        assert isinstance(aws.run(aws.plan()), Wanted)
        said = aws.boto("lambda").get_function_configuration(FunctionName=f"{STACK}-send")
        assert "Environment" not in said


def test_serverless_rollback_publishes_a_new_version_number() -> None:
    with rig(settings={"alias": "live"}) as aws:
        client = aws.boto("lambda")
        name = f"{STACK}-send"
        before = client.get_alias(FunctionName=name, Name="live")["FunctionVersion"]
        aws.run(aws.plan())
        after = client.get_alias(FunctionName=name, Name="live")["FunctionVersion"]
        assert (before, after) == ("4", "5")
        published = client.get_function_configuration(FunctionName=name, Qualifier="5")
        latest = client.get_function_configuration(FunctionName=name)
        assert published["CodeSha256"] == latest["CodeSha256"]


def test_serverless_notes_tell_of_force_pruning_and_what_nobody_undoes() -> None:
    deploys = tuple({"commit": str(number) * 7} for number in range(1, 6))
    with rig(deploys) as aws:
        text = " ".join(aws.provider.differences(aws.observe(), aws.target(4)).notes)
        for words in ("--force", "prunes uploads by age", "custom-domain", "new version"):
            assert words in text
        near = " ".join(aws.provider.differences(aws.observe(), aws.target(1)).notes)
        assert "prunes" not in near


def test_serverless_no_freeze_step_but_a_note() -> None:
    with rig() as aws:
        seen = aws.observe()
        steps = aws.provider.steps(seen, aws.target(), StepOptions())
        assert [one.kind for one in steps] == [StepKind.ROLL_BACK]
        assert seen.auto_deploy is None
        assert any("no freeze" in note for note in seen.notes)


def test_serverless_forecast_is_the_median_of_earlier_updates() -> None:
    with rig() as aws:
        forecast = aws.plan().forecast
        assert (forecast.seconds, forecast.basis) == (45.0, "median of 4 updates")


def test_serverless_cleanup_in_progress_is_already_live() -> None:
    with rig() as aws:
        step = aws.plan()
        aws.provider.act(step, "run:step")
        aws.world.clock.set_speed(0.001)
        aws.world.clock.advance(39)
        assert isinstance(aws.provider.probe(step, None), Wanted)
        assert aws.state()["stack"] == "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"


def test_serverless_previous_success_is_not_our_success() -> None:
    with rig() as aws:
        step = aws.plan()
        attempt = Attempt(key="run1:step", intended_at=aws.clock.now(), receipt={})
        assert aws.state()["stack"] == "UPDATE_COMPLETE"
        assert isinstance(aws.provider.probe(step, attempt), Other)


def test_serverless_lost_answer_is_adopted_by_its_token() -> None:
    with rig() as aws:
        step = aws.plan()
        aws.fault("lose-reply", call="ExecuteChangeSet")
        with pytest.raises(VendorUnavailable):
            aws.provider.act(step, "run1:step")
        aws.world.clock.set_speed(1)
        attempt = Attempt(key="run1:step", intended_at=aws.clock.now())
        probe = aws.provider.probe(step, attempt)
        assert isinstance(probe, InFlight)
        assert probe.same_target
        aws.world.clock.set_speed(200)
        assert isinstance(aws.settled(step, attempt), Wanted)
        assert len(aws.calls("ExecuteChangeSet")) == 1


def test_serverless_left_over_change_set_is_replaced() -> None:
    with rig() as aws:
        step = aws.plan()
        aws.fault("lose-request", call="ExecuteChangeSet")
        with pytest.raises(VendorUnavailable):
            aws.provider.act(step, "run1:step")
        assert isinstance(aws.provider.probe(step, None), Other)
        assert isinstance(aws.run(step, "run1:step"), Wanted)
        assert len([one for one in aws.calls("ExecuteChangeSet") if one.wrote]) == 1


def test_serverless_someone_elses_update_to_the_same_target_is_the_same() -> None:
    with rig() as aws:
        step = aws.plan()
        aws.provider.act(step, "theirs")
        aws.world.clock.advance(20)
        aws.world.clock.set_speed(1)
        probe = aws.provider.probe(step, None)
        assert isinstance(probe, InFlight)
        assert probe.same_target
        other = replace(step, wanted={**step.wanted, "directory": aws.observe().live.id})
        probe = aws.provider.probe(other, None)
        assert isinstance(probe, InFlight)
        assert not probe.same_target


def test_serverless_template_in_another_stage_is_not_touched() -> None:
    with rig() as aws:
        step = aws.plan()
        assert step.address["prefix"] == f"serverless/{NAME}/production/"
        assert step.address["stack"] == STACK
