"""A database that goes back like any other component: plan, rollback, undo, rollback again."""

import json
from collections.abc import Callable
from typing import Any

import psycopg

from taly.errors import ExitCode
from tests.e2e.conftest import Sandbox
from tests.e2e.test_rollback import body, release, roll_back, state_of, users_see

SPEED = 200.0
PRICED = """
INSERT INTO bookings (customer_id, starts_at, price_minor, currency)
SELECT 1, now(), 700 + n, 'EUR' FROM generate_series(1, 12) n
"""


def sql(box: Sandbox, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(box.environ["DATABASE_URL"], autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


def planned(box: Sandbox, *more: str) -> dict[str, Any]:
    done = box.taly("plan", "--to", "R3", "--json", *more)
    assert done.returncode in (ExitCode.OK, ExitCode.REFUSED), done.stderr
    return body(done)


def database_of(plan: dict[str, Any]) -> dict[str, Any]:
    parts = plan["plan"]["components"]
    found: dict[str, Any] = next(one for one in parts if one["component"] == "database")
    return found


def step(run: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in run["steps"] if one["kind"] == kind)
    assert (found["phase"], found["how"]) == ("done", "acted"), found
    return found


def undone(box: Sandbox, run: str) -> dict[str, Any]:
    done = box.taly("undo", run, "--yes", "--json")
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    return body(done)


def test_a_migration_is_reverted_undone_and_reverted_again(
    sandbox: Callable[..., Sandbox],
) -> None:
    box = sandbox("breaking-migration", SPEED)
    before = state_of(box)
    sql(box, PRICED)
    bookings = sql(box, "SELECT id, price_minor, currency FROM bookings ORDER BY id")

    plan = planned(box)
    seen = database_of(plan)["database"]
    assert seen["verdict"] == "revert"
    assert [way["possible"] for way in seen["ways"]] == [True, True, False]
    assert seen["counts"][0]["written"] == 12
    assert not plan["refused"]

    run = roll_back(box, "--to", "R3")
    assert step(run, "revert")["receipt"]["rescued"] == "12"
    assert box.taly("rescue", "show", run["run"]).returncode == ExitCode.OK
    assert sql(box, "SELECT id, price_cents FROM bookings ORDER BY id") == [
        (key, price) for key, price, _ in bookings
    ]
    users_see(box, release(box, "R3")["commit"])

    undo = undone(box, run["run"])
    assert step(undo, "apply")
    assert sql(box, "SELECT id, price_minor, currency FROM bookings ORDER BY id") == bookings
    assert state_of(box) == before

    again = roll_back(box, "--to", "R3")
    assert step(again, "revert")["receipt"]["rescued"] == "12"
    users_see(box, release(box, "R3")["commit"])


def test_a_backup_takes_its_place_and_gives_it_back(sandbox: Callable[..., Sandbox]) -> None:
    box = sandbox("taly-small-back", SPEED)
    before = state_of(box)
    plan = planned(box)
    seen = database_of(plan)["database"]
    assert seen["verdict"] == "restore"
    assert seen["checkpoint"]
    assert seen["backup_at"]
    assert {one["table"]: one["rescued"] > 0 for one in seen["counts"]} == {
        "public.bookings": True,
        "public.refunds": True,
    }
    assert "waitlisted" in next(way["why"] for way in seen["ways"] if way["verdict"] == "revert")

    run = roll_back(box, "--to", "R3")
    receipt = step(run, "restore")["receipt"]
    assert int(receipt["rescued"]) > 0
    users_see(box, release(box, "R3")["commit"])
    status = body(box.taly("database", "status", "--json"))
    assert [one["run"] for one in status["put_aside"]] == [run["run"]]

    undo = undone(box, run["run"])
    assert step(undo, "restore")
    assert state_of(box) == before
    assert sql(box, "SELECT count(*) FROM refunds")[0][0] > 0

    again = roll_back(box, "--to", "R3")
    assert step(again, "restore")
    users_see(box, release(box, "R3")["commit"])
    forgotten = box.taly("forget", again["run"], "--yes", "--json")
    assert forgotten.returncode == ExitCode.OK, forgotten.stderr
    assert json.loads(forgotten.stdout)["databases"][0]["component"] == "database"
    late = box.taly("undo", again["run"], "--yes")
    assert late.returncode == ExitCode.REFUSED, late.stdout
    assert box.taly("forget", again["run"], "--yes").returncode == ExitCode.USAGE


def test_a_way_that_cannot_be_gone_is_refused_and_says_what_is_missing(
    sandbox: Callable[..., Sandbox],
) -> None:
    box = sandbox("breaking-migration", SPEED, shared=True)
    done = box.taly("rollback", "--to", "R3", "--database", "restore", "--yes")
    assert done.returncode == ExitCode.REFUSED
    said = done.stdout + done.stderr
    assert "database-way-impossible" in said
    assert "there is no checkpoint" in " ".join(said.split())
    assert box.control.writes() == []


def test_keeping_what_breaks_is_said_and_typed_again(sandbox: Callable[..., Sandbox]) -> None:
    box = sandbox("breaking-migration", SPEED, shared=True)
    done = box.taly("plan", "--to", "R3", "--database", "keep")
    assert done.returncode == ExitCode.OK
    assert "database-kept-anyway" in done.stdout
    assert "taly rollback --to R3 --database keep" in done.stderr
    assert box.control.writes() == []
