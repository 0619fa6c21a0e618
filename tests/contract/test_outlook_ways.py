"""What is to be done with a database: the verdict, the alternatives and the costs, asked of a real
PostgreSQL with real checkpoints."""

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.contract.checkpoint_stage import Stage

from taly.clock import SystemClock
from taly.database.provider import PostgresProvider
from taly.model.check import Severity
from taly.model.environment import Component
from taly.model.plan import DatabaseOutlook, DatabaseWay, StepKind, TableCount
from taly.model.ports import Differences, StepOptions
from taly.model.release import Deployment, Observed

INIT = """
CREATE TYPE "status" AS ENUM ('requested', 'confirmed');
CREATE TABLE bookings (
    id SERIAL PRIMARY KEY, price_cents INTEGER NOT NULL, room TEXT,
    status "status" NOT NULL DEFAULT 'requested'
);
CREATE TABLE customers (id SERIAL PRIMARY KEY, name TEXT NOT NULL);
"""
ROWS = """
INSERT INTO bookings (price_cents, room) SELECT i, 'room ' || i FROM generate_series(1, 100) i;
INSERT INTO customers (name) SELECT 'name ' || i FROM generate_series(1, 50) i;
"""
RENAME = 'ALTER TABLE bookings RENAME COLUMN "price_cents" TO "price_minor";'
ADD = "ALTER TABLE bookings ADD COLUMN note TEXT;"
DROP = 'ALTER TABLE bookings DROP COLUMN "room";'
LABEL = "ALTER TYPE \"status\" ADD VALUE 'waitlisted';"


class Scene:
    """A booking database whose release of yesterday has one migration fewer."""

    def __init__(self, stage: Stage, **settings: str) -> None:
        self.stage = stage
        self.component = Component(
            name="database",
            provider="postgres",
            settings={
                "migrations": str(stage.migrations),
                "checkpoints": str(stage.base),
                "rescue": str(stage.folder / "rescue"),
                **settings,
            },
        )
        self.provider = PostgresProvider({"DATABASE_URL": stage.url}, SystemClock())

    def migrate(self, name: str, sql: str) -> None:
        """A migration that is written and deployed, an hour later."""
        self.stage.migration(name, sql)
        self.deploy()

    def deploy(self) -> None:
        self.stage.now += timedelta(hours=1)
        self.stage.deploy()

    def observe(self) -> Observed:
        return self.provider.observe(self.component)

    def first(self, seen: Observed) -> Deployment:
        """The release with INIT alone."""
        return next(one for one in seen.history if one.label == "init")

    def differences(self) -> Differences:
        seen = self.observe()
        return self.provider.differences(seen, self.first(seen))

    def outlook(self) -> DatabaseOutlook:
        found = self.differences().database
        assert found is not None
        return found


@pytest.fixture
def scene(tmp_path: Path, postgres_url: str) -> Callable[..., Scene]:
    """`scene(**settings)`: INIT with some rows, deployed."""

    def make(**settings: str) -> Scene:
        made = Scene(Stage(tmp_path, postgres_url), **settings)
        made.migrate("20260101000000_init", INIT)
        made.stage.run(ROWS)
        return made

    return make


def way(found: DatabaseOutlook, verdict: str) -> DatabaseWay:
    return next(one for one in found.ways if one.verdict == verdict)


def count(found: DatabaseOutlook, table: str) -> TableCount | None:
    return next((one for one in found.counts if one.table == f"public.{table}"), None)


def test_what_the_old_code_can_live_with_is_kept(scene: Callable[..., Scene]) -> None:
    made = scene()
    made.migrate("20260102000000_note", ADD)
    found = made.outlook()
    assert found.verdict == "keep"
    assert [one.verdict for one in found.ways] == ["keep", "revert", "restore"]
    assert found.pause_s is None


def test_a_rename_is_reverted_though_nobody_made_a_checkpoint(scene: Callable[..., Scene]) -> None:
    made = scene()
    made.migrate("20260102000000_rename", RENAME)
    found = made.outlook()
    assert found.verdict == "revert"
    assert way(found, "revert").possible
    assert not way(found, "restore").possible
    assert "there is no checkpoint" in way(found, "restore").why
    assert any("price_cents" in cost for cost in way(found, "keep").costs)


