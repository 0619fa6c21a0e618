"""The words of a carry-over: since when, what a pass did, what was proved."""

from dataclasses import dataclass

from taly.errors import VerificationFailed

HALF = 2**31
WHOLE = 2**32
FIRST_NORMAL = 3
"""Transaction ids below are special: 2 is what a very old server wrote into frozen rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """The instant of the backup, in transaction ids of 64 bits."""

    xmin: int
    """The oldest transaction that was not over then: what a later one wrote is a candidate."""
    window_end: int | None
    """The first transaction after the migration; None = not known, then all is the users' work."""
    snapshot: str
    """`pg_current_snapshot()` as text."""
    window_start: int | None = None
    """The first transaction that may be the migration's, where making the backup took longer than
    its instant; None = all since the instant."""
    leaves: bool = False
    """Whether what was written in the window was nobody's work but ours: the backup's version of a
    row stays, and the other one is not rescued. So it is in an undo."""

    def usable(self, now: int) -> bool:
        """Whether the 32 bits that a row keeps of its transaction still tell old from new."""
        return 0 <= now - self.xmin < HALF


def newer(xmin: int, since: int, now: int) -> bool:
    """Whether a row's transaction, of which 32 bits are known, is not older than `since`.

    The same that `age(xmin) <= age(since)` tells in SQL. A plain `>=` is wrong as soon as the
    counter has run over. May be true for a row that was frozen long ago, never false for a new one.
    """
    if xmin < FIRST_NORMAL:
        return False
    age = (now - xmin) % WHOLE
    return (age if age < HALF else age - WHOLE) <= now - since


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """What one pass did."""

    changes: int
    """Rows and keys that were looked at."""
    carried: int
    rescued: int
    unchanged: int
    deleted: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TableProof:
    """Where every row of one live table is now."""

    table: tuple[str, str]
    """As the live database calls it."""
    live: int
    unchanged: int
    carried: int
    left: int
    """Differ only by what the migration itself had converted: they are as in the backup."""
    rescued: int
    """Whole rows in the rescue bundle, because they have no place."""
    partly: int
    """Rows with single values in the rescue bundle."""
    deleted: int
    kept: int
    """Rows that live had deleted, and that stay."""
    rows: int
    """In the database that takes its place."""
    checksum: str
    """Order-free, of the live rows when all of them were compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """That every value of the live database is in the other one or in the rescue bundle."""

    tables: tuple[TableProof, ...]
    passes: int
    sequences: int
    large_objects: int
    """How many were brought over or removed."""
    stale_views: tuple[tuple[str, str], ...]
    """Materialised views that still show the state before the last pass: refresh them later."""
    notes: tuple[str, ...]

    @property
    def carried(self) -> int:
        """Rows brought over."""
        return sum(table.carried for table in self.tables)

    @property
    def rescued(self) -> int:
        """Whole rows in the rescue bundle."""
        return sum(table.rescued for table in self.tables)


class ProofFailed(VerificationFailed):
    """Something is not where it should be; nothing is swapped."""

    def __init__(self, table: str, what: str) -> None:
        super().__init__(
            f"table {table}: {what}; the live database stays as it is",
            reference="carry-proof-failed",
            hint="taly rollback   (it starts from scratch)",
        )
        self.table = table
