"""Whether a migration could be taken back or applied again now: asked, and nothing touched."""

from collections.abc import Iterator, Mapping

import psycopg

from taly.database.connection import meaning, reading
from taly.database.history import state_of
from taly.database.ledger import read_ledger
from taly.database.rescue.bundle import open_bundle
from taly.database.revert.again import pending_row
from taly.database.revert.order import Order, order_of, revert_step
from taly.database.revert.run import check_guards, hints_on
from taly.database.revert.session import lock_holder
from taly.database.revert.standing import Attempt, read_rows, standing
from taly.database.revert.texts import Texts
from taly.database.revert.way import Found, every_checkpoint, find
from taly.database.snapshot import read_catalog
from taly.errors import TalyError
from taly.model.check import Finding, Severity
from taly.model.plan import Step, StepKind
from taly.planning.adapting import eased
from taly.planning.codes import CODES, finding
from taly.planning.down import Down, derive

RESCUE = ("rescue-unknown", "rescue-broken")


def check(step: Step, *, environ: Mapping[str, str]) -> tuple[Finding, ...]:
    """What would stop `revert` or `apply_again`, as findings.

    A step whose turn comes after others of the same plan is checked as far as that can be told
    now. Without a checkpoint the migrations are replayed on a scratch database.
    """
    try:
        order = order_of(step, step.id, environ)
        with reading(order.target) as connection:
            if step.kind is StepKind.APPLY:
                return tuple(_apply(order, connection))
            return tuple(_revert(order, connection))
    except TalyError as error:
        return (_finding(step.component, error),)


def _finding(component: str, error: TalyError) -> Finding:
    code = "rescue-unreadable" if error.reference in RESCUE else error.reference
    code = code if code in CODES else "component-unknown"
    severity = Severity.ERROR  # a pooler is a note elsewhere, and stops us here
    return finding(code, component, error.message, error.hint, severity=severity)


def _revert(order: Order, connection: psycopg.Connection) -> Iterator[Finding]:
    yield from _under_way(order, connection)
    turn = _is_turn(order, connection)
    rows = read_rows(connection, order.target)
    found = find(order, connection, standing(rows, order.migration, last=turn))
    live = read_catalog(connection)
    schema = order.target.schema
    if turn:
        way = found.on(live, schema)
        hints = hints_on(order, found, live, way)
        down = eased(way.down, [one for table in hints for one in table.columns])
        yield from _guards(order, connection, down)
    else:
        before = found.exact if found.exact is not None else found.copies[0]
        down = derive(order.migration, found.script.sql, before, schema=schema)
    yield from _data(order, found, down)


def _guards(order: Order, connection: psycopg.Connection, down: Down) -> Iterator[Finding]:
    try:
        check_guards(connection, down.guards)
    except TalyError as error:
        yield _finding(order.component, error)
    except psycopg.errors.QueryCanceled:
        pass  # too slow to ask now: it is asked again before anything is changed
    except psycopg.Error as error:
        yield _finding(order.component, meaning(order.target, error))


def _data(order: Order, found: Found, down: Down) -> Iterator[Finding]:
    """What the migration destroyed and nobody copied: the schema comes back without it."""
    kept = {why.partition(": ")[0] for one in found.kept for why in one.why}
    if down.data and order.migration not in kept:
        what = "; ".join(dict.fromkeys(save.why for save in down.data))
        yield finding(
            "revert-data-missing",
            order.component,
            f"{order.migration}: {what}, and no checkpoint of this database has a copy",
            "taly plan --database restore",
        )


def _apply(order: Order, connection: psycopg.Connection) -> Iterator[Finding]:
    yield from _under_way(order, connection)
    row = pending_row(read_rows(connection, order.target), order.migration)
    _text(order, row)
    if order.undoes:
        open_bundle(order.rescue, order.undoes, order.component, step=revert_step(order))


def _text(order: Order, row: Attempt) -> None:
    texts = Texts(directory=order.directory, checkpoints=every_checkpoint(order))
    texts.need(order.migration, row.checksum)


def _is_turn(order: Order, connection: psycopg.Connection) -> bool:
    """Whether no earlier step of the plan has to come first."""
    return state_of(read_ledger(connection, order.target))["migrations"] == order.before


def _under_way(order: Order, connection: psycopg.Connection) -> Iterator[Finding]:
    holder = lock_holder(connection)
    if holder:
        text = f"Prisma's lock is held by {holder}"
        yield finding("operation-in-flight", order.component, text, "taly status --watch")
