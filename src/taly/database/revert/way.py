"""The way down of one migration and what the schema must be after it, best sources first."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg
from postgast import PgQueryError, split

from taly.database.checkpoint import catalog_file
from taly.database.checkpoint.downs import read_down
from taly.database.checkpoint.folder import Checkpoint, every
from taly.database.checkpoint.manifest import Kept, LedgerRow
from taly.database.connection import Target
from taly.database.revert.order import Order
from taly.database.revert.rows import end_of, is_visible
from taly.database.revert.same import in_place
from taly.database.revert.standing import Standing
from taly.database.revert.texts import Script, Texts
from taly.database.scratch import replayed
from taly.errors import Refused, TalyError, VendorRefused
from taly.model.catalog import Catalog
from taly.planning.catalog_diff import differences
from taly.planning.down import Down, derive, team
from taly.planning.down.mirror import Mirror
from taly.planning.down.play import play

INSTANT = """
SELECT (SELECT oid::bigint FROM pg_database WHERE datname = current_database()),
  (SELECT system_identifier::text FROM pg_control_system())
"""
OID_ONLY = "SELECT oid::bigint, '' FROM pg_database WHERE datname = current_database()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a migration is taken back, told in the names and numbers of the live database."""

    before: Catalog
    drift: frozenset[str]
    """Lines in which the live database differed beside the migration: they stay."""
    down: Down

    def left(self, now: Catalog) -> tuple[str, ...]:
        """What is not as it was before the migration, one line each."""
        lines = (one.text for one in differences(self.before, now))
        return tuple(line for line in lines if line not in self.drift)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is known of a migration before the live catalog is read under the lock."""

    standing: Standing
    script: Script
    checkpoint: Checkpoint | None
    """The one made before it was applied, of this same database."""
    exact: Catalog | None
    """The catalog from right before it, of this same database."""
    copies: tuple[Catalog, ...] = ()
    """Of an empty copy: before and, where it runs there, after the migration."""
    names: Mapping[tuple[str, str], tuple[tuple[str, str], Mapping[str, str]]] | None = None
    """Table at the checkpoint → (table, columns) right before the migration; None = the same."""
    stored: Down | None = None

    @property
    def source(self) -> str:
        """Where the way down comes from, in words."""
        if self.script.down is not None:
            return "down.sql"
        if self.exact is not None and self.checkpoint is not None:
            return f"checkpoint {self.checkpoint.name}"
        return "the migrations"

    @property
    def kept(self) -> tuple[Kept, ...]:
        """What the checkpoint copied of what this migration destroyed."""
        if self.checkpoint is None:
            return ()
        prefix = f"{self.standing.row.name}: "
        return tuple(
            one
            for one in self.checkpoint.manifest.destroyed
            if any(why.startswith(prefix) for why in one.why)
        )

    def on(self, live: Catalog, schema: str) -> Way:
        """The way from the live catalog."""
        failed = self.standing.state == "failed"
        if self.exact is not None:
            before, drift = self._exact(self.exact, live, schema), frozenset[str]()
        else:
            old = self.copies[0]
            new = self.copies[1] if len(self.copies) > 1 else old
            before = in_place(old, new, live, finished=not failed)
            touched = {one.what for one in differences(old, new)}
            found = differences(before, live)
            drift = frozenset(one.text for one in found if one.what not in touched)
            drift = drift if len(self.copies) > 1 else frozenset()
        return Way(before=before, drift=drift, down=self._down(before, live, schema))

    def _exact(self, exact: Catalog, live: Catalog, schema: str) -> Catalog:
        """The checkpoint's catalog; by names where a revert has made anew what it numbered."""
        assert self.checkpoint is not None, "it is where the catalog comes from"
        pending = set(self.checkpoint.manifest.pending)
        if not any(
            row.name in pending and row.finished_at is not None and not row.is_live
            for row in self.standing.rows
        ):
            return exact
        mirror = Mirror.of(exact, schema)
        try:
            play(mirror, self.script.sql)
        except ValueError:
            return exact
        _, after = mirror.catalogs(exact)
        return in_place(exact, after, live, finished=self.standing.state == "applied")

    def _down(self, before: Catalog, live: Catalog, schema: str) -> Down:
        name, sql = self.standing.row.name, self.script.sql
        if self.standing.state == "failed":  # only what exists is taken back
            return derive(name, sql, before, schema=schema, after=live)
        if self.script.down is not None:
            return team(name, self.script.down, sql, before, schema=schema)
        if self.stored is not None and self.stored.transactional:
            return self.stored
        # CONCURRENTLY: an earlier attempt may have done a part of it.
        fresh = derive(name, sql, before, schema=schema)
        if fresh.transactional:
            return fresh
        return derive(name, sql, before, schema=schema, after=live)


def find(order: Order, connection: psycopg.Connection, standing: Standing) -> Found:
    """Everything about a migration's way down that needs no lock.

    Raises VendorRefused when its text is not to be had, or what the schema was before it.
    """
    texts = Texts(directory=order.directory, checkpoints=every_checkpoint(order))
    script = texts.need(standing.row.name, standing.row.checksum)
    checkpoint = _fitting(order, connection, standing)
    earlier = {row.name for row in standing.earlier}
    if checkpoint is not None and _applied(checkpoint.manifest.ledger) == earlier:
        exact = catalog_file.read_catalog_file(checkpoint.path / catalog_file.BEFORE)
        stored = _stored(checkpoint, standing.row.name)
        return Found(
            standing=standing, script=script, checkpoint=checkpoint, exact=exact, stored=stored
        )
    copies, start = _replayed(order.target, texts, standing, script, checkpoint)
    return Found(
        standing=standing,
        script=script,
        checkpoint=checkpoint,
        exact=None,
        copies=copies,
        names=_renamed(start, copies[0]) if start is not None else None,
    )


