"""What a revert's undo brings back and leaves, and what becomes of writes while one is taken."""

import threading
from pathlib import Path

import psycopg
import pytest
from tests.contract.revert_stage import RUN, Project
from tests.contract.test_revert_shapes import INIT, ONE, SCHEMA, applied


@pytest.fixture
def project(tmp_path: Path, postgres_url: str) -> Project:
    made = Project(tmp_path, postgres_url)
    made.migration(INIT, SCHEMA)
    assert made.deploy().code == "ok"
    return made


def test_what_the_old_code_wrote_in_between_stays_when_a_revert_is_undone(project: Project) -> None:
    applied(
        project,
        'ALTER TABLE "User" ADD COLUMN "bio" TEXT; UPDATE "User" SET "score" = "score" * 10;'
        ' ALTER TABLE "User" RENAME COLUMN "email" TO "mail";',
        """UPDATE "User" SET "bio" = 'one' WHERE "id" = 1;
        UPDATE "User" SET "score" = 500, "bio" = 'two' WHERE "id" = 2;
        INSERT INTO "User" ("mail", "score", "bio") VALUES ('d', 7, 'd')""",
    )
    project.revert(ONE)
    shown = 'SELECT "id", "score" FROM "User" ORDER BY 1'
    assert project.run(shown) == [(1, 1), (2, 500), (3, 3), (4, 7)]  # 1: only its bio was written
    project.run(
        'UPDATE "User" SET "score" = 600 WHERE "id" = 2; DELETE FROM "User" WHERE "id" = 3;'
        'INSERT INTO "User" ("email", "score") VALUES (\'e\', 8)'
    )
    project.apply(ONE, run="run-undo01")
    assert project.run('SELECT "id", "score", "bio" FROM "User" ORDER BY 1') == [
        (1, 10, "one"),
        (2, 6000, "two"),  # newer than what was rescued: as the migration makes it
        (4, 7, "d"),
        (5, 80, None),
    ]


def test_a_label_that_is_used_at_once_comes_back_too(project: Project) -> None:
    project.run('CREATE TYPE "Kind" AS ENUM (\'A\'); CREATE TABLE "K" ("k" "Kind")')
    applied(
        project,
        """ALTER TYPE "Kind" ADD VALUE 'B';
        CREATE TABLE "Use" ("id" SERIAL PRIMARY KEY, "k" "Kind");""",
        "INSERT INTO \"Use\" (\"k\") VALUES ('B'), ('A')",
    )
    held = project.contents()
    project.revert(ONE)
    project.apply(ONE, run="run-undo01")
    assert project.contents() == held
    assert project.run('INSERT INTO "Use" ("k") VALUES (\'A\') RETURNING "id"') == [(3,)]


def test_every_write_that_was_acknowledged_is_there_or_in_the_bundle(project: Project) -> None:
    applied(
        project,
        'ALTER TABLE "User" ADD COLUMN "bio" TEXT; CREATE TABLE "Tag" ("id" INT PRIMARY KEY)',
    )
    done: list[int] = []
    stop = threading.Event()

    def write() -> None:
        number = 1000
        with psycopg.connect(project.url, autocommit=True) as connection:
            while not stop.is_set():
                number += 1
                try:
                    connection.execute('INSERT INTO "Tag" VALUES (%s)', (number,))
                    connection.execute(
                        'INSERT INTO "User" ("id", "email", "bio") VALUES (%s, %s, %s)',
                        (number, f"n{number}", f"bio {number}"),
                    )
                except psycopg.Error:
                    return
                done.append(number)

    writers = [threading.Thread(target=write)]
    for writer in writers:
        writer.start()
    while len(done) < 20:
        stop.wait(0.01)
    project.revert(ONE)
    for writer in writers:
        writer.join()
    rescued = project.rescued(ONE)
    tags = {row["id"] for name, row in rescued if name == "Tag"}
    bios = {row["id"]: row["bio"] for name, row in rescued if name == "User"}
    assert {str(number) for number in done} <= tags
    assert {str(number): f"bio {number}" for number in done}.items() <= bios.items()
    users = {number for (number,) in project.run('SELECT "id" FROM "User"')}
    assert set(done) <= users


def test_the_ledger_of_a_run_names_it(project: Project) -> None:
    applied(project, 'ALTER TABLE "User" ADD COLUMN "bio" TEXT')
    receipt = project.revert(ONE)
    reader = project.bundle(ONE)
    assert receipt["bundle"] == str(reader.path)
    assert reader.manifest.state == "done"
    assert reader.manifest.run == RUN
