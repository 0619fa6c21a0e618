"""`apply_again`: a migration that a revert took back is applied as Prisma would, with its data."""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier
from pydantic import ValidationError

from taly.database.checkpoint.catalog_file import STRICT
from taly.database.checkpoint.create import Order as CheckpointOrder
from taly.database.checkpoint.create import create
from taly.database.checkpoint.folder import name_for
from taly.database.connection import reading
from taly.database.rescue.bundle import Bundle, Reader, open_bundle
from taly.database.revert.concurrent import ahead
from taly.database.revert.fates import Fate, Name, unsaved
from taly.database.revert.merge import Merge
from taly.database.revert.order import Order, order_of, revert_step
from taly.database.revert.out import rescue
from taly.database.revert.references import named_tables
from taly.database.revert.run import LOCK_TIMEOUT_MS, UnsavedError, extended, short, split_up
from taly.database.revert.session import barred, commit, holding, patiently, refused, wait
from taly.database.revert.standing import Attempt, read_rows, write_applied
from taly.database.revert.taking import TRIES
from taly.database.revert.texts import Texts
from taly.database.revert.way import every_checkpoint
from taly.database.snapshot import read_catalog
from taly.errors import Refused, TalyError, VendorRefused
from taly.model.catalog import Catalog
from taly.model.plan import Step
from taly.model.ports import Clock, Say, silent
from taly.planning.catalog_diff import differences
from taly.planning.down.between import between


@dataclass(slots=True, kw_only=True)
class Again:
    """One attempt to apply a migration again."""

    order: Order
    connection: psycopg.Connection
    sql: str
    checksum: str
    reader: Reader | None
    now: datetime
    say: Say
    statements: tuple[str, ...] = ()
    """Those for the transaction."""
    afterwards: tuple[str, ...] = ()
    """Those that need the rescued data to be there."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the revert left behind for us."""
        return self.reader.manifest.facts if self.reader is not None else {}


def apply_again(
    step: Step, key: str, *, environ: Mapping[str, str], clock: Clock, say: Say = silent
) -> Mapping[str, str]:
    """Apply a migration again, and put back what its revert had rescued: all of it, or nothing.

    A checkpoint is made first, so that it can be taken back once more. Raises as `revert`.
    """
    try:
        order = order_of(step, key, environ)
        row = _row(order)
        texts = Texts(directory=order.directory, checkpoints=every_checkpoint(order))
        script = texts.need(order.migration, row.checksum)
        reader = _reader(order)
        made = _checkpoint(order, row, clock.now(), say)
        with holding(order.target, say) as connection:
            work = Again(
                order=order,
                connection=connection,
                sql=script.sql,
                checksum=row.checksum,
                reader=reader,
                now=clock.now(),
                say=say,
            )
            return {**_locked(work), "checkpoint": made}
    except TalyError as error:
        raise refused(error) from error


def _row(order: Order) -> Attempt:
    with reading(order.target) as connection:
        return pending_row(read_rows(connection, order.target), order.migration)


def pending_row(rows: Sequence[Attempt], name: str) -> Attempt:
    """The row of the attempt that was taken back; VendorRefused unless it can be made anew."""
    waiting = [row for row in rows if row.is_live and row.finished_at is None]
    if waiting or any(row.name == name and row.is_live for row in rows):
        what = f"{waiting[0].name} did not finish" if waiting else f"{name} is applied already"
        raise VendorRefused(
            f"{what}, as _prisma_migrations has it: nothing is applied",
            reference="revert-ledger",
            hint="prisma migrate status",
        )
    found = [row for row in rows if row.name == name]
    if not found:
        raise VendorRefused(
            f"{name} was never applied here: `prisma migrate deploy` does that",
            reference="revert-ledger",
            hint="prisma migrate status",
        )
    return found[-1]


def _reader(order: Order) -> Reader | None:
    """The bundle of the revert; every file of it is checked before anything is touched."""
    if not order.undoes:
        return None
    step = revert_step(order)
    reader = open_bundle(order.rescue, order.undoes, order.component, step=step)
    reader.check()
    return reader


def _checkpoint(order: Order, row: Attempt, now: datetime, say: Say) -> str:
    """Copies of what the migration destroys; empty where the checkout has no such migration."""
    if order.checkpoints is None or order.directory is None:
        return ""
    if Texts(directory=order.directory, checkpoints=()).find(row.name, row.checksum) is None:
        return ""
    say("makes a checkpoint, so that it can be taken back again")
    made = create(
        CheckpointOrder(
            base=order.checkpoints,
            target=order.target,
            migrations=order.directory,
            environment=order.environment,
            component=order.component,
            backup="none",
            commit="",
            label=f"before-{order.run}",
            by=f"taly {order.run}",
            now=_free(order, now),
            report=lambda what, done, whole: say(f"checkpoint: {what}"),
            trial=False,
        )
    )
    return made.name


def _free(order: Order, now: datetime) -> datetime:
    """A moment that no checkpoint's name has yet: names have whole seconds."""
    assert order.checkpoints is not None, "the caller has seen to it"
    while (order.checkpoints / name_for(f"before-{order.run}", "", now)).exists():
        now += timedelta(seconds=1)
    return now


