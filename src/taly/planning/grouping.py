"""Which changes of single components belong to one release of the platform."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import accumulate, chain, pairwise, repeat
from operator import itemgetter, sub
from typing import Any

from taly.planning.timelines import Timeline

SETTLE_S = 120.0
"""A component that changes again within this many seconds had not settled."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The platform after a group of changes, until the next group begins."""

    since: datetime
    """When the group's last change went live: from then on the state stood."""
    until: datetime | None
    """When the next group began; None = it still stands."""
    total: int
    """Its content sum."""
    commits: frozenset[str]
    """The known commits that the group brought."""
    returns: bool
    """Whether the group went back to what had been live before."""
    complete: bool
    """Whether every component had a deployment by then."""


def settled_states(timelines: Sequence[Timeline], window_s: float) -> Iterator[Settled]:
    """The states in which the platform came to rest, oldest first.

    Changes that follow each other within the window are taken together, unless
    - one brings another known commit of the same repository (components that ever carried the
      same commit are of one repository); a straggler of an earlier commit begins nothing, or
    - a component that changed already changes again, more than two minutes later, without a
      commit to say that it is the same release once more, or
    - one goes back to what had been live before and the others do not: a rollback is no deploy.
    Changes at the same instant are always taken together.
    """
    if not timelines:
        return
    changes = _Changes(timelines)
    complete_from = max(line.seconds[0] for line in timelines)
    groups = chain.from_iterable(changes.groups(b, e) for b, e in changes.batches(window_s))
    total = begin = 0
    for group in groups:
        end, last = group.end, changes.seconds[group.end - 1]
        total, begin = total + changes.weight(begin, end), end
        yield Settled(
            since=changes.start(end - 1),
            until=changes.start(end) if end < len(changes.order) else None,
            total=total,
            commits=frozenset(group.commits),
            returns=group.returns,
            complete=last >= complete_from,
        )


@dataclass(slots=True)
class _Group:
    """Changes that belong together, while they are collected."""

    returns: bool
    end: int = 0
    commits: set[str] = field(default_factory=set)
    repositories: dict[int, str] = field(default_factory=dict)
    """Repository → its one commit in this group."""
    changed: dict[int, float] = field(default_factory=dict)
    """Component → when it last changed in this group."""


class _Changes:
    """All components' changes in the order of time, as columns: a million fit into a second."""

    def __init__(self, timelines: Sequence[Timeline]) -> None:
        self.timelines = timelines
        flat = chain.from_iterable
        self.lines = list(flat(repeat(i, len(t.starts)) for i, t in enumerate(timelines)))
        self.starts = list(flat(line.starts for line in timelines))
        self.commits = list(flat(line.commits for line in timelines))
        self.deltas = list(flat(line.deltas for line in timelines))
        before = accumulate((len(line.starts) for line in timelines), initial=0)
        self.returning = {
            n + i for n, t in zip(before, timelines, strict=False) for i in t.returning
        }
        seconds = list(flat(line.seconds for line in timelines))
        self.order = sorted(range(len(seconds)), key=seconds.__getitem__)
        self.seconds = sorted(seconds)

    def start(self, position: int) -> datetime:
        """When the change at that place in the order went live."""
        return self.starts[self.order[position]]

    def weight(self, begin: int, end: int) -> int:
        """What these changes together add to the content sum."""
        return sum(_at(self.order[begin:end])(self.deltas))

    def batches(self, window_s: float) -> Iterator[tuple[int, int]]:
        """Where in the order there was quiet for longer than the window."""
        gaps = map(sub, self.seconds[1:], self.seconds)
        cuts = [i for i, gap in enumerate(gaps, 1) if gap > window_s]
        return pairwise([0, *cuts, len(self.order)])

    def groups(self, begin: int, end: int) -> Iterator[_Group]:
        """The groups of one batch."""
        batch = self.order[begin:end]
        whole = self._whole(batch, end)
        if whole is not None:
            yield whole
            return
        group = _Group(returns=batch[0] in self.returning)
        seen: set[tuple[int, str]] = set()
        for position, change in enumerate(batch, begin):
            same_instant = position > begin and self.seconds[position] == self.seconds[position - 1]
            if not same_instant and not self._joins(group, change, position, seen):
                yield group
                group = _Group(returns=change in self.returning)
            self._add(group, change, position, seen)
        yield group

    def _whole(self, batch: Sequence[int], end: int) -> _Group | None:
        """The batch as one group, where that is plain to see: nearly always."""
        at = _at(batch)
        commits = set(at(self.commits)) - {""}
        if len(set(at(self.lines))) < len(batch):
            return None
        if len(commits) > 1:
            of = self._repositories
            pairs = {(of[self.lines[i]], self.commits[i]) for i in batch if self.commits[i]}
            if len({repository for repository, _ in pairs}) < len(pairs):
                return None
        returns = batch[0] in self.returning
        if self.returning and any((change in self.returning) != returns for change in batch):
            return None
        return _Group(returns=returns, end=end, commits=commits)

    def _joins(self, group: _Group, change: int, position: int, seen: set[tuple[int, str]]) -> bool:
        returns, line, commit = change in self.returning, self.lines[change], self.commits[change]
        if returns != group.returns:
            return False
        last = group.changed.get(line)
        settled = last is not None and self.seconds[position] - last > SETTLE_S
        if returns or not commit:
            return not settled
        current = group.repositories.get(self._repositories[line])
        if current is None:
            return not settled
        return current == commit or (last is None and self._straggles(line, commit, seen))

    def _straggles(self, line: int, commit: str, seen: set[tuple[int, str]]) -> bool:
        """Whether others had this commit before the present one, and this component comes late."""
        repository = self._repositories[line]
        return (line, commit) not in seen and (-1 - repository, commit) in seen

    def _add(self, group: _Group, change: int, position: int, seen: set[tuple[int, str]]) -> None:
        line, commit = self.lines[change], self.commits[change]
        group.end = position + 1
        group.changed[line] = self.seconds[position]
        if commit:
            repository = self._repositories[line]
            if group.repositories.setdefault(repository, commit) == commit:
                group.commits.add(commit)
            seen.update(((line, commit), (-1 - repository, commit)))

    @cached_property
    def _repositories(self) -> Sequence[int]:
        """Component → its repository, named by one of its components."""
        parents = list(range(len(self.timelines)))

        def root(line: int) -> int:
            while parents[line] != line:
                parents[line] = line = parents[parents[line]]
            return line

        owners: dict[str, int] = {}
        for i, line in enumerate(self.timelines):
            commits = set(line.commits) - {""}
            for owner in {owners[commit] for commit in commits & owners.keys()}:
                parents[root(owner)] = root(i)
            owners.update(dict.fromkeys(commits, i))
        return [root(i) for i in range(len(parents))]


def _at(places: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Reads these places of a column; twice as fast as one by one, and there are a million."""
    if len(places) == 1:  # itemgetter would return the item itself
        return lambda column: (column[places[0]],)
    return itemgetter(*places)
