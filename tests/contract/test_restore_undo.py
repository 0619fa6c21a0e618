"""Taking a restore back, and going back again: nothing changes by itself, and nothing is lost."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.contract.restore_stage import DATABASE, NEW, OLD, Scene, played
from tests.contract.restore_writers import writing

from taly.database.checkpoint.folder import Checkpoint
from taly.database.connection import reading
from taly.database.history import state_of
from taly.database.ledger import digest, read_ledger
from taly.database.restore import put_aside
from taly.errors import Interrupted, VendorRefused
from taly.sandbox.server import Server

NEWER = """
INSERT INTO "Guest" ("name", "email") SELECT 'new ' || i, 'n' || i FROM generate_series(1, 40) i;
UPDATE "Guest" SET "name" = 'renamed' WHERE "id" <= 10;
UPDATE "Booking" SET "status" = 'refunded' WHERE "price" < 20;
UPDATE "Booking" SET "channel" = 'shop' WHERE "price" BETWEEN 100 AND 120;
INSERT INTO "Booking" ("guest", "price", "status", "channel") VALUES (7, 5000, 'refunded', 'app');
INSERT INTO "Booking" ("guest", "price", "channel") VALUES (8, 6000, 'app');
DELETE FROM "Booking" WHERE "price" BETWEEN 1000 AND 1010;
INSERT INTO "Review" ("text") SELECT 'nice ' || i FROM generate_series(1, 30) i;
INSERT INTO event (at, what) VALUES ('2027-01-01', 'later');
"""
LATER = """
INSERT INTO "Guest" ("Full Name", "email") VALUES ('while old', 'w@x');
UPDATE "Booking" SET "price" = 77777 WHERE "price" = 300;
DELETE FROM "Booking" WHERE "price" = 301;
UPDATE "Guest" SET "Full Name" = 'changed while old' WHERE "id" = 20;
"""


@pytest.fixture
def scene(tmp_path: Path, postgres_server: Server) -> Iterator[Scene]:
    with played(tmp_path, postgres_server) as one:
        yield one


def released(scene: Scene) -> Checkpoint:
    made = scene.stage.checkpoint("template")
    assert scene.stage.deploy().code == "ok"
    made = scene.stage.after(made.name)
    scene.stage.run(NEWER)
    return made


def applied(scene: Scene) -> str:
    with reading(scene.stage.target) as connection:
        return str(state_of(read_ledger(connection, scene.stage.target))["migrations"])


def test_back_undone_and_back_again_leaves_every_table_equal(scene: Scene) -> None:
    made = released(scene)
    new = scene.everything()
    scene.back(made, "run-1aaaaa")
    old = scene.everything()
    assert applied(scene) == digest((OLD,))
    scene.undo("run-1aaaaa", "run-2bbbbb")
    assert scene.everything() == new
    assert applied(scene) == digest((OLD, NEW))
    assert [one.run for one in put_aside(scene.stage.target)] == ["run-2bbbbb"]
    scene.back(made, "run-3ccccc")
    assert scene.everything() == old
    assert applied(scene) == digest((OLD,))
    scene.undo("run-3ccccc", "run-4ddddd")
    assert scene.everything() == new


def test_what_was_written_in_between_comes_along_and_the_rest_is_as_it_was(scene: Scene) -> None:
    made = released(scene)
    run = scene.stage.run
    scene.back(made, "run-1aaaaa")
    run(LATER)
    scene.undo("run-1aaaaa", "run-2bbbbb")
    assert run('SELECT "email" FROM "Guest" WHERE "name" = \'while old\'') == [("w@x",)]
    assert run('SELECT "price"::int, "channel" FROM "Booking" WHERE "price" = 77777') == [
        (77777, "web")
    ]
    assert run('SELECT count(*) FROM "Booking" WHERE "price" IN (300, 301)') == [(0,)]
    assert run('SELECT "name" FROM "Guest" WHERE "id" = 20') == [("changed while old",)]
    # What had no place in the old schema was never deleted.
    assert run('SELECT count(*) FROM "Booking" WHERE "status" = \'refunded\'') == [(20,)]
    assert run('SELECT count(*) FROM "Booking" WHERE "channel" = \'shop\'') == [(21,)]
    assert run('SELECT "channel" FROM "Booking" WHERE "price" IN (5000, 6000)') == [("app",)] * 2
    assert run('SELECT count(*) FROM "Review"') == [(30,)]
    assert run('SELECT count(*) FROM "Booking" WHERE "price" BETWEEN 1000 AND 1010') == [(0,)]


def test_writers_lose_nothing_through_back_undo_and_back(scene: Scene) -> None:
    made = released(scene)
    rescue = scene.stage.folder / ".taly" / "rescue"
    with writing(scene.stage.url, seed=5) as writers:
        writers.wait_for(40)
        scene.back(made, "run-1aaaaa")
        writers.wait_for(40)
        scene.undo("run-1aaaaa", "run-2bbbbb")
        writers.wait_for(40)
        scene.back(made, "run-3ccccc")
        writers.wait_for(10)
    assert writers.missing(scene.stage.url, rescue) == []


def test_an_undo_can_itself_be_taken_back(scene: Scene) -> None:
    made = released(scene)
    scene.back(made, "run-1aaaaa")
    old = scene.everything()
    scene.undo("run-1aaaaa", "run-2bbbbb")
    scene.undo("run-2bbbbb", "run-3ccccc", names=(OLD,))
    assert scene.everything() == old
    assert applied(scene) == digest((OLD,))


def test_settings_and_comment_are_as_before_when_it_comes_back(scene: Scene) -> None:
    scene.stage.run(f"COMMENT ON DATABASE {DATABASE} IS 'ours'")
    scene.stage.run(f"ALTER DATABASE {DATABASE} SET default_transaction_read_only = off")
    made = released(scene)
    before = scene.stage.run(ABOUT)
    scene.back(made, "run-1aaaaa")
    assert scene.stage.run(ABOUT) == before
    scene.undo("run-1aaaaa", "run-2bbbbb")
    assert scene.stage.run(ABOUT) == before


ABOUT = f"""
SELECT shobj_description(d.oid, 'pg_database'),
  ARRAY(SELECT s.setconfig::text FROM pg_db_role_setting s WHERE s.setdatabase = d.oid)
