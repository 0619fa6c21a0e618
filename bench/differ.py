"""The same question put to reladiff, which compares tables by checksums: what has changed?"""

import subprocess
import sys
import time
from pathlib import Path

import psycopg

from bench.bookings import Booked
from bench.figures import Figure, could_not, ratio
from bench.tools import INSTALL_TIMEOUT_S, TOOLS
from taly.database.checkpoint import copies

PACKAGE = "reladiff[postgresql]==0.6.0"
COLUMNS = ("starts_at", "price", "customer_id")
TITLE = "reladiff on one table ÷ ours on all three, nothing recorded"
TIMEOUT_S = 1800


def measure(made: Booked, ours_s: float) -> Figure:
    """Ours finds every change of every table; reladiff is asked for three columns of one."""
    command = _install()
    if isinstance(command, str):
        return could_not("g", TITLE, command, failed=False)
    template = made.checkpoint.manifest.backup.template
    with copies.scratch(made.target, template) as name:
        with psycopg.connect(made.target.url) as connection:
            [(count,)] = connection.execute("SELECT count(*) FROM bookings").fetchall()
        base = made.target.url.rpartition("/")[0]
        columns = [part for column in COLUMNS for part in ("-c", column)]
        began = time.perf_counter()
        done = subprocess.run(
            [
                *(str(command), made.target.url, "bookings", f"{base}/{name}", "bookings"),
                *("-k", "id", *columns, "--json"),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        seconds = time.perf_counter() - began
    found = done.stdout.count("\n")
    if done.returncode or not found:
        why = (done.stderr.strip().splitlines() or ["it found nothing"])[-1]
        return could_not("g", TITLE, f"reladiff: {why[:200]}", failed=False)
    return Figure(
        part="g",
        title=TITLE,
        value=ratio(seconds, ours_s),
        unit="×",
        note=f"{seconds:.1f} s against {ours_s:.1f} s; {count:,} rows in its table",
        measured={"reladiff_s": seconds, "ours_s": ours_s, "lines": found},
    )


def _install() -> Path | str:
    """The program; why not, in words."""
    folder = TOOLS / "reladiff-0.6.0"
    program = folder / "bin" / "reladiff"
    steps = [
        [sys.executable, "-m", "venv", str(folder)],
        [str(folder / "bin" / "pip"), "install", "--quiet", PACKAGE],
    ]
    try:
        for argv in [] if program.exists() else steps:
            subprocess.run(argv, check=True, capture_output=True, timeout=INSTALL_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        return f"it could not be installed: {error}"
    return program
