"""`manifest.json` of a rescue bundle: what it holds, sealed by a checksum of itself."""

import hashlib
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from taly.errors import Refused
from taly.hostile import json_value

FORMAT_VERSION = "1.0"
"""A minor adds, a major changes: a reader refuses another major."""
MANIFEST = "manifest.json"
MANIFEST_LIMIT = 16_000_000
"""Bytes, for some ten thousand tables; nested to the utmost it is read in three seconds."""
FILE = re.compile(r"table-[0-9]{4,9}\.jsonl\.gz")
"""The only names of tables' files: numbered, as a table's own name may hold anything."""

TYPE = re.compile(
    r"""(?x) (?: "(?:[^"\x00]|"")+" | [^\W\d][\w$]* )            # a name, quoted or not
        (?: \. (?: "(?:[^"\x00]|"")+" | [^\W\d][\w$]* ) )?       # with its schema before it
        (?: \ (?: varying | precision | with | without | time | zone | to
              | year | month | day | hour | minute | second )
          | \ ?\( [\w\ ,.-]* \) )*
        (?: \[\] )*"""
)
"""What `format_type()` says: `numeric(10,2)`, `timestamp(3) without time zone`, `app."Kind"[]`."""

Kind = Literal["row", "columns", "deleted"]
State = Literal["prepared", "done", "taken-back"]
Count = Field(ge=0)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Kinds(_Strict):
    """Rows by their kind."""

    row: int = Count
    """Whole rows that do not fit, or whose table was dropped."""
    columns: int = Count
    """Columns that had no place, of rows that stayed."""
    deleted: int = Count
    """Rows that live had deleted and the rolled-back database has again."""


class TableFacts(_Strict):
    """The file of one table."""

    file: str
    table_schema: str
    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    """SQL, one for each column."""
    key: tuple[str, ...]
    """The columns that find a row again; empty = the table has no key."""
    rows: int = Count
    kinds: Kinds
    reasons: dict[str, int]
    """Why they are here → how many."""
    bytes: int = Count
    """Of the file."""
    text_bytes: int = Count
    """Of what is in it."""
    longest: int = Count
    """Bytes of its longest line."""
    sha256: str

    @field_validator("file")
    @classmethod
    def _plain(cls, name: str) -> str:
        if not FILE.fullmatch(name):
            raise ValueError("no name of a table's file")
        return name

    @field_validator("types")
    @classmethod
    def _types(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        """They become part of statements: a bundle is data, and may come from anybody."""
        for one in types:
            if not TYPE.fullmatch(one):
                raise ValueError("no name of a type")
        return types

    @property
    def label(self) -> str:
        """For people: schema and name."""
        return f"{self.table_schema}.{self.name}"


class Manifest(_Strict):
    """Everything about a bundle but its rows."""

    format_version: str = FORMAT_VERSION
    taly: str
    run: str
    step: str
    component: str
    environment: str
    place: str
    """host:port/name of the database it is of."""
    made_at: datetime
    state: State
    """`prepared`: all is written, and the step may have been done or not; `done`: it was;
    `taken-back`: it was, and an undo has brought its rows back."""
    tables: tuple[TableFacts, ...]
    facts: dict[str, Any]
    """What the step that wrote it wants to find again."""

    @property
    def rows(self) -> int:
        """Of all tables together."""
        return sum(table.rows for table in self.tables)

    @property
    def bytes(self) -> int:
        """Of all tables' files together."""
        return sum(table.bytes for table in self.tables)


def sealed(document: Manifest) -> bytes:
    """A manifest as JSON, with a checksum of the rest of it as `seal`."""
    body = document.model_dump(mode="json")
    text = json.dumps({**body, "seal": _seal(body)}, indent=2, ensure_ascii=True)
    return text.encode() + b"\n"


def unsealed(path: Path) -> Manifest:
    """Read a manifest; Refused when it is not whole, was changed, or is of a later format."""
    try:
        if path.is_symlink() or path.stat().st_size > MANIFEST_LIMIT:
            raise broken(path, "it is no such document: a link, or far too long")
        body: dict[str, Any] = json_value(path.read_bytes(), limit=MANIFEST_LIMIT)
        seal = body.pop("seal")
        version = str(body["format_version"])
        if version.partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
            raise broken(path, f"it has format {version}, and this taly reads {FORMAT_VERSION}")
        if seal != _seal(body):
            raise broken(path, "it was changed: its checksum does not fit")
        return _checked(path, Manifest.model_validate_json(json.dumps(body)))
    except OSError as error:
        raise broken(path, error.strerror or type(error).__name__) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise broken(path, f"{where}: {first['msg']}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise broken(path, "it is no such document, or not all of it") from error


def _checked(path: Path, manifest: Manifest) -> Manifest:
    """What the types alone do not say."""
    files = [table.file for table in manifest.tables]
    if len(set(files)) != len(files):
        raise broken(path, "two tables have the same file")
    for table in manifest.tables:
        kinds = table.kinds
        columns = set(table.columns)
        if not (
            len(columns) == len(table.columns) == len(table.types)
            and set(table.key) <= columns
            and table.rows == kinds.row + kinds.columns + kinds.deleted
            and table.rows == sum(table.reasons.values())
        ):
            raise broken(path, f"what it says of {table.label} does not agree with itself")
    return manifest


def broken(path: Path, why: str) -> Refused:
    """The refusal of a bundle that cannot be believed, with the file's name."""
    return Refused(
        f"{path.parent.name}/{path.name}: {why}",
        reference="rescue-broken",
        hint="taly rescue list",
    )


def _seal(body: dict[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
