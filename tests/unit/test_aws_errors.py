"""What AWS's refusals become: named, told apart, and without a value of anybody's environment."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from taly.aws import AwsClients, aws_errors, without_values
from taly.errors import UsageError, VendorRefused
from taly.providers.serverless.events import operations

SECRET = "hunter2's {secret}"
MEASURED = (
    'Resource handler returned message: "Lambda was unable to configure your environment variables'
    " because the environment variables you have provided exceeded the 4KB limit. String measured: "
    f'{{"API_KEY":"{SECRET}","B":"{{}}"}} (Service: Lambda, Status Code: 400)"'
)
INVALID = (
    f"1 validation error detected: Value '{{API_KEY={SECRET}}}' at "
    "'sourceConfiguration.imageRepository.imageConfiguration.runtimeEnvironmentVariables' failed to"
    " satisfy constraint: Map value must have length less than or equal to 51200"
)


@pytest.mark.parametrize("said", [MEASURED, INVALID, INVALID.replace("{", "").replace("}", "")])
def test_a_refusal_that_repeats_the_environment_is_told_without_its_values(said: str) -> None:
    error = ClientError({"Error": {"Code": "ValidationException", "Message": said}}, "Update")
    with pytest.raises(VendorRefused) as refused, aws_errors("apprunner:UpdateService"):
        raise error
    assert "hunter2" not in refused.value.message
    assert "[not shown]" in refused.value.message
    assert "environment" in refused.value.message.lower()


def test_a_failed_resource_s_reason_is_told_without_the_environment() -> None:
    def event(status: str, **more: Any) -> dict[str, Any]:
        return {
            "StackId": "s",
            "PhysicalResourceId": "s",
            "ResourceType": "AWS::CloudFormation::Stack",
            "LogicalResourceId": "s",
            "Timestamp": 0,
            "ResourceStatus": status,
            **more,
        }

    failed = event("UPDATE_FAILED", PhysicalResourceId="f", ResourceStatusReason=MEASURED)
    (found,) = operations([failed, event("UPDATE_IN_PROGRESS")])
    assert "4KB limit" in found.reasons[0]
    assert "hunter2" not in found.reasons[0]


def test_a_request_that_botocore_refuses_is_told_without_its_values() -> None:
    clients = AwsClients({"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x"})
    image = {"RuntimeEnvironmentVariables": {"PIN": 77123}}
    source = {"ImageRepository": {"ImageIdentifier": "a", "ImageConfiguration": image}}
    with pytest.raises(VendorRefused) as refused, aws_errors("apprunner:UpdateService"):
        clients.client("apprunner", "eu-west-1").update_service(
            ServiceArn="arn:aws:apprunner:eu-west-1:123456789012:service/a/b",
            SourceConfiguration=source,
        )
    assert "77123" not in refused.value.message
    assert "PIN" in refused.value.message


def test_ordinary_words_are_left_as_they_are() -> None:
    said = "User: arn:aws:iam::1:user/x is not authorized to perform: apprunner:UpdateService"
    assert without_values(said) == said


@pytest.mark.parametrize("given", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_half_a_pair_of_keys_is_said_to_be_missing(given: str) -> None:
    with pytest.raises(UsageError) as error, aws_errors("x"):
        AwsClients({given: "abc"}).client("sts", "eu-west-1")
    assert error.value.reference == "aws-credentials-missing"
