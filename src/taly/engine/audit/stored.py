"""Verifying a store: its trails, and the rows that repeat what the trails say."""

import json
from collections.abc import Collection, Iterator, Mapping

from taly.engine.audit.findings import Walked
from taly.engine.audit.walk import Walk, named
from taly.engine.codec import act_from_json, event_from_json
from taly.engine.store import Entry, Marked, RecordedRelease, Store
from taly.engine.store.upgrading import marked_about, recorded_about
from taly.errors import OutcomeUnknown, UsageError
from taly.model.events import Act, RunFinished, RunStarted

PAGE = 1000
ROUNDS = 20
"""How often the rows are looked at anew because somebody wrote meanwhile."""
MANY_RUNS = 1_000_000

Difference = tuple[Entry | None, str]
Said = tuple[str, str, Mapping[str, str]]
"""When, by whom, what."""


def verify_store(store: Store, heads: Collection[str] = ()) -> Iterator[Walked]:
    """Walk every environment's trail; `heads` are hashes that were kept elsewhere.

    Raises OutcomeUnknown when a trail is written to faster than it can be compared.
    """
    for environment in store.environments():
        yield _verify(store, environment, heads)


def _verify(store: Store, environment: str, heads: Collection[str]) -> Walked:
    walk, trail = Walk(environment, heads), _Trail()
    if not _is_text(environment):
        walk.find("added", None, "entries stand in an environment whose name is no text")
        return walk.walked()
    for _ in range(ROUNDS):
        _advance(store, walk, trail)
        head = store.chain_head(environment)
        differences = [] if walk.finding else _differences(store, environment, trail)
        before = walk.position
        _advance(store, walk, trail)
        if walk.position != before:
            continue  # the rows may be newer than what was walked
        walk.ends_at(*((head.position, head.chain) if head else (0, walk.head)))
        stray = store.stray_event(environment)
        if stray is not None:
            walk.find("added", None, f"{stray[0]} event {stray[1]} stands outside the trail")
        for entry, says in differences:
            walk.find("altered", entry, says)
        return walk.walked()
    raise OutcomeUnknown(
        f"the audit trail of {environment} is written to faster than it can be compared",
        reference="audit-busy",
        hint="taly audit verify",
    )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Trail:
    """What the trail says that other rows repeat."""

    def __init__(self) -> None:
        self.started: dict[str, tuple[Entry, RunStarted]] = {}
        self.finished: dict[str, RunFinished] = {}
        self.acts: dict[tuple[str, str], tuple[Entry, Act]] = {}
        """By kind and release: the last."""

    def take(self, entry: Entry) -> None:
        """Remember what the entry says; ValueError when it says nothing readable."""
        if not entry.run:
            act = act_from_json(entry.body)
            self.acts[act.kind, act.about.get("release", "")] = (entry, act)
            return
        # Reading every event's JSON would take longer than the walk itself.
        if entry.seq == 1 or '"run-finished"' in entry.body:
            event = event_from_json(entry.body)
            if isinstance(event, RunStarted):
                self.started[entry.run] = (entry, event)
            elif isinstance(event, RunFinished):
                self.finished[entry.run] = event


def _advance(store: Store, walk: Walk, trail: _Trail) -> None:
    while walk.finding is None:
        before = walk.position
        # The last entry's place is read again: a second one there may be on the next page.
        page = store.entries(walk.environment, after=max(before - 1, 0), limit=PAGE)
        for entry in page[1:] if page[:1] == [walk.last] else page:
            if not walk.take(entry):
                return
            try:
                trail.take(entry)
            except (ValueError, UsageError):
                walk.find("altered", entry, f"{named(entry)} cannot be read")
                return
        if walk.position == before:
            return


def _differences(store: Store, environment: str, trail: _Trail) -> list[Difference]:
    try:
        return [*_runs(store, environment, trail), *_releases(store, environment, trail)]
    except UsageError as error:
        return [(None, error.message)]


def _runs(store: Store, environment: str, trail: _Trail) -> Iterator[Difference]:
    unseen = set(trail.started)
    for run in store.runs(environment, limit=MANY_RUNS):
        unseen.discard(run.id)
        entry, started = trail.started.get(run.id, (None, None))
        finished = trail.finished.get(run.id)
        if started is None:
            yield None, f"{run.id} stands among the runs and not in the trail"
        elif (run.digest, run.by) != (started.plan_digest, started.by):
            yield entry, f"the row of {run.id} is not what its first event says"
        elif run.outcome != (finished.outcome if finished else None):
            yield entry, f"the row of {run.id} says {run.outcome}, and the trail does not"
    for run_id in sorted(unseen):
        yield trail.started[run_id][0], f"{run_id} is missing among the runs"


def _releases(store: Store, environment: str, trail: _Trail) -> Iterator[Difference]:
    marks = {id_: _marked(one) for id_, one in store.marks(environment).items()}
    recorded = {one.content_id: _recorded(one) for one in store.recorded_releases(environment)}
    for kind, found in (("marked", marks), ("recorded", recorded)):
        said = {id_: one for (kind_, id_), one in trail.acts.items() if kind_ == kind}
        for release in sorted({*found, *said}):
            entry, act = said.get(release, (None, None))
            if entry is None or act is None or found.get(release) != (entry.at, act.by, act.about):
                yield entry, f"what is stored of release {release[:12]} is not what was {kind} last"


def _marked(one: Marked) -> Said:
    row = {"content_id": one.content_id, "mark": str(one.mark), "why": one.why}
    return one.at.isoformat(), one.by, marked_about(row)


def _recorded(one: RecordedRelease) -> Said:
    row = {
        "content_id": one.content_id,
        "members": json.dumps(dict(one.members), sort_keys=True),
        "commit_id": one.commit,
        "label": one.label,
    }
    return one.at.isoformat(), one.by, recorded_about(row)
