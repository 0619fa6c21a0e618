"""An undo brings rows back that the way back had rescued: the live database never had them."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.contract.restore_stage import Scene, played

from taly.database.rescue.bundle import open_bundle
from taly.sandbox.server import Server

REFUNDED = """
INSERT INTO "Booking" ("guest", "status", "price") VALUES (1, 'refunded', 7), (2, 'refunded', 8)
"""
HINTS = {"Booking.status": {"enum_map": {"refunded": "paid"}}}


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


def moved(scene: Scene) -> None:
    """From now on the live database is not the very one that the way back had made."""
    [(name, comment)] = scene.stage.run(
        "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database"
        " WHERE shobj_description(oid, 'pg_database') LIKE '%\"taly\"%'"
    )
    said = json.loads(comment)
    said["taly"]["oid"] += 1
    scene.stage.run(f'COMMENT ON DATABASE "{name}" IS $${json.dumps(said)}$$')


@pytest.mark.parametrize("hints", [{}, HINTS], ids=["whole rows", "converted values"])
@pytest.mark.parametrize("touched", [False, True], ids=["untouched", "touched since"])
def test_an_undo_that_has_to_compare_overwrites_nothing_that_was_rescued(
    scene: Scene, touched: bool, hints: Mapping[str, Any]
) -> None:
    """Nobody has written to the row since: so its newer version is the one that was put aside."""
    scene.hints = hints
    made = scene.stage.checkpoint("template")
    assert scene.stage.deploy().code == "ok"
    made = scene.stage.after(made.name)
    [(key,)] = scene.stage.run('SELECT min("id"::text) FROM "Booking"')
    row = f"WHERE id::text = '{key}'"
    scene.stage.run(f"UPDATE \"Booking\" SET status = 'refunded', price = 77 {row}")
    scene.back(made)
    assert refunded(scene) == 0
    if touched:
        scene.stage.run(f'UPDATE "Booking" SET guest = 1 + (guest = 1)::int {row}')
    moved(scene)
    scene.undo("run-1aaaaa")
    [(status, price)] = scene.stage.run(f'SELECT status::text, price FROM "Booking" {row}')
    assert (status == "refunded") is not touched
    assert (price == 77) is (not touched or bool(hints))
