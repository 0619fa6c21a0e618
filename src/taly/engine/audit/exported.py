"""Exporting a trail, and verifying an export where there is no store."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from taly.engine.audit.findings import Walked
from taly.engine.audit.lines import Line, Teller
from taly.engine.audit.stored import PAGE
from taly.engine.audit.walk import Walk, named
from taly.engine.store import Entry, Store
from taly.engine.store.chain import beginning
from taly.errors import VerificationFailed


def export(
    store: Store, environment: str, *, run: str = "", since: datetime | None = None
) -> Iterator[Line]:
    """The trail's lines: all, from the first that is not older than `since`, or those of a run.

    Whatever else was done between a run's first and its last event is exported with it: what is
    left out of the middle of a chain could not be told from what was taken out.
    """
    last = _last_of(store, environment, run) if run else 0
    teller, begun, previous = Teller(), not run and since is None, beginning(environment)
    for entry in _entries(store, environment):
        try:
            line = teller.told(entry, previous)
        except ValueError as error:
            raise VerificationFailed(
                f"{named(entry)} of {environment} cannot be read",
                reference="audit-broken",
                hint="taly audit verify",
            ) from error
        previous = entry.chain
        begun = begun or _begins(entry, run, since)
        if begun:
            yield line
        if run and entry.position == last:
            return


def _begins(entry: Entry, run: str, since: datetime | None) -> bool:
    if run:
        return entry.run == run
    return since is not None and datetime.fromisoformat(entry.at) >= since


def _entries(store: Store, environment: str) -> Iterator[Entry]:
    position = 0
    while page := store.entries(environment, after=position, limit=PAGE):
        yield from page
        position = page[-1].position


def _last_of(store: Store, environment: str, run: str) -> int:
    positions = [one.position for one in _entries(store, environment) if one.run == run]
    return max(positions, default=0)


def verify_lines(lines: Iterable[Line], heads: Collection[str] = ()) -> list[Walked]:
    """Walk the lines of an export, which may hold several environments, and machines' trails."""
    walks: dict[tuple[str, str], Walk] = {}
    tellers: dict[tuple[str, str], Teller] = {}
    for line in lines:
        key = line.entry.environment, line.trail
        if key not in walks:
            first = line.entry.position
            previous = line.previous if first > 1 else ""
            walks[key] = Walk(key[0], heads, previous=previous, first=max(first, 1))
            tellers[key] = Teller()
        walk = walks[key]
        if walk.finding is None:
            _take(walk, tellers[key], line)
    return [replace(walk.walked(), trail=trail) for (_, trail), walk in walks.items()]


def part_of(lines: Sequence[Line], *, run: str = "", since: datetime | None = None) -> list[Line]:
    """Of a whole trail's lines what `export` would give."""
    places = [
        at for at, line in enumerate(lines) if _begins(line.entry, run, since) or not (run or since)
    ]
    end = places[-1] + 1 if run and places else len(lines)
    return list(lines[places[0] : end]) if places else []


def _take(walk: Walk, teller: Teller, line: Line) -> None:
    entry, before = line.entry, walk.head
    if not walk.take(entry):
        return
    try:
        told = teller.told(entry, before)
    except ValueError:
        walk.find("altered", entry, f"{named(entry)} cannot be read")
        return
    # Of a run whose beginning is not in the file, who did it is what the file says.
    who_is_known = teller.knows(entry.run)
    same = told.kind == line.kind and (not who_is_known or told.who == line.who)
    is_named = not line.trail or entry.position > 1 or entry.chain == line.trail
    if line.previous != before or not same or not is_named:
        walk.find("altered", entry, f"what the line of {named(entry)} says beside it was altered")
