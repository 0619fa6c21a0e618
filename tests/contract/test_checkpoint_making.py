"""Making a checkpoint of a real PostgreSQL: complete, exact, of one instant."""

import gzip
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.contract.checkpoint_stage import Stage, once

from taly.database import programs
from taly.database.checkpoint.downs import read_down
from taly.database.checkpoint.dump import Client, dump
from taly.database.checkpoint.folder import Checkpoint
from taly.database.checkpoint.manifest import Kept
from taly.errors import EnvironmentLocked, TalyError, UsageError


@pytest.fixture
def stage(tmp_path: Path, postgres_url: str) -> Iterator[Stage]:
    one = Stage(tmp_path, postgres_url).about_to_go_bad()
    yield one
    one.drop_ours()


def kept(checkpoint: Checkpoint, table: str) -> Kept:
    [found] = [one for one in checkpoint.manifest.destroyed if one.table == table]
    return found


def test_a_dump_of_everything_odd_restores_to_the_same(stage: Stage) -> None:
    stage.run("INSERT INTO keyless VALUES (1, repeat('große Zeile ', 500000))")
    made = stage.checkpoint("dump")
    assert made.name == "18a3d05c590e-20261123T134501Z"
    assert made.manifest.pending == ("20250202_bad",)
    proof = stage.verify(made)
    assert proof.restored
    assert proof.tables == 8
    assert proof.rows == 3 + 50 + 41 + 4 + 20 + 30 + 1
    assert "taly_scratch" not in str(stage.databases())


def test_what_is_kept_reads_back_exactly(stage: Stage) -> None:
    made = stage.checkpoint()
    assert {one.table for one in made.manifest.destroyed} >= {"User", "keyless"}
    for one in made.manifest.destroyed:
        copied, place = (
            '"copied"',
            f'"{one.table_schema}"."{one.table.replace(chr(34), chr(34) * 2)}"',
        )
        columns = ", ".join(f'"{name}"' for name in one.columns)
        with psycopg.connect(stage.url) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE TEMP TABLE {copied} AS SELECT {columns} FROM {place} LIMIT 0")
            with cursor.copy(f"COPY {copied} FROM STDIN") as copy:
                copy.write(gzip.decompress((made.path / one.file).read_bytes()))
            text = "SELECT t::text FROM (SELECT {} FROM {}) t ORDER BY 1"
            there = cursor.execute(text.format(columns, place)).fetchall()
            assert cursor.execute(text.format("*", copied)).fetchall() == there
            assert len(there) == one.rows
    assert {one.table for one in made.manifest.destroyed} == {
        *("User", "keyless", "parted", 'odd "name".x'),
    }


def test_columns_are_kept_with_their_key_and_rows_without_one_as_a_whole(stage: Stage) -> None:
    made = stage.checkpoint()
    assert kept(made, "User").columns == ("id", "price", "blob")
    assert kept(made, "User").key == ("id",)
    assert kept(made, "keyless").columns == ("x", "y")
    assert kept(made, "keyless").key == ()
    assert kept(made, "parted").rows == 30


def test_rows_that_go_with_those_they_refer_to_are_kept_too(stage: Stage) -> None:
    stage.migration("20250303_delete", 'DELETE FROM "User" WHERE "id" = 1;')
    made = stage.checkpoint()
    assert kept(made, "Order").rows == 50
    assert kept(made, "Order").key == ()
    assert "refer" in kept(made, "Order").why[0]
    assert "twice" not in kept(made, "User").columns, "a generated value cannot be written"


def test_a_key_that_is_overwritten_finds_no_row_again(stage: Stage) -> None:
    stage.migration("20250303_keys", 'UPDATE "User" SET "id" = "id" + 100;')
    made = stage.checkpoint()
    assert kept(made, "User").key == ()
    assert kept(made, "Order").rows == 50, "ON UPDATE CASCADE changes them"


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ('TRUNCATE "User" CASCADE;', {"User", "Order"}),
        ('DROP SCHEMA "Other One" CASCADE;', {'odd "name".x'}),
        ('DROP TYPE "Status" CASCADE;', {"User"}),
        ("DROP TABLE IF EXISTS no_such_table;", set()),
    ],
)
def test_other_ways_to_destroy(stage: Stage, sql: str, tables: set[str]) -> None:
    (stage.migrations / "20250202_bad" / "migration.sql").write_text(sql)
    assert {one.table for one in stage.checkpoint().manifest.destroyed} == tables


