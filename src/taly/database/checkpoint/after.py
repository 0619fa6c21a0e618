"""The migration window's end: until then, what was written was the migrations' own work."""

from datetime import datetime
from pathlib import Path

from taly.database.checkpoint import catalog_file, facts
from taly.database.checkpoint.folder import (
    Checkpoint,
    Unreadable,
    close,
    every,
    fact_of,
    load,
    named,
)
from taly.database.checkpoint.manifest import After
from taly.database.checkpoint.session import check_no_deploy, snapshot
from taly.database.connection import Target
from taly.database.ledger import Ledger
from taly.errors import Refused, UsageError


def end_window(
    base: Path,
    target: Target,
    *,
    environment: str,
    component: str,
    name: str,
    by: str,
    now: datetime,
) -> Checkpoint:
    """Record the end for the checkpoint of that name, else for the latest one.

    Said twice it changes nothing: a later end would take users' writes for the migrations'.
    Raises UsageError without a checkpoint, Refused when it is of another database or was closed
    and migrations were applied since.
    """
    checkpoint = _chosen(base, environment, component, name)
    check_no_deploy(target)
    with snapshot(target) as connection:
        moment = facts.moment(connection, target)
        ledger, _ = facts.ledger_of(connection, target)
    _check_same(checkpoint, moment)
    if checkpoint.after is not None:
        _check_nothing_since(checkpoint, ledger)
        return checkpoint
    applied = {row.name for row in ledger.applied}
    pending = checkpoint.manifest.pending
    catalog = checkpoint.path / catalog_file.AFTER
    catalog.unlink(missing_ok=True)  # of one who was killed before the record itself was written
    catalog_file.write_catalog(catalog, moment.catalog)
    close(
        checkpoint,
        After(
            by=by,
            made_at=now,
            instant=moment.instant,
            ledger=facts.ledger_rows(ledger),
            applied=tuple(one for one in pending if one in applied),
            notes=tuple(_notes(checkpoint, ledger)),
            files=(fact_of(checkpoint.path, catalog),),
        ),
    )
    return load(checkpoint.path)


def _chosen(base: Path, environment: str, component: str, name: str) -> Checkpoint:
    if name:
        return named(base, name)
    for one in every(base):
        if isinstance(one, Unreadable):
            continue
        if (one.manifest.environment, one.manifest.component) == (environment, component):
            return one
    raise UsageError(
        f"there is no checkpoint of {component} whose window could end",
        reference="checkpoint-unknown",
        hint="taly checkpoint   (before the migration)",
    )


def _check_same(checkpoint: Checkpoint, moment: facts.Moment) -> None:
    unlike = facts.same_database(checkpoint.manifest.database, moment.database)
    if unlike:
        said = "; ".join(f"{word} {was}, now {now}" for word, (was, now) in unlike.items())
        raise Refused(
            f"{checkpoint.name} is of another database: {said}",
            reference="checkpoint-of-another-database",
            hint="taly checkpoint list",
        )


def _check_nothing_since(checkpoint: Checkpoint, ledger: Ledger) -> None:
    assert checkpoint.after is not None, "the caller has seen to it"
    if checkpoint.after.ledger != facts.ledger_rows(ledger):
        raise Refused(
            f"the window of {checkpoint.name} has ended, and migrations were applied since",
            reference="checkpoint-closed",
            hint="taly checkpoint   (before each `prisma migrate deploy`)",
        )


def _notes(checkpoint: Checkpoint, ledger: Ledger) -> list[str]:
    applied = {row.name for row in ledger.applied}
    known = {row.name for row in checkpoint.manifest.ledger} | set(checkpoint.manifest.pending)
    notes = [f"{row.name} did not finish: it may be half applied" for row in ledger.unfinished]
    notes += [
        f"{name} was pending and is not applied"
        for name in checkpoint.manifest.pending
        if name not in applied
    ]
    notes += [
        f"{row.name} was applied, and the checkpoint does not know it"
        for row in ledger.applied
        if row.name not in known
    ]
    return notes
