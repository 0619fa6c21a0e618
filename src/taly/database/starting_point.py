"""Which checkpoint a database can go back from: of this database, at that set of migrations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from taly.database.checkpoint.folder import Checkpoint, damage, every
from taly.database.checkpoint.manifest import Database, LedgerRow

HASHED_BYTES = 256 * 1024 * 1024
"""Up to this size every file is read to its end for a plan; beyond, sizes alone are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartingPoint:
    """The checkpoint that fits, or why none does."""

    checkpoint: Checkpoint | None
    why: str
    """For a person: what was looked for, and what stood against those that were there."""

    @property
    def backup(self) -> Checkpoint | None:
        """It, if it holds a whole backup and not only what the migrations destroy."""
        one = self.checkpoint
        return one if one is not None and one.manifest.backup.kind != "none" else None


def applied(rows: Sequence[LedgerRow]) -> set[str]:
    """The names of the migrations that counted."""
    return {row.name for row in rows if row.finished_at and row.rolled_back_at is None}


def starting_point(base: Path, component: str, live: Database, had: set[str]) -> StartingPoint:
    """The newest undamaged checkpoint of this very database whose ledger had just those applied.

    One with a backup is preferred to one without.
    """
    reasons: list[str] = []
    fitting: list[Checkpoint] = []
    for one in every(base):
        if not isinstance(one, Checkpoint):
            reasons.append(f"{one.name} cannot be read: {one.reason}")
        elif one.manifest.component == component and applied(one.manifest.ledger) == had:
            fitting.extend(_believed(one, live, reasons))
    with_backup = [one for one in fitting if one.manifest.backup.kind != "none"]
    chosen = next(iter([*with_backup, *fitting]), None)
    if chosen is not None:
        return StartingPoint(checkpoint=chosen, why=f"checkpoint {chosen.name}")
    because = f" ({reasons[0]})" if reasons else ""
    return StartingPoint(
        checkpoint=None, why=f"there is no checkpoint from before the migrations{because}"
    )


def _believed(one: Checkpoint, live: Database, reasons: list[str]) -> Iterator[Checkpoint]:
    if not same_place(one.manifest.database, live):
        reasons.append(f"{one.name} is of another database: {one.manifest.database.place}")
        return
    wrong = next(_damage(one), "")
    if wrong:
        reasons.append(f"{one.name} is damaged: {wrong}")
        return
    yield one


def same_place(one: Database, live: Database) -> bool:
    """Whether a backup of the one may stand in the other's place.

    By name on the same server, however that is reached: CI may go through a tunnel. A database that
    was restored before has another OID and is the same one to its users.
    """
    if one.name != live.name:
        return False
    if one.system_identifier and live.system_identifier:
        return one.system_identifier == live.system_identifier
    return one.place == live.place


def _damage(one: Checkpoint) -> Iterator[str]:
    if one.manifest.bytes <= HASHED_BYTES:
        yield from damage(one)
        return
    for file in one.manifest.files:
        path = one.path / file.path
        if not path.is_file() or path.stat().st_size != file.bytes:
            yield f"{file.path} is not as it was written"
