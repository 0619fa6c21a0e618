"""pg_dump and pg_restore: found on this machine, and new enough for the server."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

USUAL_PLACES = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu: the newest is not always on PATH
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/*/bin",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """One installation's programs."""

    pg_dump: str
    pg_restore: str
    major: int


def find_tools(server_version: int) -> Tools | None:
    """The first pg_dump that is not older than the server; None when there is none.

    `server_version` as `server_version_num` has it. pg_dump refuses a newer server than itself.
    """
    wanted = server_version // 10_000
    for directory in _directories():
        tools = _tools(directory)
        if tools is not None and tools.major >= wanted:
            return tools
    return None


def _directories() -> list[Path]:
    on_path = shutil.which("pg_dump")
    first = [Path(on_path).parent] if on_path else []
    usual = [path for pattern in USUAL_PLACES for path in Path("/").glob(pattern.lstrip("/"))]
    return [*first, *sorted(usual)]


def _tools(directory: Path) -> Tools | None:
    dump, restore = directory / "pg_dump", directory / "pg_restore"
    if not restore.exists():
        return None
    try:
        done = subprocess.run(
            [str(dump), "--version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"(\d+)", done.stdout)
    if found is None:
        return None
    return Tools(pg_dump=str(dump), pg_restore=str(restore), major=int(found[1]))
