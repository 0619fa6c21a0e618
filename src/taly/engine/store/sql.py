"""The store on SQL: the same statements and the same rules on either database."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

from taly.engine.codec import plan_from_json, plan_to_json
from taly.engine.owner import Owner
from taly.engine.store import rows
from taly.engine.store.database import Database, Result, Transaction
from taly.engine.store.names import run_id_after
from taly.engine.store.port import Lease, Marked, RecordedRelease, RunSummary
from taly.errors import LeaseLost
from taly.model.events import Event, LeaseTaken, Recorded, RunFinished, RunStarted
from taly.model.plan import Plan


class SqlStore:
    """A store (see taly.engine.store.port) on SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def _do(self, work: Callable[[Transaction], Result]) -> Result:
        return self._database.run(work, again=True)

    # Runs and their leases

    def create_run(
        self, plan: Plan, owner: Owner, *, at: datetime, version: str, lease_s: float
    ) -> Lease:
        """Lock the environment, store the plan and append RunStarted."""
        started = RunStarted(plan_digest=plan.digest, by=owner.by, host=owner.host, version=version)
        values = {
            "environment": plan.environment,
            "purpose": plan.purpose,
            "digest": plan.digest,
            "plan": plan_to_json(plan),
            "by_whom": owner.by,
            "at": at.isoformat(),
            "lease_s": lease_s,
            **rows.owner_values(owner),
        }

        def work(tx: Transaction) -> Lease:
            run_id = run_id_after(tx.rows("newest_run_id")[0]["id"])
            while not tx.rows("insert_run", id=run_id, **values):
                holder = rows.first(tx.rows("unfinished_run", environment=plan.environment))
                if holder is not None:
                    raise rows.locked(rows.summary(holder))
                run_id = run_id_after(run_id)  # another environment's run took the name just now
            lease = Lease(run_id=run_id, fence=1, lease_s=lease_s)
            self._write(tx, lease, [(at, started)], after=0)
            return lease

        # Not again: after a lost answer we could not tell our own lock from another's.
        return self._database.run(work, again=False)

    def take_lease(self, run_id: str, owner: Owner, *, at: datetime, lease_s: float) -> Lease:
        """Take over a run that nobody works on any more."""

        def work(tx: Transaction) -> Lease:
            tx.rows("lock_run", id=run_id)
            run = self._unfinished_or_refuse(tx, run_id)
            if run.is_alive:
                raise rows.locked(run)
            taken = tx.rows("take_lease", id=run_id, lease_s=lease_s, **rows.owner_values(owner))[0]
            lease = Lease(run_id=run_id, fence=taken["fence"], lease_s=lease_s)
            self._write(tx, lease, [(at, LeaseTaken(owner=str(owner)))], after=taken["last_seq"])
            return lease

        return self._database.run(work, again=False)

    def renew(self, lease: Lease) -> None:
        """Hold the lease for longer."""
        renewed = self._do(
            lambda tx: tx.rows("renew", id=lease.run_id, fence=lease.fence, lease_s=lease.lease_s)
        )
        if not renewed:
            raise LeaseLost(f"another process has taken {lease.run_id} over")

    def let_go(self, lease: Lease) -> None:
        """Let others take the run at once."""
        self._do(lambda tx: tx.rows("let_go", id=lease.run_id, fence=lease.fence))

    def append(
        self, lease: Lease, events: Sequence[tuple[datetime, Event]], *, after: int
    ) -> list[Recorded]:
        """Append durably under the lease's fence."""
        return self._do(partial(self._write, lease=lease, events=events, after=after))

    def _write(
        self,
        tx: Transaction,
        lease: Lease,
        events: Sequence[tuple[datetime, Event]],
        after: int,
    ) -> list[Recorded]:
        recorded = [
            Recorded(seq=after + number, at=at, fence=lease.fence, event=event)
            for number, (at, event) in enumerate(events, start=1)
        ]
        claimed = tx.rows(
            "claim_seq",
            id=lease.run_id,
            fence=lease.fence,
            after=after,
            count=len(events),
            lease_s=lease.lease_s,
        )
        if not claimed:
            if self._stands(tx, lease, recorded):  # an earlier try was committed, its answer lost
                return recorded
            raise LeaseLost(f"another process has taken {lease.run_id} over")
        tx.many("insert_event", [rows.event_values(lease.run_id, one) for one in recorded])
        for one in recorded:
            if isinstance(one.event, RunFinished):
                outcome, at = one.event.outcome, one.at.isoformat()
                tx.rows("finish", id=lease.run_id, outcome=outcome, at=at)
        return recorded

    def _stands(self, tx: Transaction, lease: Lease, recorded: list[Recorded]) -> bool:
        after = recorded[0].seq - 1
        found = tx.rows("events_after", id=lease.run_id, after=after)
        ours = [rows.event_values(lease.run_id, one) for one in recorded]
        return [(row["fence"], row["body"]) for row in found] == [
            (one["fence"], one["body"]) for one in ours
        ]

    # Reading and asking

    def events(self, run_id: str, *, after: int = 0) -> list[Recorded]:
        """The run's events numbered above `after`."""
        found = self._do(lambda tx: tx.rows("events_after", id=run_id, after=after))
        return [rows.recorded(row) for row in found]

    def plan(self, run_id: str) -> Plan:
        """The run's plan."""
        found = self._do(lambda tx: tx.rows("get_plan", id=run_id))
        if not found:
            raise rows.run_unknown(run_id)
        return plan_from_json(found[0]["plan"])

    def run(self, run_id: str) -> RunSummary:
        """The run in short."""
        return self._do(partial(self._run, run_id=run_id))

    def _run(self, tx: Transaction, run_id: str) -> RunSummary:
        found = rows.first(tx.rows("get_run", id=run_id))
        if found is None:
            raise rows.run_unknown(run_id)
        return rows.summary(found)

    def _unfinished_or_refuse(self, tx: Transaction, run_id: str) -> RunSummary:
        run = self._run(tx, run_id)
        if run.outcome is not None:
            raise rows.run_finished(run)
        return run

    def runs(self, environment: str = "", *, limit: int = 50) -> list[RunSummary]:
        """The newest runs first."""
        found = self._do(lambda tx: tx.rows("list_runs", environment=environment, limit=limit))
        return [rows.summary(row) for row in found]

    def unfinished(self, environment: str) -> RunSummary | None:
        """The run that holds the environment."""
        found = self._do(lambda tx: tx.rows("unfinished_run", environment=environment))
        return rows.summary(found[0]) if found else None

    def request_cancel(self, run_id: str, by: str) -> None:
        """Ask the run to stop."""

        def work(tx: Transaction) -> None:
            if not tx.rows("request_cancel", id=run_id, by_whom=by or "someone"):
                self._unfinished_or_refuse(tx, run_id)

        self._do(work)

    def cancel_requested_by(self, run_id: str) -> str:
        """Who asked the run to stop."""
        found = self._do(lambda tx: tx.rows("cancel_by", id=run_id))
        return str(found[0]["cancel_by"]) if found else ""

    # Releases

    def name_releases(
        self,
        environment: str,
        content_ids: Sequence[str],
        members: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Mapping[str, str]:
        """The releases' names; new ones get the next free number."""
        known = self.release_names(environment)
        if any(content_id not in known for content_id in content_ids):
            texts = {
                content_id: json.dumps(dict(one), sort_keys=True)
                for content_id, one in (members or {}).items()
            }
            name = partial(self._name, environment=environment, content_ids=content_ids)
            known = self._do(partial(name, members=texts))
        return {content_id: known[content_id] for content_id in content_ids}

    def _name(
        self,
        tx: Transaction,
        environment: str,
        content_ids: Sequence[str],
        members: Mapping[str, str],
    ) -> dict[str, str]:
        tx.rows("lock_names")
        known = rows.names(tx.rows("release_names", environment=environment))
        number = int(tx.rows("next_release_number", environment=environment)[0]["number"])
        for content_id in content_ids:
            if content_id not in known:
                tx.rows(
                    "insert_release_name",
                    environment=environment,
                    number=number,
                    content_id=content_id,
                    members=members.get(content_id, ""),
                )
                known[content_id] = f"R{number}"
                number += 1
        return known

    def release_names(self, environment: str) -> Mapping[str, str]:
        """Every content id ever named → its name."""
        return rows.names(self._do(lambda tx: tx.rows("release_names", environment=environment)))

    def release_members(self, environment: str) -> Mapping[str, Mapping[str, str]]:
        """Content id → the members that were given with the name."""
        found = self._do(lambda tx: tx.rows("release_members", environment=environment))
        return {row["content_id"]: json.loads(row["members"]) for row in found}

    def record_release(self, environment: str, release: RecordedRelease) -> None:
        """Pin a release."""
        values = {
            "content_id": release.content_id,
            "members": json.dumps(dict(release.members), sort_keys=True),
            "commit_id": release.commit,
            "label": release.label,
            "at": release.at.isoformat(),
            "by_whom": release.by,
        }
        self._do(lambda tx: tx.rows("record_release", environment=environment, **values))

    def recorded_releases(self, environment: str) -> list[RecordedRelease]:
        """The pinned releases, oldest first."""
        found = self._do(lambda tx: tx.rows("recorded_releases", environment=environment))
        return [rows.recorded_release(row) for row in found]

    def mark_release(self, environment: str, marked: Marked) -> None:
        """Say something of a release."""
        values = {
            "content_id": marked.content_id,
            "mark": str(marked.mark),
            "why": marked.why,
            "by_whom": marked.by,
            "at": marked.at.isoformat(),
        }
        self._do(lambda tx: tx.rows("mark_release", environment=environment, **values))

    def marks(self, environment: str) -> Mapping[str, Marked]:
        """Content id → what was said of it last."""
        found = self._do(lambda tx: tx.rows("marks", environment=environment))
        return {row["content_id"]: rows.marked(row) for row in found}

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()
