"""`taly report` and `taly metrics` on a store alone: no vendor is there to be asked."""

import json
from pathlib import Path
from typing import Any

import pytest
from report_scene import Story, failed, platform_plan, succeeded, undo_of
from tests.e2e.test_json_docs import check

from taly.cli import main
from taly.engine.owner import Owner
from taly.engine.store import Marked, Store, open_store
from taly.model.events import LeaseTaken, RunStarted
from taly.model.release import Mark
from taly.model.run import Run

FILE = """
environment = "production"
store = "{store}"
[components.web]
provider = "netlify"
site = "w"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a taly.toml, in which the test stands."""
    (tmp_path / "taly.toml").write_text(FILE.format(store=tmp_path / "runs.db"), "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keep(store: Store, story: Story) -> str:
    """Put a story into the store; the run's id there."""
    first, *rest = story.events
    assert isinstance(first.event, RunStarted)
    owner = Owner(by="ada", host="laptop", machine="m", pid=1, started="s")
    lease = store.create_run(story.plan, owner, at=first.at, version="1.2", lease_s=20)
    events = [(one.at, one.event) for one in rest if not isinstance(one.event, LeaseTaken)]
    if events:
        store.append(lease, events, after=1)
    return lease.run_id


def stored(folder: Path, *stories: Story) -> list[str]:
    store = open_store(str(folder / "runs.db"))
    ids = [keep(store, story) for story in stories]
    store.close()
    return ids


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main.run(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def undo_story(story: Story, run: str) -> Story:
    """The story of its undo, with the id that it has in the store."""
    story.run = run
    undone: Run = undo_of(story)
    again = Story(undone.plan, "undo", story.at).begin()
    for step in undone.plan.steps:
        again.do(step)
    return again.end("succeeded")


def test_markdown_on_stdout_and_files_by_their_names(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run,) = stored(folder, succeeded())
    said = printed(capsys, "report", run)
    assert said.startswith("# Rollback of production: R2 → R1\n")
    assert printed(capsys, "report", run, "-o", "a.md") == ""
    assert (folder / "a.md").read_text("utf-8") == said
    assert printed(capsys, "report", run, "-o", "a.HTML") == ""
    assert (folder / "a.HTML").read_text("utf-8").startswith("<!DOCTYPE html>")


def test_another_kind_of_file_is_refused_before_anything_else(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["report", "run-x", "-o", "a.pdf"]) == 2
    assert "report-format" in capsys.readouterr().err
    assert not (folder / "a.pdf").exists()


def test_a_run_that_there_is_not(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["report", "run-x"]) == 2
    assert "run-unknown" in capsys.readouterr().err


def test_the_mark_comes_from_the_store(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = succeeded()
    (run,) = stored(folder, story)
    store = open_store(str(folder / "runs.db"))
    store.name_releases("production", ["first", "second"], {})
    for why in (f"rolled back in {run}", "double charges"):
        at = story.at
        marked = Marked(content_id="second", mark=Mark.BAD, why=why, by="eve", at=at)
        store.mark_release("production", marked)
        said = printed(capsys, "report", run)
        assert ("nobody said why" in said) is (why != "double charges")
    assert "marked bad by eve" in said
    store.close()


def test_a_run_that_was_undone_names_the_undo(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = succeeded()
    (run,) = stored(folder, first)
    (undo,) = stored(folder, undo_story(first, run))
    assert f"It was taken back by {undo}." in printed(capsys, "report", run)
    assert printed(capsys, "report", undo).startswith(f"# Undo of {run} on production")


def test_json_is_what_the_page_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def ask(*arguments: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(printed(capsys, *arguments))
        return answer

    first = succeeded()
    (run,) = stored(folder, first)
    (undo,) = stored(folder, undo_story(first, run))
    (broken, other) = stored(folder, failed(), succeeded())
    stored(folder, Story(platform_plan()).begin())
    asked = [ask("report", one, "--json") for one in (run, undo, broken, other)]
    for one in asked:
        one["idle"].append({"from_s": 1.0, "to_s": 2.0, "why": "no process worked on the run"})
    asked[0]["databases"][0]["not_set"].append("a setting")
    check("report", *asked)
    check("metrics", ask("metrics", "--format", "json"))
    assert asked[0]["undone_by"][0]["run"] == undo


def test_metrics_as_table_and_for_prometheus(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "0" in printed(capsys, "metrics")
    stored(folder, succeeded(), failed(), Story(platform_plan()).begin())
    table = printed(capsys, "metrics")
    assert "2: 1 succeeded, 1 failed" in table
    assert "1m 40s" in table
    text = printed(capsys, "metrics", "--format", "prometheus")
    assert 'taly_run_success_ratio{environment="production"} 0.5\n' in text
