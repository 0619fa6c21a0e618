"""Round trips with deletes in between: what users deleted stays deleted, and the rest is there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.restore_stage import Scene, played
from tests.contract.test_restore_undo_rescued import moved

from taly.database.checkpoint.folder import Checkpoint
from taly.sandbox.server import Server

KEYLESS = """
CREATE TABLE line (what TEXT NOT NULL, kind "Status" NOT NULL DEFAULT 'new', note TEXT);
INSERT INTO line (what, note) SELECT 'line ' || i, 'note ' || i FROM generate_series(1, 30) i;
INSERT INTO line (what, note) SELECT 'line 1', 'note 1' FROM generate_series(1, 2) i;
"""
BAD = """
ALTER TABLE line DROP COLUMN note;
ALTER TABLE line ADD COLUMN channel TEXT NOT NULL DEFAULT 'web';
"""
MODES = pytest.mark.parametrize("compared", [False, True], ids=["transactions", "comparison"])


@pytest.fixture
def scene(tmp_path: Path, postgres_server: Server) -> Iterator[Scene]:
    with played(tmp_path, postgres_server) as one:
        yield one


def released(scene: Scene, before: str = "", migration: str = "") -> Checkpoint:
    """A checkpoint, then the bad release; `before` and `migration` add to both."""
    if before:
        scene.stage.run(before)
    if migration:
        file = scene.stage.migrations / "20250202_bad" / "migration.sql"
        file.write_text(file.read_text() + migration)
    made = scene.stage.checkpoint("template")
    assert scene.stage.deploy().code == "ok"
    return scene.stage.after(made.name)


def undo(scene: Scene, compared: bool) -> None:
    if compared:
        moved(scene)
    scene.undo("run-1aaaaa")


@MODES
def test_what_was_deleted_in_between_stays_deleted(scene: Scene, compared: bool) -> None:
    """Rows of the backup, carried ones, and one of which a value was rescued."""
    made = released(scene)
    run = scene.stage.run
    run(
        'INSERT INTO "Booking" ("guest", "price") VALUES (1, 9001), (1, 9002);'
        'UPDATE "Booking" SET "channel" = \'shop\' WHERE "price" IN (50, 51);'
        'INSERT INTO "Booking" ("guest", "price", "status") VALUES (2, 9003, \'refunded\')'
    )
    scene.back(made)
    run('DELETE FROM "Booking" WHERE "price" IN (9001, 50, 60)')
    undo(scene, compared)
    found = run(
        'SELECT "price"::int FROM "Booking" WHERE "price" IN (9001, 9002, 9003, 50, 51, 60)'
    )
    assert sorted(found) == [(51,), (9002,), (9003,)]


@MODES
def test_what_users_had_deleted_and_the_way_back_kept_is_gone_again(
    scene: Scene, compared: bool
) -> None:
    """A mass delete is not believed on the way back; the undo knows that it was one."""
    made = released(scene)
    run = scene.stage.run
    run('DELETE FROM "Booking" WHERE "price" > 300')
    new = scene.everything()
    scene.back(made)
    assert run('SELECT count(*) FROM "Booking"') == [(1500,)]
    old = scene.everything()
    run('UPDATE "Booking" SET "price" = 7000 WHERE "price" = 1000')
    undo(scene, compared)
    assert run('SELECT "price"::int FROM "Booking" WHERE "price" > 300') == [(7000,)]
    run('DELETE FROM "Booking" WHERE "price" = 7000')
    assert scene.everything() == new
    if not compared:
        scene.undo("run-2bbbbb", "run-3ccccc", names=("20250101_base",))
        assert len(scene.everything()[0]) == len(old[0])
        assert run('SELECT count(*) FROM "Booking"') == [(1499,)]


@MODES
def test_a_table_without_a_key_comes_back_with_what_the_old_schema_had_no_place_for(
    scene: Scene, compared: bool
) -> None:
    made = released(scene, KEYLESS, BAD)
    run = scene.stage.run
    run(
        "INSERT INTO line (what, kind) VALUES ('odd', 'refunded'), ('even', 'paid');"
        "UPDATE line SET channel = 'shop' WHERE what = 'line 7'"
    )
    scene.back(made)
    assert run("SELECT count(*), count(note) FROM line") == [(33, 32)]  # `even` has none
    run("DELETE FROM line WHERE what IN ('line 3', 'even'); INSERT INTO line VALUES ('later')")
    undo(scene, compared)
    assert run("SELECT count(*) FROM line") == [(33,)]
    assert run("SELECT what FROM line WHERE what IN ('line 3', 'even')") == []
    assert run("SELECT channel FROM line WHERE what IN ('line 7', 'later') ORDER BY what") == [
        ("web",),
        ("shop",),
    ]
    assert run("SELECT what FROM line WHERE kind::text = 'refunded'") == [("odd",)]


def test_a_mass_delete_without_a_key_is_gone_again_too(scene: Scene) -> None:
    made = released(scene, f"{KEYLESS} INSERT INTO line SELECT 'l' FROM generate_series(1, 1200)")
    run = scene.stage.run
    run("DELETE FROM line WHERE what = 'l'")
    scene.back(made)
    assert run("SELECT count(*) FROM line") == [(1232,)]
    run("INSERT INTO line VALUES ('later')")
    scene.undo("run-1aaaaa")
    assert run("SELECT count(*) FROM line") == [(33,)]


def test_a_converted_value_without_a_key_is_as_it_was_unless_its_row_is_gone(scene: Scene) -> None:
    scene.hints = {"line.kind": {"enum_map": {"refunded": "paid"}}}
    made = released(scene, KEYLESS, BAD)
    run = scene.stage.run
    run("UPDATE line SET kind = 'refunded' WHERE what IN ('line 8', 'line 9')")
    scene.back(made)
    assert run("SELECT what FROM line WHERE kind = 'paid' ORDER BY 1") == [("line 8",), ("line 9",)]
    run("DELETE FROM line WHERE what = 'line 8'")
    scene.undo("run-1aaaaa")
    assert run("SELECT what FROM line WHERE kind::text <> 'new'") == [("line 9",)]
    assert run("SELECT kind::text FROM line WHERE what = 'line 9'") == [("refunded",)]
    assert run("SELECT count(*) FROM line") == [(31,)]
