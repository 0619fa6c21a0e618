"""The sandbox's CI makes checkpoints with the real taly; its customers keep booking meanwhile."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import psycopg
import pytest

from taly.errors import ExitCode, UsageError
from taly.sandbox.platform import Platform
from taly.sandbox.scenario_file import parse
from tests.e2e.conftest import Sandbox, until
from tests.e2e.test_json_docs import check

pytestmark = pytest.mark.xdist_group("sandbox-writers")  # they share a sandbox
COMMIT = "fd7a5211ed54b193cb59b6986d67f8f1bebcf73d"
SCENARIO = """
name = "booked"
description = "A backend whose customers book while a migration takes a column away."
speed = 100
writers = 2

[[components]]
name = "database"
vendor = "postgres"
settings = { bookings = 120 }

[[components]]
name = "backend"
vendor = "apprunner"
after = ["database"]

[[deploys]]
at = "-1d"
commit = "1111111"

[[deploys]]
at = "-40m"
commit = "fd7a5211ed54b193cb59b6986d67f8f1bebcf73d"
[deploys.settings.database]
checkpoint = "dump"
migration = { name = "20250203101500_price", sql = 'ALTER TABLE bookings DROP COLUMN created_at;' }
"""
Factory = Callable[..., Sandbox]


def acknowledged(box: Sandbox) -> list[dict[str, Any]]:
    return [one for one in box.control.writers() if one["outcome"] == "acknowledged"]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_the_checkpoint_of_the_past_was_made_by_ci_is_listed_and_verifies(
    sandbox: Factory,
) -> None:
    box = sandbox(SCENARIO, shared=True)
    listed = json.loads(box.taly("checkpoint", "list", "--json").stdout)["checkpoints"]
    assert len(listed) == 1
    made = listed[0]
    assert made["commit"] == COMMIT
    assert made["pending"] == made["after"]["applied"] == ["20250203101500_price"]
    assert {one["table"]: one["rows"] for one in made["destroyed"]} == {"bookings": 120}
    with psycopg.connect(box.environ["DATABASE_URL"]) as connection:
        started, finished = connection.execute(
            "SELECT started_at, finished_at FROM _prisma_migrations"
            " WHERE migration_name = '20250203101500_price'"
        ).fetchone() or (None, None)
    assert at(made["made_at"]) < started < finished <= at(made["after"]["made_at"])
    assert (started - at(made["made_at"])).total_seconds() < 120, "on the sandbox's own clock"
    proof = box.taly("checkpoint", "verify", made["name"])
    assert proof.returncode == ExitCode.OK, proof.stderr


def test_what_the_customers_were_told_is_in_the_database(sandbox: Factory) -> None:
    box = sandbox(SCENARIO, shared=True)
    box.control.set_writers(2)  # they rest after each test that shared the sandbox
    until(lambda: len(acknowledged(box)) >= 6, what="bookings come in")
    with psycopg.connect(box.environ["DATABASE_URL"]) as connection:
        ids = {row for (row,) in connection.execute("SELECT id FROM bookings")}
    booked = [one for one in acknowledged(box)[:6] if one["kind"] == "book"]
    assert booked
    assert {one["id"] for one in booked} <= ids
    log = (box.directory / "writers.jsonl").read_text().splitlines()
    numbers = [json.loads(line)["number"] for line in log]
    assert numbers == list(range(1, len(numbers) + 1))


def test_customers_are_shown_and_sent_home_by_the_command_line(sandbox: Factory) -> None:
    box = sandbox(SCENARIO)
    until(lambda: acknowledged(box), what="bookings come in")
    check("writers", json.loads(box.taly("sandbox", "writers", "--json").stdout))
    shown = box.taly("sandbox", "writers", "--count", "0")
    assert shown.returncode == ExitCode.OK, shown.stderr
    assert "0 customers are booking." in shown.stdout
    before = len(box.control.writers())
    box.taly("status")
    assert len(box.control.writers()) == before
    assert box.control.set_writers(3) == 3
    until(lambda: len(box.control.writers(before)) > 3, what="they book again")


def test_a_late_push_whose_checkpoint_fails_stops_before_the_migration(sandbox: Factory) -> None:
    box = sandbox(SCENARIO)
    settings = {
        "database": {
            "checkpoint": "dump",
            "migration": {"name": "20250909101500_more", "sql": "CREATE TABLE more (id int);"},
        }
    }
    with psycopg.connect(box.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(72707369)")  # another deploy is at it
        box.control.push("abcdef1", components=["database"], settings=settings)
    deploys = box.control.state()["vendors"]["postgres"]["database"]["deploys"]
    assert deploys[-1]["code"] == "stopped"
    assert "deploy" in deploys[-1]["said"]
    with psycopg.connect(box.environ["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT to_regclass('more')").fetchone() == (None,)


def test_a_migration_that_was_taken_back_does_not_come_again_unchanged(sandbox: Factory) -> None:
    """Prisma would apply it: to it, a row that was rolled back is as none."""
    box = sandbox(SCENARIO)
    with psycopg.connect(box.environ["DATABASE_URL"]) as connection:
        connection.execute("ALTER TABLE bookings ADD created_at timestamp")
        connection.execute(
            "UPDATE _prisma_migrations SET rolled_back_at = now()"
            " WHERE migration_name = '20250203101500_price'"
        )
    box.control.push(COMMIT)
    deploys = box.control.state()["vendors"]["postgres"]["database"]["deploys"]
    assert (deploys[-1]["code"], deploys[-1]["applied"]) == ("stopped", [])
    refused = box.taly("checkpoint", "--json")
    assert refused.returncode == ExitCode.REFUSED
    assert "migration-taken-back" in refused.stderr
    assert "20250203101500_price" in refused.stderr
    assert box.taly("checkpoint", "--again").returncode == ExitCode.OK
    file = box.directory / "prisma" / "migrations" / "20250203101500_price" / "migration.sql"
    file.write_text(file.read_text() + "-- mended\n", "utf-8")
    assert box.taly("checkpoint").returncode == ExitCode.OK


def test_a_checkpoint_of_the_past_that_fails_is_no_sandbox(tmp_path: Any) -> None:
    text = SCENARIO.replace('checkpoint = "dump"', 'checkpoint = "photograph"')
    platform = Platform(parse(text, where="test"), tmp_path)
    with pytest.raises(UsageError, match="photograph") as caught:
        platform.up()
    assert caught.value.reference == "scenario-checkpoint"


def test_where_there_is_nowhere_to_book_a_scenario_with_writers_is_refused(
    sandbox: Factory,
) -> None:
    text = 'name = "w"\ndescription = "d"\nwriters = 1\n[[components]]\nname = "a"\nvendor = "{}"'
    with pytest.raises(UsageError, match="writers: they need a component of vendor postgres"):
        parse(text.format("apprunner"), where="mine.toml")
    with pytest.raises(UsageError, match="vendor apprunner and one of postgres"):
        parse(text.format("vercel"), where="mine.toml")
