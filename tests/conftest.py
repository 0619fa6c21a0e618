"""Fixtures for every suite: a scrubbed environment, a real PostgreSQL, a fresh database a test."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from taly.sandbox.server import Server, find_server

SCRUBBED = ("AWS_", "PG", "VERCEL_", "NETLIFY_", "DATABASE_URL", "TALY_", "NO_COLOR", "FORCE_COLOR")
_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def _scrubbed_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the developer's credentials or a vendor's address."""
    for name in list(os.environ):
        if name.startswith(SCRUBBED):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the whole session (one a worker under xdist)."""
    server = find_server(Path(tmp_path_factory.mktemp("postgres")))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def postgres_url(postgres_server: Server) -> Iterator[str]:
    """The URL of an empty database, made for this test and removed after it."""
    name = f"test_{next(_numbers)}"
    yield postgres_server.create_database(name)
    postgres_server.drop_database(name)
