"""Nothing that a vendor says is obeyed by the terminal; what it says can still be read."""

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO

import pytest
from factories import ran, releases, snapshot
from hypothesis import given
from hypothesis import strategies as st
from report_scene import failed, succeeded
from rich.console import Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from taly.app.discover import Health
from taly.app.history import History
from taly.app.plans import Planned
from taly.cli import discover
from taly.cli.controls import visible, visible_text
from taly.cli.output import err, out, print_error, print_error_json, print_json
from taly.cli.plan import show
from taly.cli.run_summary import print_summary, run_body
from taly.cli.sinks import CleanConsole, clean_output
from taly.engine.codec import event_from_json, event_to_json
from taly.engine.redaction import cleaned
from taly.errors import UsageError
from taly.model.check import Finding, Severity
from taly.model.events import StepFailed, StepProgressed, StepUnknown
from taly.model.plan import Plan, Step
from taly.model.release import Evidence
from taly.model.run import Run, StepRun
from taly.providers.netlify.payloads import DeployPayload

TITLE = "\x1b]0;pwned\x07fix \x1b[2J\x1b[1;31mlogin\x1b[0m\r\x9b2K\x1b[/red]"
COMMIT = "\x1b[2J\x9b\x07f"
NOON = "2026-11-23T12:00:00Z"


def netlify() -> DeployPayload:
    return DeployPayload.model_validate(
        {"id": "d1", "created_at": NOON, "title": TITLE, "commit_ref": COMMIT}
    )


def obeyed(said: str) -> list[str]:
    return [char for char in said if char != "\n" and (ord(char) < 32 or 127 <= ord(char) < 160)]


def test_a_netlify_title_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    deploy = netlify()
    assert deploy.label == COMMIT  # the model keeps what the vendor said
    seen = ran("web", (0, deploy.label, TITLE), (5000, "w2", TITLE))
    live = replace(seen.live, label=TITLE, candidates=(TITLE,))
    seen = replace(seen, live=live, notes=(TITLE,), blocked=TITLE)
    history = History(snapshot=snapshot(seen), releases=releases(seen))
    health = {"web": Health(component="web", healthy=False, says=TITLE)}
    out().print(discover._status_table(history, health))
    release = replace(history.releases.all[0], commit=TITLE, label=TITLE)
    out().print(*discover._release_row(history, release), discover._remark(release))
    print_error(UsageError(TITLE, reference="x", hint=TITLE))
    captured = capsys.readouterr()
    assert obeyed(captured.out) == obeyed(captured.err) == []
    assert "fix login" in captured.out
    assert "fix login" in captured.err


def test_json_holds_what_the_vendor_said(capsys: pytest.CaptureFixture[str]) -> None:
    print_error_json(UsageError(TITLE, reference="x"))
    assert json.loads(capsys.readouterr().out)["message"] == TITLE


TURNED = "fix \u202elogin\x9b2J\ud800"


def test_json_on_a_terminal_moves_nothing_and_says_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_error_json(UsageError(TITLE + TURNED, reference="x"))
    said = capsys.readouterr().out
    assert obeyed(said) == []
    assert "\u202e" not in said
    assert json.loads(said)["message"] == TITLE + TURNED


