"""Which deploy was live when, and which can come back: pure, from what Netlify still says.

Netlify keeps one `published_at` a deploy and overwrites it when the deploy is published again. So
after a rollback the earlier time of a deploy is not recorded anywhere; it is inferred here from
`created_at`, and the evidence says so.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from taly.model.release import (
    Barred,
    Confidence,
    Deployment,
    Evidence,
    LivePeriod,
    Restorability,
    Restorable,
)
from taly.providers.netlify.payloads import (
    FAILED,
    IN_PROGRESS,
    RESTORABLE,
    DeployPayload,
    SitePayload,
)

PROMPT_S = 300.0
"""A deploy published within this time of its creation surely went live by itself."""
BY_HAND_S = 3600.0
"""A site whose usual delay is above this is published by hand: then nothing can be inferred."""
STALE_AFTER = timedelta(hours=24)
"""Netlify ends builds long before; older unfinished deploys are abandoned uploads."""
IN_FLIGHT = "in_flight"
"""The detail that marks a deployment whose build may still publish, locked or not."""
PAID = ("pro", "business", "enterprise")

Start = tuple[datetime, DeployPayload, bool]
"""When a deploy went live, and whether that was inferred."""


def deployments(
    component: str, site: SitePayload, deploys: Sequence[DeployPayload], now: datetime
) -> tuple[Deployment, ...]:
    """Every production deploy, newest first by the time it last went live (or was made)."""
    starts = _starts(site, deploys)
    latest = _latest_by_branch(deploys)
    made = []
    for deploy in deploys:
        periods = _periods(deploy.id, starts)
        inferred = any(one.id == deploy.id and guessed for _, one, guessed in starts)
        made.append(
            Deployment(
                component=component,
                id=deploy.id,
                label=deploy.label,
                commit=deploy.commit_ref or "",
                created_at=deploy.created_at,
                live=periods,
                restorable=restorability(site, deploy, latest),
                details={"state": deploy.state, IN_FLIGHT: is_in_flight(deploy, now)},
                evidence=(_evidence(deploy, inferred, now),),
            )
        )
    made.sort(key=_last_live, reverse=True)
    return tuple(sorted(made, key=lambda one: not one.is_live))


def _last_live(one: Deployment) -> datetime:
    return one.live[-1].start if one.live else one.created_at or datetime.min.replace(tzinfo=UTC)


def is_in_flight(deploy: DeployPayload, now: datetime) -> bool:
    """Whether it may still publish by itself."""
    return deploy.state in IN_PROGRESS and now - deploy.created_at < STALE_AFTER


def restorability(
    site: SitePayload, deploy: DeployPayload, kept: frozenset[str] = frozenset()
) -> Restorability:
    """Whether Netlify would publish this deploy again; `kept` are ids that retention spares."""
    if deploy.id == site.live or (deploy.state in RESTORABLE and deploy.id in kept):
        return Restorable()
    if deploy.state in RESTORABLE:
        return Restorable(until=deploy.created_at + timedelta(days=retention_days(site)))
    if deploy.state in FAILED:
        why = deploy.error_message or "it was rejected"
        return Barred(reason=f"its build failed: {why}", reference="target-barred")
    if deploy.state in IN_PROGRESS:
        return Barred(reason=f"it is {deploy.state}", reference="target-barred")
    reason = f"its state {deploy.state!r} is not known to be publishable"
    return Barred(reason=reason, reference="target-barred")


def retention_days(site: SitePayload) -> int:
    """30 on free plans, 90 on paid ones; an unknown plan is taken for a free one."""
    return 90 if any(word in (site.plan or "").lower() for word in PAID) else 30


def _starts(site: SitePayload, deploys: Sequence[DeployPayload]) -> list[Start]:
    published = [(one.published_at, one) for one in deploys if one.published_at is not None]
    starts: list[Start] = [(at, one, False) for at, one in published]
    delays = sorted((at - one.created_at).total_seconds() for at, one in published)
    # Rollbacks make some delays long: a third of short ones shows that builds publish themselves.
    usual_s = delays[(len(delays) - 1) // 3] if delays else 0.0
    if usual_s <= BY_HAND_S:
        limit_s = max(PROMPT_S, 4 * usual_s)
        for at, one in published:
            late = (at - one.created_at).total_seconds() > limit_s
            overtaken = any(
                other.created_at > one.created_at and when < at for when, other in published
            )
            if late or overtaken:
                starts.append((one.created_at, one, True))
    starts.sort(key=lambda start: (start[0], start[1].id == site.live))
    if starts and site.published_deploy and starts[-1][1].id != site.live:
        # The list lags behind the site: the site is the authority on what is live.
        starts.append((starts[-1][0], site.published_deploy, True))
    return starts


def _periods(deploy: str, starts: Sequence[Start]) -> tuple[LivePeriod, ...]:
    periods: list[LivePeriod] = []
    for index, (at, one, _) in enumerate(starts):
        if one.id != deploy or (index and starts[index - 1][1].id == deploy):
            continue
        following = [when for when, other, _ in starts[index + 1 :] if other.id != deploy]
        periods.append(LivePeriod(start=at, end=following[0] if following else None))
    return tuple(periods)


def _latest_by_branch(deploys: Sequence[DeployPayload]) -> frozenset[str]:
    latest: dict[str | None, DeployPayload] = {}
    for deploy in deploys:
        best = latest.get(deploy.branch)
        newer = best is None or deploy.created_at > best.created_at
        if deploy.state in RESTORABLE and newer:
            latest[deploy.branch] = deploy
    return frozenset(deploy.id for deploy in latest.values())


def _evidence(deploy: DeployPayload, inferred: bool, now: datetime) -> Evidence:
    when = deploy.published_at.isoformat() if deploy.published_at else "never"
    says = f"state {deploy.state}, published {when}"
    if inferred:
        says += (
            "; it was published again later than it was built, which overwrites the earlier time:"
            " an earlier time live is inferred from created_at"
        )
    return Evidence(
        call="netlify:listSiteDeploys",
        at=now,
        says=says,
        confidence=Confidence.INFERRED if inferred else Confidence.EXACT,
    )
