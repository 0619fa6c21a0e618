"""What the user declares: an environment and its components."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How to ask the running application itself whether, and as which version, it works."""

    url: str
    """Absolute URL that is fetched with GET."""
    status: int = 200
    """The HTTP status that means healthy."""
    expect: Mapping[str, str] = field(default_factory=dict)
    """Dotted JSON path → expected text. `{commit}` and `{deployment}` stand for the target's."""
    header: Mapping[str, str] = field(default_factory=dict)
    """Response header → expected text, with the same placeholders."""
    contains: str = ""
    """Text that the body must hold, with the same placeholders; empty = not asked."""
    successes: int = 3
    """How many good answers in a row are needed."""
    interval_s: float = 2.0
    """Seconds between two requests."""
    deadline_s: float = 180.0
    """Seconds after which a check that has not succeeded has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One deployable part of the platform, at one provider."""

    name: str
    provider: str
    """The provider's name: apprunner, netlify, vercel, serverless, postgres or a plug-in's."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """The provider's own settings (service name, site id…), checked by the provider."""
    health: HealthCheck | None = None
    after: tuple[str, ...] = ()
    """Names of the components that a *deploy* does before this one; a rollback goes in reverse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the team allows and wants of a rollback."""

    on_failure: Literal["halt", "undo"] = "halt"
    """What happens when a step fails: stop there, or take back what was done."""
    confirm: str = ""
    """Text that must be given with --confirm before anything runs; empty = a yes is enough."""
    grouping_window_s: float = 3600.0
    """Deployments of unknown commit closer in time than this belong to one release."""
    lease_s: float = 20.0
    """Seconds after which a run whose process is silent may be taken over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One running copy of the platform."""

    name: str
    components: tuple[Component, ...]
    policy: Policy = field(default_factory=Policy)

    def component(self, name: str) -> Component:
        """The component of that name; KeyError if there is none."""
        for component in self.components:
            if component.name == name:
                return component
        raise KeyError(name)
