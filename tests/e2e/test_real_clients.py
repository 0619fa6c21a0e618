"""Must show 11: the vendors' real clients work against the sandbox, unchanged.

They are the referee of its fidelity: none of them knows that this is no cloud.
"""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taly.errors import ExitCode
from tests.e2e.clients import aws_cli, osls
from tests.e2e.conftest import Sandbox
from tests.e2e.test_rollback import PREPARES, body, release

pytestmark = pytest.mark.xdist_group("real-clients")
SPEED = 200.0
SERVICE = """
service: {0}
provider:
  name: aws
  runtime: nodejs20.x
  stage: production
  region: eu-central-1
functions:
  handler:
    handler: index.handler
"""


def exported(box: Sandbox) -> dict[str, str]:
    """The environment after `eval "$(taly sandbox env)"`."""
    done = box.taly("sandbox", "env", "--dir", str(box.directory))
    assert done.returncode == ExitCode.OK, done.stderr
    words = [shlex.split(line) for line in done.stdout.splitlines()]
    assert {word[0] for word in words} == {"export"}
    return dict(word[1].split("=", 1) for word in words)


def client(box: Sandbox, command: list[str], *arguments: str, home: Path) -> str:
    """What the client printed; it has nothing but what `taly sandbox env` exports."""
    done = subprocess.run(
        [*command, *arguments],
        cwd=home,
        env={
            **exported(box),
            **{"PATH": os.environ["PATH"], "HOME": str(home), "CI": "1", "AWS_PAGER": ""},
            **{"SLS_TELEMETRY_DISABLED": "1", "SLS_NOTIFICATIONS_MODE": "off"},
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def aws(box: Sandbox, home: Path, *arguments: str) -> Any:
    return json.loads(client(box, aws_cli(), *arguments, "--output", "json", home=home))


def test_aws_apprunner_list_operations(sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    box = sandbox("taly-small", SPEED, shared=True)
    services = aws(box, tmp_path, "apprunner", "list-services")["ServiceSummaryList"]
    assert [one["ServiceName"] for one in services] == ["taly-backend"]
    arn = services[0]["ServiceArn"]
    said = aws(box, tmp_path, "apprunner", "list-operations", "--service-arn", arn)
    operations = said["OperationSummaryList"]
    assert [one["Type"] for one in operations] == [*["START_DEPLOYMENT"] * 3, "CREATE_SERVICE"]
    assert {one["Status"] for one in operations} == {"SUCCEEDED"}
    assert not any("Image" in key for one in operations for key in one)


def test_aws_ecr_describe_images(sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    box = sandbox("taly-small", SPEED, shared=True)
    repositories = aws(box, tmp_path, "ecr", "describe-repositories")["repositories"]
    name = repositories[0]["repositoryName"]
    images = aws(box, tmp_path, "ecr", "describe-images", "--repository-name", name)["imageDetails"]
    digests = {one["imageDigest"] for one in images}
    live = body(box.taly("status", "--json"))["components"]["backend"]["deployment"]
    assert live in digests
    assert release(box, "R3")["members"]["backend"] in digests, "an untagged image is kept"


def test_osls_deploy_list_and_rollback(sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    box, command, name = sandbox("taly-small", SPEED), osls(), "taly-send-email"
    (tmp_path / "serverless.yml").write_text(SERVICE.format(name))
    listed = client(box, command, "deploy", "list", home=tmp_path)
    timestamps = re.findall(r"Timestamp: (\d+)", listed)
    assert len(timestamps) == 4, listed
    good = release(box, "R3")["members"][name]
    assert good.partition("-")[0] == timestamps[-2]
    client(box, command, "rollback", "-t", timestamps[-2], home=tmp_path)
    status = body(box.taly("status", "--json"))
    assert status["components"][name]["deployment"] == good, "taly sees what osls did"
    writes = {call["target"] for call in box.control.writes()}
    assert writes == {PREPARES, "CloudFormation.ExecuteChangeSet"}
