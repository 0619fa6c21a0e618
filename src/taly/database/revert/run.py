"""One migration taken back: one transaction, proved before it is committed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from postgast import PgQueryError, split
from psycopg.sql import SQL, Identifier

from taly.database.checkpoint.catalog_file import STRICT
from taly.database.rescue.bundle import Bundle
from taly.database.revert.back import Return, put_back, returns
from taly.database.revert.fates import Fate, Name, fates, unsaved
from taly.database.revert.forward import settle
from taly.database.revert.hinted import (
    Hinted,
    convert,
    fill,
    hinted,
    prepare,
    require,
    staged_columns,
)
from taly.database.revert.keyless import make_room, rescue_since
from taly.database.revert.order import Order
from taly.database.revert.out import rescue
from taly.database.revert.references import named_tables
from taly.database.revert.rows import Window, window
from taly.database.revert.session import exact, patiently
from taly.database.revert.staged import Staged, keep, rescue_changed, staged
from taly.database.revert.standing import read_rows, standing, take_back
from taly.database.revert.way import Found, Way
from taly.database.snapshot import read_catalog
from taly.errors import VendorRefused
from taly.model.catalog import Catalog, Column, Table
from taly.model.ports import Say
from taly.planning.adapting import eased
from taly.planning.down import Down, Guard
from taly.planning.migrations.names import kind_of
from taly.planning.parsing import parse

LOCK_TIMEOUT_MS = 2_000
"""One try for the tables' locks; who waits longer makes everybody else wait behind it."""
CHANGES_ROWS = (
    *("update_stmt", "delete_stmt", "insert_stmt", "merge_stmt", "truncate_stmt", "copy_stmt"),
    *("select_stmt", "do_stmt", "call_stmt"),
)
BRACKETS = ("BEGIN", "START TRANSACTION", "COMMIT", "END")


@dataclass(slots=True, kw_only=True)
class Work:
    """One attempt."""

    order: Order
    connection: psycopg.Connection
    found: Found
    now: datetime
    say: Say
    also: set[tuple[Name, str]] = field(default_factory=set)
    """Tables and columns that an earlier attempt saw vanish unsaved."""
    origin: Catalog | None = None
    """The live catalog before anything was touched."""
    done: tuple[str, ...] | None = None
    """Statements that are left when those that are CONCURRENTLY were run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """What is about to happen, worked out before anything is touched."""

    live: Catalog
    way: Way
    fates: tuple[Fate, ...]
    returns: tuple[Return, ...]
    staged: tuple[Staged, ...]
    schema: str
    """Where names without one lie."""
    hints: tuple[Hinted, ...] = ()
    """Tables with values that column hints read."""

    @property
    def eased(self) -> Down:
        """The way down without what the hints lift."""
        return eased(self.way.down, [one for table in self.hints for one in table.columns])

    @property
    def tables(self) -> tuple[Name, ...]:
        """Those to lock against everybody: rows of them are copied, changed or dropped."""
        names = {fate.name for fate in self.fates}
        names |= {(one.live.schema, one.live.name) for one in self.staged}
        back = [one.live for one in self.returns if one.live is not None]
        names |= {(table.schema, table.name) for table in back}
        names |= {(one.live.schema, one.live.name) for one in self.hints}
        kept = {table.oid: table for table in self.live.tables}
        touched = {
            (kept[old.oid].schema, kept[old.oid].name)
            for old in self.way.before.tables
            if old.oid in kept and kept[old.oid] != old
        }
        # A script of the team's may write rows of any table that it names.
        scripted = self.way.down.statements if self.way.down.source == "team" else ()
        known = {(table.schema, table.name) for table in self.live.tables}
        return tuple(sorted(names | touched | (named_tables(scripted, self.schema) & known)))


def on_paper(work: Work, live: Catalog) -> Paper:
    """Compare the live catalog with the one from before."""
    found = work.found
    way = found.on(live, work.order.target.schema)
    back: tuple[Return, ...] = ()
    if found.checkpoint is not None and found.kept:
        folder = found.checkpoint.path
        back = returns(found.kept, folder, way.down.data, found.names, live, way.before)
    if (
        found.standing.state == "failed"
        and not way.left(live)
        and starts_with_ddl(found.script.sql)
    ):
        back = ()  # its first statement left no trace: it was rolled back as a whole
    changed = extended(fates(live, way.before, way.drift), live, way.before, work.also)
    schema = work.order.target.schema
    hints = hints_on(work.order, found, live, way)
    stages, told = _stages(changed, back, hints)
    return Paper(
        live=live, way=way, fates=told, returns=back, staged=stages, schema=schema, hints=hints
    )


def hints_on(order: Order, found: Found, live: Catalog, way: Way) -> tuple[Hinted, ...]:
    """What the hints are for on this way; nothing where a script of the team's goes it."""
    if way.down.source == "team" or found.standing.state == "failed":
        return ()
    script = (order.migration, found.script.sql)
    return hinted(order.hints, live, way.before, script, order.target.schema)


