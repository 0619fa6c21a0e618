"""One commit, one text: image tags abbreviate commits that other vendors spell out."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from taly.model.release import Deployment, Observation, Observed, Snapshot

FULL = 40
"""Hexadecimal digits of a whole SHA-1 commit."""


def with_full_commits(snapshot: Snapshot) -> Snapshot:
    """The snapshot with each abbreviated commit spelled out, where exactly one commit fits it."""
    observed = [one for one in snapshot.components.values() if isinstance(one, Observed)]
    commits = {d.commit for one in observed for d in (one.live, *one.history) if d.commit}
    longer = spelled_out(commits)
    if not longer:
        return snapshot
    components = {name: _spelled(one, longer) for name, one in snapshot.components.items()}
    return replace(snapshot, components=components)


def spelled_out(commits: Iterable[str]) -> dict[str, str]:
    """Abbreviation → the one whole commit that begins with it."""
    known = set(commits)
    whole = sorted(commit for commit in known if len(commit) >= FULL)
    found = {}
    for short in known:
        fits = [commit for commit in whole if commit.startswith(short)]
        if len(short) < FULL and len(fits) == 1:
            found[short] = fits[0]
    return found


def _spelled(one: Observation, longer: Mapping[str, str]) -> Observation:
    if not isinstance(one, Observed):
        return one
    return replace(
        one,
        live=_deployment(one.live, longer),
        history=tuple(_deployment(deployment, longer) for deployment in one.history),
    )


def _deployment(deployment: Deployment, longer: Mapping[str, str]) -> Deployment:
    full = longer.get(deployment.commit)
    return deployment if full is None else replace(deployment, commit=full)
