"""Which checkpoints stay: the newest, the recent, and all of them while a run may need one."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from taly.app.checkpoints import outdated, retain
from taly.app.context import Context
from taly.clock import SystemClock
from taly.config import load_config
from taly.database.checkpoint.prune import superfluous
from taly.errors import EnvironmentLocked, UsageError

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TOML = """
environment = "production"
{}
[components.database]
provider = "postgres"
"""


def made(*days_ago: float) -> Any:
    """Checkpoints of these ages, newest first."""
    return [
        SimpleNamespace(manifest=SimpleNamespace(made_at=NOW - timedelta(days=days)))
        for days in days_ago
    ]


def test_the_newest_and_the_recent_stay() -> None:
    every = made(0, 1, 5, 20, 40)
    assert superfluous(every, 2) == every[2:]
    assert superfluous(every, 2, NOW - timedelta(days=10)) == every[3:]
    assert superfluous(every, 4, NOW - timedelta(days=10)) == every[4:]
    assert superfluous(every[4:], 1, NOW - timedelta(days=10)) == []


def context(tmp_path: Path, settings: str) -> Context:
    (tmp_path / "taly.toml").write_text(TOML.format(settings))
    config = load_config(tmp_path / "taly.toml")
    return Context(config=config, clock=SystemClock(), environ={})


def test_what_taly_toml_says_is_kept(tmp_path: Path) -> None:
    kept = context(tmp_path, "[checkpoints]\nkeep = 3\nkeep_days = 14").config.checkpoints
    assert (kept.keep, kept.keep_days) == (3, 14.0)
    plain = context(tmp_path, "").config.checkpoints
    assert (plain.keep, plain.keep_days) == (5, 0.0)
    with pytest.raises(UsageError) as refusal:
        context(tmp_path, "[checkpoints]\nkeep = 0")  # the last one is never removed by a setting
    assert "checkpoints.keep" in refusal.value.message


def test_prune_takes_it_from_there_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, bool]] = []

    def prune(*_: Any, keep: int, since: datetime | None, **__: Any) -> Any:
        asked.append((keep, since is not None))
        return SimpleNamespace(removed=())

    monkeypatch.setattr("taly.app.checkpoints.prune", prune)
    monkeypatch.setattr("taly.app.checkpoints.tell_removed", lambda *_: None)
    at = context(tmp_path, "[checkpoints]\nkeep = 3")
    retain(at, component="", keep=None)
    retain(at, component="", keep=0)
    assert asked == [(3, True), (0, False)]
    assert outdated(at, "") == 0


def test_nothing_is_removed_while_a_run_is_not_over(tmp_path: Path) -> None:
    at = context(tmp_path, "")
    running = SimpleNamespace(unfinished=lambda environment: SimpleNamespace(id="run-1abcde"))
    at.__dict__["store"] = running
    with pytest.raises(EnvironmentLocked) as refusal:
        retain(at, component="", keep=0)
    assert refusal.value.reference == "checkpoint-in-use"
    assert "run-1abcde" in refusal.value.message
