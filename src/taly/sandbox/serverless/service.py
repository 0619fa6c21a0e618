"""What the Serverless Framework makes of a serverless.yml: the artifact, template and state."""

import base64
import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from taly.sandbox.serverless.query import iso
from taly.sandbox.serverless.resources import ALIAS, FUNCTION, VERSION, Template

TEMPLATE_FILE = "compiled-cloudformation-template.json"
STATE_FILE = "serverless-state.json"
BUCKET = "ServerlessDeploymentBucket"
ROLE = "IamRoleLambdaExecution"
ZIPPED_AT = (1980, 1, 1, 0, 0, 0)
"""The framework gives every zip entry one time, so that equal code gives an equal hash."""


@dataclass(slots=True, kw_only=True)
class Service:
    """One service in one stage: its serverless.yml as it stands in the repository now."""

    component: str
    service: str
    stage: str
    region: str
    functions: tuple[str, ...] = ("handler",)
    shared_bucket: str = ""
    """`provider.deploymentBucket`; empty = the stack has a bucket of its own."""
    alias: str = ""
    """Name of an alias for each function; empty = none."""
    commit_env: str = ""
    """Environment variable that gets the commit; empty = none does."""
    keep: int = 5
    """`maxPreviousDeploymentArtifacts`: directories kept, the newest included."""
    environment: dict[str, str] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)

    @property
    def stack(self) -> str:
        """The stack's name."""
        return f"{self.service}-{self.stage}"

    @property
    def prefix(self) -> str:
        """The key prefix of all its directories, with the trailing slash."""
        return f"serverless/{self.service}/{self.stage}/"

    def function_name(self, function: str) -> str:
        """The function's physical name."""
        return f"{self.stack}-{function}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What `serverless package` leaves behind, ready for the upload."""

    directory: str
    """`<epoch ms>-<ISO>`."""
    files: dict[str, tuple[bytes, str]]
    """File name → its bytes and its `filesha256`."""
    template: Template

    @property
    def hashes(self) -> list[str]:
        """What the framework compares with the newest directory."""
        return sorted(sha for _, sha in self.files.values())


def package(service: Service, *, commit: str, at: datetime) -> Package:
    """Build everything that a deploy at that instant uploads."""
    directory = f"{int(at.timestamp() * 1000)}-{iso(at.astimezone(UTC))}"
    artifact = zip_of(service, commit)
    sha = base64_sha(artifact)
    key = f"{service.prefix}{directory}/{service.service}.zip"
    environment = dict(service.environment)
    if service.commit_env:
        environment[service.commit_env] = commit
    template = compiled(service, key=key, sha=sha, environment=environment)
    state = {"service": {"service": service.service, "provider": {"environment": environment}}}
    return Package(
        directory=directory,
        template=template,
        files={
            TEMPLATE_FILE: (_json(template), base64_sha(_json(_normalised(template)))),
            STATE_FILE: (_json(state), base64_sha(_json(state))),
            f"{service.service}.zip": (artifact, sha),
        },
    )


def zip_of(service: Service, commit: str) -> bytes:
    """The artifact: a small handler that knows its commit, and depends on nothing else.

    Built again from the same commit it is the same, so that the framework skips the deploy.
    """
    release = json.dumps({"service": service.service, "commit": commit[:7]})
    code = (
        f"const release = {release};\n"
        "exports.run = async () => ({ statusCode: 200, body: JSON.stringify(release) });\n"
    )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("handler.js", ZIPPED_AT), code)
    return stream.getvalue()


def empty_template(service: Service) -> Template:
    """The template of the very first step of a first deploy: the bucket and nothing else."""
    if service.shared_bucket:
        return {"Resources": {ROLE: _role(service)}}
    return {"Resources": {BUCKET: _bucket()}}


