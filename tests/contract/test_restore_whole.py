"""A whole restore, from either kind of backup, while people go on booking."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.contract.restore_stage import DATABASE, NEW, OLD, Scene, played, scene_of
from tests.contract.restore_writers import writing

from taly.database.checkpoint.folder import Checkpoint
from taly.database.checkpoint.manifest import Backup
from taly.database.connection import reading
from taly.database.history import state_of
from taly.database.ledger import digest, read_ledger
from taly.database.rescue.bundle import open_bundle
from taly.database.restore import forget, put_aside
from taly.errors import UsageError
from taly.sandbox.server import Server


@pytest.fixture
def scene(tmp_path: Path, postgres_server: Server) -> Iterator[Scene]:
    with played(tmp_path, postgres_server) as one:
        yield one
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS reader, clerk")


def released(scene: Scene, backup: Backup) -> Checkpoint:
    """A checkpoint, then the bad release, then the end of its window."""
    made = scene.stage.checkpoint(backup)
    assert scene.stage.deploy().code == "ok"
    return scene.stage.after(made.name)


@pytest.mark.parametrize("backup", ["template", "dump"])
def test_every_acknowledged_write_is_live_or_rescued(scene: Scene, backup: Backup) -> None:
    stage, rescue = scene.stage, scene.stage.folder / ".taly" / "rescue"
    schema = scene.everything()[1]
    made = released(scene, backup)
    with writing(stage.url) as writers:
        writers.wait_for(100)
        receipt = scene.back(made)
        writers.wait_for(30)
    assert writers.missing(stage.url, rescue) == []
    assert scene.everything()[1] == schema
    with reading(stage.target) as connection:
        ledger = read_ledger(connection, stage.target)
    assert state_of(ledger)["migrations"] == digest((OLD,))
    assert [row.name for row in ledger.rows if row.rolled_back_at] == [NEW]
    assert scene.names() == [DATABASE, receipt["put-aside"]]
    assert float(receipt["pause_s"]) < 5
    assert int(receipt["carried"]) > 0
    bundle = open_bundle(rescue, "run-1aaaaa", "database")
    assert bundle.manifest.state == "done"
    assert bundle.manifest.rows == int(receipt["rescued"]) > 0


def test_prisma_may_deploy_the_mended_migration_afterwards(scene: Scene) -> None:
    made = released(scene, "template")
    scene.back(made)
    again = scene.stage.deploy()
    assert (again.code, again.applied) == ("ok", (NEW,))


def test_said_twice_it_is_done_once(scene: Scene) -> None:
    made = released(scene, "template")
    first = scene.back(made)
    scene.stage.run('INSERT INTO "Guest" ("Full Name") VALUES (\'after\')')
    there = scene.everything()
    second = scene.back(made)
    assert {**second, "pause_s": ""} == {**first, "pause_s": ""}
    assert scene.everything() == there
    assert scene.names() == [DATABASE, first["put-aside"]]


GLOBAL = """
DROP ROLE IF EXISTS reader; CREATE ROLE reader;
DROP ROLE IF EXISTS clerk; CREATE ROLE clerk;
GRANT CREATE ON SCHEMA public TO clerk;
ALTER TABLE "Guest" OWNER TO clerk;
GRANT SELECT ON "Booking" TO reader;
GRANT UPDATE ("price") ON "Booking" TO clerk WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO reader;
COMMENT ON TABLE "Booking" IS 'what guests booked';
COMMENT ON COLUMN "Booking"."price" IS 'in euros';
CREATE EXTENSION IF NOT EXISTS plpgsql;
CREATE EXTENSION pgcrypto;
CREATE SEQUENCE invoice START 1000 INCREMENT 7;
SELECT setval('invoice', 5000);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO log VALUES (TG_OP); RETURN NULL; END $$;
CREATE TABLE log (op TEXT);
CREATE TRIGGER logged AFTER INSERT OR UPDATE OR DELETE ON "Guest"
  FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE "Booking" ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON "Booking" TO reader USING ("guest" = 1);
