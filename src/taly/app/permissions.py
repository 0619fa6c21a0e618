"""What taly must be allowed to do: AWS's actions, the vendors' tokens, PostgreSQL's rights.

AWS: which actions can be narrowed to which resources is from the Service Authorization Reference
(https://docs.aws.amazon.com/service-authorization/latest/reference/). A test compares the actions
with the calls that a rollback really makes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from taly.app.context import Context
from taly.app.rights import RIGHTS, TOKENS, Right, Token
from taly.config import SETTINGS
from taly.model.environment import Component

Part = Literal["read", "write"]
Policy = Mapping[str, object]

ANY = "*"
SERVERLESS_PARAMETER = "parameter/serverless-framework/deployment/s3-bucket"
PASSED_TO = {
    "apprunner": "build.apprunner.amazonaws.com",
    "serverless": "cloudformation.amazonaws.com",
}
"""Who takes on a role that the caller passes: the image's access role, a stack's service role."""
POLICY_LIMIT = 6144
"""Characters of a managed policy, white space not counted (IAM's quotas)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Actions of one provider that are narrowed in the same way."""

    sid: str
    part: Part
    provider: str
    actions: tuple[str, ...]
    resources: str
    """The name of what `_resources` narrows them to."""


GRANTS = (
    Grant(
        sid="ReadServices",
        part="read",
        provider="apprunner",
        actions=("apprunner:DescribeService", "apprunner:ListOperations"),
        resources="service",
    ),
    Grant(
        sid="FindServices",
        part="read",
        provider="apprunner",
        actions=("apprunner:ListServices", "cloudtrail:LookupEvents"),
        resources="any",
    ),
    Grant(
        sid="ReadImages",
        part="read",
        provider="apprunner",
        actions=("ecr:BatchGetImage", "ecr:DescribeImages", "ecr:GetLifecyclePolicy"),
        resources="repository",
    ),
    Grant(
        sid="ReadStacks",
        part="read",
        provider="serverless",
        actions=(
            "cloudformation:DescribeChangeSet",
            "cloudformation:DescribeStackEvents",
            "cloudformation:DescribeStacks",
            "cloudformation:GetTemplate",
            "cloudformation:ListChangeSets",
            "cloudformation:ListStackResources",
        ),
        resources="stack",
    ),
    Grant(
        sid="ReadFunctions",
        part="read",
        provider="serverless",
        actions=("lambda:GetFunctionConfiguration",),
        resources="function",
    ),
    Grant(
        sid="ListArtifacts",
        part="read",
        provider="serverless",
        actions=("s3:ListBucket",),
        resources="bucket",
    ),
    Grant(
        sid="ReadArtifacts",
        part="read",
        provider="serverless",
        actions=("s3:GetObject",),
        resources="object",
    ),
    Grant(
        sid="FindBucket",
        part="read",
        provider="serverless",
        actions=("ssm:GetParameter",),
        resources="parameter",
    ),
    Grant(
        sid="RollBackServices",
        part="write",
        provider="apprunner",
        actions=("apprunner:UpdateService",),
        resources="service",
    ),
    Grant(
        sid="TagImages",
        part="write",
        provider="apprunner",
        actions=("ecr:PutImage",),
        resources="repository",
    ),
    Grant(
        sid="RollBackStacks",
        part="write",
        provider="serverless",
        actions=(
            "cloudformation:ContinueUpdateRollback",
            "cloudformation:CreateChangeSet",
            "cloudformation:DeleteChangeSet",
            "cloudformation:ExecuteChangeSet",
        ),
        resources="stack",
    ),
)
"""Every AWS action that taly ever calls, but iam:PassRole, which AWS asks for by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """What one taly.toml needs."""

    read: Policy | None
    """For status, releases, plan and every preflight check; None = nothing is on AWS."""
    write: Policy | None
    """What a rollback needs besides."""
    tokens: tuple[Token, ...]
    database: tuple[Right, ...]
    remarks: tuple[str, ...]


def permissions_of(context: Context) -> Permissions:
    """What this taly.toml needs; nothing is asked of anybody."""
    components = context.environment.components
    region = context.environ.get("AWS_REGION") or context.environ.get("AWS_DEFAULT_REGION") or ""
    used = {component.provider for component in components}
    read, write = policy(components, region, "read"), policy(components, region, "write")
    return Permissions(
        read=read,
        write=write,
        tokens=tuple(token for token in TOKENS if token.provider in used),
        database=RIGHTS if "postgres" in used else (),
        remarks=tuple(_remarks(components, region, used)),
    )


def policy(components: Sequence[Component], region: str, part: Part) -> Policy | None:
    """The IAM policy for these components; None where none of them is on AWS.

    `region` is the one of components that name none; empty = any.
    """
    statements = [
        _statement(grant.sid, grant.actions, resources)
        for grant in GRANTS
        if grant.part == part and (resources := _narrowed(grant, components, region))
    ]
    passed = sorted({PASSED_TO[one.provider] for one in components if one.provider in PASSED_TO})
    if part == "write" and passed:
        condition = {"StringEquals": {"iam:PassedToService": passed}}
        passing = _statement("PassRoles", ("iam:PassRole",), [ANY])
        statements.append({**passing, "Condition": condition})
    return {"Version": "2012-10-17", "Statement": statements} if statements else None


def whole(permissions: Permissions, part: Part | None = None) -> Policy | None:
    """The part's policy; without one both parts' statements in a policy."""
    if part is not None:
        return permissions.read if part == "read" else permissions.write
    if permissions.read is None or permissions.write is None:
        return permissions.read or permissions.write
    both = [*_statements(permissions.read), *_statements(permissions.write)]
    return {"Version": "2012-10-17", "Statement": both}


def actions(policy: Policy) -> set[str]:
    """Every action that the policy allows."""
    return {action for one in _statements(policy) for action in one["Action"]}


def _statements(policy: Policy) -> list[dict[str, list[str]]]:
    statements = policy["Statement"]
    assert isinstance(statements, list)
    return statements


def _statement(sid: str, actions: Iterable[str], resources: Sequence[str]) -> dict[str, object]:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": list(resources),
    }


def _narrowed(grant: Grant, components: Sequence[Component], region: str) -> list[str]:
    """The resources that these actions need, each once, in the components' order."""
    found: dict[str, None] = {}
    for component in components:
        if component.provider == grant.provider:
            found.update(dict.fromkeys(_resources(grant.resources, component, region)))
    return [ANY] if ANY in found else list(found)


def _resources(kind: str, component: Component, default_region: str) -> Iterator[str]:
    settings = component.settings
    region = _region(component, default_region)
    bucket = settings.get("bucket") or ANY
    match kind:
        case "service":
            yield _service(settings.get("service", ""), region)
        case "repository":
            yield _arn("ecr", region, "repository/*")
        case "stack":
            yield _arn("cloudformation", region, f"stack/{_stack(settings)}/*")
        case "function":
            yield _arn("lambda", region, "function:*")
        case "bucket":
            yield f"arn:{_partition(region)}:s3:::{bucket}"
        case "object":
            yield f"arn:{_partition(region)}:s3:::{bucket}/*"
        case "parameter":
            if bucket == ANY:
                yield _arn("ssm", region, SERVERLESS_PARAMETER)
        case _:
            yield ANY


def _service(name: str, region: str) -> str:
    """App Runner names a service by its ARN, or by a name that a random id follows in the ARN."""
    return name if name.startswith("arn:") else _arn("apprunner", region, f"service/{name}/*")


def _stack(settings: Mapping[str, str]) -> str:
    return settings.get("stack") or f"{settings.get('service', '')}-{settings.get('stage', '')}"


def _region(component: Component, default: str) -> str:
    named = component.settings.get("service", "")
    if named.startswith("arn:"):
        return named.split(":")[3]
    return component.settings.get("region") or default or ANY


def _arn(service: str, region: str, resource: str) -> str:
    """Of any account: whoever the policy is given to can reach its own only."""
    return f"arn:{_partition(region)}:{service}:{region}:*:{resource}"


def _partition(region: str) -> str:
    """AWS in China and for the US government name everything differently."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def _remarks(components: Sequence[Component], region: str, used: set[str]) -> Iterator[str]:
    on_aws = [one for one in components if one.provider in PASSED_TO]
    if any(_region(one, region) == ANY for one in on_aws):
        yield "a component names no region, and neither does AWS_REGION: set one to narrow it"
    if "apprunner" in used:
        yield "images may lie in any repository of the region; narrow it to yours"
        yield "ecr:PutImage is used only where a service refuses a digest, to tag the image"
    stacks = [one for one in components if one.provider == "serverless"]
    if stacks:
        yield "functions are named by their stacks, not by taly.toml; narrow function:* to yours"
        yield (
            "CloudFormation changes a stack's resources with the caller's rights unless the stack "
            "has a role: add what your stacks contain (lambda:UpdateFunctionCode and the like)"
        )
    if any(not one.settings.get("bucket") for one in stacks):
        yield "set `bucket` on each service to narrow s3 to its deployment bucket"
    if others := sorted(used - SETTINGS.keys()):
        yield f"what a plug-in needs is its own affair: {', '.join(others)}"
