"""Releases, rebuilt from the vendors' own histories: which deployments were live together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from operator import attrgetter

from taly.model.environment import Environment
from taly.model.release import (
    LivePeriod,
    Mark,
    Observation,
    Observed,
    RecordedRelease,
    Release,
)
from taly.planning.equivalents import Equivalent
from taly.planning.grouping import Settled, settled_states
from taly.planning.hashing import content_id, content_id_of
from taly.planning.memory import Remembered
from taly.planning.timelines import Members, Timeline, timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Releases:
    """All releases that can be told, oldest first."""

    all: tuple[Release, ...]
    unnamed: tuple[str, ...]
    """Content ids that got their name just now, in the order of the numbers: to be stored.

    Empty while a component is unobserved: then the sets are not whole, and neither are the ids.
    """
    unobserved: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Release]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    @property
    def live(self) -> Release | None:
        """The release that is live now; None when no component could be observed."""
        return next((release for release in reversed(self.all) if release.is_live), None)

    def named(self, name: str) -> Release | None:
        """The release of that name, in either case of the letter."""
        wanted = name.upper()
        return next((release for release in self.all if release.name == wanted), None)


@dataclass(slots=True)
class _Draft:
    """A release without a name yet."""

    content_id: str
    instant: datetime
    """When it first stood: its place in the order."""
    members: Mapping[str, str]
    live: list[LivePeriod] = field(default_factory=list)
    commit: str = ""
    label: str = ""
    recorded: bool = False
    mixed: bool = False
    complete: bool = True
    ambiguous: tuple[str, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)


def build_releases(
    environment: Environment,
    observations: Mapping[str, Observation],
    recorded: Sequence[RecordedRelease],
    known_names: Mapping[str, str],
    marks: Mapping[str, tuple[Mark, str]],
    window_s: float,
    *,
    known_members: Mapping[str, Mapping[str, str]] | None = None,
    equivalent: Mapping[str, Equivalent] | None = None,
    remembered: Sequence[Remembered] = (),
    own_runs: Sequence[LivePeriod] = (),
) -> Releases:
    """The releases that the components' histories tell of.

    `known_names` maps a content id to the name it was shown under, `marks` a content id to what
    the team said and why. `known_members` maps content ids to members as stored: with it names
    survive a vendor that does not answer, and a component that is new in taly.toml. `equivalent`
    maps content ids of states to the releases that they stand for. `remembered` wins over histories
    that say something else of its times by now; what came up in one of `own_runs` nobody released,
    and what was gone again before its end is left out.
    """
    names = [component.name for component in environment.components]
    seen = [observations[name] for name in names if name in observations]
    lines = {o.component: timeline(o) for o in seen if isinstance(o, Observed)}
    unobserved = tuple(name for name in names if name not in lines)
    drafts = _drafts(lines, window_s, own_runs)
    for one in remembered:
        _recall(drafts, one, lines)
    _merge(drafts, equivalent or {})
    for record in sorted(recorded, key=lambda record: record.at):
        _pin(drafts, record, lines, window_s)
    in_order = sorted(drafts.values(), key=lambda draft: draft.instant)
    known = {**known_names, **_projected(in_order, lines, known_names, known_members or {})}
    in_order = _without_remnants(in_order, known)
    named, unnamed = _named(in_order, known)
    said = {known[id_]: mark for id_, mark in marks.items() if id_ in known}
    releases = tuple(
        _release(draft, name, marks.get(draft.content_id) or said.get(name), unobserved)
        for draft, name in zip(in_order, named, strict=True)
    )
    return Releases(all=releases, unnamed=() if unobserved else unnamed, unobserved=unobserved)


def _drafts(
    lines: Mapping[str, Timeline], window_s: float, own_runs: Sequence[LivePeriod]
) -> dict[str, _Draft]:
    """One draft a content id: a state that comes back is the same release, live once more."""
    drafts: dict[str, _Draft] = {}
    previous: _Draft | None = None
    candidates = attrgetter("candidates")
    open_ended = [name for name, line in lines.items() if any(map(candidates, line.deployments))]
    for state in _of_ours(settled_states(list(lines.values()), window_s), own_runs):
        id_ = content_id(state.total)
        draft = drafts.get(id_)
        if draft is None:
            draft = drafts[id_] = _draft(id_, state, lines, open_ended)
        if draft is previous:
            draft.live[-1] = replace(draft.live[-1], end=state.until)
        else:
            draft.live.append(LivePeriod(start=state.since, end=state.until))
        previous = draft
    return drafts


def _of_ours(states: Iterable[Settled], own_runs: Sequence[LivePeriod]) -> Iterator[Settled]:
    """The states, without what came and went in a run of ours; nobody released what it left."""
    for state in states:
        run = _run_at(own_runs, state.since)
        if run is None:
            yield state
        elif state.until is None or (run.end is not None and state.until > run.end):
            yield replace(state, returns=True)


def _run_at(runs: Sequence[LivePeriod], instant: datetime) -> LivePeriod | None:
    """The run of ours that was under way then."""
    return next(
        (run for run in runs if run.start <= instant and (run.end is None or instant <= run.end)),
        None,
    )


def _recall(drafts: dict[str, _Draft], one: Remembered, lines: Mapping[str, Timeline]) -> None:
    """Put a release that was seen where the histories by now tell of another set of members."""
    told = dict(Members(lines, one.at))
    members = told | {name: id_ for name, id_ in one.members.items() if name in lines}
    found = _live_at(drafts, one.at)
    if found is None or members == told or content_id_of(members) != one.content_id:
        return
    stood, period = found
    stood.live.remove(period)
    if not stood.live:
        del drafts[stood.content_id]
    seen = drafts.setdefault(
        one.content_id, _Draft(content_id=one.content_id, instant=one.at, members=members)
    )
    seen.live, seen.instant, seen.mixed = [period, *seen.live], one.at, False
    seen.commit = seen.commit or stood.commit


def _live_at(drafts: Mapping[str, _Draft], at: datetime) -> tuple[_Draft, LivePeriod] | None:
    for draft in drafts.values():
        for period in draft.live:
            if period.start <= at and (period.end is None or at < period.end):
                return draft, period
    return None


def _merge(drafts: dict[str, _Draft], equivalent: Mapping[str, Equivalent]) -> None:
    """Let a state be live periods of the release that it stands for."""
    for id_ in drafts.keys() & equivalent.keys():
        release = drafts.get(equivalent[id_].content_id)
        if release is None or release.content_id == id_:
            continue
        state = drafts.pop(id_)
        release.live = sorted(
            [*release.live, *state.live], key=lambda period: (period.start, period.end is None)
        )
        if state.live[-1].end is None:
            release.kept = equivalent[id_].kept


def _draft(
    id_: str, state: Settled, lines: Mapping[str, Timeline], open_ended: Sequence[str]
) -> _Draft:
    members = [(name, lines[name].at(state.since)) for name in open_ended]
    return _Draft(
        content_id=id_,
        instant=state.since,
        members=Members(lines, state.since),
        commit=min(state.commits) if len(state.commits) == 1 else "",
        mixed=state.returns,
        complete=state.complete,
        ambiguous=tuple(name for name, member in members if member and member.candidates),
    )


def _pin(
    drafts: dict[str, _Draft],
    record: RecordedRelease,
    lines: Mapping[str, Timeline],
    window_s: float,
) -> None:
    """Let a recorded release win over what was inferred.

    Members that were not recorded are those of the histories at that time. A set that the
    histories know is only labelled; one that they contradict replaces what they said of that time,
    unless that is live now: what is live was seen, not inferred.
    """
    at_the_time = dict(Members(lines, record.at))
    said = {name: id_ for name, id_ in record.members.items() if name in lines}
    members = at_the_time | said
    if not said:
        return
    id_ = content_id_of(members)
    draft = drafts.get(id_)
    if draft is None:
        draft = _Draft(content_id=id_, instant=record.at, members=members)
        stood = None if members == at_the_time else _standing(drafts, record.at, members, window_s)
        if stood is not None:
            draft.live, draft.instant = stood.live, stood.instant
            del drafts[stood.content_id]
        drafts[id_] = draft
    draft.recorded, draft.mixed, draft.ambiguous = True, False, ()
    draft.commit, draft.label = record.commit or draft.commit, record.label or draft.label


def _standing(
    drafts: Mapping[str, _Draft], at: datetime, members: Mapping[str, str], window_s: float
) -> _Draft | None:
    """The inferred draft nearest to that time which shares a member with the recorded one."""
    window = timedelta(seconds=window_s)
    near = [
        (abs(period.start - at), draft.content_id)
        for draft in drafts.values()
        if not draft.recorded and draft.live and draft.live[-1].end is not None
        for period in draft.live
        if period.end is not None and period.start - window <= at <= period.end
        if members.items() & draft.members.items()
    ]
    return drafts[min(near)[1]] if near else None


def _projected(
    drafts: Sequence[_Draft],
    lines: Mapping[str, Timeline],
    known_names: Mapping[str, str],
    known_members: Mapping[str, Mapping[str, str]],
) -> dict[str, str]:
    """Names for sets that equal a named one in all components that both can know of."""
    ever = {name for members in known_members.values() for name in members}
    shared = ever & lines.keys()
    if ever == lines.keys() or not shared:
        return {}
    taken = {known_names[d.content_id] for d in drafts if d.content_id in known_names}
    by_part: dict[str, list[str]] = {}
    for id_, members in known_members.items():
        if id_ in known_names and known_names[id_] not in taken:
            by_part.setdefault(_part(members, shared), []).append(known_names[id_])
    for names in by_part.values():
        names.sort(key=number, reverse=True)
    found = {}
    for draft in drafts:
        if draft.content_id in known_names:
            continue
        if left := by_part.get(_part(draft.members, shared)):
            found[draft.content_id] = left.pop()
    return found


def _part(members: Mapping[str, str], shared: set[str]) -> str:
    return content_id_of({name: members[name] for name in shared if name in members})


def _without_remnants(drafts: Sequence[_Draft], known: Mapping[str, str]) -> list[_Draft]:
    """Leave out what a history that expired in part makes of old releases.

    Names are given in time order and kept. So a set without a name that is older than every named
    one, or that lacks a component and is older than any named one, was known by another name when
    the histories still reached back.
    """
    named = [i for i, draft in enumerate(drafts) if draft.content_id in known]
    if not named:
        return list(drafts)
    first, last = named[0], named[-1]
    return [
        draft
        for i, draft in enumerate(drafts)
        if draft.content_id in known
        or draft.recorded
        or draft.live[-1].end is None
        or i > last
        or (draft.complete and i > first)
    ]


def _named(drafts: Sequence[_Draft], known: Mapping[str, str]) -> tuple[list[str], tuple[str, ...]]:
    fresh = count(max(map(number, known.values()), default=0) + 1)
    unnamed = [draft.content_id for draft in drafts if draft.content_id not in known]
    names = {**known, **{id_: f"R{n}" for id_, n in zip(unnamed, fresh, strict=False)}}
    return [names[draft.content_id] for draft in drafts], tuple(unnamed)


def number(name: str) -> int:
    """The number in a release's name."""
    return int(name.removeprefix("R"))


def _release(
    draft: _Draft,
    name: str,
    said: tuple[Mark, str] | None,
    unobserved: tuple[str, ...],
) -> Release:
    mark, why = said or (Mark.NONE, "")
    return Release(
        name=name,
        content_id=draft.content_id,
        members=draft.members,
        live=tuple(draft.live),
        commit=draft.commit,
        label=draft.label or ("mixed" if draft.mixed else ""),
        recorded=draft.recorded,
        mark=mark,
        mark_why=why,
        unknown=unobserved,
        ambiguous=draft.ambiguous,
        mixed=draft.mixed,
        kept=draft.kept,
    )
