"""What is known of a schema while migrations are read: as it was before, and as it is now.

Every object remembers the name it had before the migration (`was`), so that what counts in the end
is the difference, not the way there: a default dropped and set again is no difference.
"""

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Column:
    """A column; None = not known."""

    name: str
    was: str | None = None
    """Its name before the migration; None = this migration added it."""
    type: str = ""
    """Normalised, e.g. `varchar(200)`; empty = not known."""
    type_was: str = ""
    rewritten: bool = False
    """A USING expression other than a plain cast computed its values anew."""
    not_null: bool | None = None
    not_null_was: bool | None = None
    default: bool | None = None
    """Whether an INSERT that leaves it out gets a value."""
    default_was: bool | None = None
    default_changed: bool = False


@dataclass(slots=True, kw_only=True)
class Table:
    """A table, and the columns that were named so far."""

    name: str
    was: str | None = None
    columns: dict[str, Column] = field(default_factory=dict)
    dropped: list[Column] = field(default_factory=list)
    """Columns that were there before and are gone."""

    def column(self, name: str) -> Column:
        """The column of that name; one that was not known yet was there before."""
        if name not in self.columns:
            was = None if self.was is None else name
            self.columns[name] = Column(name=name, was=was)
        return self.columns[name]


@dataclass(slots=True, kw_only=True)
class Enum:
    """An enum type."""

    name: str
    was: str | None = None
    labels: tuple[str, ...] = ()
    labels_was: tuple[str, ...] = ()
    known: bool = False
    """Whether the labels are known; else `labels` holds only those added here."""
    renamed: tuple[tuple[str, str], ...] = ()
    """Labels that were renamed, old and new."""


@dataclass(slots=True, kw_only=True)
class Unique:
    """An index or constraint, by what it means for ON CONFLICT: unique on which columns."""

    name: str
    table: str
    unique: bool | None
    """None = not known: it may be."""
    columns: tuple[str, ...] = ()
    """Empty = not known, or expressions, or only some rows: then equal to no other."""
    was: str | None = None
    kind: str = "index"
    """index, unique, primary, foreign, check, exclude or constraint (not known which)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one change means for the release before it."""

    breaks: bool
    """Whether the old code fails on it, for all that is known."""
    undo: str
    """automatic, catalog (the definition from before is needed) or data."""
    reason: str
    """One sentence."""


@dataclass(slots=True)
class Schema:
    """All that is known, and what happened that leaves no trace in names and types."""

    complete: bool = False
    """Whether every migration since the first was read: then what is not known does not exist."""
    tables: dict[str, Table] = field(default_factory=dict)
    enums: dict[str, Enum] = field(default_factory=dict)
    indexes: dict[str, Unique] = field(default_factory=dict)
    """Indexes by name, constraints by `table.name`."""
    others: set[str] = field(default_factory=set)
    """Functions, views, triggers…, as `function name`."""
    dropped_tables: list[Table] = field(default_factory=list)
    dropped_indexes: list[Unique] = field(default_factory=list)
    dropped_enums: list[Enum] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    """Of statements that are judged at once: data changes, opaque code."""
    fresh_others: set[str] = field(default_factory=set)

    def table(self, name: str) -> Table:
        """The table of that name; one that was not known yet was there before."""
        if name not in self.tables:
            self.tables[name] = Table(name=name, was=name)
        return self.tables[name]

    def enum(self, name: str) -> Enum:
        """The enum of that name; one that was not known yet was there before."""
        if name not in self.enums:
            self.enums[name] = Enum(name=name, was=name)
        return self.enums[name]

    def say(self, *, breaks: bool, undo: str, reason: str) -> None:
        """Record an effect of the statement at hand."""
        self.effects.append(Effect(breaks=breaks, undo=undo, reason=reason))

    def settle(self) -> None:
        """The migration is over: what is now is what was before the next one."""
        for table in self.tables.values():
            table.was, table.dropped = table.name, []
            for column in table.columns.values():
                column.was, column.type_was, column.rewritten = column.name, column.type, False
                column.not_null_was, column.default_was = column.not_null, column.default
                column.default_changed = False
        for enum in self.enums.values():
            enum.was, enum.labels_was, enum.renamed = enum.name, enum.labels, ()
        for index in self.indexes.values():
            index.was = index.name
        self.dropped_tables, self.dropped_indexes, self.dropped_enums = [], [], []
        self.effects, self.fresh_others = [], set()
