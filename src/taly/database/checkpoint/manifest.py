"""`manifest.json` and `after.json`: what a checkpoint holds, sealed by a checksum of itself."""

import hashlib
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from taly.errors import Refused
from taly.hostile import json_value

FORMAT_VERSION = "1.2"
"""A minor adds, a major changes: a reader refuses another major."""
MANIFEST = "manifest.json"
AFTER = "after.json"
DOCUMENT_LIMIT = 64_000_000
"""Bytes of one of its JSON documents: a thousand tables take 2 MB."""
NAME_LIMIT = 1000
SNAPSHOT = r"^(\d+:\d+:(\d+(,\d+)*)?)?$"
PART = re.compile(r"(?!\.{1,2}$)[^/\\\x00-\x1f]{1,255}")
"""One part of a file's name: no way up, no other machine's separator, nothing unprintable."""

Backup = Literal["dump", "template", "none", "rds-snapshot", "rds-pitr"]


def _within(name: str) -> str:
    """A file's name in the manifest, which anybody may have written: it leads nowhere else."""
    parts = name.split("/")
    if len(name) > NAME_LIMIT or not all(PART.fullmatch(part) for part in parts):
        raise ValueError("no name of a checkpoint's file")
    return name


FileName = Annotated[str, AfterValidator(_within)]
"""Relative to the checkpoint's folder, and within it."""


Sums = Literal["plain", "mixed"]
"""How rows are summed up: plainly until format 1.1, since then each row's hash is mixed before."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Instant(_Strict):
    """One moment of a database, as later comparisons need it."""

    at: datetime
    """By the server's clock."""
    snapshot: str = Field(pattern=SNAPSHOT)
    """`pg_current_snapshot()`: what was visible. It becomes part of statements."""
    xmin: int
    """Rows written since have an `xmin` of at least this, modulo 2³²."""
    lsn: str
    """Write-ahead log position; empty where the server does not tell."""
    exported: str = ""
    """The name under which `pg_dump` saw the same moment."""


class Database(_Strict):
    """Which database it was: a comparison by `xmin` holds for no other."""

    place: str
    name: str
    oid: int
    system_identifier: str
    """Empty where the server does not tell."""
    server_version: str
    bytes: int


class LedgerRow(_Strict):
    """One row of `_prisma_migrations`."""

    name: str
    checksum: str
    started_at: datetime
    finished_at: datetime | None
    rolled_back_at: datetime | None


class MigrationText(_Strict):
    """A migration of the checkout."""

    name: str
    checksum: str
    """sha256 of migration.sql."""
    pending: bool
    team_down: bool = False
    """Whether the team has written a `down.sql` for it."""


class TableContent(_Strict):
    """A table's rows, as a multiset."""

    table_schema: str
    name: str
    rows: int
    checksum: str


class Kept(_Strict):
    """A file with what the migrations are about to destroy of one table."""

    file: FileName
    table_schema: str
    table: str
    columns: tuple[str, ...]
    """In the file's order."""
    key: tuple[str, ...]
    """Those that find the row again; empty = the rows are whole."""
    rows: int
    bytes: int
    """Of the text before compression."""
    why: tuple[str, ...]


class DownFacts(_Strict):
    """The way down of a pending migration."""

    migration: str
    file: FileName
    source: Literal["team", "derived"]
    proven: bool
    """Whether it was tried out on an empty copy of the schema, and the catalog was as before."""
    reason: str
    """Why it is not proven."""
    gaps: tuple[str, ...]
    """What it does not bring back."""
    loses: tuple[str, ...]
    """What was written since the migration and goes with it."""


class BackupFacts(_Strict):
    """The whole database, kept."""

    kind: Backup
    asked: Backup
    why: str = ""
    """Why it is of another kind than was asked for."""
    program: str = ""
    """What made it."""
    template: str = ""
    """The name of the copy on the same server."""
    instance: str = ""
    """The RDS instance."""
    region: str = ""
    """Empty = AWS_REGION of whoever restores."""
    snapshot: str = ""
    """The RDS snapshot."""
    restore_to: datetime | None = None
    """The instant to which RDS is to restore, a little after the checkpoint's own."""

    @property
    def on_rds(self) -> bool:
        """Whether it is RDS that has it."""
        return self.kind in ("rds-snapshot", "rds-pitr")


