"""What a look at a stack proves, and what it does not."""

from typing import Any

import pytest

from taly.clock import SystemClock
from taly.model.plan import Forecast, Step, StepKind
from taly.model.ports import Other, Wanted
from taly.providers.serverless import template as templates
from taly.providers.serverless.probing import Prober

PREFIX = "serverless/mail/production/"
DIRECTORY = "1795092773786-2026-11-19T12:52:53.786Z"
SHA = "c2hhMjU2"
TEMPLATE = {
    "Resources": {
        "SendLambdaFunction": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "FunctionName": "mail-production-send",
                "Code": {"S3Key": f"{PREFIX}{DIRECTORY}/mail.zip"},
            },
        }
    }
}
WANTED = {
    "directory": DIRECTORY,
    "code": templates.code_digest({"SendLambdaFunction": SHA}),
    "template": templates.digest(TEMPLATE),
}


class Reads:
    """A stack that tells the wanted template and runs the wanted code, in this status."""

    def __init__(self, status: str) -> None:
        self._status = status

    def stack(self, name: str) -> dict[str, Any]:
        return {"StackName": name, "StackStatus": self._status}

    def template(self, stack: str) -> dict[str, Any]:
        return TEMPLATE

    def function(self, name: str) -> dict[str, Any]:
        return {"FunctionName": name, "CodeSha256": SHA}

    def events(self, stack: str, pages: int) -> list[dict[str, Any]]:
        return []


def step(kind: StepKind) -> Step:
    address = {"service": "mail", "stage": "production", "region": "r", "stack": "mail-production"}
    return Step(
        id=f"{kind}:mail",
        kind=kind,
        component="mail",
        provider="serverless",
        title="mail",
        address={**address, "bucket": "b", "prefix": PREFIX},
        wanted=WANTED,
        forecast=Forecast(seconds=1, basis="a guess"),
        deadline_s=60,
    )


@pytest.mark.parametrize("kind", [StepKind.ROLL_BACK, StepKind.VERIFY])
@pytest.mark.parametrize("status", ["UPDATE_ROLLBACK_FAILED", "UPDATE_FAILED", "DELETE_FAILED"])
def test_a_stack_that_failed_is_not_as_wanted_whatever_its_template_says(
    status: str, kind: StepKind
) -> None:
    """In these statuses GetTemplate tells the template that was tried; tables may not have it."""
    seen = Prober(Reads(status), SystemClock(), step(kind)).probe(None)
    assert isinstance(seen, Other)


@pytest.mark.parametrize("status", ["UPDATE_COMPLETE", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"])
def test_a_stack_at_rest_with_the_wanted_code_is_as_wanted(status: str) -> None:
    one = step(StepKind.ROLL_BACK)
    assert isinstance(Prober(Reads(status), SystemClock(), one).probe(None), Wanted)
