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
    fits: str = ""
    """SQL over the same row: false when the value cannot be read in the target's type as it is
    (too large, too long, it would be rounded); NULL counts as true. Empty = every value fits.
    Where it is false `expression` gives the source's own text, uncut, and never an error."""


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
    only: bool = False
    """Whether other tables inherit from it: its own rows are read and written with ONLY."""


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
    """A sentence for each column whose values may read differently and that has no hint: these
    need a yes."""
    gaps: tuple[str, ...] = ()
    """What cannot be carried over at all, and why; then nothing is."""
    notes: tuple[str, ...] = ()
    """What is worth knowing and needs nobody's yes: hints that are not used, foreign tables."""


Name = tuple[str, str]
"""Schema and name, not quoted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedTable:
    """A table that the old schema and the new one both have."""

    before: Name
    live: Name
    columns: tuple[tuple[str, str], ...] = ()
    """Those that both have: name in the old schema, name in the new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedEnum:
    """An enum type that both have."""

    before: Name
    live: Name
    labels: tuple[tuple[str, str], ...] = ()
    """Those that both have: old, new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """What of the old schema is which in the new one; the names of the old one come first."""

    tables: tuple[MatchedTable, ...] = ()
    enums: tuple[MatchedEnum, ...] = ()
    types: tuple[tuple[str, str], ...] = ()
    """Domains and composite types, qualified and quoted as in a column's type."""
    overwritten: tuple[tuple[Name, str], ...] = ()
    """Columns of the old schema whose values the migrations write."""
    computed: tuple[tuple[Name, str, str], ...] = ()
    """Those of them whose new value is computed from their old one (`price = price * 100`), and
    the migration that does it: every value means something else since."""
    followed: bool = False
    """Whether the migrations' texts were there and hid nothing of what they write."""
