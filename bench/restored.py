"""A restore, or only its finding of changes, in a process of its own whose memory is its own.

`python -m bench.restored restore|find` reads a question as JSON and answers what it took.
"""

import json
import os
import re
import resource
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from taly.clock import SystemClock
from taly.database.carry import Carry, Since
from taly.database.carry.moving import Move
from taly.database.carry.work import Work
from taly.database.checkpoint import copies
from taly.database.checkpoint.catalog_file import BEFORE, read_catalog_file
from taly.database.checkpoint.folder import named
from taly.database.connection import Target, target_of
from taly.database.ledger import digest
from taly.database.rescue.bundle import Bundle
from taly.database.restore import restore
from taly.database.restore.carryover import see
from taly.model.plan import Step, StepKind
from taly.planning.carry import correspond, pairs

STATUS = Path("/proc/self/status")


class Timed:
    """Adds up the seconds that a method of `Move` takes, by table."""

    def __init__(self, name: str) -> None:
        self.by_table: dict[str, float] = {}
        method = getattr(Move, name)

        def timed(move: Move, work: Work) -> Any:
            began = time.perf_counter()
            try:
                return method(move, work)
            finally:
                took = time.perf_counter() - began
                self.by_table[work.label] = self.by_table.get(work.label, 0.0) + took

        setattr(Move, name, timed)

    @property
    def seconds(self) -> float:
        """Of all tables."""
        return sum(self.by_table.values())


def restored(said: dict[str, Any]) -> dict[str, Any]:
    """Go back to the checkpoint: seconds in all, seconds for which writes waited, memory."""
    folder = Path(said["folder"])
    target = target_of({}, os.environ)
    address = {
        "url_env": "DATABASE_URL",
        "schema": "public",
        "place": target.place,
        "directory": str(folder / "migrations"),
        "checkpoints": str(folder / "checkpoints"),
        "rescue": str(folder / "rescue"),
        "hints": "",
        "checkpoint": said["checkpoint"],
    }
    step = Step(
        id="restore:database",
        kind=StepKind.RESTORE,
        component="database",
        provider="postgres",
        title="restore",
        address=address,
        wanted={"migrations": digest(said["names"])},
    )
    began = time.perf_counter()
    key = f"{said['run']}:{step.id}"
    receipt = restore(step, key, environ=os.environ, clock=SystemClock())
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "pause_s": float(receipt["pause_s"]),
        "carried": int(receipt["carried"]),
        "rescued": int(receipt["rescued"]),
        "peak_mib": peak_mib(),
    }


def peak_mib() -> float:
    """The most memory that this process had.

    Where the system tells it from its status file: `ru_maxrss` starts from what the process that
    started us had then, which for a benchmark is more than our own.
    """
    if STATUS.is_file():
        [peak] = re.findall(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
        return round(int(peak) / 1024, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def found(said: dict[str, Any]) -> dict[str, Any]:
    """Find the changes against a copy of the backup, with the recorded instant or without."""
    checkpoint = named(Path(said["folder"]) / "checkpoints", said["checkpoint"])
    target = target_of({}, os.environ)
    manifest, after = checkpoint.manifest, checkpoint.after
    since = None
    if said["recorded"]:
        assert after is not None, "the window was closed"
        since = Since(
            xmin=manifest.instant.xmin,
            window_end=after.instant.xmin,
            snapshot=manifest.instant.snapshot,
        )
    with copies.scratch(target, manifest.backup.template) as name:
        side = _at(target, name)
        live = see(target).catalog
        before = read_catalog_file(checkpoint.path / BEFORE)
        matched = pairs(before, live, same_database=True, texts=(), schema="public")
        bundle = Bundle.begin(
            Path(said["folder"]) / "found",
            run="run-find",
            step="find",
            component="database",
            environment="bench",
            place=target.place,
            now=datetime.now(UTC),
        )
        written, compared = Timed("stage_since"), Timed("compare")
        carry = Carry(
            target,
            side,
            correspond(live, see(side).catalog, matched),
            since,
            bundle,
            name="taly_carry_find",
            schema_of_ledger="public",
        )
        try:
            carry.begin()
            passed = carry.first_pass()
        finally:
            carry.end()
            bundle.discard()
    return {
        "found_s": written.seconds if since is not None else compared.seconds,
        "compared_s": compared.seconds,
        "by_table": compared.by_table,
        "changes": passed.changes,
        "first_pass_s": passed.seconds,
    }


def _at(target: Target, database: str) -> Target:
    url = target.url.rpartition("/")[0] + f"/{database}"
    return target_of({"url_env": "SIDE"}, {"SIDE": url})


if __name__ == "__main__":
    ask = {"restore": restored, "find": found}[sys.argv[1]]
    json.dump(ask(json.load(sys.stdin)), sys.stdout)
