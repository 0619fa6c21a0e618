"""The whole way, as its user goes it: status, plan, rollback, a late push, undo, once more."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taly.errors import ExitCode
from tests.e2e.bookings import counted
from tests.e2e.conftest import Sandbox, until

SPEED = 200.0
PREPARES = "CloudFormation.CreateChangeSet"
"""Lists what an update would do, and changes nothing until it is executed."""


def body(done: Any) -> dict[str, Any]:
    """The JSON that a command printed; its messages are shown when it printed none."""
    assert done.stdout, done.stderr
    parsed: dict[str, Any] = json.loads(done.stdout)
    assert parsed["format_version"] == "1.0"
    return parsed


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def state_of(box: Sandbox) -> dict[str, tuple[str, Any]]:
    components = body(box.taly("status", "--json"))["components"]
    return {name: (one["deployment"], one["auto_deploy"]) for name, one in components.items()}


def release(box: Sandbox, name: str) -> dict[str, Any]:
    releases = body(box.taly("releases", "--json"))["releases"]
    found: dict[str, Any] = next(one for one in releases if one["name"] == name)
    return found


def roll_back(box: Sandbox, *more: str) -> dict[str, Any]:
    done = box.taly("rollback", "--yes", "--json", *more)
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    return body(done)


def users_see(box: Sandbox, commit: str) -> None:
    for name, url in box.running.urls.items():
        path = "/health" if name == "backend" else ""
        status, text = fetch(url + path)
        assert status == 200, (name, text)
        assert commit[:7] in text, (name, text)


def pipeline(box: Sandbox) -> str:
    """How CI's last deploy of the database ended."""
    deploys = box.control.state()["vendors"]["postgres"]["database"]["deploys"]
    return str(deploys[-1]["code"])


def quiet(box: Sandbox) -> bool:
    components = body(box.taly("status", "--json"))["components"]
    return not any(one["in_flight"] for one in components.values())


def test_ten_of_ten_components_go_to_r3_each_verified_with_one_write_a_change(
    sandbox: Callable[..., Sandbox],
) -> None:
    """Must show 2."""
    box = sandbox("taly", SPEED)
    before = body(box.taly("status", "--json"))
    assert before["live_release"] == "R4"
    assert len(before["components"]) == 10
    plan = box.taly("plan", "--to", "last-good", "--json")
    assert plan.returncode == ExitCode.OK, plan.stdout + plan.stderr
    calls_before = len(box.control.calls())
    run = roll_back(box, "--to", "last-good")
    assert run["outcome"] == "succeeded"
    assert run["plan_digest"] == body(plan)["plan"]["digest"]
    after = body(box.taly("status", "--json"))
    assert after["live_release"] == "R3"
    assert all(one["in_release"] for one in after["components"].values())
    verified = {step["component"] for step in run["steps"] if step["how"] == "verified"}
    assert verified >= set(after["components"])
    acted = [step["id"] for step in run["steps"] if step["how"] == "acted"]
    writes = [call["target"] for call in box.control.writes(calls_before)]
    prepared = [target for target in writes if target == PREPARES]
    assert acted.count("restore:database") == 1
    assert len(writes) - len(prepared) == len(acted) - 1, (acted, writes)
    assert len(prepared) == 5, "one change set a function, which by itself changes nothing"
    assert len(acted) == 11  # ten components go back, and the Netlify site is locked
    found = counted(box)
    assert found.whole, found
    assert found.rescued > 0, "what the old schema cannot hold"


