"""The runbook: side database, passes, write pause, proof, swap."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import psycopg

from taly.database.carry import Carry, Passed
from taly.database.checkpoint.session import connected
from taly.database.rescue.bundle import Bundle
from taly.database.restore.beside import Beside
from taly.database.restore.carryover import carry_of, correspondence_of
from taly.database.restore.dress import FACTS, SETTINGS, dress
from taly.database.restore.fence import Fence
from taly.database.restore.gate import Gate
from taly.database.restore.job import Job
from taly.database.restore.later import note_later
from taly.database.restore.names import Label
from taly.database.restore.side import check_rows, make_side, prove_side
from taly.database.restore.start import Start
from taly.database.restore.swap import Exchange, swap
from taly.errors import VendorUnavailable

FEW = 200
"""Changes that one pass carries over in far less than a second."""
MAX_PASSES = 8
SHRINKS = 0.7
BLOCK_TRIES = 5
BLOCK_S = 3.0
"""How long writers are kept waiting for somebody who holds a lock, before we step back."""
MOMENT = "SELECT pg_current_xact_id()::text::bigint, pg_current_snapshot()::text"


@dataclass(slots=True, kw_only=True)
class Work:
    """What was prepared so far, to be used, and taken back when it fails."""

    job: Job
    fence: Fence
    start: Start
    incoming: str
    """The database that takes the live one's place."""
    gate: Gate
    bundle: Bundle | None = None
    carry: Carry | None = None
    notes: list[str] = field(default_factory=list)
    passes: list[Passed] = field(default_factory=list)


def go(work: Work) -> Mapping[str, str]:
    """Do it; returns the receipt. What it raises leaves everything prepared to be taken back."""
    job, start = work.job, work.start
    with ExitStack() as stack:
        renamer = stack.enter_context(work.fence.another(autocommit=False))
        if start.aside is None:
            made = make_side(job, work.fence, start)
            work.start = start = replace(start, checkpoint=made.checkpoint)
            work.notes += made.notes
            work.notes += dress(job, work.fence)
        correspondence = correspondence_of(job, start, work.incoming)
        work.bundle = _bundle(job, start)
        work.carry = carry_of(job, start, work.incoming, work.bundle, correspondence)
        proof = stack.enter_context(_proof(work))
        _passes(work)
        proof.wait(lambda: job.say("proves the backup: counts and checksums"))
        _check_sums(work)
        return _last(work, renamer)


def _bundle(job: Job, start: Start) -> Bundle:
    return Bundle.begin(
        job.rescue,
        run=job.run,
        step=job.step.id,
        component=job.step.component,
        environment=_environment(start),
        place=job.step.address.get("place") or job.target.place,
        now=job.now(),
    )


def _proof(work: Work) -> Beside:
    """Begin the carry-over, and beside its first passes the proof that the backup is whole."""
    assert work.carry is not None
    carry = work.carry

    def begin() -> frozenset[tuple[str, str]]:
        carry.begin()
        return carry.summed

    if work.start.aside is not None or work.start.checkpoint is None:
        begin()
        return Beside(lambda: None, lambda: None)
    return prove_side(work.job, work.fence, work.start.checkpoint, begin)


def _check_sums(work: Work) -> None:
    """What `prove_side` left to the first pass, which reads all these rows anyway."""
    assert work.carry is not None
    carry, checkpoint = work.carry, work.start.checkpoint
    if work.start.aside is None and checkpoint is not None:
        left = carry.summed - carry.backup.keys()
        assert not left, f"the first pass sums up every table: {left}"
        check_rows(checkpoint, carry.backup)


def _passes(work: Work) -> None:
    """Carry over while everybody goes on writing, until little is left."""
    assert work.carry is not None
    work.passes.append(work.carry.first_pass())
    for number in range(2, MAX_PASSES + 1):
        before = work.passes[-1].changes
        if before <= FEW or work.carry.is_calm(FEW):
            return
        work.job.say(f"carry-over: pass {number}, {before:,} rows in the last one")
        work.passes.append(work.carry.next_pass())
        if work.passes[-1].changes > before * SHRINKS:
            return


def _last(work: Work, renamer: psycopg.Connection) -> Mapping[str, str]:
    """The write pause: last pass, proof, swap."""
    assert work.carry is not None
    for attempt in range(1, BLOCK_TRIES + 1):
        began = time.monotonic()
        try:
            with work.carry.blocked(limit_s=BLOCK_S):
                return _blocked(work, renamer, began)
        except VendorUnavailable as error:
            if error.reference != "carry-locked" or attempt == BLOCK_TRIES:
                raise
        work.job.say(f"another session holds a lock; writers go on, try {attempt + 1} follows")
        work.passes.append(work.carry.next_pass())
    raise AssertionError("unreachable: the last try returns or raises")


def _blocked(work: Work, renamer: psycopg.Connection, began: float) -> Mapping[str, str]:
    job, carry, bundle = work.job, work.carry, work.bundle
    assert carry is not None
    assert bundle is not None
    job.say("writes wait")
    work.passes.append(carry.last_pass())
    job.say("writes wait: proof")
    carry.finish()
    note_later(job, work.gate.connection, work.incoming)
    label = _label(work, began)
    bundle.finish(facts={"checkpoint": label.checkpoint, "since": label.since.isoformat()})

    def release() -> None:
        carry.release()
        work.gate.close()

    exchange = Exchange(
        live=work.start.live.oid,
        incoming=work.incoming,
        incoming_oid=work.fence.oid_of(work.incoming),
        label=label,
        back=work.start.aside,
        release=release,
    )
    swap(job, work.fence, renamer, exchange)
    return {**label.receipt, "pause_s": f"{time.monotonic() - began:.2f}"}


def _label(work: Work, began: float) -> Label:
    """What is written on the database that is put aside; the last thing done in the other one."""
    job, start = work.job, work.start
    with connected(job.place(work.incoming)) as connection:
        row = connection.execute(MOMENT).fetchone()
        assert row is not None, "a SELECT without FROM gives a row"
        connection.commit()
    comment = work.fence.rows(FACTS, (job.database,))[0][2]
    settings = {
        name: value for role, name, value in work.fence.rows(SETTINGS, (job.database,)) if not role
    }
    return Label(
        run=job.run,
        component=job.step.component,
        environment=_environment(start),
        of=job.database,
        since=job.now(),
        checkpoint=_checkpoint_name(start),
        oid=work.fence.oid_of(work.incoming),
        system_identifier=start.live.system_identifier,
        xid=row[0],
        snapshot=row[1],
        comment=comment,
        read_only=settings.get("default_transaction_read_only"),
        receipt=_receipt(work, time.monotonic() - began),
    )


def _environment(start: Start) -> str:
    if start.aside is not None:
        return start.aside.label.environment
    return start.checkpoint.manifest.environment if start.checkpoint else ""


def _checkpoint_name(start: Start) -> str:
    if start.aside is not None:
        return start.aside.label.checkpoint
    return start.checkpoint.name if start.checkpoint else ""


def _receipt(work: Work, pause_s: float) -> dict[str, str]:
    assert work.bundle is not None
    return {
        "put-aside": work.job.aside,
        "bundle": str(work.bundle.path),
        "pause_s": f"{pause_s:.2f}",
        "passes": str(len(work.passes)),
        "carried": str(sum(one.carried for one in work.passes)),
        "deleted": str(sum(one.deleted for one in work.passes)),
        "rescued": str(work.bundle.rows),
        "bytes": str(work.start.live.bytes),
        **({"not-set": "\n".join(work.notes)} if work.notes else {}),
    }
