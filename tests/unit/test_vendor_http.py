"""The HTTP client for vendors: what is tried again, what never is, what errors say."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import stamina
from werkzeug.wrappers import Request, Response

from taly.errors import VendorRefused, VendorUnavailable
from taly.providers.http import PAUSES, Refusal, Throttled, VendorHttp
from taly.providers.netlify.api import rate_limit_pause
from taly.sandbox.http import Listener

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class StandIn:
    """Answers with the given responses in turn, the last one for ever, and counts."""

    def __init__(self) -> None:
        self.answers: list[Response] = []
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []

    def __call__(self, environ, start_response):
        request = Request(environ)
        self.requests.append((request.method, request.full_path.removesuffix("?")))
        self.headers.append(dict(request.headers))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(environ, start_response)


class StillClock:
    """Moves only when it is told to sleep."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> datetime:
        return NOW + timedelta(seconds=sum(self.slept))

    def monotonic(self) -> float:
        return sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=4, cap=True):
        yield


@pytest.fixture
def vendor() -> StandIn:
    return StandIn()


@pytest.fixture
def client(vendor: StandIn) -> Iterator[Callable[..., VendorHttp]]:
    listener = Listener(vendor).start()
    made: list[VendorHttp] = []

    def make(**facts: object) -> VendorHttp:
        base_url = f"{listener.url}/api"
        made.append(VendorHttp(vendor="acme", base_url=base_url, token="s3cret", **facts))
        return made[-1]

    yield make
    for one in made:
        one.close()
    listener.stop()


def json(status: int, text: str = "{}", **headers: str) -> Response:
    return Response(text, status, mimetype="application/json", headers=headers)


def test_a_read_is_tried_again_after_a_passing_failure(vendor, client) -> None:
    vendor.answers = [json(503), json(500), json(200, '{"a": 1}')]
    assert client().read("/x", {"q": "1"}).body == {"a": 1}
    assert vendor.requests == [("GET", "/api/x?q=1")] * 3


def test_a_read_that_keeps_failing_says_that_the_vendor_is_unavailable(vendor, client) -> None:
    vendor.answers = [json(502)]
    with pytest.raises(VendorUnavailable) as error:
        client().read("/x")
    assert error.value.reference == "acme-502"
    assert len(vendor.requests) == 4


def test_a_refused_read_is_not_tried_again(vendor, client) -> None:
    vendor.answers = [json(404)]
    with pytest.raises(VendorRefused):
        client().read("/x")
    assert len(vendor.requests) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503, 507, 524])
def test_a_write_is_sent_once_whatever_comes_back(vendor, client, status: int) -> None:
    vendor.answers = [json(status)]
    with pytest.raises(VendorUnavailable):
        client().write("POST", "/x")
    assert vendor.requests == [("POST", "/api/x")]


def test_a_write_without_an_answer_is_unavailable_and_sent_once(vendor, client) -> None:
    hung_up = Response()
    hung_up.__class__ = type("HangUp", (Response,), {"__call__": _hang_up})
    vendor.answers = [hung_up]
    with pytest.raises(VendorUnavailable) as error:
        client().write("POST", "/x")
    assert error.value.reference == "acme-unreachable"
    assert len(vendor.requests) == 1


def test_nobody_there_is_unavailable() -> None:
    gone = Listener(StandIn())
    gone.stop()
    http = VendorHttp(vendor="acme", base_url=gone.url, token="t")
    with pytest.raises(VendorUnavailable):
        http.read("/x")
    http.close()


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (Response("", 201, mimetype="application/json"), None),
        (Response(status=204), None),
        (Response("Not JSON", 200, mimetype="text/plain"), None),
        (Response('{"a": 1}', 200, mimetype="text/plain"), None),
        (Response("{broken", 200, mimetype="application/json"), None),
        (Response("[1]", 200, mimetype="application/json"), [1]),
    ],
)
def test_a_body_is_parsed_only_where_it_is_json(vendor, client, answer, body) -> None:
    vendor.answers = [answer]
    assert client().write("POST", "/x").body == body


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (json(400, '{"code": 400, "message": "no such thing"}'), "no such thing"),
        (json(400, '{"error": {"code": "bad_id", "message": "no id"}}'), "bad_id: no id"),
        (Response("Not   Found\n", 404, mimetype="text/plain"), "Not Found"),
        (Response("", 400), "no reason given"),
        (json(400, "[]"), "[]"),
    ],
)
def test_an_error_says_what_the_vendor_said(vendor, client, answer, said: str) -> None:
    vendor.answers = [answer]
    with pytest.raises(VendorRefused) as error:
        client().write("POST", "/x")
    assert error.value.message.endswith(said)


