"""Column hints in a revert: they say how newer values read in the old schema."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.contract.revert_stage import Project
from tests.contract.test_revert_shapes import INIT, ONE, applied

from taly.errors import VendorRefused

SCHEMA = """
CREATE TYPE "Status" AS ENUM ('new', 'paid');
CREATE TABLE "B" ("id" SERIAL PRIMARY KEY, "status" "Status" NOT NULL DEFAULT 'new',
  "name" TEXT NOT NULL, "score" INTEGER NOT NULL DEFAULT 0, "cents" NUMERIC(10, 2));
INSERT INTO "B" ("status", "name", "score", "cents")
VALUES ('new', 'Ada', 1, 100), ('paid', 'Bob', 2, 200);
"""
SHOWN = 'SELECT "id", "status"::text, "name", "score"::int, "cents"::text FROM "B" ORDER BY 1'


@pytest.fixture
def project(tmp_path: Path, postgres_url: str) -> Project:
    made = Project(tmp_path, postgres_url)
    made.migration(INIT, SCHEMA)
    assert made.deploy().code == "ok"
    return made


def hinted(**columns: Any) -> str:
    return json.dumps({f"B.{name}": hint for name, hint in columns.items()})


CASES = {
    "a label": (
        "ALTER TYPE \"Status\" ADD VALUE 'refunded'",
        """INSERT INTO "B" ("status", "name") VALUES ('refunded', 'Cid');
        UPDATE "B" SET "status" = 'refunded' WHERE "id" = 1""",
        hinted(status={"enum_map": {"refunded": "paid"}}),
        [
            (1, "paid", "Ada", 1, "100.00"),
            (2, "paid", "Bob", 2, "200.00"),
            (3, "paid", "Cid", 0, None),
        ],
    ),
    "a column that was dropped": (
        'ALTER TABLE "B" ADD COLUMN "first" TEXT; UPDATE "B" SET "first" = lower("name");'
        ' ALTER TABLE "B" DROP COLUMN "name"',
        'INSERT INTO "B" ("first") VALUES (\'cid\')',
        hinted(name={"fill": "coalesce(initcap(\"first\"), '?')"}),
        [
            (1, "new", "Ada", 1, "100.00"),
            (2, "paid", "Bob", 2, "200.00"),
            (3, "new", "Cid", 0, None),
        ],
    ),
    "a value that was required": (
        'ALTER TABLE "B" ALTER COLUMN "name" DROP NOT NULL',
        'INSERT INTO "B" ("score") VALUES (3); UPDATE "B" SET "name" = NULL WHERE "id" = 2',
        hinted(name={"fill": "'guest ' || \"id\""}),
        [
            (1, "new", "Ada", 1, "100.00"),
            (2, "paid", "guest 2", 2, "200.00"),
            (3, "new", "guest 3", 3, None),
        ],
    ),
    "a type that no cast leads back to": (
        'ALTER TABLE "B" ALTER COLUMN "score" TYPE NUMERIC(8, 2) USING "score" / 10.0',
        'INSERT INTO "B" ("name", "score") VALUES (\'Cid\', 0.45);'
        ' UPDATE "B" SET "score" = 7.5 WHERE "id" = 1',
        hinted(score={"transform": 'round("score" * 10)'}),
        [
            (1, "new", "Ada", 75, "100.00"),
            (2, "paid", "Bob", 2, "200.00"),
            (3, "new", "Cid", 5, None),
        ],
    ),
    "a text that is no number": (
        'ALTER TABLE "B" ALTER COLUMN "score" DROP DEFAULT;'
        'ALTER TABLE "B" ALTER COLUMN "score" TYPE TEXT',
        """INSERT INTO "B" ("name", "score") VALUES ('Cid', 'high')""",
        hinted(score={"transform": "CASE \"score\" WHEN 'high' THEN '9' ELSE \"score\" END"}),
        [
            (1, "new", "Ada", 1, "100.00"),
            (2, "paid", "Bob", 2, "200.00"),
            (3, "new", "Cid", 9, None),
        ],
    ),
    "a value that means something else": (
        'UPDATE "B" SET "cents" = "cents" / 100',
        """INSERT INTO "B" ("name", "cents") VALUES ('Cid', 3.5);
        UPDATE "B" SET "name" = 'Bert' WHERE "id" = 2""",
        hinted(cents={"transform": '"cents" * 100'}),
        [
            (1, "new", "Ada", 1, "100.00"),
            (2, "paid", "Bert", 2, "200.00"),
            (3, "new", "Cid", 0, "350.00"),
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_hint_makes_newer_values_readable_and_the_undo_gives_them_back(
    project: Project, case: str
) -> None:
    sql, since, hints, shown = CASES[case]
    before, _ = applied(project, sql, since)
    live, held = project.catalog(), project.contents()
    if case != "a value that means something else":
        with pytest.raises(VendorRefused) as refusal:
            project.revert(ONE)
        assert refusal.value.reference in ("revert-barred", "revert-not-as-before", "revert-failed")
        assert project.contents() == held
    project.revert(ONE, hints=hints)
    assert project.unlike(before) == []
    assert project.run(SHOWN) == shown
    project.apply(ONE, run="run-2bbbbb")
    assert project.unlike(live) == []
    assert project.contents() == held


def test_what_a_hint_does_not_name_bars_the_way_as_ever(project: Project) -> None:
    applied(
        project,
        "ALTER TYPE \"Status\" ADD VALUE 'refunded'; ALTER TYPE \"Status\" ADD VALUE 'void'",
        "INSERT INTO \"B\" (\"status\", \"name\") VALUES ('refunded', 'Cid'), ('void', 'Dan')",
    )
    held = project.contents()
    with pytest.raises(VendorRefused) as refusal:
        project.revert(ONE, hints=hinted(status={"enum_map": {"refunded": "paid"}}))
    assert "status = void" in refusal.value.message
    assert project.contents() == held


def test_a_hints_value_that_does_not_fit_changes_nothing(project: Project) -> None:
    sql, since, _, _ = CASES["a text that is no number"]
    applied(project, sql, since)
    held = project.contents()
    with pytest.raises(VendorRefused) as refusal:
        project.revert(ONE, hints=hinted(score={"transform": "\"score\" || '!'"}))
    assert "nothing was changed" in refusal.value.message
    assert project.contents() == held
