"""(f)–(i) The database goes back: time, finding what changed, how long writes wait, memory.

One generated booking database a size; every comparison is made on one server in one run.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from bench import bookings, differ
from bench.bookings import Booked
from bench.figures import Figure, growth, ratio
from taly.database.checkpoint.folder import DUMP
from taly.database.programs import client_environment, find_programs

RESTORE_GOAL, TEMPLATE_GOAL = 1.3, 0.4
RECORDED_GOAL, COMPARED_GOAL = 3.0, 15.0
PAUSE_GOAL_S, MEMORY_GOAL_MIB = 1.0, 200.0
TABLES = ("customers", "bookings", "payments")
TIMEOUT_S = 3600


def measure(sizes: Sequence[int], *, compared: bool = True) -> list[Figure]:
    """`sizes`: rows, ascending; the ratios are taken at the largest. `compared`: with reladiff."""
    taken = {rows: _template(rows, rows == sizes[-1], compared) for rows in sizes}
    largest = taken[sizes[-1]]
    dumped = _dump(sizes[-1])
    figures = [
        *_against_plain(sizes[-1], largest, dumped),
        *_finding(sizes[-1], largest),
    ]
    figures += [one["reladiff"] for one in taken.values() if "reladiff" in one]
    return [*figures, *_pauses(taken), _memory({**taken, "dump": dumped})]


def _against_plain(rows: int, template: dict[str, Any], dumped: dict[str, Any]) -> Iterator[Figure]:
    plain = dumped["plain_s"]
    for title, took, goal in (
        ("zero-loss restore ÷ plain pg_restore -j2", dumped["restore"], RESTORE_GOAL),
        ("the same from a template copy", template["restore"], TEMPLATE_GOAL),
    ):
        seconds, carried = took["seconds"], took["carried"] + took["rescued"]
        yield Figure(
            part="f",
            title=f"{title}, {rows:,} rows",
            value=ratio(seconds, plain),
            unit="×",
            goal=goal,
            note=f"{seconds:.1f} s against {plain:.1f} s; {carried:,} rows carried or rescued",
            measured={"plain_s": plain, **took},
        )


def _finding(rows: int, template: dict[str, Any]) -> Iterator[Figure]:
    scan = template["scan_s"]
    for title, key, goal, what in (
        (
            "finding what was written ÷ one scan of all tables",
            *("recorded", RECORDED_GOAL, "deletes are found by the proof's comparison"),
        ),
        ("the same without a recorded instant", "compared", COMPARED_GOAL, "deletes too"),
    ):
        took = template[key]
        yield Figure(
            part="g",
            title=f"{title}, {rows:,} rows",
            value=ratio(took["found_s"], scan),
            unit="×",
            goal=goal,
            note=f"{took['found_s']:.2f} s against {scan:.2f} s, {took['changes']:,} found; {what}",
            measured={"scan_s": scan, **took},
        )


def _pauses(taken: dict[int, dict[str, Any]]) -> Iterator[Figure]:
    pauses = {rows: one["restore"]["pause_s"] for rows, one in taken.items()}
    for rows, pause in pauses.items():
        yield Figure(
            part="h",
            title=f"how long writes wait, {rows:,} rows",
            value=pause,
            unit="s",
            goal=PAUSE_GOAL_S,
            note="from the moment writers wait until the databases have changed places",
            measured={"pause_s": pause},
        )
    if len(pauses) > 1:
        yield Figure(
            part="h",
            title="its growth with the rows (0 = flat)",
            value=growth(list(pauses), [max(0.01, one) for one in pauses.values()]),
            unit="",
            note="exponent of pause ~ rows^k",
            measured={str(rows): pause for rows, pause in pauses.items()},
        )


def _memory(taken: dict[Any, dict[str, Any]]) -> Figure:
    peaks = {str(key): one["restore"]["peak_mib"] for key, one in taken.items()}
    return Figure(
        part="i",
        title="peak memory of our process",
        value=max(peaks.values()),
        unit="MiB",
        goal=MEMORY_GOAL_MIB,
        note=", ".join(f"{key}: {peak:.0f}" for key, peak in peaks.items()),
        measured=peaks,
    )


def _template(rows: int, everything: bool, compared: bool) -> dict[str, Any]:
    with _place() as (url, folder):
        made = bookings.booked(url, folder, rows=rows, backup="template")
        found: dict[str, Any] = {}
        if everything:
            found["scan_s"] = scan_s(url)
            found["recorded"] = _ask(made, "find", recorded=True)
            found["compared"] = _ask(made, "find", recorded=False)
            if compared:
                found["reladiff"] = differ.measure(made, found["compared"]["found_s"])
        return {**found, "restore": _ask(made, "restore")}


def _dump(rows: int) -> dict[str, Any]:
    with _place() as (url, folder):
        made = bookings.booked(url, folder, rows=rows, backup="dump")
        return {"plain_s": plain_restore_s(made), "restore": _ask(made, "restore")}


@contextmanager
def _place() -> Iterator[tuple[str, Path]]:
    with tempfile.TemporaryDirectory(prefix="taly-bench-") as name:
        folder = Path(name)
        with bookings.server(folder / "server") as url:
            yield url, folder / "work"


def scan_s(url: str) -> float:
    """One sequential scan of every table by one process, read once before."""
    with psycopg.connect(url) as connection:
        connection.execute("SET max_parallel_workers_per_gather = 0")
        connection.execute("SET enable_indexonlyscan = off; SET enable_indexscan = off")
        for attempt in range(2):
            began = time.perf_counter()
            for table in TABLES:
                query = SQL("SELECT count(*), max(t.xmin::text) FROM {} t")
                connection.execute(query.format(Identifier(table))).fetchone()
            seconds = time.perf_counter() - began
            assert attempt or seconds > 0
        return seconds


def plain_restore_s(made: Booked) -> float:
    """What `pg_restore -j2` of the same dump takes, into an empty database."""
    with psycopg.connect(made.target.url, autocommit=True) as connection:
        programs = find_programs(connection.info.server_version)
        connection.execute("CREATE DATABASE plain TEMPLATE template0")
        began = time.perf_counter()
        command = [programs.path("pg_restore"), "--format=directory", "--jobs=2", "--no-password"]
        folder = str(made.checkpoint.path / DUMP)
        subprocess.run(
            [*command, "--no-owner", "--dbname=plain", folder],
            env=client_environment(made.target.url, "plain"),
            check=True,
            capture_output=True,
            timeout=TIMEOUT_S,
        )
        seconds = time.perf_counter() - began
        connection.execute("DROP DATABASE plain WITH (FORCE)")
    return seconds


def _ask(made: Booked, what: str, **more: object) -> dict[str, Any]:
    question = {
        "folder": str(made.folder),
        "checkpoint": made.checkpoint.name,
        "run": "run-bench",
        "names": [next(iter(bookings.MIGRATIONS))],
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-m", "bench.restored", what],
        input=json.dumps(question),
        env={**os.environ, "DATABASE_URL": made.target.url},
        text=True,
        capture_output=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-800:])
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
