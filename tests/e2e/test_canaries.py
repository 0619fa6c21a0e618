"""Canaries: secrets planted in every input, and not one byte of them in any output.

Every secret that a sandbox makes up holds SANDBOXSECRET: its tokens, its AWS keys, the database's
password, the values in the vendors' own environments. What the tests add holds it too.
"""

import base64
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from werkzeug.wrappers import Request, Response

from taly.cli.main import run
from taly.database.rescue.bundle import Bundle, RescuedTable
from taly.errors import ExitCode
from taly.sandbox.http import Listener
from taly.transport import SANDBOX_MARK
from tests.e2e.conftest import Sandbox

MARK = SANDBOX_MARK.encode()
SPEED = 600.0
HIDDEN = ("NETLIFY_AUTH_TOKEN", "VERCEL_TOKEN", "DATABASE_URL")
"""Taken out of the environment, and given by a command, a file and another variable."""


def forms(secret: bytes) -> Iterator[bytes]:
    """As it is, and in base64 wherever it begins."""
    yield secret
    for before in range(3):
        text = base64.b64encode(b"x" * before + secret)
        yield text[4 if before else 0 : -4]


CANARIES = list(forms(MARK))


def hits(where: str, data: bytes) -> list[str]:
    return [f"{where}: …{data[max(0, at - 60) : at + 30]!r}…" for at in found(data)]


def found(data: bytes) -> list[int]:
    return [at for form in CANARIES if (at := data.find(form)) >= 0]


class Outputs:
    """Everything that was printed, and which command did."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, bytes]] = []

    def keep(self, what: str, *streams: str) -> None:
        self.kept.extend((what, stream.encode()) for stream in streams)

    def hits(self) -> list[str]:
        return [one for what, data in self.kept for one in hits(what, data)]


def planted(box: Sandbox, tmp_path: Path) -> dict[str, str]:
    """The environment of a user whose secrets lie in all kinds of places; taly.toml says where."""
    environ = box.environment(TALY_DEBUG="1", GITHUB_TOKEN=f"{SANDBOX_MARK}github")
    environ["AWS_SESSION_TOKEN"] = f"{SANDBOX_MARK}session/+=="
    netlify, vercel, environ["LIVE_URL"] = (environ.pop(name) for name in HIDDEN)
    (tmp_path / "vercel").write_text(vercel + "\n")
    (tmp_path / "netlify").write_text(netlify + "\n")
    cat = shutil.which("cat")
    command = f"['{cat}', '{tmp_path / 'netlify'}']"
    with (box.directory / "taly.toml").open("a") as file:
        file.write(
            f"\n[secrets]\nNETLIFY_AUTH_TOKEN = {{ command = {command} }}\n"
            f"VERCEL_TOKEN = {{ file = '{tmp_path / 'vercel'}' }}\n"
            'DATABASE_URL = { env = "LIVE_URL" }\n'
        )
    return environ


def bundle(box: Sandbox) -> None:
    """A rescue bundle as a rollback leaves one."""
    made = Bundle.begin(
        box.directory / ".taly" / "rescue",
        run="run-000001",
        step="revert:database:1_pets",
        component="database",
        environment="sandbox",
        place="127.0.0.1:5432/taly",
        now=datetime.now(UTC),
    )
    table = RescuedTable(
        schema="public", name="pets", columns=("id",), types=("integer",), key=("id",)
    )
    made.table(table).add("row", ("7",), why="the table goes")
    made.finish()
    made.confirm()


def test_no_output_holds_a_secret(
    sandbox: Callable[..., Sandbox],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    box = sandbox("taly-small", SPEED)
    outputs = Outputs()
    environ = planted(box, tmp_path)
    assert sum(SANDBOX_MARK in value for value in environ.values()) >= 4
    box.environ = {name: value for name, value in environ.items() if name != "PATH"}
    for name in HIDDEN:
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(box.directory)

    def process(*arguments: str, code: int) -> str:
        done = box.taly(*arguments)
        outputs.keep(" ".join(arguments), done.stdout, done.stderr)
        assert done.returncode == code, done.stderr
        return done.stdout

    def here(*arguments: str, code: int = 0) -> str:
        ended = run(list(arguments))
        said = capfd.readouterr()
        assert ended == code, (arguments, said)
        outputs.keep(" ".join(arguments), said.out, said.err)
        return said.out

    bundle(box)
    here("status")
    here("status", "--json")
    here("releases", "--json")
    here("plan", "-o", "plan.json", "--json")
    here("checkpoint", "--json", "--no-trial")
    here("mark", "R1", "bad", "--why", f"its token is {environ['AWS_SECRET_ACCESS_KEY']}")
    first = json.loads(process("rollback", "--yes", "--json", code=ExitCode.OK))["run"]
    process("undo", first, "--yes", code=ExitCode.OK)
    box.control.faults({"kind": "health-fail", "vendor": "apprunner"})
    failed = json.loads(process("rollback", "--yes", "--json", code=ExitCode.STEP_FAILED))["run"]
    for each in (first, failed):
        here("show", each, "--json")
        here("report", each, "-o", f"{each}.md")
        here("report", each, "-o", f"{each}.html")
    here("runs")
    here("metrics", "--format", "prometheus")
    here("audit", "verify")
    here("audit", "export")
    here("rescue", "list", "--json")
    here("rescue", "show", "run-000001")
    here("checkpoint", "list", "--json")
    here("permissions", "--json")
    assert len(outputs.kept) > 40
    assert b"netlify GET /sites/" in b"".join(data for _, data in outputs.kept), "no debug log"
    assert outputs.hits() == []
    assert in_files(box) == []


def in_files(box: Sandbox) -> list[str]:
    """Hits in all that taly wrote: its store, DBOS's, bundles, checkpoints, plans and reports."""
    own = {"sandbox.json", "sandbox.env", "sandbox.log"}
    paths = [
        path
        for path in box.directory.rglob("*")
        if path.is_file() and path.name not in own and path.stat().st_size
    ]
    names = {path.name for path in paths}
    assert {"store.db", "store.db.dbos", "plan.json", "manifest.json"} <= names
    read = [
        path for path in paths if ".taly" in path.parts or path.suffix in (".json", ".md", ".html")
    ]
    assert len(read) > 10
    return [one for path in read for one in hits(str(path), path.read_bytes())]


