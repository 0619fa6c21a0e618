"""PostgreSQL's client programs: which `pg_dump` fits the server, and how it is run."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from taly.errors import UsageError
from taly.installations import embedded, installed

ASK_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """One directory with `pg_dump` and `pg_restore`."""

    directory: Path
    version: str
    """E.g. `15.8`."""
    major: int

    def path(self, name: str) -> str:
        """The path of one of the programs."""
        return str(self.directory / name)


def find_programs(server_version: int, directories: Iterator[Path] | None = None) -> Programs:
    """The programs of the server's own major version, else of the next newer one.

    `server_version` as libpq gives it, e.g. 150008. An older `pg_dump` refuses a newer server; a
    newer one works, but what it writes may hold settings that this server does not know.

    Raises UsageError that names every place looked at.
    """
    wanted = server_version // 10_000
    found: list[Programs] = []
    looked: list[str] = []
    for directory in directories if directories is not None else _directories():
        if str(directory) in looked:
            continue
        looked.append(str(directory))
        programs = _programs(directory)
        if programs is not None:
            found.append(programs)
            if programs.major == wanted:
                return programs
    newer = sorted((one for one in found if one.major > wanted), key=lambda one: one.major)
    if newer:
        return newer[0]
    raise _missing(wanted, found, looked)


def _missing(wanted: int, found: list[Programs], looked: list[str]) -> UsageError:
    hint = "taly checkpoint --backup template   (or --backup none)"
    if found:
        newest = max(found, key=lambda one: one.major)
        return UsageError(
            f"the server is PostgreSQL {wanted}, and the newest pg_dump here is {newest.version},"
            f" in {newest.directory}: it refuses a newer server",
            reference="pg-dump-too-old",
            hint=hint,
        )
    places = "\n".join(f"  {place}" for place in looked) or "  PATH"
    return UsageError(
        f"there is no pg_dump on this machine; looked on PATH and in the usual places:\n{places}",
        reference="pg-dump-missing",
        hint=hint,
    )


def _directories() -> Iterator[Path]:
    yield from installed("pg_dump")
    wheel = embedded()
    if wheel is not None:
        yield wheel


def _programs(directory: Path) -> Programs | None:
    if not (directory / "pg_restore").exists():
        return None
    try:
        done = subprocess.run(
            [str(directory / "pg_dump"), "--version"],
            capture_output=True,
            text=True,
            check=True,
            timeout=ASK_TIMEOUT_S,
            env={"LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"(\d+)(?:\.\d+)*\S*", done.stdout)
    return (
        Programs(directory=directory, version=match.group(0), major=int(match.group(1)))
        if match
        else None
    )


def client_environment(url: str, database: str = "") -> dict[str, str]:
    """The environment in which a client program reaches the database of that URL.

    Everything goes that way, the password too: arguments can be read by everybody on the machine.
    """
    known = {
        option.keyword.decode(): option.envvar.decode()
        for option in psycopg.pq.Conninfo.get_defaults()
        if option.envvar is not None
    }
    given = conninfo_to_dict(url)
    if database:
        given["dbname"] = database
    named: Mapping[str, str] = {
        known[key]: str(value) for key, value in given.items() if key in known and value is not None
    }
    return {**os.environ, "LC_ALL": "C", "PGAPPNAME": "taly", **named}
