"""The control API over real HTTP, on a platform of two vendors in this process."""

import json
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest

from taly.errors import UsageError
from taly.sandbox.client import ControlClient
from taly.sandbox.control import ControlApi
from taly.sandbox.platform import Platform
from taly.sandbox.scenario_file import parse
from taly.sandbox.vendors import MARK

FIRST, SECOND, THIRD = "1" * 40, "2" * 40, "3" * 40
SCENARIO = f"""
name = "sites"
description = "Two sites."
speed = 500

[[components]]
name = "web"
vendor = "vercel"

[[components]]
name = "pay"
vendor = "netlify"
after = ["web"]

[[deploys]]
at = "-2d"
commit = "{FIRST}"

[[deploys]]
at = "-1d"
commit = "{SECOND}"
components = ["web"]
"""
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "sandbox-control.md"


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    one = Platform(parse(SCENARIO, where="test"), tmp_path)
    one.up()
    yield one
    assert one.down() == []


@pytest.fixture
def control(platform: Platform) -> ControlClient:
    return ControlClient(platform.control_url, platform.token)


def get(url: str, **headers: str) -> str:
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as reply:
        body: bytes = reply.read()
    return body.decode()


def ask_vercel(platform: Platform, path: str) -> str:
    environ = platform.environ()
    token = environ["VERCEL_TOKEN"]
    return get(environ["VERCEL_API_URL"] + path, Authorization=f"Bearer {token}")


def test_without_the_token_only_the_clock_can_be_read(platform: Platform) -> None:
    api = ControlApi(platform)
    for method, path in api.routes:
        if (method, path) == ("GET", "/_sandbox/clock"):
            continue
        with pytest.raises(UsageError) as caught:
            ControlClient(platform.control_url, "wrong").send(method, path, {})
        assert caught.value.reference == "sandbox-wrong-token", (method, path)
    clock = json.loads(get(f"{platform.control_url}/_sandbox/clock"))
    assert set(clock) == {"origin", "at_unix", "speed", "now"}


def test_every_route_stands_in_the_reference(platform: Platform) -> None:
    text = REFERENCE.read_text("utf-8")
    for method, path in ControlApi(platform).routes:
        assert f"`{method} {path}`" in text


def test_it_listens_on_loopback_and_under_no_other_name(platform: Platform) -> None:
    assert platform.control_url.startswith("http://127.0.0.1:")
    with pytest.raises(HTTPError) as caught:
        get(f"{platform.control_url}/_sandbox/clock", Host="evil.example.com:80")
    with caught.value as error:
        assert error.code == 403
        assert json.load(error)["error"]["reference"] == "not-loopback"


def test_calls_show_what_the_vendors_got_and_no_secret(
    platform: Platform, control: ControlClient
) -> None:
    ask_vercel(platform, "/v9/projects/web?slug=taly")
    calls = control.calls()
    assert [(call["vendor"], call["component"], call["wrote"]) for call in calls] == [
        ("vercel", "web", False)
    ]
    assert control.calls(after=calls[-1]["number"]) == []
    assert MARK not in json.dumps(control.calls())
    assert MARK not in json.dumps(control.state())


def test_the_environment_is_what_clients_need(platform: Platform, control: ControlClient) -> None:
    environ = control.environ()
    assert environ == platform.environ()
    assert set(environ) == {
        "VERCEL_API_URL",
        "VERCEL_TOKEN",
        "NETLIFY_API_URL",
        "NETLIFY_AUTH_TOKEN",
        "TALY_SANDBOX",
    }
    assert environ["NETLIFY_API_URL"].endswith("/api/v1")


def test_a_push_goes_live_in_its_time(platform: Platform, control: ControlClient) -> None:
    assert control.push(THIRD, components=["web"], outcome="broken") == ["web"]
    assert SECOND in get(platform.url("web"))
    control.clock(advance_s=3600)
    with pytest.raises(HTTPError) as caught:
        get(platform.url("web"))
    with caught.value as error:
        assert error.code == 500
        assert THIRD in error.read().decode()
    assert FIRST in get(platform.url("pay"))


def test_a_push_to_a_vendor_goes_to_all_of_its_components(control: ControlClient) -> None:
    assert control.push(THIRD, vendors=["netlify"]) == ["pay"]
    assert control.push(THIRD) == ["web", "pay"]


def test_a_console_change_is_done(control: ControlClient, platform: Platform) -> None:
    control.change("web", kind="rollback")
    control.clock(advance_s=600)
    assert FIRST in get(platform.url("web"))


def test_a_fault_strikes_as_often_as_it_says(control: ControlClient, platform: Platform) -> None:
    armed = control.faults({"kind": "refuse", "vendor": "vercel", "status": 500, "count": 2})
    assert armed[0]["count"] == 2
    for _ in range(2):
        with pytest.raises(HTTPError) as caught:
            ask_vercel(platform, "/v9/projects/web?slug=taly")
        caught.value.close()
        assert caught.value.code == 500
    assert "web" in ask_vercel(platform, "/v9/projects/web?slug=taly")
    assert [call["fault"] for call in control.calls()] == ["refuse", "refuse", ""]


def test_faults_can_be_cleared(control: ControlClient) -> None:
    control.faults({"kind": "refuse", "vendor": "vercel"}, {"kind": "delay", "seconds": 1})
    control.clear_faults()
    assert control.faults() == []


