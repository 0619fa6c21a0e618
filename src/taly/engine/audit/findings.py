"""What a walk along the audit trail comes to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["altered", "missing", "added"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The first place where the trail is not what was written."""

    kind: Kind
    environment: str
    position: int
    """Where in the environment's trail; 0 = outside it."""
    run: str
    seq: int
    says: str
    """In one sentence, what is wrong there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """One environment's trail, from its first entry to its last or to the first finding."""

    environment: str
    events: int
    acts: int
    runs: int
    first: int
    """The position it begins with: 1, but for an export of a part."""
    last: int
    head: str
    """The hash of the last entry."""
    chained_from: int
    """Entries before this position were already there when the chain was begun; 0 = none."""
    finding: Finding | None = None
    kept: Mapping[str, int] = field(default_factory=dict)
    """Of the heads that were given: hash → the position where it stands."""
    trail: str = ""
    """Where a team's machines have a trail each: its name, the hash of its first entry."""
    machine: str = ""
    """…and the machine that last wrote there."""
