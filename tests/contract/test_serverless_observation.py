"""What the provider sees: live, history, doubts; each from a fact that is easily got wrong."""

import json
from dataclasses import replace

import pytest
from serverless_rig import DEPLOYS, NAME, STACK, rig

from taly.errors import UsageError, VendorRefused, VendorUnavailable
from taly.model.environment import Component
from taly.model.release import Gone
from taly.providers.serverless import ServerlessProvider

SECRET = "SANDBOXSECRETabc123"


def test_serverless_live_is_the_directory_that_the_code_key_names() -> None:
    with rig() as aws:
        seen = aws.observe()
        stack = aws.boto("cloudformation").get_template(StackName=STACK)["TemplateBody"]
        key = stack["Resources"]["SendLambdaFunction"]["Properties"]["Code"]["S3Key"]
        assert seen.live.id in key
        assert [one.is_live for one in seen.history] == [True, False, False, False]


def test_serverless_zip_metadata_equals_code_sha256() -> None:
    with rig() as aws:
        bucket = aws.state()["bucket"]
        key = f"serverless/{NAME}/production/{aws.observe().live.id}/{NAME}.zip"
        head = aws.boto("s3").head_object(Bucket=bucket, Key=key)
        function = aws.boto("lambda").get_function(FunctionName=f"{STACK}-send")
        assert head["Metadata"]["filesha256"] == function["Configuration"]["CodeSha256"]


def test_serverless_failed_deploy_leaves_a_directory_that_was_never_live() -> None:
    with rig(({"commit": "1111111"}, {"commit": "2222222", "outcome": "failed"})) as aws:
        seen = aws.observe()
        newest = max(seen.history, key=lambda one: one.id)
        assert newest.live == ()
        assert not newest.is_live
        assert aws.commit() == "1111111"
        assert seen.live.id < newest.id


def test_serverless_after_a_rollback_the_newest_directory_is_not_live() -> None:
    with rig() as aws:
        step = aws.plan(aws.target(2))
        aws.run(step)
        aws.wait_for("UPDATE_COMPLETE")
        seen = aws.observe()
        assert seen.live.id == step.wanted["directory"]
        assert seen.history[0].id == seen.live.id
        assert max(one.id for one in seen.history) != seen.live.id
        assert len(seen.live.live) == 2


def test_serverless_late_failure_was_live_to_nobody_who_looks_at_successes() -> None:
    with rig(({"commit": "1111111"}, {"commit": "2222222", "outcome": "failed-late"})) as aws:
        assert aws.commit() == "1111111"
        assert aws.observe().live.id == min(one.id for one in aws.observe().history)


def test_serverless_hotfix_makes_the_live_deployment_ambiguous() -> None:
    with rig() as aws:
        before = aws.observe()
        aws.change(kind="hotfix", function="send")
        seen = aws.observe()
        assert seen.live.candidates == (seen.live.id,)
        assert seen.state["code"] != before.state["code"]
        assert any("deploy function" in note for note in seen.notes)
        assert before.live.candidates == ()


def test_serverless_code_of_another_directory_names_it_as_a_candidate() -> None:
    with rig(settings={"functions": ["send"]}) as aws:
        older = aws.target(1)
        key = f"serverless/{NAME}/production/{older.id}/{NAME}.zip"
        client = aws.boto("lambda")
        client.update_function_code(
            FunctionName=f"{STACK}-send", S3Bucket=aws.state()["bucket"], S3Key=key
        )
        seen = aws.observe()
        assert seen.live.candidates == (seen.live.id, older.id)


def test_serverless_console_environment_is_noted_by_name_only() -> None:
    with rig() as aws:
        aws.change(kind="environment", function="send", name="MODE", value=SECRET)
        seen = aws.observe()
        assert any("send.MODE" in note for note in seen.notes)
        assert SECRET not in repr(seen)


def test_serverless_history_is_paged_beyond_a_thousand_objects() -> None:
    with rig() as aws:
        bucket, before = aws.state()["bucket"], aws.observe()
        for number in range(1100):
            key = f"serverless/{NAME}/production/0000-other/{number:05d}"
            aws.emulator._moto.put(bucket, key, b"", "", aws.world.clock.now())
        assert aws.observe().live.id == before.live.id
        assert len(aws.observe().history) == len(DEPLOYS)
        assert len([c for c in aws.calls("S3.GET") if "continuation-token" in c.target]) >= 2


def test_serverless_prefix_of_stage_dev_does_not_take_in_dev2() -> None:
    with rig() as aws:
        bucket = aws.state()["bucket"]
        other = "1795092773786-2026-11-19T12:52:53.786Z"
        key = f"serverless/{NAME}/production2/{other}/compiled-cloudformation-template.json"
        aws.change(kind="put-object", key=key, body="{}")
        assert other not in {one.id for one in aws.observe().history}
        assert bucket


@pytest.mark.parametrize("what", ["zip", "template"])
def test_serverless_directory_without_its_artifacts_is_gone(what: str) -> None:
    with rig() as aws:
        aws.change(kind="delete-artifact", directory=1, what=what)
        history = sorted(aws.observe().history, key=lambda one: one.id)
        kinds = [one.restorable.kind for one in history]
        assert kinds == ["restorable", "gone", "restorable", "restorable"]
        gone = history[1].restorable
        assert isinstance(gone, Gone)
        assert "no longer in" in gone.reason


