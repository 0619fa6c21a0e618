"""A restore that cannot go on: a clear error, everything as before, nothing left behind."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.contract.checkpoint_stage import Stage
from tests.contract.restore_stage import DATABASE, OLD, Scene, played, scene_of
from tests.contract.restore_writers import writing

from taly.database.carry import capture
from taly.database.checkpoint.folder import Checkpoint, fact_of, load
from taly.database.checkpoint.manifest import MANIFEST, Backup, sealed
from taly.database.ledger import LOCK
from taly.database.restore import gate, going, preflight
from taly.database.restore.fence import Fence
from taly.database.restore.job import job_of
from taly.database.restore.start import Live
from taly.errors import Interrupted, LeaseLost, TalyError, VendorError, VendorRefused
from taly.model.check import Severity
from taly.sandbox.server import Server

NEWER = """INSERT INTO "Guest" ("name") SELECT 'new ' || i FROM generate_series(1, 50) i"""
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'taly-%'"
END_OURS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'taly-%'
"""


DROP_ROLES = """
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'plain') THEN
    DROP OWNED BY plain;
  END IF;
END $$;
DROP ROLE IF EXISTS plain, other;
"""
ALL_TO_PLAIN = """
DO $$ DECLARE one regclass; BEGIN
  FOR one IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace
    AND relkind IN ('r', 'p', 'm') AND relname <> 'theirs'
  LOOP EXECUTE format('ALTER TABLE %s OWNER TO plain', one); END LOOP;
END $$;
ALTER TYPE "Status" OWNER TO plain;
GRANT SET ON PARAMETER session_replication_role TO plain;
"""


@pytest.fixture
def scene(tmp_path: Path, postgres_server: Server) -> Iterator[Scene]:
    with played(tmp_path, postgres_server) as one:
        yield one
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute(DROP_ROLES)


def released(scene: Scene, backup: Backup) -> Checkpoint:
    made = scene.stage.checkpoint(backup)
    assert scene.stage.deploy().code == "ok"
    made = scene.stage.after(made.name)
    scene.stage.run(NEWER)
    return made


def world(scene: Scene) -> Any:
    """All that must be as before: databases, schema and rows, sessions, rescue bundles."""
    no_sessions(scene)
    rescue = scene.stage.folder / ".taly" / "rescue"
    files = [path.name for path in rescue.rglob("*") if path.is_file()] if rescue.exists() else []
    return scene.names(), scene.everything(), files


def no_sessions(scene: Scene) -> None:
    """Ours are closed: the server notices within a moment."""
    deadline = time.monotonic() + 10
    while scene.stage.run(SESSIONS) != [(0,)]:
        assert time.monotonic() < deadline, "sessions of ours are left"
        time.sleep(0.01)


def fails(scene: Scene, made: Checkpoint, reference: str, **how: Any) -> TalyError:
    before = world(scene)
    with pytest.raises(VendorError) as caught:
        scene.back(made, **how)
    assert caught.value.reference == reference, caught.value.message
    assert world(scene) == before
    return caught.value


class Phases:
    """A `say` that does something the first time it hears the n-th kind of note."""

    def __init__(self, number: int, action: Callable[[], None]) -> None:
        self.number, self.action = number, action
        self.heard: list[str] = []
        self.reached = False

    def __call__(self, note: str, fraction: float | None = None) -> None:
        kind = re.sub(r"[\d,.]+", "N", re.sub(r"public\.\w+", "T", note))
        if kind not in self.heard:
            self.heard.append(kind)
            if len(self.heard) == self.number:
                self.reached = True
                self.action()


def each_phase(
    play: Callable[[Phases], None], action: Callable[[], None], first: int = 1, last: int = 60
) -> list[str]:
    """Play it anew for every phase; returns all phases that there are."""
    for number in range(first, last):
        phases = Phases(number, action)
        play(phases)
        if not phases.reached:
            break
    return phases.heard


