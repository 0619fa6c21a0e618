"""Prove a checkpoint: every file as written, and the backup really restored and compared."""

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import psycopg

from taly.database.checkpoint import catalog_file, copies
from taly.database.checkpoint.contents import Report, contents, large_objects, tables
from taly.database.checkpoint.copied import check_on_rds
from taly.database.checkpoint.destroyed import count_rows
from taly.database.checkpoint.dump import restore
from taly.database.checkpoint.folder import DUMP, Checkpoint, damage
from taly.database.checkpoint.manifest import BackupFacts, TableContent
from taly.database.checkpoint.on_rds import OnRds
from taly.database.checkpoint.session import snapshot
from taly.database.connection import Target
from taly.database.programs import find_programs
from taly.database.snapshot import read_catalog
from taly.errors import TalyError, VerificationFailed
from taly.model.catalog import Catalog
from taly.planning.catalog_diff import differences


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was found to be as it should be."""

    files: int
    bytes: int
    restored: bool
    """Whether there is a backup, which was then restored."""
    tables: int
    rows: int


def verify(
    checkpoint: Checkpoint, target: Target, report: Report, where: OnRds | None = None
) -> Proof:
    """Check every file, restore the backup into a scratch database, compare, drop it.

    A backup that RDS has is restored into a temporary instance; `where` says how to ask.
    Raises VerificationFailed that names what differs, Refused without the right to create
    databases; the scratch database is gone in every case.
    """
    manifest = checkpoint.manifest
    _check_files(checkpoint)
    restored = manifest.backup.kind != "none"
    if manifest.backup.on_rds:
        assert where is not None, "a backup on RDS needs somebody who may ask"
        if wrong := check_on_rds(checkpoint, target, report, where):
            raise _failed(checkpoint, wrong, reference="checkpoint-differs")
    elif restored:
        _check_restored(checkpoint, target, report)
    return Proof(
        files=len(manifest.files),
        bytes=manifest.bytes,
        restored=restored,
        tables=len(manifest.tables),
        rows=sum(table.rows for table in manifest.tables),
    )


def _check_files(checkpoint: Checkpoint) -> None:
    wrong = list(damage(checkpoint)) or list(_miscounted(checkpoint))
    if wrong:
        raise _failed(checkpoint, wrong, reference="checkpoint-damaged")


def _miscounted(checkpoint: Checkpoint) -> Iterator[str]:
    for kept in checkpoint.manifest.destroyed:
        try:
            rows = count_rows(checkpoint.path / kept.file)
        except (OSError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            yield f"{kept.file}: {error}"
            continue
        if rows != kept.rows:
            yield f"{kept.file}: {rows} rows, and {kept.rows} were written"


def _check_restored(checkpoint: Checkpoint, target: Target, report: Report) -> None:
    backup = checkpoint.manifest.backup
    with snapshot(target) as connection:
        copies.check_may_create(connection, target)
        server = connection.info.server_version
        if backup.template and not copies.exists(connection, backup.template):
            gone = [f"database {backup.template}: it is not on the server any more"]
            raise _failed(checkpoint, gone, reference="checkpoint-damaged")
    with ExitStack() as stack:
        name = stack.enter_context(copies.scratch(target, backup.template))
        if not backup.template:
            programs = find_programs(max(server, _major(backup) * 10_000))
            folder = checkpoint.path / DUMP
            try:
                with restore(programs, target, folder, name, server=server // 10_000) as client:
                    client.wait(report, "restore")
            except TalyError as error:
                said = error.message.splitlines()
                raise _failed(checkpoint, said, reference="checkpoint-not-restorable") from error
        with snapshot(target, name) as connection:
            wrong = list(unlike(checkpoint, connection, report))
    if wrong:
        raise _failed(checkpoint, wrong, reference="checkpoint-differs")


def _major(backup: BackupFacts) -> int:
    found = re.search(r"\d+", backup.program)
    return int(found.group(0)) if found else 0


def unlike(
    checkpoint: Checkpoint,
    connection: psycopg.Connection,
    report: Report,
    elsewhere: frozenset[tuple[str, str]] = frozenset(),
) -> Iterator[str]:
    """What a restored backup does not hold as it should: tables by count and checksum, schema.

    `elsewhere`: tables of the backup whose rows somebody else sums up.
    """
    manifest = checkpoint.manifest
    asked = elsewhere & {(one.table_schema, one.name) for one in manifest.tables}
    here = [one for one in tables(connection) if (one.schema, one.name) not in asked]
    expected = [one for one in manifest.tables if (one.table_schema, one.name) not in asked]
    yield from unlike_rows(expected, contents(connection, here, report, manifest.sums))
    objects = large_objects(connection)
    if objects != manifest.large_objects:
        yield f"{objects} large objects, and there were {manifest.large_objects}"
    before = catalog_file.read_catalog_file(checkpoint.path / catalog_file.BEFORE)
    dumped = manifest.backup.kind == "dump"
    for one in differences(
        comparable(before, dumped), comparable(read_catalog(connection), dumped)
    ):
        yield one.text


def unlike_rows(
    expected: Iterable[TableContent], contained: Iterable[TableContent]
) -> Iterator[str]:
    """How tables differ, by count and checksum."""
    found = {_place(one): one for one in contained}
    for table in expected:
        other = found.pop(_place(table), None)
        if other is None:
            yield f"table {_place(table)} is not in it"
        elif other.rows != table.rows:
            yield f"table {_place(table)}: {other.rows} rows, and there were {table.rows}"
        elif other.checksum != table.checksum:
            yield f"table {_place(table)}: as many rows, with other values"
    yield from (f"table {place} was not there" for place in found)


def comparable(catalog: Catalog, dumped: bool) -> Catalog:
    """Without what a restore as a plain user leaves out on purpose: owners, grants, comments.

    pg_dump leaves an index out that a failed CONCURRENTLY build left INVALID.
    """
    if not dumped:
        return catalog
    return replace(
        catalog,
        tables=tuple(
            replace(
                table,
                owner="",
                grants="",
                comment="",
                columns=tuple(replace(column, comment="") for column in table.columns),
                indexes=tuple(index for index in table.indexes if index.valid),
            )
            for table in catalog.tables
        ),
    )


def _place(table: TableContent) -> str:
    return f"{table.table_schema}.{table.name}"


def _failed(checkpoint: Checkpoint, wrong: list[str], *, reference: str) -> VerificationFailed:
    shown = "\n".join(f"  {line}" for line in wrong[:12])
    more = f"\n  and {len(wrong) - 12} more" if len(wrong) > 12 else ""
    return VerificationFailed(
        f"{checkpoint.name} does not hold what it should:\n{shown}{more}",
        reference=reference,
        hint="taly checkpoint   (make another one before you migrate)",
    )
