"""Who holds a lease: a process, told apart from a later one that was given the same number."""

import getpass
import os
import socket
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from taly.model.events import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """One process of one person or CI job on one machine."""

    by: str
    """Operating-system user, or the CI identity."""
    host: str
    """The machine's name, for people."""
    machine: str
    """What tells this boot of this machine (and this container) from all others."""
    pid: int
    started: str
    """When the process began, as the operating system says: process numbers are used again."""
    identity: Identity = field(default_factory=Identity)
    """Who started it, for the audit trail; not kept beside the lease."""

    @classmethod
    def here(cls, by: str = "", identity: Identity | None = None) -> "Owner":
        """This process."""
        pid = os.getpid()
        return cls(
            by=by or getpass.getuser(),
            host=socket.gethostname(),
            machine=machine(),
            pid=pid,
            started=process_start(pid) or "",
            identity=identity or Identity(),
        )

    def is_dead(self) -> bool:
        """Whether the process surely runs no more; False where that cannot be seen from here."""
        return self.machine == machine() and process_start(self.pid) != self.started

    def __str__(self) -> str:
        return f"{self.by} on {self.host} (process {self.pid})"


@cache
def machine() -> str:
    """This boot and process-number space: a container's process 7 is not the host's."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux: no containers share process numbers there
        return f"{socket.gethostname()}/{os.getuid() if hasattr(os, 'getuid') else 0}"


def process_start(pid: int) -> str | None:
    """When that process began, as text to compare; None when there is none, or only its corpse."""
    if Path("/proc/self/stat").exists():
        return _linux_process_start(pid)
    said = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return said.stdout.strip() or None


def _linux_process_start(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # proc(5): the command's name stands in brackets and may hold anything, brackets too.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]
