"""What may be sent where: no mix of emulators and vendors, nothing in the clear, a limit on all."""

import ast
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from taly.app.context import open_context
from taly.aws import AwsClients, aws_errors
from taly.clock import ScaledClock, SystemClock
from taly.database.connection import target_of
from taly.errors import Refused, UsageError
from taly.providers.inventory import INVENTORIES
from taly.providers.netlify.api import NetlifyApi
from taly.providers.vercel.client import VercelApi
from taly.sandbox.server import OPTIONS, Server
from taly.sandbox.vendors import made_up_secret
from taly.transport import (
    ENDPOINTS,
    check_endpoint,
    check_sandboxed,
    is_loopback,
    is_made_up,
    tls_mode,
    with_ca,
)

SOURCES = Path(__file__).parents[2] / "src" / "taly"
HERE = ["http://127.0.0.1:4566", "http://localhost:80", "http://[::1]:1", "https://127.8.8.8"]
REAL = "nfp_4YtXf1pF1Ub8oGr7eXaMpLe"


@pytest.fixture
def nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any request at all fails the test."""

    def sent(*_: object, **__: object) -> None:
        raise AssertionError("a request was sent")

    monkeypatch.setattr(httpx2.Client, "send", sent)
    monkeypatch.setattr("botocore.httpsession.URLLib3Session.send", sent)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("localhost", True),
        ("LOCALHOST.", True),
        ("db.localhost", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.nip.io", False),
        ("api.netlify.com", False),
        (None, False),
    ],
)
def test_what_is_this_machine(host: str | None, here: bool) -> None:
    assert is_loopback(host) is here


def asked(vendor: str, url: str, secret: str) -> None:
    """Make this vendor's client, and have it read something."""
    environ = {
        "NETLIFY_API_URL": url,
        "NETLIFY_AUTH_TOKEN": secret,
        "VERCEL_API_URL": url,
        "VERCEL_TOKEN": secret,
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "AKIA1",
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "eu-west-1",
    }
    match vendor:
        case "netlify":
            NetlifyApi(environ, SystemClock()).site("shop")
        case "vercel":
            VercelApi(environ, SystemClock()).project("shop", {})
        case "aws":
            AwsClients(environ).client("apprunner", "eu-west-1").list_services()
        case _:
            list(INVENTORIES[vendor.removeprefix("init-")](environ))


VENDORS = ["netlify", "vercel", "aws", *(f"init-{name}" for name in INVENTORIES)]


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("vendor", VENDORS)
class TestMix:
    @pytest.mark.parametrize("url", HERE)
    def test_real_credentials_are_not_sent_to_an_emulator(self, vendor: str, url: str) -> None:
        with pytest.raises(Refused) as refused:
            asked(vendor, url, REAL)
        assert refused.value.reference == "real-credentials-to-emulator"
        assert "unset " in refused.value.hint
        assert REAL not in refused.value.message

    def test_an_emulators_credentials_are_not_sent_to_a_vendor(self, vendor: str) -> None:
        with pytest.raises(Refused) as refused:
            asked(vendor, "https://api.vendor.example", made_up_secret())
        assert refused.value.reference == "emulator-credentials-to-vendor"

    def test_nothing_is_sent_in_the_clear(self, vendor: str) -> None:
        with pytest.raises(Refused) as refused:
            asked(vendor, "http://api.vendor.example", REAL)
        assert refused.value.reference == "endpoint-not-encrypted"

    def test_what_belongs_together_is_sent(self, vendor: str) -> None:
        for url, secret in (
            ("https://api.vendor.example", REAL),
            ("http://127.0.0.1:9", made_up_secret()),
        ):
            with pytest.raises(AssertionError, match="a request was sent"):
                asked(vendor, url, secret)


@pytest.mark.usefixtures("nothing_is_sent")
def test_keys_from_awss_own_files_are_not_sent_to_an_emulator() -> None:
    with pytest.raises(UsageError, match="credentials"), aws_errors("ecr:DescribeImages"):
        AwsClients({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}).client("ecr", "eu-west-1")