class SettledContent(_Strict):
    """Of a table's rows at the instant those that nobody touched until the backup was made.

    A backup that RDS makes is of a moment a little later than the instant. These rows are in it
    as they were: by their count and checksum it is proved.
    """

    table_schema: str
    name: str
    rows: int
    checksum: str
    touched: Annotated[str, AfterValidator(lambda name: name and _within(name))]
    """The file with the hashes of those that somebody did touch; empty = none."""


class FileFacts(_Strict):
    """A file of the checkpoint."""

    path: FileName
    bytes: int
    sha256: str


class Manifest(_Strict):
    """Everything about a checkpoint but its contents."""

    format_version: str = FORMAT_VERSION
    taly: str
    name: str
    environment: str
    component: str
    commit: str
    label: str
    by: str
    made_at: datetime
    database: Database
    instant: Instant
    schema_name: str
    ledger_found: bool
    ledger: tuple[LedgerRow, ...]
    migrations: tuple[MigrationText, ...]
    backup: BackupFacts
    tables: tuple[TableContent, ...]
    """Of the whole database at that instant; empty without a backup."""
    sums: Sums = "plain"
    """How the checksums of `tables` and `settled` are made."""
    large_objects: int
    destroyed: tuple[Kept, ...]
    unseen: tuple[str, ...]
    """What the migrations' texts do not tell: only the backup covers it."""
    settled: tuple[SettledContent, ...] = ()
    """Only of a backup that RDS has."""
    large_objects_later: int | None = None
    """How many there were when it had been made; None = as many as at the instant."""
    window: Instant | None = None
    """When it had been made: what was written until then is no migration's work."""
    ways_down: tuple[DownFacts, ...]
    """Of the pending migrations, where there is something to go back to."""
    notes: tuple[str, ...]
    files: tuple[FileFacts, ...]

    @property
    def pending(self) -> tuple[str, ...]:
        """The migrations that were to be applied next."""
        return tuple(one.name for one in self.migrations if one.pending)

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(file.bytes for file in self.files)


class After(_Strict):
    """The end of the migration window: what was written until then was the migrations' work."""

    format_version: str = FORMAT_VERSION
    by: str
    made_at: datetime
    instant: Instant
    ledger: tuple[LedgerRow, ...]
    applied: tuple[str, ...]
    """Those of the pending migrations that are applied now."""
    notes: tuple[str, ...]
    files: tuple[FileFacts, ...]
    """Those that came with it."""


M = TypeVar("M", Manifest, After)


def sealed(document: Manifest | After) -> bytes:
    """A document as JSON with a checksum of the rest of it as `seal`."""
    body = document.model_dump(mode="json")
    text = json.dumps({**body, "seal": _seal(body)}, indent=2, ensure_ascii=False)
    return text.encode() + b"\n"


def unsealed(kind: type[M], path: Path) -> M:
    """Read a document; Refused when it is not whole, was changed, or is of a later format."""
    try:
        body: dict[str, Any] = document(path)
        seal = body.pop("seal")
        version = str(body["format_version"])
        if version.partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
            raise broken(path, f"it has format {version}, and this taly reads {FORMAT_VERSION}")
        if seal != _seal(body):
            raise broken(path, "it was changed: its checksum does not fit")
        return kind.model_validate_json(json.dumps(body))
    except OSError as error:
        raise broken(path, error.strerror or type(error).__name__) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise broken(path, f"{where}: {first['msg']}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise broken(path, "it is no such document, or not all of it") from error


def document(path: Path) -> Any:
    """The JSON in a file of a checkpoint; ValueError, OSError when it is none, or not a file."""
    if path.is_symlink():
        raise ValueError("it is a link")
    with path.open("rb") as file:
        return json_value(file.read(DOCUMENT_LIMIT + 1), limit=DOCUMENT_LIMIT)


def broken(path: Path, why: str) -> Refused:
    """The refusal of a checkpoint that cannot be believed, with the file's name."""
    return Refused(
        f"{path.parent.name}/{path.name}: {why}",
        reference="checkpoint-broken",
        hint="taly checkpoint list",
    )


def _seal(body: dict[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
