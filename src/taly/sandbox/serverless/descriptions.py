"""CloudFormation's read-only operations on stacks."""

from collections.abc import Mapping
from typing import Any

from taly.sandbox.serverless.cloudformation import EVENTS_A_PAGE, CloudFormation
from taly.sandbox.serverless.query import AwsError
from taly.sandbox.serverless.stacks import Stack

Params = Mapping[str, Any]
Result = dict[str, Any]


def describe_stacks(cloud: CloudFormation, params: Params) -> Result:
    """DescribeStacks."""
    stacks = [cloud.find(params)] if params.get("StackName") else list(cloud.stacks.values())
    return {"Stacks": [_stack(stack) for stack in stacks]}


def list_stacks(cloud: CloudFormation, params: Params) -> Result:
    """ListStacks."""
    wanted = params.get("StackStatusFilter") or []
    summaries = [
        {
            "StackId": stack.id,
            "StackName": stack.name,
            "CreationTime": stack.created,
            "LastUpdatedTime": stack.updated,
            "StackStatus": stack.status,
        }
        for stack in cloud.stacks.values()
        if not wanted or stack.status in wanted
    ]
    return {"StackSummaries": summaries}


def describe_stack_events(cloud: CloudFormation, params: Params) -> Result:
    """DescribeStackEvents: newest first, in pages."""
    events = cloud.find(params).events[::-1]
    start = int(params.get("NextToken") or 0)
    end = start + EVENTS_A_PAGE
    return {
        "StackEvents": events[start:end],
        "NextToken": str(end) if end < len(events) else None,
    }


def get_template(cloud: CloudFormation, params: Params) -> Result:
    """GetTemplate. What it says during an update is not documented: here, the new template.

    Like AWS's own it tells every character beyond ASCII as `?`
    (aws-cloudformation/cloudformation-coverage-roadmap #814).
    """
    stack = cloud.find(params)
    return {
        "TemplateBody": (stack.submitted or stack.body).encode("ascii", "replace").decode(),
        "StagesAvailable": ["Original", "Processed"],
    }


def describe_stack_resource(cloud: CloudFormation, params: Params) -> Result:
    """DescribeStackResource."""
    stack, logical = cloud.find(params), str(params["LogicalResourceId"])
    if not stack.resources.exists(logical):
        message = f"Resource {logical} does not exist for stack {stack.name}"
        raise AwsError("ValidationError", message)
    one = _resource(stack, logical)
    one["LastUpdatedTimestamp"] = one.pop("Timestamp")
    return {"StackResourceDetail": {**one, "StackId": stack.id, "StackName": stack.name}}


def describe_stack_resources(cloud: CloudFormation, params: Params) -> Result:
    """DescribeStackResources."""
    stack = cloud.find(params)
    made = [_resource(stack, name) for name in _made(stack)]
    return {
        "StackResources": [{**one, "StackId": stack.id, "StackName": stack.name} for one in made]
    }


def list_stack_resources(cloud: CloudFormation, params: Params) -> Result:
    """ListStackResources."""
    stack = cloud.find(params)
    summaries = []
    for name in _made(stack):
        one = _resource(stack, name)
        one["LastUpdatedTimestamp"] = one.pop("Timestamp")
        summaries.append(one)
    return {"StackResourceSummaries": summaries}


def validate_template(cloud: CloudFormation, params: Params) -> Result:
    """ValidateTemplate: only whether it is a template at all."""
    return {"Parameters": [], "Capabilities": [], "DeclaredTransforms": []}


def _made(stack: Stack) -> list[str]:
    return [name for name in stack.template["Resources"] if stack.resources.exists(name)]


def _resource(stack: Stack, name: str) -> dict[str, Any]:
    return {
        "LogicalResourceId": name,
        "PhysicalResourceId": stack.resources.physical_id(name) or None,
        "ResourceType": stack.template["Resources"][name]["Type"],
        "Timestamp": stack.updated or stack.created,
        "ResourceStatus": "UPDATE_COMPLETE" if stack.updated else "CREATE_COMPLETE",
    }


def _stack(stack: Stack) -> dict[str, Any]:
    return {
        "StackId": stack.id,
        "StackName": stack.name,
        "CreationTime": stack.created,
        "LastUpdatedTime": stack.updated,
        "StackStatus": stack.status,
        "StackStatusReason": stack.reason or None,
        "DisableRollback": False,
        "EnableTerminationProtection": False,
        "Capabilities": list(stack.capabilities),
        "NotificationARNs": stack.topics,
        "Parameters": [
            {"ParameterKey": name, "ParameterValue": value}
            for name, value in stack.parameters.items()
        ],
        "Tags": [{"Key": name, "Value": value} for name, value in stack.tags.items()],
        "Outputs": _outputs(stack),
        "DriftInformation": {"StackDriftStatus": "NOT_CHECKED"},
    }


def _outputs(stack: Stack) -> list[dict[str, str]]:
    outputs = []
    for name, declared in stack.template.get("Outputs", {}).items():
        value = declared.get("Value")
        if isinstance(value, dict) and "Ref" in value:
            value = stack.resources.physical_id(value["Ref"])
        elif isinstance(value, dict):
            value = stack.resources.resolved(value)
        outputs.append({"OutputKey": name, "OutputValue": str(value)})
    return outputs
