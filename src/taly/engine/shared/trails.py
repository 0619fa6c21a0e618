"""Every machine's audit trail, brought to where the whole team can verify it.

A trail is one machine's chain of one environment, named by the hash of its first entry: nobody can
put another one in its place. It is brought as lines of an export before a run is told as finished,
so that a finished run that stands in no trail was altered, or its trail was.
"""

import socket
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice

from taly.engine.audit.exported import export, verify_lines
from taly.engine.audit.findings import Finding, Kind, Walked
from taly.engine.audit.lines import Line, read_lines, to_line
from taly.engine.codec import event_from_json, plan_to_json
from taly.engine.shared.audit import Audit
from taly.engine.shared.local import LocalStore
from taly.engine.shared.objects import Changed, Objects
from taly.engine.store.chain import hash_of_text
from taly.errors import UsageError
from taly.model.events import RunFinished, RunStarted
from taly.planning.digest import digest

PART = 1000
"""Lines of one object, at most."""
READERS = 8

Told = Mapping[str, Audit]
"""Finished runs that were told, by id."""


class SharedTrails:
    """The trails of one environment: this machine's is told, all are read."""

    def __init__(self, objects: Objects, environment: str, *, local: LocalStore) -> None:
        self._objects, self._environment, self._local = objects, environment, local
        self._prefix = f"{environment}/trails/"

    # This machine's own

    def own(self) -> str:
        """The name of this machine's trail; empty while it has none."""
        first = self._local.entries(self._environment, limit=1)
        return first[0].chain if first else ""

    def tell(self) -> str:
        """Bring what is new of this machine's trail; its name.

        Raises VerificationFailed where it cannot be read.
        """
        trail = self.own()
        told = max((last for _, last in self._parts().get(trail, ())), default=0)
        lines = export(self._local, self._environment)
        new = (line for line in lines if line.entry.position > told)
        while part := list(islice(new, PART)):
            first, last = part[0].entry.position, part[-1].entry.position
            body = "".join(f"{to_line(line)}\n" for line in part).encode()
            try:
                self._objects.put(self._key(trail, first, last), body, over=None)
            except Changed:
                continue  # another command of this machine was faster
        return trail

    # Everybody's

    def lines(self, trail: str) -> Iterator[Line]:
        """A trail's lines in order, each once; UsageError `export-unreadable` for what is none."""
        position = 0
        for first, last in self._parts().get(trail, ()):
            key = self._key(trail, first, last)
            stored = self._objects.get(key)
            texts = stored.body.decode(errors="replace").splitlines() if stored else ()
            for line in read_lines(texts, f"{self._objects.place}/{key}"):
                if line.entry.position > position:  # two commands may have told the same part
                    position = line.entry.position
                    yield line

    def names(self) -> list[str]:
        """The trails of all machines that told of one."""
        return sorted(self._parts())

    def verified(
        self, told: Told, heads: Collection[str] = ()
    ) -> tuple[list[Walked], Sequence[str]]:
        """Every trail, walked, each finished run compared with the trail that it names; and the
        runs that name none: an older taly told them."""
        of: dict[str, dict[str, Audit]] = {trail: {} for trail in self._parts()}
        found: list[Walked] = []
        for run_id, run in told.items():
            try:
                of.setdefault(run.trail, {})[run_id] = run
            except UsageError as error:
                found.append(self._broken(_nothing(self._environment), "altered", error.message))
        unproven = sorted(of.pop("", ()))
        with ThreadPoolExecutor(READERS) as pool:
            names = sorted(of)
            verify = partial(self._verified, heads=heads)
            found += pool.map(verify, names, [of[name] for name in names])
        return found, unproven

    def _verified(self, trail: str, told: Told, *, heads: Collection[str]) -> Walked:
        try:
            lines = list(self.lines(trail))
        except UsageError as error:
            return self._broken(_nothing(self._environment, trail), "altered", error.message)
        if not lines:
            return self._broken(_nothing(self._environment, trail), "missing", "it was removed")
        walked = replace(verify_lines(lines, heads)[0], trail=trail, machine=_machine(lines))
        if walked.finding is not None:
            return walked
        if lines[0].entry.position != 1 or lines[0].entry.chain != trail:
            return self._broken(walked, "altered", "it does not begin as its name says")
        if len({line.entry.environment for line in lines}) > 1:
            return self._broken(walked, "added", "another environment's entries stand in it")
        if trail == self.own() and (says := self._unlike_ours(lines[-1])):
            return self._broken(walked, "altered", says)
        for run_id, run in told.items():
            if says := unlike(run, run_id, lines):
                return self._broken(walked, "altered", f"{run_id}, as it was shared: {says}")
        return walked

    def _unlike_ours(self, last: Line) -> str:
        """The end that was told is a head kept elsewhere: our own store must still have it."""
        at = last.entry.position
        ours = self._local.entries(self._environment, after=at - 1, limit=1)
        if ours and ours[0].chain == last.entry.chain:
            return ""
        return f"entry {at}, which {socket.gethostname()} told, is not what its own store has there"

    def _broken(self, walked: Walked, kind: Kind, says: str) -> Walked:
        finding = Finding(
            kind=kind,
            environment=self._environment,
            position=walked.last,
            run="",
            seq=0,
            says=says,
        )
        return replace(walked, finding=finding)

    def _parts(self) -> dict[str, list[tuple[int, int]]]:
        """Trail → (first, last) position of each of its objects, in order."""
        found: dict[str, list[tuple[int, int]]] = {}
        for key in self._objects.keys(self._prefix):
            trail, _, name = key.removeprefix(self._prefix).partition("/")
            first, _, last = name.removesuffix(".jsonl").partition("-")
            if first.isdecimal() and last.isdecimal():
                found.setdefault(trail, []).append((int(first), int(last)))
        return {trail: sorted(parts) for trail, parts in found.items()}

    def _key(self, trail: str, first: int, last: int) -> str:
        return f"{self._prefix}{trail}/{first:09d}-{last:09d}.jsonl"


