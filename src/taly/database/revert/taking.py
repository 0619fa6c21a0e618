"""`revert`: the lock, the attempts, the commit."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import psycopg

from taly.database.connection import reading
from taly.database.revert.concurrent import ahead
from taly.database.revert.fates import Name
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
from taly.database.revert.session import barred, commit, holders, holding, refused, wait
from taly.database.revert.standing import read_rows, standing
from taly.database.revert.way import Found, find
from taly.database.snapshot import read_catalog
from taly.errors import TalyError, VendorRefused
from taly.model.plan import Step
from taly.model.ports import Clock, Say, silent

TRIES = 6
"""For the tables' locks; in between everybody who waited behind us goes on."""


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
    names: Sequence[Name] = ()
    for _ in range(TRIES):
        paper = on_paper(work, read_catalog(work.connection))
        if work.done is None and not paper.way.down.transactional:
            check_guards(work.connection, paper.eased.guards)
            work.origin = paper.live
            down = paper.way.down
            work.done = ahead(work.connection, (*down.statements, *down.afterwards), work.say)
            paper = on_paper(work, read_catalog(work.connection))
        names = paper.tables
        try:
            return _attempt(work, paper)
        except UnsavedError as error:
            work.also |= error.missed
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            wait(work.connection, paper.tables, work.say)
    raise VendorRefused(
        f"the tables of {work.order.migration} were not to be had in {TRIES} tries:"
        f" {holders(work.connection, names)}; nothing was changed",
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
            raise barred(error) from None
        raise
    commit(connection, work.order.target, bundle, f"{work.order.migration} was taken back")
    bundle.confirm()
    return {**receipt, "bundle": str(bundle.path)}