def test_a_dropped_column_cannot_be_brought_back_from_nothing(scene: Callable[..., Scene]) -> None:
    made = scene()
    made.migrate("20260102000000_drop", DROP)
    found = made.outlook()
    assert found.verdict == "restore"
    assert [one.possible for one in found.ways] == [True, False, False]
    assert "no checkpoint kept it" in way(found, "revert").why


def test_a_dropped_column_that_a_checkpoint_kept_is_reverted(scene: Callable[..., Scene]) -> None:
    made = scene()
    made.stage.migration("20260102000000_drop", DROP)
    kept = made.stage.checkpoint("none")
    made.deploy()
    found = made.outlook()
    assert found.verdict == "revert"
    assert found.checkpoint == kept.name
    assert any("put back from its checkpoint" in cost for cost in way(found, "revert").costs)
    assert not way(found, "restore").possible
    assert "--backup none" in way(found, "restore").why


def test_rows_with_a_label_that_the_old_type_does_not_know_bar_a_revert(
    scene: Callable[..., Scene],
) -> None:
    made = scene()
    made.stage.migration("20260102000000_label", LABEL)
    made.stage.checkpoint("template")
    made.deploy()
    made.stage.after()
    assert made.outlook().verdict == "keep", "no row has it yet"

    made.stage.run("UPDATE bookings SET status = 'waitlisted' WHERE id <= 7")
    found = made.outlook()
    assert found.verdict == "restore"
    assert "waitlisted" in way(found, "revert").why
    assert way(found, "restore").possible
    assert found.pause_s
    assert found.backup_at is not None
    said = count(found, "bookings")
    assert said is not None
    assert (said.written, said.rescued, said.exact) == (7, 7, True)
    assert "status" in said.why


def test_a_damaged_checkpoint_is_no_way_back(scene: Callable[..., Scene]) -> None:
    made = scene()
    made.stage.migration("20260102000000_drop", DROP)
    kept = made.stage.checkpoint("dump")
    made.deploy()
    (kept.path / "catalog.json").write_text("{}")
    found = made.outlook()
    assert found.checkpoint == ""
    assert "is damaged" in way(found, "restore").why


