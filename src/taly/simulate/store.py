"""The real store on real SQLite: files in memory, virtual time, injected faults."""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path

from taly.engine.owner import Owner
from taly.engine.store.database import Result, Row, Transaction
from taly.engine.store.port import Lease
from taly.engine.store.sql import SqlStore
from taly.engine.store.sqlite import SqliteDatabase
from taly.model.events import Event, Recorded
from taly.model.plan import Plan
from taly.simulate.strikes import Strikes
from taly.simulate.timeline import Timeline

UNIX_EPOCH_JULIAN = 2440587.5
DAY_S = 86400.0


@cache
def folder() -> Path:
    """Where this process keeps its stores: in memory where the machine has such a place."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="taly-simulate-", dir=memory if memory.is_dir() else None))


@cache
def _empty() -> Path:
    path = folder() / "empty.db"
    SqliteDatabase(path).close()
    return path


def fresh_store() -> Path:
    """A new, empty store file, in the place of the one before."""
    path = folder() / "taly.db"
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    shutil.copyfile(_empty(), path)
    return path


def remove_stores() -> None:
    """Take this process's stores away."""
    shutil.rmtree(folder(), ignore_errors=True)
    folder.cache_clear()
    _empty.cache_clear()


class SimDatabase(SqliteDatabase):
    """The real one. `julianday('now')`, by which it tells the time, is the simulation's."""

    def __init__(self, path: Path, timeline: Timeline) -> None:
        """Open that file."""
        super().__init__(path)
        self.failing = ""
        """With these words SQLite fails in the middle of the next transaction."""
        self._connection.create_function(
            "julianday", 1, lambda _: UNIX_EPOCH_JULIAN + timeline.now / DAY_S
        )

    def run(self, work: Callable[[Transaction], Result], *, again: bool) -> Result:
        """See SqliteDatabase.run."""
        words, self.failing = self.failing, ""
        if not words:
            return super().run(work, again=again)
        return super().run(lambda tx: work(_Failing(tx, words)), again=again)


class _Failing:
    """A transaction whose second statement fails: what the first did must not stay."""

    def __init__(self, tx: Transaction, words: str) -> None:
        self._tx, self._words, self._left = tx, words, 1

    def rows(self, query: str, **values: object) -> list[Row]:
        self._count()
        return self._tx.rows(query, **values)

    def many(self, query: str, values: list[dict[str, object]]) -> None:
        self._count()
        self._tx.many(query, values)

    def script(self, sql: str) -> None:
        self._count()
        self._tx.script(sql)

    def _count(self) -> None:
        if not self._left:
            raise sqlite3.OperationalError(self._words)
        self._left -= 1


class SimStore(SqlStore):
    """The real store, as one simulated process reaches it."""

    def __init__(self, database: SimDatabase, strikes: Strikes) -> None:
        """`strikes` says what befalls this process."""
        super().__init__(database)
        self._sim, self._strikes = database, strikes

    def create_run(
        self, plan: Plan, owner: Owner, *, at: datetime, version: str, lease_s: float
    ) -> Lease:
        """See Store.create_run."""
        self._strikes.alive()
        lease = super().create_run(plan, owner, at=at, version=version, lease_s=lease_s)
        self._taken(lease)
        return lease

    def take_lease(self, run_id: str, owner: Owner, *, at: datetime, lease_s: float) -> Lease:
        """See Store.take_lease."""
        self._strikes.alive()
        lease = super().take_lease(run_id, owner, at=at, lease_s=lease_s)
        self._taken(lease)
        return lease

    def renew(self, lease: Lease) -> None:
        """See Store.renew."""
        self._strikes.alive()
        super().renew(lease)
        self._strikes.witness.confirmed(lease.run_id, self._strikes.process)

    def let_go(self, lease: Lease) -> None:
        """See Store.let_go."""
        self._strikes.alive()
        super().let_go(lease)
        self._strikes.witness.let_go(lease.run_id, self._strikes.process)

    def append(
        self, lease: Lease, events: Sequence[tuple[datetime, Event]], *, after: int
    ) -> list[Recorded]:
        """See Store.append."""
        step = getattr(events[0][1], "step", "").partition(":")[0]
        with self._strikes.storing(step) as failing:
            self._sim.failing = failing
            recorded = super().append(lease, events, after=after)
            self._strikes.witness.confirmed(lease.run_id, self._strikes.process)
            self._strikes.witness.stored(lease.run_id, recorded)
        return recorded

    def _taken(self, lease: Lease) -> None:
        self._strikes.witness.taken(lease.run_id, self._strikes.process, lease.fence, lease.lease_s)


def bytes_of(path: Path) -> bytes:
    """Everything that the store has written, its log too."""
    return b"".join(
        Path(f"{path}{suffix}").read_bytes()
        for suffix in ("", "-wal")
        if Path(f"{path}{suffix}").exists()
    )
