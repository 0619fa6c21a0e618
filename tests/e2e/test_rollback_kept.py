"""Where the old code can live with the new schema, nothing is done to the database at all."""

from collections.abc import Callable
from typing import Any

import psycopg

from taly.errors import ExitCode
from tests.e2e.conftest import Sandbox
from tests.e2e.test_rollback import SPEED, body, roll_back

CONTENT = """
SELECT query_to_xml('TABLE ' || quote_ident(relname) || ' ORDER BY 1', true, false, '')::text
FROM pg_stat_user_tables ORDER BY relname
"""


def content(box: Sandbox) -> list[Any]:
    """Every row of every table, the ledger's too."""
    with psycopg.connect(box.environ["DATABASE_URL"]) as connection:
        return connection.execute(CONTENT).fetchall()


def test_a_database_that_the_old_code_can_read_stays_as_it_is(
    sandbox: Callable[..., Sandbox],
) -> None:
    box = sandbox("taly-kept", SPEED)
    before = content(box)
    shown = body(box.taly("plan", "--json"))["plan"]
    parts = {part["component"]: part for part in shown["components"]}
    assert parts["database"]["disposition"] == "kept"
    assert [one["verdict"] for one in parts["database"]["migrations"]] == ["keep"]
    kinds = [step["kind"] for step in shown["steps"] if step["component"] == "database"]
    assert kinds == ["verify"]
    run = roll_back(box)
    status = body(box.taly("status", "--json"))
    assert status["live_release"] == "R3"
    assert all(one["in_release"] for one in status["components"].values())
    assert len(status["components"]) == 10
    assert content(box) == before
    undone = box.taly("undo", run["run"], "--yes", "--json")
    assert undone.returncode == ExitCode.OK, undone.stdout + undone.stderr
    assert content(box) == before
