"""What corresponds to what between the database that is live and the one that takes its place.

`source` is where the rows come from, `target` where they go. Going back, the source has the newer
schema and the target is the restored backup; an undo goes the other way.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """What the team says in taly.toml about a column whose values read differently."""

    column: str
    """`table.column` or `schema.table.column`, as the old schema calls it."""
    enum_map: tuple[tuple[str, str], ...] = ()
    """Label that the old schema does not know → label that it does."""
    fill: str = ""
    """SQL expression for a value that the new schema has no more; may use the new columns."""
    transform: str = ""
    """SQL expression over the new columns that gives the old value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnPair:
    """One column of the target, and how its value is read from a row of the source."""

    source: str
    """Its name there; empty when the value comes from an expression alone."""
    target: str
    type: str
    """Of the target's column, as SQL."""
    how: Literal["same", "renamed", "retyped", "hinted"]
    expression: str
    """SQL over the source's row, whose alias is `s`: the value as the target's type prints it."""
    labels: tuple[str, ...] = ()
    """For an enum: the labels that the target knows."""
    not_null: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitColumn:
    """A column that only the source has: what it holds is split off into the rescue bundle."""

    name: str
    type: str
    default: str = ""
    """Its constant default as SQL: a value that equals it need not be rescued. Empty = NULL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePair:
    """A table that both have."""

    source: tuple[str, str]
    """Schema and name."""
    target: tuple[str, str]
    key: tuple[ColumnPair, ...]
    """What finds a row again on both sides; empty = none, or it changed its type: the table is
    replaced as a whole."""
    columns: tuple[ColumnPair, ...]
    """All columns of the target that can be written, the key's among them, in its order."""
    split: tuple[SplitColumn, ...] = ()
    kept: tuple[str, ...] = ()
    """Columns that only the target has: an update leaves them, an insert gives their default."""
    required: tuple[str, ...] = ()
    """Those of `kept` that are NOT NULL without a default: a row that is new cannot be inserted."""
    always_identity: bool = False
    """Whether an insert needs OVERRIDING SYSTEM VALUE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """A table that only one side has."""

    table: tuple[str, str]
    columns: tuple[SplitColumn, ...]
    key: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Correspondence:
    """All of it."""

    tables: tuple[TablePair, ...]
    only_source: tuple[Extra, ...] = ()
    """Their rows have no place: all of them go to the rescue bundle."""
    only_target: tuple[tuple[str, str], ...] = ()
    """They stay as the backup has them."""
    conversions: tuple[str, ...] = ()
    """A sentence for each renamed or retyped column without a hint: these need a yes."""
    gaps: tuple[str, ...] = ()
    """What cannot be carried over at all, and why; then nothing is."""
