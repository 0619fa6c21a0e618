"""When each deployment served, rebuilt from what Vercel keeps of the past.

Vercel keeps no log of what its aliases showed. It keeps, for each deployment, when aliases were
assigned to it, and for the project the last rollback or promote alone. What follows from that is
marked as inferred; only what is live now is exact.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from taly.model.release import (
    Barred,
    Confidence,
    Deployment,
    Evidence,
    Gone,
    LivePeriod,
    Restorability,
    Restorable,
)
from taly.providers.vercel.aliases import Serving
from taly.providers.vercel.payloads import Build, Project

JOB_S = 180.0
"""Within how many seconds of its request a job renews `aliasAssigned`."""
HOBBY = "hobby"


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What history is rebuilt from."""

    component: str
    project: Project
    serving: Serving
    builds: tuple[Build, ...]
    at: datetime
    """When it was asked."""


def deployments(past: Past) -> tuple[Deployment, ...]:
    """Every deployment of the past, newest first by the time it last went live."""
    periods = live_periods(past)
    previous = _previous(periods, past.serving.live)
    found = [_deployment(past, build, periods, previous) for build in past.builds]
    return tuple(sorted(found, key=_last_live, reverse=True))


def _last_live(deployment: Deployment) -> tuple[float, float]:
    """What never served stands at the end, newest first."""
    created = deployment.created_at.timestamp() if deployment.created_at else 0.0
    return (deployment.live[-1].start.timestamp() if deployment.live else 0.0, created)


def live_periods(past: Past) -> Mapping[str, tuple[LivePeriod, ...]]:
    """Deployment id → when it served; the live one's last period is open."""
    changes = sorted(_changes(past), key=lambda change: change[0])
    live = past.serving.live
    if live and (not changes or changes[-1][1] != live):
        changes.append((_unseen_change(past, changes), live))
    merged = [one for i, one in enumerate(changes) if i == 0 or changes[i - 1][1] != one[1]]
    found: dict[str, tuple[LivePeriod, ...]] = {}
    for number, (start, id_) in enumerate(merged):
        end = merged[number + 1][0] if number + 1 < len(merged) else None
        found[id_] = (*found.get(id_, ()), LivePeriod(start=start, end=end))
    return found


def _changes(past: Past) -> Iterable[tuple[datetime, str]]:
    """(When, which id went live then), in no order."""
    job = past.project.job
    for build in past.builds:
        start = _first_served(build, past)
        if start is not None:
            yield start, build.id
    if job is not None and job.status == "succeeded" and job.requested is not None:
        # A job that lied moved nothing: it counts only where the aliases bear it out.
        later = (_first_served(build, past) for build in past.builds if build.id != job.to_id)
        superseded = any(start is not None and start > job.requested for start in later)
        if superseded or job.to_id == past.serving.live:
            yield job.requested, job.to_id


def _first_served(build: Build, past: Past) -> datetime | None:
    """When it first went live, as far as can be told; None = it never served."""
    if not build.served:
        return None
    job = past.project.job
    renewed = (
        build.assigned is not None
        and job is not None
        and job.type == "rollback"
        and job.to_id == build.id
        and job.requested is not None
        and abs(build.assigned - job.requested) <= timedelta(seconds=JOB_S)
    )
    if renewed:  # a rollback goes back to what had served before: since it was ready, most likely
        return build.ready or build.created
    return build.assigned or build.ready or build.created


def _unseen_change(past: Past, changes: list[tuple[datetime, str]]) -> datetime:
    """When something went live of which Vercel kept no trace: at the latest change it tells of."""
    last = changes[-1][0] if changes else past.at
    updated = past.project.updated
    return max(last, updated) if updated is not None and updated <= past.at else last


def _previous(periods: Mapping[str, tuple[LivePeriod, ...]], live: str) -> str:
    """What served just before the live one: all that the hobby plan goes back to."""
    ended = [
        (period.end, id_)
        for id_, times in periods.items()
        for period in times
        if period.end is not None and id_ != live
    ]
    return max(ended)[1] if ended else ""


def _deployment(
    past: Past, build: Build, periods: Mapping[str, tuple[LivePeriod, ...]], previous: str
) -> Deployment:
    live = build.id == past.serving.live
    return Deployment(
        component=past.component,
        id=build.id,
        label=build.label,
        commit=build.commit,
        created_at=build.created,
        live=periods.get(build.id, ()),
        restorable=restorable(past, build, previous),
        details={"url": build.url, "state": build.state, "substate": build.substate or ""},
        candidates=past.serving.all_ids if live and len(past.serving.all_ids) > 1 else (),
        evidence=(_evidence(past, build, live),),
    )


def _evidence(past: Past, build: Build, live: bool) -> Evidence:
    if live:
        names = [domain for domain, id_ in past.serving.shown.items() if id_ == build.id]
        sure = past.serving.is_all(build.id)
        return Evidence(
            call="GET /v9/projects/{id}?rollbackInfo=true",
            at=past.at,
            says=f"{', '.join(names) or 'targets.production'} point to it",
            confidence=Confidence.EXACT if sure else Confidence.AMBIGUOUS,
        )
    said = f"{build.state} {build.substate or ''}".strip()
    return Evidence(
        call="GET /v7/deployments", at=past.at, says=said, confidence=Confidence.INFERRED
    )


def restorable(past: Past, build: Build, previous: str) -> Restorability:
    """Whether an instant rollback could make it live again."""
    if build.removed or build.state == "DELETED":
        return Gone(reason="the project's retention policy removed it")
    if build.state != "READY":
        return Barred(reason=f"its build ended as {build.state}", reference="never-served")
    if build.id == past.serving.live:
        return Restorable()
    if not build.served:
        return Barred(reason="it is staged and never served production", reference="never-served")
    if is_hobby(past.project) and build.id != previous:
        return Barred(
            reason="the hobby plan goes back to the previous deployment only",
            reference="hobby-limit",
        )
    if build.candidate is False and not is_hobby(past.project):
        return Barred(
            reason="Vercel does not offer it for an instant rollback",
            reference="vercel-not-candidate",
        )
    return Restorable(until=build.expires)


def is_hobby(project: Project) -> bool:
    """Whether the project's plan is the one that limits rollbacks."""
    return project.production is not None and project.production.plan == HOBBY
