"""What bars a revert is told, with nothing touched; and so is what cuts it short."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.contract.revert_stage import RUN, Project

from taly.clock import SystemClock
from taly.database.ledger import LOCK
from taly.database.rescue.bundle import bundles
from taly.database.revert import check, revert, session, taking
from taly.database.revert import run as running
from taly.errors import TalyError, VendorRefused
from taly.model.plan import StepKind

INIT, ONE, TWO = "20250101000000_init", "20250201000000_one", "20250301000000_two"
SCHEMA = """
CREATE TABLE "User" ("id" SERIAL PRIMARY KEY, "email" TEXT NOT NULL, "name" TEXT NOT NULL);
CREATE UNIQUE INDEX "User_email_key" ON "User"("email");
INSERT INTO "User" ("email", "name") VALUES ('a', 'Ada'), ('b', 'Bob');
"""
MIXED = """
ALTER TABLE "User" ADD COLUMN "bio" TEXT NOT NULL DEFAULT '';
ALTER TABLE "User" DROP COLUMN "name";
CREATE TABLE "Tag" ("id" SERIAL PRIMARY KEY, "userId" INTEGER REFERENCES "User"("id"));
UPDATE "User" SET "email" = upper("email");
"""
SINCE = """
UPDATE "User" SET "bio" = 'x' WHERE "id" = 1;
INSERT INTO "Tag" ("userId") SELECT 1 FROM generate_series(1, 5);
"""


@pytest.fixture
def project(tmp_path: Path, postgres_url: str) -> Project:
    made = Project(tmp_path, postgres_url)
    made.migration(INIT, SCHEMA)
    assert made.deploy().code == "ok"
    return made


def applied(project: Project, sql: str = MIXED, since: str = SINCE) -> Project:
    """The second migration, with a checkpoint before and rows after it."""
    project.migration(ONE, sql)
    project.checkpoint()
    assert project.apply_statements(ONE)
    if since:
        project.run(since)
    return project


class Untouched:
    """Everything that a failed revert must leave as it was."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._before = self._seen()

    def _seen(self) -> tuple[Any, ...]:
        project = self._project
        ledger = project.run("SELECT id, finished_at, rolled_back_at FROM _prisma_migrations")
        return (project.catalog().tables, project.contents(), sorted(ledger))

    def check(self, *, bundle: bool = False) -> None:
        """`bundle`: one may have been completed right before, for a commit that never came."""
        assert self._seen() == self._before
        states = [one.manifest.state for one in bundles(self._project.rescue, RUN)]
        assert states == (["prepared"] if bundle else [])


def refused(project: Project, migration: str = ONE, **how: Any) -> VendorRefused:
    """The refusal, with nothing touched."""
    untouched = Untouched(project)
    with pytest.raises(VendorRefused) as refusal:
        project.revert(migration, **how)
    untouched.check()
    assert refusal.value.hint
    return refusal.value


def found(project: Project, migration: str = ONE, kind: StepKind = StepKind.REVERT) -> list[str]:
    """Codes of what the check says."""
    step = project.step(migration, kind)
    return [one.code for one in check(step, environ={"DATABASE_URL": project.url})]


def test_a_lock_held_by_somebody_else_is_refused_and_its_holder_named(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "PRISMA_WAIT_S", 0.3)
    applied(project)
    assert found(project) == []
    said: list[str] = []
    with psycopg.connect(project.url, autocommit=True, application_name="prisma") as other:
        other.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        refusal = refused(project, say=lambda note, fraction=None: said.append(note))
        assert found(project) == ["operation-in-flight"]
        assert str(other.info.backend_pid) in refusal.message
    assert refusal.reference == "database-migrating"
    assert "(prisma)" in refusal.message
    assert any("Prisma's lock" in note for note in said)
    project.revert(ONE)


