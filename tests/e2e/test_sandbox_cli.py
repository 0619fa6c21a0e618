"""`taly sandbox` as a user runs it: real processes, of which none may survive its end."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taly.config import load_config
from taly.sandbox.client import ControlClient
from taly.sandbox.running import is_claimed, read_running
from taly.sandbox.vendors import MARK
from tests.scenario_parts import BACKEND

pytestmark = pytest.mark.xdist_group("sandbox-cli")  # they share sandboxes

SCENARIO = (
    """
name = "three"
description = "A backend, its database and a site."
speed = 100
"""
    + BACKEND
    + """
[[components]]
name = "web"
vendor = "vercel"
after = ["backend"]

[[deploys]]
at = "-2d"
commit = "1111111"

[[deploys]]
at = "-1d"
commit = "2222222"
"""
)
KEPT = ("PATH", "HOME", "LANG", "TMPDIR")
Eventually = Callable[..., None]


class Shell:
    """Runs `taly sandbox …` in a folder of its own and ends what it left running."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.directory = folder / ".taly" / "sandbox"
        self.environ = {name: os.environ[name] for name in KEPT if name in os.environ}
        (folder / "three.toml").write_text(SCENARIO, "utf-8")
        self.seen: set[int] = set()

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "taly", "sandbox", *arguments],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "taly", "sandbox", *arguments],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def up(self) -> "subprocess.CompletedProcess[str]":
        done = self.run("up", "--scenario", "three.toml", "--detach")
        assert done.returncode == 0, done.stderr
        return done

    def remember_children(self, pid: int) -> set[int]:
        """All processes below that one; they must be gone when it is."""
        self.seen |= {pid, *below(pid)}
        return self.seen


