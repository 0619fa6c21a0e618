"""Tables without a key are multisets: as many equal rows are inserted as are missing."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import psycopg
from psycopg.sql import SQL, Identifier

from taly.database.rescue.bundle import Reader
from taly.database.rescue.deciding import Decision, Value
from taly.database.rescue.outcome import Fate
from taly.database.rescue.parents import ready
from taly.database.rescue.present import texts
from taly.database.rescue.work import Noted, Options, Todo, Work, all_of, attempt
from taly.database.rescue.writing import Candidate, insert, joined

FETCH = 5_000
CURSOR = "taly_rescue"


def put_missing(
    connection: psycopg.Connection,
    reader: Reader,
    work: Work,
    options: Options,
    wait: Callable[[Work, Candidate], None],
) -> None:
    """Insert what the table has fewer of than the bundle; writers wait until the caller commits.

    Takes about 100 bytes of memory for each different row.
    """
    place = work.table.place
    connection.execute(SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(place))
    rows = _Multiset(connection, work, options, wait)
    for batch in work.batches(reader, ("row",)):
        attempt(connection, batch, rows.count, work.leave)
    rows.take_away(_present(connection, work, rows.columns))
    for batch in work.batches(reader, ("row",)):
        attempt(connection, batch, rows.put, work.leave)


class _Multiset:
    """How many of each row the table lacks."""

    def __init__(
        self,
        connection: psycopg.Connection,
        work: Work,
        options: Options,
        wait: Callable[[Work, Candidate], None],
    ) -> None:
        self.columns = [name for name in work.facts.columns if name in work.table.types]
        self._connection = connection
        self._work = work
        self._partly = options.partly
        self._wait = wait
        self._lacking: Counter[bytes] = Counter()

    def count(self, todo: Todo) -> Noted:
        """Rows that the bundle has; those that do not fit are left."""
        notes: list[Noted] = []
        for one in self._work.fitting(self._connection, todo):
            missing = [] if self._partly else self._work.missing(one.whole)
            if missing:
                why = f"columns are not there: {', '.join(missing)}"
                notes.append(partial(self._work.leave, one.number, one.whole, why))
            else:
                notes.append(partial(self._lacking.update, [self._digest(one)]))
        return all_of(notes)

    def take_away(self, present: Iterable[list[Value]]) -> None:
        """Rows that the table has."""
        for values in present:
            found = _digest(values)
            if self._lacking[found] > 0:
                self._lacking[found] -= 1

    def put(self, todo: Todo) -> Noted:
        """Insert those of these rows that are lacking."""
        work, taken = self._work, Counter[bytes]()
        good: list[Candidate] = []
        notes: list[Noted] = [partial(self._lacking.subtract, taken)]
        for one in work.fitting(self._connection, todo):
            found = self._digest(one)
            lacks = self._lacking[found] > taken[found]
            taken[found] += lacks
            if lacks and one.row.base is None:
                one.values = one.row.row
                good.append(one)
            else:
                fate: Fate = "gone" if lacks else "nothing"
                nothing = Decision(verdict="nothing")
                notes.append(partial(work.settle, one.number, one.whole, nothing, fate))
        fit, waiting = ready(self._connection, work.table, good)
        insert(self._connection, work.table, fit)
        notes += [partial(work.came_in, one) for one in fit]
        notes += [partial(self._wait, work, one) for one in waiting]
        return all_of(notes)

    def _digest(self, one: Candidate) -> bytes:
        values = one.row.row
        return _digest([values.get(name) for name in self.columns])


def _present(
    connection: psycopg.Connection, work: Work, columns: Sequence[str]
) -> Iterator[list[Value]]:
    """The table's rows as text."""
    query = SQL("DECLARE {} NO SCROLL CURSOR FOR SELECT {} FROM {}").format(
        Identifier(CURSOR), joined(Identifier(name) for name in columns), work.table.place
    )
    connection.execute(query)
    while True:
        cursor = connection.execute(SQL("FETCH {} FROM {}").format(FETCH, Identifier(CURSOR)))
        yield from texts(cursor)
        if cursor.rowcount < FETCH:
            break
    connection.execute(SQL("CLOSE {}").format(Identifier(CURSOR)))


def _digest(values: list[Value]) -> bytes:
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=16).digest()