FROM pg_database d WHERE d.datname = '{DATABASE}'
"""


def test_an_undo_that_is_stopped_leaves_the_live_database_and_can_be_done_again(
    scene: Scene,
) -> None:
    made = released(scene)
    new = scene.everything()
    receipt = scene.back(made, "run-1aaaaa")
    old, names = scene.everything(), scene.names()

    def stop(note: str, fraction: float | None = None) -> None:
        if note == "the databases change places":
            raise Interrupted("stop", reference="cancelled")

    with pytest.raises(Interrupted):
        scene.undo("run-1aaaaa", "run-2bbbbb", say=stop)
    assert (scene.everything(), scene.names()) == (old, names)
    assert [one.name for one in put_aside(scene.stage.target)] == [receipt["put-aside"]]
    scene.undo("run-1aaaaa", "run-2bbbbb")
    assert scene.everything() == new


def test_without_the_rescue_bundle_an_undo_is_refused(scene: Scene) -> None:
    made = released(scene)
    receipt = scene.back(made, "run-1aaaaa")
    Path(receipt["bundle"]).rename(scene.stage.folder / "elsewhere")
    with pytest.raises(VendorRefused) as caught:
        scene.undo("run-1aaaaa", "run-2bbbbb")
    assert caught.value.reference == "restore-bundle-gone"


def test_after_an_undo_the_checkpoints_transaction_ids_hold_again(scene: Scene) -> None:
    """The very same database comes back, so that going back again finds its changes cheaply."""
    made = released(scene)
    scene.back(made, "run-1aaaaa")
    assert "restore-by-comparison" in {one.code for one in scene.check(made)}
    scene.undo("run-1aaaaa", "run-2bbbbb")
    assert scene.check(made) == ()


def test_a_rollback_after_a_rollback_is_found_by_comparison(scene: Scene) -> None:
    """The live database is the restored one: the checkpoint is of one that was put aside."""
    made = released(scene)
    scene.back(made, "run-1aaaaa")
    scene.stage.run('INSERT INTO "Guest" ("Full Name") VALUES (\'kept\')')
    assert scene.stage.deploy().code == "ok"
    scene.stage.run('INSERT INTO "Guest" ("name") VALUES (\'kept too\')')
    scene.back(made, "run-2bbbbb")
    with psycopg.connect(scene.stage.url) as connection:
        rows = connection.execute(
            'SELECT "Full Name" FROM "Guest" WHERE "Full Name" LIKE \'kept%\' ORDER BY 1'
        ).fetchall()
    assert rows == [("kept",), ("kept too",)]


def test_a_text_that_was_changed_since_it_was_applied_is_not_believed(scene: Scene) -> None:
    """The live database is another one, so the texts alone tell which column is which."""
    made = released(scene)
    scene.back(made, "run-1aaaaa")
    assert scene.stage.deploy().code == "ok"
    scene.stage.run('UPDATE "Guest" SET "name" = \'Ada\' WHERE "id" = 1')
    file = scene.stage.migrations / NEW / "migration.sql"
    other = file.read_text().replace(
        'ALTER TABLE "Guest" RENAME COLUMN "Full Name" TO "name";',
        'ALTER TABLE "Guest" RENAME COLUMN "email" TO "name";',
    )
    file.write_text(other)
    scene.back(made, "run-2bbbbb")
    assert scene.stage.run('SELECT "Full Name", "email" FROM "Guest" WHERE "id" = 1') == [
        ("Ada", "1@x")
    ]
