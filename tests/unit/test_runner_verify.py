"""One question to the application: what counts as well, and what is said when it is not."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from tests.engine_world import VirtualTime, step
from tests.unit.test_reconcile import NotebookPen

from taly.engine.tasks import run_alone
from taly.engine.verify import MAX_BODY_BYTES, SHOWN, ask, verify
from taly.model.environment import HealthCheck
from taly.model.events import StepFailed
from taly.model.plan import Step, StepKind
from taly.model.ports import Attempt, InFlight, Other, Probe, Wanted

Reply = Callable[[httpx2.Request], httpx2.Response]
URL = "http://app/health"
BODY = {"version": "7d31f0c", "db": {"ok": True, "lag": 0}, "nodes": [{"id": "x"}]}


def client(reply: Reply) -> httpx2.Client:
    return httpx2.Client(transport=httpx2.MockTransport(reply))


def well(_: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, json=BODY, headers={"x-commit": "7d31f0c"})


@pytest.mark.parametrize(
    "health",
    [
        HealthCheck(url=URL),
        HealthCheck(url=URL, expect={"version": "7d31f0c", "db.ok": "true", "nodes.0.id": "x"}),
        HealthCheck(url=URL, header={"X-Commit": "7d31f0c"}),
        HealthCheck(url=URL, contains='"lag"'),
    ],
)
def test_a_good_answer_says_nothing(health: HealthCheck) -> None:
    assert ask(health, client(well)) == ""


@pytest.mark.parametrize(
    ("health", "said"),
    [
        (HealthCheck(url=URL, status=204), "HTTP 200, not 204"),
        (
            HealthCheck(url=URL, expect={"version": "c4d1e0a"}),
            "version is '7d31f0c', not 'c4d1e0a'",
        ),
        (HealthCheck(url=URL, expect={"db.up": "true"}), "db.up is 'absent'"),
        (HealthCheck(url=URL, expect={"nodes.7.id": "x"}), "nodes.7.id is 'absent'"),
        (HealthCheck(url=URL, header={"x-commit": "c4d1e0a"}), "header x-commit is '7d31f0c'"),
        (HealthCheck(url=URL, header={"x-none": "1"}), "header x-none is 'absent'"),
        (HealthCheck(url=URL, contains="all well"), "does not hold 'all well'"),
    ],
)
def test_a_wrong_answer_is_told_in_a_few_words(health: HealthCheck, said: str) -> None:
    assert said in ask(health, client(well))


def test_a_redirect_is_not_followed_to_a_page_that_looks_well() -> None:
    to = client(lambda _: httpx2.Response(302, headers={"location": "/login"}))
    assert "HTTP 302" in ask(HealthCheck(url=URL), to)


def test_no_answer_is_told_without_the_address() -> None:
    def down(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused", request=request)

    said = ask(HealthCheck(url="http://app/health?token=hunter2"), client(down))
    assert said == "no answer (ConnectError)"
    assert "no answer" in ask(HealthCheck(url="nonsense://"), httpx2.Client())


def test_a_body_without_end_is_cut() -> None:
    huge = client(lambda _: httpx2.Response(200, content=b"x" * (MAX_BODY_BYTES * 3)))
    said = ask(HealthCheck(url=URL, contains="y"), huge)
    assert len(said) < SHOWN + 60


def test_json_too_deep_or_none_is_told() -> None:
    for body in (b"[" * 100_000, b"<html>", b"\xff\xfe"):
        deep = client(lambda _, body=body: httpx2.Response(200, content=body))
        assert "no JSON" in ask(HealthCheck(url=URL, expect={"a": "b"}), deep)


@pytest.mark.parametrize(
    "body",
    [
        "connect postgresql://ana:hunter2@db/app failed",
        '{"password": "hunter2"}',
        "API_KEY=hunter2 rejected",
        "authorization: Bearer hunter2",
        "secret = 'hunter2'",
    ],
)
def test_what_looks_secret_is_left_out(body: str) -> None:
    said = ask(HealthCheck(url=URL), client(lambda _: httpx2.Response(500, text=body)))
    assert "hunter2" not in said
    assert "redacted" in said


def test_an_answer_drop_by_drop_does_not_hold_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of server-sent events never ends, and never times out either."""
    seconds = iter(range(1_000_000))
    monkeypatch.setattr("taly.engine.verify.time.monotonic", lambda: float(next(seconds)))
    drops = iter([b"data: 7d31f0c\n\n"] * 1_000)

    def drip(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=drops)

    assert ask(HealthCheck(url=URL, contains="7d31f0c"), client(drip)) == ""
    assert len(list(drops)) > 900


def test_every_answer_is_asked_for_without_the_cookies_of_the_one_before() -> None:
    """A sticky session would ask one instance n times and never see the others."""
    seen: list[str | None] = []

    def sticky(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers.get("cookie"))
        return httpx2.Response(200, headers={"set-cookie": "instance=1; Path=/"})

    to = client(sticky)
    for _ in range(3):
        ask(HealthCheck(url=URL), to)
    assert seen == [None] * 3


class Lagging:
    """An operation of somebody else ends; for a moment reads still show what was before it."""

    name, settle_s = "fake", 4.0

    def __init__(self, clock: VirtualTime) -> None:
        self.clock = clock

    def probe(self, step: Step, attempt: Attempt | None) -> Probe:
        now = self.clock.monotonic()
        if now < 10:
            return InFlight(operation="theirs", same_target=False, evidence=())
        if now < 13:
            return Wanted(state={"value": "good"}, evidence=())
        return Other(state={"value": "theirs"}, evidence=())


def test_what_reads_as_wanted_right_after_somebodys_operation_is_looked_at_again() -> None:
    clock = VirtualTime()
    pen = NotebookPen(clock)
    check = step(kind=StepKind.VERIFY)
    provider: Any = Lagging(clock)
    job = verify(check, provider=provider, clock=clock, http=client(well), pen=pen)
    end = run_alone(job, clock)
    assert isinstance(end, StepFailed)
    assert "theirs" in end.reason
