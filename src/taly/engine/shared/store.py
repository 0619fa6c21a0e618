"""The store of one machine of a team: its own runs, under a lock that all machines see.

The local store stays the truth of every run that works here. Around it: the environment's lock, the
releases' names, records and marks, and everybody's runs, in a place that all of the team reach.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from taly.engine.journal import monotonic_s
from taly.engine.owner import Owner
from taly.engine.shared.holding import Holding, held_by
from taly.engine.shared.local import LocalStore
from taly.engine.shared.lock import Look
from taly.engine.shared.objects import Objects
from taly.engine.shared.team import Held, Team
from taly.engine.store import rows
from taly.engine.store.database import Database
from taly.engine.store.names import run_id_after
from taly.engine.store.port import Lease, Marked, RecordedRelease, RunSummary
from taly.engine.store.sql import SqlStore
from taly.errors import LeaseLost, OutcomeUnknown, UsageError
from taly.model.events import CancelRequested, Event, Identity, Recorded, RunFinished
from taly.model.plan import Plan


class SharedStore(SqlStore):
    """See `store.port.Store`. What is not shared is the local store's."""

    def __init__(
        self,
        database: Database,
        objects: Objects,
        environment: str,
        *,
        folder: Path,
        notice: Callable[[str], None] = lambda _: None,
        tick: Callable[[], float] = monotonic_s,
    ) -> None:
        """`environment`: the one that commands ask of without naming it. `notice` hears what a
        person should know, e.g. that a holder is watched."""
        super().__init__(database)
        self._local = LocalStore(database)
        self._objects, self._environment, self._folder = objects, environment, folder
        self._notice, self._tick = notice, tick
        self._mutex = threading.Lock()
        self._teams: dict[str, Team] = {}
        self._held: dict[str, Held] = {}

    def team(self, environment: str = "") -> Team:
        """What is shared of that environment."""
        environment = environment or self._environment
        with self._mutex:
            if environment not in self._teams:
                self._teams[environment] = Team(
                    self._objects,
                    environment,
                    local=self._local,
                    folder=self._folder,
                    notice=self._notice,
                    tick=self._tick,
                )
            return self._teams[environment]

    @property
    def local(self) -> LocalStore:
        """This machine's own store: what its audit trail is compared with."""
        return self._local

    # Runs and the lock

    def create_run(
        self, plan: Plan, owner: Owner, *, at: datetime, version: str, lease_s: float
    ) -> Lease:
        """Take the shared lock, then begin the run here."""
        team = self.team(plan.environment)
        look = self._past_our_own(team, owner, at)
        newest = [one.id for one in self._local.runs(limit=1)]
        run_id = run_id_after(max([*newest, look.holding.run if look.holding else ""]) or None)
        wanted = _wanted(run_id, plan, owner, at, lease_s)
        team.lock.take(wanted, team.is_gone)
        try:
            self._local.next_id = run_id
            lease = self._local.create_run(plan, owner, at=at, version=version, lease_s=lease_s)
        except BaseException:
            team.lock.free()
            raise
        team.lock.rename(lease.run_id)
        self._held[lease.run_id] = team.begin(lease.run_id, lease_s)
        return lease

    def _past_our_own(self, team: Team, owner: Owner, at: datetime) -> Look:
        """The lock, once no run of this machine stands in the way; else EnvironmentLocked."""
        ours = self._local.unfinished(team.environment)
        if ours is None:
            return team.lock.read()
        if ours.is_alive:
            raise rows.locked(ours)
        look = team.lock.read()
        if look.holding is None or look.holding.run == ours.id:
            raise rows.locked(ours)
        self._give_up(team, ours, look.holding, owner, at)
        return look

    def take_lease(self, run_id: str, owner: Owner, *, at: datetime, lease_s: float) -> Lease:
        """Go on with a run of this machine, unless another one had the environment since."""
        run = self._own(run_id)
        team = self.team(run.environment)
        look = team.lock.read()
        if look.holding is not None and look.holding.run != run_id and run.outcome is None:
            if not run.is_alive:
                self._give_up(team, run, look.holding, owner, at)
            raise UsageError(
                f"{run_id} cannot go on: since then {held_by(look.holding)} has worked on "
                f"{run.environment}; {run_id} ends where it stood",
                reference="run-superseded",
                hint=f"taly show {run_id}, then taly status",
            )
        lease = self._local.take_lease(run_id, owner, at=at, lease_s=lease_s)
        wanted = _wanted(run_id, self._local.plan(run_id), owner, run.created_at, lease_s)
        try:
            team.lock.take(wanted, lambda holding: holding.run == run_id)
        except BaseException:
            self._local.let_go(lease)
            raise
        if (old := self._held.pop(run_id, None)) is not None:
            old.stop()  # this process gave up on it before
        self._held[run_id] = team.begin(run_id, lease_s)
        return lease

    def _own(self, run_id: str) -> RunSummary:
        """A run of this machine; UsageError for another's."""
        try:
            return self._local.run(run_id)
        except UsageError:
            there = self.team().runs.one(run_id).summary
            raise UsageError(
                f"{run_id} is {there.owner.host}'s: a run goes on where it was started, with that "
                "machine's store",
                reference="run-elsewhere",
                hint=f"taly resume {run_id} there, or taly rollback here",
            ) from None

    def _give_up(
        self, team: Team, run: RunSummary, holding: Holding, owner: Owner, at: datetime
    ) -> None:
        """End a run that was left here, as another machine has had the environment since.

        What it began is not brought to an end: it would be done over what the other did.
        """
        lease = self._local.take_lease(run.id, owner, at=at, lease_s=60)
        by = f"{held_by(holding)}, which took {team.environment} over"
        last = self._local.events(run.id)[-1].seq
        ending: list[tuple[datetime, Event]] = [
            (at, CancelRequested(by=by)),
            (at, RunFinished(outcome="cancelled")),
        ]
        self._local.append(lease, ending, after=last)
        self._notice(f"{run.id}, which was left here, is over: {by}")

    def renew(self, lease: Lease) -> None:
        """Hold the local lease; the shared lock has a thread of its own."""
        self._check(lease.run_id)
        self._local.renew(lease)

    def let_go(self, lease: Lease) -> None:
        """Let others take the environment without waiting for a lease."""
        self._local.let_go(lease)
        held = self._held.pop(lease.run_id, None)
        if held is not None:
            held.team.leave(held)

    def append(
        self, lease: Lease, events: Sequence[tuple[datetime, Event]], *, after: int
    ) -> list[Recorded]:
        """Append here; LeaseLost or OutcomeUnknown when the shared lock may be another's."""
        held = self._check(lease.run_id)
        recorded = self._local.append(lease, events, after=after)
        if any(isinstance(event, RunFinished) for _, event in events):
            self._held.pop(lease.run_id, None)
            held.team.end(held)
        else:
            held.mirror.heard()
        return recorded

    def _check(self, run_id: str) -> Held:
        held = self._held.get(run_id)
        if held is None:
            raise LeaseLost(f"this process does not hold the shared lock for {run_id}")
        held.check()
        return held

    # The queue for workers: they would need a store that all of them reach

    def submit_run(
        self, plan: Plan, owner: Owner, *, at: datetime, version: str, fits: Mapping[str, str]
    ) -> str:
        """Refused."""
        raise _no_workers()

    def hand_over(self, run_id: str, *, fits: Mapping[str, str]) -> None:
        """Refused."""
        raise _no_workers()

    def take_waiting(
        self, run_id: str, owner: Owner, *, at: datetime, lease_s: float
    ) -> Lease | None:
        """Nothing waits."""
        return None

    # Reading and asking

    def events(self, run_id: str, *, after: int = 0) -> list[Recorded]:
        """The events of a run of this machine, or what another one shared of its own."""
        found = self._local.events(run_id, after=after)
        if found or self._is_own(run_id):
            return found
        try:
            return self.team().runs.one(run_id).events(after)
        except UsageError:
            return []

    def plan(self, run_id: str) -> Plan:
        """The run's plan."""
        return (
            self._local.plan(run_id) if self._is_own(run_id) else self.team().runs.one(run_id).plan
        )

    def run(self, run_id: str) -> RunSummary:
        """The run in short."""
        if self._is_own(run_id):
            return self._local.run(run_id)
        return self._alive(self.team(), self.team().runs.one(run_id).summary)

    def runs(self, environment: str = "", *, limit: int = 50) -> list[RunSummary]:
        """The newest runs of all machines first."""
        team = self.team(environment)
        found = self._local.runs(environment, limit=limit)
        found += [self._alive(team, one) for one in team.runs.others(limit)]
        return sorted(found, key=lambda one: one.id, reverse=True)[:limit]

    def _alive(self, team: Team, run: RunSummary) -> RunSummary:
        """Another machine's run, with whether it has the lock."""
        if run.outcome is not None:
            return run
        try:
            look = team.lock.read()
        except OutcomeUnknown:
            return run
        if look.holding is None or look.holding.run != run.id or look.verdict != "alive":
            return run
        return replace(run, owner=look.holding.owner, lease_left_s=look.holding.lease_s)

    def unfinished(self, environment: str) -> RunSummary | None:
        """The run that holds the environment, on whichever machine.

        Another machine's counts until it was watched (`Team.look`) and gave no sign.
        """
        ours = self._local.unfinished(environment)
        team = self.team(environment)
        look = team.lock.read()
        if ours is not None and (look.holding is None or look.holding.run == ours.id):
            return ours
        if look.holding is None or look.may_be_taken or team.is_gone(look.holding):
            return None
        return look.holding.summary(environment, alive=True)

    def request_cancel(self, run_id: str, by: str) -> None:
        """Ask the run to stop; another machine's hears it within a third of its lease."""
        if self._is_own(run_id):
            self._local.request_cancel(run_id, by)
            return
        run = self.run(run_id)
        if run.outcome is not None:
            raise rows.run_finished(run)
        self.team().runs.ask_to_cancel(run_id, by)

    def cancel_requested_by(self, run_id: str) -> str:
        """Who asked the run to stop; for a run that works here, also whether it may go on."""
        if run_id in self._held:
            self._check(run_id)
        return self._local.cancel_requested_by(run_id)

    def _is_own(self, run_id: str) -> bool:
        try:
            self._local.run(run_id)
        except UsageError:
            return False
        return True

    # Releases

    def name_releases(
        self,
        environment: str,
        content_ids: Sequence[str],
        members: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Mapping[str, str]:
        """The releases' names, the same on all machines."""
        return self.team(environment).releases.name(content_ids, members or {})

    def release_names(self, environment: str) -> Mapping[str, str]:
        """Every content id ever named → its name."""
        return self.team(environment).releases.names()

    def release_members(self, environment: str) -> Mapping[str, Mapping[str, str]]:
        """Content id → the members that were given with the name."""
        return self.team(environment).releases.members()

    def record_release(
        self, environment: str, release: RecordedRelease, identity: Identity | None = None
    ) -> None:
        """Pin a release for all; this machine's audit trail tells of it."""
        self.team(environment).releases.record(release)
        self._local.record_release(environment, release, identity)

    def recorded_releases(self, environment: str) -> list[RecordedRelease]:
        """The pinned releases, oldest first."""
        return self.team(environment).releases.records()

    def mark_release(
        self, environment: str, marked: Marked, identity: Identity | None = None
    ) -> None:
        """Say something of a release to all; this machine's audit trail tells of it."""
        self.team(environment).releases.mark(marked)
        self._local.mark_release(environment, marked, identity)

    def marks(self, environment: str) -> Mapping[str, Marked]:
        """Content id → what was said of it last."""
        return self.team(environment).releases.marks()

    def close(self) -> None:
        """Let go of the database, and of what is held."""
        for held in self._held.values():
            held.stop()
        self._held.clear()
        super().close()


def _wanted(run_id: str, plan: Plan, owner: Owner, at: datetime, lease_s: float) -> Holding:
    return Holding(
        state="held",
        run=run_id,
        purpose=plan.purpose,
        digest=plan.digest,
        by=owner.by,
        host=owner.host,
        machine=owner.machine,
        pid=owner.pid,
        started=owner.started,
        since=at.isoformat(),
        lease_s=lease_s,
        fence=0,
        beat=0,
        nonce="",
    )


def _no_workers() -> UsageError:
    return UsageError(
        "workers take runs from a store that all of them reach, and this one is one machine's: "
        "with `shared` each run works where it was started",
        reference="store-local",
        hint='set store = "postgresql://…" in taly.toml',
    )
