"""The workers as the store knows them: each says every few seconds that it lives."""

from collections.abc import Callable

from taly.engine.store import rows
from taly.engine.store.database import Database, Result, Transaction, refuse_newer
from taly.engine.store.port import WorkerRow

FORGET_S = 86400.0
"""Real seconds after which a worker that fell silent is listed no more."""


class SqlWorkers:
    """The part of the SQL store that knows the workers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def _do(self, work: Callable[[Transaction], Result]) -> Result:
        return self._database.run(work, again=True)

    def beat(self, worker: WorkerRow) -> None:
        """Say that this worker lives, and what it does; `store-too-new` once a newer taly came."""

        def work(tx: Transaction) -> None:
            refuse_newer(int(tx.rows("read_version")[0]["version"]))
            tx.rows("beat", **rows.worker_values(worker))

        self._do(work)

    def workers(self) -> list[WorkerRow]:
        """All workers that did not say good-bye, the eldest first."""
        return [rows.worker(row) for row in self._do(lambda tx: tx.rows("list_workers"))]

    def forget_worker(self, worker_id: str) -> None:
        """Say good-bye; forget those long silent as well."""

        def work(tx: Transaction) -> None:
            tx.rows("forget_worker", id=worker_id)
            tx.rows("forget_silent_workers", silent_s=FORGET_S)

        self._do(work)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()
