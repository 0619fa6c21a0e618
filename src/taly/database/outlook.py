"""What is to be done with a database: keep it, revert its migrations, or restore a backup."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from taly.database.checkpoint.folder import Checkpoint
from taly.database.checkpoint.manifest import Database
from taly.database.connection import Target
from taly.database.history import names_of
from taly.database.obstacles import Back, back, usable
from taly.database.starting_point import StartingPoint, starting_point
from taly.database.ways import ways_down
from taly.errors import TalyError
from taly.model.plan import DatabaseOutlook, DatabaseVerdict, DatabaseWay, Migration
from taly.model.release import Deployment, Observed

PAUSE_S = 1.0
"""Writers wait for the last pass and the swap; measured at 4.7 s where half of all rows changed."""
SAID = 3
"""So many sentences of one kind are said; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All that is known when the ways are weighed."""

    before: Observed
    wanted: Deployment
    target: Target
    live: Database
    migrations: tuple[Migration, ...]
    start: StartingPoint
    checkpoints: Sequence[Checkpoint] = field(default=())

    @property
    def component(self) -> str:
        """The database's name in taly.toml."""
        return self.before.component

    @property
    def directory(self) -> Path | None:
        """Where the migrations' texts lie."""
        given = self.before.address.get("directory", "")
        return Path(given) if given else None


def scene(
    before: Observed,
    wanted: Deployment,
    target: Target,
    live: Database,
    migrations: tuple[Migration, ...],
) -> Scene:
    """Look for the checkpoint to go back from. Raises TalyError."""
    base = Path(before.address.get("checkpoints") or ".taly/checkpoints")
    start = starting_point(base, before.component, live, set(names_of(wanted)))
    return Scene(
        before=before,
        wanted=wanted,
        target=target,
        live=live,
        migrations=migrations,
        start=start,
        checkpoints=usable(base, before.component, live),
    )


def outlook(at: Scene) -> DatabaseOutlook:
    """The verdict, the alternatives and what they cost."""
    ways = (_keep(at), _revert(at), _restore(at))
    verdict = _verdict(at.migrations, ways)
    chosen = at.start.checkpoint
    return DatabaseOutlook(
        verdict=verdict,
        ways=ways,
        checkpoint=chosen.name if chosen else "",
        backup_at=at.start.backup.manifest.instant.at if at.start.backup else None,
        pause_s=PAUSE_S if verdict == "restore" else None,
    )


def _verdict(
    migrations: Sequence[Migration], ways: tuple[DatabaseWay, DatabaseWay, DatabaseWay]
) -> DatabaseVerdict:
    """Keep wherever the old code can live with it; in place before a backup."""
    keep, revert, restore = ways
    if all(one.verdict == "keep" for one in migrations) and migrations:
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
    found = _back(at)
    if found.obstacles:
        why = _first(found.obstacles)
        return DatabaseWay(verdict="revert", possible=False, why=why, costs=_some(found.costs))
    count = len(at.migrations)
    what = "the migration has" if count == 1 else f"all {count} migrations have"
    why = f"{what} a way down, taken in place; tables are locked while it runs"
    return DatabaseWay(verdict="revert", possible=True, why=why, costs=_some(found.costs))


def _back(at: Scene) -> Back:
    if not at.migrations:
        return Back(obstacles=("there is no migration to take back",), costs=())
    try:
        ways = ways_down(at.target, at.directory, names_of(at.wanted), tried=False)
        return back(at.target, at.checkpoints, ways)
    except TalyError as error:
        return Back(obstacles=(f"the ways down cannot be told: {error.message}",), costs=())


def _restore(at: Scene) -> DatabaseWay:
    if at.start.checkpoint is None:
        why = f"{at.start.why}; `taly checkpoint`, from CI before each migration, makes one"
        return DatabaseWay(verdict="restore", possible=False, why=why)
    if at.start.backup is None:
        why = f"{at.start.why} holds no backup: it was made with --backup none"
        return DatabaseWay(verdict="restore", possible=False, why=why)
    kind = at.start.backup.manifest.backup.kind
    source = "its dump" if kind == "dump" else "the copy kept on the server"
    return DatabaseWay(
        verdict="restore",
        possible=True,
        why=f"{at.start.why} has the schema from before; all written since is carried over",
        costs=(
            f"a second database of {_size(at.live.bytes)} is made from {source}",
            f"writers wait about {PAUSE_S:.0f} s for the swap, and every connection is cut once",
            "what does not fit the old schema goes to the rescue bundle",
        ),
    )


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