@pytest.mark.usefixtures("nothing_is_sent")
def test_an_endpoint_that_only_botocore_knows_of_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", "http://127.0.0.1:1")
    environ = {"AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": REAL}
    with pytest.raises(Refused):
        AwsClients(environ).client("ecr", "eu-west-1")


def test_other_emulators_keys_are_nobodys() -> None:
    check_endpoint("x", "http://localhost:4566", secret="test", variable="K", setting="U")
    assert not is_made_up(REAL)


@pytest.mark.parametrize("provider", ["netlify", "vercel", "apprunner", "serverless"])
def test_a_sandboxs_platform_is_not_asked_about_at_a_vendor(provider: str) -> None:
    setting, variable = ENDPOINTS[provider]
    with pytest.raises(Refused) as refused:
        check_sandboxed(provider, {variable: REAL})
    assert refused.value.reference == "sandbox-with-real-credentials"
    assert REAL not in refused.value.message
    for fine in ({}, {variable: made_up_secret(), setting: HERE[0]}):
        check_sandboxed(provider, fine)


def test_the_context_of_a_sandbox_asks_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taly.toml").write_text(
        'environment = "x"\n[sandbox]\ncontrol = "http://127.0.0.1:9"\n'
        '[components.site]\nprovider = "netlify"\nsite = "shop"\n'
    )
    clock = ScaledClock(origin=datetime.now(UTC), at_unix=0.0, speed=1.0)
    monkeypatch.setattr("taly.app.context.sandbox_clock", lambda _: clock)
    path = str(tmp_path / "taly.toml")
    context = open_context(config_path=path, environ={"NETLIFY_AUTH_TOKEN": REAL})
    with pytest.raises(Refused, match="belongs to a sandbox"):
        context.provider("netlify")


def test_a_sandboxs_password_is_not_sent_to_another_machines_database() -> None:
    password = made_up_secret()
    url = f"postgresql://u:{password}@db.example/x"
    with pytest.raises(Refused) as refused:
        target_of({}, {"DATABASE_URL": url})
    assert refused.value.reference == "emulator-credentials-to-vendor"
    here = url.replace("db.example", "127.0.0.1")
    assert target_of({}, {"DATABASE_URL": here}).url == here


class TestLoopback:
    """The sandbox listens where nobody else can reach it."""

    def test_every_server_is_made_with_the_loopback_address(self) -> None:
        made = [
            (path.name, node)
            for path in sorted((SOURCES / "sandbox").rglob("*.py"))
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Call) and last_name(node) in SERVERS
        ]
        assert {name for name, _ in made} >= {"http.py"}
        for name, node in made:
            said = ast.unparse(node)
            assert "127.0.0.1" in said or "localhost" in said, f"{name}: {said}"

    def test_no_other_address_is_ever_named(self) -> None:
        for path in sorted((SOURCES / "sandbox").rglob("*.py")):
            text = path.read_text("utf-8")
            assert "0.0.0.0" not in text, path
            assert '"::"' not in text, path

    def test_postgresql_listens_on_loopback_alone(self) -> None:
        assert OPTIONS["listen_addresses"] == "127.0.0.1"
        assert OPTIONS["unix_socket_directories"] == ""

    def test_nobody_can_have_it_listen_elsewhere(self, tmp_path: Path) -> None:
        binaries: Any = None
        with pytest.raises(ValueError, match="loopback"):
            Server(tmp_path, binaries, options={"listen_addresses": "*"})


SERVERS = {
    "make_server",
    "run_simple",
    "ThreadingHTTPServer",
    "HTTPServer",
    "bind",
    "create_server",
}


def last_name(call: ast.Call) -> str:
    """`b` of `a.b(…)`."""
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


