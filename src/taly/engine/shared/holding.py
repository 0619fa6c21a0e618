"""What the lock's object says: who holds the environment, in a form that people can read too."""

import json
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Literal, get_args

from taly.engine.owner import Owner
from taly.engine.store.port import RunSummary
from taly.errors import EnvironmentLocked, UsageError
from taly.hostile import json_value

FORMAT_VERSION = 1
State = Literal["held", "left", "free"]
NUMBERS = frozenset({"pid", "fence", "beat"})
MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """The lock of one environment, as its object says it."""

    state: State
    """held: a process works on the run. left: nobody does, and it is not over. free: it is over."""
    run: str
    purpose: str
    digest: str
    """The plan's."""
    by: str
    host: str
    machine: str
    pid: int
    started: str
    since: str
    """When the run began by the clock of its machine (ISO 8601): shown, never compared."""
    lease_s: float
    """Real seconds for which the object must have stayed the same before another may take it."""
    fence: int
    """Grows with every taking."""
    beat: int
    """Grows with every renewal, so that no two states of the object are the same."""
    nonce: str
    """This taking's own: how a holder knows its own write again whose answer was lost."""

    @property
    def owner(self) -> Owner:
        """The process."""
        return Owner(
            by=self.by, host=self.host, machine=self.machine, pid=self.pid, started=self.started
        )

    @property
    def begun(self) -> str:
        """When it began, for people."""
        return datetime.fromisoformat(self.since).strftime("%Y-%m-%d %H:%M:%S UTC")

    def summary(self, environment: str, *, alive: bool) -> RunSummary:
        """The run in short, as far as the lock knows it."""
        return RunSummary(
            id=self.run,
            environment=environment,
            purpose=self.purpose,
            digest=self.digest,
            by=self.by,
            created_at=datetime.fromisoformat(self.since),
            outcome=None,
            finished_at=None,
            owner=self.owner,
            lease_left_s=self.lease_s if alive else 0.0,
            cancel_by="",
        )


def to_json(holding: Holding) -> bytes:
    """The object's body."""
    return json.dumps({"format_version": FORMAT_VERSION, **asdict(holding)}, indent=1).encode()


def from_json(body: bytes, place: str) -> Holding:
    """What the body says; UsageError when it is not ours, or a newer taly's."""
    try:
        said: dict[str, Any] = json_value(body, limit=MAX_BYTES)
        version = said.pop("format_version")
        if version == FORMAT_VERSION:
            known = {one.name for one in fields(Holding)}
            found = Holding(**{name: value for name, value in said.items() if name in known})
            _check(found)
            return found
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise unreadable(place, f"it is no lock of taly's: {type(error).__name__}") from error
    raise unreadable(place, f"it was written by another taly (format {version})")


def _check(found: Holding) -> None:
    """TypeError or ValueError where a field is not of its type: everybody's commands read it."""
    for name, value in asdict(found).items():
        if name == "lease_s":
            if type(value) not in (int, float) or value <= 0:
                raise ValueError(name)
        elif type(value) is not (int if name in NUMBERS else str):
            raise TypeError(name)
    datetime.fromisoformat(found.since)
    if found.state not in get_args(State):
        raise ValueError("state")


def unreadable(place: str, why: str) -> UsageError:
    """The refusal of an object that this taly cannot read."""
    return UsageError(
        f"{place} cannot be read: {why}",
        reference="shared-unreadable",
        hint="pip install --upgrade taly-rollback",
    )


def locked(environment: str, holding: Holding) -> EnvironmentLocked:
    """The refusal that names the run, the person and the machine."""
    return EnvironmentLocked(
        f"{environment} is held by {held_by(holding)}, which works on it there",
        reference="environment-locked",
        hint=f"taly show {holding.run}, or taly cancel {holding.run}",
    )


def held_by(holding: Holding) -> str:
    """`run-0abcde (rollback, since …) of anna on ci-7 (process 12)`."""
    return f"{holding.run} ({holding.purpose}, since {holding.begun}) of {holding.owner}"
