"""Where to go back to: from what the user said to one release, and why that one."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from taly.errors import Refused
from taly.model.release import Mark, Observation, Observed, Release
from taly.planning.reach import hindrances, when
from taly.planning.releases import Releases, number
from taly.planning.timestamps import directories_meant

LIST_HINT = "taly releases"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The release that was chosen."""

    release: Release
    why: str
    """In one or two sentences, with what was passed over."""


def choose(
    text: str, releases: Releases, observations: Mapping[str, Observation], now: datetime
) -> Choice:
    """The release that the text means.

    `R41`, `last-good`, `previous`, a commit of at least four digits, a label given with
    `taly record`, a timestamp of `serverless deploy list`, or a time: ISO (UTC unless it says
    otherwise), `-2h`, `yesterday 14:00`.
    Raises Refused `target-unknown`, `target-ambiguous` or `no-good-release`.
    """
    said = text.strip()
    if said == "last-good":
        return _last_good(releases, observations)
    if said == "previous":
        return _previous(releases)
    if re.fullmatch(r"[Rr]\d+", said):
        return _by_name(said, releases)
    attempts: tuple[Callable[[], Choice | None], ...] = (
        lambda: _by_label(said, releases),
        lambda: _by_commit(said, releases, observations),
        lambda: _by_directory(said, releases, observations),
        lambda: _by_time(said, releases, now),
    )
    for attempt in attempts:
        choice = attempt()
        if choice is not None:
            return choice
    raise Refused(
        f"{said!r} is no release, label, commit or time that taly knows; "
        f"the newest releases are {_names(reversed(releases.all))}",
        reference="target-unknown",
        hint=LIST_HINT,
    )


def _last_good(releases: Releases, observations: Mapping[str, Observation]) -> Choice:
    live = releases.live
    before = releases.all[: releases.all.index(live)] if live else ()
    left = _left_behind(releases, live) if live and live.mixed else ""
    passed: list[str] = []
    for release in reversed(before):
        reason = _unfit(release, observations, left)
        if not reason:
            assert live is not None
            why = (
                f"{release.name} is the newest release before {live.name} that is not marked bad "
                "and whose members can all be restored"
            )
            return Choice(release=release, why="; ".join([why, *passed]))
        passed.append(f"passed over {release.name}: {reason}")
    said = "; ".join(passed) or "there is no release before the live one"
    raise Refused(
        f"no release is known to be good and restorable: {said}",
        reference="no-good-release",
        hint=LIST_HINT,
    )


def _unfit(release: Release, observations: Mapping[str, Observation], left: str) -> str:
    """Why the release is not the last good one; empty = it is."""
    if release.mark is Mark.BAD:
        return f"marked bad ({release.mark_why})" if release.mark_why else "marked bad"
    if not release.live:
        return "it was recorded and never seen live"
    if release.mixed:
        return "nobody released it"
    if release.name == left:
        return "the platform is on its way back from it"
    found = hindrances(release, observations)
    if not found:
        return ""
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{found[0].component}: {found[0].text}{more}"


def _left_behind(releases: Releases, live: Release) -> str:
    """The name of the release that a mixed live state came from."""
    since = live.live[-1].start
    ended = [
        (period.end, release.name)
        for release in releases
        for period in release.live
        if not release.mixed and period.end is not None and period.end <= since
    ]
    return max(ended)[1] if ended else ""


def _previous(releases: Releases) -> Choice:
    live = releases.live
    ended = [
        (period.end, i)
        for i, release in enumerate(releases)
        for period in release.live
        if live is not None and period.end is not None and period.end <= live.live[-1].start
    ]
    if live is None or not ended:
        raise Refused(
            "nothing is known of what was live before", reference="target-unknown", hint=LIST_HINT
        )
    end, index = max(ended)
    release = releases.all[index]
    why = f"{release.name} was live just before {live.name}, until {when(end)}"
    return Choice(release=release, why=why)


def _by_name(said: str, releases: Releases) -> Choice:
    release = releases.named(said)
    if release is not None:
        return Choice(release=release, why=f"{release.name} was asked for")
    wanted = number(said.upper())
    near = sorted(releases, key=lambda release: abs(number(release.name) - wanted))
    raise Refused(
        f"there is no release {said.upper()}, or the vendors know of it no more; "
        f"near it: {_names(near)}",
        reference="target-unknown",
        hint=LIST_HINT,
    )


def _by_label(said: str, releases: Releases) -> Choice | None:
    found = [one for one in releases if said and one.label == said and not one.mixed]
    if len(found) > 1:
        raise _ambiguous(said, [release.name for release in found])
    return Choice(release=found[0], why=f"{found[0].name} is labelled {said}") if found else None


