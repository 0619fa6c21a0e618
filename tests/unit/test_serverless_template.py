"""What a template says: artifacts, removals, capabilities, the commit, and no secret."""

import json
from typing import Any

import pytest

from taly.providers.serverless import template as templates
from taly.providers.serverless.changeset import destroys, s3_host
from taly.providers.serverless.history import fingerprints

PREFIX = "serverless/mail/production/"
DIRECTORY = "1795092773786-2026-11-19T12:52:53.786Z"


def function(**more: Any) -> dict[str, Any]:
    code = {
        "S3Bucket": {"Ref": "ServerlessDeploymentBucket"},
        "S3Key": f"{PREFIX}{DIRECTORY}/m.zip",
    }
    return {
        "Type": "AWS::Lambda::Function",
        "Properties": {"FunctionName": "mail-production-send", "Code": code, **more},
    }


def template(**resources: Any) -> dict[str, Any]:
    return {"Resources": {"SendLambdaFunction": function(), **resources}}


TABLE = {"Type": "AWS::DynamoDB::Table", "Properties": {"TableName": "audit"}}


def test_serverless_artifacts_name_code_layers_and_nested_templates() -> None:
    found = templates.artifacts(
        template(
            Layer={
                "Type": "AWS::Lambda::LayerVersion",
                "Properties": {"Content": {"S3Key": "l.zip"}},
            },
            Nested={
                "Type": "AWS::CloudFormation::Stack",
                "Properties": {"TemplateURL": "https://s3.amazonaws.com/shared/nested.json"},
            },
            Joined={
                "Type": "AWS::CloudFormation::Stack",
                "Properties": {
                    "TemplateURL": {
                        "Fn::Join": ["/", ["https://s3.amazonaws.com", {"Ref": "B"}, "j.json"]]
                    }
                },
            },
        )
    )
    assert {(one.bucket, one.key) for one in found} == {
        ("", f"{PREFIX}{DIRECTORY}/m.zip"),
        ("", "l.zip"),
        ("shared", "nested.json"),
        ("", "j.json"),
    }


def test_serverless_live_directory_is_named_by_the_code_key() -> None:
    assert templates.directory_of(template(), PREFIX) == DIRECTORY
    assert templates.directory_of(template(), "serverless/mail/production2/") == ""


def test_serverless_removals_leave_out_retained_and_renewed_resources() -> None:
    live = template(
        Audit=TABLE,
        Kept={**TABLE, "DeletionPolicy": "Retain"},
        Version={"Type": "AWS::Lambda::Version"},
        ApiDeployment1={"Type": "AWS::ApiGateway::Deployment"},
    )
    assert templates.removals(live, template()) == ("AWS::DynamoDB::Table Audit",)
    assert templates.removals(template(), live) == ()


def test_serverless_removals_name_what_would_be_replaced() -> None:
    renamed = {**TABLE, "Properties": {"TableName": "audit2"}}
    assert templates.removals(template(Audit=TABLE), template(Audit=renamed)) == (
        "AWS::DynamoDB::Table Audit",
    )


def test_serverless_auto_expand_only_with_a_transform() -> None:
    assert templates.capabilities(template()) == ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"]
    macro = {**template(), "Transform": "AWS::Serverless-2016-10-31"}
    assert "CAPABILITY_AUTO_EXPAND" in templates.capabilities(macro)


def test_serverless_only_parameters_that_both_know_are_kept() -> None:
    declared = {**template(), "Parameters": {"Level": {}, "New": {}}}
    assert templates.kept_parameters(declared, ["Level", "Old"]) == [
        {"ParameterKey": "Level", "UsePreviousValue": True}
    ]


def test_serverless_commit_comes_from_the_environment() -> None:
    named = function(Environment={"Variables": {"LEVEL": "1", "COMMIT_SHA": "7d31f0c"}})
    assert templates.commit_of({"Resources": {"F": named}}) == "7d31f0c"
    hashed = function(Environment={"Variables": {"SHARD": "7d31f0c"}})
    assert templates.commit_of({"Resources": {"F": hashed}}) == ""


def test_serverless_config_fingerprints_hold_no_value_and_differ_by_salt() -> None:
    secret = template()
    secret["Resources"]["SendLambdaFunction"] = function(
        Environment={"Variables": {"API_KEY": "hunter2"}}
    )
    one, two = fingerprints(secret, b"a" * 32), fingerprints(secret, b"b" * 32)
    assert set(one) == {"send.API_KEY"}
    assert "hunter2" not in str(one)
    assert one != two


def test_serverless_template_digest_ignores_order_and_spacing() -> None:
    one = {"Resources": {"A": {"Type": "x"}, "B": {"Type": "y"}}}
    two = {"Resources": {"B": {"Type": "y"}, "A": {"Type": "x"}}}
    assert templates.digest(one) == templates.digest(two)


def test_serverless_template_digest_is_that_of_what_cloudformation_tells() -> None:
    """GetTemplate gives `?` for whatever is beyond ASCII, one or several for each letter."""
    stored = template(Topic={"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": "Grüße?"}})
    for told in ("Gr??e?", "Gr????e?"):
        shown = json.loads(json.dumps(stored, ensure_ascii=False).replace("Grüße?", told))
        assert templates.digest(shown) == templates.digest(stored)
    other = template(Topic={"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": "Gruesse?"}})
    assert templates.digest(other) != templates.digest(stored)


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({"Action": "Remove", "ResourceType": "AWS::DynamoDB::Table"}, True),
        ({"Action": "Remove", "ResourceType": "AWS::SQS::Queue", "PolicyAction": "Retain"}, False),
        ({"Action": "Remove", "ResourceType": "AWS::Lambda::Version"}, False),
        ({"Action": "Remove", "ResourceType": "AWS::Lambda::Permission"}, True),
        (
            {"Action": "Modify", "ResourceType": "AWS::DynamoDB::Table", "Replacement": "True"},
            True,
        ),
        (
            {"Action": "Modify", "ResourceType": "AWS::Lambda::Permission", "Replacement": "True"},
            False,
        ),
        (
            {"Action": "Modify", "ResourceType": "AWS::DynamoDB::Table", "Replacement": "False"},
            False,
        ),
        (
            {
                "Action": "Modify",
                "ResourceType": "AWS::DynamoDB::Table",
                "Replacement": "True",
                "PolicyAction": "ReplaceAndRetain",
            },
            False,
        ),
        (
            {
                "Action": "Modify",
                "ResourceType": "AWS::DynamoDB::Table",
                "Replacement": "True",
                "PolicyAction": "ReplaceAndDelete",
            },
            True,
        ),
        (
            {
                "Action": "Modify",
                "ResourceType": "AWS::DynamoDB::Table",
                "Replacement": "Conditional",
            },
            True,
        ),
        (
            {
                "Action": "Modify",
                "ResourceType": "AWS::Cognito::UserPoolClient",
                "Replacement": "Conditional",
            },
            False,
        ),
        ({"Action": "Add", "ResourceType": "AWS::DynamoDB::Table"}, False),
    ],
)
def test_serverless_change_set_listing_what_is_lost(change: dict[str, Any], lost: bool) -> None:
    assert destroys(change) is lost


def test_serverless_templates_in_china_are_at_china_s_s3() -> None:
    assert s3_host("eu-central-1") == "s3.eu-central-1.amazonaws.com"
    assert s3_host("cn-north-1") == "s3.cn-north-1.amazonaws.com.cn"
