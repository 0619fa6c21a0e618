"""A revert that is cut short, at any moment and in any way, leaves all as it was."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from tests.contract.revert_stage import RUN, Project
from tests.contract.test_revert_refusals import INIT, ONE, SCHEMA, Untouched, applied

from taly.errors import Interrupted, LeaseLost, VendorUnavailable


@pytest.fixture
def project(tmp_path: Path, postgres_url: str) -> Project:
    made = Project(tmp_path, postgres_url)
    made.migration(INIT, SCHEMA)
    assert made.deploy().code == "ok"
    return made


class When:
    """A `say` that does something at the first note that begins so."""

    def __init__(self, note: str, what: Callable[[], None]) -> None:
        self.note, self.what = note, what
        self.done = False

    def __call__(self, note: str, fraction: float | None = None) -> None:
        if not self.done and note.startswith(self.note):
            self.done = True
            self.what()


PHASES = (
    "waits for the tables",
    "looks at User",
    "saves Tag",
    "saves User",
    "DROP TABLE",
    "ALTER TABLE",
    "reads 0001",
    "puts User back",
    "compares User",
    "commits",
)


@pytest.mark.parametrize("error", [Interrupted, LeaseLost])
def test_told_to_stop_at_any_moment_leaves_all_as_it_was(
    project: Project, error: type[BaseException]
) -> None:
    applied(project)
    untouched = Untouched(project)

    def stop() -> None:
        if error is LeaseLost:
            raise LeaseLost
        raise Interrupted("told to stop", reference="step-cancelled")

    for phase in PHASES if error is Interrupted else ("saves Tag", "commits"):
        with pytest.raises(error):
            project.revert(ONE, say=When(phase, stop))
        untouched.check()
        assert not any((project.rescue / RUN).iterdir())
    project.revert(ONE)
    assert project.applied() == [INIT]


def test_a_connection_lost_in_any_phase_changes_nothing(project: Project) -> None:
    applied(project)
    untouched = Untouched(project)
    for phase in PHASES:
        with pytest.raises(VendorUnavailable):
            project.revert(ONE, say=When(phase, lambda: kill(project)))
        assert project.applied() == [INIT, ONE]
        if phase == "commits":
            # Whether it was committed was open for us: the bundle stays, complete.
            assert project.bundle(ONE).manifest.state == "prepared"
        else:
            untouched.check()
    project.revert(ONE)
    assert project.applied() == [INIT]
    assert project.bundle(ONE).manifest.state == "done"


def kill(project: Project) -> None:
    with psycopg.connect(project.url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'taly' AND datname = current_database()"
            " AND pid <> pg_backend_pid()"
        )


KILLED = """
import os, signal, sys
from tests.contract.revert_stage import Project
from tests.contract.test_revert_interrupted import ONE, When
from pathlib import Path
class There(Project):
    def __post_init__(self):
        self.target = self.target_for(self.url)
say = When(sys.argv[3], lambda: os.kill(os.getpid(), signal.SIGKILL))
There(Path(sys.argv[1]), sys.argv[2]).revert(ONE, say=say)
"""


def test_killed_at_any_moment_leaves_all_or_nothing(project: Project) -> None:
    applied(project)
    untouched = Untouched(project)
    for phase in ("saves User", "commits"):
        command = [sys.executable, "-c", KILLED, str(project.folder), project.url, phase]
        done = subprocess.run(command, check=False, cwd=Path(__file__).parents[2])
        assert done.returncode == -9
        untouched.check(bundle=phase == "commits")
    project.revert(ONE)
    assert project.applied() == [INIT]
    assert [path.name for path in (project.rescue / RUN).iterdir()] == [
        project.bundle(ONE).path.name
    ]
