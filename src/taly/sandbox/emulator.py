"""The port of an emulated vendor: what the scenario, the control API and a push ask of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Outcome = Literal["ok", "failed", "broken", "failed-late"]
"""ok; failed: the vendor rejects or reverts it; broken: it deploys and the application is bad;
failed-late: it deploys, serves for a while, and is then reverted by the vendor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxComponent:
    """A component of the emulated platform, as the scenario declares it."""

    name: str
    vendor: Literal["apprunner", "netlify", "vercel", "serverless", "postgres"]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Vendor-specific switches, documented by the emulator (plan, retention_days…)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """A deploy that arrives from CI, at the clock's present instant."""

    component: str
    commit: str
    """Full or abbreviated git commit, hex."""
    message: str = ""
    outcome: Outcome = "ok"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Vendor-specific details of this deploy (resources added, env values…)."""


class Emulator(Protocol):
    """An emulated vendor. Its methods are called from many threads: it locks for itself."""

    vendor: str

    def add(self, component: SandboxComponent) -> None:
        """Create the service, project, site or stack, with nothing deployed."""
        ...

    def deploy(self, deploy: Deploy) -> None:
        """A deploy arrives now.

        While the clock stands still (seeding) the whole outcome is applied as if its usual time
        had passed, ending at the clock's instant. While it runs, it takes its virtual time, and
        obeys auto-deploy settings, locks and pins as the vendor does.
        """
        ...

    def change(self, component: str, change: Mapping[str, Any]) -> None:
        """Something that a person did in the vendor's console (kinds: see the emulator)."""
        ...

    def state(self) -> dict[str, Any]:
        """All of the emulator's state, as JSON, for `GET /_sandbox/state`."""
        ...

    def settings(self, component: str) -> dict[str, str]:
        """The settings that taly.toml needs for this component (service name, site id…)."""
        ...

    def url(self, component: str) -> str:
        """Where users reach it, e.g. `http://127.0.0.1:40123`; empty = nowhere."""
        ...

    def start(self) -> None:
        """Seeding is over: start processes and listeners; the clock runs from here on."""
        ...

    def stop(self) -> None:
        """End processes and listeners."""
        ...
