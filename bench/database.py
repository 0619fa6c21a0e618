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
from taly.database.checkpoint.manifest import Backup
from taly.database.programs import client_environment, find_programs
from taly.database.restore.names import aside_name
from taly.database.restore.places import database_of

RESTORE_GOAL, TEMPLATE_GOAL = 1.3, 0.4
RECORDED_GOAL, COMPARED_GOAL = 3.0, 15.0
PAUSE_GOAL_S, MEMORY_GOAL_MIB = 1.0, 200.0
TABLES = ("customers", "bookings", "payments")
TIMEOUT_S = 600


def measure(sizes: Sequence[int], *, compared: bool = True) -> list[Figure]:
    """`sizes`: rows, ascending; the ratios are taken at the largest. `compared`: with reladiff."""
    taken = {rows: _paused(rows) for rows in sizes[:-1]}
    largest = _everything(sizes[-1], compared)
    taken[sizes[-1]] = largest["template"]
    figures = [*_against_plain(sizes[-1], largest), *_finding(sizes[-1], largest)]
    figures += [largest["reladiff"]] if compared else []
    return [*figures, *_pauses(taken), _memory({**taken, "dump": largest["dump"]})]


def _against_plain(rows: int, found: dict[str, Any]) -> Iterator[Figure]:
    plain = found["plain_s"]
    for title, took, goal in (
        ("zero-loss restore ÷ plain pg_restore -j2", found["dump"], RESTORE_GOAL),
        ("the same from a template copy", found["template"], TEMPLATE_GOAL),
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


def _finding(rows: int, found: dict[str, Any]) -> Iterator[Figure]:
    scan = found["scan_s"]
    for title, key, goal, what in (
        (
            "finding what was written ÷ one scan of all tables",
            *("recorded", RECORDED_GOAL, "deletes are found by the proof's comparison"),
        ),
        ("the same without a recorded instant", "compared", COMPARED_GOAL, "deletes too"),
    ):
        took = found[key]
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
    pauses = {rows: one["pause_s"] for rows, one in taken.items()}
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
    peaks = {str(key): one["peak_mib"] for key, one in taken.items()}
    return Figure(
        part="i",
        title="peak memory of our process",
        value=max(peaks.values()),
        unit="MiB",
        goal=MEMORY_GOAL_MIB,
        note=", ".join(f"{key}: {peak:.0f}" for key, peak in peaks.items()),
        measured=peaks,
    )


def _paused(rows: int) -> dict[str, Any]:
    """Only a restore, for its pause and its memory."""
    with _place() as (url, folder):
        made = bookings.booked(url, folder, rows=rows, backups=("template",))
        return _ask(made, "template", "restore", run="run-bench")


def _everything(rows: int, compared: bool) -> dict[str, Any]:
    """All that is measured on one database, which is put back as it was in between."""
    with _place() as (url, folder):
        made = bookings.booked(url, folder, rows=rows, backups=("template", "dump"))
        found: dict[str, Any] = {"scan_s": scan_s(url)}
        found["recorded"] = _ask(made, "template", "find", recorded=True)
        found["compared"] = _ask(made, "template", "find", recorded=False)
        if compared:
            found["reladiff"] = differ.measure(made, found["compared"]["by_table"])
        found["template"] = _ask(made, "template", "restore", run="run-copied")
        _put_back(made, "run-copied")
        found["plain_s"] = plain_restore_s(made)
        found["dump"] = _ask(made, "dump", "restore", run="run-dumped")
        return found


def _put_back(made: Booked, run: str) -> None:
    """The database that a run put aside in its place again: the very one, as it was left."""
    live = database_of(made.target)
    aside = Identifier(aside_name(live, run))
    url = made.target.url.rpartition("/")[0] + "/postgres"
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in (
            SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(live)),
            SQL("ALTER DATABASE {} RENAME TO {}").format(aside, Identifier(live)),
            SQL("COMMENT ON DATABASE {} IS NULL").format(Identifier(live)),
            SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(Identifier(live)),
        ):
            connection.execute(statement)


@contextmanager
def _place() -> Iterator[tuple[str, Path]]:
    with tempfile.TemporaryDirectory(prefix="taly-bench-") as name:
        folder = Path(name)
        with bookings.server(folder / "server") as url:
            yield url, folder / "work"


def scan_s(url: str) -> float:
    """One sequential scan of every table by one process, once they have been read before."""
    with psycopg.connect(url) as connection:
        connection.execute("SET max_parallel_workers_per_gather = 0")
        connection.execute("SET enable_indexonlyscan = off; SET enable_indexscan = off")
        _scan(connection)
        began = time.perf_counter()
        _scan(connection)
        return time.perf_counter() - began


def _scan(connection: psycopg.Connection) -> None:
    for table in TABLES:
        query = SQL("SELECT count(*), max(t.xmin::text) FROM {} t")
        connection.execute(query.format(Identifier(table))).fetchone()


def plain_restore_s(made: Booked) -> float:
    """What `pg_restore -j2` of the same dump takes, into an empty database."""
    with psycopg.connect(made.target.url, autocommit=True) as connection:
        programs = find_programs(connection.info.server_version)
        connection.execute("CREATE DATABASE plain TEMPLATE template0")
        began = time.perf_counter()
        command = [programs.path("pg_restore"), "--format=directory", "--jobs=2", "--no-password"]
        folder = str(made.checkpoints["dump"].path / DUMP)
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


def _ask(made: Booked, backup: Backup, what: str, **more: object) -> dict[str, Any]:
    question = {
        "folder": str(made.folder),
        "checkpoint": made.checkpoints[backup].name,
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
