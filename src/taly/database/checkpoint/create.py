"""Make a checkpoint: everything from one instant, complete or not there at all."""

import errno
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from taly import __version__
from taly.database.checkpoint import catalog_file, copies, facts, on_rds
from taly.database.checkpoint.contents import Report, contents, large_objects, tables
from taly.database.checkpoint.destroyed import Selection, copy_out
from taly.database.checkpoint.downs import Tried, ways_down
from taly.database.checkpoint.dump import dump
from taly.database.checkpoint.folder import (
    DUMP,
    PARTIAL,
    TEMPLATE,
    Checkpoint,
    facts_of,
    load,
    making,
    name_for,
    write_file,
)
from taly.database.checkpoint.manifest import (
    MANIFEST,
    Backup,
    BackupFacts,
    DownFacts,
    Manifest,
    sealed,
)
from taly.database.checkpoint.on_rds import OnRds
from taly.database.checkpoint.order import Order as Order
from taly.database.checkpoint.order import Parts
from taly.database.checkpoint.pending import about_to_be_lost, keep, scripts
from taly.database.checkpoint.session import check_no_deploy, snapshot
from taly.database.checkpoint.settled import settle
from taly.database.programs import Programs, find_programs
from taly.database.scratch import LiveSchema, NotProven, Replay, prove
from taly.errors import Refused, TalyError, UsageError
from taly.planning.down import Down

COMPRESSED = 0.6
"""A dump is at most this much of its tables: with gzip 1 it was 0.27, indexes not counted."""
SPARE_BYTES = 16 << 20


def create(order: Order) -> Checkpoint:
    """Make a checkpoint of the database as it is now.

    Raises TalyError in all its kinds; then nothing is left of it, here and on the server.
    """
    check_no_deploy(order.target)
    name = name_for(order.label, order.commit, order.now)
    template = asked = ""
    try:
        with making(order.base, name) as folder:
            parts = _fill(order, folder)
            template, asked = parts.backup.template, parts.backup.snapshot
            parts.ways_down = _ways_down(order, parts, folder)
            write_file(folder / MANIFEST, sealed(_manifest(order, name, parts, folder)))
    except BaseException as error:
        if asked and not (order.base / name).exists():
            _take_back_snapshot(order, name, error)
        if template and not _is_whole(order.base / name, template):
            copies.drop_database(order.target, template)
        if isinstance(error, OSError):
            raise _not_written(order, error) from error
        raise
    return load(order.base / name)


def _is_whole(path: Path, template: str) -> bool:
    """Whether a checkpoint got its name before something failed: then the copy belongs to it."""
    try:
        return load(path).manifest.backup.template == template
    except Refused:
        return False


def _take_back_snapshot(order: Order, name: str, error: BaseException) -> None:
    assert order.on_rds is not None, "the caller has seen to it"
    try:
        on_rds.take_back(order.on_rds, name)
    except TalyError as left:
        left.__cause__ = error
        if not isinstance(error, TalyError):
            raise left from error
        error.message += f"\n{left.message}\n  {left.hint}"
        error.args = (error.message,)


def _fill(order: Order, folder: Path) -> Parts:
    if order.on_rds is not None:
        return _on_rds(order, order.on_rds, folder)
    if order.backup == "template":
        try:
            return _from_template(order, folder)
        except _NoTemplate as error:
            return _from_snapshot(order, folder, "dump", str(error))
    return _from_snapshot(order, folder, order.backup, "")


class _NoTemplate(Exception):
    """The server does not make a copy of the database now."""


def _from_template(order: Order, folder: Path) -> Parts:
    """Copy first, then read everything from the copy: it is nobody's, so it stays one instant.

    The instant itself is read just before: what is written between the two is in the copy, and
    counts as changed since, which comparison finds equal.
    """
    target = order.target
    with snapshot(target) as connection:
        moment = facts.moment(connection, target)
    name = copies.template_name(moment.database.name, f"{datetime.now(UTC):%Y%m%dt%H%M%S%f}")
    mark = folder / TEMPLATE
    write_file(mark, name.encode())  # before it is made, so that `prune` finds it after a kill
    order.report("template copy", 0, moment.database.bytes)
    try:
        copies.copy_database(target, moment.database.name, name)
    except TalyError as error:
        mark.unlink()
        raise _NoTemplate(error.message) from error
    try:
        order.report("template copy", moment.database.bytes, moment.database.bytes)
        backup = BackupFacts(
            kind="template", asked="template", template=name, program="CREATE DATABASE"
        )
        with snapshot(target, name) as connection:
            parts = _read(order, folder, connection, moment, backup)
            _content(order, folder, connection, parts, order.report)
        copies.seal_database(target, name)
    except BaseException:
        copies.drop_database(target, name)
        raise
    return parts


