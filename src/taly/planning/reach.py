"""What stands between a component and a release's member."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import assert_never

from taly.model.check import Finding, Severity
from taly.model.release import (
    Barred,
    Deployment,
    Gone,
    Mark,
    Observation,
    Observed,
    Release,
    Restorable,
)
from taly.planning.codes import finding


def deployment(observed: Observed, deployment_id: str) -> Deployment | None:
    """The deployment of that id, if the provider still tells of it."""
    if observed.live.id == deployment_id:
        return observed.live
    return next((d for d in observed.history if d.id == deployment_id), None)


def hindrance(observed: Observed, release: Release) -> Finding | None:
    """Why the component cannot go to its member of the release; None = it can, or is there."""
    name = observed.component
    target_id = release.members.get(name)
    if target_id is None or target_id == observed.live.id:
        return None
    target = deployment(observed, target_id)
    if target is None:
        text = f"{short(target_id)} of release {release.name} is no longer in its history"
        return finding("target-gone", name, text)
    if target.candidates and not release.recorded:
        could = " or ".join(short(candidate) for candidate in target.candidates)
        text = f"the evidence leaves open what release {release.name} was: {could}"
        return finding("target-ambiguous", name, text, "taly releases --json")
    match target.restorable:
        case Restorable():
            return None
        case Gone(reason=reason):
            text = f"{target.label} of release {release.name} is gone: {reason}"
            return finding("target-gone", name, text)
        case Barred(reason=reason, reference=reference):
            text = f"{target.label} of release {release.name}: {reason}"
            return finding(reference, name, text, severity=Severity.ERROR)
        case _:
            assert_never(target.restorable)


def hindrances(release: Release, observations: Mapping[str, Observation]) -> list[Finding]:
    """What keeps observed components from going to the release, in the components' order."""
    found = [hindrance(o, release) for o in observations.values() if isinstance(o, Observed)]
    return [one for one in found if one is not None]


def candidates(releases: Sequence[Release], target: Release) -> list[Release]:
    """Other releases that one may go to instead, the nearest to the target first."""
    places = {release.content_id: i for i, release in enumerate(releases)}
    place = places.get(target.content_id, len(releases))
    others = [
        release
        for release in releases
        if release.content_id != target.content_id and not release.is_live
        if release.live and not release.mixed and release.mark is not Mark.BAD
    ]
    live = max((places[r.content_id] for r in releases if r.is_live), default=len(releases))
    before = [release for release in others if places[release.content_id] < live]
    return sorted(
        before,
        key=lambda r: (abs(places[r.content_id] - place), places[r.content_id]),
    )


def nearest_whole(
    releases: Sequence[Release], target: Release, observations: Mapping[str, Observation]
) -> Release | None:
    """The release nearest to the target to which every observed component can go."""
    return next((r for r in candidates(releases, target) if not hindrances(r, observations)), None)


def nearest_restorable(
    releases: Sequence[Release], target: Release, observations: Mapping[str, Observation]
) -> str:
    """For a refusal: `9 of 10 components can go to R41; backend can go to R40 or R38.`"""
    stuck = [one.component for one in hindrances(target, observations)]
    total = sum(1 for name in observations if name in target.members)
    parts = [f"{total - len(stuck)} of {total} components can go to {target.name}"]
    others = candidates(releases, target)
    for name in stuck[:5]:
        names = list(_alternatives(observations[name], others))
        where = f"can go to {' or '.join(names)}" if names else "can go to no release"
        parts.append(f"{name} {where}")
    if len(stuck) > 5:
        parts.append(f"{len(stuck) - 5} more cannot either")
    return "; ".join(parts) + "."


def _alternatives(observed: Observation, others: Sequence[Release]) -> Iterator[str]:
    """Up to two releases with different deployments that the component can go to."""
    if not isinstance(observed, Observed):
        return
    seen: set[str] = set()
    for release in others:
        member = release.members.get(observed.component)
        if member is None or member in seen or hindrance(observed, release) is not None:
            continue
        seen.add(member)
        yield release.name
        if len(seen) == 2:
            return


def short(identity: str) -> str:
    """An id as a person can read it aloud."""
    _, colon, digest = identity.rpartition("sha256:")
    if colon:
        return f"{colon}{digest[:8]}…"
    return identity if len(identity) <= 24 else f"{identity[:23]}…"


def when(instant: datetime) -> str:
    """An instant in UTC, to the minute."""
    return f"{instant:%Y-%m-%d %H:%M} UTC"