def unlike(run: Audit, run_id: str, lines: Iterable[Line]) -> str:
    """What a finished run, as it was shared, says otherwise than its trail; empty = nothing."""
    entries = [line.entry for line in lines if line.entry.run == run_id]
    if not entries:
        return "it stands in no place of its machine's trail"
    try:
        summary, plan, events = run.summary, run.plan, run.events()
        told = [(one.seq, one.at.isoformat(), one.fence, one.event) for one in events]
    except (ValueError, LookupError, TypeError, AttributeError, UsageError):
        return "it cannot be read"
    wanted = [(one.seq, one.at, one.fence, event_from_json(one.body)) for one in entries]
    if told != wanted:
        return "its events are not those of its machine's trail"
    started, finished = wanted[0][3], wanted[-1][3]
    # The text's hash, or after an upgrade of taly what the plan does.
    whole = hash_of_text(plan_to_json(plan)) == entries[0].plan
    if not isinstance(started, RunStarted) or not (whole or digest(plan) == started.plan_digest):
        return "its plan is not the one that was begun"
    outcome = finished.outcome if isinstance(finished, RunFinished) else None
    said = (summary.id, summary.digest, summary.by, summary.outcome)
    if said != (run_id, started.plan_digest, started.by, outcome):
        return "its first line is not what its events say"
    return ""


def _machine(lines: list[Line]) -> str:
    return next((line.who["host"] for line in reversed(lines) if line.who.get("host")), "")


def _nothing(environment: str, trail: str = "") -> Walked:
    return Walked(
        environment=environment,
        events=0,
        acts=0,
        runs=0,
        first=1,
        last=0,
        head="",
        chained_from=0,
        trail=trail,
    )
