"""What a person reads: which faults struck which steps, and the trace of one seed."""

from collections.abc import Iterator

from taly.model.plan import StepKind
from taly.simulate.faults import ALL_KINDS, KINDS, Coverage
from taly.simulate.story import Verdict

COLUMNS = {
    "cancel": "cancl",
    "roll-back": "roll",
    "revert": "revrt",
    "apply": "apply",
    "restore": "resto",
    "freeze": "freez",
    "thaw": "thaw",
    "verify": "verif",
    "verify-all": "v-all",
    "": "other",
}
"""Kind of step → its column; `other` = between steps, or the whole run."""


def coverage_lines(coverage: Coverage) -> Iterator[str]:
    """How often each fault struck a step of each kind; 80 columns."""
    assert {*COLUMNS, ""} == {"", *(str(kind) for kind in StepKind)}, "every kind has its column"
    yield f"{'fault':<20}" + "".join(f"{name:>6}" for name in COLUMNS.values())
    for kind in ALL_KINDS:
        counts = [coverage.hits[kind, step] for step in COLUMNS]
        yield f"{kind:<20}" + "".join(f"{_short(count):>6}" for count in counts)


def vendor_lines(coverage: Coverage) -> Iterator[str]:
    """The same for each real vendor, where real providers were played: its own requests."""
    for vendor in sorted({vendor for vendor, _, _ in coverage.by_vendor}):
        yield ""
        yield f"{vendor:<20}" + "".join(f"{name:>6}" for name in COLUMNS.values())
        for kind in (*KINDS["write"], *KINDS["read"]):
            counts = [coverage.by_vendor[vendor, kind, step] for step in COLUMNS]
            yield f"{kind:<20}" + "".join(f"{_short(count):>6}" for count in counts)


def _short(count: int) -> str:
    if not count:
        return "·"
    return str(count) if count < 10_000 else f"{count // 1000}k"


def trace_lines(verdict: Verdict) -> Iterator[str]:
    """The seed's faults, and all that happened."""
    yield f"seed {verdict.seed}, with {len(verdict.faults)} faults:"
    for fault in verdict.faults:
        yield f"  {fault}"
    yield from verdict.trace