def test_serverless_missing_layer_makes_a_directory_gone() -> None:
    layer = {
        "Type": "AWS::Lambda::LayerVersion",
        "Properties": {"Content": {"S3Bucket": "shared-layers", "S3Key": "layer.zip"}},
    }
    with rig() as aws:
        aws.boto("s3").create_bucket(
            Bucket="shared-layers", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        bucket, target = aws.state()["bucket"], aws.target()
        key = f"serverless/{NAME}/production/{target.id}/compiled-cloudformation-template.json"
        template = json.loads(aws.boto("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
        template["Resources"]["Layer"] = layer
        aws.change(kind="put-object", key=key, body=json.dumps(template))
        found = next(one for one in aws.observe().history if one.id == target.id)
        assert found.restorable.kind == "gone"


def test_serverless_live_directory_that_was_pruned_stays_known() -> None:
    with rig() as aws:
        live = aws.observe().live.id
        aws.change(kind="delete-artifact", directory=-1, what="all")
        seen = aws.observe()
        assert seen.live.id == live
        assert seen.live.restorable.kind == "gone"


def test_serverless_shared_bucket_is_read_from_the_template() -> None:
    with rig(settings={"bucket": "shared-deployments-1"}) as aws:
        settings = {k: v for k, v in aws.component.settings.items() if k != "bucket"}
        aws.component = replace(aws.component, settings=settings)
        assert aws.observe().address["bucket"] == "shared-deployments-1"
        assert len(aws.observe().history) == len(DEPLOYS)


def test_serverless_bucket_from_ssm_is_the_last_resort() -> None:
    with rig() as aws:
        template = aws.boto("cloudformation").get_template(StackName=STACK)["TemplateBody"]
        assert "ServerlessDeploymentBucket" in template["Resources"]
        reads = aws.provider._reads(aws.plan())
        assert reads.shared_bucket() == ""
        value = json.dumps({"bucketName": "serverless-framework-deployments"})
        aws.boto("ssm").put_parameter(
            Name="/serverless-framework/deployment/s3-bucket", Value=value, Type="String"
        )
        assert reads.shared_bucket() == "serverless-framework-deployments"


def test_serverless_state_file_with_plain_secrets_is_never_read() -> None:
    with rig(({"commit": "1111111", "secrets": {"API_KEY": SECRET}},)) as aws:
        seen = aws.observe()
        assert not aws.calls("serverless-state.json")
        assert SECRET not in repr(seen)
        assert SECRET not in json.dumps(aws.emulator.state())
        assert SECRET not in repr(aws.world.journal.calls())
        assert "send.API_KEY" in seen.live.config


def test_serverless_durations_come_from_past_updates() -> None:
    with rig() as aws:
        assert aws.observe().durations_s == (45.0,) * len(DEPLOYS)


def test_serverless_update_in_flight_keeps_what_was_live() -> None:
    with rig() as aws:
        live = aws.observe().live.id
        aws.world.clock.set_speed(1)
        aws.deploy("5555555")
        seen = aws.observe()
        assert seen.live.id == live
        assert seen.in_flight[0].what.startswith("UPDATE_IN_PROGRESS")
        assert seen.live.candidates == ()


def test_serverless_commit_is_known_where_an_environment_variable_says_it() -> None:
    with rig(settings={"commit_env": "COMMIT_SHA"}) as aws:
        assert [one.commit for one in aws.observe().history] == list(reversed(DEPLOYS))


def test_serverless_blocked_stack_says_so() -> None:
    with rig() as aws:
        aws.change(kind="stack-status", status="ROLLBACK_COMPLETE")
        assert "ROLLBACK_COMPLETE" in aws.observe().blocked


def test_serverless_unknown_stack_and_missing_settings_are_told_apart() -> None:
    with rig() as aws:
        aws.component = replace(aws.component, settings={**aws.component.settings, "stage": "x"})
        with pytest.raises(VendorRefused) as refused:
            aws.observe()
        assert refused.value.reference == "stack-unknown"
        with pytest.raises(UsageError) as wrong:
            aws.provider.observe(Component(name="a", provider="serverless"))
        assert wrong.value.reference == "setting-missing"


def test_serverless_missing_credentials_are_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with rig() as aws:
        environ = {"AWS_ENDPOINT_URL": aws.environ["AWS_ENDPOINT_URL"]}
        with pytest.raises(UsageError):
            ServerlessProvider(environ, aws.clock).observe(aws.component)


def test_serverless_throttling_is_passing_and_a_403_is_final() -> None:
    with rig() as aws:
        aws.fault("refuse", call="DescribeStacks", status=403)
        with pytest.raises(VendorRefused) as refused:
            aws.observe()
        assert refused.value.reference == "aws-access-denied"
        aws.fault("refuse", call="GetTemplate", status=503, count=10)
        with pytest.raises(VendorUnavailable):
            aws.observe()


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"\xff\xfe", b'{"Resources": null}'])
def test_serverless_one_unreadable_template_hides_no_other_deployment(body: bytes) -> None:
    with rig() as aws:
        old = aws.target(2).id
        key = f"serverless/{NAME}/production/{old}/compiled-cloudformation-template.json"
        aws.boto("s3").put_object(Bucket=aws.state()["bucket"], Key=key, Body=body)
        seen = aws.observe()
        assert len(seen.history) == len(DEPLOYS)
        restorable = next(one.restorable for one in seen.history if one.id == old)
        assert restorable.kind == "barred"
