"""Bring what was written to one database into another, in passes, and prove it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psycopg

from taly.database.carry import bundling, objects, sequences
from taly.database.carry.blocking import lock
from taly.database.carry.capture import Capture, changed_tables, install, pending, remove
from taly.database.carry.counting import UNLIMITED, Budget, Span, assert_counts, table_proof
from taly.database.carry.earlier import NOTHING_EARLIER, Earlier, note
from taly.database.carry.foreign import Reference, read_references
from taly.database.carry.model import Passed, Proof, Since
from taly.database.carry.moving import Move
from taly.database.carry.passing import Pass
from taly.database.carry.scratch import Scratch
from taly.database.carry.session import FRESH, close, explained, opened
from taly.database.carry.shape import Shape
from taly.database.carry.sql import number, rows, run
from taly.database.carry.views import Views
from taly.database.carry.work import Name, Works, read_works
from taly.database.checkpoint.manifest import Sums
from taly.database.connection import Target
from taly.errors import TalyError
from taly.model.ports import Say, silent
from taly.planning.carry.model import Correspondence

if TYPE_CHECKING:
    from taly.database.rescue.bundle import Bundle

CHANGED_BUDGET_S, REST_BUDGET_S = 1.0, 0.2
"""How long tables are counted while writers wait: those that changed since all were counted, just
before, and the others, of which the capture says that nobody has written to them."""
MAY_CREATE = "SELECT has_database_privilege(current_database(), 'CREATE')::int"
OWN = "SELECT pg_current_xact_id()::text::bigint"
XID = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"


class Carry:
    """One carry-over, from `begin` to `end`; not for several threads."""

    def __init__(
        self,
        source: Target,
        target: Target,
        correspondence: Correspondence,
        since: Since | None,
        bundle: "Bundle",
        *,
        name: str,
        say: Say = silent,
        schema_of_ledger: str,
        earlier: Earlier = NOTHING_EARLIER,
        sums: Sums = "mixed",
    ) -> None:
        """Nothing is opened yet. `name` names what is made on the server; `sums`: see `backup`.

        `since` = None compares everything. `earlier`: for an undo, what the way back did.
        """
        self._from, self._to = source, target
        self._given, self._since, self._bundle = correspondence, since, bundle
        self._name, self._say, self._ledger = name, say, schema_of_ledger
        self._earlier = earlier
        self._sums: Sums = sums
        self._scratch = Scratch(name)
        self._control: psycopg.Connection | None = None
        self._reader: psycopg.Connection | None = None
        self._worker: psycopg.Connection | None = None
        self._blocker: psycopg.Connection | None = None
        self._works = Works(tables=(), hash_records=True)
        self._references: tuple[Reference, ...] = ()
        self._uncaptured: frozenset[int] = frozenset()
        self._live: dict[int, tuple[int, str]] = {}
        self._again: set[int] = set()
        self._unwritten: set[int] = set()
        self._changed: set[int] = set()
        self._shape: Shape
        self._captured: Capture
        self._spans: list[Span] = []
        self._views = Views()
        self._last = ""
        self._passes = self._objects = self._objects_seen = 0
        self.backup: dict[Name, tuple[int, str]] = {}
        """Table → rows and checksum that the target had of the `summed` ones before anything was
        carried over, as `checkpoint.contents` gives them with `sums`."""
        self.blocked_s = 0.0
        """How long writers waited, as far as we know."""

    def begin(self) -> None:
        """Note every change of the source from now on. Safe to call again: it starts anew."""
        with self._explained():
            self.release()
            self._control = opened(self._from, self._name, autocommit=True)
            self._worker = opened(self._to, self._name, more=FRESH)
            self._works = read_works(self._control, self._worker, self._given, self._ledger)
            self._references = read_references(self._worker, self._works)
            self._scratch.create(self._worker, self._works)
            note(self._worker, self._scratch, self._works, self._earlier)
            start = number(self._worker, OWN)
            self._worker.commit()
            self._spans, self._last, self._passes = [(start, start)], "", 0
            self._live, self._again, self._unwritten = {}, set(), set()
            self.backup = {}
            self._objects_seen = 0
            self._shape = Shape(self._control)
            found = install(self._control, self._works, self._name, self._say)
            self._uncaptured = frozenset(found)
            self._captured = Capture(self._control, self._name)
            self._reader = opened(self._from, self._name)
            self._reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ

    @property
    def summed(self) -> frozenset[Name]:
        """Tables of the target that the first pass sums up as it found them; after `begin`."""
        return frozenset(
            work.target
            for work in self._works.tables
            if work.target is not None and work.key and work.target in self._works.leaves
        )

    def first_pass(self) -> Passed:
        """Everything since the backup, of one snapshot of the source; proved as a whole."""
        return self._pass(ending=False)

    def next_pass(self) -> Passed:
        """What was captured since the last pass."""
        return self._pass(ending=False)

    def is_calm(self, few: int) -> bool:
        """Whether at most so many writes were noted since the last pass, each of a single row."""
        assert self._control is not None, "begin comes first"
        with self._explained():
            changed = changed_tables(self._control, self._name, self._last)
            return not changed[1] and few >= pending(self._control, self._name, self._last, few + 1)

    def last_pass(self) -> Passed:
        """The rest; inside `blocked`."""
        return self._pass(ending=True)

    @contextmanager
    def blocked(self, *, limit_s: float) -> Iterator[None]:
        """Writers of the source wait; raises VendorUnavailable `carry-locked` when not in time."""
        began = time.monotonic()
        try:
            with self._explained():
                self._blocker = opened(self._from, self._name)
                lock(self._blocker, self._works, self._ledger, limit_s, self._say)
            began = time.monotonic()
            yield
        finally:
            self.blocked_s += time.monotonic() - began
            close(self._blocker)
            self._blocker = None

    def finish(self) -> Proof:
        """Sequences, large objects, the rescue bundle and the proof; inside `blocked`.

        Leaves nothing of ours in the target. Raises ProofFailed.
        """
        with self._explained(), self._moving() as move:
            count = sequences.carry(move.source, move.target, self._works)
            self._objects += self._carry_objects(move)
            if self._passes > 1 or not self._views.seen:
                self._views.refresh(move.target, self._say, only_cheap=True)
            self._captured.check(move.source)
            budget = Budget(
                changed=frozenset(self._changed),
                changed_s=CHANGED_BUDGET_S,
                rest_s=REST_BUDGET_S,
            )
            left = assert_counts(move, self._spans, self._live, budget)
            proof = Proof(
                tables=tuple(
                    table_proof(move, work, self._live.get(work.n, (0, "")))
                    for work in self._works.tables
                ),
                passes=self._passes,
                sequences=count,
                large_objects=self._objects,
                stale_views=tuple(self._views.stale),
                notes=tuple(f"{name}: counted in the pass before" for name in left),
            )
            self._write_bundle(move)
            self._check_locked()
            self._scratch.drop(move.target)
        return proof

    def release(self) -> None:
        """Close our own sessions; while writers wait, see first that they still do."""
        try:
            if self._blocker is not None:
                with self._explained():
                    self._check_locked()
        finally:
            for connection in (self._control, self._reader, self._worker, self._blocker):
                close(connection)
            self._control = self._reader = self._worker = self._blocker = None

    def end(self) -> None:
        """Take away what is ours in both databases; safe to call twice, and by `name` alone."""
        with suppress(TalyError):
            self.release()
        take_away(self._from, self._name, self._say)
        with suppress(TalyError):
            take_away(self._to, self._name, self._say)

    def _pass(self, *, ending: bool) -> Passed:
        began = time.monotonic()
        with self._explained(), self._moving() as move:
            start = number(move.target, OWN)
            found, touched = Pass(
                move=move,
                last=self._last,
                uncaptured=self._uncaptured,
                ending=ending,
                references=self._references,
                live=self._live,
                backup=self.backup,
                shape=self._shape,
                again=self._again,
            ).go()
            self._unwritten |= touched
            self._changed = touched
            if not ending:
                self._write_bundle(move)
                self._objects += self._carry_objects(move)
            if found.changes and not ending:
                self._views.refresh(move.target, self._say)
            if not ending:
                spans: list[Span] = [*self._spans, (start, None)]
                counted = frozenset() if self._passes else frozenset(self._live)
                assert_counts(move, spans, self._live, UNLIMITED, counted)
            snapshot = str(rows(move.source, "SELECT pg_current_snapshot()::text")[0][0])
        self._last, self._passes = snapshot, self._passes + 1
        self._spans.append((start, self._next_own()))
        return Passed(
            changes=found.changes,
            carried=found.carried,
            rescued=found.rescued,
            unchanged=found.unchanged,
            deleted=found.deleted,
            seconds=time.monotonic() - began,
        )

    @contextmanager
    def _moving(self) -> Iterator[Move]:
        """One snapshot of the source, one transaction of the target."""
        assert self._reader is not None, "begin comes first"
        assert self._worker is not None, "begin comes first"
        reader, worker = self._reader, self._worker
        since = self._since
        try:
            if since is not None and not since.usable(number(reader, XID)):
                since = None
            yield Move(
                source=reader,
                target=worker,
                works=self._works,
                scratch=self._scratch,
                name=self._name,
                since=since,
                say=self._say,
                sums=self._sums,
            )
            worker.commit()
        finally:
            for connection in (worker, reader):
                with suppress(psycopg.Error):
                    connection.rollback()

    def _next_own(self) -> int:
        """A transaction later than all of ours so far, their subtransactions included."""
        assert self._worker is not None
        with self._explained():
            xid = number(self._worker, OWN)
            self._worker.commit()
        return xid

    def _carry_objects(self, move: Move) -> int:
        since = move.since
        if self._objects_seen:
            since = Since(xmin=self._objects_seen, window_end=None, snapshot="")
        count = objects.carry(move.source, move.target, since, self._say)
        self._objects_seen = number(
            move.source, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        )
        return count

    def _write_bundle(self, move: Move) -> None:
        """Of the tables that were touched since; so while writers wait only a rest is written."""
        for work in self._works.tables:
            if work.n in self._unwritten:
                bundling.write(move.target, self._scratch, work, self._bundle, self._say)
        self._unwritten.clear()

    def _check_locked(self) -> None:
        """A session that was ended meanwhile holds no lock: somebody may have written."""
        if self._blocker is not None:
            run(self._blocker, "SELECT 1")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        with explained(self._from):
            yield


def take_away(target: Target, name: str, say: Say = silent) -> None:
    """Remove what a carry-over of that name made in a database; nothing when there is none."""
    with explained(target):
        connection = opened(target, name, autocommit=True)
        try:
            remove(connection, name, say)
        finally:
            close(connection)


def can_carry(connection: psycopg.Connection) -> str:
    """Why this user cannot carry rows over; empty when that is possible. Changes nothing."""
    try:
        with connection.transaction(force_rollback=True):
            if not number(connection, MAY_CREATE):
                return "the user may not create a schema: GRANT CREATE ON DATABASE … TO the user"
            run(connection, "SET LOCAL session_replication_role = replica")
    except psycopg.errors.InsufficientPrivilege:
        return (
            "the user may not set session_replication_role, so triggers would fire for rows that"
            " are carried over: GRANT SET ON PARAMETER session_replication_role TO the user"
            " (PostgreSQL 15 and later), or use the database's administrator"
        )
    return ""
