"""The arithmetic of rows, as an assertion: live = the target's − kept + rescued."""

import math
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from taly.database.carry.model import ProofFailed, TableProof
from taly.database.carry.moving import Move
from taly.database.carry.sql import lit, number, q, rows
from taly.database.carry.work import Work

Span = tuple[int, int | None]
"""Transactions of ours: from, to (not included); None = it has not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How long counting may take; the table that is being counted by then is counted to its end."""

    changed: frozenset[int]
    """Tables that changed since everything was counted; they come first."""
    changed_s: float
    rest_s: float

    def order(self, work: Work, rows: int) -> tuple[bool, int]:
        """Those that changed, and the small ones first."""
        return work.n not in self.changed, rows

    def allows(self, work: Work, seconds: float) -> bool:
        """Whether there still is time for it."""
        return seconds <= (self.changed_s if work.n in self.changed else self.rest_s)


UNLIMITED = Budget(changed=frozenset(), changed_s=math.inf, rest_s=math.inf)


def assert_counts(
    move: Move,
    spans: list[Span],
    live: dict[int, tuple[int, str]],
    budget: Budget,
    counted: frozenset[int] = frozenset(),
) -> tuple[str, ...]:
    """Count every table on both sides, until the time is up.

    `counted`: tables whose number in `live` is already that of this snapshot. Returns the tables
    that were left out: they were counted in the pass before. Raises ProofFailed when the numbers do
    not fit or when somebody else has written to the target.
    """
    began, left = time.monotonic(), []
    known = {work.n: live.get(work.n, (0, "")) for work in move.works.tables}
    with ThreadPoolExecutor(1) as aside:  # each side has a processor of its own to use
        for work in sorted(
            move.works.tables, key=lambda work: budget.order(work, known[work.n][0])
        ):
            if not budget.allows(work, time.monotonic() - began):
                left.append(work.label)
                continue
            move.say(f"{work.label}: counts")
            counting = None if work.n in counted else aside.submit(move.live_rows, work)
            there, strange = _there(move, work, spans)
            expected = there + _elsewhere(move, work)
            count = counting.result() if counting else known[work.n][0]
            live[work.n] = (count, known[work.n][1])
            _assert_count(work, count, expected, strange)
    return tuple(left)


def _assert_count(work: Work, count: int, expected: int, strange: int) -> None:
    if strange:
        raise ProofFailed(work.label, f"somebody else wrote {strange} rows into the new database")
    if count != expected:
        raise ProofFailed(work.label, f"live has {count} rows, and {expected} are accounted for")


def _elsewhere(move: Move, work: Work) -> int:
    """Rows that are only in the rescue bundle, less those that only the target has."""
    f, r = move.scratch.at("f", work), move.scratch.at("r", work)
    if work.target is None:
        return number(move.target, f"SELECT count(*) FROM {r}")
    return number(
        move.target,
        f"SELECT count(*) FILTER (WHERE fate = 'rescued' AND NOT there)"
        f" - count(*) FILTER (WHERE fate IN ('kept', 'absent')) FROM {f}",
    )


def _there(move: Move, work: Work, spans: list[Span]) -> tuple[int, int]:
    """Rows of the target, and how many of them neither the backup nor we have written."""
    if work.target is None:
        return 0, 0
    ours = " OR ".join(
        f"age(t.xmin) <= {_age(start)}"
        + (f" AND age(t.xmin) > {_age(end)}" if end is not None else "")
        for start, end in spans
    )
    strange = f"age(t.xmin) <= {_age(spans[0][0])} AND NOT ({ours})" if spans else "false"
    row = rows(
        move.target,
        f"SELECT count(*), count(*) FILTER (WHERE {strange})"
        f" FROM {work.target_only}{q(*work.target)} t",
    )[0]
    return int(row[0]), int(row[1])


def _absent(move: Move, work: Work) -> int:
    """Rows of the target that the live database never had, and nobody has brought since."""
    if not work.key:
        return 0
    a, f = (move.scratch.at(kind, work) for kind in "af")
    return number(
        move.target,
        f"SELECT count(*) FROM {a} a WHERE {move.scratch.there(work, 'a.k')} AND NOT EXISTS"
        f" (SELECT FROM {f} f WHERE f.k = a.k AND f.fate NOT IN ('kept', 'deleted'))",
    )


def _age(xid: int) -> str:
    return f"age({lit(str(xid % 2**32))}::xid)"


def fates_of(move: Move, work: Work) -> Mapping[str, int]:
    """How many rows of a table have which fate."""
    f = move.scratch.at("f", work)
    return dict(rows(move.target, f"SELECT fate, count(*) FROM {f} GROUP BY 1"))


def table_proof(move: Move, work: Work, live: tuple[int, str]) -> TableProof:
    """The numbers of one table, at the end."""
    fates = fates_of(move, work)
    f, r, p = (move.scratch.at(kind, work) for kind in "frp")
    rescued, partly, without = rows(
        move.target,
        f"SELECT (SELECT count(*) FROM {r}), (SELECT count(*) FROM {p}),"
        f" (SELECT count(*) FROM {f} WHERE fate = 'rescued' AND NOT there)",
    )[0]
    carried, left = fates.get("carried", 0), fates.get("left", 0)
    kept = fates.get("kept", 0) + fates.get("absent", 0)
    return TableProof(
        table=work.source,
        live=live[0] if work.target is not None else rescued,
        unchanged=live[0] - carried - left - rescued if work.target is not None else 0,
        carried=carried,
        left=left,
        rescued=rescued,
        partly=partly,
        deleted=fates.get("deleted", 0),
        kept=kept,
        rows=live[0] - without + kept if work.target is not None else 0,
        checksum=live[1],
    )