def test_a_middle_one_is_refused_while_a_later_one_stays(project: Project) -> None:
    applied(project)
    project.migration(TWO, 'CREATE INDEX "Tag_user" ON "Tag"("userId")')
    assert project.apply_statements(TWO)
    assert refused(project).reference == "revert-later-applied"
    # The step's turn comes after that of the later one: then it stands in nobody's way.
    step = project.step(ONE)
    assert found(project) == ["revert-later-applied"]
    first = project.step(TWO)
    turn = replace(step, before=first.wanted)
    assert check(turn, environ={"DATABASE_URL": project.url}) == ()
    project.revert(TWO)
    project.revert(ONE, run="run-2abcde")
    assert project.applied() == [INIT]


def test_a_text_that_was_not_applied_is_refused(project: Project) -> None:
    project.migration(ONE, MIXED)
    assert project.apply_statements(ONE)
    text = project.migrations / ONE / "migration.sql"
    text.write_text(MIXED + "-- changed")
    assert refused(project).reference == "migration-checksum-differs"
    assert found(project) == ["migration-checksum-differs"]
    text.unlink()
    assert refused(project).reference == "migration-text-missing"
    assert found(project) == ["migration-text-missing"]


def test_other_line_ends_are_the_same_text(project: Project) -> None:
    applied(project)
    text = project.migrations / ONE / "migration.sql"
    text.write_bytes(text.read_bytes().replace(b"\n", b"\r\n"))
    assert project.revert(ONE)["way"].startswith("checkpoint")


def test_a_checkout_without_the_migration_is_no_obstacle(project: Project) -> None:
    applied(project)
    (project.migrations / ONE / "migration.sql").write_text("-- the fixed one")
    project.revert(ONE, directory="")
    assert project.applied() == [INIT]


@pytest.mark.parametrize("wrong", ["twice", "none", "failed one beside it"])
def test_a_ledger_that_leaves_doubt_is_refused(project: Project, wrong: str) -> None:
    applied(project)
    copy = (
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, started_at, finished_at)"
        " SELECT gen_random_uuid()::text, checksum, {}, started_at, {} FROM _prisma_migrations"
        f" WHERE migration_name = '{ONE}'"
    )
    if wrong == "twice":
        project.run(copy.format("migration_name", "finished_at"))
    elif wrong == "none":
        project.run(
            f"UPDATE _prisma_migrations SET rolled_back_at = now() WHERE migration_name = '{ONE}'"
        )
    else:
        project.run(copy.format(f"'{TWO}'", "NULL"))
    expected = "revert-later-applied" if "beside" in wrong else "revert-ledger"
    assert refused(project).reference == expected


GUARDED = {
    "a label in use": (
        'CREATE TYPE "Role" AS ENUM (\'A\'); ALTER TABLE "User" ADD COLUMN "role" "Role"',
        "ALTER TYPE \"Role\" ADD VALUE 'B'",
        'UPDATE "User" SET "role" = \'B\'',
        'UPDATE "User" SET "role" = NULL',
    ),
    "duplicates where an index was unique": (
        "",
        'DROP INDEX "User_email_key"',
        'INSERT INTO "User" ("email", "name") VALUES (\'a\', \'Again\')',
        'DELETE FROM "User" WHERE "name" = \'Again\'',
    ),
    "a value that no longer fits": (
        "",
        'ALTER TABLE "User" ALTER COLUMN "id" TYPE BIGINT',
        'INSERT INTO "User" ("id", "email", "name") VALUES (9876543210, \'z\', \'Z\')',
        'DELETE FROM "User" WHERE "id" > 9876543',
    ),
    "a required column without a value": (
        "",
        'ALTER TABLE "User" DROP COLUMN "name"',
        'INSERT INTO "User" ("email") VALUES (\'new\')',
        'DELETE FROM "User" WHERE "email" = \'new\'',
    ),
}


