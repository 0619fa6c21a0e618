"""A store as somebody with the database's password reaches it: changes that are taken back."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import strategies as st

ACTS = (6, 12, 18, 19)
"""Where production's trail holds no events."""
COLUMNS = ("run_id", "seq", "at", "fence", "body", "environment", "position", "chain")
PLACE = COLUMNS.index("position")
SELECT = (
    f"select {', '.join(COLUMNS)} from event where environment = 'production' order by position"
)


class RawStore(ABC):
    """The same database, as somebody with its password reaches it."""

    url = ""
    unique: tuple[type[Exception], ...] = ()
    """What it raises when two rows would stand in one place."""

    @abstractmethod
    def execute(self, sql: str, values: Sequence[object] = ()) -> None:
        """Run and commit one statement; parameters are question marks."""

    @abstractmethod
    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query returns."""

    @abstractmethod
    def one_byte_changed(self, old: object) -> st.SearchStrategy[object]:
        """Other values that differ in one byte."""

    def parameter(self, value: object) -> str:
        """How that value stands in a statement."""
        return "?"

    @contextmanager
    def changed(self, table: str, column: str, new: Any, run: str, seq: int) -> Iterator[bool]:
        """One column of an event; False when the database allows no such row."""
        old = self.rows(f"select {column} from {table} where run_id = '{run}' and seq = {seq}")[0][
            0
        ]
        where = {"run_id": run, "seq": seq}
        if not self._set(table, column, new, where):
            yield False
            return
        if column in where:
            where[column] = new
        try:
            yield True
        finally:
            assert self._set(table, column, old, where)

    def _set(self, table: str, column: str, value: Any, where: dict[str, Any]) -> bool:
        tests = " and ".join(f"{name} = {self.parameter(one)}" for name, one in where.items())
        sql = f"update {table} set {column} = {self.parameter(value)} where {tests}"
        try:
            self.execute(sql, (value, *where.values()))
        except self.unique:
            return False
        return True

    @contextmanager
    def without(self, run: str, seq: int) -> Iterator[None]:
        row = self.rows(f"select * from event where run_id = '{run}' and seq = {seq}")[0]
        self.execute(f"delete from event where run_id = '{run}' and seq = {seq}")
        try:
            yield
        finally:
            self.execute(f"insert into event values ({', '.join('?' * len(row))})", row)

    @contextmanager
    def inserted(self, row: dict[str, Any]) -> Iterator[None]:
        marks = ", ".join("?" * len(COLUMNS))
        values = [row[name] for name in COLUMNS]
        self.execute(f"insert into event ({', '.join(COLUMNS)}) values ({marks})", values)
        try:
            yield
        finally:
            self.execute("delete from event where seq = ?", (row["seq"],))

    def refuses(self, row: dict[str, Any]) -> None:
        with pytest.raises(self.unique), self.inserted(row):
            pass

    @contextmanager
    def swapped(self, first: Any, second: Any, columns: Sequence[str]) -> Iterator[None]:
        """Two events whose columns changed places."""
        self._put(columns, (first, second), (second, first))
        try:
            yield
        finally:
            self._put(columns, (first, first), (second, second))

    def _put(self, columns: Sequence[str], *pairs: tuple[Any, Any]) -> None:
        where = "where run_id = ? and seq = ?"
        if "position" in columns:
            for row, _ in pairs:
                self.execute(f"update event set position = -position {where}", row[:2])
        sets = ", ".join(f"{name} = ?" for name in columns)
        for row, other in pairs:
            values = [other[COLUMNS.index(name)] for name in columns]
            self.execute(f"update event set {sets} {where}", [*values, *row[:2]])

    @contextmanager
    def replaced(self, column: str, old: str, new: str, run: str) -> Iterator[None]:
        swap = f"update run set {column} = replace({column}, ?, ?) where id = ?"
        self.execute(swap, (old, new, run))
        try:
            yield
        finally:
            self.execute(swap, (new, old, run))

    @contextmanager
    def statement(self, sql: str, back: str) -> Iterator[None]:
        self.execute(sql)
        try:
            yield
        finally:
            self.execute(back)

    @contextmanager
    def cut_off(self, environment: str) -> Iterator[None]:
        """The recorded release, the newest entry, goes without a trace."""
        saved = {
            table: self.rows(f"select * from {table} where environment = '{environment}'")
            for table in ("act", "chain_head", "recorded_release")
        }
        last = saved["chain_head"][0][1]
        before = self.rows(
            f"select chain from act where position = {last - 1} and environment = '{environment}'"
        )[0][0]
        self.execute(f"delete from act where position = {last} and environment = '{environment}'")
        self.execute("delete from recorded_release")
        self.execute(
            f"update chain_head set position = ?, chain = ? where environment = '{environment}'",
            (last - 1, before),
        )
        try:
            yield
        finally:
            for table, rows in saved.items():
                self.execute(f"delete from {table} where environment = '{environment}'")
                for row in rows:
                    self.execute(f"insert into {table} values ({', '.join('?' * len(row))})", row)