ALTER DATABASE booking SET search_path = public, "odd one";
ALTER DATABASE booking SET statement_timeout = '33s';
ALTER ROLE reader IN DATABASE booking SET work_mem = '8MB';
ALTER DATABASE booking CONNECTION LIMIT 70;
REVOKE TEMPORARY ON DATABASE booking FROM PUBLIC;
GRANT CREATE ON DATABASE booking TO clerk;
COMMENT ON DATABASE booking IS 'the booking database';
"""
WHOLE = """
SELECT r.rolname, d.datacl::text, d.datconnlimit, shobj_description(d.oid, 'pg_database'),
  ARRAY(SELECT coalesce(s.setrole::regrole::text, '') || array_to_string(s.setconfig, ';')
        FROM pg_db_role_setting s WHERE s.setdatabase = d.oid ORDER BY 1)
FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = 'booking'
"""
INSIDE = """
SELECT 'table', c.relname::text, c.relowner::regrole::text || coalesce(c.relacl::text, '')
    || coalesce(obj_description(c.oid, 'pg_class'), '')
  FROM pg_class c
  WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'm', 'S')
UNION ALL SELECT 'column', attname::text, coalesce(attacl::text, '')
    || coalesce(col_description(attrelid, attnum), '')
  FROM pg_attribute WHERE attrelid = '"Booking"'::regclass AND attnum > 0
UNION ALL SELECT 'default', defaclobjtype::text, defaclacl::text FROM pg_default_acl
UNION ALL SELECT 'extension', extname::text, extversion FROM pg_extension
UNION ALL SELECT 'policy', polname::text, pg_get_expr(polqual, polrelid) FROM pg_policy
UNION ALL SELECT 'trigger', tgname::text, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'sequence', 'invoice', (SELECT last_value || ' ' || is_called FROM invoice)
UNION ALL SELECT 'schema', nspname::text, nspowner::regrole::text || coalesce(nspacl::text, '')
  FROM pg_namespace WHERE nspname = 'public'
UNION ALL SELECT 'totals', '', (SELECT count(*)::text FROM totals)
ORDER BY 1, 2
"""


@pytest.mark.parametrize("backup", ["template", "dump"])
def test_owners_grants_settings_comments_and_extensions_survive(
    scene: Scene, backup: Backup
) -> None:
    stage = scene.stage
    stage.run(GLOBAL)
    whole, inside = stage.run(WHOLE), stage.run(INSIDE)
    made = released(scene, backup)
    stage.run("SELECT nextval('invoice')")
    receipt = scene.back(made)
    assert "not-set" not in receipt
    assert stage.run(WHOLE) == whole
    after = [
        (kind, name, "5007 true" if name == "invoice" and kind == "sequence" else what)
        for kind, name, what in inside
    ]
    assert stage.run(INSIDE) == after
    assert stage.run("SELECT count(*) FROM log") == [(0,)], "no trigger fired"
    stage.run("CREATE TABLE later ()")
    assert stage.run("SELECT has_table_privilege('reader', 'later', 'SELECT')") == [(True,)]


def test_the_database_put_aside_is_found_read_only_and_forgotten(scene: Scene) -> None:
    stage = scene.stage
    receipt = scene.back(released(scene, "template"))
    (aside,) = put_aside(stage.target)
    assert (aside.name, aside.of, aside.run) == (receipt["put-aside"], DATABASE, "run-1aaaaa")
    assert (aside.component, aside.bytes is not None) == ("database", True)
    with (
        psycopg.connect(scene.url_of(aside.name)) as connection,
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
    ):
        connection.execute('DELETE FROM "Guest"')
    with pytest.raises(UsageError, match="runs that do: run-1aaaaa") as caught:
        forget(stage.target, "run-9")
    assert caught.value.reference == "nothing-to-forget"
    assert forget(stage.target, "run-1aaaaa").name == aside.name
    assert scene.names() == [DATABASE]
    assert put_aside(stage.target) == ()


def test_no_trigger_and_no_schema_of_ours_is_left_in_either_database(scene: Scene) -> None:
    receipt = scene.back(released(scene, "template"))
    for database in (DATABASE, receipt["put-aside"]):
        found = str(scene.everything(database)[1])
        assert "taly" not in found.replace("'taly'", "").replace("taly=", ""), database


def test_two_databases_of_one_server_in_the_same_run_do_not_meet(
    scene: Scene, postgres_server: Server
) -> None:
    made = released(scene, "template")
    other = scene.stage.__class__(
        scene.stage.folder / "other", postgres_server.create_database("booking2")
    )

    second = scene_of(other)
    second_made = other.checkpoint("template")
    assert other.deploy().code == "ok"
    one, two = scene.back(made), second.back(second_made)
    assert one["put-aside"] != two["put-aside"]
    assert {one["put-aside"], two["put-aside"]} <= other.databases()
