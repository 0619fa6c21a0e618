"""`taly audit` in a terminal and for scripts; who did it, on any CI."""

import hashlib
import json
import re
import sqlite3
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.e2e.test_json_docs import check
from tests.engine_world import NOON, plan, step

from taly.cli.main import run
from taly.engine.identity import MAX_TEXT, SYSTEMS, by_of, identity_of
from taly.engine.owner import Owner
from taly.engine.store import open_store
from taly.model.events import Act, RunFinished

TOML = """
environment = "production"
store = "taly.db"

[components.web]
provider = "netlify"
site = "s"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose store holds one run, by a CI job, and one act."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taly.toml").write_text(TOML)
    store = open_store(tmp_path / "taly.db")
    environ = {"GITLAB_CI": "true", "GITLAB_USER_LOGIN": "ada", "CI_JOB_URL": "https://ci/7"}
    identity = identity_of(environ)
    one = plan(step("a"))
    lease = store.create_run(
        one, Owner.here(by_of(identity), identity), at=NOON, version="1", lease_s=20
    )
    store.append(lease, [(NOON, RunFinished(outcome="cancelled"))], after=1)
    store.note("production", NOON, Act(kind="forgot", by="ben", about={"run": lease.run_id}))
    store.close()
    return tmp_path


def test_verify_says_intact_and_names_the_next_command(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", "verify"]) == 0
    said = capsys.readouterr()
    assert "production  intact" in said.out
    assert "2 events of 1 run and 1 act outside runs, 1 to 3" in said.out
    assert "next: taly audit head" in said.err
    assert all(len(line) <= 80 for line in said.out.splitlines())


def test_verify_names_the_first_that_was_altered_and_exits_5(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlite3.connect(project / "taly.db") as raw:
        raw.execute("update event set body = replace(body, 'cancelled', 'succeeded')")
    raw.close()
    assert run(["audit", "verify"]) == 5
    said = capsys.readouterr()
    assert "audit-broken" in said.err
    assert "event 2) is not what was written there" in said.err
    assert run(["audit", "verify", "--json"]) == 5
    (trail,) = json.loads(capsys.readouterr().out)["trails"]
    assert (trail["finding"]["position"], trail["finding"]["seq"]) == (2, 2)


def test_a_head_that_was_kept_finds_a_cut_off_end(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", "head"]) == 0
    head = capsys.readouterr().out.split()[0]
    assert run(["audit", "verify", "--head", head]) == 0
    assert "the head that you kept is entry 3" in capsys.readouterr().out
    with sqlite3.connect(project / "taly.db") as raw:
        raw.execute("delete from act")
        (chain,) = raw.execute("select chain from event where position = 2").fetchone()
        raw.execute("update chain_head set position = 2, chain = ?", (chain,))
    raw.close()
    assert run(["audit", "verify"]) == 0  # the store alone cannot tell
    assert run(["audit", "verify", "--head", head]) == 5
    assert run(["audit", "verify", "--head", "abc"]) == 2


def test_export_says_who_and_is_verified_offline(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", "export"]) == 0
    text = capsys.readouterr().out
    first, second, act = [json.loads(line) for line in text.splitlines()]
    for one in (first, second):
        assert (one["by"], one["ci"], one["actor"], one["job"]) == (
            "ada (GitLab CI)", "GitLab CI", "ada", "https://ci/7",
        )  # fmt: skip
        assert one["digest"] == "d1"
    assert (act["kind"], act["by"], act["run"]) == ("forgot", "ben", "")
    file = project / "audit.jsonl"
    file.write_text(text)
    assert run(["audit", "verify", "--file", str(file)]) == 0
    file.write_text(text.replace('"by":"ben"', '"by":"eve"'))
    assert run(["audit", "verify", "--file", str(file)]) == 5
    file.write_text("{")
    assert run(["audit", "verify", "--file", str(file)]) == 2
    assert "line 1" in capsys.readouterr().err


def test_export_refuses_a_time_that_is_none(project: Path) -> None:
    assert run(["audit", "export", "--since", "yesterday"]) == 2
    assert run(["audit", "export", "--since", "2026-01-01"]) == 0


def test_every_known_ci_says_who_and_which_job() -> None:
    for system in SYSTEMS:
        names = [name for _, name, _, _ in string.Formatter().parse(system.job) if name]
        environ = {name: f"<{name}>" for name in (*names, *system.known_by, *system.actor)}
        found = identity_of(environ)
        assert (found.ci, found.actor) == (system.name, f"<{system.actor[0]}>")
        assert all(f"<{name}>" in found.job for name in names)
        assert by_of(found) == f"<{system.actor[0]}> ({system.name})"
        alone = identity_of({system.known_by[0]: "1"})
        assert alone.ci == system.name


def test_without_a_ci_it_is_the_machine_s_user() -> None:
    found = identity_of({})
    assert found.user
    assert by_of(found) == f"{found.user}@{found.host}"


@given(st.text())
def test_an_environment_cannot_put_more_than_a_line_into_the_trail(text: str) -> None:
    found = identity_of({"JENKINS_URL": "x", "BUILD_USER_ID": text + "\x1b[2J\n"})
    assert len(found.actor) <= MAX_TEXT
    assert found.actor.isprintable()


def test_the_json_is_what_the_page_says(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str) -> Any:
        run(["audit", *arguments, "--json"])
        return json.loads(capsys.readouterr().out)

    heads = said("head")
    kept = heads["heads"][0]["head"]
    check("audit-head", heads)
    good = said("verify", "--head", kept, "--head", "0" * 64)
    assert (good["intact"], good["lost_heads"]) == (False, ["0" * 64])
    with sqlite3.connect(project / "taly.db") as raw:
        raw.execute("delete from event where seq = 2")
    raw.close()
    check("audit", good, said("verify"))


def test_the_page_s_program_checks_an_export(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What docs/how-to/audit.md says of the chain is enough to check it without taly."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "audit.md").read_text("utf-8")
    program = page.partition("```python\n")[2].partition("```")[0]
    assert run(["audit", "export"]) == 0
    text = capsys.readouterr().out
    for lines, wanted in ((text, "1 True 2 True 3 True"), (text.replace("ben", "eve"), "3 False")):
        done = subprocess.run(
            [sys.executable, "-c", program], input=lines, capture_output=True, text=True, check=True
        )
        assert wanted in " ".join(done.stdout.split())
    first = json.loads(text.splitlines()[0])
    begin = hashlib.sha256(b"taly audit trail\nproduction").hexdigest()
    assert first["previous"] == begin
    table = page.partition("| key | meaning |")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert set(re.findall(r"`(\w+)`", " ".join(cells))) == set(first)


def test_a_report_says_up_to_where_the_trail_reached(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reports are kept elsewhere: the head in them shows later that nothing was cut off."""
    assert run(["audit", "head"]) == 0
    head = capsys.readouterr().out.split()[0]
    assert run(["runs", "--json"]) == 0
    run_id = json.loads(capsys.readouterr().out)["runs"][0]["id"]
    assert run(["report", run_id]) == 0
    assert head in capsys.readouterr().out
