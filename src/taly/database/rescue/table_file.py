"""One table's rows as JSON lines, compressed, written as they come and read back as they were.

The first line names the table. Then each line is a list, one row: kind, number of the reason,
number of the set of columns, values; and, where it is known how the row reads after the rollback,
a set of columns and values for that too. An object on a line adds a reason or a set of columns to
what later lines refer to. Set 0 is all columns of the table.
"""

import gzip
import hashlib
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from taly.database.rescue.manifest import Kind, Kinds, TableFacts, broken
from taly.errors import VendorRefused

KINDS: tuple[Kind, ...] = get_args(Kind)
NUMBER: dict[str, int] = {kind: number for number, kind in enumerate(KINDS)}
CHUNK = 256_000
"""Characters that are collected before they are compressed."""
LINE_LIMIT = 4_000_000_000
"""Bytes. PostgreSQL sends no row of more than 1 GB; a longer line was not written by us."""

Line = list[Any]

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class RescuedTable:
    """A table whose rows are rescued; names as the catalog has them, not quoted."""

    schema: str
    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    """SQL, one for each column."""
    key: tuple[str, ...]
    """The columns that find a row again; empty = the table has no key."""


@dataclass(slots=True, kw_only=True)
class RescuedRow:
    """One row as it was written."""

    kind: Kind
    why: str
    columns: tuple[str, ...]
    values: tuple[str | None, ...]
    """PostgreSQL text, or None for NULL."""
    base: dict[str, str | None] | None
    """How it reads right after the rollback; None = it is not there."""

    @property
    def row(self) -> dict[str, str | None]:
        """Column → value."""
        return dict(zip(self.columns, self.values, strict=True))


