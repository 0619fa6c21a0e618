"""Forgetting what a run put aside: never while a run may need it, and only what is that run's."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from taly.app import forgetting
from taly.errors import EnvironmentLocked, UsageError
from taly.model.environment import Component
from taly.model.events import Act, Identity

URL = "postgresql://app:secret@db.example:5432/app"


def aside(run: str, of: str = "app") -> Any:
    since = datetime(2026, 3, 2, tzinfo=UTC)
    return SimpleNamespace(
        name=f"{of}_taly_before_{run}", of=of, run=run, component="database", since=since, bytes=7
    )


def context(holder: Any = None) -> Any:
    components = (
        Component(name="database", provider="postgres", settings={}),
        Component(name="web", provider="netlify", settings={}),
    )
    return SimpleNamespace(
        environment=SimpleNamespace(name="production", components=components),
        environ={"DATABASE_URL": URL},
        by="ada",
        identity=Identity(user="ada"),
        clock=SimpleNamespace(now=lambda: datetime(2026, 3, 3, tzinfo=UTC)),
        store=SimpleNamespace(unfinished=lambda environment: holder),
    )


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A server with two databases of ours put aside and one of another application's."""
    dropped: list[str] = []
    known = [aside("run-1aaaaa"), aside("run-1bbbbb"), aside("run-1aaaaa", "crm")]
    monkeypatch.setattr(forgetting, "put_aside", lambda target: tuple(known))

    def forget(target: Any, run: str) -> Any:
        dropped.append(f"{target.place} {run}")
        return SimpleNamespace(bytes=7)

    monkeypatch.setattr(forgetting, "forget", forget)
    return dropped


def test_only_what_that_run_put_aside_of_this_database_is_dropped(server: list[str]) -> None:
    (kept,) = forgetting.kept_by(context(), "run-1aaaaa")
    assert (kept.component, kept.aside.of) == ("database", "app")
    order: list[Any] = server

    def note(environment: str, at: datetime, act: Act) -> None:
        order.append((environment, act.kind, act.by, dict(act.about)))

    here = context()
    here.store.note = note
    assert forgetting.drop(kept, here) == 7
    name = "app_taly_before_run-1aaaaa"
    about = {"run": "run-1aaaaa", "component": "database", "database": name}
    assert order == [
        ("production", "forgot", "ada", about),  # written down before it is done
        "db.example:5432/app run-1aaaaa",
    ]


def test_nothing_is_dropped_while_a_run_is_not_finished(server: list[str]) -> None:
    holder = SimpleNamespace(id="run-1ccccc", by="ada")
    with pytest.raises(EnvironmentLocked, match="run-1ccccc"):
        forgetting.kept_by(context(holder), "run-1aaaaa")
    assert server == []


def test_a_run_that_keeps_nothing_names_those_that_do() -> None:
    with pytest.raises(UsageError, match="run-1aaaaa, run-1bbbbb"):
        forgetting.kept_by(context(), "run-1zzzzz")
