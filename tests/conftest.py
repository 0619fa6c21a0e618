"""Fixtures for every suite: a scrubbed environment, a real PostgreSQL, an empty database a test."""

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from taly.sandbox.binaries import find_binaries
from taly.sandbox.server import Server
from tests.cluster import PREPARED, Prepared, find_copied
from tests.kills.table import pytest_terminal_summary as pytest_terminal_summary

SCRUBBED = ("AWS_", "PG", "VERCEL_", "NETLIFY_", "DATABASE_URL", "TALY_", "NO_COLOR", "FORCE_COLOR")

END_OTHERS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
SCHEMAS = """
SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
"""
MEMORY = Path("/dev/shm")
ROOM = 6 << 30
"""Bytes: a run of everything needs a third of it."""
GARBAGE_AFTER = 50_000


def pytest_configure() -> None:
    """Ctrl-C reaches the tests and what they start, also where a script runs them with `&`.

    A shell without job control has its background jobs ignore SIGINT, and children inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _write_to_memory()


def pytest_collection_finish() -> None:
    """Python's own search for garbage took a tenth of the time: what is loaded now is none."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER)


def _write_to_memory() -> None:
    """Temporary files lie in memory where there is room: no test's claim is about a disk."""
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK | os.X_OK):
        return
    may_run = not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    if may_run and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None


@pytest.fixture(autouse=True)
def _scrubbed_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the developer's credentials or a vendor's address."""
    for name in list(os.environ):
        if name.startswith(SCRUBBED):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def prepared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The cluster that servers begin with, made once a worker."""
    prepared = Prepared(tmp_path_factory.mktemp("cluster"), find_binaries())
    prepared.prepare()
    yield
    del os.environ[PREPARED]
    prepared.stop()


@pytest.fixture(scope="session")
def postgres_server(
    tmp_path_factory: pytest.TempPathFactory, prepared_cluster: None
) -> Iterator[Server]:
    """One server for the whole session (one a worker under xdist)."""
    server = find_copied(Path(tmp_path_factory.mktemp("postgres")))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def postgres_url(postgres_server: Server) -> str:
    """The URL of a database that is empty when the test begins.

    It is emptied, not made anew: CREATE DATABASE takes ten times as long.
    """
    url = postgres_server.url()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(END_OTHERS)
        for (schema,) in connection.execute(SCHEMAS).fetchall():
            connection.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(schema)))
        connection.execute("CREATE SCHEMA public")
    return url