def _locked(work: Again) -> Mapping[str, str]:
    pending_row(read_rows(work.connection, work.order.target), work.order.migration)
    also: set[tuple[Name, str]] = set()
    work.statements = ahead(work.connection, split_up([work.sql]), work.say)
    built = False
    for _ in range(TRIES):
        live = read_catalog(work.connection)
        tables = _tables(work, live)
        try:
            return _attempt(work, live, tables, extended((), live, live, also))
        except UnsavedError as error:
            also |= error.missed
        except psycopg.errors.IntegrityError as error:
            wanted = _wanted(work)
            if built or wanted is None:
                raise barred(error) from None
            built = True
            _build(work, live, wanted)
        except psycopg.errors.UnsafeNewEnumValueUsage:
            _labels_first(work)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            wait(work.connection, tables, work.say)
    raise VendorRefused(
        f"the tables of {work.order.migration} were not to be had in {TRIES} tries; nothing was"
        " changed",
        reference="revert-locked",
        hint="end what holds them, then: taly plan",
    )


def _build(work: Again, live: Catalog, wanted: Catalog) -> None:
    """Rows do not let the migration run as it stands: a column that is required, and no value.

    The values are in the bundle. So the schema is made as it was before the revert, and what its
    rows must satisfy comes once they are back.
    """
    way = between(wanted, live)
    work.statements = split_up([*way.statements])
    work.afterwards = split_up([*way.afterwards])


def _labels_first(work: Again) -> None:
    """Labels of an enum can be used only by transactions after the one that adds them."""
    left = []
    for statement in work.statements:
        words = statement.upper().split()
        if words[:2] == ["ALTER", "TYPE"] and "ADD" in words and "VALUE" in words:
            with suppress(psycopg.errors.DuplicateObject):
                patiently(work.connection, statement, work.say, short(statement))
        else:
            left.append(statement)
    work.statements = tuple(left)


def _attempt(
    work: Again, live: Catalog, tables: Sequence[Name], fates: Sequence[Fate]
) -> Mapping[str, str]:
    connection = work.connection
    bundle = work.order.bundle(work.now)
    try:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        receipt = _transact(work, live, tables, fates, bundle)
        bundle.finish(facts={"migration": work.order.migration})
        work.say("commits")
    except BaseException:
        with suppress(psycopg.Error):
            connection.rollback()
        bundle.discard()
        raise
    commit(connection, work.order.target, bundle, f"{work.order.migration} was applied")
    bundle.confirm()
    return {**receipt, "bundle": str(bundle.path)}


def _transact(
    work: Again, live: Catalog, tables: Sequence[Name], fates: Sequence[Fate], bundle: Bundle
) -> dict[str, str]:
    connection, say, order = work.connection, work.say, work.order
    connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}".encode())
    if tables:  # before the snapshot: what is committed later is not seen
        listed = SQL(", ").join(Identifier(*name) for name in tables)
        lock = SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(listed)
        patiently(connection, lock, say, "waits for the tables to be free")
    now = read_catalog(connection)
    if (now.tables, now.enums) != (live.tables, live.enums):
        raise UnsavedError(())
    pending_row(read_rows(connection, order.target), order.migration)
    wanted = _wanted(work)
    merge = Merge(connection=connection, say=say)
    if work.reader is not None and wanted is not None:
        merge.load(work.reader, wanted)
        merge.compare(work.facts.get("names", []), live)
    rescue(connection, bundle, fates, say, f"{order.migration} was applied again")
    for statement in work.statements:
        patiently(connection, statement, say, short(statement))
    merge.put_back()
    for statement in work.afterwards:
        patiently(connection, statement, say, short(statement))
    after = read_catalog(connection)
    missed = unsaved(live, after, fates)
    if missed:
        raise UnsavedError(missed)
    _check(work, wanted, after)
    write_applied(
        connection,
        order.target,
        row_id=str(uuid.uuid4()),
        name=order.migration,
        checksum=work.checksum,
        started=work.now,
        finished=work.now,
    )
    put_back = sum(part.put_back for part in merge.parts)
    rows = sum(part.rows for part in merge.parts)
    return {"put-back": str(put_back), "kept-newer": str(max(0, rows - put_back))}


def _wanted(work: Again) -> Catalog | None:
    """The schema as it was before the revert; None when no revert of ours is undone."""
    body = work.facts.get("catalog")
    if body is None:
        return None
    try:
        return STRICT.validate_python(body)
    except ValidationError:
        raise Refused(
            f"the rescue bundle of {work.order.undoes} has no catalog that can be read",
            reference="rescue-broken",
            hint="taly rescue list",
        ) from None


def _check(work: Again, wanted: Catalog | None, now: Catalog) -> None:
    if wanted is None:
        return
    left = [one.text for one in differences(replace(wanted, instant=None), now)]
    if left:
        more = f", and {len(left) - 3} more" if len(left) > 3 else ""
        raise VendorRefused(
            f"{work.order.migration} was run again and the schema was not as before the revert, so"
            f" it was rolled back: {'; '.join(left[:3])}{more}",
            reference="apply-not-as-before",
            hint="taly database diff",
        )


def _tables(work: Again, live: Catalog) -> tuple[Name, ...]:
    """Live tables that the migration names, or of which rows come back."""
    known = {(table.schema, table.name) for table in live.tables}
    found = named_tables(work.statements, work.order.target.schema)
    if work.reader is not None:
        found |= {(one.table_schema, one.name) for one in work.reader.tables}
    return tuple(sorted(found & known))
