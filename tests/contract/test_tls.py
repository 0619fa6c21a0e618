"""Real TLS on this machine: who shows a certificate of one's own authority, and who is refused."""

import datetime
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import certifi
import httpx2
import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from psycopg.sql import SQL, Identifier
from tests.e2e.conftest import until

from taly.app.context import open_context
from taly.aws import AwsClients, aws_errors
from taly.clock import SystemClock
from taly.database.connection import meaning, reading, target_of
from taly.engine.verify import ask
from taly.errors import UsageError, VendorRefused
from taly.model.environment import HealthCheck
from taly.providers.netlify.api import NetlifyApi
from taly.providers.vercel.client import VercelApi
from taly.sandbox.server import Server
from taly.transport import certificates, with_ca

HOUR = datetime.timedelta(hours=1)
SECRET = "SANDBOXSECRETtls"


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(
    subject: str, issuer: str, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - HOUR)
        .not_valid_after(now + HOUR)
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, and with server.pem and server.key for this machine's names."""
    folder = tmp_path_factory.mktemp("authority")
    root, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    is_root = x509.BasicConstraints(ca=True, path_length=0)
    made = certificate("Taly test CA", "Taly test CA", root).add_extension(is_root, critical=True)
    names = [x509.DNSName("localhost"), x509.DNSName("db.example")]
    here = x509.SubjectAlternativeName(names)
    server = certificate("localhost", "Taly test CA", own).add_extension(here, critical=False)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(made.sign(root, hashes.SHA256()).public_bytes(pem))
    (folder / "server.pem").write_bytes(server.sign(root, hashes.SHA256()).public_bytes(pem))
    (folder / "server.key").write_bytes(
        own.private_bytes(
            pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    return folder


class Answers(BaseHTTPRequestHandler):
    """Whatever is asked: an empty list of services, a site, a project, all at once."""

    def do_GET(self) -> None:
        body = b'{"ServiceSummaryList": [], "id": "1", "name": "n", "user": {}}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


class Quiet(ThreadingHTTPServer):
    """A client that refuses our certificate is what the tests want, no accident."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing to say."""


@pytest.fixture(scope="module")
def https(authority: Path) -> Iterator[str]:
    """A server's URL whose certificate is our own authority's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    server = Quiet(("127.0.0.1", 0), Answers)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"https://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def ask_netlify(environ: dict[str, str]) -> None:
    NetlifyApi(environ, SystemClock())._http._send("GET", "/sites/shop", None, None)


def ask_vercel(environ: dict[str, str]) -> None:
    VercelApi(environ, SystemClock())._http._send("GET", "/v9/projects/shop", None, None)


def ask_aws(environ: dict[str, str]) -> None:
    with aws_errors("apprunner:ListServices"):
        AwsClients(environ).client("apprunner", "eu-west-1", attempts=1).list_services()


@pytest.mark.parametrize("asked", [ask_netlify, ask_vercel, ask_aws])
def test_a_vendor_is_refused_without_its_authority_and_accepted_with_it(
    asked: Callable[[dict[str, str]], None], https: str, authority: Path
) -> None:
    environ = {
        "NETLIFY_API_URL": https,
        "NETLIFY_AUTH_TOKEN": SECRET,
        "VERCEL_API_URL": https,
        "VERCEL_TOKEN": SECRET,
        "AWS_ENDPOINT_URL": https,
        "AWS_ACCESS_KEY_ID": "AKIASANDBOX",
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }
    with pytest.raises(VendorRefused, match="nothing was sent") as refused:
        asked(environ)
    assert refused.value.reference == "certificate-untrusted"
    assert "[network]" in refused.value.hint
    asked(environ | {"TALY_CA_FILE": str(authority / "ca.pem")})


def test_an_application_too(https: str, authority: Path) -> None:
    health = HealthCheck(url=https)
    with httpx2.Client(verify=certificates()) as http:
        assert "certificate" in ask(health, http)
    with httpx2.Client(verify=certificates(ca_file=str(authority / "ca.pem"))) as http:
        assert ask(health, http) == ""


def test_ones_own_authority_is_trusted_besides_the_others(authority: Path) -> None:
    usual = len(certificates().get_ca_certs())
    assert len(certificates(ca_file=str(authority / "ca.pem")).get_ca_certs()) == usual + 1


def test_another_name_is_refused_though_the_authority_is_known(https: str, authority: Path) -> None:
    environ = {
        "NETLIFY_API_URL": https.replace("localhost", "127.0.0.1"),
        "NETLIFY_AUTH_TOKEN": SECRET,
        "TALY_CA_FILE": str(authority / "ca.pem"),
    }
    with pytest.raises(VendorRefused, match="mismatch"):
        ask_netlify(environ)


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_a_file_that_holds_no_certificate_is_the_users_to_mend(
    text: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "own.pem"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError) as told:
        certificates(ca_file=str(file))
    assert told.value.reference == "ca-file-unreadable"
    with pytest.raises(UsageError):
        AwsClients({"TALY_CA_FILE": str(file)}).client("ecr", "eu-west-1")


def test_taly_toml_names_it_for_all_of_them(tmp_path: Path, authority: Path) -> None:
    (tmp_path / "own.pem").write_bytes((authority / "ca.pem").read_bytes())
    (tmp_path / "taly.toml").write_text(
        'environment = "x"\nstore = "postgresql://taly@db.example/runs"\n'
        '[network]\nca_file = "own.pem"\n[components.db]\nprovider = "postgres"\n'
    )
    context = open_context(config_path=str(tmp_path / "taly.toml"), environ={})
    assert context.ca_file == context.environ["TALY_CA_FILE"] == str(tmp_path / "own.pem")
    assert context.config.store.partition("?")[2].startswith("sslmode=verify-full&sslrootcert=")


@pytest.fixture
def tls_database(postgres_server: Server, authority: Path) -> Iterator[str]:
    """The session's server, which shows our certificate for as long as a test needs it."""
    owner = postgres_server.data.stat()
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        for name in ("server.pem", "server.key"):
            copy = postgres_server.data / name
            copy.write_bytes((authority / name).read_bytes())
            copy.chmod(0o600)
            os.chown(copy, owner.st_uid, owner.st_gid)
        connection.execute("ALTER SYSTEM SET ssl_cert_file = 'server.pem'")
        connection.execute("ALTER SYSTEM SET ssl_key_file = 'server.key'")
        connection.execute("ALTER SYSTEM SET ssl = on")
        connection.execute("SELECT pg_reload_conf()")
        until(lambda: in_tls(postgres_server.url()))
        yield postgres_server.url()
        for name in ("ssl", "ssl_cert_file", "ssl_key_file"):
            connection.execute(SQL("ALTER SYSTEM RESET {}").format(Identifier(name)))
        connection.execute("SELECT pg_reload_conf()")
        until(lambda: not in_tls(postgres_server.url()))


def in_tls(url: str) -> bool:
    with psycopg.connect(url, connect_timeout=5) as connection:
        return bool(connection.pgconn.ssl_in_use)


def test_a_database_proves_who_it_is(tls_database: str, authority: Path) -> None:
    """db.example leads to this machine here; the name in the certificate is what counts."""
    url = tls_database.replace("127.0.0.1", "db.example") + "?hostaddr=127.0.0.1"
    trusting = with_ca(url, str(authority / "ca.pem"), {})
    assert in_tls(trusting)
    target = target_of({}, {"DATABASE_URL": tls_database})
    for wrong in (
        trusting.replace("db.example", "db.other"),
        f"{url}&sslmode=verify-full&sslrootcert={certifi.where()}",
    ):
        with pytest.raises(psycopg.OperationalError) as refused:
            psycopg.connect(wrong, connect_timeout=5)
        told = meaning(target, refused.value)
        assert (told.reference, type(told)) == ("certificate-untrusted", VendorRefused)


def test_a_database_without_certificates_is_refused_where_they_are_wanted(
    postgres_url: str, authority: Path
) -> None:
    url = f"{postgres_url}?sslmode=verify-full&sslrootcert={authority / 'ca.pem'}"
    target = target_of({}, {"DATABASE_URL": url})
    with pytest.raises(VendorRefused, match="does not prove who it is"), reading(target):
        raise AssertionError("it was believed")
