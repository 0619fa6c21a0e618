"""Whose word is taken for an artifact: the bucket's listing, the template's, or a request's."""

from datetime import UTC, datetime
from typing import Any

from taly.aws import AwsClients
from taly.providers.serverless.aws_reads import AwsReads
from taly.providers.serverless.directories import Directory
from taly.providers.serverless.history import Content, with_artifacts
from taly.providers.serverless.template import Artifact, code_digest

KEY = "serverless/mail/production/1-x/mail.zip"
VERSION = {
    "Type": "AWS::Lambda::Version",
    "Properties": {"FunctionName": {"Ref": "Send"}, "CodeSha256": "sha"},
}


class Heads(AwsReads):
    """Answers HEAD requests, and keeps what it was asked for."""

    def __init__(self, answer: str | None) -> None:
        super().__init__(AwsClients({}), "eu-central-1")
        self.answer, self.asked = answer, list[str]()

    def sha256(self, artifact: Artifact, bucket: str) -> str | None:
        self.asked.append(artifact.key)
        return self.answer


def content(reads: Heads, *versions: dict[str, Any], keys: tuple[str, ...], at: str) -> Content:
    code = {"S3Bucket": at, "S3Key": KEY}
    function = {"Type": "AWS::Lambda::Function", "Properties": {"Code": code}}
    resources = {"Send": function, **{f"V{i}": one for i, one in enumerate(versions)}}
    directory = Directory(name="1-x", at=datetime(2026, 1, 1, tzinfo=UTC), keys=keys)
    return with_artifacts(reads, "bucket", directory, {"Resources": resources})


def test_serverless_listed_artifact_whose_sha_the_template_holds_costs_no_request() -> None:
    reads = Heads("another")
    found = content(reads, VERSION, keys=(KEY,), at="bucket")
    assert (found.missing, found.code, reads.asked) == ((), code_digest({"Send": "sha"}), [])


def test_serverless_template_without_versions_has_its_artifact_asked_for() -> None:
    reads = Heads("sha")
    found = content(reads, keys=(KEY,), at="bucket")
    assert (found.missing, found.code, reads.asked) == ((), code_digest({"Send": "sha"}), [KEY])


def test_serverless_artifact_that_is_not_listed_or_lies_elsewhere_is_asked_for() -> None:
    for keys, at in (((), "bucket"), ((KEY,), "elsewhere")):
        reads = Heads(None)
        found = content(reads, VERSION, keys=keys, at=at)
        assert (found.missing, found.code, reads.asked) == ((KEY,), "", [KEY])