@pytest.mark.parametrize("name", GUARDED)
def test_rows_that_bar_the_way_are_refused_and_nothing_is_touched(
    project: Project, name: str
) -> None:
    before, sql, since, mend = GUARDED[name]
    if before:
        project.run(before)
    applied(project, sql, since)
    reference = refused(project).reference
    assert reference == ("revert-failed" if "fits" in name else "revert-barred")
    project.run(mend)
    project.revert(ONE)
    assert project.applied() == [INIT]


def test_a_pooler_is_refused(project: Project) -> None:
    applied(project)
    pooler = {"POOLER": project.url + "?pgbouncer=true"}
    step = project.step(ONE, url_env="POOLER")
    assert [one.code for one in check(step, environ=pooler)] == ["database-pooler"]
    with pytest.raises(VendorRefused) as refusal:
        revert(step, f"{RUN}:{step.id}", environ=pooler, clock=SystemClock())
    assert refusal.value.reference == "database-pooler"


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LOCK_TIMEOUT_MS", 100)
    monkeypatch.setattr(session, "PAUSE_S", 0.02)
    monkeypatch.setattr(taking, "TRIES", 3)


@pytest.mark.usefixtures("_impatient")
def test_tables_that_others_hold_are_waited_for_and_then_named(project: Project) -> None:
    applied(project)
    said: list[str] = []
    with psycopg.connect(project.url, application_name="report") as reader:
        reader.execute('SELECT * FROM "User"')
        refusal = refused(project, say=lambda note, fraction=None: said.append(note))
    assert refusal.reference == "revert-locked"
    assert "report" in refusal.message
    assert any("report" in note for note in said)


@pytest.mark.usefixtures("_impatient")
def test_tables_that_become_free_in_time_are_taken(project: Project) -> None:
    applied(project)
    reader = psycopg.connect(project.url)
    reader.execute('SELECT * FROM "User"')

    def say(note: str, fraction: float | None = None) -> None:
        if "process" in note:
            reader.close()

    project.revert(ONE, say=say)
    assert project.applied() == [INIT]


def test_a_way_down_that_does_not_lead_back_is_rolled_back(project: Project) -> None:
    applied(project)
    (project.migrations / ONE / "down.sql").write_text('DROP TABLE "Tag";')
    refusal = refused(project)
    assert refusal.reference == "revert-not-as-before"
    assert "bio" in refusal.message
    (project.migrations / ONE / "down.sql").write_text("SELECT nonsense;")
    assert refused(project).reference == "revert-failed"


def test_without_rights_nothing_is_touched(project: Project) -> None:
    applied(project)
    project.run(
        "DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN PASSWORD 'plain';"
        " GRANT USAGE ON SCHEMA public TO plain;"
        " GRANT ALL ON ALL TABLES IN SCHEMA public TO plain"
    )
    owner, project.url = project.url, project.url_as("plain", "plain")
    try:
        with pytest.raises(VendorRefused) as refusal:
            project.revert(ONE)
        assert refusal.value.reference == "revert-forbidden"
    finally:
        project.url = owner
        project.run("DROP OWNED BY plain; DROP ROLE plain")
    assert project.applied() == [INIT, ONE]


def test_data_that_nobody_copied_is_warned_of(project: Project) -> None:
    project.migration(ONE, 'ALTER TABLE "User" DROP COLUMN "name"')
    assert project.apply_statements(ONE)
    assert found(project) == ["revert-data-missing"]


def test_an_apply_is_checked(project: Project) -> None:
    applied(project)
    assert found(project, kind=StepKind.APPLY) == ["revert-ledger"]
    project.revert(ONE)
    step = project.step(ONE, StepKind.APPLY, undoes=RUN)
    assert check(step, environ={"DATABASE_URL": project.url}) == ()
    other = project.step(ONE, StepKind.APPLY, undoes="run-nosuch")
    assert [one.code for one in check(other, environ={"DATABASE_URL": project.url})] == [
        "rescue-unreadable"
    ]
    with pytest.raises(TalyError):
        project.apply(ONE, run="run-2abcde", undoes="run-nosuch")
    assert project.applied() == [INIT]
