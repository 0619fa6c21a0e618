"""One table of a bundle on its way back: what fits, batches of rows, and what becomes of each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import psycopg

from taly.database.rescue.bundle import Reader
from taly.database.rescue.deciding import Decision
from taly.database.rescue.manifest import Kind, TableFacts
from taly.database.rescue.outcome import Fate, Newer, TableOutcome, Told
from taly.database.rescue.present import Present
from taly.database.rescue.record import Bits, Replayed
from taly.database.rescue.table_file import RescuedRow
from taly.database.rescue.writing import Candidate, canonical, canonical_where_it_can, is_rounded

BATCH_ROWS = 500
BATCH_CHARACTERS = 4_000_000
ITS_OWN = ("22", "23", "P0", "54", "42804", "0A")
"""SQLSTATEs that are about a row's values: others end the replay."""

Todo = list[tuple[int, RescuedRow]]
Noted = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a bundle is put back."""

    tables: tuple[str, ...] = ()
    """Only these, as `schema.name` or `name`; empty = all."""
    deletes: bool = False
    """Delete again what live had deleted."""
    partly: bool = False
    """Put a row back also when a column is missing: that value stays in the bundle."""


class Work:
    """One table: its file, how the table is now, and what is left of the file after this replay."""

    def __init__(
        self, facts: TableFacts, now: Present | None, before: Replayed | None, told: Told
    ) -> None:
        """`before` is what earlier replays left (None = there was none)."""
        self.facts = facts
        self.now = now
        self.told = told
        self.outcome = TableOutcome(table=facts.label, rows=facts.rows)
        self.settled = Bits(facts.rows)
        """What needs no further look in this replay."""
        self._left = Bits(facts.rows)
        self._partial = Bits(facts.rows)
        self._missing: set[str] = set()
        self._todo = Bits(facts.rows, (*before.left, *before.partial)) if before else None
        self._only_missing = Bits(facts.rows, before.partial if before else ())
        self._missed = frozenset(before.missing if before else ())

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that find a row again."""
        return self.facts.key

    @property
    def table(self) -> Present:
        """The table; there is one when this is asked."""
        assert self.now is not None, "tables that are not there are left alone before"
        return self.now

    def batches(self, reader: Reader, kinds: Sequence[Kind]) -> Iterator[Todo]:
        """What is still to be done of these kinds, a bounded amount at a time."""
        there = any(getattr(self.facts.kinds, kind) for kind in kinds)
        if not there or self.settled.count == self.facts.rows:
            return
        batch: Todo = []
        size = 0
        for number, row in enumerate(reader.rows(self.facts)):
            if row.kind not in kinds or number in self.settled:
                continue
            if self._todo is not None and number not in self._todo:
                self.settled.add(number)
                self.outcome.already += 1
                continue
            batch.append((number, row))
            size += sum(len(value) for value in row.values if value is not None)
            if len(batch) >= BATCH_ROWS or size >= BATCH_CHARACTERS:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def fitting(self, connection: psycopg.Connection, todo: Todo) -> list[Candidate]:
        """Rows with the columns that the table has now, in the form that its types give them."""
        there = [
            Candidate(number=number, whole=row, row=self._of_today(number, row), values={})
            for number, row in todo
        ]
        for position, column in enumerate(self.facts.columns):
            kind = self.table.types.get(column)
            # Some who write bundles cast to text, which is not always what the type itself says.
            twice = column in self.table.spelled_twice
            if kind is not None and (twice or kind != self.facts.types[position]):
                self._convert(connection, column, there)
        return there

    def _of_today(self, number: int, row: RescuedRow) -> RescuedRow:
        """Without columns that are not there or are computed; and what an earlier replay left."""
        only = self._missed if number in self._only_missing else None
        kept = [
            (name, value)
            for name, value in zip(row.columns, row.values, strict=True)
            if name in self.table.types and (only is None or name in only or name in self.key)
        ]
        return RescuedRow(
            # A row that came back without these columns is there: only they are to be filled.
            kind=row.kind if only is None else "columns",
            why=row.why,
            columns=tuple(name for name, _ in kept),
            values=tuple(value for _, value in kept),
            base=None if row.base is None else dict(row.base),
        )

    def missing(self, row: RescuedRow) -> list[str]:
        """Columns of a row that are not there now, and whose value would be lost without them."""
        return [
            name
            for name, value in zip(row.columns, row.values, strict=True)
            if value is not None
            and name not in self.table.types
            and name not in self.table.generated
        ]

    def _convert(
        self, connection: psycopg.Connection, column: str, rows: Sequence[Candidate]
    ) -> None:
        having = [one for one in rows if column in one.row.columns]
        if not having:
            return
        before = [one.row.row[column] for one in having]
        after = canonical(connection, self.table, column, before)
        bases = [(one.row.base or {}).get(column) for one in having]
        bases = canonical_where_it_can(connection, self.table, column, bases)
        for one, old, new, base in zip(having, before, after, bases, strict=True):
            if is_rounded(old, new):
                raise psycopg.DataError(f"the type of {column} would round it")
            values = {**one.row.row, column: new}
            one.row.values = tuple(values.values())
            if one.row.base is not None and column in one.row.base:
                one.row.base[column] = base

    def settle(self, number: int, row: RescuedRow, decision: Decision, fate: Fate) -> None:
        """A row has found its fate."""
        self.settled.add(number)
        self.outcome.fates[fate] += 1
        self.outcome.newer_values += len(decision.newer)
        if fate == "updated":
            self.outcome.values += len(decision.values)
        key = {name: value for name, value in row.row.items() if name in self.key}
        for column, (rescued, now) in decision.newer.items():
            self.told.newer(
                Newer(table=self.facts.label, key=key, column=column, rescued=rescued, now=now)
            )
        if fate in ("gone", "kept"):
            self.told.row(fate, self.facts.label, row.row, WHY[fate])

    def came_in(self, one: Candidate) -> None:
        """A row was inserted, perhaps without values that have no column now."""
        self.settle(one.number, one.whole, Decision(verdict="insert"), "inserted")
        if missing := self.missing(one.whole):
            self.leave_values(one.number, one.whole, missing)

    def leave(self, number: int, row: RescuedRow, why: str) -> None:
        """A row stays in the bundle only."""
        self.settled.add(number)
        self._left.add(number)
        self.outcome.fates["left"] += 1
        self.outcome.left[why] += 1
        self.told.row("left", self.facts.label, row.row, why)

    def leave_values(self, number: int, row: RescuedRow, columns: Sequence[str]) -> None:
        """Some values of a row stay in the bundle only, for their columns are not there."""
        self._partial.add(number)
        self._missing.update(columns)
        self.outcome.missing.update(columns)
        values = row.row
        kept = {name: values[name] for name in (*self.key, *columns) if name in values}
        self.told.row("left", self.facts.label, kept, f"missing: {', '.join(columns)}")

    def replayed(self) -> Replayed:
        """What the record says of this table."""
        return Replayed(
            left=self._left.ranges(),
            partial=self._partial.ranges(),
            missing=tuple(sorted(self._missing)),
        )