def echo(request: Request) -> Response:
    """A vendor that repeats what it was sent: all headers, in its own kind of error."""
    sent = json.dumps(dict(request.headers))
    said = {"code": 403, "message": sent, "__type": "AccessDenied", "error": {"message": sent}}
    return Response(json.dumps(said), status=403, content_type="application/x-amz-json-1.0")


COMPONENTS = """
environment = "production"
[components.site]
provider = "netlify"
site = "shop"
[components.front]
provider = "vercel"
project = "front"
[components.backend]
provider = "apprunner"
service = "backend"
[components.database]
provider = "postgres"
"""
WORDS = {
    "NETLIFY_AUTH_TOKEN": f"{SANDBOX_MARK}-netlify-1",
    "VERCEL_TOKEN": f"{SANDBOX_MARK}-vercel-2",
    "AWS_ACCESS_KEY_ID": f"AKIA{SANDBOX_MARK}",
    "AWS_SECRET_ACCESS_KEY": f"{SANDBOX_MARK}-aws-3",
    "AWS_SESSION_TOKEN": f"{SANDBOX_MARK}/session+4==",
    "AWS_REGION": "eu-west-1",
    "DATABASE_URL": f"postgresql://u:{SANDBOX_MARK}%2Fdb-5@127.0.0.1:1/x",
    "TALY_STORE": "runs.db",
}


