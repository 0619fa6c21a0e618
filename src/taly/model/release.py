"""What the vendors have: deployments with their evidence, snapshots, releases."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol

State = Mapping[str, str | bool | int | None]
"""A provider's absolute state of one component, as plain JSON values. Never holds a secret."""


class Confidence(StrEnum):
    """How sure a fact is."""

    EXACT = "exact"
    INFERRED = "inferred"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Why we believe a fact: which call said so, and when."""

    call: str
    """The vendor's operation, e.g. `apprunner:DescribeService`."""
    at: datetime
    """When it was asked."""
    says: str
    """What it said, in a few words that hold no secret."""
    confidence: Confidence = Confidence.EXACT


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePeriod:
    """A time during which a deployment served users."""

    start: datetime
    end: datetime | None = None
    """None while it still serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restorable:
    """The provider still has it and can make it live again."""

    until: datetime | None = None
    """When retention is expected to remove it, where known."""
    kind: Literal["restorable"] = "restorable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """The provider has it no more."""

    reason: str
    kind: Literal["gone"] = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Barred:
    """It exists and the vendor would not make it live (plan limits, never served…)."""

    reason: str
    reference: str
    """The kebab-case reference of the finding that this becomes, e.g. `hobby-limit`."""
    kind: Literal["barred"] = "barred"


Restorability = Restorable | Gone | Barred


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One immutable version of one component, as its provider keeps it."""

    component: str
    id: str
    """The provider's immutable identity: image digest, deploy id, artifact directory…"""
    label: str
    """What a person recognises it by, at most about 20 characters."""
    commit: str = ""
    """The git commit it was built from; empty when the vendor does not say."""
    created_at: datetime | None = None
    live: tuple[LivePeriod, ...] = ()
    """When it served users, oldest first; empty = it never did (failed, staged, rolled back)."""
    restorable: Restorability = field(default_factory=Restorable)
    config: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Configuration name → salted fingerprint of its value. Held in memory only, never stored."""
    details: State = field(default_factory=dict)
    """What the provider itself needs to make it live again. Never holds a secret."""
    candidates: tuple[str, ...] = ()
    """When the evidence is ambiguous: the ids that it could be."""
    evidence: tuple[Evidence, ...] = ()

    @property
    def is_live(self) -> bool:
        """Whether it serves users now."""
        return bool(self.live) and self.live[-1].end is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Something that a vendor is doing to a component right now."""

    id: str
    what: str
    """In words: `update to sha256:9f2c…`, `production build of c4d1e0a`."""
    started_at: datetime
    toward: str = ""
    """The deployment id that it leads to, where known."""
    cancellable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was seen of one component."""

    component: str
    live: Deployment
    history: tuple[Deployment, ...]
    """Every deployment known, live one included, newest first by the time it last went live."""
    state: State
    """The provider's absolute state, auto-deploy setting included, as its steps use it."""
    address: Mapping[str, str]
    """How the vendor finds the component: ARN, site id, team and project ids, stack and region."""
    auto_deploy: bool | None = None
    """Whether the next push goes live by itself; None = the vendor has no such thing."""
    in_flight: tuple[Operation, ...] = ()
    blocked: str = ""
    """Why nothing can be changed now (PAUSED, ROLLBACK_COMPLETE…); empty = it can."""
    durations_s: tuple[float, ...] = ()
    """How long earlier operations of the kind a rollback uses took, newest first."""
    url: str = ""
    """Where users reach it; empty = nowhere directly."""
    notes: tuple[str, ...] = ()
    """What the user should know about this component, one sentence each."""
    kind: Literal["observed"] = "observed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unobserved:
    """A component that could not be seen, and why."""

    component: str
    reason: str
    reference: str
    """The kebab-case reference of the error."""
    hint: str = ""
    kind: Literal["unobserved"] = "unobserved"


Observation = Observed | Unobserved


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What was observed live just now."""

    environment: str
    taken_at: datetime
    components: Mapping[str, Observation]
    """In the order of the environment's components."""


class Mark(StrEnum):
    """What the team says of a release."""

    NONE = "none"
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The set of deployments that were live together, one per component."""

    name: str
    """R1, R2… in time order; kept once shown."""
    content_id: str
    """Hash over the members: the same set has the same id, whenever it is live."""
    members: Mapping[str, str]
    """Component → deployment id. A component with no deployment at that time is absent."""
    live: tuple[LivePeriod, ...]
    """When the whole set was live, oldest first; empty for a recorded one not seen live."""
    commit: str = ""
    label: str = ""
    recorded: bool = False
    """True when `taly record` pinned it; False when it was inferred from histories."""
    mark: Mark = Mark.NONE
    mark_why: str = ""
    unknown: tuple[str, ...] = ()
    """Components that could not be observed, so that their member is not known."""
    ambiguous: tuple[str, ...] = ()
    """Components whose member the evidence leaves open between several deployments."""
    mixed: bool = False
    """A state that nobody released: what a partial way back left behind."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """While it is live: component → the newer deployment that a rollback kept on purpose."""

    @property
    def is_live(self) -> bool:
        """Whether exactly this set is live now."""
        return bool(self.live) and self.live[-1].end is None


class RecordedRelease(Protocol):
    """A release as `taly record` pinned it; the store keeps these."""

    @property
    def members(self) -> Mapping[str, str]:
        """Component → deployment id, as the one who recorded it knew them."""
        ...

    @property
    def commit(self) -> str:
        """The git commit, or empty."""
        ...

    @property
    def label(self) -> str:
        """What its people call it, or empty."""
        ...

    @property
    def at(self) -> datetime:
        """When it was recorded."""
        ...
