"""Take old checkpoints away, and what killed processes left."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from taly.database.checkpoint.copies import drop_database
from taly.database.checkpoint.folder import (
    Checkpoint,
    Unreadable,
    every,
    left_over,
    remove,
    template_in,
)
from taly.database.checkpoint.on_rds import mark_in
from taly.database.connection import Target
from taly.database.sources.rds import Rds
from taly.database.sources.temporary import discard


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What is gone, and what was left alone."""

    removed: tuple[str, ...]
    bytes: int
    left_over: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]
    """Never taken away: nobody knows what they are."""


def of_component(
    found: Sequence[Checkpoint | Unreadable], environment: str, component: str
) -> list[Checkpoint]:
    """Those of one database, newest first."""
    return [
        one
        for one in found
        if isinstance(one, Checkpoint)
        and (one.manifest.environment, one.manifest.component) == (environment, component)
    ]


def superfluous(
    mine: Sequence[Checkpoint], keep: int, since: datetime | None = None
) -> list[Checkpoint]:
    """Those that are not among the newest `keep`, and not made after `since`."""
    return [one for one in mine[keep:] if since is None or one.manifest.made_at <= since]


def prune(
    base: Path,
    *,
    environment: str,
    component: str,
    keep: int,
    target: Callable[[], Target],
    rds: Callable[[str], Rds] | None = None,
    since: datetime | None = None,
) -> Pruned:
    """Keep the newest ones of this component; the others go, with their copies on the server.

    `since`: those that were made later stay as well.

    `target` is asked only when a copy must be dropped, `rds`, with a region, only when a snapshot
    must be deleted. Raises TalyError when that fails; the checkpoint then stays.
    """
    found = every(base)
    mine = of_component(found, environment, component)
    old = superfluous(mine, keep, since)
    for one in old:
        if one.manifest.backup.template:
            drop_database(target(), one.manifest.backup.template)
        if rds is not None and one.manifest.backup.snapshot:
            discard(rds(one.manifest.backup.region), one.manifest.backup.snapshot, one.name)
        remove(one.path)
    partial = left_over(base)
    for path in partial:
        if copy := template_in(path):
            drop_database(target(), copy)
        if rds is not None and (mark := mark_in(path)):
            identifier, region, name = mark
            discard(rds(region), identifier, name)
        shutil.rmtree(path)
    return Pruned(
        removed=tuple(one.name for one in old),
        bytes=sum(one.manifest.bytes for one in old),
        left_over=tuple(path.name for path in partial),
        unreadable=tuple(one for one in found if isinstance(one, Unreadable)),
    )