def compiled(service: Service, *, key: str, sha: str, environment: dict[str, str]) -> Template:
    """The compiled CloudFormation template, in the framework's shape."""
    resources: dict[str, Any] = {} if service.shared_bucket else {BUCKET: _bucket()}
    resources[ROLE] = _role(service)
    outputs: dict[str, Any] = {}
    where: Any = service.shared_bucket or {"Ref": BUCKET}
    for function in service.functions:
        made = _function(service, function, {"S3Bucket": where, "S3Key": key}, environment)
        resources.update(made)
        mark = hashlib.sha256(f"{sha}{json.dumps(environment, sort_keys=True)}".encode())
        logical = _logical(function)
        version = f"{logical}LambdaVersion{mark.hexdigest()[:40]}"
        resources[version] = {
            "Type": VERSION,
            "DeletionPolicy": "Retain",
            "Properties": {"FunctionName": {"Ref": f"{logical}LambdaFunction"}, "CodeSha256": sha},
        }
        if service.alias:
            resources[f"{logical}LambdaAlias"] = _alias(service, logical, version)
        outputs[f"{logical}LambdaFunctionQualifiedArn"] = {"Value": {"Ref": version}}
    resources.update(service.resources)
    name = service.shared_bucket or {"Ref": BUCKET}
    outputs["ServerlessDeploymentBucketName"] = {"Value": name}
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "The AWS CloudFormation template for this Serverless application",
        "Resources": resources,
        "Outputs": outputs,
    }


def table(name: str) -> dict[str, Any]:
    """A DynamoDB table with no retention, as most serverless.yml declare theirs."""
    return {
        "Type": "AWS::DynamoDB::Table",
        "Properties": {
            "TableName": name,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        },
    }


def base64_sha(data: bytes) -> str:
    """SHA-256 in base64: the form of Lambda's CodeSha256 and of the framework's metadata."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def _normalised(template: Template) -> Template:
    copy: Template = json.loads(json.dumps(template))
    for resource in copy["Resources"].values():
        if resource["Type"] == FUNCTION:
            resource["Properties"]["Code"]["S3Key"] = ""
    return copy


def _logical(function: str) -> str:
    return "".join(part.capitalize() for part in function.replace("-", "Dash-").split("-"))


def _bucket() -> dict[str, Any]:
    rule = {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    return {
        "Type": "AWS::S3::Bucket",
        "Properties": {
            "BucketEncryption": {"ServerSideEncryptionConfiguration": [rule]},
        },
    }


def _role(service: Service) -> dict[str, Any]:
    principal = {"Service": ["lambda.amazonaws.com"]}
    statement = {"Effect": "Allow", "Principal": principal, "Action": ["sts:AssumeRole"]}
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [statement]},
            "Path": "/",
            "RoleName": f"{service.stack}-{service.region}-lambdaRole",
        },
    }


def _function(
    service: Service, function: str, code: dict[str, Any], environment: dict[str, str]
) -> dict[str, Any]:
    logical, name = _logical(function), service.function_name(function)
    properties: dict[str, Any] = {
        "Code": code,
        "Handler": "handler.run",
        "Runtime": "nodejs20.x",
        "FunctionName": name,
        "MemorySize": 1024,
        "Timeout": 6,
        "Role": {"Fn::GetAtt": [ROLE, "Arn"]},
    }
    if environment:
        properties["Environment"] = {"Variables": environment}
    return {
        f"{logical}LogGroup": {
            "Type": "AWS::Logs::LogGroup",
            "Properties": {"LogGroupName": f"/aws/lambda/{name}"},
        },
        f"{logical}LambdaFunction": {
            "Type": FUNCTION,
            "DependsOn": [f"{logical}LogGroup"],
            "Properties": properties,
        },
    }


def _alias(service: Service, logical: str, version: str) -> dict[str, Any]:
    return {
        "Type": ALIAS,
        "Properties": {
            "FunctionName": {"Ref": f"{logical}LambdaFunction"},
            "FunctionVersion": {"Fn::GetAtt": [version, "Version"]},
            "Name": service.alias,
        },
    }
