"""What a checkpoint is to be, and what was made of it so far."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from taly.database.checkpoint import facts
from taly.database.checkpoint.contents import Report
from taly.database.checkpoint.manifest import (
    Backup,
    BackupFacts,
    DownFacts,
    Instant,
    Kept,
    MigrationText,
    SettledContent,
    TableContent,
)
from taly.database.checkpoint.on_rds import OnRds
from taly.database.checkpoint.pending import Script
from taly.database.connection import Target
from taly.database.ledger import Ledger

Free = Callable[[Path], int]


def free_bytes(path: Path) -> int:
    """Room on the disk that holds the folder."""
    return shutil.disk_usage(path).free


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to make, and for whom."""

    base: Path
    """The folder of all checkpoints."""
    target: Target
    migrations: Path
    environment: str
    component: str
    backup: Backup
    commit: str
    label: str
    by: str
    now: datetime
    report: Report
    on_rds: OnRds | None = None
    """Only for a backup that RDS makes."""
    trial: bool = True
    """Whether the ways down are tried out."""
    free: Free = free_bytes


@dataclass(slots=True, kw_only=True)
class Parts:
    """What was made of a checkpoint so far."""

    moment: facts.Moment
    backup: BackupFacts
    ledger: Ledger
    ledger_found: bool
    scripts: tuple[Script, ...]
    migrations: tuple[MigrationText, ...]
    tables: tuple[TableContent, ...] = ()
    large_objects: int = 0
    settled: tuple[SettledContent, ...] = ()
    large_objects_later: int | None = None
    window: Instant | None = None
    remarks: tuple[str, ...] = ()
    destroyed: tuple[Kept, ...] = ()
    unseen: tuple[str, ...] = ()
    ways_down: tuple[DownFacts, ...] = ()
