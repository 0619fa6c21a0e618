"""Where a process can die: before, within and after the transaction of every event.

Within: the rows are written and not yet committed. Between "after the intent" and "before the
receipt" lies the request to the vendor; what dies there at random dies inside a step.
"""

import threading
from collections.abc import Iterable
from functools import wraps
from multiprocessing.connection import Connection
from typing import Any

from taly.engine.store.sql import SqlStore

Side = str
"""before | within | after."""
Boundary = tuple[Side, tuple[str, ...], str]
"""The side, the events (`kind step`) of the transaction, and the run's id."""


def announce(line: Connection, *, waits: bool) -> None:
    """From now on each boundary that this process reaches is told on the line."""
    teller = _Teller(line, waits)
    write, append = SqlStore._write, SqlStore.append

    @wraps(write)
    def writing(store: SqlStore, tx: Any, lease: Any, events: Any, after: int) -> Any:
        written = write(store, tx, lease, events, after)
        teller.tell("within", lease.run_id, events)
        return written

    @wraps(append)
    def appending(store: SqlStore, lease: Any, events: Any, *, after: int) -> Any:
        teller.tell("before", lease.run_id, events)
        written = append(store, lease, events, after=after)
        teller.tell("after", lease.run_id, events)
        return written

    SqlStore._write = writing
    SqlStore.append = appending


class _Teller:
    def __init__(self, line: Connection, waits: bool) -> None:
        self._line, self._waits = line, waits
        self._lock = threading.Lock()

    def tell(self, side: Side, run_id: str, events: Iterable[Any]) -> None:
        names = tuple(f"{one.kind} {getattr(one, 'step', '')}".strip() for _, one in events)
        with self._lock:
            self._line.send((side, names, run_id))
            if self._waits:
                self._line.recv()
