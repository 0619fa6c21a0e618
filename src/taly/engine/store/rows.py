"""Rows as values, values as rows, and the refusals that speak of a run."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import wraps
from typing import TypeVar

from taly.engine.codec import event_from_json, event_to_json
from taly.engine.owner import Owner
from taly.engine.store.database import Row
from taly.engine.store.port import Marked, RecordedRelease, RunSummary, WorkerRow
from taly.errors import EnvironmentLocked, UsageError
from taly.model.events import Recorded
from taly.model.release import Mark

Read = TypeVar("Read")


def first(found: Sequence[Row]) -> Row | None:
    """The first row, if there is one."""
    return found[0] if found else None


def owner_of(row: Row) -> Owner:
    """The owner in these columns."""
    return Owner(
        by=row["owner_by"],
        host=row["owner_host"],
        machine=row["owner_machine"],
        pid=row["owner_pid"],
        started=row["owner_started"],
    )


def readable(read: Callable[[Row], Read]) -> Callable[[Row], Read]:
    """A row that somebody altered is refused by name: it is no bug of taly's."""

    @wraps(read)
    def careful(row: Row) -> Read:
        try:
            return read(row)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise UsageError(
                f"the store holds something that taly did not write ({type(error).__name__})",
                reference="store-damaged",
                hint="taly audit verify",
            ) from error

    return careful


def owner_values(owner: Owner) -> dict[str, object]:
    """The owner as columns."""
    return {
        "owner_by": owner.by,
        "owner_host": owner.host,
        "owner_machine": owner.machine,
        "owner_pid": owner.pid,
        "owner_started": owner.started,
    }


def event_values(run_id: str, one: Recorded) -> dict[str, object]:
    """The event as columns."""
    body = event_to_json(one.event)
    at = one.at.isoformat()
    return {"id": run_id, "seq": one.seq, "at": at, "fence": one.fence, "body": body}


@readable
def recorded(row: Row) -> Recorded:
    """The event in this row."""
    return Recorded(
        seq=row["seq"],
        at=datetime.fromisoformat(row["at"]),
        fence=row["fence"],
        event=event_from_json(row["body"]),
    )


@readable
def summary(row: Row) -> RunSummary:
    """The run in this row."""
    finished = row["finished_at"]
    return RunSummary(
        id=row["id"],
        environment=row["environment"],
        purpose=row["purpose"],
        digest=row["digest"],
        by=row["by_whom"],
        created_at=datetime.fromisoformat(row["created_at"]),
        outcome=row["outcome"],
        finished_at=datetime.fromisoformat(finished) if finished else None,
        owner=owner_of(row),
        lease_left_s=row["lease_left_s"],
        cancel_by=row["cancel_by"],
        for_workers=bool(row["for_workers"]),
        fits=json.loads(row["fits"] or "{}"),
        tried=tuple(row["tried"].split()),
        refused=row["refused"],
    )


def worker(row: Row) -> WorkerRow:
    """The worker in this row."""
    return WorkerRow(
        id=row["id"],
        name=row["name"],
        owner=owner_of(row),
        version=row["version"],
        environments=json.loads(row["environments"]),
        since=datetime.fromisoformat(row["since"]),
        run_id=row["run_id"],
        says=row["says"],
        draining=bool(row["draining"]),
        silent_s=row["silent_s"],
    )


def worker_values(one: WorkerRow) -> dict[str, object]:
    """The worker as columns."""
    return {
        "id": one.id,
        "name": one.name,
        "version": one.version,
        "environments": texts({name: dict(fits) for name, fits in one.environments.items()}),
        "since": one.since.isoformat(),
        "run_id": one.run_id,
        "says": one.says,
        "draining": int(one.draining),
        **owner_values(one.owner),
    }


def texts(of: Mapping[str, object]) -> str:
    """A mapping as the text of a column."""
    return json.dumps(of, sort_keys=True)


def names(found: Sequence[Row]) -> dict[str, str]:
    """Content id → name."""
    return {row["content_id"]: f"R{row['number']}" for row in found}


@readable
def recorded_release(row: Row) -> RecordedRelease:
    """The pinned release in this row."""
    return RecordedRelease(
        content_id=row["content_id"],
        members=json.loads(row["members"]),
        commit=row["commit_id"],
        label=row["label"],
        at=datetime.fromisoformat(row["at"]),
        by=row["by_whom"],
    )


@readable
def marked(row: Row) -> Marked:
    """The mark in this row."""
    return Marked(
        content_id=row["content_id"],
        mark=Mark(row["mark"]),
        why=row["why"],
        by=row["by_whom"],
        at=datetime.fromisoformat(row["at"]),
    )


def locked(run: RunSummary) -> EnvironmentLocked:
    """The refusal that names who holds the environment, and what helps."""
    since = run.created_at.strftime("%Y-%m-%d %H:%M:%S UTC")
    if run.is_alive:
        state = f"which {run.owner} works on"
        help_ = f"taly show {run.id}, or taly cancel {run.id}"
    elif run.waits:
        state = "which waits for a worker"
        help_ = f"taly follow {run.id}, or taly cancel {run.id}"
    else:
        state = f"which {run.owner} left unfinished"
        help_ = f"taly show {run.id}, then taly resume {run.id}"
    return EnvironmentLocked(
        f"{run.environment} is held by {run.id} ({run.purpose}, since {since}), {state}",
        reference="environment-locked",
        hint=help_,
    )


def run_unknown(run_id: str) -> UsageError:
    """The refusal of a run id that the store does not have."""
    return UsageError(f"there is no run {run_id}", reference="run-unknown", hint="taly runs")


def run_finished(run: RunSummary) -> UsageError:
    """The refusal to go on with a run that has ended."""
    return UsageError(
        f"{run.id} has ended: {run.outcome}", reference="run-finished", hint=f"taly show {run.id}"
    )
