"""What a compiled CloudFormation template says. Pure; its environment values may be secrets."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Template = Mapping[str, Any]

FUNCTION = "AWS::Lambda::Function"
VERSION = "AWS::Lambda::Version"
LAYER = "AWS::Lambda::LayerVersion"
NESTED = "AWS::CloudFormation::Stack"
OWN_BUCKET = "ServerlessDeploymentBucket"

RENEWED = frozenset({VERSION, "AWS::ApiGateway::Deployment", "AWS::ApiGatewayV2::Deployment"})
"""Types that get a new logical id with every deploy: their going is no loss."""

REBUILT = frozenset(
    {
        "AWS::ApiGateway::Method",
        "AWS::ApiGateway::Resource",
        "AWS::ApiGatewayV2::Integration",
        "AWS::ApiGatewayV2::Route",
        "AWS::Events::Rule",
        "AWS::IAM::Policy",
        "AWS::IAM::Role",
        "AWS::Lambda::Alias",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::EventSourceMapping",
        "AWS::Lambda::LayerVersion",
        "AWS::Lambda::Permission",
        "AWS::Logs::SubscriptionFilter",
        "AWS::S3::BucketPolicy",
        "AWS::SNS::Subscription",
        "AWS::SQS::QueuePolicy",
        *RENEWED,
    }
)
"""Types that hold no data and whose address nobody knows: replacing one is no loss."""

CREATE_ONLY: Mapping[str, tuple[str, ...]] = {
    "AWS::Cognito::UserPool": ("AliasAttributes", "UsernameAttributes"),
    "AWS::DynamoDB::Table": ("TableName", "KeySchema", "LocalSecondaryIndexes"),
    "AWS::Kinesis::Stream": ("Name",),
    "AWS::Lambda::Function": ("FunctionName", "PackageType"),
    "AWS::Logs::LogGroup": ("LogGroupName",),
    "AWS::S3::Bucket": ("BucketName",),
    "AWS::SNS::Topic": ("TopicName", "FifoTopic"),
    "AWS::SQS::Queue": ("QueueName", "FifoQueue"),
}
"""Properties whose change replaces the resource ("Update requires: Replacement")."""

_COMMIT_NAMES = re.compile(r"(^|_)(COMMIT|SHA|REVISION)(_|$)")
HOLDS_DATA = frozenset(CREATE_ONLY) - {FUNCTION}
"""Types that lose what they hold when they are replaced."""

_BEYOND_ASCII = re.compile(r"[^\x00-\x3e\x40-\x7f]+")
_COMMIT = re.compile(r"^[0-9a-f]{7,40}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """An object that CloudFormation or Lambda fetches when the template is applied."""

    bucket: str
    """Empty = the deployment bucket."""
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A Lambda function as a template declares it."""

    logical: str
    name: str
    """Physical name; empty where the template leaves it to CloudFormation."""
    artifact: Artifact | None
    image_sha: str
    """Digest of its container image; empty = none, or named by a tag."""
    environment: Mapping[str, Any]

    @property
    def label(self) -> str:
        """What a person calls it."""
        return self.name.rpartition("-")[2] or self.logical.removesuffix("LambdaFunction")


def resources(template: Template) -> Mapping[str, Mapping[str, Any]]:
    """Logical id → resource."""
    found: Mapping[str, Mapping[str, Any]] = template.get("Resources", {})
    return found


def functions(template: Template) -> tuple[Function, ...]:
    """The template's functions, by logical id."""
    return tuple(
        _function(logical, resource.get("Properties", {}))
        for logical, resource in sorted(resources(template).items())
        if resource.get("Type") == FUNCTION
    )


def version_shas(template: Template) -> Mapping[str, str]:
    """Function's logical id → CodeSha256, where the framework made a version of its code."""
    found = {}
    for resource in resources(template).values():
        properties = resource.get("Properties", {})
        function = properties.get("FunctionName")
        if resource.get("Type") == VERSION and isinstance(function, Mapping):
            found[str(function.get("Ref"))] = str(properties.get("CodeSha256") or "")
    return found


def artifacts(template: Template) -> tuple[Artifact, ...]:
    """Everything that must still exist for the template to be applied: code, layers, templates."""
    found: dict[Artifact, None] = {}
    for function in functions(template):
        if function.artifact:
            found[function.artifact] = None
    for resource in resources(template).values():
        properties = resource.get("Properties", {})
        if resource.get("Type") == LAYER:
            artifact = _artifact(properties.get("Content", {}))
        elif resource.get("Type") == NESTED:
            artifact = _from_url(properties.get("TemplateURL"))
        else:
            continue
        if artifact:
            found[artifact] = None
    return tuple(found)