@pytest.mark.parametrize(("backup", "last"), [("template", 60), ("dump", 5)])
def test_a_stop_in_any_phase_leaves_everything_as_before(
    scene: Scene, backup: Backup, last: int
) -> None:
    """A dump differs in its first phases only."""
    made = released(scene, backup)
    before = world(scene)

    def stop() -> None:
        raise Interrupted("stop", reference="cancelled")

    def play(phases: Phases) -> None:
        try:
            scene.back(made, say=phases)
        except Interrupted:
            assert world(scene) == before, phases.heard
        else:
            assert not phases.reached, f"{phases.heard[-1]} was not heeded"

    heard = each_phase(play, stop, last=last)
    expected = "the databases change places" if backup == "template" else "statistics of the"
    assert expected in " ".join(heard)


def test_connections_lost_in_any_phase_leave_everything_as_before(scene: Scene) -> None:
    made = released(scene, "template")
    before = world(scene)

    def play(phases: Phases) -> None:
        try:
            scene.back(made, say=phases)
        except VendorError:
            assert world(scene) == before, phases.heard
        else:
            assert not phases.reached, f"{phases.heard[-1]} did without its connections"

    each_phase(play, lambda: bool(scene.stage.run(END_OURS)) and None)


def test_a_run_that_is_somebody_elses_is_left_alone_and_they_begin_anew(scene: Scene) -> None:
    made = released(scene, "template")

    class Elsewhere:
        def __call__(self, note: str, fraction: float | None = None) -> None:
            if note == "writes wait":
                raise LeaseLost

    with pytest.raises(LeaseLost):
        scene.back(made, say=Elsewhere())
    no_sessions(scene)
    assert len(scene.names()) == 2, "nothing was removed: the successor may be using it"
    receipt = scene.back(made)
    assert scene.names() == [DATABASE, receipt["put-aside"]]


def test_a_predecessor_that_wakes_up_removes_nothing_of_its_successors(scene: Scene) -> None:
    """Frozen in the write pause; the successor ends its sessions and does the whole step."""
    made = released(scene, "template")
    receipts = []

    def say(note: str, fraction: float | None = None) -> None:
        if note == "writes wait" and not receipts:
            receipts.append(scene.back(made))

    with pytest.raises(VendorError):
        scene.back(made, say=say)
    assert scene.names() == [DATABASE, receipts[0]["put-aside"]]
    assert Path(receipts[0]["bundle"], "manifest.json").exists()
    assert scene.stage.run('SELECT count(*) FROM "Guest"') == [(350,)]


def test_without_room_on_the_servers_disk_nothing_is_begun(scene: Scene) -> None:
    error = fails(scene, released(scene, "template"), "restore-no-room", free=lambda path: 0)
    assert "the side database may need" in error.message


def test_without_room_for_the_bundle_nothing_is_begun(scene: Scene) -> None:
    made = released(scene, "template")

    def free(path: Path) -> int:
        return 0 if path.name == "rescue" else 1 << 40

    assert "the rescue bundle" in fails(scene, made, "restore-no-room", free=free).message


def test_a_server_that_hides_its_room_is_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "is_local", lambda target: False)
    (found,) = scene.check(released(scene, "template"))
    assert (found.code, found.severity) == ("restore-room-unknown", Severity.NOTE)


def test_a_backup_with_a_flipped_bit_is_not_begun_with(scene: Scene) -> None:
    made = released(scene, "dump")
    path = next(path for path in (made.path / "dump").iterdir() if path.suffix == ".gz")
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    assert path.name in fails(scene, made, "restore-checkpoint-broken").message


def rewritten(made: Checkpoint, **changes: Any) -> Checkpoint:
    (made.path / MANIFEST).write_bytes(sealed(made.manifest.model_copy(update=changes)))
    return load(made.path)


@pytest.mark.parametrize("backup", ["template", "dump"])
def test_a_backup_that_holds_something_else_is_not_swapped_in(scene: Scene, backup: Backup) -> None:
    made = released(scene, backup)
    tables = [
        one.model_copy(update={"checksum": "7"}) if one.name == "Booking" else one
        for one in made.manifest.tables
    ]
    error = fails(scene, rewritten(made, tables=tuple(tables)), "restore-backup-differs")
    assert "public.Booking: as many rows, with other values" in error.message


def test_a_dump_that_pg_restore_refuses_is_told_with_its_words(scene: Scene) -> None:
    made = released(scene, "dump")
    toc = made.path / "dump" / "toc.dat"
    toc.write_bytes(b"nonsense")
    files = [
        fact_of(made.path, toc) if one.path == "dump/toc.dat" else one
        for one in made.manifest.files
    ]
    error = fails(scene, rewritten(made, files=tuple(files)), "client-program-failed")
    assert "pg_restore" in error.message


