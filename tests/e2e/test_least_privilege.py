"""The IAM policy that the docs give is what taly really calls: no less, and no more."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from taly.errors import ExitCode
from tests.e2e.conftest import Sandbox

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "set-up-on-a-real-account.md"
SERVICES = {
    "AppRunner": "apprunner",
    "ECR": "ecr",
    "CloudTrail": "cloudtrail",
    "CloudFormation": "cloudformation",
    "Lambda": "lambda",
    "SSM": "ssm",
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
BY_CLOUDFORMATION = {"iam:PassRole"}
"""Asked of the caller by CloudFormation, when a stack has a role."""


def documented() -> tuple[set[str], set[str]]:
    """The actions of the page's two policies: reading, rolling back."""
    blocks = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    read, write = (
        {action for statement in json.loads(block)["Statement"] for action in statement["Action"]}
        for block in blocks
    )
    return read, write


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
    done = box.taly("rollback", "--yes")
    assert done.returncode == ExitCode.OK, done.stderr
    read, write = documented()
    reads = {action for action, wrote in called(box) if not wrote}
    writes = {action for action, wrote in called(box) if wrote}
    assert reads - write <= read, "called, and not in the first policy"
    assert writes <= write, "called, and not in the second policy"
    unused = (read | write) - reads - writes - S3_READS - BY_CLOUDFORMATION
    assert unused == set(ONLY_SOMETIMES), "in a policy, and never called"


def test_what_is_called_only_sometimes_is_called_somewhere() -> None:
    text = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "src/taly/providers").rglob("*.py")
    )
    for method in ONLY_SOMETIMES.values():
        assert f".{method}(" in text


def test_nothing_that_only_reads_stands_in_the_policy_that_writes() -> None:
    read, write = documented()
    assert not read & write
    assert all(not re.search(r":(Get|List|Describe|Lookup|BatchGet)", action) for action in write)