def processes() -> dict[int, tuple[int, str]]:
    """Process → (parent, state), of the whole machine."""
    listed = subprocess.run(
        ["ps", "-axo", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    return {int(pid): (int(parent), state) for pid, parent, state in rows}


def below(pid: int) -> set[int]:
    """The children of a process, their children, and so on."""
    table = processes()
    found: set[int] = set()
    layer = {pid}
    while layer := {one for one, (parent, _) in table.items() if parent in layer} - found:
        found |= layer
    return found


def alive(pids: set[int]) -> set[int]:
    """Those that still run (a zombie does not)."""
    table = processes()
    return {pid for pid in pids if pid in table and not table[pid][1].startswith("Z")}


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    one = Shell(tmp_path)
    yield one
    one.run("down")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """One that is up, for tests that only look."""
    one = Shell(tmp_path_factory.mktemp("three"))
    one.up()
    yield one
    one.run("down")


def test_up_says_where_everything_is_in_80_columns_and_what_comes_next(shell: Shell) -> None:
    done = shell.up()
    assert done.stderr == ""
    assert all(
        len(line) <= 80 for line in done.stdout.splitlines() if str(shell.folder) not in line
    )
    running = read_running(shell.directory)
    assert running is not None
    assert running.control in done.stdout
    assert running.urls["web"] in done.stdout
    assert "cd .taly/sandbox" in done.stdout
    assert "taly status" in done.stdout
    assert running.token not in done.stdout
    assert MARK not in done.stdout


def test_status_and_env_tell_it_again(three: Shell) -> None:
    status = json.loads(three.run("status", "--json").stdout)
    assert status["scenario"] == "three"
    assert status["speed"] == 100
    environ = json.loads(three.run("env", "--json").stdout)
    assert set(environ) == {
        *("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        *("AWS_REGION", "AWS_DEFAULT_REGION", "DATABASE_URL", "VERCEL_API_URL", "VERCEL_TOKEN"),
        "TALY_SANDBOX",
    }
    assert {name for name, value in environ.items() if MARK in value} == {
        *("AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "VERCEL_TOKEN"),
    }
    lines = three.run("env").stdout
    assert (three.directory / "sandbox.env").read_text("utf-8") == lines
    script = lines + 'printf "%s" "$DATABASE_URL"'
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout == environ["DATABASE_URL"]


def test_status_shows_the_pace_that_the_clock_has_now(three: Shell) -> None:
    running = read_running(three.directory)
    assert running is not None
    control = ControlClient(running.control, running.token)
    control.clock(speed=7)
    try:
        assert json.loads(three.run("status", "--json").stdout)["speed"] == 7
    finally:
        control.clock(speed=100)


def test_inside_its_directory_it_is_found_without_being_named(three: Shell) -> None:
    inside = Shell(three.directory)
    assert json.loads(inside.run("status", "--json").stdout)["directory"] == str(three.directory)


def test_what_holds_secrets_is_readable_by_its_owner_only_and_gone_afterwards(
    shell: Shell,
) -> None:
    shell.up()
    for name in ("sandbox.json", "sandbox.env"):
        assert stat.S_IMODE((shell.directory / name).stat().st_mode) == 0o600
    assert shell.run("down").returncode == 0
    left = [path for path in shell.directory.rglob("*") if path.is_file()]
    assert not [path for path in left if MARK.encode() in path.read_bytes()]


def test_the_configuration_that_it_writes_is_one(three: Shell) -> None:
    config = load_config(three.directory / "taly.toml")
    running = read_running(three.directory)
    assert running is not None
    assert config.sandbox_control == running.control
    by_name = {component.name: component for component in config.environment.components}
    assert by_name["web"].after == ("backend",)
    health = by_name["backend"].health
    assert health is not None
    assert health.url == running.urls["backend"] + "/health"
    assert health.expect == {"status": "ok", "version": "{commit}"}


def test_up_twice_in_one_directory_names_the_one_that_runs(three: Shell) -> None:
    running = read_running(three.directory)
    assert running is not None
    for arguments in (["--detach"], []):
        again = three.run("up", "--scenario", "three.toml", *arguments)
        assert again.returncode == 2
        assert "sandbox-running" in again.stderr
        assert str(running.pid) in again.stderr
    assert read_running(three.directory) == running


def test_down_ends_everything_and_a_second_one_says_that_nothing_runs(shell: Shell) -> None:
    shell.up()
    running = read_running(shell.directory)
    assert running is not None
    below = shell.remember_children(running.pid)
    assert len(below) >= 4, "the sandbox, the server, its workers, the backend"
    assert shell.run("down").returncode == 0
    assert alive(below) == set()
    again = shell.run("down")
    assert again.returncode == 2
    assert "sandbox-not-running" in again.stderr


def test_in_the_foreground_it_ends_cleanly_on_sigterm(shell: Shell, eventually: Eventually) -> None:
    process = shell.start("up", "--scenario", "three.toml")
    eventually(lambda: read_running(shell.directory))
    below = shell.remember_children(process.pid)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert "has ended" in said
    assert alive(below) == set()
    assert not (shell.directory / "sandbox.json").exists()


def test_a_signal_to_the_whole_group_as_a_terminal_sends_it_ends_it_cleanly_too(
    shell: Shell, eventually: Eventually
) -> None:
    process = shell.start("up", "--scenario", "three.toml")
    eventually(lambda: read_running(shell.directory))
    below = shell.remember_children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert alive(below) == set()


def test_a_signal_while_it_starts_leaves_nothing(shell: Shell, eventually: Eventually) -> None:
    process = shell.start("up", "--scenario", "three.toml")
    eventually(lambda: below(process.pid))
    process.send_signal(signal.SIGHUP)
    children = shell.remember_children(process.pid)
    out, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert "taly status" not in out
    assert alive(children | below(process.pid)) == set()
    assert not is_claimed(shell.directory)


def test_even_kill_9_leaves_nothing_behind_and_the_next_up_works(
    shell: Shell, eventually: Eventually
) -> None:
    shell.up()
    running = read_running(shell.directory)
    assert running is not None
    below = shell.remember_children(running.pid)
    os.kill(running.pid, signal.SIGKILL)
    eventually(lambda: not alive(below), what="the children of a killed sandbox end")
    assert shell.run("status").returncode == 2
    shell.up()


def test_a_mistaken_scenario_is_refused_before_anything_is_made(shell: Shell) -> None:
    (shell.folder / "bad.toml").write_text("name = 3\ncolour = 4\n", "utf-8")
    done = shell.run("up", "--scenario", "bad.toml", "--detach")
    assert done.returncode == 2
    assert "name:" in done.stderr
    assert "colour: unknown key" in done.stderr
    assert "components: is missing" in done.stderr
    assert not (shell.directory / "taly.toml").exists()


def test_somebodys_checkout_is_not_overwritten(shell: Shell, tmp_path: Path) -> None:
    mine = tmp_path / "checkout"
    mine.mkdir()
    (mine / "taly.toml").write_text("mine", "utf-8")
    done = shell.run("up", "--scenario", "three.toml", "--dir", str(mine), "--detach")
    assert done.returncode == 2
    assert "sandbox-directory" in done.stderr
    assert [path.name for path in mine.iterdir()] == ["taly.toml"]
    assert (mine / "taly.toml").read_text("utf-8") == "mine"


@pytest.mark.parametrize("detach", [["--detach"], []])
def test_what_keeps_it_from_starting_is_said(shell: Shell, detach: list[str]) -> None:
    dead = "postgresql://nobody:hunter2@127.0.0.1:9/none"
    shell.environ["TALY_SANDBOX_DATABASE_URL"] = dead
    done = shell.run("up", "--scenario", "three.toml", *detach)
    assert done.returncode == 2
    assert "database-unreachable" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout
    assert not is_claimed(shell.directory)


def test_a_server_that_is_given_is_used_and_left_running(shell: Shell, postgres_url: str) -> None:
    shell.environ["TALY_SANDBOX_DATABASE_URL"] = postgres_url
    done = shell.run("up", "--scenario", "three.toml", "--detach")
    assert done.returncode == 0, done.stderr
    environ = json.loads(shell.run("env", "--json").stdout)
    assert environ["DATABASE_URL"] == postgres_url
    assert shell.run("down").returncode == 0
    import psycopg

    with psycopg.connect(postgres_url) as connection:
        applied = connection.execute("SELECT count(*) FROM _prisma_migrations").fetchone()
    assert applied is not None
    assert applied[0] >= 1


def test_scenarios_and_schema_are_printed(shell: Shell) -> None:
    assert "taly-small" in shell.run("scenarios").stdout
    schema = json.loads(shell.run("schema").stdout)
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("missing", ["werkzeug", "moto"])
def test_without_the_extra_it_says_how_to_install_it(shell: Shell, missing: str) -> None:
    program = (
        "import sys; from taly.cli.main import run; "
        f"sys.modules[{missing!r}] = None; "
        "sys.exit(run(['sandbox', 'up', '--scenario', 'taly-small']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=shell.folder,
        env=shell.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "sandbox-extra-missing" in done.stderr
    assert "pip install 'taly-rollback[sandbox]'" in done.stderr


def test_a_platform_that_nobody_reaches_by_http_is_shown_too_wherever_it_lies(
    shell: Shell,
) -> None:
    (shell.folder / "db.toml").write_text(
        'name = "db"\ndescription = "A database."\n'
        '[[components]]\nname = "database"\nvendor = "postgres"\n',
        "utf-8",
    )
    done = shell.run("up", "--scenario", "db.toml", "--dir", "two words", "--detach")
    assert done.returncode == 0, done.stderr
    assert "cd 'two words'" in done.stdout
    assert shell.run("down", "--dir", "two words").returncode == 0
