"""Checkpoints made on a CI runner are known on a laptop: where they are, and what to do."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from shared_stage import Memory
from tests.engine_world import plan, step

from taly.app import checkpoints as app_checkpoints
from taly.app.shared_checkpoints import checkpoints_elsewhere, elsewhere, tell, tell_removed
from taly.cli.main import run
from taly.clock import SystemClock
from taly.database.checkpoint.folder import Checkpoint
from taly.database.checkpoint.manifest import BackupFacts, Manifest, MigrationText
from taly.engine.shared import SharedStore
from taly.engine.store.sqlite import SqliteDatabase
from taly.model.environment import Component
from taly.model.plan import ComponentPlan, Disposition, Migration, Plan

NAME = "v12-20261123T134500Z"
MIGRATION = "20261123134500_drop_phone"


@dataclass
class Laptop:
    """As much of a context as checkpoints need."""

    store: SharedStore

    def __post_init__(self) -> None:
        self.config = SimpleNamespace(shared="s3://team/taly")
        database = Component(
            name="database", provider="postgres", settings={"checkpoints": "/laptop/checkpoints"}
        )
        self.environment = SimpleNamespace(
            name="production", components=(database,), component=lambda _: database
        )


@pytest.fixture
def place() -> Memory:
    return Memory()


@pytest.fixture
def laptop(tmp_path: Path, place: Memory) -> Iterator[Any]:
    database = SqliteDatabase(tmp_path / "taly.db")
    store = SharedStore(database, place, "production", folder=tmp_path / "shared")
    yield Laptop(store)
    store.close()


def made(folder: Path, name: str = NAME, *, hour: int = 13, kind: Any = "dump") -> Checkpoint:
    """A checkpoint, as far as it is told of."""
    manifest = Manifest.model_construct(
        name=name,
        component="database",
        commit="c0ffee",
        label="v12",
        by="ci",
        made_at=datetime(2026, 11, 23, hour, tzinfo=UTC),
        backup=BackupFacts(kind=kind, asked=kind),
        migrations=(MigrationText(name=MIGRATION, checksum="1", pending=True),),
    )
    path = folder / name
    path.mkdir(parents=True)
    (path / "manifest.json").write_text('{"sealed": true}')
    return Checkpoint(path=path, manifest=manifest, after=None)


def at(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr("taly.app.shared_checkpoints.socket.gethostname", lambda: host)


def back(verdict: Any = "restore") -> Plan:
    part = ComponentPlan(
        component="database",
        provider="postgres",
        disposition=Disposition.ROLL_BACK,
        why="",
        from_deployment="m2",
        from_label="m2",
        to_deployment="m1",
        to_label="m1",
        migrations=(Migration(name=MIGRATION, verdict=verdict, reasons=()),),
    )
    return replace(plan(step("database")), components=(part,))


def test_a_laptop_knows_what_the_runner_keeps(
    laptop: Any, place: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "ci-runner-7")
    checkpoint = made(tmp_path)
    assert tell(laptop, checkpoint) is checkpoint
    at(monkeypatch, "anna-laptop")
    (seen,) = elsewhere(laptop, [])
    assert (seen.name, seen.host, seen.backup) == (NAME, "ci-runner-7", "dump")
    assert (seen.folder, seen.pending) == (str(tmp_path / NAME), (MIGRATION,))
    sealed = place.get(f"production/checkpoints/{NAME}/manifest.json")
    assert sealed is not None
    assert sealed.body == b'{"sealed": true}'


def test_the_list_as_json_has_what_the_list_as_text_has(
    laptop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    at(monkeypatch, "ci-runner-7")
    tell(laptop, made(tmp_path))
    laptop.clock = SystemClock()
    monkeypatch.setattr(app_checkpoints, "kept", lambda _: [])
    monkeypatch.setattr("taly.cli.checkpoint.opened", lambda *_: laptop)
    assert run(["checkpoint", "list"]) == 0
    assert "on ci-runner-7 · database · 1 pending · dump" in capsys.readouterr().out
    assert run(["checkpoint", "list", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["elsewhere"]
    assert one == {
        "name": NAME,
        "host": "ci-runner-7",
        "folder": str(tmp_path / NAME),
        "component": "database",
        "commit": "c0ffee",
        "label": "v12",
        "by": "ci",
        "made_at": "2026-11-23T13:00:00+00:00",
        "backup": "dump",
        "pending": [MIGRATION],
    }


def test_a_bucket_that_does_not_answer_is_not_told_as_nothing_elsewhere(
    laptop: Any, place: Memory, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    laptop.clock, place.down = SystemClock(), True
    monkeypatch.setattr(app_checkpoints, "kept", lambda _: [])
    monkeypatch.setattr("taly.cli.checkpoint.opened", lambda *_: laptop)
    assert run(["checkpoint", "list", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["elsewhere"] is None
    assert "Other machines' checkpoints are not known" in said.err


def test_the_plan_says_who_has_the_checkpoint_and_what_to_do(
    laptop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "ci-runner-7")
    there = made(tmp_path)
    tell(laptop, there)
    monkeypatch.setattr(app_checkpoints, "kept", lambda _: [])
    (found,) = checkpoints_elsewhere(laptop, back())
    assert found.code == "checkpoint-elsewhere"
    assert found.text == (
        f"ci-runner-7 made the checkpoint {NAME} before {MIGRATION}; its backup, a dump, lies "
        f"there, the rest in {tmp_path / NAME}"
    )
    assert found.hint == (
        f"taly rollback on ci-runner-7, or copy that folder to /laptop/checkpoints/{NAME}"
    )
    assert not list(checkpoints_elsewhere(laptop, back("keep"))), "no migration is taken back"
    monkeypatch.setattr(app_checkpoints, "kept", lambda _: [there])
    assert not list(checkpoints_elsewhere(laptop, back())), "this machine has it"


@pytest.mark.parametrize("kind", ["template", "rds-snapshot", "rds-pitr"])
def test_a_backup_that_lies_nowhere_in_the_folder_is_said_so(
    laptop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    tell(laptop, made(tmp_path, kind=kind))
    monkeypatch.setattr(app_checkpoints, "kept", lambda _: [])
    (found,) = checkpoints_elsewhere(laptop, back())
    assert ("server" if kind == "template" else "in RDS") in found.text


def test_what_is_pruned_is_offered_to_nobody(
    laptop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "ci-runner-7")
    tell(laptop, made(tmp_path))
    tell_removed(laptop, [NAME, "never-told"])
    at(monkeypatch, "anna-laptop")
    assert elsewhere(laptop, []) == []


def test_what_could_not_be_told_is_told_by_the_next_list(
    laptop: Any,
    place: Memory,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at(monkeypatch, "ci-runner-7")
    place.down = True
    older, newer = made(tmp_path), made(tmp_path, "v13-20261123T144500Z", hour=14)
    tell(laptop, older)
    assert "The checkpoint is whole, but" in capsys.readouterr().err
    assert elsewhere(laptop, [older]) is None
    place.down = False
    assert elsewhere(laptop, [older, newer]) == []
    assert [one.name for one in elsewhere(laptop, []) or ()] == [newer.name, older.name]


@pytest.mark.parametrize("body", [b"hello", b"[]", b'{"format_version": 99}', b"{}"])
def test_what_another_taly_wrote_is_left_out(laptop: Any, place: Memory, body: bytes) -> None:
    place.overwrite("production/checkpoints/x/where.json", body)
    assert elsewhere(laptop, []) == []
