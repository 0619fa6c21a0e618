"""Secrets: where they may be kept, when they are read, and that nobody is shown one."""

import base64
import json
import sys
import time
from html import escape
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taly import secrets
from taly.app.context import open_context
from taly.cli.main import run
from taly.config import load_config
from taly.errors import UsageError
from taly.model.secrets import FromCommand, FromFile, FromVariable
from taly.redaction import KNOWN, MARK, ORDINARY, Redactor, Secret, redact
from taly.secrets import Environ, resolved

COMPONENTS = '[components.site]\nprovider = "netlify"\nsite = "shop"\n'


@pytest.fixture(autouse=True)
def _forgotten() -> object:
    with KNOWN.scope():
        yield


def toml(folder: Path, *lines: str) -> Path:
    path = folder / "taly.toml"
    path.write_text("\n".join(['environment = "test"', *lines, COMPONENTS]), encoding="utf-8")
    return path


def python(code: str) -> FromCommand:
    return FromCommand(command=(sys.executable, "-c", code))


class TestSources:
    def test_each_kind_gives_its_value_without_one_line_end(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("from-a-file\n\n")
        environ = Environ(
            {"OTHER": "from-a-variable"},
            {
                "A": FromVariable(env="OTHER"),
                "B": FromFile(file=str(tmp_path / "file")),
                "C": python("print('from-a-command')"),
            },
        )
        found = [environ["A"], environ["B"], environ["C"]]
        assert found == ["from-a-variable", "from-a-file\n", "from-a-command"]
        assert {"A", "B", "C", "OTHER"} == set(environ)
        for value in ("from-a-variable", "from-a-file", "from-a-command"):
            assert value not in repr(environ)
            assert redact(f"<{value}>") == f"<{MARK}>"

    def test_a_source_is_asked_once_and_only_when_it_is_needed(self, tmp_path: Path) -> None:
        asked = tmp_path / "asked"
        code = f"open({str(asked)!r}, 'a').write('x'); print('value-of-it')"
        environ = Environ({}, {"A": python(code)})
        assert "A" in environ
        assert not asked.exists()
        assert environ["A"] == environ["A"] == "value-of-it"
        assert asked.read_text() == "x"

    def test_what_taly_toml_says_hides_the_variable_of_that_name(self) -> None:
        given = {"DATABASE_URL": "postgresql://dev", "PRODUCTION_URL": "postgresql://live"}
        environ = Environ(given, {"DATABASE_URL": FromVariable(env="PRODUCTION_URL")})
        assert environ["DATABASE_URL"] == "postgresql://live"

    def test_a_failing_command_shows_what_it_complained_of_and_never_what_it_printed(self) -> None:
        code = "import sys; print('half-a-secret'); sys.exit('not signed in: half-a-secret')"
        with pytest.raises(UsageError, match=r"failed with 1: not signed in: \[redacted\]") as told:
            resolved("TOKEN", python(code), {})
        assert told.value.reference == "secret-command-failed"
        assert "half-a-secret" not in told.value.message

    def test_a_command_that_hangs_is_ended_with_all_that_keeps_its_output_open(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(secrets, "COMMAND_TIMEOUT_S", 0.3)
        code = "import subprocess, sys; subprocess.run(['sleep', '5'])"
        begun = time.monotonic()
        with pytest.raises(UsageError, match="did not answer within"):
            resolved("TOKEN", python(code), {})
        assert time.monotonic() - begun < 3

    @pytest.mark.parametrize(
        ("source", "reference"),
        [
            (FromVariable(env="NOT_SET"), "secret-empty"),
            (FromFile(file="/nonexistent/file"), "secret-unreadable"),
            (FromFile(file="/dev/zero"), "secret-unreadable"),
            (FromCommand(command=("/nonexistent/program",)), "secret-command-failed"),
            (FromCommand(command=("true",)), "secret-empty"),
            (python("import os; os.write(1, b'\\xff\\xfe')"), "secret-unreadable"),
        ],
    )
    def test_what_is_not_there_is_the_users_to_mend(
        self, source: secrets.SecretSource, reference: str
    ) -> None:
        with pytest.raises(UsageError) as told:
            resolved("TOKEN", source, {"PATH": "/usr/bin:/bin"})
        assert told.value.reference == reference
        assert told.value.hint

    def test_no_shell_ever_sees_the_words(self, tmp_path: Path) -> None:
        touched = tmp_path / "touched"
        source = FromCommand(command=("echo", f"$(touch {touched})"))
        assert resolved("T", source, {"PATH": "/usr/bin:/bin"}).reveal().startswith("$(touch")
        assert not touched.exists()


class TestTaly:
    def test_taly_toml_names_them(self, tmp_path: Path) -> None:
        config = load_config(
            toml(
                tmp_path,
                'store = { env = "RUNS_URL" }',
                "[secrets]",
                'NETLIFY_AUTH_TOKEN = { command = ["op", "read", "op://taly/netlify"] }',
                'VERCEL_TOKEN = { file = "vercel" }',
                'DATABASE_URL = { env = "OTHER_NAME" }',
            )
        )
        assert config.secrets == {
            "NETLIFY_AUTH_TOKEN": FromCommand(command=("op", "read", "op://taly/netlify")),
            "VERCEL_TOKEN": FromFile(file=str(tmp_path / "vercel")),
            "DATABASE_URL": FromVariable(env="OTHER_NAME"),
        }
        assert config.store_source == FromVariable(env="RUNS_URL")

    @pytest.mark.parametrize(
        ("line", "complaint"),
        [
            ('A = "the-secret-itself"', "secrets.A"),
            ('A = { env = "B", file = "c" }', "secrets.A: give exactly one of"),
            ("A = {}", "secrets.A: give exactly one of"),
            ('A = { command = "op read" }', "secrets.A.command"),
            ('A = { value = "the-secret-itself" }', "secrets.A.value: there is no such setting"),
            ('"A-B" = { env = "X" }', "secrets.A-B"),
        ],
    )
    def test_a_mistake_is_named_and_never_repeats_a_value(
        self, line: str, complaint: str, tmp_path: Path
    ) -> None:
        with pytest.raises(UsageError) as told:
            load_config(toml(tmp_path, "[secrets]", line))
        assert complaint in told.value.message
        assert "the-secret-itself" not in told.value.message

    def test_the_store_may_be_kept_secret_too(self, tmp_path: Path) -> None:
        path = toml(tmp_path, 'store = { env = "RUNS_URL" }')
        context = open_context(
            config_path=str(path), environ={"RUNS_URL": "postgresql://taly:hunter22@db/runs"}
        )
        assert context.config.store == "postgresql://taly:hunter22@db/runs"
        assert "hunter22" not in repr(context)
        assert redact("hunter22") == MARK

    def test_a_password_in_taly_toml_is_known_as_one(self, tmp_path: Path) -> None:
        path = toml(tmp_path, 'store = "postgresql://taly:hunter22@db/runs"')
        open_context(config_path=str(path), environ={})
        assert redact("FATAL: hunter22") == f"FATAL: {MARK}"

    def test_a_provider_whose_secret_cannot_be_had_is_unknown_and_says_why(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lines = ("[secrets]", 'NETLIFY_AUTH_TOKEN = { command = ["/nonexistent/op"] }')
        run(["status", "--json", "--config", str(toml(tmp_path, *lines))])
        said = json.loads(capsys.readouterr().out)
        assert said["components"]["site"]["reference"] == "secret-command-failed"


class TestRedactor:
    @given(
        before=st.binary(max_size=5),
        secret=st.text(min_size=8, max_size=30).filter(
            lambda text: len(text.strip()) >= 8 and text.strip() not in ORDINARY
        ),
        after=st.binary(max_size=5),
    )
    def test_however_it_is_written_it_is_found(
        self, before: bytes, secret: str, after: bytes
    ) -> None:
        redactor = Redactor()
        assert redactor.add(secret)
        secret = secret.strip()
        data = secret.encode()
        for written in (
            secret,
            repr(secret),
            json.dumps(secret),
            json.dumps(json.dumps(secret)),
            json.dumps(secret, ensure_ascii=False),
            quote(secret, safe=""),
            quote_plus(secret),
            escape(secret),
            base64.b64encode(before + data + after).decode(),
            base64.urlsafe_b64encode(before + data + after).decode(),
        ):
            assert MARK in redactor(f"x {written} y")

    def test_short_and_ordinary_words_are_left_standing(self) -> None:
        redactor = Redactor()
        redactor.spare(["booking"])
        for word in ("", "abc12", "postgres", "booking"):
            assert not redactor.add(word)
        assert redactor("postgres booking abc12") == "postgres booking abc12"

    def test_a_word_that_turns_out_to_be_a_name_is_let_go(self) -> None:
        redactor = Redactor()
        redactor.add("booking")
        redactor.spare(["booking"])
        assert redactor("booking") == "booking"

    def test_what_an_environment_holds_of_secrets(self) -> None:
        redactor = Redactor()
        redactor.learn(
            {
                "NETLIFY_AUTH_TOKEN": "netlify-1",
                "AWS_ACCESS_KEY_ID": "AKIA1234",
                "AWS_SECRET_ACCESS_KEY": "aws-secret-1",
                "AWS_SESSION_TOKEN": "aws-session-1",
                "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token",
                "LIVE_URL": "postgresql://ana:p%2Fword1@db/x?password=query-word",
                "PATH": "/usr/bin",
                "HTTPS_PROXY": "http://me:proxy-word@proxy:3128",
            }
        )
        for value in ("netlify-1", "AKIA1234", "aws-secret-1", "aws-session-1"):
            assert redactor(value) == MARK
        for value in ("p/word1", "p%2Fword1", "query-word", "proxy-word"):
            assert redactor(value) == MARK
        for value in ("/var/run/token", "/usr/bin", "ana", "postgresql://"):
            assert redactor(value) == value

    def test_each_line_of_a_key_is_a_secret(self) -> None:
        redactor = Redactor()
        redactor.add("-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----")
        assert redactor("at hkiG9w0BAQEFAASC: bad") == f"at {MARK}: bad"
        assert redactor("-----BEGIN KEY-----") == "-----BEGIN KEY-----"

    def test_what_is_learnt_for_one_command_is_forgotten_after_it(self) -> None:
        redactor = Redactor()
        redactor.add("stays-known")
        with redactor.scope():
            redactor.add("only-within")
            assert redactor("only-within stays-known") == f"{MARK} {MARK}"
        assert redactor("only-within stays-known") == f"only-within {MARK}"

    def test_a_wrapped_secret_shows_itself_to_nobody(self) -> None:
        secret = Secret("the-value")
        assert f"{secret} {secret!r} {[secret]} %s" % secret == f"{MARK} {MARK} [{MARK}] {MARK}"
        assert secret.reveal() == "the-value"