def _from_snapshot(order: Order, folder: Path, kind: Backup, why: str) -> Parts:
    """Read everything from one exported snapshot, through which `pg_dump` looks as well."""
    with snapshot(order.target) as connection:
        server = connection.info.server_version
        programs = find_programs(server) if kind == "dump" else None
        exported = _export(connection)
        moment = facts.moment(connection, order.target, exported=exported)
        backup = BackupFacts(
            kind=kind,
            asked=order.backup,
            why=why,
            program=f"pg_dump {programs.version}" if programs else "",
        )
        parts = _read(order, folder, connection, moment, backup)
        if programs is None:
            _content(order, folder, connection, parts, order.report)
        else:
            _dumped(order, folder, connection, parts, programs)
    return parts


def _on_rds(order: Order, where: OnRds, folder: Path) -> Parts:
    """RDS makes it meanwhile, of a moment of its own: `settled` tells what must be in it."""
    name = folder.name.removeprefix(PARTIAL)
    instance = on_rds.check_instance(where, order.backup)
    try:
        parts = _made_on_rds(order, where, folder, name)
        _check_unmigrated(order, parts)
    except BaseException as error:
        if not (isinstance(error, TalyError) and error.reference == on_rds.SOMEBODY_ELSES):
            _take_back_snapshot(order, name, error)
        raise
    parts.remarks = tuple(on_rds.notes(instance, order.target))
    return parts