WHY: dict[Fate, str] = {
    "gone": "somebody has deleted it since the rollback",
    "kept": "live had deleted it before the rollback; --deletes deletes it again",
}


def attempt(
    connection: psycopg.Connection,
    todo: Todo,
    action: Callable[[Todo], Noted],
    failed: Callable[[int, RescuedRow, str], None],
) -> None:
    """Do a batch; when something in it does not fit, halves of it, down to the one row.

    `action` gives what is to be noted once its savepoint is released.
    """
    try:
        with connection.transaction():
            noted = action(todo)
    except (psycopg.Error, UnicodeEncodeError) as error:
        if isinstance(error, psycopg.Error) and not _is_about_a_row(error):
            raise
        if len(todo) == 1:
            failed(*todo[0], _said(error))
            return
        half = len(todo) // 2
        attempt(connection, todo[:half], action, failed)
        attempt(connection, todo[half:], action, failed)
        return
    noted()


def _is_about_a_row(error: psycopg.Error) -> bool:
    if error.sqlstate is None:
        return isinstance(error, psycopg.DataError)  # psycopg itself refused the value
    return error.sqlstate.startswith(ITS_OWN)


def _said(error: Exception) -> str:
    """Why a row does not fit; without its values, so that equal reasons are counted together."""
    if not isinstance(error, psycopg.Error):
        return "it holds what is no text"
    match error:
        case psycopg.errors.UniqueViolation():
            return f"another row has its value now: {error.diag.constraint_name}"
        case psycopg.errors.NotNullViolation():
            return f"{error.diag.column_name} must not be empty now"
        case psycopg.errors.CheckViolation():
            return f"a check refuses it: {error.diag.constraint_name}"
        case psycopg.errors.ForeignKeyViolation():
            return f"it refers to a row that is not there: {error.diag.constraint_name}"
    return (error.diag.message_primary or str(error))[:200]


def all_of(notes: Sequence[Noted]) -> Noted:
    """Several notes as one."""

    def noted() -> None:
        for note in notes:
            note()

    return noted
