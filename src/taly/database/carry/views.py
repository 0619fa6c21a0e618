"""Materialised views of the target show the new rows."""

import time

import psycopg

from taly.database.carry.sql import q, rows, run
from taly.database.carry.work import Name
from taly.model.ports import Say

VIEWS = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND c.relispopulated AND n.nspname !~ '^pg_' ORDER BY c.oid
"""
CHEAP_S = 0.3
"""A view that took less is refreshed again while writers wait; the others are named."""


class Views:
    """How long each took, and which are behind."""

    def __init__(self) -> None:
        self._took: dict[Name, float] = {}
        self.stale: list[Name] = []
        self.seen = False

    def refresh(self, target: psycopg.Connection, say: Say, *, only_cheap: bool = False) -> None:
        """Refresh them in the order in which they were made: one may read another.

        One that fails does so for its own reasons; it is named among the stale ones.
        """
        self.stale, self.seen = [], True
        for schema, name in rows(target, VIEWS):
            view = (schema, name)
            if only_cheap and self._took.get(view, CHEAP_S) >= CHEAP_S:
                self.stale.append(view)
                continue
            say(f"refreshes {schema}.{name}")
            began = time.monotonic()
            run(target, "SAVEPOINT taly_view")
            try:
                run(target, f"REFRESH MATERIALIZED VIEW {q(*view)}")
            except psycopg.errors.OperationalError:
                raise
            except psycopg.Error:
                run(target, "ROLLBACK TO SAVEPOINT taly_view")
                self.stale.append(view)
            self._took[view] = time.monotonic() - began
