"""The same question put to reladiff, which compares tables by checksums: what has changed?"""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psycopg

from bench.bookings import Booked
from bench.figures import Figure, could_not, ratio
from bench.tools import INSTALL_TIMEOUT_S, TOOLS
from taly.database.checkpoint import copies

PACKAGE = "reladiff[postgresql]==0.6.0"
COLUMNS = ("starts_at", "price", "customer_id")
TABLE = "bookings"
TITLE = f"reladiff ÷ ours on one table ({TABLE}), nothing recorded"
TIMEOUT_S = 240


def measure(made: Booked, ours: Mapping[str, float]) -> Figure:
    """`ours`: seconds by table. Ours compares all columns; reladiff is asked for three."""
    command, ours_s = _install(), ours[f"public.{TABLE}"]
    if isinstance(command, str):
        return could_not("g", TITLE, command, failed=False)
    template = made.checkpoints["template"].manifest.backup.template
    with copies.scratch(made.target, template) as name:
        with psycopg.connect(made.target.url) as connection:
            [(count,)] = connection.execute(f"SELECT count(*) FROM {TABLE}").fetchall()
        base = made.target.url.rpartition("/")[0]
        columns = [part for column in COLUMNS for part in ("-c", column)]
        began = time.perf_counter()
        try:
            done = subprocess.run(
                [
                    *(str(command), made.target.url, TABLE, f"{base}/{name}", TABLE),
                    *("-k", "id", *columns, "--json"),
                ],
                capture_output=True,
                text=True,
                check=False,
                timeout=TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            why = f"reladiff took more than {TIMEOUT_S:,} s; ours {ours_s:.1f} s"
            return could_not("g", TITLE, why, failed=False)
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
        note=f"{seconds:.1f} s for {len(COLUMNS)} columns against {ours_s:.1f} s for all of them; "
        f"{count:,} rows",
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
