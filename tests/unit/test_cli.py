"""The command line's own part: what it prints, and what a script sees of an error."""

import errno
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factories import finished_run, plan_to, ran, releases, snapshot

from taly.app.discover import Health
from taly.app.history import History
from taly.cli import discover, main, run_summary
from taly.cli.output import out, write_file
from taly.engine.store import open_store
from taly.errors import UsageError
from taly.model.plan import Plan
from taly.model.release import Mark
from taly.planning.planner import PlanOptions

HOSTILE = "[/][red]"
"""What Rich would read as markup, and stumble over."""


def error(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def test_with_json_an_error_is_a_document_on_stdout(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = main.run(["status", "--json", "--config", str(tmp_path / "none.toml")])
    assert code == 2
    assert error(capsys) == {
        "format_version": "1.0",
        "kind": "error",
        "reference": "config-missing",
        "message": f"{tmp_path}/none.toml does not exist",
        "hint": "taly init",
        "exit_code": 2,
    }


@pytest.mark.parametrize(
    "arguments", [["plan", "--nonsense"], ["show"], ["nonsense"], ["status", "--watch"]]
)
def test_with_json_a_wrong_command_line_is_a_document_too(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run([*arguments, "--json"]) == 2
    said = error(capsys)
    assert (said["reference"], said["exit_code"]) == ("usage", 2)
    assert said["hint"].endswith("--help")


@pytest.mark.parametrize(
    ("raised", "reference", "code"),
    [(KeyboardInterrupt(), "interrupted", 130), (ValueError("x"), "bug", 1)],
)
def test_with_json_what_nobody_foresaw_is_a_document_too(
    raised: BaseException,
    reference: str,
    code: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(**_: object) -> None:
        raise raised

    monkeypatch.setattr(main.cli, "main", broken)
    assert main.run(["status", "--json"]) == code
    said = error(capsys)
    assert (said["reference"], said["exit_code"]) == (reference, code)


def test_without_json_nothing_is_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["plan", "--nonsense"]) == 2
    assert capsys.readouterr().out == ""


def test_vendors_texts_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    seen = ran("web", (0, "w1", HOSTILE), (5000, "w2", HOSTILE))
    live = replace(seen.live, label=HOSTILE, candidates=(HOSTILE,))
    seen = replace(seen, live=live, notes=(HOSTILE,), blocked=HOSTILE)
    history = History(snapshot=snapshot(seen), releases=releases(seen))
    health = {"web": Health(component="web", healthy=False, says=HOSTILE)}
    out().print(discover._status_table(history, health))
    release = replace(
        history.releases.all[0],
        commit=HOSTILE,
        label=HOSTILE,
        mark=Mark.BAD,
        mark_why=HOSTILE,
        ambiguous=(HOSTILE,),
        kept={HOSTILE: ""},
    )
    out().print(*discover._release_row(history, release), discover._remark(release))
    assert capsys.readouterr().out.count("[red]") == 7


def test_a_component_may_be_called_what_rich_reads_as_markup(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "a[/]"
    plan = plan_to("R1", ran(name, (0, "w1"), (5000, "w2")))
    run_summary.print_summary(finished_run(plan))
    assert f"roll back {name}" in capsys.readouterr().out


def partial(only: str) -> Plan:
    seen = (ran("web", (0, "w1"), (5000, "w2")), ran("api", (0, "a1"), (5000, "a2")))
    plan: Plan = plan_to("R1", *seen, options=PlanOptions(only=frozenset({only})))
    return plan


def test_a_part_of_the_platform_is_not_called_the_whole() -> None:
    seen = (ran("web", (0, "w1"), (5000, "w2")), ran("api", (0, "a1"), (5000, "a2")))
    assert run_summary.goal(plan_to("R1", *seen)) == "production is at R1"
    assert run_summary.goal(partial("web")) == "1 of 2 components of production are at R1"


def test_a_plan_that_leaves_everything_out_does_not_say_that_it_is_live() -> None:
    seen = (ran("web", (0, "w1"), (5000, "w2")), ran("api", (0, "a1"), (5000, "a2")))
    options = PlanOptions(only=frozenset({"web"}), skip=frozenset({"web"}))
    (said,) = plan_to("R1", *seen, options=options).findings
    assert (said.code, said.text) == (
        "nothing-to-do",
        "nothing that the plan may touch has to change for R1",
    )
    (said,) = [f for f in plan_to("R2", *seen).findings if f.code == "nothing-to-do"]
    assert said.text == "R2 is what is live"


def test_nobody_reading_on_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def left(**_: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(main.cli, "invoke", lambda _: left())
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    assert main.run(["status"]) == 130


def test_a_file_that_cannot_be_written_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written: Is a directory"):
        write_file(tmp_path, "{}")


def test_a_store_that_cannot_be_opened_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for store in (tmp_path, tmp_path / "file" / "store.db"):
        with pytest.raises(UsageError, match="cannot be opened"):
            open_store(str(store))
