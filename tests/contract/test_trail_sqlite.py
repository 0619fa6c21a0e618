"""The audit trail on SQLite."""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from trail_contract import TrailContract, filled, version_2
from trail_raw import RawStore

from taly.engine.store import Store


class RawSqlite(RawStore):
    unique = (sqlite3.IntegrityError,)

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self._path = path

    def execute(self, sql: str, values: Sequence[object] = ()) -> None:
        connection = sqlite3.connect(self._path)
        try:
            with connection:
                connection.execute(sql, tuple(values))
        finally:
            connection.close()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self._path)
        try:
            return list(connection.execute(sql).fetchall())
        finally:
            connection.close()

    def parameter(self, value: object) -> str:
        return "cast(? as text)" if isinstance(value, bytes) else "?"

    def one_byte_changed(self, old: object) -> st.SearchStrategy[object]:
        """Not all of them are text: a file can hold anything."""
        if isinstance(old, int):
            return st.integers(0, 62).map(lambda bit: old ^ (1 << bit))
        raw = str(old).encode()
        return st.tuples(st.integers(0, len(raw) - 1), st.integers(1, 255)).map(
            lambda at: raw[: at[0]] + bytes([raw[at[0]] ^ at[1]]) + raw[at[0] + 1 :]
        )

    def make_version_2(self) -> None:
        self.execute("create table schema_version (version integer primary key)")
        for script in version_2():
            for statement in script.split(";"):
                if statement.strip():
                    self.execute(statement)
        self.execute("insert into schema_version values (1), (2)")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> RawSqlite:
    return RawSqlite(tmp_path_factory.mktemp("trail") / "taly.db")


@pytest.fixture(scope="module")
def store(raw: RawSqlite) -> Iterator[Store]:
    yield from filled(raw)


@pytest.fixture
def fresh(tmp_path: Path) -> RawSqlite:
    return RawSqlite(tmp_path / "taly.db")


class TestSqliteTrail(TrailContract):
    examples = 250
