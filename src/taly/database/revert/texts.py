"""What was applied: migration.sql from the checkout, else from a checkpoint's copy of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from taly.database.checkpoint.folder import MIGRATIONS, Checkpoint
from taly.database.checkpoint.pending import DOWN, UP
from taly.database.files import checksums
from taly.errors import VendorRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A migration's text, proved by its checksum, and the team's own way down beside it."""

    sql: str
    down: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Where texts can be had, best first."""

    directory: Path | None
    checkpoints: Sequence[Checkpoint]

    def find(self, name: str, checksum: str) -> Script | None:
        """The text with that checksum; None when nobody has it."""
        if Path(name).name != name:  # the name comes from the database: no way out of here
            return None
        for folder in self._folders(name):
            data = _read(folder / UP)
            if data is not None and checksum in checksums(data):
                down = _read(folder / DOWN)
                text = (down or b"").decode("utf-8-sig", errors="replace")
                sql = data.decode("utf-8-sig", errors="replace")
                return Script(sql=sql, down=text if text.strip() else None)
        return None

    def need(self, name: str, checksum: str) -> Script:
        """The text with that checksum; VendorRefused when nobody has it."""
        found = self.find(name, checksum)
        if found is not None:
            return found
        if any((folder / UP).is_file() for folder in self._folders(name)):
            raise VendorRefused(
                f"{name}: migration.sql is not what was applied: its checksum differs",
                reference="migration-checksum-differs",
                hint=f"git log -p -- {self.directory}/{name}/migration.sql",
            )
        raise VendorRefused(
            f"{name}: its migration.sql is not there ({self.directory or 'no directory is set'})",
            reference="migration-text-missing",
            hint="check out the commit that is live, then: taly plan",
        )

    def _folders(self, name: str) -> Iterator[Path]:
        if self.directory is not None:
            yield self.directory / name
        for checkpoint in self.checkpoints:
            yield checkpoint.path / MIGRATIONS / name


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
