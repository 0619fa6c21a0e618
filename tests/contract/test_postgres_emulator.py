"""The emulated database: a real one, with the ledger and the files that Prisma makes."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from taly.errors import UsageError
from taly.sandbox.emulator import Deploy, SandboxComponent
from taly.sandbox.migrate import migrate_deploy, resolve_rolled_back
from taly.sandbox.postgres import PostgresEmulator
from taly.sandbox.world import VirtualClock, World

T0 = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
NOTE = {
    "name": "20260303101500_add_booking_note",
    "sql": '-- AlterTable\nALTER TABLE "bookings" ADD COLUMN "note" TEXT;\n',
}
TWO = {
    "name": "20260304101500_two_statements",
    "sql": 'ALTER TABLE "bookings" ADD COLUMN "a" TEXT;\nALTER TABLE "bookings" ADD "b" TEXT;\n',
}


@pytest.fixture
def world() -> World:
    """A world whose clock stands at T0."""
    clock = VirtualClock(speed=100)
    clock.seek(T0)
    return World(clock=clock)


@pytest.fixture
def emulator(world: World, tmp_path: Path, postgres_url: str) -> Iterator[PostgresEmulator]:
    """An emulator over the test's own database, with its component."""
    made = PostgresEmulator(world, tmp_path, postgres_url)
    made.add(SandboxComponent(name="database", vendor="postgres"))
    yield made
    made.stop()


def deploy(emulator: PostgresEmulator, commit: str = "aaa1111", **more: Any) -> None:
    """A deploy arrives."""
    outcome = more.pop("outcome", "ok")
    emulator.deploy(
        Deploy(component="database", commit=commit, outcome=outcome, settings=dict(more))
    )


def fetch(emulator: PostgresEmulator, query: str) -> list[Any]:
    """Rows of a query."""
    with psycopg.connect(emulator.database_url) as connection:
        return connection.execute(query.encode()).fetchall()


def test_ledger_has_prismas_columns_types_and_defaults(emulator: PostgresEmulator) -> None:
    deploy(emulator)
    rows = fetch(
        emulator,
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid)"
        " FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
        " WHERE attrelid = '_prisma_migrations'::regclass AND attnum > 0 ORDER BY attnum",
    )
    stamp = "timestamp with time zone"
    assert rows == [
        ("id", "character varying(36)", True, None),
        ("checksum", "character varying(64)", True, None),
        ("finished_at", stamp, False, None),
        ("migration_name", "character varying(255)", True, None),
        ("logs", "text", False, None),
        ("rolled_back_at", stamp, False, None),
        ("started_at", stamp, True, "now()"),
        ("applied_steps_count", "integer", True, "0"),
    ]


def test_first_deploy_makes_the_base_schema_and_data_to_read(emulator: PostgresEmulator) -> None:
    deploy(emulator)
    assert fetch(emulator, "SELECT count(*) FROM bookings") == [(40,)]
    assert (emulator.migrations / "migration_lock.toml").is_file()
    assert (emulator.migrations.parent / "schema.prisma").is_file()


def test_migration_is_applied_recorded_and_written_as_a_file(
    emulator: PostgresEmulator, world: World
) -> None:
    deploy(emulator)
    world.clock.seek(T0 + timedelta(days=1))
    deploy(emulator, "bbb2222", migration=NOTE)
    file = emulator.migrations / NOTE["name"] / "migration.sql"
    assert file.read_text() == NOTE["sql"]
    [row] = fetch(
        emulator,
        "SELECT checksum, finished_at, logs, rolled_back_at, applied_steps_count, length(id),"
        f" started_at < finished_at FROM _prisma_migrations WHERE migration_name='{NOTE['name']}'",
    )
    expected = hashlib.sha256(file.read_bytes()).hexdigest()
    assert row == (expected, T0 + timedelta(days=1), None, None, 1, 36, True)
    assert fetch(emulator, "SELECT note FROM bookings LIMIT 1") == [(None,)]