def test_a_backup_of_another_database_is_refused(scene: Scene, postgres_server: Server) -> None:
    url = postgres_server.create_database(f"{DATABASE}_other")
    other = scene_of(Stage(scene.stage.folder / "other", url))
    made = other.stage.checkpoint("template")
    released(scene, "template")
    (scene.stage.base / made.name).rename(scene.stage.base / "elsewhere")
    made.path.rename(scene.stage.base / made.name)
    fails(scene, load(scene.stage.base / made.name), "restore-other-database")


def test_a_lock_that_somebody_holds_for_long_ends_it_and_writers_go_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(going, "BLOCK_S", 0.2)
    monkeypatch.setattr(going, "BLOCK_TRIES", 2)
    made = released(scene, "template")
    holders: list[psycopg.Connection] = []

    def hold(note: str, fraction: float | None = None) -> None:
        if not holders and note.startswith("proves"):
            holders.append(psycopg.connect(scene.stage.url, application_name="a long report"))
            holders[0].execute('UPDATE "Guest" SET "email" = \'z\' WHERE "id" = 1')
        if note.startswith("takes back"):
            holders[0].close()

    before = scene.names(), scene.everything()
    with pytest.raises(VendorError) as caught:
        scene.back(made, say=hold)
    assert caught.value.reference == "carry-locked"
    assert (scene.names(), scene.everything()) == before
    with writing(scene.stage.url, 1) as writers:
        writers.wait_for(5)


def plain_user(scene: Scene, *rights: str) -> Scene:
    """The same as a user without superuser's rights, who owns everything."""
    stage = scene.stage
    stage.run(f"CREATE ROLE plain LOGIN {' '.join(rights)} PASSWORD 'p'")
    stage.run(f"ALTER DATABASE {DATABASE} OWNER TO plain; ALTER SCHEMA public OWNER TO plain")
    stage.run(ALL_TO_PLAIN)
    stage.url = stage.url_as("plain", "p")
    stage.target = stage.target_for(stage.url)
    return scene


@pytest.mark.parametrize("backup", ["template", "dump"])
def test_a_plain_user_with_createdb_restores_and_what_it_cannot_set_is_told(
    scene: Scene, backup: Backup
) -> None:
    scene.stage.run("CREATE ROLE other; CREATE TABLE theirs (id INTEGER PRIMARY KEY)")
    scene.stage.run("ALTER TABLE theirs OWNER TO other; GRANT ALL ON theirs TO PUBLIC")
    plain = plain_user(scene, "CREATEDB")
    made = released(plain, backup)
    receipt = plain.back(made)
    assert plain.names() == [DATABASE, receipt["put-aside"]]
    if backup == "dump":
        assert "ALTER TABLE public.theirs OWNER TO other" in receipt["not-set"]


def test_without_the_right_to_create_databases_nothing_is_begun(scene: Scene) -> None:
    made = released(scene, "template")
    error = fails(plain_user(scene), made, "restore-no-createdb")
    assert error.hint.startswith("ALTER ROLE")


def codes(scene: Scene, made: Checkpoint | None = None, **more: str) -> set[str]:
    """What preflight finds; nothing is touched."""
    before = world(scene)
    found = scene.check(made, **more)
    assert world(scene) == before
    return {one.code for one in found}


def test_a_good_start_has_no_finding(scene: Scene) -> None:
    assert codes(scene, released(scene, "template")) == set()


def test_only_the_owner_can_do_it(scene: Scene) -> None:
    made = released(scene, "template")
    scene.stage.run("CREATE ROLE plain LOGIN CREATEDB PASSWORD 'p' IN ROLE pg_read_all_data")
    scene.stage.run("GRANT pg_signal_backend TO plain")
    whole = scene.stage.url
    scene.stage.url = scene.stage.url_as("plain", "p")
    found = scene.check(made)
    scene.stage.url = whole
    assert "restore-not-owner" in {one.code for one in found}


def test_somebody_who_is_connected_and_may_not_be_sent_away_is_found(scene: Scene) -> None:
    made = released(scene, "template")
    with psycopg.connect(scene.stage.url) as other:
        other.execute("SELECT 1")
        plain_user(scene, "CREATEDB")
        found = {one.code for one in scene.check(made)}
    assert "restore-sessions-of-others" in found