def _by_commit(
    said: str, releases: Releases, observations: Mapping[str, Observation]
) -> Choice | None:
    prefix = said.lower()
    if not re.fullmatch(r"[0-9a-f]{4,64}", prefix):
        return None
    carriers = [
        (o.component, d.id, d.commit)
        for o in observations.values()
        if isinstance(o, Observed)
        for d in o.history
        if d.commit and _same(d.commit, prefix)
    ]
    commits = {release.commit for release in releases if _same(release.commit, prefix)}
    commits |= {commit for _, _, commit in carriers}
    distinct = [c for c in commits if not any(o != c and o.startswith(c) for o in commits)]
    if len(distinct) > 1:
        raise _ambiguous(said, [commit[:12] for commit in sorted(distinct)])
    whole = [release for release in releases if _same(release.commit, prefix)]
    if whole:
        release = next((r for r in reversed(whole) if r.mark is not Mark.BAD), whole[-1])
        others = [one.name for one in whole if one is not release]
        more = f"; so did {' and '.join(others)}" if others else ""
        return Choice(
            release=release, why=f"{release.name} brought commit {distinct[0][:12]}{more}"
        )
    ids = {(component, id_) for component, id_, _ in carriers}
    part = next((r for r in releases if ids & r.members.items()), None)
    if part is None:
        return None
    return Choice(release=part, why=f"{part.name} was the first with commit {distinct[0][:12]}")


def _same(commit: str, prefix: str) -> bool:
    return commit.startswith(prefix) or (len(commit) >= 7 and prefix.startswith(commit))


def _by_directory(
    said: str, releases: Releases, observations: Mapping[str, Observation]
) -> Choice | None:
    """What `serverless deploy list` prints; a time to the minute is a time like any other."""
    ids = {d.id for o in observations.values() if isinstance(o, Observed) for d in o.history}
    if re.fullmatch(r"[\d-]{10}[T ]\d\d:\d\d\s*(Z|UTC|[+-]\d\d:?\d\d)?", said):
        return None
    firsts = {
        release.name: release
        for id_ in directories_meant(said, ids)
        if (release := next((r for r in releases if id_ in r.members.values()), None))
    }
    if len(firsts) > 1:
        raise _ambiguous(said, list(firsts))
    for release in firsts.values():
        return Choice(release=release, why=f"{release.name} was the first with deployment {said}")
    return None


def _by_time(said: str, releases: Releases, now: datetime) -> Choice | None:
    instant = parse_time(said, now)
    if instant is None:
        return None
    if instant > now:
        raise Refused(
            f"{when(instant)} lies in the future", reference="target-unknown", hint=LIST_HINT
        )
    begun = [
        (period.start, i)
        for i, release in enumerate(releases)
        for period in release.live
        if period.start <= instant
    ]
    if not begun:
        first = f"; the oldest known release is {releases.all[0].name}" if releases.all else ""
        raise Refused(
            f"nothing is known of what was live at {when(instant)}{first}",
            reference="target-unknown",
            hint=LIST_HINT,
        )
    release = releases.all[max(begun)[1]]
    return Choice(release=release, why=f"{release.name} was live at {when(instant)}")


UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_time(said: str, now: datetime) -> datetime | None:
    """`-2h`, `2h ago`, `yesterday 14:00`, `today 9:30` or ISO; None if it is no time.

    A time without a zone is UTC, whatever zone the machine is in.
    """
    if match := re.fullmatch(r"(?:-(\d{1,4})|(\d{1,4}))\s*(s|min|m|h|d|w)( ago)?", said):
        back, plain, unit, ago = match.groups()
        if (back is None) == (ago is None):
            return None
        return now - timedelta(**{UNITS[unit]: int(back or plain)})
    if match := re.fullmatch(r"(today|yesterday) (\d{1,2}):(\d\d)", said):
        day, hour, minute = match.groups()
        if int(hour) > 23 or int(minute) > 59:
            return None
        date = now.astimezone(UTC).date() - timedelta(days=day == "yesterday")
        return datetime.combine(date, time(int(hour), int(minute)), UTC)
    try:
        instant = datetime.fromisoformat(said)
    except ValueError:
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _ambiguous(said: str, options: list[str]) -> Refused:
    return Refused(
        f"{said!r} may mean {' or '.join(options)}",
        reference="target-ambiguous",
        hint=f"taly plan --to {options[-1]}",
    )


def _names(releases: Iterable[Release]) -> str:
    return ", ".join([release.name for release in releases][:5]) or "none"
