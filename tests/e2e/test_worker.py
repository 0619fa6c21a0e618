"""Three real workers on one PostgreSQL and the sandbox's vendors: one is killed, one is frozen."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taly.engine.store import Store, open_store
from taly.errors import ExitCode
from tests.e2e.conftest import Sandbox, bring_up, until
from tests.e2e.test_kill import last_call, writes_since
from tests.e2e.test_rollback import body

SPEED = 80.0
"""An App Runner update takes 4 s: time enough to be killed and frozen in."""
POLICY = "[policy]\nlease_s = 5.0"

pytestmark = pytest.mark.xdist_group("worker")


class Team:
    """A sandbox, a PostgreSQL for its runs, and workers."""

    def __init__(self, box: Sandbox, url: str) -> None:
        self.box, self.environ = box, {"TALY_STORE": url}
        self.store: Store = open_store(url)
        self.workers: dict[str, subprocess.Popen[str]] = {}
        self.followers: list[subprocess.Popen[str]] = []

    def hire(self, *names: str, config: str = "taly.toml") -> None:
        for name in names:
            self.workers[name] = subprocess.Popen(
                [sys.executable, "-m", "taly", "worker", "--name", name, "--config", config],
                cwd=self.box.directory,
                env=self.box.environment(**self.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        until(lambda: set(names) <= {one.name for one in self.store.workers() if one.is_alive})

    def taly(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.box.taly(*arguments, **self.environ)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        started = subprocess.Popen(
            [sys.executable, "-m", "taly", *arguments],
            cwd=self.box.directory,
            env=self.box.environment(**self.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.followers.append(started)
        return started

    def busy(self, *, but: str = "") -> str:
        """The worker that is at work, waited for."""
        found: list[str] = []

        def at_work() -> bool:
            run = self.store.unfinished("production")
            if run is not None and run.is_alive and run.owner.by.startswith("worker "):
                found.append(run.owner.by.removeprefix("worker "))
            return bool(found) and found[-1] != but

        until(at_work, what="a worker is at work")
        return found[-1]

    def close(self) -> None:
        for one in (*self.workers.values(), *self.followers):
            one.kill()
            one.wait()
            for stream in (one.stdout, one.stderr):
                if stream is not None:
                    stream.close()
        self.store.close()


@contextmanager
def brought_up(folder: Path, url: str, scenario: str, speed: float) -> Iterator[Team]:
    box = bring_up(folder / "sandbox", scenario, speed)
    made = Team(box, url)
    try:
        yield made
    finally:
        made.close()
        box.stop()


@pytest.fixture
def team(tmp_path: Path, postgres_url: str) -> Iterator[Team]:
    with brought_up(tmp_path, postgres_url, "taly-small", SPEED) as made:
        edit(made.box.directory / "taly.toml", "[policy]", POLICY)
        yield made


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")


def kinds(store: Store, run_id: str) -> list[str]:
    return [one.event.kind for one in store.events(run_id)]


def test_three_workers_one_killed_one_frozen_and_the_run_finishes_once(team: Team) -> None:
    """Must show 3 of the fourth issue; then its undo, whose follower leaves, drained mid-run."""
    team.hire("w1", "w2", "w3")
    before = last_call(team.box)
    follower = team.start("rollback", "--to", "R3", "--remote", "--yes", "--json")
    killed = team.busy()
    until(lambda: "step-acted" in kinds(team.store, team.store.runs()[0].id))
    team.workers[killed].kill()
    run_id = team.store.runs()[0].id
    frozen = team.busy(but=killed)
    os.kill(team.workers[frozen].pid, signal.SIGSTOP)
    out, err = follower.communicate(timeout=60)
    os.kill(team.workers[frozen].pid, signal.SIGCONT)
    assert follower.returncode == ExitCode.OK, err
    run = json.loads(out)
    assert (run["run"], run["outcome"], run["exit_code"]) == (run_id, "succeeded", 0)
    seen = kinds(team.store, run_id)
    assert (seen.count("run-finished"), seen.count("lease-taken")) == (1, 3)
    fences = [one.fence for one in team.store.events(run_id)]
    assert fences == sorted(fences)
    writes = writes_since(team.box, before)
    assert writes, "it did something"
    assert set(writes.values()) == {1}, writes
    _undone_without_its_follower(team, run_id, killed)


def _undone_without_its_follower(team: Team, run_id: str, killed: str) -> None:
    left = [name for name in team.workers if name != killed]
    until(lambda: {one.name for one in team.store.workers() if one.is_alive} == set(left))
    before = last_call(team.box)
    follower = team.start("undo", run_id, "--remote", "--yes")
    first = team.busy()
    follower.send_signal(signal.SIGINT)
    _, err = follower.communicate(timeout=20)
    undo_id = team.store.runs()[0].id
    assert follower.returncode == ExitCode.INTERRUPTED
    assert f"{undo_id} goes on without you" in err
    assert f"taly follow {undo_id}" in err
    until(lambda: "step-acted" in kinds(team.store, undo_id), what="the undo is under way")
    team.workers[first].send_signal(signal.SIGTERM)
    done = team.taly("follow", undo_id, "--json")
    assert done.returncode == ExitCode.OK, done.stderr
    assert body(done)["outcome"] == "succeeded"
    assert team.workers[first].wait(20) == ExitCode.OK
    log = team.workers[first].communicate()[0]
    assert "let go after the steps under way" in log, log
    assert kinds(team.store, undo_id).count("lease-taken") == 2
    assert set(writes_since(team.box, before).values()) == {1}
    assert body(team.taly("status", "--json"))["live_release"] == "R4"
    alive = [one.name for one in team.store.workers() if one.is_alive]
    assert alive == [name for name in left if name != first]


def test_a_worker_with_folders_of_its_own_takes_back_what_failed_the_database_too(
    tmp_path: Path, postgres_url: str
) -> None:
    """Migrations and checkpoints are shared; rescue bundles are the worker's, and it finds them."""
    with brought_up(tmp_path, postgres_url, "taly-small-back", 400.0) as team:
        box, there = team.box, tmp_path / "elsewhere"
        edit(box.directory / "taly.toml", 'on_failure = "halt"', 'on_failure = "undo"')
        (there / ".taly").mkdir(parents=True)
        shutil.copy(box.directory / "taly.toml", there)
        for shared in ("prisma", ".taly/checkpoints"):
            (there / shared).symlink_to(box.directory / shared)
        team.hire("there", config=str(there / "taly.toml"))
        before = body(team.taly("status", "--json"))
        refuse = {"component": "backend", "call": "UpdateService", "kind": "refuse", "status": 403}
        box.control.faults(refuse)
        done = team.taly("rollback", "--to", "R3", "--remote", "--yes", "--json")
        assert done.returncode == ExitCode.STEP_FAILED, done.stderr
        said = body(done)
        assert (said["outcome"], said["exit_code"]) == ("failed", 4)
        assert said["taken_back"]["outcome"] == "succeeded"
        assert said["taken_back"]["by"] == said["by"]
        restored = {step["how"] for step in said["taken_back"]["steps"] if "restore" in step["id"]}
        assert restored == {"acted"}
        assert said["run"] in [one.name for one in (there / ".taly" / "rescue").iterdir()]
        assert not (box.directory / ".taly" / "rescue").exists()
        after = body(team.taly("status", "--json"))
        assert after["live_release"] == before["live_release"] == "R4"
