"""App Runner's services in an error: as many as somebody reads, and all of it printable."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.httpsession import URLLib3Session

from taly.aws import AwsClients
from taly.clock import SystemClock
from taly.errors import UsageError, VendorUnavailable
from taly.providers.apprunner.reading import Reader

ENVIRON = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "AKIASANDBOX000000000",
    "AWS_SECRET_ACCESS_KEY": "SANDBOXSECRET03",
}
Region = Callable[[list[str]], Reader]


class Raw:
    """A body as botocore wants to read it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self._body


@pytest.fixture
def region(monkeypatch: pytest.MonkeyPatch) -> Region:
    """A region with services of these names."""

    def with_services(names: list[str]) -> Reader:
        services = [
            {"ServiceName": name, "ServiceArn": f"arn:{number}", "Status": "RUNNING"}
            for number, name in enumerate(names)
        ]
        body = json.dumps({"ServiceSummaryList": services}).encode()
        monkeypatch.setattr(
            URLLib3Session,
            "send",
            lambda _, request: AWSResponse(request.url, 200, {}, Raw(body)),
        )
        return Reader(AwsClients(ENVIRON), "eu-central-1", SystemClock())

    return with_services


def told(reader: Reader) -> str:
    with pytest.raises(UsageError) as caught:
        reader.find("api")
    assert caught.value.reference == "service-unknown"
    return caught.value.message


def test_thirty_services_are_named_and_the_others_counted(region: Region) -> None:
    names = [f"service-{number:03d}" for number in range(200)]
    assert told(region(names[:2])).endswith("there are: service-000, service-001")
    assert told(region(names[:30])).endswith("service-029")
    said = told(region(names))
    assert said.endswith("service-029, and 170 more")
    assert told(region([])).endswith("there are: none")


def test_a_name_without_end_is_cut_and_says_so(region: Region) -> None:
    said = told(region(["a" * 200_000, "b"]))
    assert said.endswith(f"there are: {'a' * 60}…, b")


def test_a_list_that_is_too_long_hides_no_service(region: Region) -> None:
    """It is only the message that is cut."""
    names = ["x" * 5000] * 100
    assert region([*names, "api"]).find("api") == "arn:100"


def test_half_a_character_is_an_answer_that_cannot_be_read(region: Region) -> None:
    with pytest.raises(VendorUnavailable):
        region(["\ud800"]).find("api")
    assert region(["🎉", "api"]).find("api") == "arn:1"  # in JSON two halves that fit
