"""What one component ran, and since when: its history as parallel columns, oldest first."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import eq, le, sub

from taly.model.release import Deployment, Observed
from taly.planning.hashing import weights

ALWAYS = datetime.min.replace(tzinfo=UTC)
"""The start of a deployment that is live, and of which nobody knows since when."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The changes of one component, oldest first, as columns of one length."""

    component: str
    deployments: Sequence[Deployment]
    """What went live. Two in a row are never the same."""
    ids: Sequence[str]
    starts: Sequence[datetime]
    seconds: Sequence[float]
    """The starts as seconds since 1970, which sort faster."""
    commits: Sequence[str]
    """The deployments' commits; empty where unknown."""
    deltas: Sequence[int]
    """What each change adds to the platform's content sum."""
    returning: Sequence[int]
    """Which of the changes went back to what the component had run before: by place."""

    def at(self, instant: datetime) -> Deployment | None:
        """What was live then; None = the component did not exist yet."""
        index = bisect_right(self.starts, instant) - 1
        return self.deployments[index] if index >= 0 else None


def timeline(observed: Observed) -> Timeline:
    """The component's changes, from the periods in which its deployments served users.

    Ends of periods are not used: one deployment serves until the next one does. What never served
    has no period and cannot get in.
    """
    # Columns rather than rows: a million tuples would cost a second in the garbage collector.
    starts, deployments = _went_live(observed.history[::-1])
    if not deployments or deployments[-1].id != observed.live.id:
        starts.append(_live_since(observed, starts))
        deployments.append(observed.live)
    ids = [deployment.id for deployment in deployments]
    came_back = len(set(ids)) < len(ids)
    if came_back and any(map(eq, ids, ids[1:])):
        firsts = [i for i in range(len(ids)) if i == 0 or ids[i] != ids[i - 1]]
        starts, deployments = [starts[i] for i in firsts], [deployments[i] for i in firsts]
        ids = [ids[i] for i in firsts]
    own = weights(observed.component, ids)
    return Timeline(
        component=observed.component,
        deployments=deployments,
        ids=ids,
        starts=starts,
        seconds=list(map(datetime.timestamp, starts)),
        commits=[deployment.commit for deployment in deployments],
        deltas=[own[0], *map(sub, own[1:], own)],
        returning=_returning(ids) if came_back else (),
    )


def _went_live(oldest_first: Sequence[Deployment]) -> tuple[list[datetime], list[Deployment]]:
    """When something went live, in order, and what that was each time."""
    lives = [deployment.live for deployment in oldest_first]
    if set(map(len, lives)) == {1}:  # nearly always, and faster
        starts = [period.start for (period,) in lives]
        deployments = list(oldest_first)
    else:
        starts = [period.start for live in lives for period in live]
        deployments = [deployment for deployment in oldest_first for _ in deployment.live]
    if all(map(le, starts, starts[1:])):
        return starts, deployments
    order = sorted(range(len(starts)), key=starts.__getitem__)
    return [starts[i] for i in order], [deployments[i] for i in order]


def _returning(ids: Sequence[str]) -> list[int]:
    """Which changes went back to what the component had run before."""
    firsts: dict[str, int] = {}
    return [i for i, id_ in enumerate(ids) if firsts.setdefault(id_, i) != i]


def _live_since(observed: Observed, starts: Sequence[datetime]) -> datetime:
    """What is live counts, whatever the history says: since its own start, or the last change."""
    periods = observed.live.live
    own = periods[-1].start if periods else observed.live.created_at or ALWAYS
    return max(own, starts[-1]) if starts else own


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
