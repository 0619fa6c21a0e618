"""Runs a command and says what it and all its children took."""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_S = 0.05
"""How often the memory of a command and its children is added up."""


class CommandFailed(Exception):
    """A command that is measured did not do its work: its time would mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """What one command took."""

    wall_s: float
    cpu_s: float
    """User and system time, that of children it waited for included."""
    peak_mib: float | None
    """The most memory that it and its children had together; None where it cannot be seen."""
    out: str
    err: str


def run(
    argv: Sequence[str], *, cwd: Path, environ: Mapping[str, str], timeout_s: float = 900.0
) -> Took:
    """Run a command to its end; CommandFailed unless it exits 0."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.perf_counter()
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        watch = _Memory(process.pid)
        last = threading.Timer(timeout_s, process.kill)
        last.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        last.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        peak_mib = watch.end()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    if process.returncode:
        said = (texts[1] or texts[0]).strip()[-800:]
        raise CommandFailed(f"{' '.join(argv[:4])}… exited {process.returncode}: {said}")
    return Took(
        wall_s=wall_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_mib=peak_mib,
        out=texts[0],
        err=texts[1],
    )


class _Memory:
    """Adds up the resident memory of a session's processes until it is told to end."""

    def __init__(self, session: int) -> None:
        self._session = session
        self._peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        if Path("/proc/self/stat").exists():
            self._thread.start()

    def end(self) -> float | None:
        """MiB at the peak."""
        self._stop.set()
        return round(self._peak / 1024**2, 1) if self._peak else None

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self._peak = max(self._peak, resident_bytes(self._session))


def resident_bytes(session: int) -> int:
    """What the processes of a session have in memory now, shared pages counted in each."""
    pages = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            # proc(5): after the name in brackets come state, parent, group, session; 22nd is rss.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            pages += int(fields[21])
    return pages * os.sysconf("SC_PAGE_SIZE")