def extended(
    found: Sequence[Fate], live: Catalog, before: Catalog, also: set[tuple[Name, str]]
) -> tuple[Fate, ...]:
    """Also what no catalog told beforehand: a script of the team's may drop anything."""
    by_name = {fate.name: fate for fate in found}
    old = {table.oid: table for table in before.tables}
    for table in live.tables:
        name = (table.schema, table.name)
        columns = {column for place, column in also if place == name}
        if "" in columns:
            by_name[name] = Fate(live=table, before=None)
        elif columns:
            known = by_name.get(name) or Fate(live=table, before=old.get(table.oid, table))
            more = tuple(one for one in table.columns if one.name in columns)
            by_name[name] = Fate(
                live=table,
                before=known.before,
                lost=tuple(dict.fromkeys((*known.lost, *more))),
                retyped=known.retyped,
            )
    return tuple(by_name.values())


def _stages(
    found: Sequence[Fate], back: Sequence[Return], hints: Sequence[Hinted]
) -> tuple[tuple[Staged, ...], tuple[Fate, ...]]:
    """Tables whose values are compared afterwards; without a key they are saved as they are."""
    wanted: dict[int, tuple[Table, Table, dict[int, tuple[Column, Column]]]] = {}
    for fate in found:
        if fate.before is not None and fate.retyped:
            pairs = {one.attnum: (one, old) for one, old in fate.retyped}
            wanted[fate.live.oid] = (fate.live, fate.before, pairs)
    for one in back:
        if one.live is not None and one.key and one.overwritten:
            entry = wanted.setdefault(one.live.oid, (one.live, one.before, {}))
            entry[2].update({now.attnum: (now, old) for now, old in one.overwritten})
    only: dict[int, frozenset[int]] = {}
    for table, columns in staged_columns(hints):
        entry = wanted.setdefault(table.live.oid, (table.live, table.before, {}))
        only[table.live.oid] = frozenset(
            number
            for number, one in columns.items()
            if number not in entry[2] and (one.converts or one.only_empty)
        )
        entry[2].update({n: (one.now, one.column) for n, one in columns.items() if one.now})
    stages, keyless = [], set()
    for oid, (live, before, pairs) in wanted.items():
        made = staged(live, before, tuple(pairs.values()), only.get(oid, frozenset()))
        if made is None:
            keyless.add(oid)
        else:
            stages.append(made)
    told = tuple(
        Fate(
            live=fate.live,
            before=fate.before,
            lost=(*fate.lost, *(one for one, _ in fate.retyped)),
        )
        if fate.live.oid in keyless
        else fate
        for fate in found
    )
    return tuple(stages), told


def transact(work: Work, paper: Paper, bundle: Bundle) -> dict[str, Any]:
    """Everything between BEGIN and COMMIT, both left to the caller; what the receipt says.

    Raises VendorRefused, Unsaved, psycopg.Error: then the caller rolls back.
    """
    connection, say = work.connection, work.say
    # SET, for a SELECT would take the snapshot, and locks must come before it.
    connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}".encode())
    _lock(work, paper)
    live = read_catalog(connection)
    _check_same(work, live, paper)
    check_guards(connection, paper.eased.guards)
    why = f"{work.order.migration} was taken back"
    span = window(connection, work.found.standing, work.found.checkpoint)
    for stage in paper.staged:
        keep(connection, stage, span, say)
    rows_saved = {one.live.oid for one in paper.returns if one.live is not None and not one.key}
    some = [fate for fate in paper.fates if fate.before is None or fate.live.oid not in rows_saved]
    rescue(connection, bundle, some, say, why)
    _take(work, paper, bundle, span, why)
    changed = sum(rescue_changed(connection, bundle, one, say, why) for one in paper.staged)
    now = read_catalog(connection)
    missed = unsaved(live, now, paper.fates)
    if missed:
        raise UnsavedError(missed)
    left = paper.way.left(now)
    if left:
        raise _not_as_before(work, paper, left)
    take_back(connection, work.order.target, work.found.standing.row, work.now)
    return {
        "way": work.found.source,
        "rescued": str(bundle.rows),
        "changed": str(changed),
        "put-back": str(sum(one.rows for one in paper.returns)),
        "without-place": str(sum(sum(one.left.values()) for one in paper.returns)),
    }


def facts(paper: Paper, work: Work) -> dict[str, Any]:
    """What an `apply` needs to know: the schema as it was live, and what each thing is called."""
    old = {table.oid: table for table in paper.way.before.tables}
    pairs = [(table, old[table.oid]) for table in paper.live.tables if table.oid in old]
    names = [
        {
            "live": [table.schema, table.name],
            "before": [was.schema, was.name],
            "columns": _called(table, was),
        }
        for table, was in pairs
        if (table.schema, table.name) != (was.schema, was.name)
        or any(name != other for name, other in _called(table, was).items())
    ]
    return {
        "migration": work.order.migration,
        "checksum": work.found.standing.row.checksum,
        "catalog": STRICT.dump_python(work.origin or paper.live, mode="json"),
        "names": names,
        "without_place": {
            f"{one.before.schema}.{one.before.name}": one.left for one in paper.returns if one.left
        },
    }


