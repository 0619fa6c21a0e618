"""What is to be done with a database: keep it, revert its migrations, or restore a backup."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from taly.database.checkpoint.catalog_file import BEFORE, read_catalog_file
from taly.database.checkpoint.facts import Moment, same_database
from taly.database.checkpoint.folder import Checkpoint
from taly.database.checkpoint.manifest import Backup
from taly.database.connection import Target
from taly.database.counts import Question, counts, since_ledger
from taly.database.history import names_of
from taly.database.misfits import misfits
from taly.database.obstacles import Back, back, sketched
from taly.database.starting_point import StartingPoint
from taly.database.ways import ways_down
from taly.errors import TalyError
from taly.model.catalog import Catalog
from taly.model.plan import DatabaseOutlook, DatabaseVerdict, DatabaseWay, Migration, TableCount
from taly.model.release import Deployment, Observed
from taly.planning.adapting import Adapted, adapted
from taly.planning.carry import Correspondence, Matched, correspond, describe, pairs, read_hints

PAUSE_S = 1.0
"""Writers wait for the last pass and the swap; measured at 4.7 s where half of all rows changed."""
DUMP_RATE, COPY_RATE = 30e6, 200e6
"""Bytes of the database in a second: restored and compared, copied and compared."""
FIXED_S = 5.0
SAID = 3
"""So many sentences of one kind are said; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All that is known when the ways are weighed."""

    before: Observed
    wanted: Deployment
    target: Target
    connection: psycopg.Connection
    """Read only, one snapshot."""
    live: Moment
    migrations: tuple[Migration, ...]
    places: Sequence[Path]
    """Where the migrations' texts may lie."""
    earlier: Sequence[tuple[str, str | None]]
    """Name and text of every migration that the target had."""
    since: Sequence[tuple[str, str | None]]
    """The same of those that it had not."""
    start: StartingPoint
    checkpoints: Sequence[Checkpoint]

    @property
    def is_same_database(self) -> bool:
        """Whether the checkpoint was made of this very one, so that transaction ids compare."""
        one = self.start.checkpoint
        return one is not None and not same_database(one.manifest.database, self.live.database)


def outlook(at: Scene) -> DatabaseOutlook:
    """The verdict, the alternatives and what they cost. Raises TalyError."""
    found = _correspondence(at)
    ways = (_keep(at), _revert(at), _restore(at, found))
    verdict = _verdict(at.migrations, ways)
    chosen = at.start.checkpoint
    return DatabaseOutlook(
        verdict=verdict,
        ways=ways,
        checkpoint=chosen.name if chosen else "",
        backup_at=at.start.backup.manifest.made_at if at.start.backup else None,
        counts=_counts(at, found),
        conversions=found.conversions if found else (),
        pause_s=PAUSE_S if verdict == "restore" else None,
        restore_s=_seconds(at) if ways[2].possible else None,
    )


def _correspondence(at: Scene) -> Correspondence | None:
    """How the live rows read in the old schema; None where no checkpoint says what that was."""
    if at.start.checkpoint is None:
        return None
    before, matched = _matched(at, at.start.checkpoint)
    hints = read_hints(at.before.address.get("hints", ""))
    return correspond(at.live.catalog, before, matched, hints)


def _matched(at: Scene, checkpoint: Checkpoint) -> tuple[Catalog, Matched]:
    """The checkpoint's schema, and what of it is which in the live one."""
    before = read_catalog_file(checkpoint.path / BEFORE)
    matched = pairs(
        before,
        at.live.catalog,
        same_database=at.is_same_database,
        texts=[(name, sql or "") for name, sql in at.since],
        schema=at.target.schema,
    )
    return before, matched


def _counts(at: Scene, found: Correspondence | None) -> tuple[TableCount, ...]:
    since = _since(at)
    if since is None:
        return ()
    known = misfits(found) if found else {}
    return counts(at.connection, Question(since=since, misfits=known, known=found is not None))


def _since(at: Scene) -> int | None:
    """The window's end, else the backup, else the moment the first migration was finished."""
    one = at.start.checkpoint
    if one is not None and at.is_same_database:
        return (one.after or one.manifest).instant.xmin
    ledger = (at.target.schema, "_prisma_migrations")
    return since_ledger(at.connection, ledger, [name for name, _ in at.since][:1])


def _verdict(
    migrations: Sequence[Migration], ways: tuple[DatabaseWay, DatabaseWay, DatabaseWay]
) -> DatabaseVerdict:
    """Keep wherever the old code can live with it; in place before a backup."""
    keep, revert, restore = ways
    if all(one.verdict == "keep" for one in migrations):
        return keep.verdict
    if revert.possible:
        return revert.verdict
    if restore.possible or any(one.verdict == "restore" for one in migrations):
        return restore.verdict
    return revert.verdict


