"""A database on RDS goes back through a temporary instance, and everything stands in the policy."""

import json
from collections.abc import Callable
from typing import Any

from taly.errors import ExitCode
from tests.e2e.bookings import counted
from tests.e2e.conftest import Sandbox
from tests.e2e.test_database_goes_back import sql, step, undone
from tests.e2e.test_rollback import body, release, roll_back, users_see

SPEED = 400.0
ONLY_SOMETIMES = {"rds:RestoreDBInstanceToPointInTime"}
BY_AWS = {"rds:AddTagsToResource"}
"""Asked of the caller by RDS itself, when what it makes is to have tags."""


def rds_of(box: Sandbox) -> dict[str, Any]:
    found: dict[str, Any] = box.control.state()["vendors"]["postgres"]["database"]["rds"]
    return found


def called(box: Sandbox, *, wrote: bool) -> set[str]:
    calls = [one for one in box.control.calls() if one["target"].startswith("RDS.")]
    return {f"rds:{one['target'][4:]}" for one in calls if one["wrote"] is wrote}


def test_an_rds_snapshot_takes_its_place_with_all_that_customers_booked(
    sandbox: Callable[..., Sandbox],
) -> None:
    box = sandbox("taly-rds", SPEED)
    checkpoints = body(box.taly("checkpoint", "list", "--json"))["checkpoints"]
    backup = checkpoints[0]["backup"]
    assert (backup["kind"], backup["instance"]) == ("rds-snapshot", "taly-production")
    assert rds_of(box)["snapshots"] == {backup["snapshot"]: "available"}

    run = roll_back(box, "--to", "R3")
    receipt = step(run, "restore")["receipt"]
    assert int(receipt["rescued"]) > 0
    assert set(rds_of(box)["instances"]) <= {"taly-production", f"taly-{run['run']}-database"}
    assert set(rds_of(box)["instances"].values()) <= {"available", "deleting"}
    assert sql(box, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [(False,)]
    users_see(box, release(box, "R3")["commit"])
    assert counted(box).whole

    proof = box.taly("checkpoint", "verify", checkpoints[0]["name"])
    assert proof.returncode == ExitCode.OK, proof.stderr
    assert "Restored, and equal" in proof.stderr

    undo = undone(box, run["run"])
    assert step(undo, "restore")
    assert counted(box).whole
    pruned = box.taly("checkpoint", "prune", "--keep", "0")
    assert pruned.returncode == ExitCode.OK, pruned.stderr
    assert rds_of(box)["snapshots"] == {}

    said = json.loads(box.taly("permissions", "--json").stdout)
    read, write = (
        {one for part in said[which]["Statement"] for one in part["Action"]}
        for which in ("read", "write")
    )
    reads, writes = called(box, wrote=False), called(box, wrote=True)
    assert reads - writes <= read
    assert writes <= write
    unused = {one for one in read | write if one.startswith("rds:")} - reads - writes
    assert unused == ONLY_SOMETIMES | BY_AWS