def _called(live: Table, before: Table) -> dict[str, str]:
    """Column now → column before."""
    old = {column.attnum: column.name for column in before.columns}
    return {one.name: old[one.attnum] for one in live.columns if one.attnum in old}


class UnsavedError(Exception):
    """The way down dropped something of which nothing was saved: it is rolled back."""

    def __init__(self, missed: Sequence[tuple[Name, str]]) -> None:
        super().__init__(str(missed))
        self.missed = set(missed)


def _lock(work: Work, paper: Paper) -> None:
    """Before the snapshot: what is committed later than that is never seen, and must not be."""
    if paper.tables:
        listed = SQL(", ").join(Identifier(*name) for name in paper.tables)
        query = SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(listed)
        patiently(work.connection, query, work.say, "waits for the tables to be free")


def _check_same(work: Work, live: Catalog, paper: Paper) -> None:
    rows = read_rows(work.connection, work.order.target)
    if standing(rows, work.order.migration) != work.found.standing:
        raise VendorRefused(
            "the ledger was changed meanwhile",
            reference="revert-ledger",
            hint="prisma migrate status",
        )
    if (live.tables, live.enums) != (paper.live.tables, paper.live.enums):
        raise UnsavedError(())


def check_guards(connection: psycopg.Connection, guards: Sequence[Guard]) -> None:
    """VendorRefused when rows bar the way down."""
    for guard in guards:
        row = connection.execute(guard.query.encode()).fetchone()
        if row is not None and row[0]:
            raise VendorRefused(
                f"rows written since bar the way: {guard.text}; nothing was changed",
                reference="revert-barred",
                hint="change these rows, or: taly plan --database restore",
            )


def _take(work: Work, paper: Paper, bundle: Bundle, span: Window, why: str) -> None:
    connection, say, down = work.connection, work.say, paper.way.down
    stages = {one.live.oid: one for one in paper.staged}
    for one in paper.returns:
        if one.live is not None and not one.key:
            make_room(connection, bundle, one, span, say, why)
        elif one.live is not None and one.whole:
            with exact(connection):
                rescue_since(connection, bundle, one, span, say, why)
    for table in paper.hints:
        prepare(connection, table, span, say)
    statements = split_up(down.statements if work.done is None else work.done)
    for statement in statements:
        patiently(connection, statement, say, short(statement))
    for table in paper.hints:
        convert(connection, table, down, say)
    for one in paper.returns:
        put_back(connection, one, stages.get(one.live.oid) if one.live else None, say)
    for table in paper.hints:
        fill(connection, table, say)
    require(connection, paper.hints)
    for statement in split_up(down.afterwards if work.done is None else ()):
        patiently(connection, statement, say, short(statement))
    failed = work.found.standing.state == "failed"
    up = split_up([work.found.script.sql])
    settle(connection, paper.returns, stages, up, say, as_far=failed)


def split_up(statements: Sequence[str]) -> tuple[str, ...]:
    """One by one, without the brackets of a script's own transaction."""
    found: list[str] = []
    for text in statements:
        try:
            found += split(text)
        except PgQueryError:
            found.append(text)
    return tuple(one for one in found if not is_bracket(one))


def starts_with_ddl(sql: str) -> bool:
    """Whether the first statement that does anything changes the schema, and not rows."""
    for statement in split_up([sql]):
        try:
            kind = kind_of(parse(statement).stmts[0].stmt)
        except (PgQueryError, IndexError):
            return False
        if kind not in ("variable_set_stmt", "lock_stmt"):
            return kind not in CHANGES_ROWS
    return False


def is_bracket(statement: str) -> bool:
    """Whether it begins or ends a transaction: ours is around all of them."""
    word = " ".join(statement.upper().strip("; \n\t").split())
    return word in BRACKETS or word in {f"{one} TRANSACTION" for one in BRACKETS}


def _not_as_before(work: Work, paper: Paper, left: Sequence[str]) -> VendorRefused:
    gaps = f" ({paper.way.down.gaps[0]})" if paper.way.down.gaps else ""
    more = f", and {len(left) - 3} more" if len(left) > 3 else ""
    return VendorRefused(
        f"after the way down of {work.order.migration} (from {work.found.source}) the schema was"
        f" not as before, so it was rolled back: {'; '.join(left[:3])}{more}{gaps}",
        reference="revert-not-as-before",
        hint="taly database diff, or: taly plan --database restore",
    )


def short(statement: str) -> str:
    line = " ".join(statement.split())
    return line if len(line) <= 100 else f"{line[:99]}…"