class TestCertificates:
    def test_verification_is_switched_off_nowhere(self) -> None:
        for path in sorted(SOURCES.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.keyword) and node.arg in ("verify", "check_hostname"):
                    assert ast.unparse(node.value) != "False", path
                if isinstance(node, ast.Attribute):
                    assert node.attr not in ("CERT_NONE", "_create_unverified_context"), path

    @pytest.mark.parametrize(
        ("url", "given"),
        [
            ("postgresql://u@db/x", "?sslmode=verify-full&sslrootcert=/ca.pem"),
            ("postgresql://u@db/x?sslmode=require", "?sslmode=require&sslrootcert=/ca.pem"),
            ("postgresql://u@db/x?sslmode=disable", "?sslmode=disable"),
            ("postgresql://u@db/x?sslmode=prefer", "?sslmode=prefer"),
            ("postgresql://u@db/x?sslrootcert=/own.pem", "?sslrootcert=/own.pem"),
            ("postgresql://u@localhost/x", ""),
            ("postgresql://u@db/x?host=/var/run/postgresql", "?host=/var/run/postgresql"),
            ("/home/me/.taly/store.db", ""),
        ],
    )
    def test_a_databases_url_gets_the_certificates_where_it_says_nothing(
        self, url: str, given: str
    ) -> None:
        assert with_ca(url, "/ca.pem", {}).replace("%2F", "/") == url.partition("?")[0] + given
        assert with_ca(url, "", {}) == url

    def test_libpqs_own_variables_count(self) -> None:
        url = "postgresql://u@db/x"
        assert with_ca(url, "/ca.pem", {"PGSSLROOTCERT": "/own.pem"}) == url
        assert with_ca(url, "/ca.pem", {"PGSSLMODE": "disable"}) == url
        assert tls_mode(url, {"PGSSLMODE": "disable"}) == "off"

    @pytest.mark.parametrize(
        ("query", "mode"),
        [
            ("", "unverified"),
            ("?sslmode=require", "unverified"),
            ("?sslmode=require&sslrootcert=/ca.pem", "verified"),
            ("?sslmode=verify-full", "verified"),
            ("?sslmode=disable", "off"),
            ("?sslmode=allow", "off"),
        ],
    )
    def test_how_far_a_database_proves_who_it_is(self, query: str, mode: str) -> None:
        assert tls_mode(f"postgresql://u@db.example/x{query}", {}) == mode
        assert tls_mode(f"postgresql://u@127.0.0.1/x{query}", {}) == "verified"


CONNECTS = {"psycopg.connect", "psycopg.Connection.connect", "_Impatient.connect"}


class TestLimits:
    """No call waits for ever."""

    def test_every_connection_to_postgresql_has_its_limits(self) -> None:
        found = set()
        for path in sorted(SOURCES.rglob("*.py")):
            if path.is_relative_to(SOURCES / "sandbox") or path.name.startswith("demo"):
                continue  # what plays the customer, on this machine
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in CONNECTS:
                    named = {keyword.arg for keyword in node.keywords}
                    wanted = {"connect_timeout", "keepalives_idle", "tcp_user_timeout"}
                    assert wanted <= named, f"{path.name}: {wanted - named}"
                    found.add(path.relative_to(SOURCES).as_posix())
        assert found == {
            "database/connection.py",
            "database/checkpoint/session.py",
            "engine/store/postgres.py",
        }

    def test_every_http_client_has_its_limits(self) -> None:
        environ = {"NETLIFY_AUTH_TOKEN": REAL, "VERCEL_TOKEN": REAL}
        netlify, vercel = NetlifyApi(environ, SystemClock()), VercelApi(environ, SystemClock())
        for client in (netlify._http._client, vercel._http._client, httpx2.Client()):
            limits = client.timeout
            for seconds in (limits.connect, limits.read, limits.write, limits.pool):
                assert seconds is not None
                assert 0 < seconds <= 20

    def test_none_is_made_without(self) -> None:
        for path in sorted(SOURCES.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert given.get("timeout") != "None", path
                if last_name(node) in ("urlopen", "HTTPConnection", "HTTPSConnection"):
                    assert "timeout" in given, f"{path}: {ast.unparse(node)}"

    def test_every_client_of_aws_has_its_limits(self) -> None:
        clients = AwsClients({"AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": REAL})
        config = clients.client("ecr", "eu-west-1").meta.config
        assert 0 < config.connect_timeout <= 5
        assert 0 < config.read_timeout <= 20
