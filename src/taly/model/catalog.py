"""What a database's schema is at one instant: its catalog as frozen plain data.

Definitions are PostgreSQL's own (`pg_get_constraintdef` and its kin) with every name qualified, so
that they can be compared as text and run again as they stand. Identifiers are as the catalog has
them, not quoted; types and expressions are SQL.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

FORMAT_VERSION = 1
"""Of a catalog kept as JSON; within one version fields are only added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """When, and in which database, a catalog was read; all from the same snapshot."""

    at: datetime
    snapshot: str
    """`pg_current_snapshot()`: which transactions were over."""
    xmin: int
    """The oldest transaction that was not over: 64 bits, it does not wrap around."""
    lsn: str
    """Where the write-ahead log stood; empty on a server where it cannot be told."""
    system_identifier: str
    """Of the server's data directory; empty when the role may not read it."""
    database_oid: int
    server_version: int
    """As `server_version_num` has it, e.g. 150018."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table."""

    name: str
    attnum: int
    """Its number, which a rename does not change; tells renames, and is never compared."""
    type: str
    not_null: bool = False
    default: str = ""
    """The default's or generated column's expression; empty = none."""
    identity: Literal["", "always", "by default"] = ""
    generated: Literal["", "stored", "virtual"] = ""
    collation: str = ""
    """Qualified and quoted, where it is not its type's own."""
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A constraint of a table; NOT NULL stands at its column."""

    name: str
    oid: int
    kind: Literal["primary", "unique", "foreign", "check", "exclude", "trigger"]
    definition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index that no constraint made."""

    name: str
    oid: int
    definition: str
    unique: bool
    valid: bool
    """False when a CONCURRENTLY build failed and left it behind; pg_dump leaves such out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A trigger that somebody made."""

    name: str
    oid: int
    definition: str
    enabled: str
    """`pg_trigger.tgenabled`: O, D, R or A."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table, partitioned table or foreign table."""

    schema: str
    name: str
    oid: int
    kind: Literal["table", "partitioned", "foreign"] = "table"
    columns: tuple[Column, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    indexes: tuple[Index, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    parents: tuple[str, ...] = ()
    """The tables that it is a partition of or inherits from."""
    bound: str = ""
    """A partition's bounds, or a partitioned table's key."""
    row_security: Literal["off", "on", "forced"] = "off"
    owner: str = ""
    grants: str = ""
    """`relacl` as text; empty = the owner's only."""
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enum:
    """An enum type."""

    schema: str
    name: str
    oid: int
    labels: tuple[str, ...]
    """In their order, in which they also sort."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A view or materialised view."""

    schema: str
    name: str
    oid: int
    definition: str
    """The query."""
    materialized: bool = False
    indexes: tuple[Index, ...] = ()
    options: str = ""
    """What stands in `WITH (…)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function or procedure."""

    schema: str
    name: str
    oid: int
    arguments: str
    """As `pg_get_function_identity_arguments` has them: they are part of its name."""
    definition: str
    """The whole CREATE OR REPLACE statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """A sequence; the one behind an identity column belongs to that column and is not listed."""

    schema: str
    name: str
    oid: int
    definition: str
    """What follows the name in CREATE SEQUENCE."""
    owner: str = ""
    """The column that it goes with, qualified and quoted; empty = none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """An installed extension; what it brought is not listed."""

    name: str
    schema: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """Anything else that has a definition: policies, domains, composite types, rules."""

    kind: str
    name: str
    """Qualified and quoted, as DROP takes it."""
    oid: int
    definition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """The schema, without what extensions brought and without Prisma's ledger."""

    schemas: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    enums: tuple[Enum, ...] = ()
    views: tuple[View, ...] = ()
    functions: tuple[Function, ...] = ()
    sequences: tuple[Sequence, ...] = ()
    extensions: tuple[Extension, ...] = ()
    others: tuple[Other, ...] = ()
    instant: Instant | None = None
    """Where and when it was read; None for one that was thought out."""