def test_the_clock_jumps_and_changes_its_pace(control: ControlClient) -> None:
    before = control.clock()
    after = control.clock(advance_s=86_400, speed=7)
    assert after["speed"] == 7
    assert after["now"][:10] > before["now"][:10]


@pytest.mark.parametrize(
    ("method", "path", "body", "reference", "said"),
    [
        ("GET", "/_sandbox/nothing", None, "no-such-path", "/_sandbox/calls"),
        ("DELETE", "/_sandbox/clock", None, "no-such-method", "GET, POST"),
        ("GET", "/_sandbox/calls?after=x", None, "invalid", "after"),
        ("POST", "/_sandbox/push", {}, "invalid", "commit: is missing"),
        ("POST", "/_sandbox/push", {"commit": "1" * 7, "outcom": "ok"}, "invalid", "outcom: unk"),
        ("POST", "/_sandbox/push", {"commit": "1" * 7, "outcome": "x"}, "invalid", "outcome"),
        (
            "POST",
            "/_sandbox/push",
            {"commit": "1" * 7, "components": ["wep"]},
            "no-such-component",
            "known: web, pay",
        ),
        ("POST", "/_sandbox/push", {"commit": "1" * 7, "vendors": ["heroku"]}, "invalid", "vend"),
        ("POST", "/_sandbox/clock", {"advance_s": -1}, "invalid", "advance_s"),
        ("POST", "/_sandbox/clock", {"speed": 0}, "invalid", "speed"),
        ("POST", "/_sandbox/faults", {"count": 1}, "invalid", "kind: is missing"),
        ("POST", "/_sandbox/faults", {"kind": "delay", "component": "x"}, "no-such-component", ""),
        (
            "POST",
            "/_sandbox/faults",
            [{"kind": "delay"}, {"kind": "restore-ignored", "component": "web"}],
            "invalid",
            "never strikes vercel",
        ),
        ("POST", "/_sandbox/change", {"component": "x", "change": {}}, "no-such-component", ""),
        (
            "POST",
            "/_sandbox/change",
            {"component": "web", "change": {"kind": "explode"}},
            "invalid",
            "explode",
        ),
        ("POST", "/_sandbox/push", [1], "invalid", ""),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_in_words(
    control: ControlClient, method: str, path: str, body: object, reference: str, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        control.send(method, path, body)
    assert caught.value.reference == f"sandbox-{reference}"
    assert said in caught.value.message


def test_what_is_in_store_happens_when_its_time_comes(
    tmp_path: Path, eventually: Callable[..., None]
) -> None:
    text = SCENARIO + f'[[pushes]]\nafter = "10m"\ncommit = "{THIRD}"\ncomponents = ["pay"]\n'
    platform = Platform(parse(text, where="test"), tmp_path, speed=1)
    platform.up()
    try:
        control = ControlClient(platform.control_url, platform.token)
        assert [one["what"] for one in control.state()["to_come"]] == ["deploy of 3333333 to pay"]
        control.clock(advance_s=600)
        eventually(lambda: not control.state()["to_come"])
        control.clock(speed=1000)
        eventually(lambda: THIRD in get(platform.url("pay")))
        assert control.state()["problems"] == []
    finally:
        platform.down()


def test_a_deploy_in_flight_is_under_way_when_the_sandbox_is_ready(tmp_path: Path) -> None:
    text = SCENARIO + (
        f'[[in_flight]]\nstarted = "-10s"\ncommit = "{THIRD}"\ncomponents = ["web"]\n'
    )
    platform = Platform(parse(text, where="test"), tmp_path, speed=1)
    platform.up()
    try:
        listed = json.loads(ask_vercel(platform, "/v7/deployments?projectId=web&slug=taly"))
        newest = listed["deployments"][0]
        assert newest["readyState"] == "BUILDING"
        assert newest["meta"]["githubCommitSha"] == THIRD
        assert SECOND in get(platform.url("web"))
        ControlClient(platform.control_url, platform.token).clock(advance_s=120)
        assert THIRD in get(platform.url("web"))
    finally:
        platform.down()


def test_a_scenario_that_asks_for_the_impossible_is_refused_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    text = SCENARIO + '[[changes]]\nat = "-1h"\ncomponent = "pay"\nchange = { kind = "explode" }\n'
    platform = Platform(parse(text, where="test"), tmp_path)
    with pytest.raises(UsageError) as caught:
        platform.up()
    assert caught.value.reference == "scenario-impossible"
    assert "explode" in caught.value.message


def test_a_vendor_that_restarts_refuses_for_a_while_and_forgets_nothing(
    platform: Platform, control: ControlClient
) -> None:
    path = "/v9/projects"
    before, seen = ask_vercel(platform, path), []
    address = urlsplit(platform.environ()["VERCEL_API_URL"])
    kept = socket.create_connection((address.hostname or "", address.port or 0), 5)
    kept.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    restarting = threading.Thread(target=control.restart, args=("vercel", 0.3))
    restarting.start()
    while restarting.is_alive():
        try:
            seen.append(ask_vercel(platform, path))
        except (OSError, HTTPException) as error:
            seen.append(type(error).__name__)
    kept.settimeout(5)
    while kept.recv(4096):
        pass  # what was answered before; then the end: it was cut
    kept.close()
    assert "URLError" in seen, "nobody was refused"
    assert ask_vercel(platform, path) == before
    with pytest.raises(UsageError, match="no HTTP interface") as caught:
        control.restart("serverless", 0)
    assert caught.value.reference == "sandbox-no-such-vendor"
