"""Take back what was prepared: the live database is then as if nothing had been begun."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import psycopg

from taly.database.carry import take_away
from taly.database.carry.capture import schema_of
from taly.database.checkpoint.session import explained
from taly.database.restore.asides import aside_of
from taly.database.restore.fence import Fence
from taly.database.restore.going import Work
from taly.database.restore.job import Job
from taly.database.restore.outside import source_of
from taly.database.restore.places import server_of
from taly.errors import Interrupted, TalyError, VendorError, VendorRefused, VendorUnavailable
from taly.model.ports import Say


def back_out(work: Work, error: Exception) -> Exception:
    """Remove the capture, the side database and the bundle; returns what is to be raised.

    Raises LeaseLost when the run is somebody else's by now: then all of it is theirs.
    """
    with suppress(Interrupted):  # that it must stop is known
        work.job.say("takes back what it prepared")
    hang_up(work)
    return told(work.job, error, tuple(_left(work)))


def hang_up(work: Work) -> None:
    """End our sessions in both databases; the lock of the fence stays."""
    work.gate.close()
    if work.carry is not None:
        with suppress(Exception):  # they may be what is broken
            work.carry.release()


def remove_capture(job: Job, database: str) -> None:
    """Take the triggers and tables away by which a carry-over saw what changed in a database."""

    take_away(job.place(database), job.work, tell_of(job))


def tell_of(job: Job) -> Say:
    """Tells how far the clearing up is, and goes on when it hears that it must stop."""

    def tell(note: str, fraction: float | None = None) -> None:
        with suppress(Interrupted):  # that it must stop is known
            job.say(note, fraction)

    return tell


def _left(work: Work) -> Iterator[str]:
    """Remove everything; yields what could not be, as the command that removes it."""
    fence = work.fence
    try:
        if not fence.stands:
            fence = Fence(work.job.target, work.job.session, work.fence.names[1:])
        mine = fence.try_take()
    except (TalyError, psycopg.Error):
        mine = False
    try:
        if not mine:  # the server does not answer, or a successor is at it, who clears it
            yield from _commands(work)
            if source := source_of(work.job, work.start.checkpoint):
                yield source.command
        elif aside_of(fence, work.job.run, work.job.database) is None:
            yield from _removed(work, fence)
    finally:
        if fence is not work.fence:
            fence.close()


def _removed(work: Work, fence: Fence) -> Iterator[str]:
    job = work.job
    todo: tuple[Callable[[], object], ...] = (
        lambda: None if job.undoes else fence.drop(job.side),
        lambda: work.bundle.discard() if work.bundle else None,
        lambda: remove_capture(job, job.database),  # it may have to wait for somebody's lock
    )
    if source := source_of(job, work.start.checkpoint):
        yield source.close(tell_of(job))
    for remove, command in zip(todo, _commands(work), strict=True):
        try:
            remove()
        except (TalyError, psycopg.Error, OSError):
            yield command


def _commands(work: Work) -> Iterator[str]:
    job = work.job
    at = f"   (on {server_of(job.target)})"
    yield "" if job.undoes else f'dropdb --force --if-exists "{job.side}"{at}'
    yield f"rm -r {work.bundle.path}" if work.bundle else ""
    drop = f'DROP SCHEMA IF EXISTS "{schema_of(job.work)}" CASCADE'
    yield f"psql {job.database} -c '{drop}'{at}"


def told(job: Job, error: Exception, left: tuple[str, ...] = ()) -> Exception:
    """What happened, as the engine is to hear it: whatever it was, nothing was changed."""
    lines = [line for line in left if line]
    more = "\nleft behind, remove with:\n" + "\n".join(f"  {line}" for line in lines)
    if isinstance(error, psycopg.Error):
        error = explained(job.target, error)
    if isinstance(error, OSError):
        error = VendorRefused(
            f"{error.filename or job.rescue}: {error.strerror}",
            reference="restore-not-written",
            hint=f"df -h {job.rescue}",
        )
    if not isinstance(error, TalyError):
        return error
    if not isinstance(error, Interrupted | VendorUnavailable):
        kind: type[VendorError] = VendorRefused
        error = kind(error.message, reference=error.reference, hint=error.hint)
    if lines:
        error.message += more
        error.args = (error.message,)
    return error
