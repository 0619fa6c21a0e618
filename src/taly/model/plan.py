"""A plan: frozen data, exactly what is shown and exactly what is run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from taly.model.check import Finding
from taly.model.environment import HealthCheck
from taly.model.release import State


class StepKind(StrEnum):
    """What a step does; the glossary's verbs."""

    CANCEL = "cancel"
    """Stop, or wait out, an operation in flight that would bring the bad version back."""
    ROLL_BACK = "roll-back"
    """Make another deployment live."""
    REVERT = "revert"
    """Take one migration of a database back, in place."""
    APPLY = "apply"
    """Apply a migration again that a revert took back: its inverse."""
    RESTORE = "restore"
    """Put a backup in a database's place, with all that was written since carried over."""
    FREEZE = "freeze"
    """Hold auto-deploys."""
    THAW = "thaw"
    """Give auto-deploys back, exactly as they were."""
    VERIFY = "verify"
    """Ask vendor and application whether the component is as wanted. Writes nothing."""
    VERIFY_ALL = "verify-all"
    """Ask all of them once more, at the same time. Writes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """How long a step is expected to take."""

    seconds: float
    basis: str
    """Where the figure comes from: `median of 4 updates` or `the vendor's usual time`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One absolute change, or one check, of one component.

    `before` and `wanted` hold only the keys that the step changes or checks. Swapping them gives
    the step's inverse; the provider derives the vendor's call from the wanted state.
    """

    id: str
    """`<kind>:<component>`, unique in the plan."""
    kind: StepKind
    component: str
    """Empty for a step of the whole environment."""
    provider: str
    title: str
    """What the user reads, e.g. `backend → 7d31f0c (sha256:9f2c…)`."""
    address: Mapping[str, str] = field(default_factory=dict)
    before: State = field(default_factory=dict)
    wanted: State = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    """Ids of the steps that must be done before this one starts."""
    health: HealthCheck | None = None
    """For VERIFY: what to ask the application, placeholders already filled in."""
    forecast: Forecast = field(default_factory=lambda: Forecast(seconds=1.0, basis="a read"))
    deadline_s: float = 1800.0
    """Seconds after which a step that is not seen done is failed or unknown."""

    @property
    def writes(self) -> bool:
        """Whether the step may change anything at a vendor."""
        return self.kind not in (StepKind.VERIFY, StepKind.VERIFY_ALL)


class ConfigChangeKind(StrEnum):
    """How a configuration value differs between live and target."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChange:
    """A configuration name whose value differs between live and target; never the value."""

    name: str
    kind: ConfigChangeKind


class Disposition(StrEnum):
    """What the plan does with a component."""

    ROLL_BACK = "roll-back"
    ALREADY_THERE = "already-there"
    KEPT = "kept"
    """Stays as it is on purpose: a database whose new schema the old code can read."""
    SKIPPED = "skipped"
    """Left out by --only or --skip, or not part of the release."""
    REFUSED = "refused"
    """It cannot go there; the findings say why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """What one migration between the two releases means for going back."""

    name: str
    verdict: Literal["keep", "revert", "restore"]
    reasons: tuple[str, ...]
    """One sentence a statement that matters."""
    undo: str = ""
    """What undoing it would need: `automatic`, `catalog`, `data`."""


DatabaseVerdict = Literal["keep", "revert", "restore"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseWay:
    """One of the three things that can be done with a database, and what it would cost."""

    verdict: DatabaseVerdict
    possible: bool
    why: str
    """Why it suits, or why it cannot be done, in one sentence."""
    costs: tuple[str, ...] = ()
    """What it would take or leave behind, one sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCount:
    """Rows of one live table that going back has to look after."""

    table: str
    """Qualified, as it is called live."""
    written: int
    """Rows written since the backup, or since the migration where that is known."""
    exact: bool
    """False for an estimate of the server's statistics."""
    rescued: int | None = None
    """Rows, among them, of which something goes to the rescue bundle; None = not counted."""
    why: str = ""
    """Why something of them does not fit the old schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseOutlook:
    """What is to be done with the database, the alternatives, and what is at stake."""

    verdict: DatabaseVerdict
    """What suits best, before the user says otherwise."""
    ways: tuple[DatabaseWay, ...]
    """Keep, revert and restore, in this order."""
    checkpoint: str = ""
    """The checkpoint that a restore starts from; empty = none fits."""
    backup_at: datetime | None = None
    """When that backup was made."""
    counts: tuple[TableCount, ...] = ()
    conversions: tuple[str, ...] = ()
    """Columns that were renamed or retyped and whose values no hint says how to read back."""
    pause_s: float | None = None
    """For how long writes have to wait; None = they need not."""
    restore_s: float | None = None
    """How long a restore is expected to take; None = it cannot be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentPlan:
    """What the plan says about one component."""

    component: str
    provider: str
    disposition: Disposition
    why: str
    from_deployment: str
    from_label: str
    to_deployment: str
    to_label: str
    config: tuple[ConfigChange, ...] = ()
    removals: tuple[str, ...] = ()
    """Resources that going back deletes, e.g. `AWS::DynamoDB::Table AuditTable`."""
    migrations: tuple[Migration, ...] = ()
    database: DatabaseOutlook | None = None
    notes: tuple[str, ...] = ()
    answered_before: bool | None = None
    """Whether the application answered as it should when the plan was made; None = not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Ordered steps from a snapshot to a release."""

    environment: str
    made_at: datetime
    """When the snapshot it starts from was taken."""
    purpose: Literal["rollback", "undo", "unfreeze"]
    from_release: str
    to_release: str
    """The target release's name; for an undo, the run that it takes back."""
    to_content_id: str
    why: str
    """Why this target, in one sentence."""
    components: tuple[ComponentPlan, ...]
    steps: tuple[Step, ...]
    """In an order in which every step stands after those it needs."""
    findings: tuple[Finding, ...] = ()
    """What planning itself found; preflight adds to these."""
    forecast_s: float = 0.0
    """Seconds of the critical path."""
    on_failure: Literal["halt", "undo"] = "halt"
    from_since: datetime | None = None
    """When the release it starts from first went live; None = nobody released what is live."""
    to_since: datetime | None = None
    """When the target first went live; None = it was not seen live, or nobody released it."""
    digest: str = ""
    """sha256 over what the plan does: environment, purpose, target, steps. Not over times."""

    def step(self, step_id: str) -> Step:
        """The step of that id; KeyError if there is none."""
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)
