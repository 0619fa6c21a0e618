"""What the engine and the commands ask of a store, whichever database it stands on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from taly.engine.owner import Owner
from taly.engine.store.chain import Entry
from taly.model.events import Act, Event, Identity, Outcome, Recorded
from taly.model.plan import Plan
from taly.model.release import Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to work on a run, for as long as nobody else has taken it."""

    run_id: str
    fence: int
    """Grows with every take-over; an older one can append nothing."""
    lease_s: float
    """Real seconds of silence after which another process may take over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One line of `taly runs`."""

    id: str
    environment: str
    purpose: str
    """rollback, undo or unfreeze."""
    digest: str
    """The plan's."""
    by: str
    created_at: datetime
    outcome: Outcome | None
    """None while unfinished."""
    finished_at: datetime | None
    owner: Owner
    """The process that holds, or last held, the lease."""
    lease_left_s: float
    """Real seconds until it may be taken over; 0 or less = it may."""
    cancel_by: str
    """Who asked it to stop; empty = nobody."""
    for_workers: bool = False
    """Whether a worker takes it when nobody works on it."""
    fits: Mapping[str, str] = field(default_factory=dict)
    """Component → digest of the settings that it was planned with; only of runs for workers."""
    tried: tuple[str, ...] = ()
    """Ids of the workers that could not see how it ends."""
    refused: str = ""
    """Why the worker that took it touched nothing, as JSON; empty = it did not refuse."""

    @property
    def waits(self) -> bool:
        """Whether it stands in the queue: unfinished, for workers, and none works on it."""
        return self.outcome is None and self.for_workers and not self.is_alive

    @property
    def is_alive(self) -> bool:
        """Whether a process works on it now, as far as can be known."""
        return self.outcome is None and self.lease_left_s > 0 and not self.owner.is_dead()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRelease:
    """A release as `taly record` pinned it."""

    content_id: str
    members: Mapping[str, str]
    """Component → deployment id."""
    commit: str
    label: str
    at: datetime
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """What the team said of a release."""

    content_id: str
    mark: Mark
    why: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How far an environment's chain reaches."""

    position: int
    chain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """What a worker says of itself every few seconds."""

    id: str
    name: str
    owner: Owner
    version: str
    environments: Mapping[str, Mapping[str, str]]
    """Environment that it serves → component → digest of its settings there."""
    since: datetime
    run_id: str = ""
    """The run that it works on; empty = none."""
    says: str = ""
    """What keeps it from taking a run that waits, or from working at all."""
    draining: bool = False
    """It was told to end and takes no more runs."""
    silent_s: float = 0.0
    """Real seconds since it was last heard."""

    @property
    def is_alive(self) -> bool:
        """Whether it was heard just now, and its process is not known to be dead."""
        return self.silent_s <= WORKER_ALIVE_S and not self.owner.is_dead()


WORKER_ALIVE_S = 10.0
"""Real seconds of silence after which nobody counts on a worker; it is heard every two."""


class Fleet(Protocol):
    """The queue of runs for workers, and who the workers are."""

    def submit_run(
        self, plan: Plan, owner: Owner, *, at: datetime, version: str, fits: Mapping[str, str]
    ) -> str:
        """As `Store.create_run`, and leave the run to workers; its id."""
        ...

    def hand_over(self, run_id: str, *, fits: Mapping[str, str]) -> None:
        """Leave a run that nobody works on to workers; raises as `Store.take_lease`."""
        ...

    def waiting(self) -> list[RunSummary]:
        """The runs of all environments that wait for a worker, oldest first."""
        ...

    def take_waiting(
        self, run_id: str, owner: Owner, *, at: datetime, lease_s: float
    ) -> Lease | None:
        """Take a run that waits, and leave it to workers; None when somebody was faster."""
        ...

    def could_not_tell(self, lease: Lease, worker_id: str, *, for_workers: bool) -> None:
        """This worker could not see how the run ends; shall others try?"""
        ...

    def refuse(self, lease: Lease, why: str) -> None:
        """Say, before the run is ended, why nothing was touched."""
        ...

    def beat(self, worker: WorkerRow) -> None:
        """Say that this worker lives, and what it does.

        Raises UsageError `store-too-new` once a newer taly has upgraded the store.
        """
        ...

    def workers(self) -> list[WorkerRow]:
        """All workers that did not say good-bye, silent ones too, the eldest first."""
        ...

    def forget_worker(self, worker_id: str) -> None:
        """Say good-bye; and forget those that have been silent for a day."""
        ...