def test_a_checkpoint_of_another_database_is_no_way_back(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene()
    made.stage.migration("20260102000000_drop", DROP)
    made.stage.checkpoint("none")
    made.deploy()
    monkeypatch.setattr(
        "taly.database.starting_point.same_place", lambda one, live: one.name == "staging"
    )
    found = made.outlook()
    assert found.checkpoint == ""
    assert "is of another database" in way(found, "restore").why


def test_a_checkpoint_of_other_migrations_is_no_way_back(scene: Callable[..., Scene]) -> None:
    made = scene()
    made.migrate("20260102000000_note", ADD)
    made.stage.migration("20260103000000_drop", DROP)
    made.stage.checkpoint("template")
    made.deploy()
    found = made.outlook()
    assert found.checkpoint == ""
    assert way(found, "revert").possible, "what the checkpoint kept is still put back"


def test_a_release_with_more_migrations_than_there_are_now_is_no_matter_of_going_back(
    scene: Callable[..., Scene],
) -> None:
    made = scene()
    made.migrate("20260102000000_note", ADD)
    wanted = made.observe().live
    made.stage.run(
        "UPDATE _prisma_migrations SET rolled_back_at = now() WHERE migration_name ~ 'note'"
    )
    seen = made.observe()
    found = made.provider.differences(seen, wanted)
    assert found.database is not None
    assert found.database.verdict == "keep"
    assert [one.code for one in found.findings] == ["migration-not-applied"]
    assert made.provider.steps(seen, wanted, StepOptions()) == ()


def test_the_steps_of_both_ways_are_offered_and_fit_each_other(scene: Callable[..., Scene]) -> None:
    made = scene()
    made.migrate("20260102000000_rename", RENAME)
    made.migrate("20260103000000_note", ADD)
    seen = made.observe()
    steps = made.provider.steps(seen, made.first(seen), StepOptions())
    assert [step.kind for step in steps] == [StepKind.REVERT, StepKind.REVERT, StepKind.RESTORE]
    newest, oldest, restore = steps
    assert newest.address["migration"] == "20260103000000_note"
    assert newest.before == restore.before == seen.state
    assert oldest.needs == (newest.id,)
    assert oldest.before == newest.wanted
    assert oldest.wanted == restore.wanted == {"migrations": made.first(seen).id}
    for step in steps:
        assert step.address.keys() >= {
            "url_env", "schema", "place", "directory", "checkpoints", "rescue", "hints",
        }  # fmt: skip
    assert made.provider.steps(seen, seen.live, StepOptions()) == ()


@pytest.mark.parametrize("half", [True, False])
def test_a_migration_that_failed_is_taken_back(scene: Callable[..., Scene], half: bool) -> None:
    """Prisma stops every later deploy at it (P3009); its schema is half there, or not at all."""
    made = scene()
    name = "20260102000000_half"
    made.stage.migration(name, f"{ADD} {RENAME} CREATE INDEX by_room ON bookings (room);")
    made.stage.now += timedelta(hours=1)
    made.stage.deploy(fail=name, half=half)
    seen = made.observe()
    assert seen.blocked
    found = made.differences()
    assert found.database is not None
    steps = made.provider.steps(seen, made.first(seen), StepOptions())
    assert steps[0].before == seen.state
    assert found.database.verdict == "revert"
    assert [(one.code, one.severity) for one in found.findings] == [
        ("migration-failed", Severity.WARNING)
    ]
    assert made.provider.check(steps[0]) == ()
    made.provider.act(steps[0], f"run-1abcde:{steps[0].id}")
    assert made.observe().state == steps[0].wanted
    assert not made.observe().blocked
    assert made.stage.run("SELECT count(price_cents) FROM bookings") == [(100,)]


def test_texts_that_the_checkout_has_no_more_are_read_from_the_checkpoint(
    scene: Callable[..., Scene],
) -> None:
    """At night the checkout is of another branch, or there is none; the checkpoint is at hand."""
    made = scene()
    made.stage.migration("20260102000000_drop", DROP)
    made.stage.checkpoint()
    made.deploy()
    wanted = made.differences()
    assert wanted.findings == ()
    for name in ("20260101000000_init", "20260102000000_drop"):
        (made.stage.migrations / name / "migration.sql").unlink()
    assert made.differences() == wanted
    seen = made.observe()
    steps = made.provider.steps(seen, made.first(seen), StepOptions())
    revert = next(one for one in steps if one.kind is StepKind.REVERT)
    assert made.provider.check(revert) == ()
    (made.stage.migrations / "20260102000000_drop" / "migration.sql").write_text(
        "SELECT 1", "utf-8"
    )
    assert made.differences() == wanted, "another text is not what was applied"
    shutil.rmtree(made.stage.base)
    codes = [one.code for one in made.differences().findings]
    assert codes == ["migration-checksum-differs"]


def test_the_plan_names_what_becomes_of_the_column_hints(scene: Callable[..., Scene]) -> None:
    """A misspelt hint would else be found out after the restore, in the rows."""
    hints = {"bookings.status": {"enum_map": {"waitlisted": "requested"}}, "bookings.rom": {}}
    made = scene(hints=json.dumps(hints))
    made.stage.migration("20260102000000_label", LABEL)
    made.stage.checkpoint("template")
    made.deploy()
    made.stage.run("UPDATE bookings SET status = 'waitlisted' WHERE id <= 7")
    found = made.outlook()
    assert found.verdict == "revert", "the hint says how the label reads, so it bars nothing"
    said = way(found, "restore").costs
    assert "bookings: reads by your hints status" in said
    assert "the hint for bookings.rom is not used: the old schema has no such column" in said
    told = way(found, "revert").costs
    assert any(cost.startswith("bookings.status is read by your hint") for cost in told)
    assert any(cost.startswith("the hint for bookings.rom reads nothing") for cost in told)
    unhinted = Scene(made.stage).outlook()
    assert unhinted.verdict == "restore"
    assert "status = waitlisted" in way(unhinted, "revert").why
    plain = Scene(made.stage).outlook()
    assert not any("hint" in cost for one in plain.ways for cost in one.costs)
