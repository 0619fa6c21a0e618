"""`restore` and `check`: one step, done by one process at a time, as often as it takes."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from taly.database.rescue.bundle import confirm
from taly.database.restore.asides import Aside, aside_of
from taly.database.restore.backing_out import back_out, hang_up, remove_capture, told
from taly.database.restore.fence import Fence
from taly.database.restore.gate import Gate
from taly.database.restore.going import Work, go
from taly.database.restore.job import Free, Job, free_bytes, job_of
from taly.database.restore.preflight import check_start, start_of
from taly.errors import LeaseLost, TalyError
from taly.model.check import Finding
from taly.model.plan import Step
from taly.model.ports import Clock, Say, silent


def restore(
    step: Step,
    key: str,
    *,
    environ: Mapping[str, str],
    clock: Clock,
    say: Say = silent,
    free: Free = free_bytes,
) -> Mapping[str, str]:
    """Put a checkpoint's backup, or what a run put aside, in the live database's place.

    Everything written since is carried over or put into the rescue bundle, and proved. Said twice
    with the same key it is done once. Raises VendorRefused or VendorUnavailable, and Interrupted
    and LeaseLost as `say` does; the live database is then as it was before.
    """
    job = job_of(step, key, environ, clock, say, free)
    resume = f"taly resume {job.run}"
    fence = Fence(job.target, job.session, (job.carry_session,), hint=resume)
    try:
        fence.take()
        done = aside_of(fence, job.run, job.database)
        return _finished(job, done) if done else _done(job, fence)
    finally:
        fence.close()


def _done(job: Job, fence: Fence) -> Mapping[str, str]:
    work = None
    try:
        start = start_of(job, fence)
        work = Work(
            job=job,
            fence=fence,
            start=start,
            incoming=start.aside.name if start.aside else job.side,
            gate=Gate(job),
        )
        _clear(work)
        receipt = go(work)
    except LeaseLost:
        if work is not None:
            hang_up(work)
        raise
    except Exception as error:
        if work is None:
            raise told(job, error) from error
        raise back_out(work, error) from error
    _confirm(job, receipt)
    return receipt


def _clear(work: Work) -> None:
    """What an earlier process of this run left when it was killed."""
    work.job.say("looks for what an earlier try left")
    remove_capture(work.job, work.job.database)
    if not work.job.undoes:
        work.fence.drop(work.job.side)


def _finished(job: Job, done: Aside) -> Mapping[str, str]:
    """The swap was done, by a process that may have been killed right after it."""
    _confirm(job, done.label.receipt)
    return done.label.receipt


def _confirm(job: Job, receipt: Mapping[str, str]) -> None:
    confirm(Path(receipt["bundle"]))
    with suppress(TalyError):  # it stands in a database that nobody writes to: only untidy
        remove_capture(job, receipt["put-aside"])


def check(step: Step, *, environ: Mapping[str, str]) -> tuple[Finding, ...]:
    """Would it work: what `restore` checks first. Read only."""
    job = job_of(step, "run-check", environ, None)
    fence = Fence(job.target, job.session, (job.carry_session,))
    try:
        return tuple(check_start(job, fence)[1])
    finally:
        fence.close()
