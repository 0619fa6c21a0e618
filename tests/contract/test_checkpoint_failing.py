"""A checkpoint that cannot be made says why, and leaves nothing behind: here and on the server."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.contract.checkpoint_stage import Stage, once

from taly.database import programs
from taly.database.checkpoint.folder import making
from taly.database.checkpoint.manifest import Backup
from taly.database.programs import Programs, find_programs
from taly.errors import ExitCode, TalyError

END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
PLAIN_ROLE = """
CREATE ROLE ci LOGIN PASSWORD 'cipassword';
GRANT USAGE ON SCHEMA public, "Other One" TO ci;
GRANT SELECT ON ALL TABLES IN SCHEMA public, "Other One" TO ci;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA public, "Other One" TO ci;
"""


@pytest.fixture
def stage(tmp_path: Path, postgres_url: str) -> Iterator[Stage]:
    one = Stage(tmp_path, postgres_url).about_to_go_bad()
    yield one
    if one.run("SELECT 1 FROM pg_roles WHERE rolname = 'ci'"):
        one.run("DROP OWNED BY ci; DROP ROLE ci")


@pytest.fixture
def failing(stage: Stage) -> Callable[..., TalyError]:
    """The error of a checkpoint that cannot be made, and proof that nothing is left of it."""

    def make(*arguments: Any, **changes: Any) -> TalyError:
        databases = stage.databases()
        with pytest.raises(TalyError) as caught:
            stage.checkpoint(*arguments, **changes)
        assert stage.left() == []
        assert stage.databases() == databases
        assert stage.password not in caught.value.message
        assert caught.value.exit_code is not ExitCode.OK
        return caught.value

    return make


Failing = Callable[..., TalyError]


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, pg_dump: str) -> None:
    """Let a shell script be the only pg_dump of this machine."""
    folder.mkdir()
    for name in ("pg_dump", "pg_restore"):
        (folder / name).write_text(f"#!/bin/sh\n{pg_dump}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setattr(programs, "installed", lambda name: iter([folder]))
    monkeypatch.setattr(programs, "embedded", lambda: None)


def test_without_pg_dump_it_says_where_it_looked(
    failing: Failing, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(programs, "installed", lambda name: iter([tmp_path / "usual" / "place"]))
    monkeypatch.setattr(programs, "embedded", lambda: None)
    error = failing("dump")
    assert error.reference == "pg-dump-missing"
    assert str(tmp_path / "usual" / "place") in error.message
    assert "--backup template" in error.hint
    assert "none" in error.hint


def test_a_pg_dump_older_than_the_server_is_refused(
    failing: Failing, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(tmp_path / "old", monkeypatch, "echo 'pg_dump (PostgreSQL) 11.22 (Debian 11.22-1)'")
    error = failing("dump")
    assert error.reference == "pg-dump-too-old"
    assert "11.22" in error.message


def test_the_servers_own_version_is_preferred_then_the_next_newer(tmp_path: Path) -> None:
    for version in ("11.4", "17.2", "16.1", "18.0"):
        folder = tmp_path / version
        folder.mkdir()
        (folder / "pg_restore").touch()
        (folder / "pg_dump").write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}'\n")
        (folder / "pg_dump").chmod(0o755)

    def chosen(server: int) -> Programs:
        return find_programs(server, iter(sorted(tmp_path.iterdir())))

    assert chosen(170_004).version == "17.2"
    assert chosen(150_004).version == "16.1"


@pytest.mark.parametrize(
    ("said", "reference"),
    [
        ("could not write to file: No space left on device", "checkpoint-no-space"),
        ("query failed: ERROR:  permission denied for table x", "checkpoint-forbidden"),
        ("server closed the connection unexpectedly", "database-unreachable"),
        ("something else", "client-program-failed"),
    ],
)
def test_what_pg_dump_says_is_understood(
    failing: Failing,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    stage: Stage,
    said: str,
    reference: str,
) -> None:
    major = stage.run("SHOW server_version_num")[0][0][:2]
    script = (
        f'[ "$1" = --version ] && echo "pg_dump (PostgreSQL) {major}.1" && exit\n'
        f'echo "pg_dump: error: {said} $PGPASSWORD" >&2; exit 1'
    )
    install(tmp_path / "fake", monkeypatch, script)
    error = failing("dump")
    assert error.reference == reference
    assert said in error.message


def test_without_room_nothing_is_begun(failing: Failing) -> None:
    error = failing("dump", free=lambda path: 1_000_000)
    assert error.reference == "checkpoint-no-space"
    assert "1 MB are free" in error.message


def test_a_disk_that_fills_up_meanwhile(failing: Failing) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert failing("dump", report=once(full)).reference == "checkpoint-no-space"


def test_a_connection_lost_meanwhile(failing: Failing, stage: Stage) -> None:
    error = failing("dump", report=once(lambda: stage.run(END_OTHERS)))
    assert error.reference == "database-unreachable"


def test_a_connection_lost_while_rows_are_read_from_a_template(
    failing: Failing, stage: Stage
) -> None:
    query = END_OTHERS.replace("= current_database()", "LIKE '%taly\\_2%'")
    calls = iter(range(100))

    def cut(what: str, done: int, whole: int) -> None:
        if what.startswith("copy of") and next(calls) == 0:
            stage.run(query)

    assert failing("template", report=cut).reference == "database-unreachable"


@pytest.mark.parametrize("backup", ["dump", "template"])
def test_ctrl_c_leaves_nothing_and_no_pg_dump_runs_on(stage: Stage, backup: Backup) -> None:
    def stop(what: str, done: int, whole: int) -> None:
        if not what.startswith("template"):
            raise KeyboardInterrupt

    databases = stage.databases()
    with pytest.raises(KeyboardInterrupt):
        stage.checkpoint(backup, report=stop)
    assert stage.left() == []
    assert stage.databases() == databases
    running = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    assert stage.run(running) == [(1,)], "only we who ask"


def test_an_ordinary_user_who_may_read_is_enough(stage: Stage) -> None:
    stage.run(PLAIN_ROLE)
    target = stage.target_for(stage.url_as("ci", "cipassword"))
    made = stage.checkpoint("dump", target=target)
    with pytest.raises(TalyError) as caught:
        stage.verify(made, target)
    assert caught.value.reference == "database-no-createdb"
    assert caught.value.exit_code is ExitCode.REFUSED
    stage.run("ALTER ROLE ci CREATEDB")
    assert stage.verify(made, target).restored


def test_an_ordinary_users_template_falls_back_to_a_dump(stage: Stage) -> None:
    stage.run(PLAIN_ROLE)
    made = stage.checkpoint("template", target=stage.target_for(stage.url_as("ci", "cipassword")))
    assert made.manifest.backup.kind == "dump"
    assert "permission denied to create database" in made.manifest.backup.why


@pytest.mark.parametrize("backup", ["dump", "none"])
def test_a_table_that_may_not_be_read_is_named(failing: Failing, stage: Stage, backup: str) -> None:
    stage.run(PLAIN_ROLE + "REVOKE SELECT ON keyless FROM ci;")
    target = stage.target_for(stage.url_as("ci", "cipassword"))
    error = failing(backup, target=target)
    assert error.reference == "checkpoint-forbidden"
    assert "keyless" in error.message


def test_rows_hidden_by_a_policy_are_an_error_not_a_smaller_copy(
    failing: Failing, stage: Stage
) -> None:
    stage.run(PLAIN_ROLE + "ALTER TABLE keyless ENABLE ROW LEVEL SECURITY;")
    error = failing("none", target=stage.target_for(stage.url_as("ci", "cipassword")))
    assert "row-level security" in error.message


def test_a_wrong_password_is_not_told_again(failing: Failing, stage: Stage) -> None:
    target = stage.target_for(stage.url_as("taly", "wrongsecret"))
    error = failing("dump", target=target)
    assert error.reference == "database-refused"
    assert "wrongsecret" not in error.message


def test_a_folder_that_cannot_be_written(failing: Failing, stage: Stage) -> None:
    file = stage.folder / "file"
    file.touch()
    error = failing("none", base=file / "checkpoints")
    assert error.reference == "checkpoint-not-written"


def test_one_that_is_being_made_is_not_left_over(tmp_path: Path) -> None:
    from taly.database.checkpoint.folder import left_over

    with making(tmp_path / "c", "one") as partial:
        assert left_over(tmp_path / "c") == []
        assert partial.is_dir()


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.contract.checkpoint_stage import Stage
stage = object.__new__(Stage)
stage.folder, stage.url = Path(sys.argv[1]), sys.argv[2]
stage.target = stage.target_for(stage.url)
def kill(what, done, whole):
    if what == "checksums":
        os.kill(os.getpid(), signal.SIGKILL)
stage.checkpoint(sys.argv[3], report=kill)
"""


def test_even_kill_9_leaves_no_checkpoint_and_prune_takes_the_rest(stage: Stage) -> None:
    from taly.database.checkpoint.prune import prune

    databases = stage.databases()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(stage.folder), stage.url, "template"],
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    [left] = stage.left()
    assert left.startswith(".partial-")
    assert stage.databases() > databases
    pruned = prune(
        stage.base,
        environment="production",
        component="database",
        keep=5,
        target=lambda: stage.target,
    )
    assert len(pruned.left_over) == 1
    assert stage.left() == []
    assert stage.databases() == databases


def test_the_server_has_no_room(stage: Stage) -> None:
    from taly.database.checkpoint.session import explained

    error = explained(stage.target, psycopg.errors.DiskFull("could not extend file"))
    assert error.reference == "database-disk-full"


def test_a_disk_that_fills_up_at_the_very_end_leaves_no_copy_on_the_server(
    failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settle(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("taly.database.checkpoint.folder._settle", settle)
    assert failing("template").reference == "checkpoint-no-space"
