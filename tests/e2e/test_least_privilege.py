"""What `taly permissions` says is what taly really calls: no less, and no more."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from taly.app.permissions import NEEDS
from taly.errors import ExitCode
from tests.e2e.conftest import Sandbox
from tests.e2e.test_json_docs import check

ROOT = Path(__file__).parents[2]
SERVICES = {
    "AppRunner": "apprunner",
    "ECR": "ecr",
    "CloudTrail": "cloudtrail",
    "CloudFormation": "cloudformation",
    "Lambda": "lambda",
    "SSM": "ssm",
    "IAM": "iam",
    "STS": "sts",
}
S3_READS = {"s3:GetObject", "s3:ListBucket"}
"""S3's requests are told apart by their query; a HEAD needs GetObject."""
ONLY_SOMETIMES = {
    "ecr:PutImage": "put_image",
    "cloudformation:DeleteChangeSet": "delete_change_set",
    "cloudformation:ContinueUpdateRollback": "continue_update_rollback",
    "ssm:GetParameter": "get_parameter",
}
"""Not called in an ordinary rollback: the method in the code that calls it."""
NEEDS_NONE = {"sts:GetCallerIdentity"}
"""AWS asks for no permission here, and denies it to nobody."""
BY_AWS = {"iam:PassRole"}
"""Asked of the caller by App Runner and CloudFormation, when there is a role."""


def allowed(policy: Any) -> set[str]:
    """The actions of a policy."""
    return {action for statement in policy["Statement"] for action in statement["Action"]}


def called(box: Sandbox) -> Iterator[tuple[str, bool]]:
    """Every AWS action that was called, and whether it wrote."""
    for call in box.control.calls():
        service, _, operation = call["target"].partition(".")
        if service in SERVICES:
            yield f"{SERVICES[service]}:{operation}", call["wrote"]


def test_the_policies_are_what_a_rollback_calls(sandbox: Callable[..., Sandbox]) -> None:
    box = sandbox("taly-small", 300.0)
    for command in (["status"], ["init", "--no-input", "--output", "other.toml", "."]):
        box.taly(*command)
    done = box.taly("rollback", "--yes", "--json")
    assert done.returncode == ExitCode.OK, done.stderr
    said = json.loads(box.taly("permissions", "--json").stdout)
    check("permissions", said)
    read, write, check_ = (allowed(said[part]) for part in ("read", "write", "check"))
    reads = {action for action, wrote in called(box) if not wrote}
    writes = {action for action, wrote in called(box) if wrote}
    assert reads >= NEEDS_NONE | check_, "the plan did not ask what is allowed"
    assert reads - write - check_ - NEEDS_NONE <= read, "called, and not in the first policy"
    assert writes <= write, "called, and not in the second policy"
    unused = (read | write | check_) - reads - writes - S3_READS - BY_AWS
    assert unused == set(ONLY_SOMETIMES), "in a policy, and never called"
    told_of(box, json.loads(done.stdout)["run"])


def told_of(box: Sandbox, run: str) -> None:
    """The run's report and the figures, from a real run: whole, and without a secret."""
    page = box.directory / "report.html"
    assert box.taly("report", run, "-o", str(page)).returncode == ExitCode.OK
    markdown = box.taly("report", run).stdout
    document = box.taly("report", run, "--json").stdout
    assert "Succeeded" in markdown
    assert json.loads(document)["times"]["restore_s"] > 0
    for text in (page.read_text("utf-8"), markdown, document):
        assert "SANDBOXSECRET" not in text
    figures = box.taly("metrics", "--format", "prometheus").stdout
    assert 'purpose="rollback",outcome="succeeded"} 1\n' in figures


def test_what_is_called_only_sometimes_is_called_somewhere() -> None:
    text = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "src/taly/providers").rglob("*.py")
    )
    for method in ONLY_SOMETIMES.values():
        assert f".{method}(" in text


def test_nothing_that_only_reads_stands_among_what_writes() -> None:
    parts = {
        part: {
            action
            for needs in NEEDS.values()
            for grant in needs.grants
            if grant.part == part
            for action in grant.actions
        }
        for part in ("read", "write")
    }
    assert not parts["read"] & parts["write"]
    verbs = ("Get", "List", "Describe", "Lookup", "BatchGet")
    for part, actions in parts.items():
        for action in actions:
            assert action.partition(":")[2].startswith(verbs) is (part == "read"), action