class TableFile:
    """Writes one table's file: bounded memory, no handle kept open, whatever it is given."""

    def __init__(self, path: Path, table: RescuedTable) -> None:
        """Nothing is written before the first row."""
        self.table = table
        self._path = path
        self._begin()

    def _begin(self) -> None:
        self.rows = 0
        self._lines: list[str] = []
        self._size = self._longest = self._text_bytes = self._bytes = 0
        self._zip: Any = None
        self._sha = hashlib.sha256()
        self._kinds: Counter[str] = Counter()
        self._reasons: dict[str, int] = {}
        self._counts: list[int] = []
        self._sets: dict[tuple[str, ...], int] = {self.table.columns: 0}
        self._closed: TableFacts | None = None

    def add(
        self,
        kind: Kind,
        values: Sequence[str | None],
        *,
        why: str,
        base: Mapping[str, str | None] | None = None,
        columns: Sequence[str] | None = None,
    ) -> None:
        """Keep a row, or some columns of one (then its key's columns must be among them).

        `values` are PostgreSQL text made under the settings `EXACT`, in the order of `columns`
        (the table's own when not given). `base` is the row right after the rollback. Raises
        VendorRefused when it cannot be written: nothing was changed yet then.
        """
        if self._closed is not None:
            raise ValueError("the file is complete")
        chosen = 0 if columns is None else self._set_of(tuple(columns))
        expected = len(self.table.columns if columns is None else columns)
        if len(values) != expected:
            raise ValueError(f"{expected} columns, and {len(values)} values")
        reason = self._reason(why)
        line: Line = [NUMBER[kind], reason, chosen, list(values)]
        if base is not None:
            line += (self._set_of(tuple(base)), list(base.values()))
        self._write(line)
        self.rows += 1
        self._kinds[kind] += 1
        self._counts[reason] += 1

    def restart(self) -> None:
        """Drop what was added so far: the table's rows are written anew."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise not_written(self._path, error) from error
        self._begin()

    def close(self) -> TableFacts:
        """Bring everything to the file; no row can be added any more."""
        if self._closed is None:
            self._flush(last=True)
            self._closed = TableFacts(
                file=self._path.name,
                table_schema=self.table.schema,
                name=self.table.name,
                columns=self.table.columns,
                types=self.table.types,
                key=self.table.key,
                rows=self.rows,
                kinds=Kinds(**{kind: self._kinds[kind] for kind in KINDS}),
                reasons=dict(zip(self._reasons, self._counts, strict=True)),
                bytes=self._bytes,
                text_bytes=self._text_bytes,
                longest=self._longest,
                sha256=self._sha.hexdigest(),
            )
            self._zip = None
        return self._closed

    def _reason(self, why: str) -> int:
        number = self._reasons.get(why)
        if number is None:
            number = self._reasons[why] = len(self._reasons)
            self._counts.append(0)
            self._write({"why": why})
        return number

    def _set_of(self, columns: tuple[str, ...]) -> int:
        number = self._sets.get(columns)
        if number is None:
            number = self._sets[columns] = len(self._sets)
            self._write({"columns": columns})
        return number

    def _write(self, line: Any) -> None:
        if self._zip is None:
            self._zip = zlib.compressobj(level=1, wbits=31)
            self._write(header(self.table))
        text = _encode(line)
        size = len(text) + 1
        self._longest = max(self._longest, size)
        self._lines.append(text)
        self._size += size
        if self._size >= CHUNK:
            self._flush()

    def _flush(self, *, last: bool = False) -> None:
        if self._zip is None:
            return
        # JSON of ours is ASCII: characters are bytes.
        data = "".join(f"{line}\n" for line in self._lines).encode("ascii")
        self._lines.clear()
        self._size = 0
        packed = self._zip.compress(data) + (self._zip.flush() if last else b"")
        self._text_bytes += len(data)
        self._bytes += len(packed)
        self._sha.update(packed)
        append(self._path, packed)


def append(path: Path, data: bytes) -> None:
    """Add to a file that only its owner may read; VendorRefused when that cannot be."""
    try:
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, 0o600), "ab") as file:
            file.write(data)
    except OSError as error:
        raise not_written(path, error) from error


def not_written(path: Path, error: OSError) -> VendorRefused:
    """The error of a bundle that cannot be written: the database was not changed yet."""
    return VendorRefused(
        f"the rescue bundle {path} cannot be written: {error.strerror or error}",
        reference="rescue-not-written",
        hint=f"make room in {path.parent}, or mend its permissions; then taly plan",
    )


def header(table: RescuedTable) -> dict[str, Any]:
    """The first line."""
    return {
        "schema": table.schema,
        "name": table.name,
        "columns": table.columns,
        "types": table.types,
        "key": table.key,
    }


def read_rows(path: Path, facts: TableFacts) -> Iterator[RescuedRow]:
    """The rows of a file, in bounded memory; Refused when it is not what the manifest says."""
    try:
        yield from _rows(path, facts)
    except OSError as error:
        raise broken(path, error.strerror or str(error)) from error
    except (EOFError, zlib.error) as error:
        raise broken(path, "it is not whole") from error
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise broken(path, "it holds a line that is none of ours") from error


def _rows(path: Path, facts: TableFacts) -> Iterator[RescuedRow]:
    reasons: list[str] = []
    sets: list[tuple[str, ...]] = [facts.columns]
    count = 0
    lines = _lines(path, facts)
    table = RescuedTable(
        schema=facts.table_schema,
        name=facts.name,
        columns=facts.columns,
        types=facts.types,
        key=facts.key,
    )
    if facts.rows and json.dumps(next(lines, None)) != json.dumps(header(table)):
        raise broken(path, "its first line is not the table that the manifest names")
    for line in lines:
        if isinstance(line, dict):
            _learn(line, reasons, sets)
            continue
        count += 1
        yield _row(line, reasons, sets)
    if count != facts.rows:
        raise broken(path, f"it holds {count} rows, and {facts.rows} were written")


def _lines(path: Path, facts: TableFacts) -> Iterator[Any]:
    """Each line, parsed; a few bytes that unpack to more than was written go no further."""
    longest, left = min(facts.longest, LINE_LIMIT), facts.text_bytes
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as packed, gzip.GzipFile(fileobj=packed) as file:
        while line := file.readline(longest + 1):
            left -= len(line)
            if len(line) > longest or left < 0 or not line.endswith(b"\n"):
                raise broken(path, "it holds more than was written")
            yield json.loads(line.decode("utf-8"))


def _learn(line: dict[str, Any], reasons: list[str], sets: list[tuple[str, ...]]) -> None:
    match line:
        case {"why": str(why), **rest} if not rest:
            reasons.append(why)
        case {"columns": list(names), **rest} if not rest and _are_texts(names):
            sets.append(tuple(names))
        case _:
            raise ValueError(line)


def _row(line: Line, reasons: list[str], sets: list[tuple[str, ...]]) -> RescuedRow:
    base = None
    if len(line) == 6:
        base = dict(zip(sets[_index(line[4])], _values(line[5]), strict=True))
    elif len(line) != 4:
        raise ValueError(len(line))
    columns, values = sets[_index(line[2])], _values(line[3])
    if len(columns) != len(values):
        raise ValueError(len(values))
    return RescuedRow(
        kind=KINDS[_index(line[0])],
        why=reasons[_index(line[1])],
        columns=columns,
        values=tuple(values),
        base=base,
    )


def _index(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value


def _values(values: Any) -> list[str | None]:
    if type(values) is not list:
        raise TypeError(values)
    for value in values:
        if value is not None and type(value) is not str:
            raise TypeError(value)
    return values


def _are_texts(values: list[Any]) -> bool:
    return all(type(value) is str for value in values)
