"""What a user with the rights that the docs name for planning can see, and what it cannot."""

from collections.abc import Callable, Iterator

import pytest
from tests.contract.test_outlook_ways import RENAME, Scene, count, scene, way

from taly.clock import SystemClock
from taly.database.provider import PostgresProvider
from taly.model.check import Severity
from taly.model.plan import StepKind
from taly.model.ports import StepOptions

__all__ = ["scene"]
"""A fixture that is used by its name."""

READER = "taly_reader"


@pytest.fixture
def reader(scene: Callable[..., Scene]) -> Iterator[Scene]:
    """A scene whose provider may read the ledger and the bookings, and nothing else."""
    made = scene()
    made.migrate("20260102000000_rename", RENAME)
    made.stage.run("UPDATE bookings SET room = 'x' WHERE id <= 5; DELETE FROM customers")
    made.stage.run(f"DROP ROLE IF EXISTS {READER}")
    made.stage.run(f"CREATE ROLE {READER} LOGIN PASSWORD 'secret'")
    made.stage.run(
        f"GRANT USAGE ON SCHEMA public TO {READER};"
        f" GRANT SELECT ON _prisma_migrations, bookings TO {READER}"
    )
    url = made.stage.url_as(READER, "secret")
    made.provider = PostgresProvider({"DATABASE_URL": url}, SystemClock())
    yield made
    made.stage.run(f"DROP OWNED BY {READER}; DROP ROLE {READER}")


def test_reading_the_ledger_is_enough_for_the_verdict(reader: Scene) -> None:
    found = reader.outlook()
    assert found.verdict == "revert"
    assert way(found, "revert").possible
    said = count(found, "bookings")
    assert said is not None
    assert (said.written, said.exact) == (5, True)


def test_tables_that_it_may_not_read_are_left_out_of_the_counts(reader: Scene) -> None:
    reader.stage.run("INSERT INTO customers (name) VALUES ('Ada')")
    assert count(reader.outlook(), "customers") is None


def test_without_createdb_the_plan_comes_out_and_says_what_it_could_not_check(
    reader: Scene,
) -> None:
    """A way down without a checkpoint is told from a replay on a scratch database."""
    seen = reader.observe()
    target = reader.first(seen)
    assert way(reader.outlook(), "revert").possible
    revert = next(
        one
        for one in reader.provider.steps(seen, target, StepOptions())
        if one.kind is StepKind.REVERT
    )
    (said,) = reader.provider.check(revert)
    assert (said.code, said.severity) == ("revert-no-createdb", Severity.ERROR)
    assert "20260102000000_rename: its way down was not checked" in said.text
    assert "DATABASE_URL may not create one (CREATEDB)" in said.text
    assert "ALTER ROLE" in said.hint
    reader.stage.run(f"ALTER ROLE {READER} CREATEDB")
    assert "revert-no-createdb" not in [one.code for one in reader.provider.check(revert)]