def test_what_goes_past_the_console_is_obeyed_by_no_terminal_either(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A library that prints, a warning, a traceback."""
    with clean_output(["status"]):
        print(TITLE + TURNED)
        sys.stderr.writelines([TITLE, "\x1b", "[2J"])
        err().print(TITLE, markup=False)
    said = capsys.readouterr()
    assert obeyed(said.out) == obeyed(said.err) == []
    assert "\u202e" not in said.out
    assert "fix login" in said.out
    assert said.err.count("fix login") == 2


def test_within_the_last_net_taly_s_own_colours_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    with clean_output(["status"]):
        out().print(f"[good]{escape(TITLE)}[/]")
        print(TITLE)
    said = terminal.getvalue()
    assert "\x1b[32m" in said
    assert obeyed(said.replace("\x1b[32m", "").replace("\x1b[0m", "")) == []


@pytest.mark.parametrize("text", [TITLE, TURNED], ids=["escapes", "turned"])
def test_a_plan_and_a_run_of_hostile_names_move_nothing(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for story in (succeeded(), failed()):
        run = story.fold()
        parts = tuple(
            replace(one, from_label=text, to_label=text, why=text) for one in run.plan.components
        )
        plan = replace(run.plan, components=parts, steps=named(run.plan, text))
        seen = replace(run, plan=plan, by=text, steps=worse(run, text))
        findings = tuple(
            Finding(code="x", severity=one, component=text, text=text, hint=text)
            for one in Severity
        )
        with clean_output(["rollback"]):
            show(Planned(plan=plan, findings=findings, lock=text))
            print_summary(seen)
            print_json("run", run_body(seen, 0))
    said = capsys.readouterr()
    printed = said.out + said.err
    assert obeyed(printed) == []
    assert not [char for char in printed if char in "\u202e\ud800"]
    assert "fix login" in printed


def named(plan: Plan, text: str) -> tuple[Step, ...]:
    """Its steps, whose titles and components say that; they stay where they are in the plan."""
    return tuple(
        replace(step, title=text, component=f"{text}{step.component}") for step in plan.steps
    )


def worse(run: Run, text: str) -> dict[str, StepRun]:
    return {
        name: replace(step, note=text, reason=text, hint=text) for name, step in run.steps.items()
    }


def test_the_event_log_keeps_nothing_that_a_terminal_obeys() -> None:
    evidence = (Evidence(call="x:Read", at=datetime.now(UTC), says=TITLE + TURNED),)
    for event in (
        StepProgressed(step="a", note=TITLE + TURNED),
        StepUnknown(step="a", reason=TITLE + TURNED),
        StepFailed(step="a", reason=TITLE, hint=TURNED, reference="x", evidence=evidence),
    ):
        kept = event_from_json(event_to_json(cleaned(event)))
        texts = [getattr(kept, name, "") for name in ("note", "reason", "hint")]
        texts += [one.says for one in getattr(kept, "evidence", ())]
        assert not [one for one in texts if visible(one) != one]
        assert "fix login" in "".join(texts)


def test_on_a_terminal_taly_s_own_colours_stay() -> None:
    stream = StringIO()
    console = CleanConsole(
        file=stream, force_terminal=True, color_system="standard", width=60, highlight=False
    )
    table = Table("name")
    table.add_row(f"[green]{escape(TITLE)}[/]")
    table.add_row(Text(TITLE))
    console.print(
        f"[green]{escape(TITLE)}[/]", Panel(escape(TITLE), expand=False, title=escape(TITLE))
    )
    console.print(Group(table, Text(TITLE, style="red")))
    said = stream.getvalue()
    for own in ("\x1b[32m", "\x1b[31m", "\x1b[1m", "\x1b[0m"):
        said = said.replace(own, "")
    assert obeyed(said) == []
    assert said.count("fix login") >= 4


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("\x1b[2Ja", "a"),
        ("\x1b[38;5;1ma\x1b[0m", "a"),
        ("\x1b]0;title\x07a", "titlea"),
        ("\x1b]8;;http://x\x1b\\a", ";http://xa"),
        ("\x1bPq#0\x1b\\a", "q#0a"),
        ("\x1bca", "a"),
        ("\x9b2Ka\x9d0;b\x9c", "ab"),
        ("a\rb\bc\x7f", "abc"),
        ("a\u202eb\u2066", "ab"),
        ("a\ud800", "a"),
        ("tab\tline\nend", "tab\tline\nend"),
        ("Zürich 🎉 café", "Zürich 🎉 café"),
        ("broken \x1b", "broken "),
        ("\x1b[", "["),
        ("a [2J] b", "a [2J] b"),
    ],
)
def test_what_is_obeyed_goes_and_what_is_read_stays(given: str, seen: str) -> None:
    assert visible(given) == seen
    assert visible_text(Text(given)).plain == visible(Text(given).plain)


@given(st.text(st.sampled_from("\x1b[]0;2Jm\x07\x9b\\ a\r\n\x08P")))
def test_nothing_is_put_together_out_of_what_is_left(text: str) -> None:
    assert obeyed(visible(text)) == []


@given(st.lists(st.tuples(st.text("ab\x1b[2J\x9b", max_size=8), st.sampled_from(["red", "dim"]))))
def test_styles_stay_on_their_letters(parts: list[tuple[str, str]]) -> None:
    """Each part ends with a letter of its own, which no sequence swallows."""
    text = Text.assemble(*((f"{part} é", style) for part, style in parts))
    clean = visible_text(text)
    assert clean.plain == visible(text.plain)
    styles = [
        next(span.style for span in clean.spans if span.start <= at < span.end)
        for at, letter in enumerate(clean.plain)
        if letter == "é"
    ]
    assert styles == [style for _, style in parts]
