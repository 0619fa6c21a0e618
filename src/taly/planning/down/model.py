"""The way down of one migration, as frozen data."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """Data that the migration destroys: it must be copied before the migration runs."""

    kind: Literal["table", "columns", "rows"]
    """A whole table, some columns with the key, or rows with all of theirs."""
    table: str
    """Qualified, not quoted, as it is called before the migration."""
    columns: tuple[str, ...] = ()
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A question to the live database before the way down is taken."""

    query: str
    """Gives one boolean: true = rows bar the way."""
    text: str
    """What it means when they do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Down:
    """How one migration is taken back."""

    name: str
    source: Literal["team", "derived"]
    statements: tuple[str, ...] = ()
    """In order; saved data is put back after these."""
    afterwards: tuple[str, ...] = ()
    """What needs that data to be there: NOT NULL, keys, checks, indexes, triggers."""
    gaps: tuple[str, ...] = ()
    """What the statements do not bring back, and why; empty = the schema comes back whole."""
    data: tuple[Save, ...] = ()
    loses: tuple[str, ...] = ()
    """What was written since the migration and is gone with the way down."""
    guards: tuple[Guard, ...] = ()
    transactional: bool = True
    """False when a statement cannot run in a transaction (CONCURRENTLY)."""

    @property
    def sql(self) -> tuple[str, ...]:
        """All statements in order, for a database without rows."""
        return self.statements + self.afterwards