class Store(Fleet, Protocol):
    """Runs and what else taly must not forget. Safe to use from many threads.

    A database that does not answer raises OutcomeUnknown `store-unreachable`.
    """

    def create_run(
        self, plan: Plan, owner: Owner, *, at: datetime, version: str, lease_s: float
    ) -> Lease:
        """Lock the plan's environment, store the plan and append RunStarted, all or nothing.

        Raises EnvironmentLocked, which names the run that holds it.
        """
        ...

    def take_lease(self, run_id: str, owner: Owner, *, at: datetime, lease_s: float) -> Lease:
        """Take over a run whose lease ran out or was let go, or whose process is dead here.

        Appends LeaseTaken. Raises EnvironmentLocked while its process lives, UsageError
        `run-unknown` or `run-finished`.
        """
        ...

    def renew(self, lease: Lease) -> None:
        """Hold the lease for another `lease_s` real seconds; LeaseLost if someone else took it."""
        ...

    def let_go(self, lease: Lease) -> None:
        """Let others take the run at once; nothing happens if it is ours no more."""
        ...

    def append(
        self, lease: Lease, events: Sequence[tuple[datetime, Event]], *, after: int
    ) -> list[Recorded]:
        """Append durably, all or nothing, behind number `after`; renews the lease as well.

        Said again after a lost answer it appends nothing twice. RunFinished also unlocks the
        environment. Raises LeaseLost.
        """
        ...

    def events(self, run_id: str, *, after: int = 0) -> list[Recorded]:
        """The run's events numbered above `after`, in order."""
        ...

    def plan(self, run_id: str) -> Plan:
        """The run's plan; UsageError `run-unknown` if there is no such run."""
        ...

    def run(self, run_id: str) -> RunSummary:
        """The run in short; UsageError `run-unknown` if there is no such run."""
        ...

    def runs(self, environment: str = "", *, limit: int = 50) -> list[RunSummary]:
        """The newest runs first; of all environments when none is named."""
        ...

    def unfinished(self, environment: str) -> RunSummary | None:
        """The run that holds the environment, if one does."""
        ...

    def request_cancel(self, run_id: str, by: str) -> None:
        """Ask the run to stop; UsageError `run-unknown` or `run-finished`."""
        ...

    def cancel_requested_by(self, run_id: str) -> str:
        """Who asked the run to stop; empty = nobody."""
        ...

    def name_releases(
        self,
        environment: str,
        content_ids: Sequence[str],
        members: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Mapping[str, str]:
        """The names of these releases, oldest given first; new ones get the next free number.

        A name once given is kept for ever, and the release's members (by content id) beside it.
        """
        ...

    def release_names(self, environment: str) -> Mapping[str, str]:
        """Every content id ever named → its name."""
        ...

    def release_members(self, environment: str) -> Mapping[str, Mapping[str, str]]:
        """Content id → component → deployment id, of the named releases that came with members."""
        ...

    def record_release(
        self, environment: str, release: RecordedRelease, identity: Identity | None = None
    ) -> None:
        """Pin a release; the same content id again replaces its commit, label, time and author."""
        ...

    def recorded_releases(self, environment: str) -> list[RecordedRelease]:
        """The pinned releases, oldest first."""
        ...

    def mark_release(
        self, environment: str, marked: Marked, identity: Identity | None = None
    ) -> None:
        """Say something of a release; replaces what was said of it before."""
        ...

    def marks(self, environment: str) -> Mapping[str, Marked]:
        """Content id → what was said of it last."""
        ...

    def note(self, environment: str, at: datetime, act: Act) -> None:
        """Append what somebody did outside any run to the environment's audit trail."""
        ...

    def environments(self) -> list[str]:
        """Every environment of which something is stored, by name."""
        ...

    def chain_head(self, environment: str) -> Head | None:
        """How far the environment's audit trail reaches; None when it has none."""
        ...

    def entries(self, environment: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """The audit trail's entries behind that position, in order, as they are stored."""
        ...

    def stray_event(self, environment: str) -> tuple[str, int] | None:
        """Run and number of an event that stands in no place of the trail; None = there is none."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...
