"""What each command promises, typed as a user types it."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taly.errors import ExitCode
from tests.e2e.conftest import Sandbox, until
from tests.e2e.test_rollback import SPEED, body, fetch, quiet, release, roll_back, state_of

SLOW = 60.0
"""An App Runner update takes five seconds: time to interrupt it."""
WIDTH = 80


def status(box: Sandbox, *more: str) -> dict[str, Any]:
    return body(box.taly("status", "--json", *more))


def latest(box: Sandbox) -> dict[str, Any]:
    runs: list[dict[str, Any]] = body(box.taly("runs", "--json"))["runs"]
    return runs[0]


def phases(run: dict[str, Any]) -> set[str]:
    return {step["phase"] for step in run["steps"]}


def with_policy(box: Sandbox, folder: Path, policy: str) -> str:
    """A taly.toml of the same platform with another policy."""
    text = (box.directory / "taly.toml").read_text()
    text = text.replace('on_failure = "halt"', policy)
    text = text.replace('"prisma/migrations"', f'"{box.directory}/prisma/migrations"')
    file = folder / "taly.toml"
    file.write_text(text)
    return str(file)


# Nothing is touched: these share one platform


def test_without_a_terminal_nobody_is_asked_and_nothing_is_done(
    sandbox: Callable[..., Sandbox],
) -> None:
    box = sandbox("taly-small", SPEED, shared=True)
    done = box.taly("rollback")
    assert done.returncode == ExitCode.USAGE
    assert "--yes" in done.stderr
    assert box.control.writes() == []


def test_an_environment_that_demands_a_confirmation_gets_it_or_nothing_is_done(
    sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    box = sandbox("taly-small", SPEED, shared=True)
    config = with_policy(box, tmp_path, 'confirm = "production"')
    for given in ((), ("--confirm=prod",)):
        done = box.taly("rollback", "--yes", "--config", config, *given)
        assert done.returncode == ExitCode.USAGE
        assert "--confirm=production" in done.stderr
    assert box.control.writes() == []


def test_an_unknown_target_names_those_near_it(sandbox: Callable[..., Sandbox]) -> None:
    box = sandbox("taly-small", SPEED, shared=True)
    done = box.taly("rollback", "--to", "R33", "--yes")
    assert done.returncode == ExitCode.REFUSED
    assert "R33" in done.stderr
    assert "R3," in done.stderr


def test_an_unknown_component_is_a_mistake_and_names_the_known_ones(
    sandbox: Callable[..., Sandbox],
) -> None:
    box = sandbox("taly-small", SPEED, shared=True)
    for option in ("--only", "--skip"):
        done = box.taly("rollback", option, "dashbord", "--yes")
        assert done.returncode == ExitCode.USAGE
        assert "dashboard" in done.stderr


def test_all_mistakes_of_a_config_are_listed_and_nobody_is_called(
    sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    box = sandbox("taly-small", SPEED, shared=True)
    file = tmp_path / "taly.toml"
    text = (box.directory / "taly.toml").read_text()
    text = text.replace('service = "taly-backend"', 'servce = "taly-backend"')
    file.write_text(text.replace('"halt"', '"hold"').replace('after = ["backend"]', "after = 3"))
    calls = len(box.control.calls())
    done = box.taly("rollback", "--yes", "--config", str(file))
    assert done.returncode == ExitCode.USAGE
    said = " ".join(done.stderr.split())
    for place in ("policy.on_failure", "backend.service", "backend.servce", "payments.after"):
        assert place in said, done.stderr
    assert len(box.control.calls()) == calls


def test_only_and_skip_narrow_the_plan(sandbox: Callable[..., Sandbox]) -> None:
    box = sandbox("taly-small", SPEED, shared=True)

    def going(*options: str) -> set[str]:
        steps = body(box.taly("plan", "--json", *options))["plan"]["steps"]
        return {step["component"] for step in steps if step["kind"] == "roll-back"}

    assert going("--only", "dashboard", "--only", "backend") == {"dashboard", "backend"}
    assert going("--skip", "backend") == {"dashboard", "payments", "taly-send-email"}


def test_watch_ends_on_ctrl_c(sandbox: Callable[..., Sandbox]) -> None:
    box = sandbox("taly-small", SPEED, shared=True)
    with box.start_taly("status", "--watch") as process:
        try:
            until(lambda: "payments" in process.stdout.readline(), what="a first look")
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == ExitCode.INTERRUPTED
    assert "Traceback" not in said


@pytest.mark.parametrize("command", ["status", "releases", "plan"])
def test_nothing_is_wider_than_a_terminal(sandbox: Callable[..., Sandbox], command: str) -> None:
    box = sandbox("taly", SPEED, shared=True)
    done = box.taly(command, NO_COLOR="1", COLUMNS=str(WIDTH))
    assert done.returncode == ExitCode.OK, done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    assert lines
    assert [line for line in lines if len(line) > WIDTH] == []
    assert "\x1b" not in done.stdout + done.stderr
    assert not [line for line in lines if line.strip() and line.startswith("Traceback")]


# Runs that somebody stops


def under_way(box: Sandbox) -> Any:
    """A rollback that has begun to write."""
    process = box.start_taly("rollback", "--yes")
    until(box.control.writes, what="the rollback writes")
    return process


def test_cancel_drains_and_offers_undo(sandbox: Callable[..., Sandbox]) -> None:
    box = sandbox("taly-small", SLOW)
    before = state_of(box)
    process = under_way(box)
    run = latest(box)["id"]
    asked = box.taly("cancel", run)
    assert asked.returncode == ExitCode.OK, asked.stderr
    assert f"taly undo {run}" in asked.stderr
    said, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED
    assert "Cancelled" in said
    shown = body(box.taly("show", run, "--json"))
    assert shown["outcome"] == "cancelled"
    assert phases(shown) == {"done", "waiting"}, "what was begun was brought to its end"
    undone = box.taly("undo", run, "--yes", "--json")
    assert undone.returncode == ExitCode.OK, undone.stdout + undone.stderr
    assert state_of(box) == before


def test_ctrl_c_drains_and_resume_finishes(sandbox: Callable[..., Sandbox]) -> None:
    box = sandbox("taly-small", SLOW)
    process = under_way(box)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED, said
    run = latest(box)
    assert run["outcome"] is None
    assert f"taly resume {run['id']}" in said
    assert phases(body(box.taly("show", run["id"], "--json"))) == {"done", "waiting"}
    resumed = box.taly("resume", run["id"], "--json")
    assert resumed.returncode == ExitCode.OK, resumed.stdout + resumed.stderr
    assert status(box)["live_release"] == "R3"


# What the team says (what the policy says: test_policy.py)


def test_what_the_team_says_of_a_release_counts(sandbox: Callable[..., Sandbox]) -> None:
    """record and mark, a rollback typed twice, unfreeze typed twice: one platform, in turn."""
    box = sandbox("taly-small", SPEED)
    assert box.taly("record", "--commit", release(box, "R4")["commit"], "--label", "v4.0").stderr
    assert release(box, "R4")["label"] == "v4.0"
    assert "v4.0" in box.taly("releases").stdout
    assert box.taly("mark", "R3", "bad", "--why", "lost money").returncode == ExitCode.OK
    releases = body(box.taly("releases", "--json"))
    assert releases["last_good"] == "R2"
    assert release(box, "R3")["mark_why"] == "lost money"
    assert box.taly("mark", "R3", "good", "--why", "found it").returncode == ExitCode.OK
    roll_back(box)
    again = box.taly("rollback", "--yes", "--json")
    assert again.returncode == ExitCode.OK
    assert status(box)["live_release"] == "R3", "typed twice is not two releases back"
    first = box.taly("unfreeze", "--yes")
    assert first.returncode == ExitCode.OK, first.stderr
    writes = len(box.control.writes())
    second = box.taly("unfreeze", "--yes")
    assert second.returncode == ExitCode.OK
    assert "nothing to do" in second.stderr.lower()
    assert len(box.control.writes()) == writes


# Vendors in trouble


def test_a_dead_vendor_hides_no_other(sandbox: Callable[..., Sandbox]) -> None:
    box = sandbox("taly-small", SPEED)
    box.control.faults({"kind": "refuse", "vendor": "vercel", "status": 503, "count": 10_000})
    components = status(box)["components"]
    assert {name for name, one in components.items() if not one["observed"]} == {"dashboard"}
    assert "503" in components["dashboard"]["reason"]
    told = box.taly("status")
    assert told.returncode == ExitCode.OK
    assert "503" in told.stdout
    assert "fd7a521" in told.stdout, "the others are shown"
    done = box.taly("rollback", "--yes")
    assert done.returncode == ExitCode.REFUSED
    assert "dashboard" in done.stdout + done.stderr
    assert box.control.writes() == []


def test_bad_builds_under_way_are_stopped_and_do_not_come_back(
    sandbox: Callable[..., Sandbox],
) -> None:
    box = sandbox("in-flight", SPEED)
    busy = {name for name, one in status(box)["components"].items() if one["in_flight"]}
    assert busy == {"dashboard", "payments"}
    good = release(box, "R3")["commit"]
    roll_back(box, "--to", "R3")
    box.control.clock(advance_s=1800)
    until(lambda: quiet(box), what="no build is left")
    assert status(box)["live_release"] == "R3"
    for name in busy:
        code, text = fetch(box.url(name))
        assert (code, good[:7] in text) == (200, True), text


def test_flaky_vendors_end_well_or_are_settled_by_resume(sandbox: Callable[..., Sandbox]) -> None:
    box = sandbox("flaky", SPEED)
    done = box.taly("rollback", "--to", "R3", "--yes", "--json")
    run = body(done)
    if done.returncode != ExitCode.OK:
        assert done.returncode == ExitCode.UNKNOWN, done.stdout + done.stderr
        unknown = [step for step in run["steps"] if step["phase"] == "unknown"]
        assert all(step["reason"] for step in unknown)
        settled = box.taly("resume", run["run"], "--json")
        assert settled.returncode == ExitCode.OK, settled.stdout + settled.stderr
    assert status(box)["live_release"] == "R3"


def test_a_team_keeps_its_runs_in_postgresql(
    sandbox: Callable[..., Sandbox], postgres_url: str
) -> None:
    box = sandbox("taly-small", SLOW)
    refused = box.taly("runs", "--store", postgres_url)
    assert refused.returncode == ExitCode.USAGE
    assert "password-on-command-line" in refused.stderr
    box.environ["TALY_STORE"] = postgres_url
    process = box.start_taly("rollback", "--yes")
    until(box.control.writes, what="the rollback writes")
    process.kill()
    process.communicate()
    (run,) = body(box.taly("runs", "--json"))["runs"]
    assert (run["outcome"], run["alive"]) == (None, False)
    resumed = box.taly("resume", run["id"], "--json")
    assert resumed.returncode == ExitCode.OK, resumed.stdout + resumed.stderr
    assert status(box)["live_release"] == "R3"
    assert not list((box.directory / ".taly").glob("store.db*"))