def directory_of(template: Template, prefix: str) -> str:
    """The directory that the functions' code lies in; the newest if several; empty if none."""
    names = {
        function.artifact.key.removeprefix(prefix).split("/")[0]
        for function in functions(template)
        if function.artifact and function.artifact.key.startswith(prefix)
    }
    return max(names, default="")


def digest(template: Template) -> str:
    """sha256 of the template as CloudFormation tells it; spacing and order do not count."""
    text = json.dumps(
        template, sort_keys=True, separators=(",", ":"), default=str, ensure_ascii=False
    )
    return f"sha256:{hashlib.sha256(as_told(text).encode()).hexdigest()}"


def as_told(text: str) -> str:
    """A text as GetTemplate gives it back: `?` for everything beyond ASCII.

    aws-cloudformation/cloudformation-coverage-roadmap #814; one or several for each letter.
    """
    return _BEYOND_ASCII.sub("?", text)


def code_digest(shas: Mapping[str, str]) -> str:
    """One sha256 over the CodeSha256 of every function, by logical id."""
    text = "\n".join(f"{name}={sha}" for name, sha in sorted(shas.items()))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def commit_of(template: Template) -> str:
    """The commit that an environment variable such as COMMIT_SHA names; empty if none does."""
    for function in functions(template):
        for name, value in sorted(function.environment.items()):
            if _COMMIT_NAMES.search(name.upper()) and _COMMIT.match(str(value)):
                return str(value)
    return ""


def capabilities(template: Template) -> list[str]:
    """The capabilities that a change set for the template is given."""
    transforms = ["CAPABILITY_AUTO_EXPAND"] if template.get("Transform") else []
    return ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", *transforms]


def removals(before: Template, after: Template) -> tuple[str, ...]:
    """What going from one template to the other deletes for good: `<type> <logical id>`."""
    old, new = resources(before), resources(after)
    gone = [
        f"{resource['Type']} {logical}"
        for logical, resource in old.items()
        if logical not in new and resource["Type"] not in RENEWED and not _retained(resource)
    ]
    replaced = [
        f"{resource['Type']} {logical}"
        for logical, resource in old.items()
        if logical in new and _replaced(resource, new[logical])
    ]
    return tuple(sorted([*gone, *replaced]))


def kept_parameters(template: Template, stack: Iterable[str]) -> list[dict[str, Any]]:
    """UsePreviousValue for the parameters that both the template and the stack know."""
    declared = template.get("Parameters", {})
    return [
        {"ParameterKey": name, "UsePreviousValue": True}
        for name in sorted(stack)
        if name in declared
    ]


def _retained(resource: Mapping[str, Any]) -> bool:
    return str(resource.get("DeletionPolicy", "")).startswith("Retain")


def _replaced(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    before, after = old.get("Properties", {}), new.get("Properties", {})
    keys = CREATE_ONLY.get(str(old["Type"]), ())
    return any(before.get(key) != after.get(key) for key in keys) and not (
        str(old.get("UpdateReplacePolicy", "")).startswith("Retain")
    )


def _function(logical: str, properties: Mapping[str, Any]) -> Function:
    name = properties.get("FunctionName", "")
    code = properties.get("Code", {})
    image = code.get("ImageUri", "")
    return Function(
        logical=logical,
        name=name if isinstance(name, str) else "",
        artifact=_artifact(code),
        image_sha=image.partition("@sha256:")[2] if isinstance(image, str) else "",
        environment=properties.get("Environment", {}).get("Variables", {}),
    )


def _artifact(where: Mapping[str, Any]) -> Artifact | None:
    key, bucket = where.get("S3Key"), where.get("S3Bucket")
    if not isinstance(key, str):
        return None
    return Artifact(bucket=bucket if isinstance(bucket, str) else "", key=key)


def _from_url(url: Any) -> Artifact | None:
    """The object of a nested stack's TemplateURL, plain or as the framework's Fn::Join."""
    if isinstance(url, Mapping) and "Fn::Join" in url:
        parts = [part for part in url["Fn::Join"][1] if isinstance(part, str)]
        return Artifact(bucket="", key=parts[-1].lstrip("/")) if parts else None
    match = re.match(r"https://s3[^/]*/([^/]+)/(.+)$", url) if isinstance(url, str) else None
    return Artifact(bucket=match[1], key=match[2]) if match else None
