"""taly starts by itself: nothing was imported for it beforehand, as it is for most other tests.

test_tutorial.py rolls back, undoes and thaws with such processes.
"""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from taly.cli.main import COMMANDS
from taly.errors import ExitCode
from tests import forked
from tests.e2e.conftest import KEPT, SandboxFactory

TALY = [sys.executable, "-m", "taly"]
BARE = {name: os.environ[name] for name in KEPT if name in os.environ}


def shape(value: Any) -> Any:
    """What of a document does not change from one second to the next."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    return [shape(one) for one in value] if isinstance(value, list) else type(value)


def test_every_command_starts_in_a_process_of_its_own() -> None:
    modules = {place.partition(":")[0]: command for command, (place, _) in COMMANDS.items()}

    def starts(command: str) -> tuple[str, int, str]:
        done = subprocess.run(
            [*TALY, command, "--help"], env=BARE, capture_output=True, text=True, check=False
        )
        return command, done.returncode, done.stdout.split()[2] if done.stdout else done.stderr

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(starts, modules.values())) == [
            (command, ExitCode.OK, command) for command in modules.values()
        ]


@pytest.mark.parametrize("command", ["status", "releases", "plan"])
def test_a_forked_process_says_what_a_real_one_says(sandbox: SandboxFactory, command: str) -> None:
    box = sandbox("taly-small", 200.0, shared=True)
    real = box.real_taly(command, "--json")
    assert real.returncode == ExitCode.OK, real.stderr
    said = box.taly(command, "--json")
    assert said.returncode == ExitCode.OK, said.stderr
    assert shape(json.loads(said.stdout)) == shape(json.loads(real.stdout))


def test_a_forked_process_has_its_own_environment_directory_and_end(tmp_path: Path) -> None:
    wanted = {**BARE, "TALY_DEBUG": "1"}
    done = forked.run([*TALY, "status"], cwd=tmp_path, env=wanted, timeout_s=30)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert str(tmp_path) in done.stderr
    waits = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": BARE, "text": True}
    for number in (signal.SIGKILL, signal.SIGTERM):
        with forked.Forked([*TALY, "sandbox", "up", "--dir", str(tmp_path)], **waits) as process:
            process.send_signal(number)
            assert process.wait(30) == -number
    assert forked.run([*TALY, "--version"], env=BARE, timeout_s=30).returncode == ExitCode.OK
