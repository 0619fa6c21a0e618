"""What CloudFormation says of a template: its changes, the capabilities it needs, its artifacts."""

import json
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from taly.sandbox.serverless.query import AwsError
from taly.sandbox.serverless.resources import Template
from taly.sandbox.serverless.stacks import Stack

NAMED = {
    "AWS::IAM::Role": "RoleName",
    "AWS::IAM::User": "UserName",
    "AWS::IAM::Group": "GroupName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
}
IAM = frozenset({*NAMED, "AWS::IAM::Policy", "AWS::IAM::InstanceProfile", "AWS::IAM::AccessKey"})
CREATE_ONLY = {
    "AWS::DynamoDB::Table": ("TableName", "KeySchema"),
    "AWS::SQS::Queue": ("QueueName", "FifoQueue"),
    "AWS::S3::Bucket": ("BucketName",),
    "AWS::SNS::Topic": ("TopicName",),
    "AWS::Logs::LogGroup": ("LogGroupName",),
    "AWS::Lambda::Function": ("FunctionName", "PackageType"),
    "AWS::IAM::Role": ("RoleName", "Path"),
}
"""Properties whose change makes CloudFormation replace the resource ("Update requires")."""


def parsed(body: str) -> Template:
    """The template as data; ValidationError if it is none."""
    try:
        template = json.loads(body) if body.lstrip().startswith("{") else yaml.safe_load(body)
    except (ValueError, yaml.YAMLError) as error:
        raise AwsError("ValidationError", "Template format error: not well-formed") from error
    if not isinstance(template, dict) or not template.get("Resources"):
        message = "Template format error: At least one Resources member must be defined."
        raise AwsError("ValidationError", message)
    return template


def bucket_and_key(url: str) -> tuple[str, str]:
    """Where a TemplateURL points, in the path style and in the virtual-hosted style."""
    parts = urlsplit(url)
    path = unquote(parts.path.lstrip("/"))
    host = parts.hostname or ""
    if ".s3" in host:
        return host.split(".s3", 1)[0], path
    bucket, _, key = path.partition("/")
    return bucket, key


def missing_capabilities(template: Template, given: tuple[str, ...]) -> str:
    """The capability that the template needs and was not given; empty = none is missing."""
    iam = [one for one in template["Resources"].values() if one["Type"] in IAM]
    named = [one for one in iam if NAMED.get(one["Type"]) in one.get("Properties", {})]
    if named and "CAPABILITY_NAMED_IAM" not in given:
        return "CAPABILITY_NAMED_IAM"
    if iam and not {"CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"} & set(given):
        return "CAPABILITY_IAM"
    if template.get("Transform") and "CAPABILITY_AUTO_EXPAND" not in given:
        return "CAPABILITY_AUTO_EXPAND"
    return ""


def differences(stack: Stack, template: Template) -> list[dict[str, Any]]:
    """The change set's listing: what would be added, modified (or replaced) and removed."""
    old, new = stack.template["Resources"], template["Resources"]
    changes = [_change("Add", name, "", new[name]) for name in new if name not in old]
    for name in new:
        if name in old and old[name] != new[name]:
            change = _change("Modify", name, stack.resources.physical_id(name), new[name])
            change["Replacement"] = "True" if _replaced(old[name], new[name]) else "False"
            change["Scope"] = ["Properties"]
            changes.append(change)
    for name in old:
        if name not in new:
            change = _change("Remove", name, stack.resources.physical_id(name), old[name])
            change["PolicyAction"] = (
                "Retain" if old[name].get("DeletionPolicy") == "Retain" else "Delete"
            )
            changes.append(change)
    return [{"Type": "Resource", "ResourceChange": change} for change in changes]


def _change(action: str, name: str, physical: str, resource: dict[str, Any]) -> dict[str, Any]:
    return {
        "Action": action,
        "LogicalResourceId": name,
        "PhysicalResourceId": physical or None,
        "ResourceType": resource["Type"],
        "Scope": [],
        "Details": [],
    }


def _replaced(old: dict[str, Any], new: dict[str, Any]) -> bool:
    before, after = old.get("Properties", {}), new.get("Properties", {})
    keys = CREATE_ONLY.get(new["Type"], ())
    return old["Type"] != new["Type"] or any(before.get(key) != after.get(key) for key in keys)
