"""What the plan does with one component, and what every component is judged against."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from taly.model.check import Finding, Severity
from taly.model.environment import Component
from taly.model.plan import ComponentPlan, DatabaseVerdict, Disposition, Step
from taly.model.ports import Differences
from taly.model.release import Deployment, Observed, Release
from taly.planning.reach import short

StepsOf = Callable[[Observed, Deployment], tuple[Step, ...]]
"""The provider's own steps from what is live toward a deployment; pure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What the user chose beside the target."""

    only: frozenset[str] = frozenset()
    """Components to touch; empty = all."""
    skip: frozenset[str] = frozenset()
    """Components to leave out."""
    with_config: bool = False
    """Whether configuration goes back too; the providers' steps heed it."""
    allow_removals: bool = False
    """Whether going back may delete resources."""
    freeze_untouched: bool = False
    """Whether auto-deploys are also held on components that are at the target already."""
    accept_conversions: bool = False
    """Whether columns that were renamed or retyped may be read back without a hint."""
    database: DatabaseVerdict | None = None
    """What the user wants done with databases; None = what suits each best."""

    def leaves_out(self, component: str) -> bool:
        """Whether the user left this component out."""
        return component in self.skip or (bool(self.only) and component not in self.only)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What the plan does with one component."""

    plan: ComponentPlan
    steps: tuple[Step, ...] = ()
    """The provider's steps, each after those it needs."""
    findings: tuple[Finding, ...] = ()
    stands_at: Deployment | None = None
    """The deployment that is verified at the end; None = the component is not verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """What every component is judged against."""

    release: Release
    options: PlanOptions
    steps_of: StepsOf
    now: datetime
    differences: Mapping[str, Differences] = field(default_factory=dict)


def refused_or(disposition: Disposition, findings: Sequence[Finding]) -> Disposition:
    """The disposition, unless a finding stands against it."""
    refused = any(one.severity is Severity.ERROR for one in findings)
    return Disposition.REFUSED if refused else disposition


def make_part(
    component: Component,
    seen: Observed,
    target: Deployment | None,
    disposition: Disposition,
    why: str,
    *,
    steps: Sequence[Step] = (),
    findings: Sequence[Finding] = (),
    planning: Planning | None = None,
) -> Part:
    """Put together; with `planning` what the provider says of the differences stands in it too."""
    to = target or seen.live
    differences = planning.differences.get(component.name) if planning else None
    differences = differences or Differences()
    skipped = disposition is Disposition.SKIPPED
    return Part(
        plan=ComponentPlan(
            component=component.name,
            provider=component.provider,
            disposition=disposition,
            why=why,
            from_deployment=seen.live.id,
            from_label=seen.live.label,
            to_deployment=to.id,
            to_label=to.label if target or skipped else short(to.id),
            config=differences.config,
            removals=differences.removals,
            migrations=differences.migrations,
            database=differences.database,
            notes=(*seen.notes, *differences.notes),
        ),
        steps=tuple(steps),
        findings=(*findings, *differences.findings),
        stands_at=None if disposition in (Disposition.SKIPPED, Disposition.REFUSED) else to,
    )
