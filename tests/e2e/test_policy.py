"""When it does not go well: a run taken back by policy, or left and cancelled; a vendor down."""

import json
import signal
from collections.abc import Callable

from taly.errors import ExitCode
from tests.e2e.conftest import Sandbox, until

SPEED = 400.0


def state_of(box: Sandbox) -> dict[str, tuple[str, bool]]:
    components = json.loads(box.taly("status", "--json").stdout)["components"]
    return {name: (one["deployment"], one["auto_deploy"]) for name, one in components.items()}


def test_a_failed_run_is_taken_back_where_the_policy_says_so(
    sandbox: Callable[..., Sandbox],
) -> None:
    box = sandbox("taly-small", SPEED)
    file = box.directory / "taly.toml"
    file.write_text(file.read_text().replace('on_failure = "halt"', 'on_failure = "undo"'))
    before = state_of(box)
    box.control.faults(
        {"component": "backend", "call": "UpdateService", "kind": "refuse", "status": 403}
    )
    done = box.taly("rollback", "--yes", "--json")
    assert done.returncode == ExitCode.STEP_FAILED, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert (said["outcome"], said["exit_code"]) == ("failed", 4)
    assert said["taken_back"]["outcome"] == "succeeded"
    assert any(step["how"] == "acted" for step in said["taken_back"]["steps"])
    assert state_of(box) == before


def test_ctrl_c_names_the_way_on_and_a_run_that_was_left_is_cancelled_by_resuming_it(
    sandbox: Callable[..., Sandbox],
) -> None:
    box = sandbox("taly-small", SPEED)
    going = box.start_taly("rollback", "--yes")
    until(box.control.writes, what="the run has begun")
    going.send_signal(signal.SIGINT)
    _, messages = going.communicate(timeout=60)
    assert going.returncode == ExitCode.INTERRUPTED, messages
    run_id = json.loads(box.taly("runs", "--json").stdout)["runs"][0]["id"]
    assert f"next: taly resume {run_id}" in messages
    cancelled = box.taly("cancel", run_id)
    assert cancelled.returncode == ExitCode.OK
    assert f"next: taly resume {run_id}, then taly undo {run_id}" in cancelled.stderr
    assert box.taly("resume", run_id).returncode == ExitCode.INTERRUPTED
    assert box.taly("undo", run_id, "--yes").returncode == ExitCode.OK


def test_a_vendor_that_is_down_takes_no_name_and_no_mark_away(
    sandbox: Callable[..., Sandbox],
) -> None:
    box = sandbox("taly-small", SPEED)

    def told(**environ: str) -> tuple[dict[str, str], str]:
        said = json.loads(box.taly("releases", "--json", **environ).stdout)
        return {one["name"]: one["mark"] for one in said["releases"]}, said["last_good"]

    assert told() == (dict.fromkeys(["R1", "R2", "R3", "R4"], "none"), "R3")
    down = {"VERCEL_API_URL": "http://127.0.0.1:9"}
    assert box.taly("mark", "R3", "bad", "--why", "slow", **down).returncode == ExitCode.OK
    marked = {"R1": "none", "R2": "none", "R3": "bad", "R4": "none"}
    assert told() == told(**down) == (marked, "R2")