def test_a_plan_that_was_written_is_exactly_what_runs_and_a_stale_one_is_refused(
    sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    box = sandbox("taly-small", SPEED)
    file = tmp_path / "plan.json"
    box.taly("plan", "--to", "R3", "-o", str(file))
    first = box.taly("rollback", str(file), "--yes", "--json")
    assert first.returncode == ExitCode.OK, first.stdout + first.stderr
    assert body(first)["plan_digest"] == json.loads(file.read_text())["plan"]["digest"]
    again = box.taly("rollback", str(file), "--yes", "--json")
    assert again.returncode == ExitCode.REFUSED
    assert "plan-stale" in {finding["code"] for finding in body(again)["findings"]}


def test_a_plan_that_was_edited_is_refused(sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    box = sandbox("taly-small", SPEED, shared=True)
    file = tmp_path / "plan.json"
    box.taly("plan", "--to", "R3", "-o", str(file))
    file.write_text(file.read_text().replace('"on_failure":"halt"', '"on_failure":"undo"'))
    done = box.taly("rollback", str(file), "--yes")
    assert done.returncode == ExitCode.USAGE
    assert "plan-altered" in done.stderr


def test_a_late_push_of_the_bad_version_changes_nothing_that_users_see(
    sandbox: Callable[..., Sandbox],
) -> None:
    """Must show 7."""
    box = sandbox("taly", SPEED)
    before = state_of(box)
    good, bad = release(box, "R3")["commit"], release(box, "R4")["commit"]
    roll_back(box)
    users_see(box, good)
    box.control.push(bad, outcome="broken")
    box.control.clock(advance_s=1800)
    until(lambda: quiet(box), what="every vendor has dealt with the push")
    users_see(box, good)
    assert pipeline(box) == "stopped", "its migration too"
    assert body(box.taly("status", "--json"))["live_release"] == "R3"
    thawed = box.taly("unfreeze", "--yes", "--json")
    assert thawed.returncode == ExitCode.OK, thawed.stdout + thawed.stderr
    after = state_of(box)
    assert {name: auto for name, (_, auto) in after.items()} == {
        name: auto for name, (_, auto) in before.items()
    }
    users_see(box, good)
    box.control.push(bad, components=["database"])
    assert pipeline(box) == "ok", "what is let through again migrates again"


def test_undo_brings_every_component_back_and_a_second_rollback_works(
    sandbox: Callable[..., Sandbox],
) -> None:
    """Must show 8."""
    box = sandbox("taly", SPEED)
    before = state_of(box)
    first = roll_back(box)
    there = state_of(box)
    assert there != before
    assert counted(box).whole
    undone = box.taly("undo", first["run"], "--yes", "--json")
    assert undone.returncode == ExitCode.OK, undone.stdout + undone.stderr
    assert state_of(box) == before
    found = counted(box)
    assert found.whole, found
    assert found.rescued == 0, "what was rescued is back in its place"
    roll_back(box, "--to", "R3")
    assert state_of(box) == there
    found = counted(box)
    assert found.whole, found


def test_going_back_and_forth_leaves_names_marks_and_the_last_good_release_as_they_were(
    sandbox: Callable[..., Sandbox],
) -> None:
    """Netlify and Vercel forget what was live before a rollback; taly does not."""
    box = sandbox("taly-kept", 3 * SPEED)
    before = body(box.taly("releases", "--json"))
    members = {one["name"]: one["members"] for one in before["releases"]}
    for target in ("R3", "R1"):
        run = roll_back(box, "--to", target)["run"]
        undone = box.taly("undo", run, "--yes", "--json")
        assert undone.returncode == ExitCode.OK, undone.stdout + undone.stderr
    after = body(box.taly("releases", "--json"))
    assert {one["name"]: one["members"] for one in after["releases"] if not one["mixed"]} == members
    assert [one["name"] for one in after["releases"] if one["is_live"]] == ["R4"]
    assert after["last_good"] == before["last_good"] == "R3"


def test_an_expired_target_is_refused_before_any_write(sandbox: Callable[..., Sandbox]) -> None:
    """Must show 6."""
    box = sandbox("expired-image", SPEED)
    done = box.taly("plan", "--to", "R3")
    assert done.returncode == ExitCode.REFUSED
    said = done.stdout + done.stderr
    assert "target-gone" in said
    assert "backend" in said
    assert "R2" in said
    refused = box.taly("rollback", "--to", "R3", "--yes")
    assert refused.returncode == ExitCode.REFUSED
    assert box.control.writes() == []


def test_two_at_once_one_runs_and_the_other_names_it(sandbox: Callable[..., Sandbox]) -> None:
    """Must show 5."""
    box = sandbox("taly-small", 30.0)
    first = box.start_taly("rollback", "--yes", "--json")
    until(lambda: body(box.taly("runs", "--json"))["runs"], what="the first run has begun")
    second = box.taly("rollback", "--yes")
    assert second.returncode == ExitCode.LOCKED, second.stderr
    out, err = first.communicate(timeout=120)
    assert first.returncode == ExitCode.OK, err
    assert json.loads(out)["run"] in second.stdout + second.stderr


@pytest.mark.parametrize("command", ["status", "releases", "plan"])
def test_reading_commands_write_nothing(sandbox: Callable[..., Sandbox], command: str) -> None:
    box = sandbox("taly-small", SPEED, shared=True)
    box.taly(command)
    assert box.control.writes() == []


def test_secrets_occur_nowhere(sandbox: Callable[..., Sandbox]) -> None:
    """Must show 9."""
    box = sandbox("taly", SPEED)
    secrets = {value for name, value in box.environ.items() if "SANDBOXSECRET" in value}
    assert secrets, "the sandbox marks its secrets"
    said = []
    for command in (
        ["status", "--json"],
        ["releases", "--json"],
        ["plan", "--json", "-o", "plan.json"],
        ["rollback", "--yes", "--json"],
        ["runs", "--json"],
        ["status"],
    ):
        done = box.taly(*command)
        said.append(done.stdout + done.stderr)
    run_id = body(box.taly("runs", "--json"))["runs"][0]["id"]
    shown = box.taly("show", run_id, "--json")
    said.append(shown.stdout + shown.stderr)
    said.append((box.directory / "plan.json").read_text())
    stored = b"".join(
        path.read_bytes() for path in (box.directory / ".taly").rglob("*") if path.is_file()
    )
    assert stored
    for marker in {"SANDBOXSECRET", *secrets}:
        assert marker not in "".join(said)
        assert marker.encode() not in stored
