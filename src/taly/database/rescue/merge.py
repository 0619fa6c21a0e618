"""Put a bundle back: a merge of three in the caller's transaction; nothing newer is overwritten."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

import psycopg
from psycopg.pq import TransactionStatus

from taly.database.rescue import record
from taly.database.rescue.bundle import Reader
from taly.database.rescue.deciding import Decision, Value, Verdict, decide
from taly.database.rescue.keyless import put_missing
from taly.database.rescue.manifest import Kind
from taly.database.rescue.outcome import Fate, Merged, Told
from taly.database.rescue.parents import Waiting, bring_in, ready
from taly.database.rescue.present import in_order, present, refer
from taly.database.rescue.session import exact, forward, quiet
from taly.database.rescue.table_file import RescuedRow
from taly.database.rescue.work import Noted, Options, Todo, Work, all_of, attempt
from taly.database.rescue.writing import (
    Candidate,
    delete,
    find,
    insert_free,
    is_referred_to,
    update,
)

Progress = Callable[[int, int], None]
ALL = Options()
TAKEN = "another row has a value of it that must be unique"
NOTHING = Decision(verdict="nothing")


def merge(
    connection: psycopg.Connection,
    reader: Reader,
    *,
    now: datetime,
    place: str,
    options: Options = ALL,
    dry_run: bool = False,
    progress: Progress = lambda done, whole: None,
) -> Merged:
    """Put back what is in a bundle, in the transaction that the connection is in; never commits.

    What it did is noted beside the bundle with the transaction's number, so that it counts only if
    the caller commits, and a later replay does nothing twice. With `dry_run` nothing is noted, and
    the caller rolls back. `progress` gets rows looked at, and all. Raises Refused for a damaged
    bundle, psycopg.Error.
    """
    connection.execute("SELECT")
    if connection.info.transaction_status != TransactionStatus.INTRANS:
        raise ValueError("a bundle is put back in a transaction of the caller's")
    reader.check()
    stamp = f"{now:%Y%m%dT%H%M%S.%fZ}" + ("-dry-run" if dry_run else "")
    told = Told(reader.path / f"replay-{stamp}.jsonl")
    notes: list[str] = []
    with connection.transaction(), exact(connection):
        database = record.database_of(connection, place)
        before = record.before(connection, record.read(reader.path), database)
        works = _works(connection, reader, options, before, told)
        _Merger(connection, reader, works, options, progress).run(notes, sequences=not dry_run)
        if not dry_run:
            replayed = {work.facts.file: work.replayed() for work in works}
            record.note(
                connection, reader.path, database=database, place=place, at=now, tables=replayed
            )
    return Merged(
        step=reader.manifest.step,
        tables=[work.outcome for work in works],
        examples=told.examples,
        notes=notes,
        report=told.end(),
    )


def _works(
    connection: psycopg.Connection,
    reader: Reader,
    options: Options,
    before: Mapping[str, record.Replayed],
    told: Told,
) -> list[Work]:
    chosen = [
        facts
        for facts in reader.tables
        if not options.tables or facts.name in options.tables or facts.label in options.tables
    ]
    return [
        Work(
            facts, present(connection, facts.table_schema, facts.name), before.get(facts.file), told
        )
        for facts in chosen
    ]


class _Merger:
    """The phases, over all tables: rows, those that waited for others, columns, deletions."""

    def __init__(
        self,
        connection: psycopg.Connection,
        reader: Reader,
        works: Sequence[Work],
        options: Options,
        progress: Progress,
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._all = works
        self._options = options
        self._progress = progress
        self._waiting: Waiting = []
        self._works: list[Work] = []

    def run(self, notes: list[str], *, sequences: bool) -> None:
        """All of it."""
        there = [work for work in self._all if work.now is not None]
        refer(self._connection, [work.table for work in there])
        by_oid = {work.table.oid: work for work in there}
        self._works = [by_oid[table.oid] for table in in_order([one.table for one in there])]
        for work in self._all:
            self._leave_what_cannot(work)
        # Each row's foreign keys are checked with it, also those that could wait.
        self._connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with quiet(self._connection, [work.table for work in there], notes):
            for work in self._works:
                self._rows(work)
            bring_in(self._connection, self._waiting)
            for work in self._works:
                self._each(work, ("row", "columns"), self._columns)
            for work in reversed(self._works):
                self._each(work, ("deleted",), self._deletions)
        for work in self._works:
            if sequences and work.outcome.fates["inserted"]:
                forward(self._connection, work.table)

    def _leave_what_cannot(self, work: Work) -> None:
        why = ""
        if work.now is None:
            why = "the table is not there"
        elif gone := [name for name in work.key if name not in work.table.types]:
            why = f"its key is not there: {', '.join(gone)}"
        if why:
            for number, row in self._untouched(work, ("row", "columns")):
                work.leave(number, row, why)
            for number, row in self._untouched(work, ("deleted",)):
                work.settle(number, row, NOTHING, "nothing")
        elif not work.key:
            why = "the table has no key that finds its row"
            for number, row in self._untouched(work, ("columns",)):
                work.leave(number, row, why)
            for number, row in self._untouched(work, ("deleted",)):
                if self._options.deletes:
                    work.leave(number, row, why)
                else:
                    work.settle(number, row, NOTHING, "kept")

    def _untouched(self, work: Work, kinds: Sequence[Kind]) -> Iterator[tuple[int, RescuedRow]]:
        for batch in work.batches(self._reader, kinds):
            yield from batch

    def _rows(self, work: Work) -> None:
        if work.key:
            self._each(work, ("row",), self._insert)
        else:
            put_missing(self._connection, self._reader, work, self._options, self._wait)
            self._progress(work.facts.rows, work.facts.rows)

    def _each(
        self, work: Work, kinds: Sequence[Kind], action: Callable[[Work, Todo], Noted]
    ) -> None:
        done = 0
        for batch in work.batches(self._reader, kinds):
            attempt(self._connection, batch, partial(action, work), work.leave)
            done += len(batch)
            self._progress(done, work.facts.rows)

    def _insert(self, work: Work, todo: Todo) -> Noted:
        """Insert rows that are not there; those that are there have their turn with the columns."""
        rows, notes = self._with_key(work, work.fitting(self._connection, todo))
        found = self._find(work, rows, work.key, lock=False)
        good: list[Candidate] = []
        for index, one in enumerate(rows):
            if found.get(index):
                continue
            decision = decide(one.row, None, fresh=work.table.fresh)
            if decision.verdict == "gone":
                notes.append(partial(work.settle, one.number, one.whole, decision, "gone"))
            elif (missing := work.missing(one.whole)) and not self._options.partly:
                why = f"columns are not there: {', '.join(missing)}"
                notes.append(partial(work.leave, one.number, one.whole, why))
            else:
                one.values = decision.values
                good.append(one)
        good, waiting = ready(self._connection, work.table, good)
        good, taken = insert_free(self._connection, work.table, work.key, good)
        notes += [partial(work.came_in, one) for one in good]
        notes += [partial(work.leave, one.number, one.whole, TAKEN) for one in taken]
        notes += [partial(self._wait, work, one) for one in waiting]
        return all_of(notes)

    def _wait(self, work: Work, one: Candidate) -> None:
        work.settled.add(one.number)
        self._waiting.append((work, one))

    def _columns(self, work: Work, todo: Todo) -> Noted:
        """Set what nobody has written since, in rows that are there."""
        rows, notes = self._with_key(work, work.fitting(self._connection, todo))
        wanted = dict.fromkeys(name for one in rows for name in one.row.columns)
        found = self._find(work, rows, [*dict.fromkeys((*work.key, *wanted))], lock=True)
        changed: list[Candidate] = []
        for index, one in enumerate(rows):
            now = self._only(work, one, found.get(index, []), notes)
            if now is None and found.get(index):
                continue
            decision = decide(one.row, now, fresh=work.table.fresh, key=work.key)
            if decision.verdict == "update":
                one.values = decision.values
                changed.append(one)
            fate = FATES.get(decision.verdict, "nothing")
            notes.append(partial(work.settle, one.number, one.whole, decision, fate))
            if now is not None and (missing := work.missing(one.whole)):
                notes.append(partial(work.leave_values, one.number, one.whole, missing))
        update(self._connection, work.table, work.key, changed)
        return all_of(notes)

    def _deletions(self, work: Work, todo: Todo) -> Noted:
        """Delete again what live had deleted, if that is asked for, and nothing refers to it."""
        rows, notes = self._with_key(work, work.fitting(self._connection, todo))
        columns = list(work.table.types)
        found = self._find(work, rows, columns, lock=True)
        going: list[Candidate] = []
        for index, one in enumerate(rows):
            now = self._only(work, one, found.get(index, []), notes)
            if now is None and found.get(index):
                continue
            decision = decide(one.row, now, fresh={}, deletes=self._options.deletes)
            if decision.verdict == "delete" and now is not None and self._is_needed(work, now):
                notes.append(partial(work.leave, one.number, one.whole, "rows refer to it now"))
                continue
            if decision.verdict == "delete":
                going.append(one)
            fate = FATES.get(decision.verdict, "nothing")
            notes.append(partial(work.settle, one.number, one.whole, decision, fate))
        if going:
            delete(self._connection, work.table, work.key, going)
        return all_of(notes)

    def _is_needed(self, work: Work, now: Mapping[str, Value]) -> bool:
        return any(is_referred_to(self._connection, one, now) for one in work.table.referring)

    def _with_key(
        self, work: Work, rows: Sequence[Candidate]
    ) -> tuple[list[Candidate], list[Noted]]:
        """Rows that can be looked for; and the notes of the others."""
        good: list[Candidate] = []
        notes: list[Noted] = []
        for one in rows:
            values = one.row.row
            if any(values.get(name) is None for name in work.key):
                why = "a part of its key is empty"
                notes.append(partial(work.leave, one.number, one.whole, why))
            else:
                good.append(one)
        return good, notes

    def _find(
        self, work: Work, rows: Sequence[Candidate], columns: Sequence[str], *, lock: bool
    ) -> dict[int, list[dict[str, Value]]]:
        if not rows:
            return {}
        keys = [one.row.row for one in rows]
        return find(self._connection, work.table, work.key, keys, columns, lock=lock)

    def _only(
        self, work: Work, one: Candidate, found: list[dict[str, Value]], notes: list[Noted]
    ) -> dict[str, Value] | None:
        """The one row that has the key; None when there is none, or several (which is noted)."""
        if len(found) > 1:
            why = "several rows have its key now"
            notes.append(partial(work.leave, one.number, one.whole, why))
        return found[0] if len(found) == 1 else None


FATES: Mapping[Verdict, Fate] = {
    "update": "updated",
    "delete": "deleted",
    "gone": "gone",
    "newer": "newer",
    "kept": "kept",
}
