"""A scenario: the platform to emulate, its past, what is under way, and what is still to come."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from taly.sandbox.durations import PATTERN, parse_duration
from taly.sandbox.emulator import Deploy, Outcome, SandboxComponent
from taly.sandbox.world import HTTP_FAULTS

Vendor = Literal["apprunner", "netlify", "vercel", "serverless", "postgres"]
FaultVendor = Literal[
    "",
    "apprunner",
    "ecr",
    "cloudtrail",
    "netlify",
    "vercel",
    "serverless",
    "postgres",
    "rds",
    "iam",
]


FAULT_KINDS: Mapping[str, frozenset[str]] = {
    "any vendor": HTTP_FAULTS,
    "apprunner": frozenset(
        {
            *("health-fail", "operation-stuck", "false-success", "lost-operation-id"),
            *("maintenance", "expired-image", "concurrent-push", "access-denied"),
        }
    ),
    "vercel": frozenset(
        {
            *("alias-job-stale", "alias-job-absent", "alias-job-skipped", "alias-job-failed"),
            *("alias-partial", "job-false-success"),
        }
    ),
    "netlify": frozenset(
        {
            *("restore-ignored", "restore-lost-later", "lock-ignored"),
            *("unknown-state", "race-build"),
        }
    ),
    "serverless": frozenset(
        {
            *("update-fails", "rollback-fails", "false-success", "half-success"),
            *("failed-late", "artifact-missing", "hotfix"),
        }
    ),
    "iam": frozenset({"iam-denied"}),
    "rds": frozenset({"rds-quota", "rds-kms", "rds-restore-fails", "rds-snapshot-fails"}),
}
"""Vendor → the kinds of faults that it knows; each emulator documents its own. A kind that nobody
knows would never strike, and a test that relies on it would pass for nothing."""


ALL_FAULT_KINDS = tuple(sorted(frozenset().union(*FAULT_KINDS.values())))


def fault_misfit(kind: str, vendor: str) -> str:
    """Why a fault of that kind can never strike that vendor; empty when it can."""
    owner = "apprunner" if vendor in ("ecr", "cloudtrail") else vendor
    if not vendor or kind not in ALL_FAULT_KINDS:
        return ""
    if kind in HTTP_FAULTS | FAULT_KINDS.get(owner, frozenset()):
        return ""
    return f"a fault of kind {kind!r} never strikes {vendor}"


def _fault_kind(value: str) -> str:
    if value not in ALL_FAULT_KINDS:
        known = ", ".join(ALL_FAULT_KINDS)
        raise ValueError(f"there is no fault of kind {value!r}; known: {known}")
    return value


def _span(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError("a span of time is written as text, e.g. 5m or -3d")
    return parse_duration(value)


Span = Annotated[
    timedelta, BeforeValidator(_span), WithJsonSchema({"type": "string", "pattern": PATTERN})
]
Past = Annotated[Span, Field(lt=timedelta(0))]
Later = Annotated[Span, Field(ge=timedelta(0))]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{7,40}$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Targets = Literal["all"] | Annotated[list[str], Field(min_length=1)]


class Entry(BaseModel):
    """A table of a scenario file: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ComponentEntry(Entry):
    """A component of the platform."""

    name: Name
    vendor: Vendor
    after: list[str] = []
    """Components that a deploy does before this one; becomes `after` in taly.toml."""
    settings: dict[str, Any] = {}
    """The emulator's own switches: plan, retention, limits…"""


class DeployWhat(Entry):
    """What CI deploys, wherever it stands in time."""

    commit: Commit
    message: str = ""
    components: Targets = "all"
    outcome: Outcome = "ok"
    outcomes: dict[str, Outcome] = {}
    """Component → an outcome other than `outcome`."""
    settings: dict[str, dict[str, Any]] = {}
    """Component → details of its deploy: a migration, environment values, resources added…"""

    def includes(self, component: str) -> bool:
        """Whether it deploys that component."""
        return self.components == "all" or component in self.components

    def of(self, component: str) -> Deploy:
        """The component's own part of it, as its emulator takes it."""
        return Deploy(
            component=component,
            commit=self.commit,
            message=self.message,
            outcome=self.outcomes.get(component, self.outcome),
            settings=self.settings.get(component, {}),
        )


W = TypeVar("W", bound=DeployWhat)