def _keep(at: Scene) -> DatabaseWay:
    bad = [one for one in at.migrations if one.verdict != "keep"]
    if not bad:
        why = "the old code can live with every migration made since"
        return DatabaseWay(verdict="keep", possible=True, why=why)
    costs = [f"{one.name}: {reason}" for one in bad for reason in one.reasons]
    why = f"possible, and the old code breaks on {len(bad)} of {len(at.migrations)} migrations"
    return DatabaseWay(verdict="keep", possible=True, why=why, costs=_some(costs))


def _revert(at: Scene) -> DatabaseWay:
    hints = _adapted(at)
    found = _back(at, hints)
    costs = (*_some(found.costs), *_some(_unused(at, hints)))
    if found.obstacles:
        why = _first(found.obstacles)
        return DatabaseWay(verdict="revert", possible=False, why=why, costs=costs)
    count = len(at.migrations)
    what = "the migration has" if count == 1 else f"all {count} migrations have"
    why = f"{what} a way down, taken in place; tables are locked while it runs"
    return DatabaseWay(verdict="revert", possible=True, why=why, costs=costs)


def _hinted(at: Scene) -> bool:
    """Whether the team says how columns read; who wrote it wants to see what becomes of it."""
    return bool(read_hints(at.before.address.get("hints", "")))


def _adapted(at: Scene) -> tuple[Adapted, ...]:
    """What hints read in a revert, as far as a checkpoint says what the schema was."""
    if at.start.checkpoint is None:
        return ()
    before, matched = _matched(at, at.start.checkpoint)
    hints = read_hints(at.before.address.get("hints", ""))
    return adapted(hints, at.live.catalog, before, matched)


def _unused(at: Scene, used: Sequence[Adapted]) -> list[str]:
    """Who wrote a hint wants to see what becomes of it."""
    known = {one.hint.column for one in used}
    return [
        f"the hint for {one.column} reads nothing in a revert: its table has no primary key, no"
        " checkpoint has the schema from before, or nothing of the column changes"
        for one in read_hints(at.before.address.get("hints", ""))
        if one.column not in known
    ]


def _back(at: Scene, hints: Sequence[Adapted]) -> Back:
    if not at.migrations:
        return Back(obstacles=("there is no migration to take back",), costs=())
    try:
        ways = ways_down(at.target, at.places, names_of(at.wanted), tried=False)
        sketches = sketched(at.earlier, at.since, at.target.schema)
        return back(
            at.target,
            at.checkpoints,
            [
                sketches.get(way.down.name, way.down) if way.down.source == "derived" else way.down
                for way in ways
            ],
            hints,
        )
    except TalyError as error:
        return Back(obstacles=(f"the ways down cannot be told: {error.message}",), costs=())


SOURCES: Mapping[Backup, str] = {
    "dump": "its dump",
    "rds-snapshot": "its RDS snapshot, restored into a temporary instance first",
    "rds-pitr": "RDS, restored as of then into a temporary instance first",
}


def _restore(at: Scene, found: Correspondence | None) -> DatabaseWay:
    if at.start.checkpoint is None:
        why = f"{at.start.why}; `taly checkpoint`, from CI before each migration, makes one"
        return DatabaseWay(verdict="restore", possible=False, why=why)
    if at.start.backup is None:
        why = f"{at.start.why} holds no backup: it was made with --backup none"
        return DatabaseWay(verdict="restore", possible=False, why=why)
    if found is not None and found.gaps:
        return DatabaseWay(verdict="restore", possible=False, why=_first(found.gaps))
    kind = at.start.backup.manifest.backup.kind
    source = SOURCES.get(kind, "the copy kept on the server")
    return DatabaseWay(
        verdict="restore",
        possible=True,
        why=f"{at.start.why} has the schema from before; all written since is carried over",
        costs=(
            f"a second database of {_size(at.live.database.bytes)} is made from {source}",
            f"writers wait about {PAUSE_S:.0f} s for the swap, and every connection is cut once",
            "what does not fit the old schema goes to the rescue bundle",
            *(_some(describe(found)) if found is not None and _hinted(at) else ()),
        ),
    )


def _seconds(at: Scene) -> float:
    """Measured at 10 M rows: a dump is bound by building indexes, a copy by the disk."""
    backup = at.start.backup
    rate = COPY_RATE if backup and backup.manifest.backup.kind == "template" else DUMP_RATE
    return round(FIXED_S + at.live.database.bytes / rate, 1)


def _size(size: int) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1024 or unit == "GB":
            break
        size //= 1024
    return f"{size} {unit}"


def _some(said: Sequence[str]) -> tuple[str, ...]:
    unique = tuple(dict.fromkeys(said))
    if len(unique) <= SAID:
        return unique
    return (*unique[:SAID], f"and {len(unique) - SAID} more")


def _first(said: Sequence[str]) -> str:
    more = f" (and {len(said) - 1} more)" if len(said) > 1 else ""
    return f"{said[0]}{more}"