def test_refusals_are_named_by_the_vendors_own_table(vendor, client) -> None:
    vendor.answers = [json(402)]
    http = client(refusals={402: Refusal(reference="acme-plan", hint="acme upgrade")})
    with pytest.raises(VendorRefused) as error:
        http.write("POST", "/x")
    assert (error.value.reference, error.value.hint) == ("acme-plan", "acme upgrade")
    vendor.answers = [json(418)]
    with pytest.raises(VendorRefused) as error:
        http.write("POST", "/x")
    assert error.value.reference == "acme-418"


def test_a_redirect_is_not_followed_with_the_token(vendor, client) -> None:
    vendor.answers = [Response(status=302, headers={"Location": "https://elsewhere.example"})]
    with pytest.raises(VendorRefused):
        client().read("/x")
    assert len(vendor.requests) == 1


def test_the_token_is_sent_and_never_said(vendor, client) -> None:
    vendor.answers = [json(401, '{"message": "no"}')]
    http = client()
    with pytest.raises(VendorRefused) as error:
        http.read("/x")
    assert vendor.headers[0]["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in str(error.value) + repr(http) + repr(vars(error.value))


def reset_in(seconds: float, remaining: str = "0") -> dict[str, str]:
    at = str(int((NOW + timedelta(seconds=seconds)).timestamp()))
    return {"X-RateLimit-Reset": at, "X-RateLimit-Remaining": remaining}


def test_a_read_waits_until_the_time_that_the_vendor_gives(vendor, client) -> None:
    clock = StillClock()
    vendor.answers = [json(429, "{}", **reset_in(40)), json(200, '{"a": 1}')]
    assert client(clock=clock, pause=rate_limit_pause).read("/x").body == {"a": 1}
    assert clock.slept == [40.0]
    assert len(vendor.requests) == 2


def test_a_read_does_not_wait_for_ever(vendor, client) -> None:
    clock = StillClock()
    vendor.answers = [json(429, "{}", **reset_in(3600))]
    with pytest.raises(Throttled) as error:
        client(clock=clock, pause=rate_limit_pause).read("/x")
    assert error.value.reference == "acme-429"
    assert clock.slept == []
    vendor.answers = [json(429, "{}", **reset_in(0))]
    with pytest.raises(Throttled):
        client(clock=clock, pause=rate_limit_pause).read("/x")
    assert len(clock.slept) == PAUSES


def test_a_throttled_write_is_not_sent_again(vendor, client) -> None:
    clock = StillClock()
    vendor.answers = [json(429, "{}", **reset_in(5)), json(200)]
    with pytest.raises(VendorUnavailable):
        client(clock=clock, pause=rate_limit_pause).write("POST", "/x")
    assert (len(vendor.requests), clock.slept) == (1, [])


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 7)}, 7.0),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) - 7)}, 0.0),
        ({"retry-after": "30"}, None),
        ({"x-ratelimit-reset": "soon"}, None),
        ({}, None),
    ],
)
def test_netlify_rate_limit_convention_is_a_unix_second(headers, wait_s) -> None:
    """Naive line 18: Retry-After is the other vendor's."""
    assert rate_limit_pause(headers, NOW) == wait_s


def _hang_up(self, environ, start_response):
    environ["werkzeug.socket"].shutdown(2)
    raise ConnectionError("on purpose")


def test_a_token_with_a_line_end_is_the_token(vendor) -> None:
    """As secret stores and files give it; a header that holds one is never sent."""
    listener = Listener(vendor).start()
    vendor.answers = [json(200)]
    http = VendorHttp(vendor="acme", base_url=listener.url, token="s3cret\r\n")
    http.read("/x")
    assert vendor.headers[0]["Authorization"] == "Bearer s3cret"
    http.close()
    listener.stop()
