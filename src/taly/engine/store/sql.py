"""The store on SQL: the same statements and the same rules on either database."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from taly.engine.codec import plan_from_json, plan_to_json
from taly.engine.owner import Owner
from taly.engine.store import rows
from taly.engine.store.chain import Chain
from taly.engine.store.database import Transaction
from taly.engine.store.fleet import SqlWorkers
from taly.engine.store.names import run_id_after
from taly.engine.store.port import Lease, Marked, RecordedRelease, RunSummary
from taly.engine.store.trail import SqlTrail
from taly.engine.store.upgrading import marked_about, recorded_about
from taly.errors import LeaseLost
from taly.model.events import (
    Act,
    Event,
    Identity,
    LeaseTaken,
    Recorded,
    RunFinished,
    RunStarted,
)
from taly.model.plan import Plan


class SqlStore(SqlWorkers, SqlTrail):
    """A store (see taly.engine.store.port) on SQLite or PostgreSQL."""

    # Runs and their leases

    def create_run(
        self, plan: Plan, owner: Owner, *, at: datetime, version: str, lease_s: float
    ) -> Lease:
        """Lock the environment, store the plan and append RunStarted."""
        return self._create(plan, owner, at, version, lease_s)

    def submit_run(
        self, plan: Plan, owner: Owner, *, at: datetime, version: str, fits: Mapping[str, str]
    ) -> str:
        """As `create_run`, and leave the run to workers; its id."""
        # A lease of no time: it is nobody's at once.
        return self._create(plan, owner, at, version, 0.0, fits).run_id

    def _create(
        self,
        plan: Plan,
        owner: Owner,
        at: datetime,
        version: str,
        lease_s: float,
        fits: Mapping[str, str] | None = None,
    ) -> Lease:
        """A new run; with `fits` it is for workers, and nobody's at once."""
        started = RunStarted(
            plan_digest=plan.digest,
            by=owner.by,
            host=owner.host,
            version=version,
            identity=owner.identity,
        )
        values = {
            "environment": plan.environment,
            "purpose": plan.purpose,
            "digest": plan.digest,
            "plan": plan_to_json(plan),
            "by_whom": owner.by,
            "at": at.isoformat(),
            "lease_s": lease_s,
            "for_workers": int(fits is not None),
            "fits": "" if fits is None else rows.texts(fits),
            **rows.owner_values(owner),
        }

        def work(tx: Transaction) -> Lease:
            run_id = self.first_id(tx.rows("newest_run_id")[0]["id"])
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

    def first_id(self, newest: str | None) -> str:
        """What to call the next run, if that id is free; `newest` is the newest id here."""
        return run_id_after(newest)

    def take_lease(self, run_id: str, owner: Owner, *, at: datetime, lease_s: float) -> Lease:
        """Take over a run that nobody works on any more."""

        def work(tx: Transaction) -> Lease:
            tx.rows("lock_run", id=run_id)
            run = self._unfinished_or_refuse(tx, run_id)
            if run.is_alive:
                raise rows.locked(run)
            return self._take(tx, run_id, owner, at, lease_s, for_workers=False)

        return self._database.run(work, again=False)

    def take_waiting(
        self, run_id: str, owner: Owner, *, at: datetime, lease_s: float
    ) -> Lease | None:
        """Take a run that waits, and leave it to workers; None when somebody was faster."""

        def work(tx: Transaction) -> Lease | None:
            if not tx.rows("lock_run_unless_busy", id=run_id) or self._run(tx, run_id).is_alive:
                return None
            return self._take(tx, run_id, owner, at, lease_s, for_workers=True)

        return self._database.run(work, again=False)

    def _take(
        self,
        tx: Transaction,
        run_id: str,
        owner: Owner,
        at: datetime,
        lease_s: float,
        *,
        for_workers: bool,
    ) -> Lease:
        """Take a run that is locked and nobody's. Who resumes it here, has it here."""
        values = {"for_workers": int(for_workers), **rows.owner_values(owner)}
        taken = tx.rows("take_lease", id=run_id, lease_s=lease_s, **values)[0]
        lease = Lease(run_id=run_id, fence=taken["fence"], lease_s=lease_s)
        by = LeaseTaken(owner=str(owner), identity=owner.identity)
        self._write(tx, lease, [(at, by)], after=taken["last_seq"])
        return lease

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

    # The queue for workers

    def hand_over(self, run_id: str, *, fits: Mapping[str, str]) -> None:
        """Leave a run that nobody works on to workers."""

        def work(tx: Transaction) -> None:
            tx.rows("lock_run", id=run_id)
            run = self._unfinished_or_refuse(tx, run_id)
            if run.is_alive:
                raise rows.locked(run)
            tx.rows("hand_over", id=run_id, fits=rows.texts(fits))

        self._do(work)

    def waiting(self) -> list[RunSummary]:
        """The runs of all environments that wait for a worker, oldest first."""
        found = self._do(lambda tx: tx.rows("waiting_runs"))
        return [run for run in map(rows.summary, found) if run.waits]

    def could_not_tell(self, lease: Lease, worker_id: str, *, for_workers: bool) -> None:
        """This worker could not see how the run ends; shall others try?"""

        def work(tx: Transaction) -> None:
            tried = " ".join(dict.fromkeys((*self._run(tx, lease.run_id).tried, worker_id)))
            values = {"tried": tried, "for_workers": int(for_workers)}
            tx.rows("could_not_tell", id=lease.run_id, fence=lease.fence, **values)

        self._do(work)

    def refuse(self, lease: Lease, why: str) -> None:
        """Say, before the run is ended, why nothing was touched."""
        self._do(lambda tx: tx.rows("refuse", id=lease.run_id, fence=lease.fence, refused=why))

    # Events

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
        values = [rows.event_values(lease.run_id, one) for one in recorded]
        plan = tx.rows("get_plan", id=lease.run_id)[0]["plan"] if after == 0 else ""
        Chain(tx, claimed[0]["environment"]).add(values, plan)
        tx.many("insert_event", values)
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

    def record_release(
        self, environment: str, release: RecordedRelease, identity: Identity | None = None
    ) -> None:
        """Pin a release."""
        values = {
            "content_id": release.content_id,
            "members": json.dumps(dict(release.members), sort_keys=True),
            "commit_id": release.commit,
            "label": release.label,
            "at": release.at.isoformat(),
            "by_whom": release.by,
        }
        act = _act("recorded", release.by, recorded_about(values), identity)

        def work(tx: Transaction) -> None:
            Chain(tx, environment).act(values["at"], act)
            tx.rows("record_release", environment=environment, **values)

        self._do(work)

    def recorded_releases(self, environment: str) -> list[RecordedRelease]:
        """The pinned releases, oldest first."""
        found = self._do(lambda tx: tx.rows("recorded_releases", environment=environment))
        return [rows.recorded_release(row) for row in found]

    def mark_release(
        self, environment: str, marked: Marked, identity: Identity | None = None
    ) -> None:
        """Say something of a release."""
        values = {
            "content_id": marked.content_id,
            "mark": str(marked.mark),
            "why": marked.why,
            "by_whom": marked.by,
            "at": marked.at.isoformat(),
        }
        act = _act("marked", marked.by, marked_about(values), identity)

        def work(tx: Transaction) -> None:
            Chain(tx, environment).act(values["at"], act)
            tx.rows("mark_release", environment=environment, **values)

        self._do(work)

    def marks(self, environment: str) -> Mapping[str, Marked]:
        """Content id → what was said of it last."""
        found = self._do(lambda tx: tx.rows("marks", environment=environment))
        return {row["content_id"]: rows.marked(row) for row in found}


def _act(kind: str, by: str, about: Mapping[str, str], identity: Identity | None) -> Act:
    return Act(kind=kind, by=by, about=about, identity=identity or Identity())
