"""An undo brings rows back that the way back had rescued: the live database never had them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.restore_stage import Scene, played

from taly.database.rescue.bundle import open_bundle
from taly.sandbox.server import Server

REFUNDED = """
INSERT INTO "Booking" ("guest", "status", "price") VALUES (1, 'refunded', 7), (2, 'refunded', 8)
"""


@pytest.fixture
def scene(tmp_path: Path, postgres_server: Server) -> Iterator[Scene]:
    with played(tmp_path, postgres_server) as one:
        yield one


def refunded(scene: Scene) -> int:
    rows = scene.stage.run("SELECT count(*) FROM \"Booking\" WHERE status::text = 'refunded'")
    return int(rows[0][0])


def test_what_was_rescued_is_in_its_place_again_after_the_undo(scene: Scene) -> None:
    made = scene.stage.checkpoint("template")
    assert scene.stage.deploy().code == "ok"
    made = scene.stage.after(made.name)
    scene.stage.run(REFUNDED)
    there = scene.everything()
    scene.back(made)
    bundle = open_bundle(scene.stage.folder / ".taly" / "rescue", "run-1aaaaa", "database")
    assert [(one.name, one.rows) for one in bundle.tables if one.kinds.row] == [("Booking", 2)]
    assert refunded(scene) == 0
    scene.undo("run-1aaaaa")
    assert refunded(scene) == 2
    assert scene.everything()[0] == there[0]


def test_a_rescued_row_that_somebody_brought_back_counts_once(scene: Scene) -> None:
    made = scene.stage.checkpoint("template")
    assert scene.stage.deploy().code == "ok"
    made = scene.stage.after(made.name)
    scene.stage.run(REFUNDED)
    scene.back(made)
    bundle = open_bundle(scene.stage.folder / ".taly" / "rescue", "run-1aaaaa", "database")
    [table] = [one for one in bundle.tables if one.kinds.row]
    key = next(bundle.rows(table)).row["id"]
    scene.stage.run(
        f'INSERT INTO "Booking" ("id", "guest", "status") VALUES (\'{key}\', 1, \'paid\')'
    )
    scene.undo("run-1aaaaa")
    assert refunded(scene) == 1


def test_an_undo_rescues_nothing_that_only_the_way_back_had_put_there(scene: Scene) -> None:
    made = scene.stage.checkpoint("template")
    assert scene.stage.deploy().code == "ok"
    made = scene.stage.after(made.name)
    [(key,)] = scene.stage.run('SELECT min("id"::text) FROM "Booking"')
    scene.stage.run(f"UPDATE \"Booking\" SET status = 'refunded' WHERE id::text = '{key}'")
    scene.back(made)
    assert refunded(scene) == 0
    receipt = scene.undo("run-1aaaaa")
    assert refunded(scene) == 1
    assert receipt["rescued"] == "0"