def _made_on_rds(order: Order, where: OnRds, folder: Path, name: str) -> Parts:
    with snapshot(order.target) as connection:
        moment = facts.moment(connection, order.target)
        size = moment.database.bytes
        backup = on_rds.begin(where, order.backup, name, moment.instant, folder)
        parts = _read(order, folder, connection, moment, backup)
        _content(order, folder, connection, parts, order.report)

        def tell(percent: int) -> None:
            order.report(order.backup, size * percent // 101, size)

        on_rds.finish(where, backup, connection, tell)
        order.report(order.backup, size, size)
        parts.settled = settle(connection, moment.instant.xmin, folder, order.report)
    return parts


def _check_unmigrated(order: Order, parts: Parts) -> None:
    """What was written until now was no migration's work, if there was none."""
    with snapshot(order.target) as connection:
        parts.window = facts.moment(connection, order.target).instant
        ledger, _ = facts.ledger_of(connection, order.target)
        objects = large_objects(connection)
    if facts.ledger_rows(ledger) != facts.ledger_rows(parts.ledger):
        raise Refused(
            "a migration was applied while RDS made the backup: it would not be from before",
            reference="checkpoint-deploy-running",
            hint="taly checkpoint   (again, before the migration)",
        )
    parts.large_objects_later = objects if objects != parts.large_objects else None


def _export(connection: psycopg.Connection) -> str:
    row = connection.execute("SELECT pg_export_snapshot()").fetchone()
    assert row is not None, "it gives a name"
    return str(row[0])


def _read(
    order: Order,
    folder: Path,
    connection: psycopg.Connection,
    moment: facts.Moment,
    backup: BackupFacts,
) -> Parts:
    """The small parts: ledger, texts, catalog. First, so that what is wrong is known at once."""
    ledger, found = facts.ledger_of(connection, order.target)
    read = scripts(order.migrations, ledger)
    catalog_file.write_catalog(folder / catalog_file.BEFORE, moment.catalog)
    return Parts(
        moment=moment,
        backup=backup,
        ledger=ledger,
        ledger_found=found,
        scripts=read,
        migrations=keep(read, folder),
    )


def _dumped(
    order: Order,
    folder: Path,
    connection: psycopg.Connection,
    parts: Parts,
    programs: Programs,
) -> None:
    """Dump, and take the contents meanwhile: both see the same snapshot."""
    whole = sum(table.bytes for table in tables(connection))
    needed = int(whole * COMPRESSED) + SPARE_BYTES
    free = order.free(folder)
    if free < needed:
        raise Refused(
            f"a dump may need {_mb(needed)} in {order.base}, and {_mb(free)} are free",
            reference="checkpoint-no-space",
            hint="taly checkpoint prune   (or --backup template)",
        )
    with dump(programs, order.target, parts.moment.instant.exported, folder / DUMP) as client:

        def watched(what: str, done: int, of: int) -> None:
            client.check()
            order.report(what, done, of)

        _content(order, folder, connection, parts, watched)
        client.wait(order.report, "dump", folder / DUMP)


def _content(
    order: Order, folder: Path, connection: psycopg.Connection, parts: Parts, report: Report
) -> None:
    """What the migrations are about to destroy; counts and checksums, where there is a backup."""
    lost = about_to_be_lost(parts.scripts)
    selection = Selection(connection, order.target.schema)
    parts.destroyed = copy_out(connection, selection.add(lost.known), folder, report)
    parts.unseen = (*lost.unseen, *selection.unseen)
    if parts.backup.kind != "none":
        parts.tables = contents(connection, tables(connection), report)
        parts.large_objects = large_objects(connection)


def _ways_down(order: Order, parts: Parts, folder: Path) -> tuple[DownFacts, ...]:
    """None for the very first deploy: there is nothing to go back to."""
    if not parts.ledger.applied:
        return ()
    instant = parts.moment.catalog.instant
    assert instant is not None, "it was read, not thought out"
    try:
        programs = find_programs(instant.server_version)
    except UsageError:
        programs = None
    applied = sum(not script.pending for script in parts.scripts)

    def try_out(earlier: Sequence[str], up: str, down: Down) -> Tried:
        if not order.trial:
            return False, "it was not tried out, as asked", None
        first = len(earlier) == applied
        live = LiveSchema(programs=programs) if first and programs else None
        found = prove(order.target, live or Replay(texts=tuple(earlier)), up, down)
        if isinstance(found, NotProven):
            return False, found.reason, None
        return True, "", found.after

    catalog, schema = parts.moment.catalog, order.target.schema
    return ways_down(parts.scripts, catalog, schema, folder, try_out)


def _manifest(order: Order, name: str, parts: Parts, folder: Path) -> Manifest:
    return Manifest(
        taly=__version__,
        name=name,
        environment=order.environment,
        component=order.component,
        commit=order.commit,
        label=order.label,
        by=order.by,
        made_at=order.now,
        database=parts.moment.database,
        instant=parts.moment.instant,
        schema_name=order.target.schema,
        ledger_found=parts.ledger_found,
        ledger=facts.ledger_rows(parts.ledger),
        migrations=parts.migrations,
        backup=parts.backup,
        tables=parts.tables,
        sums="mixed",
        large_objects=parts.large_objects,
        settled=parts.settled,
        large_objects_later=parts.large_objects_later,
        window=parts.window,
        destroyed=parts.destroyed,
        unseen=parts.unseen,
        ways_down=parts.ways_down,
        notes=tuple(_notes(order, parts)),
        files=facts_of(folder),
    )


def _notes(order: Order, parts: Parts) -> list[str]:
    notes = list(parts.remarks)
    if not parts.ledger_found:
        notes.append(f"there is no _prisma_migrations in schema {order.target.schema} yet")
    if not any(script.pending for script in parts.scripts):
        notes.append(f"no migration of {order.migrations} is pending")
    notes += [
        f"{row.name} did not finish: `prisma migrate deploy` stops at it (P3009)"
        for row in parts.ledger.unfinished
    ]
    notes += [
        f"{script.name}: migration.sql is not what was applied: its checksum differs"
        for script in parts.scripts
        if not script.as_applied
    ]
    known = {script.name for script in parts.scripts}
    notes += [
        f"{row.name} is applied, and this checkout does not have it"
        for row in parts.ledger.applied
        if row.name not in known
    ]
    return notes


def _not_written(order: Order, error: OSError) -> TalyError:
    said = error.strerror or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Refused(
            f"there is no room left in {order.base}: {said}",
            reference="checkpoint-no-space",
            hint="taly checkpoint prune",
        )
    return UsageError(
        f"the checkpoint cannot be written in {order.base}: {said}",
        reference="checkpoint-not-written",
        hint=f"ls -ld {order.base}",
    )


def _mb(size: int) -> str:
    return f"{size / 1_000_000:,.0f} MB"
