"""What taking a database's rollback back brings along: told before it is done. Read only."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from taly.database.connection import Target, reading, target_of
from taly.database.counts import Question, counts
from taly.database.rescue.bundle import bundles
from taly.database.restore import put_aside
from taly.model.plan import Step, StepKind

SHOWN = 4
"""Tables that are named; the others are summed up."""


def carried_back(step: Step, environ: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence for each thing that comes back with this step. Raises TalyError."""
    run = step.address.get("undoes", "")
    match step.kind:
        case StepKind.RESTORE if run:
            return (*_taking_its_place(step, run, target_of(step.address, environ)),)
        case StepKind.APPLY if run:
            return _put_back(step, run)
        case _:
            return ()


def _taking_its_place(step: Step, run: str, target: Target) -> Sequence[str]:
    name = target.place.rpartition("/")[2]
    kept = [one for one in put_aside(target) if (one.run, one.of) == (run, name)]
    if not kept:
        return ()
    with reading(target) as connection:
        question = Question(since=kept[0].label.xid, misfits={}, known=False)
        found = counts(connection, question)
    said = [f"{kept[0].name}, which {run} put aside, takes its place again"]
    if found:
        rows = _listed([(one.table, one.written, one.exact) for one in found])
        said.append(f"what was written since is carried over to it: {rows}")
    rescued = _rescued(step, run)
    if rescued:
        said.append(f"what was rescued is still in it: {_listed(rescued)}")
    return said


def _put_back(step: Step, run: str) -> tuple[str, ...]:
    migration = step.address.get("migration", "")
    rescued = _rescued(step, run, migration)
    if not rescued:
        return (f"{migration} is applied again; nothing of it was rescued",)
    return (f"{migration} is applied again, and what was rescued put back: {_listed(rescued)}",)


def _rescued(step: Step, run: str, migration: str = "") -> list[tuple[str, int, bool]]:
    base = Path(step.address.get("rescue") or ".taly/rescue")
    rows: dict[str, int] = {}
    for reader in bundles(base, run):
        about = reader.manifest
        if about.component == step.component and about.step.endswith(migration):
            for table in reader.tables:
                rows[table.label] = rows.get(table.label, 0) + table.rows
    return [(table, count, True) for table, count in rows.items() if count]


def _listed(found: Sequence[tuple[str, int, bool]]) -> str:
    """`public.bookings 12 rows, public.refunds ~3`."""
    named = [f"{table} {'' if exact else '~'}{rows:,}" for table, rows, exact in found[:SHOWN]]
    left = sum(rows for _, rows, _ in found[SHOWN:])
    more = [f"{left:,} in {len(found) - SHOWN} more tables"] if left else []
    return ", ".join([*named, *more]) + " rows"
