"""Take old checkpoints away, and what killed processes left."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
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


def prune(
    base: Path,
    *,
    environment: str,
    component: str,
    keep: int,
    target: Callable[[], Target],
    rds: Callable[[str], Rds] | None = None,
) -> Pruned:
    """Keep the newest ones of this component; the others go, with their copies on the server.

    `target` is asked only when a copy must be dropped, `rds`, with a region, only when a snapshot
    must be deleted. Raises TalyError when that fails; the checkpoint then stays.
    """
    found = every(base)
    mine = [
        one
        for one in found
        if isinstance(one, Checkpoint)
        and (one.manifest.environment, one.manifest.component) == (environment, component)
    ]
    old = mine[keep:]
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
