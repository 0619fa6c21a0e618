"""What one component ran, and since when: its history as parallel columns, oldest first."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter, sub

from taly.model.release import Deployment, Observed
from taly.planning.hashing import factor, weight

ALWAYS = datetime.min.replace(tzinfo=UTC)
"""The start of a deployment that is live, and of which nobody knows since when."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The changes of one component, oldest first, as columns of one length."""

    component: str
    deployments: Sequence[Deployment]
    """What went live. Two in a row are never the same."""
    starts: Sequence[datetime]
    seconds: Sequence[float]
    """The starts as seconds since 1970, which sort faster."""
    commits: Sequence[str]
    """The deployments' commits; empty where unknown."""
    deltas: Sequence[int]
    """What each change adds to the platform's content sum."""

    def at(self, instant: datetime) -> Deployment | None:
        """What was live then; None = the component did not exist yet."""
        index = bisect_right(self.starts, instant) - 1
        return self.deployments[index] if index >= 0 else None


def timeline(observed: Observed) -> Timeline:
    """The component's changes, from the periods in which its deployments served users.

    Ends of periods are not used: one deployment serves until the next one does. What never served
    has no period and cannot get in.
    """
    rows = [
        (period.start, deployment)
        for deployment in reversed(observed.history)
        for period in deployment.live
    ]
    rows.sort(key=itemgetter(0))
    if not rows or rows[-1][1].id != observed.live.id:
        rows.append((_live_since(observed, rows), observed.live))
    rows = [row for i, row in enumerate(rows) if i == 0 or rows[i - 1][1].id != row[1].id]
    starts = [start for start, _ in rows]
    deployments = [deployment for _, deployment in rows]
    own = factor(observed.component)
    weights = [weight(own, deployment.id) for deployment in deployments]
    return Timeline(
        component=observed.component,
        deployments=deployments,
        starts=starts,
        seconds=[start.timestamp() if start > ALWAYS else 0.0 for start in starts],
        commits=[deployment.commit for deployment in deployments],
        deltas=[weights[0], *map(sub, weights[1:], weights)],
    )


def _live_since(observed: Observed, rows: Sequence[tuple[datetime, Deployment]]) -> datetime:
    """What is live counts, whatever the history says: since its own start, or the last change."""
    periods = observed.live.live
    own = periods[-1].start if periods else observed.live.created_at or ALWAYS
    return max(own, rows[-1][0]) if rows else own


class Members(Mapping[str, str]):
    """Component → deployment id at one instant, looked up when asked for.

    A thousand releases of a thousand components would be a million entries.
    """

    __slots__ = ("_instant", "_timelines")

    def __init__(self, timelines: Mapping[str, Timeline], instant: datetime) -> None:
        self._timelines = timelines
        self._instant = instant

    def __getitem__(self, component: str) -> str:
        deployment = self._timelines[component].at(self._instant)
        if deployment is None:
            raise KeyError(component)
        return deployment.id

    def __iter__(self) -> Iterator[str]:
        for name, line in self._timelines.items():
            if line.starts[0] <= self._instant:
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Members({dict(self)!r})"