class DeployEntry(DeployWhat):
    """A deploy of the past."""

    at: Past
    """When it was done with the first components, e.g. `-3d`."""
    stagger: Later = timedelta(minutes=3)
    """How long after a component those that come `after` it are done."""


class PushEntry(DeployWhat):
    """A deploy that arrives once the sandbox runs."""

    after: Later
    """Virtual time from ready until the first components' deploys arrive."""
    stagger: Later = timedelta(0)


class InFlightEntry(DeployWhat):
    """A deploy that is under way when the sandbox is ready."""

    components: Annotated[list[str], Field(min_length=1)]
    started: Span = timedelta(0)
    """When it began, e.g. `-1m`; 0s = the instant at which the sandbox is ready."""


class ChangeEntry(Entry):
    """Something that a person did in a vendor's console."""

    at: Span
    """Negative: in the past. Otherwise: that long after the sandbox is ready."""
    component: str
    change: dict[str, Any]
    """`kind` and what the emulator wants with it."""


class FaultEntry(Entry):
    """Something that goes wrong, `count` times; armed when the sandbox is ready."""

    kind: Annotated[
        str,
        AfterValidator(_fault_kind),
        WithJsonSchema({"type": "string", "enum": list(ALL_FAULT_KINDS)}),
    ]
    component: str = ""
    vendor: FaultVendor = ""
    call: str = ""
    """Only calls whose target contains this text."""
    count: Annotated[int, Field(ge=1)] = 1
    status: Annotated[int, Field(ge=400, le=599)] = 503
    seconds: Annotated[float, Field(ge=0)] = 0.0
    settings: dict[str, Any] = {}


class Scenario(Entry):
    """All of a scenario file."""

    name: Name
    description: str
    speed: Annotated[float, Field(gt=0, le=100_000)] = 60.0
    """Virtual seconds in a real one."""
    writers: Annotated[int, Field(ge=0, le=64)] = 0
    """Customers who keep booking at the backend from ready on."""
    components: Annotated[list[ComponentEntry], Field(min_length=1)]
    deploys: list[DeployEntry] = []
    changes: list[ChangeEntry] = []
    in_flight: list[InFlightEntry] = []
    pushes: list[PushEntry] = []
    faults: list[FaultEntry] = []

    @property
    def vendors(self) -> frozenset[str]:
        """The vendors that it needs."""
        return frozenset(component.vendor for component in self.components)

    def component(self, name: str) -> ComponentEntry:
        """The component of that name; KeyError if there is none."""
        for entry in self.components:
            if entry.name == name:
                return entry
        raise KeyError(name)

    def sandbox_components(self) -> tuple[SandboxComponent, ...]:
        """The components as the emulators take them."""
        return tuple(
            SandboxComponent(name=entry.name, vendor=entry.vendor, settings=entry.settings)
            for entry in self.components
        )

    def recalled(self, what: W) -> W:
        """The same deploy; of a commit that was deployed before, as the same code.

        A commit is one thing: its message and what it needs (settings) do not change when CI
        deploys it once more, nor does it work better, unless the deploy says so.
        """
        before = [one for one in self.deploys if same_commit(one.commit, what.commit)]
        if not before:
            return what
        known = before[-1]
        facts: dict[str, Any] = {"commit": known.commit, "message": known.message}
        if "outcome" not in what.model_fields_set:
            facts |= {"outcome": known.outcome, "outcomes": {**known.outcomes, **what.outcomes}}
        return what.model_copy(update={**facts, "settings": {**known.settings, **what.settings}})

    def waves(self, what: DeployWhat) -> list[list[str]]:
        """The components of a deploy in the order in which CI deploys them."""
        after = {entry.name: entry.after for entry in self.components}
        depth = {name: wave_of(name, after) for name in after}
        chosen = [name for name in after if what.includes(name)]
        return [
            [name for name in chosen if depth[name] == wave]
            for wave in sorted({depth[name] for name in chosen})
        ]


def same_commit(one: str, other: str) -> bool:
    """Whether one is the other, or short for it."""
    return one.startswith(other) or other.startswith(one)


def wave_of(name: str, after: Mapping[str, list[str]]) -> int:
    """How many components, at most, stand one behind the other before this one."""
    return max((1 + wave_of(earlier, after) for earlier in after[name]), default=0)


def schema() -> dict[str, Any]:
    """The JSON schema of a scenario file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Scenario.model_json_schema(),
    }