def test_what_is_wrong_with_a_checkpoint_is_found(scene: Scene) -> None:
    stage = scene.stage
    assert codes(scene, checkpoint="nothing") == {"restore-checkpoint-gone"}
    assert codes(scene, stage.checkpoint("none")) == {"restore-no-backup"}
    made = stage.checkpoint("template")
    stage.run(f'DROP DATABASE "{made.manifest.backup.template}"')
    assert codes(scene, made) == {"restore-template-gone"}
    assert stage.deploy().code == "ok"
    later = stage.checkpoint("template")
    assert codes(scene, later) == {"restore-checkpoint-unsuitable"}
    (later.path / MANIFEST).write_text("{}")
    assert codes(scene, later) == {"restore-checkpoint-broken"}


def test_a_database_put_aside_that_is_gone_cannot_come_back(scene: Scene) -> None:
    assert codes(scene, undoes="run-9zzzzz") == {"restore-put-aside-gone"}


def test_a_pooler_is_refused(scene: Scene) -> None:
    made = released(scene, "template")
    scene.stage.url += "?pgbouncer=true"
    assert {one.code for one in scene.check(made)} == {"restore-pooler"}


def test_prepared_transactions_and_slots_are_found(scene: Scene) -> None:
    """The test server has no room for prepared transactions: what it would tell is given."""
    found: list[str] = []
    live = Live(
        oid=1,
        system_identifier="1",
        bytes=1,
        owner="o",
        is_owner=True,
        is_superuser=True,
        may_signal=True,
        prepared=2,
        slots=("debezium",),
        cannot_carry="",
        server_version=150000,
    )
    job = job_of(scene.step((OLD,)), "run-1:x", scene.environ, None)
    preflight._check_use(job, live, lambda code, text, hint="": found.append(f"{code} {text}"))
    assert found[0].startswith("restore-prepared-transactions")
    assert found[1].startswith("restore-replication-slots")
    assert "debezium" in found[1]


def test_a_prisma_migrate_under_way_is_not_disturbed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "DEPLOY_WAIT_MS", 100)
    made = released(scene, "template")
    with psycopg.connect(scene.stage.url, application_name="prisma") as prisma:
        prisma.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        error = fails(scene, made, "restore-migrate-running")
    assert "prisma migrate" in error.message


def test_a_deploy_waits_until_the_swap(scene: Scene) -> None:
    made = released(scene, "template")
    seen: list[bool] = []

    def say(note: str, fraction: float | None = None) -> None:
        with psycopg.connect(scene.stage.url) as prisma:
            row = prisma.execute("SELECT pg_try_advisory_xact_lock(%s)", (LOCK,)).fetchone()
            seen.append(bool(row and row[0]))

    scene.back(made, say=say)
    assert not any(seen)


def test_a_capture_that_somebodys_lock_keeps_there_is_named_with_the_command(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = released(scene, "template")
    with psycopg.connect(scene.stage.url, application_name="a long report") as holder:

        def stop(note: str, fraction: float | None = None) -> None:
            if note == "writes wait":
                monkeypatch.setattr(capture, "WAIT_S", 0.1)
                raise Interrupted("stop", reference="cancelled")
            if note.startswith("takes back"):
                holder.execute('UPDATE "Guest" SET "email" = \'z\' WHERE "id" = 1')

        with pytest.raises(Interrupted, match="psql booking -c 'DROP SCHEMA") as caught:
            scene.back(made, say=stop)
    (command,) = re.findall(r"-c '(DROP SCHEMA .*)'", caught.value.message)
    scene.stage.run(command)
    assert "taly_carry" not in str(scene.everything()[1])


def test_what_cannot_be_removed_is_named_with_the_command(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = released(scene, "template")

    def stop(note: str, fraction: float | None = None) -> None:
        if note == "writes wait":
            monkeypatch.setattr(Fence, "drop", refuse)
            raise Interrupted("stop", reference="cancelled")

    def refuse(*given: Any) -> None:
        raise VendorRefused("no", reference="no")

    with pytest.raises(Interrupted, match="dropdb --force --if-exists") as caught:
        scene.back(made, say=stop)
    assert scene.names()[1] in caught.value.message
