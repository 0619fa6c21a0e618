"""State is kept away from the patient, or the plan says so."""

from pathlib import Path

import pytest

from taly.app.context import Context
from taly.app.keeping import store_in_patient, weak_connections
from taly.clock import SystemClock
from taly.config import Config
from taly.model.environment import Component, Environment

DATABASE = "postgresql://app:secret@db.example:5432/taly?schema=public"


def context(store: str) -> Context:
    component = Component(name="database", provider="postgres")
    return Context(
        config=Config(
            path=Path("taly.toml"),
            environment=Environment(name="production", components=(component,)),
            store=store,
        ),
        clock=SystemClock(),
        environ={"DATABASE_URL": DATABASE},
    )


def test_a_store_in_the_database_that_goes_back_is_warned_of() -> None:
    (found,) = store_in_patient(context("postgresql://taly:other@db.example/taly"))
    assert (found.code, found.component) == ("store-in-database", "database")
    assert "secret" not in found.text + found.hint
    assert "other" not in found.text + found.hint


@pytest.mark.parametrize(
    "store", ["/home/me/.taly/store.db", "postgresql://taly:x@db.example/taly_runs"]
)
def test_a_store_of_its_own_is_fine(store: str) -> None:
    assert list(store_in_patient(context(store))) == []


@pytest.mark.parametrize(
    ("query", "environ", "codes"),
    [
        ("", {}, ["database-tls-unverified"]),
        ("&sslmode=disable", {}, ["database-tls-off"]),
        ("", {"PGSSLMODE": "disable"}, ["database-tls-off"]),
        ("&sslmode=verify-full", {}, []),
        ("", {"TALY_CA_FILE": "/ca.pem"}, []),
    ],
)
def test_a_database_that_need_not_prove_who_it_is_is_told_of(
    query: str, environ: dict[str, str], codes: list[str]
) -> None:
    one = context("runs.db")
    one.environ = {"DATABASE_URL": DATABASE + query, **environ}
    found = list(weak_connections(one, ["database"]))
    assert [finding.code for finding in found] == codes
    assert all("secret" not in finding.text for finding in found)
    assert list(weak_connections(one, [])) == []
