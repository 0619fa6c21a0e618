"""A taly.toml, a store, and workers that only the store knows: for commands about workers."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.engine_world import NOON, plan, step

from taly.app.context import Context, open_context
from taly.cli import main
from taly.engine.owner import Owner
from taly.engine.store import Lease, Store, WorkerRow, open_store
from taly.model.events import (
    Event,
)
from taly.model.plan import Plan
from taly.planning.digest import sealed

FILE = """
environment = "production"
[components.web]
provider = "netlify"
site = "{site}"
[components.database]
provider = "postgres"
{more}
"""
ANA = Owner.here("ana")
WEB = sealed(plan(replace(step("web"), provider="netlify")))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, *, site: str = "w", more: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "taly.toml").write_text(FILE.format(site=site, more=more), "utf-8")
    return folder / "taly.toml"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    opened = open_store(folder / ".taly" / "store.db")
    yield opened
    opened.close()


@pytest.fixture
def context(folder: Path, store: Store) -> Context:
    return open_context(environ={})


def submitted(store: Store, what: Plan = WEB, **fits: str) -> str:
    return store.submit_run(what, ANA, at=NOON, version="1", fits=fits)


def taken(store: Store, run_id: str, *events: Event) -> Lease:
    """A worker took it, and this happened."""
    lease = store.take_waiting(run_id, Owner.here("worker w"), at=NOON, lease_s=20)
    assert lease is not None
    if events:
        store.append(lease, [(NOON, event) for event in events], after=2)
    return lease


def row(name: str = "ops1", **more: Any) -> WorkerRow:
    given = {
        "id": f"w-{name}",
        "name": name,
        "owner": ANA,
        "version": "1",
        "environments": {"production": {}},
        "since": NOON,
    }
    return WorkerRow(**{**given, **more})


def said(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    assert main.run(list(arguments)) == code, capsys.readouterr().err
    out, err = capsys.readouterr()
    return out + err
