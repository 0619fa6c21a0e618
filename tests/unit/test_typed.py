"""No secret is taken from a command line, by whatever command and flag."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from taly.cli.main import COMMANDS, cli, run
from taly.sandbox import serve
from taly.sandbox.running import DATABASE_URL
from taly.sandbox.serve import Wish, start_detached

SECRET = "SANDBOXSECRETtyped"
URLS = (
    f"postgresql://u:{SECRET}@127.0.0.1:1/x",
    f"postgresql://u@127.0.0.1:1/x?password={SECRET}",
    f"look at https://u:{SECRET}@example.com",
)


def takers(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command line up to each text that it takes: `plan --to`, `show`, …"""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from takers(command, (*path, name))
        for parameter in command.params:
            if isinstance(parameter, click.Argument):
                yield (*path, name)
            elif isinstance(parameter, click.Option) and not parameter.is_flag:
                yield (*path, name, parameter.opts[0])


EVERYWHERE = list(takers(cli))


@pytest.mark.parametrize("url", URLS)
def test_a_password_is_refused_in_every_flag_and_argument_of_every_command(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {where[0] for where in EVERYWHERE} >= COMMANDS.keys() - {"demo", "workers"}
    for where in EVERYWHERE:
        assert run([*where, url]) == 2, where
        said = capsys.readouterr()
        assert "password-on-command-line" in said.err, where
        assert SECRET not in said.out + said.err


@pytest.mark.parametrize(
    ("flag", "instead"),
    [
        ("--store", "export TALY_STORE="),
        ("--database-url", f"export {DATABASE_URL}="),
        ("--into", "--into RESCUE_URL"),
        ("--to", "environment variable"),
    ],
)
@pytest.mark.parametrize("joined", [True, False])
def test_the_hint_names_what_to_do_instead(
    flag: str, instead: str, joined: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"{flag}={URLS[0]}"] if joined else [flag, URLS[0]]
    assert run(["plan", *given, "--json"]) == 2
    said = capsys.readouterr()
    assert instead in json.loads(said.out)["hint"]
    assert f"{flag}: a password does not belong" in said.err


@pytest.mark.parametrize(
    "given", ["postgresql://u@127.0.0.1:1/x", "s3://team/taly", "R41", "a:b@c", "http://[", "=", ""]
)
def test_what_holds_no_password_is_not_refused_for_one(
    given: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(["show", given])
    assert "password-on-command-line" not in capsys.readouterr().err


def test_a_sandbox_s_background_process_gets_the_url_by_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def started(command: list[str], **more: Any) -> Any:
        seen.update(command=command, env=more["env"])
        raise OSError("enough seen")

    wish = Wish(scenario="taly", directory=str(tmp_path), database_url=URLS[0])
    with pytest.raises(OSError, match="enough"):
        start_detached(wish, popen=started)
    assert SECRET not in " ".join(seen["command"])
    assert seen["env"][DATABASE_URL] == URLS[0]

    served: list[Wish] = []
    monkeypatch.setattr(serve, "serve", lambda wish, ready: served.append(wish) or [])
    monkeypatch.setenv(DATABASE_URL, seen["env"][DATABASE_URL])
    serve.main(seen["command"][3], os.open(tmp_path / "told", os.O_CREAT | os.O_WRONLY))
    assert served == [wish]
