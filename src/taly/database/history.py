"""Deployments out of the ledger: one for each set of migrations that the database ever had."""

from collections.abc import Mapping

from taly.database.ledger import Ledger, Stretch, digest, short, stretches
from taly.model.release import (
    Barred,
    Deployment,
    Evidence,
    LivePeriod,
    Operation,
    Restorability,
    Restorable,
)

UNFINISHED = "!"


def deployments(component: str, ledger: Ledger, evidence: Evidence) -> tuple[Deployment, ...]:
    """Every set, newest first by the time it last became the database's; the live one first."""
    by_id: dict[str, list[Stretch]] = {}
    for stretch in stretches(ledger):
        key = digest(stretch.names)
        by_id[key] = [*by_id.pop(key, []), stretch]  # at the end: it was live last
    made = [_deployment(component, key, found, evidence) for key, found in by_id.items()]
    if not made:
        made = [_nothing(component, evidence)]
    return tuple(reversed(made))


def names_of(deployment: Deployment) -> tuple[str, ...]:
    """The migrations that a deployment consists of, unfinished ones without their mark."""
    return tuple(name.removeprefix(UNFINISHED) for name in marked_names(deployment))


def marked_names(deployment: Deployment) -> tuple[str, ...]:
    """The same, as the deployment's id is made of them: an unfinished one after a mark."""
    listed = str(deployment.details.get("migrations") or "")
    return tuple(name for name in listed.split("\n") if name)


def state_of(ledger: Ledger) -> Mapping[str, str]:
    """The provider's state of the database: which set it has now."""
    found = stretches(ledger)
    return {"migrations": digest(found[-1].names if found else ())}


def blocked_by(ledger: Ledger) -> str:
    """Why nothing can be deployed; empty when it can, or when a deploy is under way."""
    if ledger.running or not ledger.unfinished:
        return ""
    row = ledger.unfinished[0]
    return (
        f"migration-failed: {row.name} started at {row.started_at:%Y-%m-%d %H:%M} and did not"
        " finish; it may be half applied, and `prisma migrate deploy` stops at it (P3009)"
    )


def in_flight(ledger: Ledger) -> tuple[Operation, ...]:
    """A `migrate deploy` (or resolve) that holds Prisma's lock now."""
    if not ledger.running:
        return ()
    row = ledger.unfinished[0] if ledger.unfinished else None
    last = max((row.started_at for row in ledger.rows), default=None)
    started = row.started_at if row else last
    if started is None:
        return ()
    what = f"prisma migrate is applying {row.name}" if row else "prisma migrate holds its lock"
    return (Operation(id=row.name if row else "prisma-migrate", what=what, started_at=started),)


def durations(ledger: Ledger) -> tuple[float, ...]:
    """Seconds that migrations took, newest first."""
    return tuple(
        (row.finished_at - row.started_at).total_seconds()
        for row in reversed(ledger.applied)
        if row.finished_at is not None
    )


def _deployment(component: str, key: str, found: list[Stretch], evidence: Evidence) -> Deployment:
    names = found[0].names
    last = names[-1] if names else ""
    restorable: Restorability = Restorable()
    if last.startswith(UNFINISHED):
        reason = f"{last[1:]} failed or is running, so nobody knows what of it is applied"
        restorable = Barred(reason=reason, reference="migration-failed")
    return Deployment(
        component=component,
        id=key,
        label=short(last.removeprefix(UNFINISHED)) if last else "no migrations",
        created_at=found[0].start,
        live=tuple(LivePeriod(start=stretch.start, end=stretch.end) for stretch in found),
        restorable=restorable,
        details={"migrations": "\n".join(names)},
        evidence=(evidence,),
    )


def _nothing(component: str, evidence: Evidence) -> Deployment:
    return Deployment(
        component=component,
        id=digest(()),
        label="no migrations",
        live=(LivePeriod(start=evidence.at),),
        details={"migrations": ""},
        evidence=(evidence,),
    )
