"""The audit trail on PostgreSQL."""

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest
from hypothesis import strategies as st
from trail_contract import TrailContract, filled, version_2
from trail_raw import RawStore

from taly.engine.store import Store
from taly.sandbox.server import Server


class RawPostgres(RawStore):
    unique = (psycopg.errors.UniqueViolation,)

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = psycopg.connect(url, autocommit=True)
        # A superuser switches the foreign keys off before anything is altered.
        self._connection.execute("set session_replication_role = replica")
        self._connection.execute("create schema if not exists taly")
        self._connection.execute("set search_path to taly")

    def execute(self, sql: str, values: Sequence[object] = ()) -> None:
        self._connection.execute(sql.replace("?", "%s").encode(), tuple(values))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql.encode()).fetchall()

    def one_byte_changed(self, old: object) -> st.SearchStrategy[object]:
        """PostgreSQL itself refuses text that is no text, and the byte 0."""
        if isinstance(old, int):
            return st.integers(0, 30).map(lambda bit: old ^ (1 << bit))
        places = [at for at, letter in enumerate(str(old)) if letter.isascii()]
        return (
            st.tuples(st.sampled_from(places), st.integers(1, 127))
            .map(lambda at: f"{str(old)[: at[0]]}{chr(at[1])}{str(old)[at[0] + 1 :]}")
            .filter(lambda new: new != old)
        )

    def make_version_2(self) -> None:
        self.execute("create table schema_version (version integer primary key)")
        for script in version_2():
            self.execute(script)
        self.execute("insert into schema_version values (1), (2)")

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module")
def raw(postgres_server: Server) -> Iterator[RawPostgres]:
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute("drop database if exists trail")
        connection.execute("create database trail")
    url = postgres_server.url("trail")
    raw = RawPostgres(url)
    yield raw
    raw.close()


@pytest.fixture(scope="module")
def store(raw: RawPostgres) -> Iterator[Store]:
    yield from filled(raw)


@pytest.fixture
def fresh(postgres_url: str) -> Iterator[RawPostgres]:
    raw = RawPostgres(postgres_url)
    yield raw
    raw.close()


class TestPostgresTrail(TrailContract):
    examples = 100