def test_what_the_text_hides_is_said(stage: Stage) -> None:
    stage.migration("20250303_do", "DO $$ BEGIN EXECUTE 'DELETE FROM keyless'; END $$;")
    assert "hides what it does" in stage.checkpoint().manifest.unseen[0]


def test_everything_is_of_one_instant_while_others_write(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_and_dump(*arguments: Any) -> Client:
        stage.run("INSERT INTO keyless VALUES (99, 'later'); DELETE FROM parted WHERE k < 20")
        stage.run('UPDATE "User" SET "Full Name" = \'later\'')
        return dump(*arguments)

    monkeypatch.setattr("taly.database.checkpoint.create.dump", write_and_dump)
    made = stage.checkpoint("dump")
    assert kept(made, "parted").rows == 30
    assert stage.verify(made).rows == 3 + 50 + 40 + 4 + 20 + 30 + 1


def test_the_programs_of_a_newer_version_do_for_an_older_server(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "installed", lambda name: iter(()))  # the wheel's are newer
    made = stage.checkpoint("dump")
    assert made.manifest.backup.program.startswith("pg_dump 18")
    assert stage.verify(made).restored


def test_the_instant_tells_what_was_written_since(stage: Stage) -> None:
    made = stage.checkpoint().manifest
    assert made.database.name == "taly"
    assert made.database.system_identifier
    assert (made.database.oid,) == stage.run(
        "SELECT oid FROM pg_database WHERE datname = current_database()"
    )[0]
    assert made.instant.lsn
    stage.run("INSERT INTO keyless VALUES (7, 'since')")
    since = f"SELECT y FROM keyless WHERE age(xmin) <= age('{made.instant.xmin}'::xid)"
    assert stage.run(since) == [("since",)]


def test_a_deploy_under_way_is_waited_for_and_then_refused(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taly.database.checkpoint.session.DEPLOY_WAIT_MS", 50)
    with psycopg.connect(stage.url) as deploy:
        deploy.execute("SELECT pg_advisory_lock(72707369)")
        with pytest.raises(EnvironmentLocked) as caught:
            stage.checkpoint()
    assert caught.value.reference == "checkpoint-deploy-running"
    assert stage.left() == []


def test_prismas_lock_is_free_while_we_work(stage: Stage) -> None:
    seen = []
    query = "SELECT pg_try_advisory_lock(72707369)"
    stage.checkpoint("dump", report=once(lambda: seen.extend(stage.run(query))))
    assert seen == [(True,)]


def test_nobody_else_can_read_it_whatever_the_umask(stage: Stage) -> None:
    before = os.umask(0)
    try:
        made = stage.checkpoint("dump")
    finally:
        os.umask(before)
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o700
    for path in made.path.rglob("*"):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_the_password_is_in_no_file_and_in_no_list_of_processes(stage: Stage) -> None:
    seen: list[str] = []

    def look(what: str, done: int, whole: int) -> None:
        if len(seen) >= 8:
            return
        command = ["ps", "-axww", "-o", "args="]
        listed = subprocess.run(command, capture_output=True, text=True, check=True)
        seen.append(listed.stdout)

    made = stage.checkpoint("dump", report=look)
    assert any("pg_dump" in listed for listed in seen)
    assert not any(stage.password in listed for listed in seen)
    for path in made.path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            plain = gzip.decompress(data) if path.suffix == ".gz" else data
            assert stage.password.encode() not in plain, path


def test_before_the_first_deploy_there_is_no_ledger(stage: Stage) -> None:
    stage.run("DROP TABLE _prisma_migrations")
    made = stage.checkpoint().manifest
    assert not made.ledger_found
    assert made.pending == ("20250101_base", "20250202_bad")
    assert "no _prisma_migrations" in made.notes[0]


def test_what_does_not_fit_between_checkout_and_ledger_is_noted(stage: Stage) -> None:
    stage.deploy(fail="20250202_bad")
    (stage.migrations / "20250101_base" / "migration.sql").write_text("SELECT 1")
    notes = "\n".join(stage.checkpoint().manifest.notes)
    assert "20250202_bad did not finish" in notes
    assert "20250101_base: migration.sql is not what was applied" in notes
    assert "is pending" in notes


def test_a_rolled_back_migration_is_pending_again(stage: Stage) -> None:
    stage.run("UPDATE _prisma_migrations SET rolled_back_at = now()")
    assert "20250101_base" in stage.checkpoint().manifest.pending


def test_the_teams_own_way_down_is_kept(stage: Stage) -> None:
    down = stage.migrations / "20250202_bad" / "down.sql"
    down.write_text("SELECT 'down'")
    made = stage.checkpoint()
    assert [one.team_down for one in made.manifest.migrations] == [False, True]
    assert (made.path / "migrations/20250202_bad/down.sql").read_text() == "SELECT 'down'"


def test_a_wrong_path_is_not_taken_for_nothing_to_do(stage: Stage) -> None:
    with pytest.raises(UsageError) as caught:
        stage.checkpoint(migrations=stage.folder / "nowhere")
    assert caught.value.reference == "migrations-missing"
    assert stage.left() == []


def test_a_template_copy_is_one_that_nobody_can_change(stage: Stage) -> None:
    made = stage.checkpoint("template")
    backup = made.manifest.backup
    assert backup.kind == "template"
    assert backup.template in stage.databases()
    with pytest.raises(psycopg.OperationalError, match="not currently accepting"):
        psycopg.connect(stage.url, dbname=backup.template)
    assert kept(made, "keyless").rows == 40
    assert stage.verify(made).rows == 3 + 50 + 40 + 4 + 20 + 30 + 1


def test_a_template_needs_a_quiet_database_else_a_dump_is_made_and_said(stage: Stage) -> None:
    with psycopg.connect(stage.url):
        made = stage.checkpoint("template")
    assert made.manifest.backup.kind == "dump"
    assert "being accessed by other users" in made.manifest.backup.why
    assert not (made.path / "template").exists()
    assert not [name for name in stage.databases() if "_taly_" in name]


def test_two_of_one_name_are_not_mixed(stage: Stage) -> None:
    order = stage.order()
    stage.checkpoint(now=order.now)
    with pytest.raises(TalyError) as caught:
        stage.checkpoint(now=order.now)
    assert caught.value.reference == "checkpoint-exists"
    assert len(stage.left()) == 1


def test_the_way_down_of_each_pending_migration_is_tried_out_before_it_is_needed(
    stage: Stage,
) -> None:
    stage.migration("20250303_add", 'ALTER TABLE keyless ADD COLUMN "z" TEXT;')
    stage.migration("20250404_hidden", "DO $$ BEGIN EXECUTE 'CREATE TABLE hidden ()'; END $$;")
    databases = stage.databases()
    made = stage.checkpoint(trial=True)
    bad, add, hidden = made.manifest.ways_down
    assert bad.proven, bad.reason
    assert add.proven, add.reason
    assert not hidden.proven
    assert hidden.reason
    assert stage.databases() == databases
    down = read_down(made.path / add.file)
    assert "DROP COLUMN" in " ".join(down.sql)


def test_a_team_s_own_way_down_that_does_not_work_is_said_before_it_is_needed(
    stage: Stage,
) -> None:
    (stage.migrations / "20250202_bad" / "down.sql").write_text("DROP TABLE no_such_table")
    [down] = stage.checkpoint(trial=True).manifest.ways_down
    assert down.source == "team"
    assert not down.proven
    assert "no_such_table" in down.reason


def test_a_table_whose_name_has_a_dot_is_not_mistaken_for_one_in_a_schema(stage: Stage) -> None:
    stage.run('CREATE SCHEMA a; CREATE TABLE a.b (v text); CREATE TABLE "a.b" (v text)')
    stage.migration("20250303_dots", 'DROP TABLE "a.b"')
    kept = {(one.table_schema, one.table) for one in stage.checkpoint().manifest.destroyed}
    assert ("public", "a.b") in kept
