"""`taly checkpoint` as CI runs it: before the migration, behind it, and proved."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.e2e.conftest import Sandbox

pytestmark = pytest.mark.xdist_group("checkpoint-cli")  # they share a sandbox

NAME = "20250505120000_one_price"
SQL = """
ALTER TYPE "booking_status" ADD VALUE 'no_show';
CREATE TABLE "tips" ("id" SERIAL PRIMARY KEY, "cents" INTEGER NOT NULL);
ALTER TABLE "customers" RENAME COLUMN "name" TO "full_name";
ALTER TABLE "bookings" DROP COLUMN "channel";
UPDATE "bookings" SET "price_cents" = "price_cents" * 10;
"""
COMMIT = "ba5eba11ba5eba11ba5eba11ba5eba11ba5eba11"
Factory = Callable[..., Sandbox]


def migrations(box: Sandbox) -> Path:
    return box.directory / "prisma" / "migrations"


def test_before_the_migration_behind_it_and_proved(sandbox: Factory) -> None:
    box = sandbox("taly-small")
    folder = migrations(box) / NAME
    folder.mkdir()
    (folder / "migration.sql").write_text(SQL, "utf-8")

    made = box.taly("checkpoint", GITHUB_SHA=COMMIT)
    assert made.returncode == 0, made.stderr
    name = made.stdout.strip()
    assert name.startswith(COMMIT[:12])
    assert "1 migration is pending" in made.stderr
    assert "drops channel" in made.stderr
    assert "overwrites price_cents" in made.stderr
    assert f"way down of {NAME}" in made.stderr
    assert "taly checkpoint --after" in made.stderr
    assert "SANDBOXSECRET" not in made.stdout + made.stderr

    migration = {"name": NAME, "sql": SQL}
    box.control.push(
        COMMIT, components=["database"], settings={"database": {"migration": migration}}
    )
    closed = box.taly("checkpoint", "--after")
    assert closed.returncode == 0, closed.stderr
    assert "1 migration is applied in it" in closed.stderr

    listed = json.loads(box.taly("checkpoint", "list", "--json").stdout)
    [one] = listed["checkpoints"]
    assert one["name"] == name
    assert one["pending"] == one["after"]["applied"] == [NAME]
    assert {kept["table"]: kept["columns"] for kept in one["destroyed"]} == {
        "bookings": ["id", "price_cents", "channel"]
    }

    proof = box.taly("checkpoint", "verify", name)
    assert proof.returncode == 0, proof.stderr
    assert "Restored, and equal" in proof.stderr

    path = Path(one["path"])
    for file in (path / one["destroyed"][0]["file"], max(path.glob("dump/*.gz"))):
        whole = file.read_bytes()
        file.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        broken = box.taly("checkpoint", "verify", name)
        assert broken.returncode == 5
        assert "checkpoint-damaged" in broken.stderr
        assert file.name in broken.stderr
        file.write_bytes(whole)

    gone = box.taly("checkpoint", "prune", "--keep", "0")
    assert gone.returncode == 0, gone.stderr
    assert f"removed {name}" in gone.stderr
    assert "no checkpoints yet" in box.taly("checkpoint", "list").stdout


@pytest.fixture
def quiet(sandbox: Factory) -> Iterator[Sandbox]:
    box = sandbox("taly-small", shared=True)
    yield box
    box.taly("checkpoint", "prune", "--keep", "0")


def test_a_ci_that_is_cancelled_leaves_nothing(
    quiet: Sandbox, eventually: Callable[..., None]
) -> None:
    base = quiet.directory / ".taly" / "checkpoints"
    with psycopg.connect(quiet.environ["DATABASE_URL"]) as connection:
        connection.execute('LOCK TABLE "bookings" IN ACCESS EXCLUSIVE MODE')  # it has to wait
        with quiet.start_taly("checkpoint", "--no-trial") as process:
            eventually(lambda: list(base.glob(".partial-*/.lock")), what="it has begun")
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert list(base.iterdir()) == []


def test_a_name_that_is_unknown_is_refused_with_those_that_there_are(quiet: Sandbox) -> None:
    made = quiet.taly("checkpoint", "--backup", "none", "--label", "v 7/é", "--no-trial")
    name = made.stdout.strip()
    assert name.startswith("v-7")
    refused = quiet.taly("checkpoint", "verify", "v8")
    assert refused.returncode == 2
    assert name in refused.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--name", "x"),
        ("--after", "--label", "x"),
        ("--backup", "none", "list"),
        ("--component", "backend"),
    ],
)
def test_options_that_do_not_fit_are_refused(quiet: Sandbox, arguments: tuple[str, ...]) -> None:
    assert quiet.taly("checkpoint", *arguments).returncode == 2


def test_without_a_database_there_is_nothing_to_keep(tmp_path: Path) -> None:
    (tmp_path / "taly.toml").write_text(
        'environment = "x"\n[components.web]\nprovider = "vercel"\nproject = "p"\n', "utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-m", "taly", "checkpoint"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no-database" in done.stderr
