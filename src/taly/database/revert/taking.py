"""`revert`: the lock, the attempts, the commit."""

import time
from collections.abc import Mapping
from contextlib import suppress

import psycopg

from taly.database.connection import reading
from taly.database.rescue.bundle import Bundle
from taly.database.revert.concurrent import ahead
from taly.database.revert.order import Order, order_of
from taly.database.revert.run import (
    Paper,
    UnsavedError,
    Work,
    check_guards,
    facts,
    on_paper,
    transact,
)
from taly.database.revert.session import failure, holding, refused
from taly.database.revert.standing import read_rows, standing
from taly.database.revert.way import Found, find
from taly.database.snapshot import read_catalog
from taly.errors import TalyError, VendorRefused, VendorUnavailable
from taly.model.plan import Step
from taly.model.ports import Clock, Say, silent

TRIES = 6
"""For the tables' locks; in between everybody who waited behind us goes on."""
PAUSE_S = 0.5

HOLDERS = """
SELECT DISTINCT a.pid, coalesce(nullif(a.application_name, ''), 'a program without a name'),
  a.state, c.relname
FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_class c ON c.oid = l.relation
WHERE l.granted AND a.pid <> pg_backend_pid() AND l.database =
  (SELECT oid FROM pg_database WHERE datname = current_database())
  AND c.relkind IN ('r', 'p') AND c.relname = ANY (%s) ORDER BY 1 LIMIT 3
"""


def revert(
    step: Step, key: str, *, environ: Mapping[str, str], clock: Clock, say: Say = silent
) -> Mapping[str, str]:
    """Take one migration back in place: all of it, or nothing.

    What the way down drops is in the rescue bundle before the commit. Raises VendorRefused when
    nothing was changed, VendorUnavailable when a lost connection leaves the outcome open,
    Interrupted and LeaseLost when `say` does: then nothing was changed either.
    """
    try:
        order = order_of(step, key, environ)
        found = _found(order)
        with holding(order.target, say) as connection:
            work = Work(order=order, connection=connection, found=found, now=clock.now(), say=say)
            return _locked(work)
    except TalyError as error:
        raise refused(error) from error


def _found(order: Order) -> Found:
    with reading(order.target) as connection:
        where = standing(read_rows(connection, order.target), order.migration)
        return find(order, connection, where)


def _locked(work: Work) -> Mapping[str, str]:
    """Under Prisma's lock. A way down that surprises or waits is rolled back and tried again."""
    for _ in range(TRIES):
        paper = on_paper(work, read_catalog(work.connection))
        if work.done is None and not paper.way.down.transactional:
            check_guards(work.connection, paper.way.down.guards)
            down = paper.way.down
            work.done = ahead(work.connection, (*down.statements, *down.afterwards), work.say)
            paper = on_paper(work, read_catalog(work.connection))
        try:
            return _attempt(work, paper)
        except UnsavedError as error:
            work.also |= error.missed
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            _wait(work, paper)
    raise VendorRefused(
        f"the tables of {work.order.migration} were not to be had in {TRIES} tries:"
        f" {_holders(work, on_paper(work, read_catalog(work.connection)))}; nothing was changed",
        reference="revert-locked",
        hint="end what holds them, then: taly plan",
    )


def _attempt(work: Work, paper: Paper) -> Mapping[str, str]:
    """One transaction. The bundle is on the disk before the commit, and confirmed after it."""
    connection = work.connection
    bundle = work.order.bundle(work.now)
    try:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        receipt = transact(work, paper, bundle)
        bundle.finish(facts=facts(paper, work))
        work.say("commits")
    except BaseException as error:
        with suppress(psycopg.Error):
            connection.rollback()
        bundle.discard()
        if isinstance(error, psycopg.errors.IntegrityError):
            raise _barred(error) from None
        raise
    commit(work.order, connection, bundle)
    bundle.confirm()
    return {**receipt, "bundle": str(bundle.path)}


def commit(order: Order, connection: psycopg.Connection, bundle: Bundle) -> None:
    """COMMIT; VendorUnavailable when the answer was lost: then the outcome is not known.

    The bundle stays in that case: it may be all that is left of what was dropped.
    """
    try:
        connection.execute("COMMIT")
    except psycopg.Error as error:
        lost = failure(order.target, error)
        if not isinstance(lost, VendorUnavailable):
            bundle.discard()
            raise
        raise VendorUnavailable(
            f"the connection to {order.target.place} was lost at the commit: whether"
            f" {order.migration} was taken back shows when it can be asked again",
            reference="database-unreachable",
            hint="taly status",
        ) from None


def _barred(error: psycopg.errors.IntegrityError) -> VendorRefused:
    detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
    return VendorRefused(
        f"rows written since bar the way: {error.diag.message_primary}{detail}; nothing was"
        " changed",
        reference="revert-barred",
        hint="change these rows, or: taly plan --database restore",
    )


def _wait(work: Work, paper: Paper) -> None:
    work.say(f"waits for {_holders(work, paper)}")
    time.sleep(PAUSE_S)
    work.say(f"waits for {_holders(work, paper)}")


def _holders(work: Work, paper: Paper) -> str:
    names = [name for _, name in paper.tables]
    rows = work.connection.execute(HOLDERS, (names,)).fetchall()
    told = [f"process {pid} ({program}, {state}) on {table}" for pid, program, state, table in rows]
    return ", ".join(told) or "other sessions' locks"
