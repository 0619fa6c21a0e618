"""The audit trail as the store keeps it: appended to, and read back to the letter."""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from taly.engine.store import rows
from taly.engine.store.chain import Chain, Entry, hash_of_text
from taly.engine.store.database import Database, Result, Row, Transaction
from taly.engine.store.port import Head
from taly.model.events import Act


class SqlTrail:
    """The part of the SQL store that knows the audit trail."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def _do(self, work: Callable[[Transaction], Result]) -> Result:
        return self._database.run(work, again=True)

    def note(self, environment: str, at: datetime, act: Act) -> None:
        """Append an act to the environment's chain."""
        self._do(lambda tx: Chain(tx, environment).act(at.isoformat(), act))

    def environments(self) -> list[str]:
        """Every environment of which something is stored."""
        return [str(row["environment"]) for row in self._do(lambda tx: tx.rows("environments"))]

    def chain_head(self, environment: str) -> Head | None:
        """How far the environment's chain reaches."""
        found = rows.first(self._do(lambda tx: tx.rows("chain_head", environment=environment)))
        return None if found is None else Head(position=found["position"], chain=found["chain"])

    def entries(self, environment: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """The environment's entries behind that position, in order."""
        return self._do(partial(_entries, environment=environment, after=after, limit=limit))

    def stray_event(self, environment: str) -> tuple[str, int] | None:
        """Run and number of an event that stands in no place of the chain."""
        found = self._do(lambda tx: tx.rows("stray_events", environment=environment))
        return (found[0]["run_id"], found[0]["seq"]) if found else None


def _entries(tx: Transaction, environment: str, after: int, limit: int) -> list[Entry]:
    found = tx.rows("chained", environment=environment, after=after, limit=limit)
    return [_entry(tx, environment, row) for row in found]


def _entry(tx: Transaction, environment: str, row: Row) -> Entry:
    return Entry(
        environment=environment,
        position=row["position"],
        run=row["run_id"],
        seq=row["seq"],
        at=row["at"],
        fence=row["fence"],
        body=row["body"],
        plan=_plan(tx, row["run_id"]) if row["seq"] == 1 else "",
        chain=row["chain"],
    )


def _plan(tx: Transaction, run_id: str) -> str:
    if not str(run_id).isascii():  # none of ours, and perhaps no text that can be asked for
        return ""
    found = tx.rows("get_plan", id=run_id)
    return hash_of_text(found[0]["plan"]) if found else ""
