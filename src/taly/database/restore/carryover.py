"""What the carry-over is told: which tables correspond, since when, and where the rest goes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from taly.database.carry import Carry, Since
from taly.database.carry.earlier import NOTHING_EARLIER, Earlier
from taly.database.carry.earlier import Row as Values
from taly.database.checkpoint.catalog_file import BEFORE, read_catalog_file
from taly.database.checkpoint.facts import ledger_of
from taly.database.checkpoint.folder import MIGRATIONS, Checkpoint
from taly.database.checkpoint.session import snapshot
from taly.database.connection import Target
from taly.database.files import text_of
from taly.database.ledger import Row
from taly.database.rescue.bundle import Bundle, RescuedRow, bundles
from taly.database.rescue.manifest import TableFacts
from taly.database.restore.job import Job
from taly.database.restore.start import Start
from taly.database.snapshot import read_catalog
from taly.errors import VendorRefused
from taly.model.catalog import Catalog
from taly.planning.carry.corresponding import correspond
from taly.planning.carry.hints import read_hints
from taly.planning.carry.model import Correspondence
from taly.planning.carry.pairs import pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A database's schema and applied migrations at one instant."""

    catalog: Catalog
    applied: tuple[Row, ...]

    @property
    def names(self) -> frozenset[str]:
        """Of the migrations that are applied."""
        return frozenset(row.name for row in self.applied)


def see(target: Target) -> Seen:
    """Read both."""
    with snapshot(target) as connection:
        ledger, _ = ledger_of(connection, target)
        return Seen(catalog=read_catalog(connection), applied=ledger.applied)


def correspondence_of(job: Job, start: Start, incoming: str) -> Correspondence:
    """How the rows of the live database read in the one that takes its place.

    Raises VendorRefused where they cannot be carried over.
    """
    live, other = see(job.target), see(job.place(incoming))
    backwards = not other.names <= live.names
    old, new = (live, other) if backwards else (other, live)
    before = old.catalog
    if start.checkpoint is not None:
        before = read_catalog_file(start.checkpoint.path / BEFORE)
    later = [row for row in new.applied if row.name not in old.names]
    matched = pairs(
        before,
        new.catalog,
        same_database=_is_of(start, new.catalog),
        texts=_texts(job, start.checkpoint, later),
        schema=job.target.schema,
    )
    found = correspond(
        live.catalog,
        other.catalog,
        matched,
        read_hints(job.step.address.get("hints", "")),
        backwards=backwards,
    )
    if found.gaps:
        shown = "\n".join(f"  {gap}" for gap in found.gaps)
        raise VendorRefused(
            f"not everything that is live can be carried over:\n{shown}",
            reference="restore-gaps",
            hint="taly plan",
        )
    return found


def _is_of(start: Start, new: Catalog) -> bool:
    """Whether the checkpoint was made of the very database that has the new schema."""
    if start.checkpoint is None or new.instant is None:
        return False
    made_of = start.checkpoint.manifest.database
    names = (made_of.system_identifier, new.instant.system_identifier)
    return made_of.oid == new.instant.database_oid and (names[0] == names[1] or not all(names))


def since_of(start: Start) -> Since | None:
    """From when on a row counts as written by users; None = nobody noted it, or elsewhere."""
    if not start.same_database:
        return None
    if start.aside is not None:
        label = start.aside.label
        # What is older than the swap was brought there by the restore, which had to leave things
        # out: where the database that comes back reads otherwise, it is the one that is right.
        return Since(xmin=label.xid, window_end=label.xid, snapshot=label.snapshot, leaves=True)
    assert start.checkpoint is not None, "a restore starts from one"
    manifest, after = start.checkpoint.manifest, start.checkpoint.after
    return Since(
        xmin=manifest.instant.xmin,
        window_end=after.instant.xmin if after else None,
        snapshot=manifest.instant.snapshot,
        window_start=manifest.window.xmin if manifest.window else None,
    )


def carry_of(
    job: Job, start: Start, incoming: str, bundle: Bundle, correspondence: Correspondence
) -> Carry:
    """The carry-over from the live database to the one that takes its place."""
    since = since_of(start)
    return Carry(
        job.target,
        job.place(incoming),
        correspondence,
        since,
        bundle,
        name=job.work,
        say=job.say,
        schema_of_ledger=job.target.schema,
        earlier=Earlier(
            absent=_absent(job),
            otherwise=_otherwise(job) if since is None else (),
            keyless=_keyless(job),
        )
        if job.undoes
        else NOTHING_EARLIER,
        sums=start.checkpoint.manifest.sums if start.checkpoint else "mixed",
    )


def _rescued(job: Job) -> Iterator[tuple[tuple[str, str], TableFacts, RescuedRow]]:
    """What the run to be undone has rescued."""
    for reader in bundles(job.rescue, job.undoes):
        if reader.manifest.component == job.step.component:
            for table in reader.tables:
                for row in reader.rows(table):
                    yield (table.table_schema, table.name), table, row


def _absent(job: Job) -> Iterator[tuple[tuple[str, str], tuple[str, ...]]]:
    """Rows that the run to be undone had no place for: the live database never had them.

    Nobody has deleted them, so they stay where they are, in the database that comes back.
    """
    for name, table, row in _rescued(job):
        if table.key and row.kind == "row" and row.base is None:
            yield name, tuple(str(row.row[column]) for column in table.key)


def _otherwise(
    job: Job,
) -> Iterator[tuple[tuple[str, str], Values, Values]]:
    """Rows that the run to be undone kept, left as in the backup or converted, and how they read.

    Where transaction ids do not tell who wrote last, this tells whether somebody has since: if not,
    the version in the database that comes back is the one that is right.
    """
    for name, table, row in _rescued(job):
        if table.key and row.base is not None:
            yield name, row.row, row.base


def _keyless(
    job: Job,
) -> Iterator[tuple[tuple[str, str], Values | None, Values | None]]:
    """Rows without a key that the run to be undone had no place for, kept, or converted."""
    for name, table, row in _rescued(job):
        if table.key:
            continue
        if row.kind == "deleted":
            yield name, None, row.row
        elif row.kind == "row" or row.base is not None:
            yield name, row.row, row.base


def _texts(
    job: Job, checkpoint: Checkpoint | None, rows: Sequence[Row]
) -> tuple[tuple[str, str], ...]:
    """The migrations' texts: from the checkout, else as the checkpoint kept them.

    Empty where nobody has the one that was applied: a text that was changed since tells nothing.
    """
    places = [Path(job.step.address["directory"])] if job.step.address.get("directory") else []
    if checkpoint is not None:
        places.append(checkpoint.path / MIGRATIONS)
    return tuple((row.name, text_of(places, row).sql or "") for row in rows)