def test_deploy_without_a_migration_changes_nothing(emulator: PostgresEmulator) -> None:
    deploy(emulator)
    before = emulator.state()
    deploy(emulator, "bbb2222")
    assert emulator.state() == before


def test_the_same_migration_twice_is_applied_once(emulator: PostgresEmulator) -> None:
    deploy(emulator, migration=NOTE)
    deploy(emulator, "ccc3333", migration=NOTE)
    assert len(emulator.state()["database"]["ledger"]) == 2


@pytest.mark.parametrize(("half", "columns"), [(False, []), (True, ["a"])])
def test_failed_deploy_leaves_an_unfinished_row_and_stops_the_next(
    emulator: PostgresEmulator, half: bool, columns: list[str]
) -> None:
    deploy(emulator)
    deploy(emulator, "bbb2222", migration=TWO, outcome="failed", half_applied=half)
    [row] = fetch(
        emulator,
        "SELECT finished_at, rolled_back_at, logs LIKE '%failed to apply%' FROM _prisma_migrations"
        f" WHERE migration_name = '{TWO['name']}'",
    )
    assert row == (None, None, True)
    found = fetch(
        emulator,
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'bookings'"
        " AND column_name IN ('a', 'b')",
    )
    assert [name for (name,) in found] == columns
    deploy(emulator, "ccc3333", migration=NOTE)
    assert emulator.state()["database"]["deploys"][-1]["code"] == "P3009"


def test_resolve_rolled_back_reverts_nothing(emulator: PostgresEmulator) -> None:
    """The runbook's command: refused for a success, and a silent no-op after a resolved failure."""
    deploy(emulator)
    deploy(emulator, "bbb2222", migration=NOTE, outcome="failed")
    url, now = emulator.database_url, T0
    assert resolve_rolled_back(url, "unknown", now=now) == "P3011"
    assert resolve_rolled_back(url, "20250106090000_init", now=now) == "P3012"
    emulator.change("database", {"kind": "resolve-rolled-back", "name": NOTE["name"]})
    assert migrate_deploy(url, emulator.migrations, now=now).applied == (NOTE["name"],)
    assert resolve_rolled_back(url, NOTE["name"], now=now) == "ok"
    assert fetch(emulator, "SELECT note FROM bookings LIMIT 1") == [(None,)]


def test_a_database_that_is_not_empty_is_refused(
    world: World, tmp_path: Path, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE precious (id int)")
    emulator = PostgresEmulator(world, tmp_path, postgres_url)
    with pytest.raises(UsageError) as caught:
        emulator.add(SandboxComponent(name="database", vendor="postgres"))
    assert caught.value.reference == "database-not-empty"


def test_its_own_server_starts_with_the_component_and_ends_with_stop(
    world: World, tmp_path: Path
) -> None:
    emulator = PostgresEmulator(world, tmp_path)
    emulator.add(SandboxComponent(name="database", vendor="postgres"))
    try:
        deploy(emulator)
        url = emulator.database_url
        assert fetch(emulator, "SELECT count(*) FROM customers") == [(10,)]
        assert any("SANDBOXSECRET" in secret for secret in world.secrets)
        assert "SANDBOXSECRET" not in str(emulator.state())
    finally:
        emulator.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)


def test_sql_run_by_hand_and_unknown_changes(emulator: PostgresEmulator) -> None:
    deploy(emulator)
    emulator.change("database", {"kind": "sql", "sql": "DELETE FROM bookings; SELECT 1"})
    assert fetch(emulator, "SELECT count(*) FROM bookings") == [(0,)]
    with pytest.raises(UsageError, match="kinds"):
        emulator.change("database", {"kind": "drop-everything"})
    assert emulator.url("database") == ""
    assert emulator.settings("database")["url_env"] == "DATABASE_URL"
