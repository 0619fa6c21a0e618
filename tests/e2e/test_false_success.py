"""Must show 4: what a vendor calls a success and is none ends as a failure that says where and why.

One platform a vendor. Each case arms one lie of the vendor's, asks taly to take the component back
to R3, and undoes what was done of it, so that the next case begins at R4 again.
"""

import re
from collections.abc import Callable
from typing import Any

import pytest

from taly.errors import ExitCode
from tests.e2e.conftest import Sandbox
from tests.e2e.test_rollback import body, roll_back

SPEED = 300.0
"""Deadlines of many minutes pass in seconds, and a busy machine still keeps the short ones."""
NO_SUCCESS = (ExitCode.STEP_FAILED, ExitCode.VERIFICATION_FAILED, ExitCode.UNKNOWN)
LIES: dict[str, list[tuple[str, str]]] = {
    "payments": [
        ("restore-ignored", "not in effect"),
        ("lock-ignored", "not in effect"),
        ("restore-lost-later", "published instead|HTTP 500|published over it|not in effect"),
    ],
    "dashboard": [
        ("alias-job-stale", "shows a succeeded rollback to dpl_"),
        ("alias-job-absent", "shows no job"),
        ("alias-job-skipped", "ended as skipped"),
        ("alias-job-failed", "ended as failed"),
        ("alias-partial", "succeeded, and dashboard.example.com shows"),
        ("job-false-success", "succeeded, and dashboard.vercel.app shows"),
    ],
    "taly-send-email": [
        ("false-success", "functions run other code"),
        ("update-fails", "UPDATE_ROLLBACK_COMPLETE"),
        ("failed-late", "UPDATE_ROLLBACK_COMPLETE"),
        ("rollback-fails", "UPDATE_ROLLBACK_FAILED"),
    ],
    "backend": [
        ("health-fail", "ROLLBACK_SUCCEEDED"),
        ("false-success", "HTTP 500"),
        ("operation-stuck", "still in flight"),
    ],
}
"""Component → its vendor's lies: kind, and what taly must say (a pattern)."""
SOON = {"restore-lost-later": {"seconds": 4.0}}
"""What strikes later must strike while the run still looks: after that its success was true."""
HALF_DONE = {"lock-ignored", "restore-lost-later", "alias-partial", "false-success"}
"""The lies after which not everything is as it was before."""


def not_a_success(box: Sandbox, component: str, says: str, to: str = "R3") -> dict[str, Any]:
    """The run of a rollback that says which component went wrong, and why."""
    done = box.taly("rollback", "--to", to, "--only", component, "--yes", "--json")
    assert done.returncode in NO_SUCCESS, done.stdout + done.stderr
    run = body(done)
    assert run["exit_code"] == done.returncode
    assert run["outcome"] != "succeeded"
    wrong = [step for step in run["steps"] if step["phase"] in ("failed", "unknown")]
    assert {step["component"] for step in wrong} == {component}, wrong
    assert re.search(says, wrong[0]["reason"]), wrong[0]["reason"]
    assert component in done.stderr
    return run


@pytest.mark.parametrize(
    "component",
    [pytest.param(one, marks=pytest.mark.xdist_group(f"lies-{one}")) for one in LIES],
)
def test_a_vendors_false_success_is_a_failure(
    sandbox: Callable[..., Sandbox], component: str
) -> None:
    box = sandbox("taly-small", SPEED)
    for kind, says in LIES[component]:
        fault = {"kind": kind, "component": component}
        box.control.faults(fault | SOON.get(kind, {}))
        run = not_a_success(box, component, says)
        assert box.control.faults() == [], f"{kind} never struck"
        if run["outcome"] is None:
            refused = box.taly("undo", run["run"], "--yes")
            assert refused.returncode == ExitCode.REFUSED
            assert f"taly resume {run['run']}" in refused.stderr
        elif kind in HALF_DONE:
            undone = box.taly("undo", run["run"], "--yes")
            assert undone.returncode == ExitCode.OK, (kind, undone.stdout + undone.stderr)


def test_a_broken_application_that_still_listens_is_a_failure(
    sandbox: Callable[..., Sandbox],
) -> None:
    """App Runner's default health check is TCP: its operation SUCCEEDED, and nothing works."""
    box = sandbox("taly-small", SPEED)
    roll_back(box, "--to", "R3", "--only", "backend")
    assert box.taly("mark", "R4", "good", "--why", "so it seemed").returncode == ExitCode.OK
    run = not_a_success(box, "backend", "HTTP 500", to="R4")
    assert run["exit_code"] == ExitCode.VERIFICATION_FAILED
    phases = {step["id"]: step["phase"] for step in run["steps"]}
    assert phases["roll-back:backend"] == "done", "the vendor was content"
    assert phases["verify:backend"] == "failed"