def every_checkpoint(order: Order) -> list[Checkpoint]:
    """Every checkpoint that can be read, newest first."""
    if order.checkpoints is None:
        return []
    found = [one for one in every(order.checkpoints) if isinstance(one, Checkpoint)]
    return sorted(found, key=lambda one: one.manifest.instant.xmin, reverse=True)


def _fitting(order: Order, connection: psycopg.Connection, standing: Standing) -> Checkpoint | None:
    """The latest checkpoint of this same database from before the migration was applied."""
    oid, system = _identity(connection)
    # By transactions, not by clocks: they need not agree.
    end = end_of(connection, standing)
    for one in every_checkpoint(order):
        manifest = one.manifest
        known = manifest.database.system_identifier
        same = manifest.database.oid == oid and (not known or not system or known == system)
        checksum = {text.name: text.checksum for text in manifest.migrations if text.pending}
        if (
            same
            and manifest.schema_name == order.target.schema
            and _is_of(one, standing, checksum)
            and not is_visible(connection, end, manifest.instant.snapshot)
        ):
            return one
    return None


def _is_of(one: Checkpoint, standing: Standing, pending: Mapping[str, str]) -> bool:
    if standing.row.name not in pending:
        return False
    if pending[standing.row.name] == standing.row.checksum:
        return True
    texts = Texts(directory=None, checkpoints=(one,))  # other line ends
    return texts.find(standing.row.name, standing.row.checksum) is not None


def _identity(connection: psycopg.Connection) -> tuple[int, str]:
    try:
        with connection.transaction():
            row = connection.execute(INSTANT).fetchone()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction):
        row = connection.execute(OID_ONLY).fetchone()
    return (row[0], row[1]) if row else (0, "")


def _applied(ledger: Sequence[LedgerRow]) -> set[str]:
    return {row.name for row in ledger if row.rolled_back_at is None}


def _stored(checkpoint: Checkpoint, name: str) -> Down | None:
    """The way down that was proven when the checkpoint was made."""
    for one in checkpoint.manifest.ways_down:
        if one.migration == name and one.proven and one.source == "derived":
            try:
                return read_down(checkpoint.path / one.file)
            except (OSError, ValueError, KeyError, TypeError, json.JSONDecodeError):
                return None
    return None


def _replayed(
    target: Target,
    texts: Texts,
    standing: Standing,
    script: Script,
    checkpoint: Checkpoint | None,
) -> tuple[tuple[Catalog, ...], Catalog | None]:
    """Catalogs before and after the migration, and as it was at the checkpoint, on a copy."""
    name = standing.row.name
    found = [texts.find(row.name, row.checksum) for row in standing.earlier]
    missing = [row.name for row, one in zip(standing.earlier, found, strict=True) if one is None]
    if missing:
        raise _no_way(name, f"the text of {missing[0]}, which came before it, is not to be had")
    known = [one.sql for one in found if one is not None]
    try:
        # Of one that failed part may be there: its catalogs statement by statement.
        parts = [script.sql] if standing.state == "applied" else _statements(script.sql)
        catalogs = replayed(target, [*known, *parts])
    except Refused as error:  # the one right that this needs
        raise _not_allowed(name, target, error) from error
    except TalyError as error:
        raise _no_way(name, error.message) from error
    if len(catalogs) <= len(known):
        failing = standing.earlier[len(catalogs) - 1].name
        raise _no_way(name, f"{failing}, which came before it, does not run on an empty database")
    at = len(_applied(checkpoint.manifest.ledger)) if checkpoint is not None else -1
    start = catalogs[at] if 0 <= at <= len(known) else None
    return (catalogs[len(known)], *catalogs[len(known) + 1 :][-1:]), start


def _statements(sql: str) -> list[str]:
    try:
        return list(split(sql))
    except PgQueryError:
        return [sql]


def _renamed(
    start: Catalog, before: Catalog
) -> Mapping[tuple[str, str], tuple[tuple[str, str], Mapping[str, str]]]:
    now = {table.oid: table for table in before.tables}
    found = {}
    for table in start.tables:
        other = now.get(table.oid)
        if other is not None:
            numbers = {column.attnum: column.name for column in other.columns}
            columns = {
                column.name: numbers[column.attnum]
                for column in table.columns
                if column.attnum in numbers
            }
            found[table.schema, table.name] = ((other.schema, other.name), columns)
    return found


def _not_allowed(name: str, target: Target, why: Refused) -> VendorRefused:
    return VendorRefused(
        f"{name}: its way down was not checked, and cannot be taken: no checkpoint says what the"
        " schema was before it, the migrations are replayed on a scratch database instead, and the"
        f" user in {target.url_env} may not create one (CREATEDB)",
        reference="revert-no-createdb",
        hint=f"{why.hint}; or taly checkpoint before each migration",
    )


def _no_way(name: str, why: str) -> VendorRefused:
    return VendorRefused(
        f"what the schema was before {name} is not known, so nobody could tell whether it came"
        f" back: {why}",
        reference="revert-no-way",
        hint="taly plan --database restore",
    )
