"""The report of a run: everything that is asked for after an incident, as plain data."""

from dataclasses import dataclass
from datetime import datetime

from taly.model.events import Outcome
from taly.model.release import Evidence, Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What is said of a release."""

    mark: Mark = Mark.NONE
    why: str = ""
    by: str = ""
    at: datetime | None = None
    by_people: bool = False
    """False when taly marked it itself, because it was rolled back from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """The release that a rollback left, and what was wrong with it."""

    release: str
    since: datetime | None
    """When it first went live; None = nobody released what was live."""
    said: Said
    unwell: tuple[str, ...]
    """Components whose application did not answer as it should when the plan was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something that somebody did, and when."""

    at: datetime
    by: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What the plan did with one component."""

    component: str
    provider: str
    disposition: str
    from_label: str
    to_label: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A time in which nothing was done; seconds from the start of the run."""

    from_s: float
    to_s: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """When a step was expected, and when it was done; seconds from the start of the run."""

    id: str
    name: str
    """`roll back backend`."""
    phase: str
    how: str
    forecast_from_s: float
    forecast_s: float
    from_s: float | None
    """None = it was never started."""
    seconds: float | None
    """None = it was never started, or has not ended."""
    waits: tuple[Wait, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What one verification saw."""

    name: str
    phase: str
    at: datetime | None
    state: dict[str, str | bool | int | None]
    """The state that was seen; it holds no secret."""
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What a step did with a database; rows, unless a unit is named."""

    component: str
    what: str
    """`restored`, or the migration and what became of it."""
    done: bool
    """False: the step did not end well, and this is what it said last."""
    carried: int
    put_back: int
    deleted: int
    """Deleted since the backup: they stay deleted."""
    kept_newer: int
    rescued: int
    bundle: str
    """Where the rescue bundle lies; empty = there is none."""
    pause_s: float | None
    """For how long writers waited."""
    put_aside: str
    """What the database is called that was put aside; empty = none was."""
    put_aside_bytes: int
    not_set: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A step that failed, or whose outcome could not be seen."""

    name: str
    phase: str
    reason: str
    reference: str
    hint: str
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """A run that took this one back, or tried to."""

    run: str
    by: str
    at: datetime | None
    outcome: Outcome | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long it took; None = it cannot be known, or did not happen."""

    live_s: float | None
    """From the first instant of the release that was left to the start of the run.

    When within it somebody noticed is nothing that taly can know.
    """
    restored_at: datetime | None
    """The end of the last verification of a run that succeeded."""
    restore_s: float | None
    """From the start of the run to there."""
    total_s: float | None
    """From the first instant of the release that was left to there."""
    forecast_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to do next: a command, and when or why."""

    command: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything about one run."""

    run: str
    environment: str
    purpose: str
    outcome: Outcome | None
    from_release: str
    to_release: str
    """The target; for an undo, the run that was taken back."""
    why: str
    """Why this target."""
    to_since: datetime | None
    left: Left | None
    """None for a run that is no rollback."""
    by: str
    host: str
    version: str
    """Of the taly that began it."""
    plan_digest: str
    planned_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    times: Times
    acts: tuple[Act, ...]
    components: tuple[Moved, ...]
    steps: tuple[Timed, ...]
    idle: tuple[Wait, ...]
    """When no process worked on the run."""
    checked: tuple[Checked, ...]
    databases: tuple[Changed, ...]
    troubles: tuple[Trouble, ...]
    warned: tuple[str, ...]
    """What planning had warned of."""
    held: tuple[str, ...]
    """Components whose auto-deploys the run held and that nothing has given back since."""
    undone_by: tuple[Undone, ...]
    next: tuple[Advice, ...]
    audit_head: str = ""
    """The newest hash of the environment's audit trail when the report was written."""