@pytest.fixture
def echoed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A platform whose vendors all repeat the credentials that they were sent."""
    listener = Listener(Request.application(echo)).start()
    (tmp_path / "taly.toml").write_text(COMPONENTS)
    for name, value in WORDS.items():
        monkeypatch.setenv(name, value)
    for name in ("NETLIFY_API_URL", "VERCEL_API_URL", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, listener.url)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    listener.stop()


@pytest.mark.parametrize(("command", "debug"), [(["status"], "1"), (["status", "--json"], "")])
def test_vendors_that_repeat_what_they_were_sent(
    command: list[str],
    debug: str,
    echoed: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TALY_DEBUG", debug)
    monkeypatch.setenv("COLUMNS", "40")  # where a long word would be broken in two
    run(command)
    said = capfd.readouterr()
    printed = (said.out + said.err).encode()
    assert hits("output", printed) == []
    assert b"[redacted]" in printed, "nothing was repeated: this test proves nothing"
    unbroken = printed.replace(b"\n", b"").replace(b" ", b"")
    assert hits("output, unbroken", unbroken) == []


@pytest.mark.parametrize("debug", ["", "1"])
def test_a_traceback_with_a_secret_in_it(
    debug: str,
    echoed: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object, **__: object) -> Any:
        token = os.environ["VERCEL_TOKEN"]
        try:
            raise ValueError(f"cannot read {token!r}")
        except ValueError as error:
            raise RuntimeError({"headers": base64.b64encode(token.encode())}) from error

    monkeypatch.setenv("TALY_DEBUG", debug)
    monkeypatch.setattr("taly.app.discover.fan_out", broken)
    assert run(["status", "--json"]) == ExitCode.BUG
    said = capfd.readouterr()
    assert ("Traceback" in said.err) is bool(debug)
    assert "[redacted]" in said.err
    assert hits("traceback", (said.out + said.err).encode()) == []


def test_a_database_that_repeats_its_url(
    echoed: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def failing(url: str, **_: object) -> Any:
        raise psycopg.OperationalError(f'invalid dsn "{url}", password {WORDS["DATABASE_URL"]}')

    monkeypatch.setattr(psycopg, "connect", failing)
    run(["status", "--json"])
    run(["checkpoint", "--json"])
    monkeypatch.setenv("TALY_STORE", f"postgresql://u:{SANDBOX_MARK}store@127.0.0.1:1/runs")
    monkeypatch.setattr("taly.engine.store.postgres.RETRY_S", 0.0)
    assert run(["runs", "--json"]) != ExitCode.OK
    said = capfd.readouterr()
    assert "[redacted]" in said.out or "***" in said.out
    assert hits("output", (said.out + said.err).encode()) == []


def test_a_command_line_that_was_not_understood(
    echoed: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = f"postgresql://u:{SANDBOX_MARK}typed@db/x"
    for arguments in (
        ["status", url],
        ["statsu", url],
        ["status", f"--stoer={url}", "--json"],
        ["runs", "--store", url],
        ["worker", "--store", url],
    ):
        assert run(arguments) == ExitCode.USAGE
    said = capfd.readouterr()
    assert hits("output", (said.out + said.err).encode()) == []


def test_what_a_library_prints_or_logs(
    echoed: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from taly.cli.sinks import clean_output, log_to_stderr

    monkeypatch.setenv("TALY_DEBUG", "1")
    token = WORDS["NETLIFY_AUTH_TOKEN"]
    with clean_output(["rollback"]):
        import logging

        import structlog

        print("header:", token, file=sys.stderr)
        logging.getLogger("taly.plug_in").debug("sent %s", token)
        log_to_stderr()
        try:
            raise ValueError(token)
        except ValueError:
            structlog.get_logger("x").exception("it broke", token=token)
        sys.stdout.writelines([token])
    structlog.reset_defaults()
    said = capfd.readouterr()
    assert said.err.count("[redacted]") >= 4
    assert hits("output", (said.out + said.err).encode()) == []


def test_a_sandbox_still_gives_out_what_it_made_up(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from taly.cli.sinks import clean_output

    monkeypatch.setenv("VERCEL_TOKEN", WORDS["VERCEL_TOKEN"])
    with clean_output(["sandbox", "env"]):
        print(WORDS["VERCEL_TOKEN"])
    assert WORDS["VERCEL_TOKEN"] in capfd.readouterr().out
