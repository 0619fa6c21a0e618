"""An emulated platform for a measurement, and what its vendors themselves say they took."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.figures import critical_path_s
from bench.processes import Took, run
from taly.engine.store import open_store
from taly.model.events import StepDone
from taly.model.plan import Plan, StepKind
from taly.sandbox.client import ControlClient
from taly.sandbox.running import Running, is_claimed
from taly.sandbox.serve import Wish, start_detached

KEPT = ("PATH", "HOME", "LANG", "TMPDIR")
END_S = 30.0
UPDATED = ("UPDATE_IN_PROGRESS", "UPDATE_COMPLETE")


@dataclass(slots=True, kw_only=True)
class Box:
    """A sandbox that is up."""

    running: Running
    control: ControlClient
    environ: dict[str, str] = field(repr=False)
    speed: float

    @property
    def directory(self) -> Path:
        """Where taly.toml lies."""
        return Path(self.running.directory)

    def taly(self, *arguments: str) -> Took:
        """Run a taly command as a real process."""
        return self.run(sys.executable, "-m", "taly", *arguments)

    def run(self, *argv: str, **more_environ: str) -> Took:
        """Run any command with this platform's variables."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        environ = {**kept, "NO_COLOR": "1", **self.environ, **more_environ}
        return run(argv, cwd=self.directory, environ=environ)


@contextmanager
def sandbox(speed: float, scenario: str = "taly-kept") -> Iterator[Box]:
    """A fresh sandbox for the block; ended by its process id."""
    with tempfile.TemporaryDirectory(prefix="taly-bench-") as folder:
        directory = Path(folder) / "sandbox"
        directory.mkdir()
        running = start_detached(Wish(scenario=scenario, directory=str(directory), speed=speed))
        control = ControlClient(running.control, running.token)
        try:
            yield Box(running=running, control=control, environ=control.environ(), speed=speed)
        finally:
            with suppress(ProcessLookupError):
                os.kill(running.pid, signal.SIGTERM)
            last = time.monotonic() + END_S
            while is_claimed(directory) and time.monotonic() < last:
                time.sleep(0.05)
            with suppress(ChildProcessError):
                os.waitpid(running.pid, 0)


def vendor_seconds(box: Box) -> dict[str, float]:
    """Component → virtual seconds that its latest change took, by its vendor's own record.

    App Runner's operation, CloudFormation's stack events, Vercel's job; a Netlify restore is
    published within its own request and takes none.
    """
    state = box.control.state()["vendors"]
    found: dict[str, float] = {}
    for name, service in state.get("apprunner", {}).get("services", {}).items():
        latest = max(service["operations"], key=lambda one: one["StartedAt"])
        found[name] = latest["EndedAt"] - latest["StartedAt"]
    for name, project in state.get("vercel", {}).items():
        if project["job"]:
            found[name] = _apart(project["job"]["requested_at"], project["updated_at"])
    for name in state.get("netlify", {}):
        found[name] = 0.0
    for name in state.get("serverless", {}):
        found[name] = _stack_update_s(box, f"{name}-production")
    return found


def _apart(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _stack_update_s(box: Box, stack: str) -> float:
    import boto3

    cloudformation = boto3.client(
        "cloudformation",
        endpoint_url=box.environ["AWS_ENDPOINT_URL"],
        region_name=box.environ["AWS_REGION"],
        aws_access_key_id=box.environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=box.environ["AWS_SECRET_ACCESS_KEY"],
    )
    events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    mine = [one for one in events if one["LogicalResourceId"] == stack]  # newest first
    times = {
        status: next(one["Timestamp"] for one in mine if one["ResourceStatus"] == status)
        for status in UPDATED
    }
    seconds: float = (times["UPDATE_COMPLETE"] - times["UPDATE_IN_PROGRESS"]).total_seconds()
    return seconds


def vendors_critical_s(plan: Plan, seconds: Mapping[str, float]) -> float:
    """Virtual seconds of the plan's critical path, if nothing but the vendors took any time."""
    needs = {step.id: step.needs for step in plan.steps}
    rolls = {
        step.id: seconds[step.component] for step in plan.steps if step.kind is StepKind.ROLL_BACK
    }
    return critical_path_s(needs, rolls)


def last_run(box: Box) -> dict[str, Any]:
    """The newest run: its plan, and in virtual seconds how long it took and verified at its end."""
    store = open_store(box.directory / ".taly" / "store.db")
    summary = store.runs("production")[0]
    plan = store.plan(summary.id)
    events = store.events(summary.id)
    writing = {step.id for step in plan.steps if step.writes}
    began, ended = events[0].at, events[-1].at
    wrote = max(
        one.at for one in events if isinstance(one.event, StepDone) and one.event.step in writing
    )
    return {
        "plan": plan,
        "run_s": (ended - began).total_seconds(),
        "verifying_s": (ended - wrote).total_seconds(),
    }
