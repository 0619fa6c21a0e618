"""The checkout's migrations against the ledger: which are about to be applied, and their texts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from taly.database.checkpoint.folder import MIGRATIONS, write_file
from taly.database.checkpoint.manifest import MigrationText
from taly.database.files import checksums, refuse_prisma_8
from taly.database.ledger import Ledger
from taly.errors import UsageError
from taly.planning.migrations.losses import Losses, losses

UP = "migration.sql"
DOWN = "down.sql"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A migration of the checkout."""

    name: str
    data: bytes
    down: bytes | None
    """The team's own way back."""
    pending: bool
    as_applied: bool
    """Whether the ledger's checksum is this text's; also True for a pending one."""

    @property
    def text(self) -> str:
        """The text as the parser reads it."""
        return self.data.decode("utf-8-sig", errors="replace")


def scripts(directory: Path, ledger: Ledger) -> tuple[Script, ...]:
    """Every migration of the checkout, in the order in which they are applied.

    Pending is what `migrate deploy` would apply: whatever has no row that counts. Raises UsageError
    when there is no such directory: else a wrong path would look like nothing to do.
    """
    if not directory.is_dir():
        raise UsageError(
            f"there is no migrations directory {directory}",
            reference="migrations-missing",
            hint="set `migrations` of the database's component in taly.toml",
        )
    refuse_prisma_8(directory)
    rows = {row.name: row for row in ledger.rows if row.rolled_back_at is None}
    found = []
    for file in sorted(directory.glob(f"*/{UP}")):
        name, data = file.parent.name, file.read_bytes()
        down = file.with_name(DOWN)
        row = rows.get(name)
        found.append(
            Script(
                name=name,
                data=data,
                down=down.read_bytes() if down.is_file() else None,
                pending=row is None,
                as_applied=row is None or row.checksum in checksums(data),
            )
        )
    return tuple(found)


def keep(found: Sequence[Script], folder: Path) -> tuple[MigrationText, ...]:
    """Copy the texts into the checkpoint: a checkout may be gone when they are needed."""
    kept = []
    for script in found:
        place = folder / MIGRATIONS / script.name
        write_file(place / UP, script.data)
        if script.down is not None:
            write_file(place / DOWN, script.down)
        kept.append(
            MigrationText(
                name=script.name,
                checksum=hashlib.sha256(script.data).hexdigest(),
                pending=script.pending,
                team_down=script.down is not None,
            )
        )
    return tuple(kept)


def about_to_be_lost(found: Sequence[Script]) -> Losses:
    """What the pending ones destroy."""
    return losses(
        [script.text for script in found if not script.pending],
        [(script.name, script.text) for script in found if script.pending],
    )
