"""Which image was live when: the rule for a vendor whose operations do not name their image.

Live at T is what the last operation that deployed and SUCCEEDED by T deployed. Its identifier is
that of the nearest preceding successful Create/UpdateService; a digest is final; a tag means what
the PutImage events say that it meant when the operation started. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from taly.model.release import Confidence
from taly.providers.apprunner.facts import Look, Operation, Push, Records, Update
from taly.providers.apprunner.identifiers import parse_identifier, short_digest

MATCH_WITHIN = timedelta(seconds=120)
"""A Create/UpdateService event and its operation start within this time of each other."""
SKEW = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One deployment as it went live."""

    start: datetime
    repository: str
    digest: str
    """Empty when nothing says which image it was."""
    candidates: tuple[str, ...] = ()
    """Every digest that it could be, when the evidence leaves more than one."""
    confidence: Confidence
    says: str
    """The evidence in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a tag meant at an instant."""

    digest: str
    candidates: tuple[str, ...] = ()
    confidence: Confidence
    says: str


def served(look: Look, records: Records) -> tuple[Served, ...]:
    """Every deployment that went live, oldest first; rolled-back operations are none."""
    deployed = sorted(
        (one for one in look.operations if one.deployed),
        key=lambda one: one.ended_at or one.started_at,
    )
    named = _Named(look, records)
    return tuple(
        _served(operation, *named.identifier(operation, last=operation is deployed[-1]), records)
        for operation in deployed
    )


def _served(
    operation: Operation, identifier: str, confidence: Confidence, records: Records
) -> Served:
    assert operation.ended_at is not None, "only ended operations have deployed"
    parsed = parse_identifier(identifier) if identifier else None
    if parsed and parsed.digest:
        found = Resolved(
            digest=parsed.digest,
            confidence=confidence,
            says=f"deployed {short_digest(parsed.digest)}",
        )
    else:
        found = resolve(
            parsed.tag if parsed else "", operation.started_at, operation.ended_at, records
        )
    worst = found.confidence if confidence is Confidence.EXACT else max_doubt(confidence, found)
    return Served(
        start=operation.ended_at,
        repository=parsed.repository if parsed else "",
        digest=found.digest,
        candidates=found.candidates,
        confidence=worst,
        says=f"{operation.type} {operation.status}: {found.says}",
    )


def max_doubt(confidence: Confidence, found: Resolved) -> Confidence:
    """The less sure of the two."""
    order = (Confidence.EXACT, Confidence.INFERRED, Confidence.AMBIGUOUS)
    return max(confidence, found.confidence, key=order.index)


class _Named:
    """Which identifier an operation deployed."""

    def __init__(self, look: Look, records: Records) -> None:
        self._look = look
        self._own: Mapping[str, Update] = dict(_matched(look.operations, records.updates))
        outcome = {one.id: one for one in look.operations}
        ids = {id(update): operation_id for operation_id, update in self._own.items()}
        self._effective = [
            update
            for update in records.updates
            if update.identifier
            and (id(update) not in ids or outcome[ids[id(update)]].status == "SUCCEEDED")
        ]

    def identifier(self, operation: Operation, *, last: bool) -> tuple[str, Confidence]:
        """(identifier, how sure); empty when nothing says it."""
        if last and self._look.at_rest:
            return self._look.identifier_text, Confidence.EXACT
        own = self._own.get(operation.id)
        if own and own.identifier:
            return own.identifier, Confidence.EXACT
        before = [one for one in self._effective if one.at <= operation.started_at + SKEW]
        if before:
            unseen = operation.type == "UPDATE_SERVICE" and own is None
            return before[-1].identifier, Confidence.INFERRED if unseen else Confidence.EXACT
        if not self._effective and self._look.at_rest:
            return self._look.identifier_text, Confidence.INFERRED
        return "", Confidence.INFERRED


def _matched(
    operations: Sequence[Operation], updates: Sequence[Update]
) -> Iterator[tuple[str, Update]]:
    """(operation id, its event): by the id in the event's reply, else by the nearest time."""
    listed = {one.id for one in operations}
    for update in updates:
        if update.operation_id in listed:
            yield update.operation_id, update
        elif not update.operation_id:
            near = [
                one
                for one in operations
                if one.type in ("CREATE_SERVICE", "UPDATE_SERVICE")
                and abs(one.started_at - update.at) <= MATCH_WITHIN
            ]
            if near:
                yield min(near, key=lambda one: abs(one.started_at - update.at)).id, update


def resolve(tag: str, at: datetime, until: datetime, records: Records) -> Resolved:
    """What the tag meant at `at`; ambiguous when it moved before `until`.

    An empty tag stands for an unknown identifier: then any push counts.
    """
    pushes = [one for one in records.pushes if not tag or one.tag == tag]
    before = [one for one in pushes if one.at <= at]
    moved = [one.digest for one in pushes if at < one.at <= until]
    if before:
        digests = _unique([before[-1].digest, *moved, *_unseen(tag, pushes, until, records)])
        says = f"{tag or 'the newest image'} meant {short_digest(digests[0])}"
        sure = Confidence.EXACT if tag else Confidence.INFERRED
        return _one_or_many(digests, sure, says)
    return _without_events(tag, at, moved, records)


def _without_events(tag: str, at: datetime, moved: list[str], records: Records) -> Resolved:
    """No push of the tag is on record (too long ago, or CloudTrail may not be read)."""
    now = next((one for one in records.images.values() if tag and tag in one.tags), None)
    if now and now.pushed_at and now.pushed_at <= at and not moved:
        says = f"{tag} means {short_digest(now.digest)}, pushed before"
        return Resolved(digest=now.digest, confidence=Confidence.INFERRED, says=says)
    older = [one for one in records.images.values() if one.pushed_at and one.pushed_at <= at]
    older.sort(key=lambda one: one.pushed_at or at)
    digests = _unique([*(one.digest for one in older[-1:]), *moved])
    if not digests:
        return Resolved(
            digest="", confidence=Confidence.AMBIGUOUS, says=f"nothing says what {tag} meant"
        )
    says = f"the newest image pushed before is {short_digest(digests[0])}"
    return Resolved(
        digest=digests[0],
        candidates=tuple(digests) if len(digests) > 1 else (),
        confidence=Confidence.AMBIGUOUS,
        says=says,
    )


def _unseen(tag: str, pushes: list[Push], until: datetime, records: Records) -> list[str]:
    """The tag's present image, when CloudTrail (it lags by minutes) has not shown its push yet."""
    now = next((one for one in records.images.values() if tag and tag in one.tags), None)
    if now is None or now.digest == pushes[-1].digest:
        return []
    newer = now.pushed_at is not None and pushes[-1].at < now.pushed_at <= until
    return [now.digest] if newer else []


def _one_or_many(digests: list[str], sure: Confidence, says: str) -> Resolved:
    if len(digests) == 1:
        return Resolved(digest=digests[0], confidence=sure, says=says)
    others = " or ".join(short_digest(digest) for digest in digests[1:])
    return Resolved(
        digest=digests[0],
        candidates=tuple(digests),
        confidence=Confidence.AMBIGUOUS,
        says=f"{says}, but it moved while the operation ran: it may be {others}",
    )


def _unique(digests: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(digests))
