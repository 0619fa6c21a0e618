"""Events: the typed facts of a run. A run is what they fold to, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from taly.model.release import Evidence, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who acts, as far as the machine and its CI say: whoever may set an environment can lie."""

    user: str = ""
    """The operating system's."""
    host: str = ""
    version: str = ""
    """taly's."""
    ci: str = ""
    """What runs the job, e.g. GitHub Actions; empty = no CI."""
    actor: str = ""
    """Who set the job going, as the CI says."""
    job: str = ""
    """The job's address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The run began; its plan is stored beside it."""

    plan_digest: str
    by: str
    """Operating-system user, or the CI identity."""
    host: str
    version: str
    identity: Identity = field(default_factory=Identity)
    kind: Literal["run-started"] = "run-started"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTaken:
    """Another process continues the run."""

    owner: str
    identity: Identity = field(default_factory=Identity)
    kind: Literal["lease-taken"] = "lease-taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """The engine began to work on the step; nothing was written yet."""

    step: str
    kind: Literal["step-started"] = "step-started"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepIntended:
    """Durably said before a write: from now on the write may have happened."""

    step: str
    key: str
    kind: Literal["step-intended"] = "step-intended"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepActed:
    """The vendor answered the write."""

    step: str
    receipt: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["step-acted"] = "step-acted"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgressed:
    """Something new to say about a step under way."""

    step: str
    note: str
    fraction: float | None = None
    """0 to 1 where it can be known."""
    kind: Literal["step-progressed"] = "step-progressed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """The component was seen to be as the step wants it."""

    step: str
    how: Literal["acted", "adopted", "already", "verified"]
    """Whether we wrote, took over an operation in flight, or had nothing to do."""
    state: State = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    kind: Literal["step-done"] = "step-done"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """The step surely did not reach its wanted state."""

    step: str
    reason: str
    reference: str
    hint: str = ""
    evidence: tuple[Evidence, ...] = ()
    kind: Literal["step-failed"] = "step-failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepUnknown:
    """The step's outcome could not be seen; `taly resume` settles it."""

    step: str
    reason: str
    kind: Literal["step-unknown"] = "step-unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """Someone asked the run to stop; steps under way are drained, no new one starts."""

    by: str
    kind: Literal["cancel-requested"] = "cancel-requested"


Outcome = Literal["succeeded", "failed", "verification-failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The run ended for good and let go of the environment."""

    outcome: Outcome
    kind: Literal["run-finished"] = "run-finished"


Event = (
    RunStarted
    | LeaseTaken
    | StepStarted
    | StepIntended
    | StepActed
    | StepProgressed
    | StepDone
    | StepFailed
    | StepUnknown
    | CancelRequested
    | RunFinished
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An event as the store keeps it."""

    seq: int
    """1, 2, 3… within the run, without a gap."""
    at: datetime
    fence: int
    """The lease's fencing number under which it was appended."""
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What somebody did to an environment outside any run; it stands in the same chain."""

    kind: str
    """`marked`, `recorded`, `forgot`…: a kebab-case word in the past tense."""
    by: str
    about: Mapping[str, str] = field(default_factory=dict)
    identity: Identity = field(default_factory=Identity)
