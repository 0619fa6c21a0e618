"""Rescue bundles that another machine wrote: a worker's, as the run's own events tell of them."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from taly.app.context import Context
from taly.engine.store import RunSummary
from taly.errors import UsageError
from taly.model.events import LeaseTaken, RunStarted, StepActed

LOOKED_AT = 200
"""The newest runs: older ones' bundles are found by `taly rescue show RUN`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """A bundle that is not on this machine."""

    run: str
    step: str
    by: str
    """The process that wrote it, with its machine."""
    path: str
    """Its folder there."""
    rows: int
    at: datetime


def elsewhere(context: Context, here: Collection[tuple[str, str]]) -> list[Elsewhere]:
    """The bundles of the newest runs that are not `here`, by run and step; newest first."""
    runs = context.store.runs(context.environment.name, limit=LOOKED_AT)
    found = [one for run in runs for one in _of(context, run)]
    return [one for one in found if (one.run, one.step) not in here]


def refuse_elsewhere(context: Context, run_id: str, base: Path) -> None:
    """UsageError that says where the run's bundle is; nothing when it wrote none."""
    try:
        found = list(_of(context, context.store.run(run_id)))
    except UsageError:  # the store does not know the run
        return
    if not found:
        return
    one = found[-1]
    folder = Path(one.path)
    raise UsageError(
        f"the rescue bundle of {run_id} ({one.rows:,} rows) was written by {one.by} to "
        f"{one.path}, and is not on this machine",
        reference="rescue-elsewhere",
        hint=f"the same command there, or copy {folder.parent} to {base / run_id}",
    )


def _of(context: Context, run: RunSummary) -> Iterator[Elsewhere]:
    by = ""
    for recorded in context.store.events(run.id):
        match recorded.event:
            case RunStarted(by=who, host=host):
                by = f"{who} on {host}"
            case LeaseTaken(owner=who):
                by = who
            case StepActed(step=step, receipt=receipt) if receipt.get("bundle"):
                rows = receipt.get("rescued", "0")
                yield Elsewhere(
                    run=run.id,
                    step=step,
                    by=by,
                    path=str(receipt["bundle"]),
                    rows=int(rows) if str(rows).isdecimal() else 0,
                    at=recorded.at,
                )
