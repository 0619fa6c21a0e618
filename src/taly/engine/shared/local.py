"""This machine's own store, as the shared one uses it: the truth of every run that works here."""

from typing import Any

from taly.engine.store import rows
from taly.engine.store.database import Row, Transaction
from taly.engine.store.sql import SqlStore


class LocalStore(SqlStore):
    """A store whose next run may be given its id, and that gives runs away as rows."""

    next_id = ""
    """What the next run is to be called; empty = what this machine would call it."""

    def first_id(self, newest: str | None) -> str:
        """See SqlStore.first_id."""
        return self.next_id or super().first_id(newest)

    def rows_of(self, run_id: str) -> tuple[Row, list[Row]]:
        """The run and its events with all their columns; UsageError `run-unknown`."""

        def work(tx: Transaction) -> tuple[Row, list[Row]]:
            found = rows.first(tx.rows("whole_run", id=run_id))
            if found is None:
                raise rows.run_unknown(run_id)
            events: list[dict[str, Any]] = [dict(row) for row in tx.rows("whole_events", id=run_id)]
            return found, list(events)

        return self._do(work)
