"""What is read from AWS, call by call: CloudFormation, S3 (every page) and Lambda."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from taly.aws import AwsClients, aws_errors
from taly.errors import VendorRefused
from taly.providers.serverless.template import OWN_BUCKET, Artifact, Template

UNREADABLE = "template-unreadable"
MISSING = frozenset({"aws-404", "aws-no-such-key", "aws-not-found"})
EVENT_PAGES = 30
SSM_BUCKET = "/serverless-framework/deployment/s3-bucket"
AT_ONCE = 16

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the stack has made, as far as it is needed."""

    bucket: str
    names: Mapping[str, str]
    """Logical id → physical name."""


class AwsReads:
    """The read-only calls for one service's stack."""

    def __init__(self, clients: AwsClients, region: str) -> None:
        self._clients = clients
        self._region = region

    def stack(self, name: str) -> Mapping[str, Any]:
        """DescribeStacks of one stack."""
        try:
            with aws_errors(f"cloudformation:DescribeStacks {name}"):
                said = self._cloudformation.describe_stacks(StackName=name)["Stacks"]
        except VendorRefused as error:
            if "does not exist" not in error.message:
                raise
            raise VendorRefused(
                f"there is no stack {name} in {self._region}",
                reference="stack-unknown",
                hint="set service, stage, region or `stack` in taly.toml",
            ) from error
        stack: Mapping[str, Any] = said[0]
        return stack

    def template(self, stack: str) -> Template:
        """GetTemplate: the template as data."""
        with aws_errors(f"cloudformation:GetTemplate {stack}"):
            body = self._cloudformation.get_template(StackName=stack)["TemplateBody"]
        return body if isinstance(body, Mapping) else _parsed(body, stack)

    def events(self, stack: str, pages: int = EVENT_PAGES) -> list[Mapping[str, Any]]:
        """DescribeStackEvents, newest first, at most so many pages."""
        found: list[Mapping[str, Any]] = []
        with aws_errors(f"cloudformation:DescribeStackEvents {stack}"):
            paginator = self._cloudformation.get_paginator("describe_stack_events")
            for number, page in enumerate(paginator.paginate(StackName=stack), start=1):
                found += page["StackEvents"]
                if number >= pages:
                    break
        return found

    def resources(self, stack: str) -> Resources:
        """ListStackResources: physical names, and the stack's own deployment bucket."""
        names: dict[str, str] = {}
        with aws_errors(f"cloudformation:ListStackResources {stack}"):
            paginator = self._cloudformation.get_paginator("list_stack_resources")
            for page in paginator.paginate(StackName=stack):
                for one in page["StackResourceSummaries"]:
                    names[one["LogicalResourceId"]] = one.get("PhysicalResourceId", "")
        return Resources(bucket=names.get(OWN_BUCKET) or "", names=names)

    def shared_bucket(self) -> str:
        """The region's bucket of Serverless v4 and Compose, from SSM; empty if there is none."""
        client = self._clients.client("ssm", self._region)
        try:
            with aws_errors(f"ssm:GetParameter {SSM_BUCKET}"):
                value = client.get_parameter(Name=SSM_BUCKET)["Parameter"]["Value"]
        except VendorRefused:
            return ""
        try:
            return str(json.loads(value).get("bucketName", ""))
        except (ValueError, AttributeError):
            return str(value)

    def keys(self, bucket: str, prefix: str) -> list[str]:
        """ListObjectsV2, every page. The prefix ends in a slash: `dev/` is not `dev2/`."""
        with aws_errors(f"s3:ListObjectsV2 {bucket}"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            return [one["Key"] for page in pages for one in page.get("Contents", [])]

    def stored_template(self, bucket: str, key: str) -> Template | None:
        """GetObject of a compiled template; None when it is gone."""
        body = _unless_missing(lambda: self._body(bucket, key))
        return None if body is None else _parsed(body, key)

    def sha256(self, artifact: Artifact, bucket: str) -> str | None:
        """HeadObject: the artifact's sha256 in Lambda's form; None when it is gone.

        The framework keeps it as metadata; an object without is read and hashed.
        """
        where = artifact.bucket or bucket

        def head() -> Mapping[str, Any]:
            with aws_errors(f"s3:HeadObject {artifact.key}"):
                said: Mapping[str, Any] = self._s3.head_object(Bucket=where, Key=artifact.key)
                return said

        said = _unless_missing(head)
        if said is None:
            return None
        known = said.get("Metadata", {}).get("filesha256", "")
        return known or _base64_sha(self._body(where, artifact.key))

    def exists(self, artifact: Artifact, bucket: str) -> bool:
        """HeadObject: whether it is still there."""

        def head() -> bool:
            with aws_errors(f"s3:HeadObject {artifact.key}"):
                self._s3.head_object(Bucket=artifact.bucket or bucket, Key=artifact.key)
                return True

        return _unless_missing(head) or False

    def function(self, name: str) -> Mapping[str, Any]:
        """GetFunctionConfiguration; an empty mapping when there is no such function."""
        client = self._clients.client("lambda", self._region)
        try:
            with aws_errors(f"lambda:GetFunctionConfiguration {name}"):
                said: Mapping[str, Any] = client.get_function_configuration(FunctionName=name)
                return said
        except VendorRefused as error:
            if error.reference == "aws-resource-not-found-exception":
                return {}
            raise

    def change_sets(self, stack: str) -> list[str]:
        """ListChangeSets: a read that only those may make who may see change sets."""
        with aws_errors(f"cloudformation:ListChangeSets {stack}"):
            said = self._cloudformation.list_change_sets(StackName=stack)
            return [one["ChangeSetName"] for one in said["Summaries"]]

    def _body(self, bucket: str, key: str) -> bytes:
        with aws_errors(f"s3:GetObject {key}"):
            body: bytes = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            return body

    @property
    def _cloudformation(self) -> Any:
        return self._clients.client("cloudformation", self._region)

    @property
    def _s3(self) -> Any:
        return self._clients.client("s3", self._region)


def at_once(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """The results of reads made at the same time, in the items' order."""
    todo = list(items)
    if len(todo) < 2:
        return [work(item) for item in todo]
    with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(todo))) as pool:
        return list(pool.map(work, todo))


def _unless_missing(read: Callable[[], R]) -> R | None:
    try:
        return read()
    except VendorRefused as error:
        if error.reference in MISSING:
            return None
        raise


def _parsed(text: str | bytes, where: str) -> Template:
    try:
        template: Template = json.loads(text)
    except ValueError:  # its text would be part of the error: it may hold secrets
        template = {}
    if not isinstance(template, Mapping) or not isinstance(template.get("Resources"), Mapping):
        raise VendorRefused(
            f"{where} is no template in JSON, so it was not made by the Serverless Framework",
            reference=UNREADABLE,
            hint="taly status",
        )
    return template


def _base64_sha(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()
