"""The audit trail as lines of JSON: one entry a line, to the letter, and who did it."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from taly.engine.codec import act_from_json, event_from_json
from taly.engine.store import Entry
from taly.errors import UsageError
from taly.hostile import MAX_DEPTH, json_value
from taly.model.events import Identity, LeaseTaken, RunStarted

FORMAT_VERSION = 1
MAX_LINE = 8 * 2**20
"""Characters of one line; the largest event is a few kilobytes."""
ENTRY = tuple(one.name for one in fields(Entry))
WHO = ("by", "digest", "user", "host", "version", "ci", "actor", "job")
"""Said by the entry itself or, for most events, by the one that began or took over the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of an export."""

    entry: Entry
    previous: str
    """The hash of the entry before it."""
    kind: str
    who: Mapping[str, str]
    trail: str = ""
    """In an export of several machines' trails: the hash of the first entry of this one's."""


class Teller:
    """Knows of each run who works on it: that stands in its first event and at each take-over."""

    def __init__(self) -> None:
        self._who: dict[str, dict[str, str]] = {}
        self._begun: set[str] = set()

    def knows(self, run_id: str) -> bool:
        """Whether the run's beginning was seen; of an act it is always known."""
        return not run_id or run_id in self._begun

    def told(self, entry: Entry, previous: str) -> Line:
        """The entry with who did it. ValueError when its JSON is none of taly's."""
        if not entry.run:
            act = act_from_json(entry.body)
            who = {"by": act.by, "digest": "", **asdict(act.identity)}
            return Line(entry=entry, previous=previous, kind=act.kind, who=who)
        event = event_from_json(entry.body)
        if isinstance(event, RunStarted):
            self._begun.add(entry.run)
            said = {"by": event.by, "host": event.host, "version": event.version}
            identity = _without_empty(event.identity)
            self._who[entry.run] = {**said, **identity, "digest": event.plan_digest}
        elif isinstance(event, LeaseTaken):
            digest = self._who.get(entry.run, {}).get("digest", "")
            identity = _without_empty(event.identity)
            self._who[entry.run] = {"by": event.owner, "digest": digest, **identity}
        who = {name: self._who.get(entry.run, {}).get(name, "") for name in WHO}
        return Line(entry=entry, previous=previous, kind=event.kind, who=who)


def to_line(line: Line) -> str:
    """The line as text, without its end."""
    document = {
        "format_version": FORMAT_VERSION,
        **{name: getattr(line.entry, name) for name in ENTRY},
        "previous": line.previous,
        "kind": line.kind,
        **{name: line.who.get(name, "") for name in WHO},
        **({"trail": line.trail} if line.trail else {}),
    }
    return json.dumps(document, separators=(",", ":"))


def read_lines(texts: Iterable[str], place: str) -> Iterator[Line]:
    """The lines of an export; UsageError `export-unreadable` names the first that is none."""
    for number, text in enumerate(texts, start=1):
        if text.strip():
            yield _line(text, f"{place}, line {number}")


def _line(text: str, place: str) -> Line:
    try:
        document = json_value(text, limit=MAX_LINE, depth=MAX_DEPTH)
    except ValueError as error:
        raise unreadable(place, str(error)) from None
    if not isinstance(document, dict) or document.pop("format_version", None) != FORMAT_VERSION:
        raise unreadable(place, f"it does not say format_version {FORMAT_VERSION}")
    numbers = {"position", "seq", "fence"}
    wanted = {*ENTRY, "previous", "kind", *WHO}
    if set(document) - {"trail"} != wanted:
        raise unreadable(place, "its keys are not those of an audit entry")
    for name, value in document.items():
        if type(value) is not (int if name in numbers else str):
            raise unreadable(place, f"{name} is of the wrong type")
    return _of(document)


def _of(document: Mapping[str, Any]) -> Line:
    return Line(
        entry=Entry(**{name: document[name] for name in ENTRY}),
        previous=document["previous"],
        kind=document["kind"],
        who={name: document[name] for name in WHO},
        trail=document.get("trail", ""),
    )


def unreadable(place: str, why: str) -> UsageError:
    """The refusal of a file that is no export."""
    return UsageError(
        f"{place} is no audit export: {why}",
        reference="export-unreadable",
        hint="taly audit export > audit.jsonl",
    )


def _without_empty(identity: Identity) -> dict[str, str]:
    return {name: value for name, value in asdict(identity).items() if value}
