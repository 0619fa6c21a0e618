"""The ports: what the outside must answer. Only `Provider.act` changes the world."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from taly.model.check import Finding
from taly.model.environment import Component
from taly.model.plan import ConfigChange, DatabaseOutlook, DatabaseVerdict, Migration, Step
from taly.model.release import Deployment, Evidence, Observation, Observed, State


class Clock(Protocol):
    """Time as taly sees it; the sandbox's runs faster, the simulator's is virtual."""

    def now(self) -> datetime:
        """The present instant, in UTC, with its zone."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after that many of this clock's seconds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The component is as the step wants it."""

    state: State
    evidence: tuple[Evidence, ...]
    kind: Literal["wanted"] = "wanted"


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """The vendor is changing the component right now."""

    operation: str
    """The vendor's id for it, or what else names it."""
    same_target: bool
    """Whether it leads to what the step wants: then it is adopted, never repeated."""
    evidence: tuple[Evidence, ...]
    what: str = ""
    """In words, for the progress line."""
    kind: Literal["in-flight"] = "in-flight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """The component is at rest in another state."""

    state: State
    evidence: tuple[Evidence, ...]
    kind: Literal["other"] = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The vendor ended our own operation without doing what was asked."""

    reason: str
    evidence: tuple[Evidence, ...]
    kind: Literal["failed"] = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclear:
    """The component is at rest, and what the vendor tells leaves open whether it is as wanted."""

    state: State
    why: str
    """What is not known and why, and where a person can look."""
    for_good: bool
    """Whether no later look can tell; else a record may still come, and is waited for."""
    evidence: tuple[Evidence, ...]
    kind: Literal["unclear"] = "unclear"


Probe = Wanted | InFlight | Other | Unclear | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A write that this run made, or may have made, for a step."""

    key: str
    """`<run>:<step>`: the client token where the vendor takes one."""
    intended_at: datetime
    receipt: Mapping[str, str] = field(default_factory=dict)
    """What the vendor answered (operation id…); empty when the answer was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """What the user chose that changes a provider's steps."""

    with_config: bool = False
    allow_removals: bool = False
    accept_conversions: bool = False
    """Whether columns that were renamed or retyped may be read back without a hint."""
    database: DatabaseVerdict | None = None
    """What the user wants done with the database; None = what suits best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """What else differs between the live deployment and the target; read-only knowledge."""

    config: tuple[ConfigChange, ...] = ()
    removals: tuple[str, ...] = ()
    """Resources that going back deletes."""
    migrations: tuple[Migration, ...] = ()
    """For a database: what each migration after the target means."""
    database: DatabaseOutlook | None = None
    """For a database: what to do with it, and what that costs."""
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


class Say(Protocol):
    """How a write that takes long tells how far it is, and hears that it must stop."""

    def __call__(self, note: str, fraction: float | None = None) -> None:
        """Take note of it, at most once a second durably; call it often.

        Raises Interrupted when the run was cancelled and LeaseLost when it is another process's
        now: then nothing more may be written. An empty note tells nothing and hears no cancel: it
        only makes sure, right before a write, that the run is still this process's.
        """
        ...


def silent(note: str, fraction: float | None = None) -> None:
    """A `Say` that nobody listens to."""


class Actuator(Protocol):
    """What carries steps out and looks what became of them: all that the engine asks of a vendor.

    One instance serves all of its components, from many threads.
    """

    name: str
    settle_s: float
    """The vendor's worst read-after-write lag: reads are not trusted before it has passed."""

    def act(self, step: Step, key: str, say: Say = silent) -> Mapping[str, str]:
        """Send the one write that leads to `step.wanted`; the only method that changes the world.

        Never retries. Returns the receipt: what helps `probe` to recognise our own operation.
        Raises VendorUnavailable when the outcome is not known, VendorRefused when it surely was
        not applied. A write that takes minutes ends in one instant that changes the world, tells
        `say` how far it is until then, and undoes what it prepared when that raises Interrupted.
        """
        ...

    def probe(self, step: Step, attempt: Attempt | None) -> Probe:
        """Where the component stands, seen from `step.wanted`. Read only."""
        ...


class Provider(Actuator, Protocol):
    """The adapter for one vendor: it observes, plans and checks, and carries the steps out."""

    def observe(self, component: Component) -> Observation:
        """What is live, the history, the auto-deploy setting and what is in flight. Read only.

        A vendor that cannot be asked raises VendorUnavailable or VendorRefused; the caller turns
        that into Unobserved.
        """
        ...

    def differences(self, before: Observed, target: Deployment) -> Differences:
        """What going to `target` changes besides the code. Read only."""
        ...

    def steps(self, before: Observed, target: Deployment, options: StepOptions) -> tuple[Step, ...]:
        """The provider's own steps toward `target`, as data. Pure: no IO.

        `needs` name only steps of the same component; the planner adds order between components,
        verification steps and health checks.
        """
        ...

    def check(self, step: Step) -> tuple[Finding, ...]:
        """Would `act` work: does the target exist, may we, is anything in flight. Read only."""
        ...
