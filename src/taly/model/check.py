"""Findings: what preflight says before anything is touched."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """What a finding does to the plan."""

    ERROR = "error"
    """The plan is refused."""
    WARNING = "warning"
    """The plan runs; the user should know."""
    NOTE = "note"
    """Good to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One result of a preflight check."""

    code: str
    """Stable kebab-case reference, e.g. `target-gone`; the docs list every one."""
    severity: Severity
    component: str
    """The component's name; empty = the whole environment."""
    text: str
    """What is the matter, in one sentence."""
    hint: str = ""
    """A command that helps."""
